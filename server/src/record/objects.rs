//! The objects of recordings in a store: their keys, and what is put with them.
//!
//! `{name}/{rung}/{number}.ts` and `{name}/vod-{id}.m3u8` are what viewers know.
//! `.weir/open/{name}/{id}` says that a recording is not closed, who looks after it
//! and since when it has heard nothing: written every [`BEAT`], deleted at the end.
//! Each segment carries the id of its recording and the [`Piece`] that a journal has
//! of it, so that all of a recording can be told from the store alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::{Media, Piece};
use super::store::{Facts, InvalidKey, InvalidMeta, Key, Meta};
use crate::name::StreamName;

pub(super) fn segment(name: &StreamName, rung: &str, number: u64) -> Result<Key, InvalidKey> {
    Key::new(format!("{name}/{rung}/{number}.ts"))
}

pub(super) fn playlist(name: &StreamName, id: u64) -> Result<Key, InvalidKey> {
    Key::new(format!("{name}/vod-{id}.m3u8"))
}

pub(super) fn master(name: &StreamName, id: u64) -> Result<Key, InvalidKey> {
    Key::new(format!("{name}/vod-{id}-master.m3u8"))
}

pub(super) fn marker(name: &StreamName, id: u64) -> Result<Key, InvalidKey> {
    Key::new(format!("{OPEN}{name}/{id}"))
}

/// The recording that the marker at `key` is of.
pub(super) fn marked(key: &Key) -> Option<(StreamName, u64)> {
    let (name, id) = key.as_str().strip_prefix(OPEN)?.split_once('/')?;
    Some((name.parse().ok()?, id.parse().ok()?))
}

/// The id in `vod-{id}.m3u8`, the last element of a key.
pub(super) fn id(key: &Key) -> Option<u64> {
    let (_, file) = key.as_str().rsplit_once('/')?;
    number(file.strip_prefix("vod-")?.strip_suffix(".m3u8")?)
}

/// The number in `{number}.ts`, the last element of a key.
pub(super) fn number_of(key: &Key) -> Option<u64> {
    let (_, file) = key.as_str().rsplit_once('/')?;
    number(file.strip_suffix(".ts")?)
}

/// Only what is written as weir writes it.
fn number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// What is put with a segment.
pub(super) fn segment_facts(id: u64, piece: &Piece) -> Result<Facts, InvalidMeta> {
    let mut meta = Meta::default();
    meta.set(RECORDING, id.to_string())?;
    meta.set(PIECE, serde_json::to_string(piece).unwrap_or_default())?;
    Ok(Facts {
        content_type: "video/MP2T",
        cache_control: "max-age=31536000",
        meta,
    })
}

/// The id of the recording that an object belongs to.
pub(super) fn recording_of(meta: &Meta) -> Option<u64> {
    number(meta.value(RECORDING)?)
}

/// What was put with a segment.
pub(super) fn piece_of(meta: &Meta) -> Option<Piece> {
    serde_json::from_str(meta.value(PIECE)?).ok()
}

/// A recording in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) duration_ms: u64,
    pub(crate) bytes: u64,
    pub(crate) gaps: u64,
    pub(crate) closed: bool,
}

/// What is put with a playlist.
pub(super) fn playlist_facts(id: u64, sum: &Sum) -> Result<Facts, InvalidMeta> {
    let mut meta = Meta::default();
    meta.set(RECORDING, id.to_string())?;
    meta.set("weir-duration-ms", sum.duration_ms.to_string())?;
    meta.set("weir-bytes", sum.bytes.to_string())?;
    meta.set("weir-gaps", sum.gaps.to_string())?;
    meta.set("weir-closed", sum.closed.to_string())?;
    Ok(Facts {
        content_type: "application/x-mpegURL",
        // It grows until it is closed.
        cache_control: if sum.closed {
            "max-age=3600"
        } else {
            "no-cache"
        },
        meta,
    })
}

/// What was put with a playlist; zeros where somebody else wrote it.
pub(super) fn sum_of(meta: &Meta) -> Sum {
    let figure = |name| meta.value(name).and_then(number).unwrap_or_default();
    Sum {
        duration_ms: figure("weir-duration-ms"),
        bytes: figure("weir-bytes"),
        gaps: figure("weir-gaps"),
        closed: meta.value("weir-closed") == Some("true"),
    }
}

/// What stands in a marker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The server that writes it.
    pub(super) owner: String,
    /// Whether a broadcast is being recorded.
    pub(super) attached: bool,
    /// When the last segment came, in Unix milliseconds.
    pub(super) came_ms: u64,
    /// How long after that it may be continued.
    pub(super) merge_ms: u64,
    /// Longest segment to be expected, in ticks.
    pub(super) target: i64,
    pub(super) media: Media,
}

pub(super) fn marker_facts() -> Facts {
    Facts {
        content_type: "application/json",
        cache_control: "no-store",
        meta: Meta::default(),
    }
}

/// Whether a marker of `size` bytes says that its recording is closed: an empty one
/// stands where the store lets nothing be deleted.
pub(super) fn says_closed(size: u64) -> bool {
    size == 0
}

/// Where markers are.
pub(super) const OPEN: &str = ".weir/open/";

const RECORDING: &str = "weir-recording";
const PIECE: &str = "weir-segment";

/// How often a marker is written. Two requests a minute and recording cost a
/// hundredth of what its segments do.
pub(super) const BEAT: Duration = Duration::from_secs(15);

/// The age of a marker whose server is gone: three beats were missed.
pub(super) const SILENT: Duration = Duration::from_secs(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let name: StreamName = "demo".parse().unwrap();
        let key = marker(&name, 17).unwrap();
        assert_eq!(marked(&key), Some((name.clone(), 17)));
        assert_eq!(id(&playlist(&name, 17).unwrap()), Some(17));
        assert_eq!(id(&master(&name, 17).unwrap()), None);
        assert_eq!(number_of(&segment(&name, "720p", 18).unwrap()), Some(18));
        for other in ["demo/vod-017.m3u8", "demo/vod-.m3u8", "demo/vod-1_0.m3u8"] {
            assert_eq!(id(&other.parse().unwrap()), None, "{other}");
        }
        assert_eq!(segment(&name, "..", 1).ok(), None);
    }

    #[test]
    fn the_longest_facts_fit() {
        let piece = Piece {
            number: u64::MAX,
            rung: "r".repeat(64),
            start: i64::MIN,
            duration: i64::MIN,
            discontinuity: false,
            unix_ms: i64::MIN,
            bytes: u32::MAX,
            came_ms: u64::MAX,
        };
        let facts = segment_facts(u64::MAX, &piece).unwrap();
        assert_eq!(recording_of(&facts.meta), Some(u64::MAX));
        assert_eq!(piece_of(&facts.meta), Some(piece));
        let sum = Sum {
            duration_ms: 5,
            bytes: 6,
            gaps: 7,
            closed: true,
        };
        assert_eq!(sum_of(&playlist_facts(1, &sum).unwrap().meta), sum);
    }
}
