/// Why something could not be decoded or encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This unit is damaged. The decoder is intact and goes on: video at the
    /// next key unit, audio at the next unit.
    #[error("damaged {unit}: {what}")]
    Malformed {
        /// What kind of unit.
        unit: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The stream is lawful but uses something this decoder has not.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The stream asks for more than it is allowed.
    #[error("{what} is above the limit of {max}")]
    Limit {
        /// What was asked for, with its value.
        what: String,
        /// The most that is allowed.
        max: u64,
    },
    /// A setting of an encoder makes no sense.
    #[error("{0}")]
    Config(String),
    /// A library failed without it being the stream's fault.
    #[error("{library}: {what}")]
    Backend {
        /// Which library.
        library: &'static str,
        /// What it said.
        what: String,
    },
}

impl Error {
    pub(crate) fn damaged_picture(what: impl ToString) -> Self {
        Self::Malformed {
            unit: "picture",
            what: what.to_string(),
        }
    }

    pub(crate) fn damaged_frame(what: impl ToString) -> Self {
        Self::Malformed {
            unit: "audio frame",
            what: what.to_string(),
        }
    }
}
