//! Recording without a ladder (`hls.enabled = false`): the publisher's own units,
//! cut at its key pictures.
//!
//! A task of its own reads the broadcast's ring, as players do; one that is too slow
//! for it misses units and says so by a discontinuity.
//!
//! A segment begins with a key picture and is held until the next one, for as long
//! as [`LONGEST`] and up to [`MOST_BYTES`]. Pictures beyond either are not recorded:
//! the next key picture is behind a discontinuity, and the part counts as a lost
//! segment.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use fanout::{Next, Reader};
use media::{AccessUnit, Ticks, Timestamp, Track, TrackConfig};
use packager::{Segment, Segmenter, SegmenterConfig, Tracks};
use tracing::warn;

use super::Tap;
use crate::ladder::Output;
use crate::live::{Broadcast, Packet};

/// Records `broadcast` from `reader` on, until its end.
pub(crate) fn record(broadcast: Arc<Broadcast>, mut reader: Reader<Arc<Packet>>, tap: Tap) {
    let runtime = tap.runtime().clone();
    runtime.spawn(async move {
        let mut cutter = Cutter::new(tap.target(), broadcast.session());
        let lose = |why: &str| {
            warn!(stream = %broadcast.name(), reason = why, "a part is LOST to the recording, up to the publisher's next key picture");
            tap.shared.counters.lost(1);
        };
        loop {
            match reader.next().await {
                Next::Unit(packet) => cutter.push(&packet.unit, || announced(&broadcast)),
                Next::Lagged(missed) => cutter.breaks(&format!(
                    "{missed} units were not read in time: the machine is too slow"
                )),
                Next::Closed => break,
            }
            if let Some(why) = cutter.lost.take() {
                lose(&why);
            }
            cutter.deliver(&broadcast, &tap);
        }
        cutter.finish();
        cutter.deliver(&broadcast, &tap);
        tap.end();
    });
}

/// The tracks that the publisher has spoken of or sent.
fn announced(broadcast: &Broadcast) -> Tracks {
    let hints = *broadcast
        .hints
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let tracks = broadcast.tracks();
    Tracks {
        video: hints.video || tracks.get(Track::Video).is_some(),
        audio: hints.audio || tracks.get(Track::Audio).is_some(),
    }
}

/// Turns units into segments.
struct Cutter {
    target: Ticks,
    segmenter: Segmenter,
    begun: bool,
    /// What is said about the tracks, for the playlist.
    video: Option<Arc<TrackConfig>>,
    audio: Option<Arc<TrackConfig>>,
    /// Units are missing: a new timeline begins with the next key picture.
    broken: bool,
    /// Why that is so, until it is told.
    lost: Option<String>,
    /// There is other sound than the present timeline has: one with it begins with the
    /// next key picture, and until then there is none.
    sound_waits: bool,
    /// Bytes of the present segment.
    bytes: usize,
    /// Segments that are finished, each with what was said of it.
    ready: VecDeque<(Output, Arc<Segment>)>,
    /// Start of the present segment.
    from: Timestamp,
    /// The last key picture, and how far it was from the one before.
    key: Timestamp,
    period: Ticks,
    /// Pictures of the present segment, and the most that a segment had a second.
    pictures: u64,
    rate: Option<f64>,
    /// Where what came so far ends, nearly.
    end: Timestamp,
    last: Option<Timestamp>,
}

impl Cutter {
    fn new(target: Ticks, first_number: u64) -> Self {
        let config = SegmenterConfig {
            first_number,
            max_bytes: MOST_BYTES,
            ..SegmenterConfig::default()
        };
        Self {
            target,
            segmenter: Segmenter::new(config),
            begun: false,
            video: None,
            audio: None,
            broken: false,
            lost: None,
            sound_waits: false,
            bytes: 0,
            ready: VecDeque::new(),
            from: Timestamp::ZERO,
            key: Timestamp::ZERO,
            period: Ticks::ZERO,
            pictures: 0,
            rate: None,
            end: Timestamp::ZERO,
            last: None,
        }
    }

    fn push(&mut self, unit: &AccessUnit, announced: impl FnOnce() -> Tracks) {
        let video = unit.track() == Track::Video;
        if !self.begun {
            let tracks = announced();
            // What comes before the first key picture shows nothing.
            if tracks.video && !(video && unit.key) {
                return;
            }
            self.segmenter.announce(tracks);
            self.begun = true;
            self.begin_at(unit.pts);
        } else if self.is_entry(unit) {
            let known = if video { &self.video } else { &self.audio };
            let changed = known.as_ref().is_some_and(|known| *known != unit.config);
            let new = video && self.video.is_none();
            let elapsed = unit.pts - self.from;
            if elapsed < -Ticks::SECOND || elapsed > self.longest() {
                let apart = elapsed.as_secs_f64();
                self.breaks(&format!("its clock has gone {apart:.1} s within a segment"));
            }
            if self.broken || self.sound_waits || changed || new {
                self.begin_anew(unit.pts, announced());
            } else {
                self.cut_if_due(unit.pts);
            }
        } else {
            let slack = if video { Ticks::ZERO } else { Ticks::SECOND };
            if unit.pts - self.from > self.longest() + slack {
                let longest = self.longest().as_secs_f64();
                self.breaks(&format!(
                    "a segment of {longest} s has no key picture to end at"
                ));
            }
        }
        if self.broken || (!video && self.is_other_sound(unit)) {
            return;
        }
        let known = if video {
            &mut self.video
        } else {
            &mut self.audio
        };
        if !known
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &unit.config))
        {
            *known = Some(Arc::clone(&unit.config));
        }
        match self.segmenter.push(unit.clone()) {
            Ok(()) => {
                self.bytes += unit.data.len();
                self.note_end(unit);
            }
            // Its own fault: the others are good.
            Err(packager::Error::Malformed { .. } | packager::Error::Bitstream { .. }) => {}
            Err(error) => self.breaks(&error.to_string()),
        }
        self.collect();
    }

    /// Nothing is recorded from here to the next key picture. What came before is
    /// finished at once: nobody knows when that will be.
    fn breaks(&mut self, why: &str) {
        if self.begun && !self.broken {
            self.broken = true;
            self.lost = Some(why.to_owned());
            self.end_timeline(self.end);
        }
    }

    fn end_timeline(&mut self, next: Timestamp) {
        let end = self.end.min(self.from + self.longest());
        if let Err(error) = self.segmenter.cut_discontinuity(end, next) {
            warn!(%error, "a segment of the recording could not be finished");
        }
        self.collect();
    }

    /// No segment lasts longer: it is what players are told.
    fn longest(&self) -> Ticks {
        LONGEST.max(self.target)
    }

    /// Whether `unit` is sound that the present timeline, which has pictures, cannot
    /// go on with: a change of either is a discontinuity (RFC 8216bis §4.4.4.3).
    fn is_other_sound(&mut self, unit: &AccessUnit) -> bool {
        if self.video.is_none() {
            return false;
        }
        let unexpected = self.segmenter.tracks().is_some_and(|tracks| !tracks.audio);
        let known = self.audio.as_ref();
        let changed = known.is_some_and(|known| *known != unit.config);
        if unexpected || changed {
            self.sound_waits = true;
        }
        self.sound_waits
    }

    /// Whether a segment may begin with `unit`.
    fn is_entry(&self, unit: &AccessUnit) -> bool {
        unit.key && (unit.track() == Track::Video || self.video.is_none())
    }

    fn begin_at(&mut self, at: Timestamp) {
        self.from = at;
        self.key = at;
        self.pictures = 0;
        self.bytes = 0;
        self.end = at;
        self.last = None;
    }

    fn begin_anew(&mut self, at: Timestamp, tracks: Tracks) {
        self.end_timeline(at);
        self.segmenter.announce(tracks);
        self.broken = false;
        if self.sound_waits {
            self.sound_waits = false;
            self.audio = None;
        }
        self.begin_at(at);
    }

    /// Cuts where the next key picture would be too late.
    fn cut_if_due(&mut self, at: Timestamp) {
        let sound_alone = self.video.is_none();
        let elapsed = at - self.from;
        if !sound_alone {
            self.period = at - self.key;
            self.key = at;
        }
        let late = elapsed + self.period > self.target || elapsed >= self.target;
        // The next part up to a key picture would not have the room that it may need.
        let large = self.bytes > MOST_BYTES / 2;
        if elapsed > Ticks::ZERO && (late || large) {
            self.segmenter.cut(at);
            let rate = self.pictures as f64 / elapsed.as_secs_f64();
            self.rate = Some(self.rate.map_or(rate, |before| before.max(rate)));
            self.from = at;
            self.pictures = 0;
            self.bytes = 0;
        }
    }

    fn note_end(&mut self, unit: &AccessUnit) {
        if unit.track() == Track::Audio && self.video.is_some() {
            return;
        }
        self.pictures += 1;
        let length = match unit.config.aac() {
            Some(aac) => {
                let samples = i64::from(aac.frame_samples) * Ticks::HZ;
                Ticks::new(samples / i64::from(aac.core_rate.max(1)))
            }
            // The last picture is as long as the one before.
            None => match self.last.replace(unit.dts) {
                Some(last) => unit.dts - last,
                None => Ticks::ZERO,
            },
        };
        self.end = self.end.max(unit.pts + length);
    }

    fn finish(&mut self) {
        let end = self.end.min(self.from + self.longest());
        if let Err(error) = self.segmenter.finish(end) {
            warn!(%error, "the last segment of the recording could not be finished");
        }
        self.collect();
    }

    /// Takes what is finished, which is of the codecs that are known now.
    fn collect(&mut self) {
        while let Some(segment) = self.segmenter.poll() {
            self.ready.push_back((self.output(), Arc::new(segment)));
        }
    }

    fn deliver(&mut self, broadcast: &Broadcast, tap: &Tap) {
        while let Some((output, segment)) = self.ready.pop_front() {
            tap.push_best(&[output], &[(0, segment)], broadcast.clock());
        }
    }

    fn output(&self) -> Output {
        let h264 = self.video.as_ref().and_then(|config| config.h264());
        Output {
            name: NAME.to_owned(),
            listed: true,
            stands_for: Vec::new(),
            rung: None,
            size: h264.map(|config| config.size),
            frame_rate: self.rate.filter(|_| h264.is_some()),
            video: self.video.clone(),
            audio: self.audio.clone(),
            audio_kbps: 0,
        }
    }
}

/// What the folder of such segments is called; no rung may be.
pub(super) const NAME: &str = "source";

/// No segment is longer: TARGETDURATION has to be said before the publisher has shown how
/// far apart its key pictures are, and must not change (RFC 8216bis §4.4.3.1). x264's
/// default, 250 pictures, is 25 s at 10 a second.
pub(super) const LONGEST: Ticks = Ticks::new(30 * Ticks::HZ);

/// Most bytes of segments that are not finished: 30 s at 8.9 Mbit/s, 6 s at 44.
const MOST_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests;
