/// Why a tag was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes contradict the format. The tag is lost; the stream need not be:
    /// the tags behind it are read as if this one had not been.
    #[error("{what} at byte {offset}")]
    Malformed {
        /// Where: from the start of the tag body, or of the file for
        /// [`crate::file::Reader`].
        offset: u64,
        /// The structure or field, and what is wrong with it.
        what: &'static str,
    },
    /// A codec that nothing behind this crate decodes.
    #[error("{codec} is not supported: send H.264 video and AAC-LC audio")]
    Unsupported {
        /// The codec as people call it, with the word "video" or "audio".
        codec: String,
    },
    /// Larger than this server agrees to handle.
    #[error("{what} of {found} is above the limit of {max}")]
    Limit {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        found: u64,
        /// How large it may be.
        max: u64,
    },
}

impl Error {
    /// Whether the sender will go on failing: it should be told and let go. A
    /// damaged tag is not fatal.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Malformed { .. })
    }

    pub(crate) fn malformed(offset: usize, what: &'static str) -> Self {
        Self::Malformed {
            offset: offset as u64,
            what,
        }
    }

    /// `error` of a structure that begins at byte `base`.
    pub(crate) fn within(base: usize, error: bitstream::Error) -> Self {
        match error {
            bitstream::Error::Malformed { offset, what } => Self::malformed(base + offset, what),
            bitstream::Error::Unsupported { what } => Self::Unsupported { codec: what },
            bitstream::Error::Limit { what, found, max } => Self::Limit { what, found, max },
            // The enum may grow; a fault nobody here knows concerns one tag.
            _ => Self::malformed(base, "codec data that cannot be read"),
        }
    }
}
