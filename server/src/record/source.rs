//! Recording without a ladder (`hls.enabled = false`): the publisher's own units,
//! cut at its key pictures.
//!
//! A task of its own reads the broadcast's ring, as players do; one that is too slow
//! for it misses units and says so by a discontinuity.

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
        loop {
            match reader.next().await {
                Next::Unit(packet) => cutter.push(&packet.unit, || announced(&broadcast)),
                Next::Lagged(missed) => {
                    warn!(stream = %broadcast.name(), missed, "the recording has missed units of the publisher");
                    cutter.broken = true;
                }
                Next::Closed => break,
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
            ..SegmenterConfig::default()
        };
        Self {
            target,
            segmenter: Segmenter::new(config),
            begun: false,
            video: None,
            audio: None,
            broken: false,
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
            if self.broken || changed || new {
                self.begin_anew(unit.pts, announced());
            } else {
                self.cut_if_due(unit.pts);
            }
        }
        if self.broken {
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
            Ok(()) => self.note_end(unit),
            // Its own fault: the others are good.
            Err(packager::Error::Malformed { .. } | packager::Error::Bitstream { .. }) => {}
            Err(error) => {
                warn!(%error, "the recording of a publisher's own pictures is broken off until the next key picture");
                self.broken = true;
            }
        }
    }

    /// Whether a segment may begin with `unit`.
    fn is_entry(&self, unit: &AccessUnit) -> bool {
        unit.key && (unit.track() == Track::Video || self.video.is_none())
    }

    fn begin_at(&mut self, at: Timestamp) {
        self.from = at;
        self.key = at;
        self.pictures = 0;
        self.end = at;
        self.last = None;
    }

    fn begin_anew(&mut self, at: Timestamp, tracks: Tracks) {
        let end = self.end;
        if let Err(error) = self.segmenter.cut_discontinuity(end, at) {
            warn!(%error, "a segment of the recording could not be finished");
        }
        self.segmenter.announce(tracks);
        self.broken = false;
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
        if elapsed + self.period > self.target || elapsed >= self.target {
            self.segmenter.cut(at);
            let rate = self.pictures as f64 / elapsed.as_secs_f64();
            self.rate = Some(self.rate.map_or(rate, |before| before.max(rate)));
            self.from = at;
            self.pictures = 0;
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
        if let Err(error) = self.segmenter.finish(self.end) {
            warn!(%error, "the last segment of the recording could not be finished");
        }
    }

    fn deliver(&mut self, broadcast: &Broadcast, tap: &Tap) {
        while let Some(segment) = self.segmenter.poll() {
            let segment: Arc<Segment> = Arc::new(segment);
            let output = self.output();
            let clock = broadcast.clock();
            tap.push_best(&[output], &[(0, segment)], clock);
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
const NAME: &str = "source";

#[cfg(test)]
mod tests;
