//! Playlist texts (RFC 8216bis), rendered from values.
//!
//! The multivariant playlist is m3u8-rs's. Its media playlist leaves out
//! DISCONTINUITY-SEQUENCE and MEDIA-SEQUENCE at 0 and keeps durations as `f32`,
//! so that text is written here; its parser reads every text back in the tests.

mod date;
mod media;
mod multivariant;
mod read;
mod recording;

pub use self::date::iso8601;
pub use self::media::{media, vod};
pub use self::multivariant::{Variant, multivariant};
pub use self::read::{Kind, ListedSegment, Listing, read};
pub use self::recording::{Growth, Recorded, recording};

use ::media::{Ticks, Timestamp};

/// What a media playlist says about one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Media sequence number, and the name: `{number}.ts`.
    pub number: u64,
    /// Where it starts on the media timeline.
    pub start: Timestamp,
    /// How long it lasts.
    pub duration: Ticks,
    /// Whether EXT-X-DISCONTINUITY stands in front of it.
    pub discontinuity: bool,
    /// Wall time of `start` in milliseconds of Unix time, where it is known.
    pub unix_ms: Option<i64>,
}

impl Entry {
    /// The duration to write, in microseconds.
    ///
    /// Start and end are rounded, not the difference: written durations of
    /// adjoining segments then add up to the true length of the run to the
    /// microsecond, however long the run (Apple authoring specification 8.1).
    pub fn micros(&self) -> u64 {
        let micros = |at: Timestamp| (i128::from(at.ticks()) * 200 + 9).div_euclid(18);
        u64::try_from(micros(self.start + self.duration) - micros(self.start)).unwrap_or(0)
    }
}

/// The EXT-X-TARGETDURATION that a segment of `duration` needs, in seconds.
///
/// Rounded up: under protocol versions below 6 the tag is the *maximum*
/// duration, not the rounded one.
pub fn target_seconds(duration: Ticks) -> u64 {
    let ticks = u64::try_from(duration.get()).unwrap_or(0);
    ticks.div_ceil(Ticks::HZ as u64).max(1)
}

/// The protocol version of every playlist: 3, for fractional EXTINF. A higher
/// number than needed shuts out clients (RFC 8216bis §8).
const VERSION: usize = 3;

/// With EXT-X-GAP: strict readers (hls-parser) refuse it below 8.
pub const VERSION_WITH_GAPS: usize = 8;
