/// Why bytes were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes contradict the standard.
    #[error("{what} at byte {offset}")]
    Malformed {
        /// Where, in bytes from the start of the structure given.
        offset: usize,
        /// The structure or field, and what is wrong with it.
        what: &'static str,
    },
    /// Legal, but nothing here can use it.
    #[error("unsupported {what}")]
    Unsupported {
        /// The feature, as people call it.
        what: String,
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
