//! What a ladder is built from, and what it gives.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use codec::video::Backend;
use media::{AccessUnit, Picture, Rung, Size, Ticks, TrackConfig};
use packager::Segment;

use super::fitness::Unfit;
use super::stats::Stats;
use super::wants::Wants;
use crate::config::{Audio, Passthrough};

/// What a ladder is built from.
#[derive(Clone)]
pub struct Settings {
    /// The rungs that are listed; a source gets those that fit it. When there are
    /// none nothing is made into segments.
    pub rungs: Vec<Rung>,
    /// The rungs that are not: each coded while `wants` has it, and never made
    /// into segments.
    pub unlisted: Vec<Rung>,
    /// Which rungs are read beside the playlists.
    pub wants: Arc<Wants>,
    /// Longest segment.
    pub segment: Ticks,
    /// Whether the source's own units may be the top rung.
    pub passthrough: Passthrough,
    /// How long sound alone waits for pictures before it goes without, on the
    /// media clock.
    pub wait_for_video: Ticks,
    /// What becomes of the sound.
    pub audio: Audio,
    /// Number of the first segment on every rung.
    pub first_number: u64,
    /// Decoder to use.
    pub backend: Backend,
    /// Bounds for what a source may ask of the decoders.
    pub limits: codec::Limits,
    /// The pool that advances the rungs of a picture together.
    pub pool: Arc<rayon::ThreadPool>,
    /// What the publisher said of its stream, filled in by whoever reads it.
    pub hints: Arc<Mutex<Hints>>,
    /// Where the ladder counts.
    pub stats: Arc<Stats>,
    /// Where units lost to lag are counted, over all ladders.
    pub lagged: Arc<AtomicU64>,
}

/// What a publisher's `onMetaData` announced. Never believed where the media
/// itself can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hints {
    /// An audio track was announced, in words or by its sequence header.
    pub audio: bool,
    /// A video track was.
    pub video: bool,
    /// Pictures a second.
    pub frame_rate: Option<f64>,
    /// Audio bit rate in kbit/s.
    pub audio_kbps: Option<f64>,
}

/// What is known of one output.
#[derive(Clone, Debug)]
pub struct Output {
    /// The rung's name in URLs and metrics.
    pub name: String,
    /// Whether the multivariant playlist offers it.
    pub listed: bool,
    /// Rungs on offer that the source has nothing more for than for this one:
    /// who wants them gets this one's units.
    pub stands_for: Vec<String>,
    /// The rung, with the highest rate that may come of it, the source's own
    /// units included; `None` for sound alone.
    pub rung: Option<Rung>,
    /// Size of the pictures.
    pub size: Option<Size>,
    /// Pictures a second, as counted in the segment that had most: FRAME-RATE is
    /// the maximum of a variant (RFC 8216bis 4.4.6.2).
    pub frame_rate: Option<f64>,
    /// Configuration of the coded video.
    pub video: Option<Arc<TrackConfig>>,
    /// Configuration of the coded audio.
    pub audio: Option<Arc<TrackConfig>>,
    /// Average audio rate in kbit/s, where it is set rather than measured.
    pub audio_kbps: u32,
}

impl From<&flv::Metadata> for Hints {
    fn from(metadata: &flv::Metadata) -> Self {
        Self {
            audio: metadata.audio_codec.is_some(),
            video: metadata.video_codec.is_some(),
            frame_rate: metadata.frame_rate,
            audio_kbps: metadata.audio_kbps,
        }
    }
}

/// Where segments and coded units go.
pub trait Sink {
    /// Segments that became complete together, with the index of their output.
    /// All rungs complete segment k in one call.
    fn segments(&mut self, outputs: &[Output], batch: Vec<(usize, Segment)>);

    /// A coded unit of an output, as it goes to the segmenter of that: video in
    /// decoding order, and sound, which is the same for all. A rung that is not
    /// listed has pictures while it is wanted, and no segments.
    fn unit(&mut self, _output: &Output, _unit: &AccessUnit) {}

    /// From here on the source's own units are the rung called `rung`, or no
    /// longer, and why.
    fn passing(&mut self, _rung: &str, _now: Result<(), Unfit>) {}

    /// A picture that starts a key period, at the lowest rung's size.
    fn key_picture(&mut self, _picture: &Picture) {}
}

/// For those who want it back whatever becomes of the ladder.
impl<S: Sink> Sink for &mut S {
    fn segments(&mut self, outputs: &[Output], batch: Vec<(usize, Segment)>) {
        (**self).segments(outputs, batch);
    }

    fn unit(&mut self, output: &Output, unit: &AccessUnit) {
        (**self).unit(output, unit);
    }

    fn passing(&mut self, rung: &str, now: Result<(), Unfit>) {
        (**self).passing(rung, now);
    }

    fn key_picture(&mut self, picture: &Picture) {
        (**self).key_picture(picture);
    }
}
