//! The audio of a broadcast: copied when it fits, else decoded, brought to
//! stereo and the ladder's rate, and encoded. Once, for all rungs.

use std::sync::Arc;

use bytes::Bytes;
use codec::audio::{Decoder, Encoder, Resampler};
use media::{AacConfig, AccessUnit, SampleClock, Samples, Ticks, Timestamp, TrackConfig};

use super::fill::Allowance;
use super::frame_length;
use crate::config::{Audio, AudioMode};

pub(super) struct Sound {
    settings: Audio,
    state: State,
}

enum State {
    /// No rate was announced: the first second decides.
    Measuring {
        held: Vec<AccessUnit>,
        bytes: usize,
    },
    Copying(Copying),
    Encoding(Box<Encoding>),
}

/// The source's own frames, restamped by their count.
struct Copying {
    config: Arc<TrackConfig>,
    clock: SampleClock,
    /// A frame of silence in the sender's format, made when it is first needed.
    silence: Option<Bytes>,
    /// For holes that the sender leaves in its timestamps.
    holes: Allowance,
}

/// The way from a source's frames to ours. `source` is open once a frame came.
struct Encoding {
    source: Option<Source>,
    encoder: Encoder,
    rate: u32,
    /// Where the next sample goes in.
    next: Option<Timestamp>,
    /// For holes that the sender leaves in its timestamps.
    holes: Allowance,
}

struct Source {
    config: Arc<TrackConfig>,
    decoder: Decoder,
    clock: SampleClock,
    resampler: Resampler,
}

impl Sound {
    pub(super) fn new(settings: &Audio) -> Self {
        let state = State::Measuring {
            held: Vec::new(),
            bytes: 0,
        };
        Self {
            settings: *settings,
            state,
        }
    }

    /// A track that begins as silence at `from`, for audio that was announced
    /// and has not come.
    pub(super) fn silent(settings: &Audio, from: Timestamp) -> Result<Self, codec::Error> {
        let mut encoding = Encoding::open(settings)?;
        encoding.next = Some(from);
        Ok(Self {
            settings: *settings,
            state: State::Encoding(Box::new(encoding)),
        })
    }

    /// Takes a source frame and appends what is ready. `announced` is the rate
    /// that the publisher stated, in kbit/s.
    pub(super) fn push(
        &mut self,
        unit: AccessUnit,
        announced: Option<f64>,
        out: &mut Vec<AccessUnit>,
    ) -> Result<(), codec::Error> {
        if let State::Measuring { held, bytes } = &mut self.state {
            let Some(config) = unit.config.aac() else {
                return Ok(());
            };
            let stated = announced.filter(|kbps| *kbps > 0.0);
            let kbps = match (self.settings.mode, stated) {
                (AudioMode::Auto, None) if fits(config) => {
                    let first = held.first().map_or(unit.pts, |first| first.pts);
                    let span = unit.pts - first;
                    *bytes += unit.data.len();
                    held.push(unit);
                    if span < Ticks::SECOND && held.len() < MAX_MEASURED {
                        return Ok(());
                    }
                    *bytes as f64 * 8.0 / 1000.0 / span.as_secs_f64().max(0.1)
                }
                (_, stated) => {
                    held.push(unit);
                    stated.unwrap_or(0.0)
                }
            };
            return self.decide(kbps, out);
        }
        self.take(unit, out)
    }

    fn decide(&mut self, kbps: f64, out: &mut Vec<AccessUnit>) -> Result<(), codec::Error> {
        let State::Measuring { held, .. } = &mut self.state else {
            return Ok(());
        };
        let held = std::mem::take(held);
        let Some(first) = held.first() else {
            return Ok(());
        };
        let copy = first
            .config
            .aac()
            .is_some_and(|config| match self.settings.mode {
                AudioMode::Auto => fits(config) && kbps <= COPY_UP_TO_KBPS,
                AudioMode::Copy => config.object_type == 2 && config.channels > 0,
                AudioMode::Encode => false,
            });
        self.state = if copy {
            State::Copying(Copying::new(&first.config))
        } else {
            State::Encoding(Box::new(Encoding::open(&self.settings)?))
        };
        held.into_iter().try_for_each(|unit| self.take(unit, out))
    }

    fn take(&mut self, unit: AccessUnit, out: &mut Vec<AccessUnit>) -> Result<(), codec::Error> {
        match &mut self.state {
            State::Measuring { .. } => Ok(()),
            State::Copying(copying) if *copying.config != *unit.config => {
                // The sender changed its audio: decide again by what is known now.
                self.state = State::Measuring {
                    held: vec![unit],
                    bytes: 0,
                };
                self.decide(0.0, out)
            }
            State::Copying(copying) => copying.take(unit, out),
            State::Encoding(encoding) => encoding.take(&unit, out),
        }
    }

    /// Where the next frame will start, once that is known.
    pub(super) fn next(&self) -> Option<Timestamp> {
        match &self.state {
            State::Encoding(encoding) => encoding.next,
            State::Copying(copying) => copying.clock.next(),
            State::Measuring { .. } => None,
        }
    }

    /// Appends silence up to `until`.
    pub(super) fn silence_until(
        &mut self,
        until: Timestamp,
        out: &mut Vec<AccessUnit>,
    ) -> Result<(), codec::Error> {
        match &mut self.state {
            State::Encoding(encoding) => encoding.silence_until(until, out),
            State::Copying(copying) => copying.silence_until(until, out),
            State::Measuring { .. } => Ok(()),
        }
    }

    /// Appends what is still held.
    pub(super) fn finish(&mut self, out: &mut Vec<AccessUnit>) -> Result<(), codec::Error> {
        if let State::Measuring { held, bytes } = &self.state
            && let (Some(first), Some(last)) = (held.first(), held.last())
        {
            let span = (last.pts - first.pts).as_secs_f64().max(0.1);
            self.decide(*bytes as f64 * 8.0 / 1000.0 / span, out)?;
        }
        match &mut self.state {
            State::Encoding(encoding) => encoding.finish(out),
            State::Measuring { .. } | State::Copying(_) => Ok(()),
        }
    }
}

impl Copying {
    fn new(config: &Arc<TrackConfig>) -> Self {
        let rate = config.aac().map_or(48_000, |config| config.core_rate);
        Self {
            config: Arc::clone(config),
            clock: SampleClock::new(rate, FOLLOW_AFTER),
            silence: None,
            holes: Allowance::new(),
        }
    }

    fn take(&mut self, unit: AccessUnit, out: &mut Vec<AccessUnit>) -> Result<(), codec::Error> {
        if let Some(next) = self.clock.next() {
            if next - unit.pts > FOLLOW_AFTER {
                // Silence has taken its place already.
                return Ok(());
            }
            // A hole that is not paid for stays one: the clock moves on.
            let hole = unit.pts - next;
            if hole > FOLLOW_AFTER && self.holes.spend(hole) {
                self.silence_until(unit.pts, out)?;
            }
        }
        self.holes.earn(frame_length(&unit));
        self.give(unit.pts, unit.data, out);
        Ok(())
    }

    /// Fills in frames of silence. A format that our encoder does not speak is
    /// left with the hole.
    fn silence_until(
        &mut self,
        until: Timestamp,
        out: &mut Vec<AccessUnit>,
    ) -> Result<(), codec::Error> {
        let silence = match &self.silence {
            Some(silence) => silence.clone(),
            None => self.silence.insert(self.silent_frame()?).clone(),
        };
        while let Some(next) = self.clock.next()
            && next < until
            && !silence.is_empty()
        {
            self.give(next, silence.clone(), out);
        }
        Ok(())
    }

    fn give(&mut self, stamped: Timestamp, data: Bytes, out: &mut Vec<AccessUnit>) {
        let samples = self
            .config
            .aac()
            .map_or(1024, |config| config.frame_samples);
        let (pts, _) = self.clock.stamp(stamped, samples);
        out.push(AccessUnit {
            pts,
            dts: pts,
            key: true,
            data,
            config: Arc::clone(&self.config),
        });
    }

    /// A frame of silence from the middle of some: AAC-LC of one rate and
    /// channel count is the same format whoever encoded it. Empty where there is
    /// none.
    fn silent_frame(&self) -> Result<Bytes, codec::Error> {
        let Some(config) = self.config.aac() else {
            return Ok(Bytes::new());
        };
        let plain = config.object_type == 2 && config.frame_samples == 1024;
        if !plain || !matches!(config.channels, 1 | 2) {
            return Ok(Bytes::new());
        }
        let mut encoder = Encoder::open(config.core_rate, config.channels, 64)?;
        let samples = Samples {
            pts: Timestamp::ZERO,
            rate: config.core_rate,
            channels: config.channels,
            data: vec![0.0; SILENCE_BLOCK * 2 * usize::from(config.channels)],
        };
        let mut frames = Vec::new();
        encoder.encode(&samples, &mut frames)?;
        Ok(frames.pop().map(|frame| frame.data).unwrap_or_default())
    }
}

impl Encoding {
    fn open(settings: &Audio) -> Result<Self, codec::Error> {
        let encoder = Encoder::open(settings.sample_rate, 2, settings.kbps)?;
        Ok(Self {
            source: None,
            encoder,
            rate: settings.sample_rate,
            next: None,
            holes: Allowance::new(),
        })
    }

    fn take(&mut self, unit: &AccessUnit, out: &mut Vec<AccessUnit>) -> Result<(), codec::Error> {
        if self
            .source
            .as_ref()
            .is_none_or(|source| *source.config != *unit.config)
        {
            let Some(config) = unit.config.aac() else {
                return Ok(());
            };
            self.source = Some(Source {
                config: Arc::clone(&unit.config),
                decoder: Decoder::open(config)?,
                clock: SampleClock::new(config.core_rate, FOLLOW_AFTER),
                resampler: Resampler::new(self.rate),
            });
        }
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        let samples = source
            .config
            .aac()
            .map_or(1024, |config| config.frame_samples);
        let (pts, _) = source.clock.stamp(unit.pts, samples);
        let (decoded, damage) = match source.decoder.decode(unit, pts) {
            Ok(decoded) => (decoded, None),
            // Without something in its place all that follows would be early.
            Err(damage @ codec::Error::Malformed { .. }) => {
                (Some(source.decoder.silence(pts)), Some(damage))
            }
            Err(error) => return Err(error),
        };
        let mut stereo = Vec::new();
        if let Some(decoded) = decoded {
            source.resampler.process(&decoded, &mut stereo)?;
        }
        stereo
            .into_iter()
            .try_for_each(|samples| self.encode(samples, out))?;
        damage.map_or(Ok(()), Err)
    }

    /// Encodes samples where they belong: what overlaps the past is cut off, a
    /// hole before them is filled with silence.
    fn encode(
        &mut self,
        mut samples: Samples,
        out: &mut Vec<AccessUnit>,
    ) -> Result<(), codec::Error> {
        if let Some(next) = self.next {
            let hole = samples.pts - next;
            if hole > FOLLOW_AFTER {
                if self.holes.spend(hole) {
                    self.silence_until(samples.pts, out)?;
                } else {
                    // Not paid for, it stays a hole.
                    self.next = Some(samples.pts);
                }
            } else if next - samples.pts > FOLLOW_AFTER {
                let late = (next - samples.pts).as_secs_f64() * f64::from(self.rate);
                let drop = (late as usize).min(samples.frames());
                samples.data.drain(..drop * 2);
                if samples.data.is_empty() {
                    return Ok(());
                }
            }
        }
        // Within the tolerance the count of samples is the clock.
        samples.pts = self.next.unwrap_or(samples.pts);
        let length = Ticks::from_periods(samples.frames() as i64, self.rate);
        self.next = Some(samples.pts + length);
        self.holes.earn(length);
        self.encoder.encode(&samples, out)
    }

    fn silence_until(
        &mut self,
        until: Timestamp,
        out: &mut Vec<AccessUnit>,
    ) -> Result<(), codec::Error> {
        while let Some(next) = self.next
            && next < until
        {
            let frames = (until - next).as_secs_f64() * f64::from(self.rate);
            let frames = (frames as usize).clamp(1, SILENCE_BLOCK);
            let samples = Samples {
                pts: next,
                rate: self.rate,
                channels: 2,
                data: vec![0.0; frames * 2],
            };
            self.next = Some(next + Ticks::from_periods(frames as i64, self.rate));
            self.encoder.encode(&samples, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AccessUnit>) -> Result<(), codec::Error> {
        let mut stereo = Vec::new();
        if let Some(source) = &mut self.source {
            source.resampler.flush(&mut stereo)?;
        }
        stereo
            .into_iter()
            .try_for_each(|samples| self.encode(samples, out))?;
        self.encoder.flush(out)
    }
}

/// What every player plays: stereo AAC-LC at 44.1 or 48 kHz (Apple HLS
/// authoring 2.3, 2.9).
fn fits(config: &AacConfig) -> bool {
    config.object_type == 2
        && config.channels == 2
        && matches!(config.sample_rate, 44_100 | 48_000)
        && config.frame_samples == 1024
}

/// The most that is copied: above it the lowest rung would be half audio.
const COPY_UP_TO_KBPS: f64 = 192.0;

/// How far a sender's audio timestamps may stray from the count of its samples
/// before the count follows: two frames, more than rounding and less than ear
/// and eye notice.
const FOLLOW_AFTER: Ticks = Ticks::from_millis(45);

/// Frames held at the most while the rate is measured: a second at 48 kHz holds
/// 47; a clock that stands still must not hold more.
const MAX_MEASURED: usize = 100;

/// Instants of silence encoded at a time.
const SILENCE_BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that come out when each of `count` source frames claims to lie
    /// `step` after the one before.
    fn frames(mode: AudioMode, count: i64, step: Ticks) -> usize {
        let config = bitstream::asc::low_complexity(48_000, 2).unwrap();
        let config = Arc::new(TrackConfig::Aac(config));
        let settings = Audio {
            mode,
            kbps: 128,
            sample_rate: 48_000,
        };
        let mut sound = Sound::new(&settings);
        let mut out = Vec::new();
        for index in 0..count {
            let pts = Timestamp::ZERO + Ticks::new(step.get() * index);
            let unit = AccessUnit {
                pts,
                dts: pts,
                key: true,
                data: Bytes::from_static(&[0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c]),
                config: Arc::clone(&config),
            };
            // The frame is a poor one: what a decoder says of it does not matter here.
            let _ = sound.push(unit, Some(128.0), &mut out);
        }
        out.len()
    }

    #[test]
    fn a_sender_of_holes_is_not_filled_for_ever() {
        for mode in [AudioMode::Auto, AudioMode::Encode] {
            // Three holes of 9.5 s are paid for, 1337 frames; the rest are left.
            let made = frames(mode, 60, Ticks::from_millis(9500));
            assert!((1300..1600).contains(&made), "{mode:?}: {made}");
        }
    }

    #[test]
    fn a_hole_is_filled_with_silence() {
        for mode in [AudioMode::Auto, AudioMode::Encode] {
            // Four holes of one second, less one frame each.
            let made = frames(mode, 5, Ticks::SECOND);
            assert!((185..195).contains(&made), "{mode:?}: {made}");
        }
    }
}
