use bytes::Bytes;
use media::{Ticks, Timestamp};

use crate::playlist::Entry;

/// One finished MPEG-TS segment of one rung: listed, served and stored as it
/// is, never changed.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Media sequence number. Rises by 1; a number is never reused.
    pub number: u64,
    /// Presentation time of the first video unit, or of the first audio unit
    /// where there is no video: on the media timeline, so without the offset
    /// that the timestamps inside `data` carry.
    pub start: Timestamp,
    /// From `start` to the start of the next segment, or to the end of the
    /// stream. Above zero. Never measured by wall time (RFC 8216bis §4.4.4.1).
    pub duration: Ticks,
    /// Whether the playlist puts EXT-X-DISCONTINUITY in front of it.
    pub discontinuity: bool,
    /// Whole MPEG-TS packets, PAT and PMT first.
    pub data: Bytes,
    /// Whether it holds a video unit.
    pub has_video: bool,
    /// Whether it holds an audio unit.
    pub has_audio: bool,
}

impl Segment {
    /// What a playlist says about it; `unix_ms` is the wall time of `start`.
    pub fn entry(&self, unix_ms: Option<i64>) -> Entry {
        Entry {
            number: self.number,
            start: self.start,
            duration: self.duration,
            discontinuity: self.discontinuity,
            unix_ms,
        }
    }
}
