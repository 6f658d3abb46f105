use media::{Timestamp, Track};

/// Why a unit or a segment was not taken. What was taken before stays valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An access unit contradicts itself or its predecessors.
    #[error("{track:?} access unit at {dts}: {what}")]
    Malformed {
        /// The track of the unit.
        track: Track,
        /// When it would be decoded.
        dts: Timestamp,
        /// What is wrong, and what would be right.
        what: &'static str,
    },
    /// The bytes of an access unit cannot be rewritten for MPEG-TS.
    #[error("{track:?} access unit at {dts}")]
    Bitstream {
        /// The track of the unit.
        track: Track,
        /// When it would be decoded.
        dts: Timestamp,
        /// What is wrong with the bytes, and where.
        source: bitstream::Error,
    },
    /// Something this crate does not write.
    #[error("{what}")]
    Unsupported {
        /// What, and what would be possible.
        what: &'static str,
    },
    /// A bound was reached: the unit that would break it was not taken.
    #[error("{what} would exceed {max}")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// A segment does not follow the one before it in a window.
    #[error("segment {found} follows {last}; segment numbers rise by 1")]
    OutOfSequence {
        /// Number of the newest segment.
        last: u64,
        /// Number of the segment refused.
        found: u64,
    },
    /// The stream has ended.
    #[error("the stream has ended")]
    Closed,
    /// The packet writer refused a packet.
    #[error("MPEG-TS packet refused")]
    Packet(#[from] mpeg2ts::Error),
}
