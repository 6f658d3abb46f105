use std::time::Duration;

/// Why a session ended, or could not do what it was told.
///
/// No variant carries text from the peer, so none can carry a stream key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer does not speak RTMP, or broke its rules.
    #[error("RTMP at byte {offset}: {what}")]
    Malformed {
        /// Bytes received before the fault was noticed.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A command whose values cannot be read.
    #[error("RTMP command at byte {offset}")]
    Command {
        /// Bytes received before the command was complete.
        offset: u64,
        /// What is wrong with its values.
        source: amf0::Error,
    },
    /// The peer asks for more than [`Limits`](crate::Limits) grant.
    #[error("RTMP {what}: more than {max}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is granted.
        max: usize,
    },
    /// The peer took too long.
    #[error("{what} within {after:?}")]
    Timeout {
        /// What did not happen.
        what: &'static str,
        /// In which time it should have.
        after: Duration,
    },
    /// A URL that cannot be published to.
    #[error("RTMP URL: {0}")]
    Url(&'static str),
    /// Media was sent before the server agreed to receive it.
    #[error("the server has not accepted the stream yet")]
    NotReady,
    /// The session is over.
    #[error("the RTMP session is closed")]
    Closed,
}
