//! The sound of a ladder: when it joins the segments, what stands in for it, and
//! what happens where there is nothing else.
//!
//! What becomes of the samples themselves is for [`sound`](super::sound).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use media::{AccessUnit, Ticks, Timestamp};

use super::ahead::Shown;
use super::pace::Mark;
use super::settings::{Output, Sink};
use super::sound::Sound;
use super::stats::Stage;
use super::{Error, Force, Ladder, same, tolerate_damage};

/// Whether coded audio goes into the segments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The set of tracks is still open: audio is welcome.
    Open,
    /// The first segment ended without audio. A late track may only join at a
    /// discontinuity, for it changes the PMT (RFC 8216bis 4.4.4.3).
    Missed,
    /// Audio joins at the next cut.
    NextCut,
    /// From here on.
    From(Timestamp),
}

impl<S: Sink> Ladder<S> {
    /// The first segment is over: what has come by now is the set of tracks.
    pub(super) fn settle_tracks(&mut self, at: Timestamp) -> Result<(), Error> {
        if self.sound.is_some() {
            return Ok(());
        }
        if self.hints().audio {
            // Announced but late: silence holds its place, so that it can join
            // without a new PMT and new buffers in every player.
            let from = self.counted_from;
            let mut sound = Sound::silent(&self.settings.audio, from)?;
            let mut units = Vec::new();
            sound.silence_until(at, &mut units)?;
            self.sound = Some(sound);
            return self.admit(units);
        }
        self.admission = Admission::Missed;
        Ok(())
    }

    /// Fills in for sound that stopped: players stall when one of two tracks
    /// ends. Counts the pictures that came since the last sound, not how far the
    /// two clocks are apart.
    pub(super) fn fill_silence(&mut self, video: Timestamp) -> Result<(), Error> {
        let Some(sound) = &mut self.sound else {
            return Ok(());
        };
        let (Some(next), Some(due)) = (sound.next(), self.fill.silence(video)) else {
            return Ok(());
        };
        let mut units = Vec::new();
        self.settings
            .stats
            .timed(Stage::Audio, || sound.silence_until(next + due, &mut units))?;
        self.admit(units)
    }

    pub(super) fn push_audio(&mut self, unit: AccessUnit) -> Result<(), Error> {
        if self.outputs.is_empty() {
            let first = self
                .waiting_audio
                .first()
                .map_or(unit.pts, |first| first.pts);
            let waited = unit.pts - first;
            self.waiting_audio.push(unit);
            let too_many = self.waiting_audio.len() > MAX_WAITING_AUDIO;
            // Players that began with sound alone never get the picture.
            let patience = if self.hints().video {
                ANNOUNCED_VIDEO
            } else {
                Ticks::ZERO
            };
            if waited > self.settings.wait_for_video.max(patience) || too_many {
                self.open_audio_only()?;
            }
            return Ok(());
        }
        self.code_audio(unit)
    }

    pub(super) fn open_audio_only(&mut self) -> Result<(), Error> {
        if self.waiting_audio.is_empty() {
            return Ok(());
        }
        // Without a listed rung there is nothing to list sound beside.
        let listed = !self.settings.rungs.is_empty();
        self.outputs.push(Output {
            name: "audio".to_owned(),
            listed,
            stands_for: self.settings.wants.names().to_vec(),
            rung: None,
            size: None,
            frame_rate: None,
            video: None,
            audio: None,
            audio_kbps: self.settings.audio.kbps,
        });
        self.segmenters.push(self.segmenter(listed));
        self.passthrough.end_trial(false, &mut Vec::new());
        let waiting = std::mem::take(&mut self.waiting_audio);
        waiting
            .into_iter()
            .try_for_each(|unit| self.code_audio(unit))
    }

    pub(super) fn code_audio(&mut self, unit: AccessUnit) -> Result<(), Error> {
        let newest = self.held.as_ref().map(Shown::pts);
        self.fill.sound_came(frame_length(&unit), newest);
        let hints = self.hints();
        let stats = &self.settings.stats;
        let sound = self
            .sound
            .get_or_insert_with(|| Sound::new(&self.settings.audio));
        let mut units = Vec::new();
        tolerate_damage(
            stats.timed(Stage::Audio, || {
                sound.push(unit, hints.audio_kbps, &mut units)
            }),
            stats,
        )?;
        self.admit(units)
    }

    /// Puts coded audio into the segments, if its time has come.
    pub(super) fn admit(&mut self, units: Vec<AccessUnit>) -> Result<(), Error> {
        for unit in units {
            match self.admission {
                Admission::Open => {}
                Admission::Missed => {
                    self.admission = Admission::NextCut;
                    self.force = self.force.max(Force::Join);
                    continue;
                }
                Admission::NextCut => continue,
                Admission::From(at) if unit.pts < at => continue,
                Admission::From(_) => self.admission = Admission::Open,
            }
            for output in &mut self.outputs {
                match &output.audio {
                    Some(config) if same(config, &unit.config) => continue,
                    Some(_) => self.force = Force::Discontinuity,
                    None => {}
                }
                output.audio = Some(Arc::clone(&unit.config));
            }
            let length = frame_length(&unit);
            if self.lines.is_empty() {
                let force = std::mem::replace(&mut self.force, Force::Nothing);
                if self
                    .pace
                    .mark(unit.pts, unit.pts + length, force != Force::Nothing)
                    == Mark::Cut
                {
                    self.cut(unit.pts, force >= Force::Join)?;
                }
                self.settings.stats.note_coded(unit.pts);
                self.end = self.end.max(unit.pts + length);
            }
            for (output, segmenter) in self.outputs.iter().zip(&mut self.segmenters) {
                let segmenter = segmenter.as_mut();
                match segmenter.map_or(Ok(()), |segmenter| segmenter.push(unit.clone())) {
                    // A copied frame is the sender's: what ADTS cannot hold is left out.
                    Err(packager::Error::Malformed { .. } | packager::Error::Bitstream { .. }) => {
                        self.settings.stats.damaged.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    other => other?,
                }
                self.sink.unit(output, &unit);
            }
        }
        Ok(())
    }
}

pub(super) fn frame_length(unit: &AccessUnit) -> Ticks {
    let periods = unit
        .config
        .aac()
        .map(|config| (i64::from(config.frame_samples), config.core_rate));
    periods.map_or(Ticks::ZERO, |(samples, rate)| {
        Ticks::from_periods(samples, rate.max(1))
    })
}

/// How long sound waits for video that was announced: an encoder that starts
/// its camera takes seconds, not tens of them.
const ANNOUNCED_VIDEO: Ticks = Ticks::from_millis(10_000);

/// Bound on the units that wait, for a sender whose audio clock stands still.
/// More than the frames of a minute at 48 kHz.
const MAX_WAITING_AUDIO: usize = 3000;
