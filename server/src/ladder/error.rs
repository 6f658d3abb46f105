/// Why a ladder cannot go on. Damaged units are counted, not errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A decoder or encoder gave up.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// The coded units could not be put into segments.
    #[error("segments: {0}")]
    Packager(#[from] packager::Error),
}
