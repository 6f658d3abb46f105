//! The ladder: one source's access units in, the segments of every rung out.
//!
//! Decodes once and [`ahead`], holds one picture back so that the next one's
//! time is known, lets [`pace`] mark key pictures and cuts, codes the picture on
//! all rungs in lockstep, and hands the coded units to one segmenter a rung.
//! Audio is coded or copied once and shared by all rungs. Where the source's own
//! units do as the top rung, [`passthrough`] says which are due instead.
//!
//! Knows no sockets, files, threads of its own or clocks: `weir serve` drives it
//! from a ring in [`worker`], `weir transcode` from a file.

mod ahead;
mod error;
mod fill;
mod fitness;
mod fitting;
mod hearing;
mod line;
mod marking;
mod outputs;
mod pace;
mod passthrough;
mod settings;
mod sound;
mod stats;
#[cfg(test)]
pub(crate) mod tests;
mod wants;
pub mod worker;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use codec::video::Cost;
use media::{AccessUnit, Size, Ticks, Timestamp, Track, TrackConfig};
use packager::Segmenter;

use self::ahead::{AHEAD, Ahead, Decoded, Of, Shown, Task};
pub use self::error::Error;
use self::fill::{Fill, LONGEST_PICTURE, REPEAT_EVERY};
pub use self::fitness::Unfit;
use self::hearing::{Admission, frame_length};
use self::line::Line;
use self::pace::{Mark, Pace, longest_segment};
use self::passthrough::Passthrough;
pub use self::settings::{Hints, Output, Settings, Sink};
use self::sound::Sound;
pub use self::stats::{RungCount, STAGES, Stage, Stats};
pub use self::wants::Wants;
use crate::config;

/// See the module.
pub struct Ladder<S> {
    settings: Settings,
    sink: S,
    ahead: Ahead,
    /// What came and was not looked at yet, in its order.
    waiting: VecDeque<Waiting>,
    /// Video has begun.
    video: bool,
    /// Size and sample aspect of the pictures that the lines are set up for.
    shape: Option<(Size, (u32, u32))>,
    lines: Vec<Line>,
    outputs: Vec<Output>,
    /// One for each output, where that is made into segments.
    segmenters: Vec<Option<Segmenter>>,
    pace: Pace,
    passthrough: Passthrough,
    held: Option<Shown>,
    /// The cost of the pictures that were left out behind `held`.
    left_out: Cost,
    fill: Fill,
    force: Force,
    sound: Option<Sound>,
    admission: Admission,
    /// Audio that waits to learn whether there will be video.
    waiting_audio: Vec<AccessUnit>,
    cuts: u64,
    /// Pictures since the cut at `counted_from`.
    counted: u64,
    counted_from: Timestamp,
    /// How long the last picture lasted.
    length: Ticks,
    /// Where the newest coded picture ends; the newest sound, where there are
    /// no pictures.
    end: Timestamp,
}

/// A unit whose turn has not come.
enum Waiting {
    /// What comes of the next task of the decoder.
    Decoded,
    Audio(AccessUnit),
}

/// What the next picture must be beside what the pace says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Force {
    Nothing,
    Cut,
    /// A discontinuity that can wait for a key picture of the source.
    Join,
    Discontinuity,
}

impl<S: Sink> Ladder<S> {
    /// A ladder that has seen nothing yet.
    pub fn new(settings: Settings, sink: S) -> Self {
        Self {
            pace: Pace::new(settings.segment),
            passthrough: Passthrough::new(
                settings.passthrough == config::Passthrough::Auto && !settings.rungs.is_empty(),
                &settings.rungs,
                longest_segment(settings.segment),
            ),
            ahead: Ahead::new(&settings),
            settings,
            sink,
            waiting: VecDeque::new(),
            video: false,
            shape: None,
            lines: Vec::new(),
            outputs: Vec::new(),
            segmenters: Vec::new(),
            held: None,
            left_out: Cost::default(),
            fill: Fill::new(),
            force: Force::Nothing,
            sound: None,
            admission: Admission::Open,
            waiting_audio: Vec::new(),
            cuts: 0,
            counted: 0,
            counted_from: Timestamp::ZERO,
            length: NOMINAL_PICTURE,
            end: Timestamp::ZERO,
        }
    }

    /// Where the segments go.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// Where the segments go.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Takes the next access unit of either track. An error ends the stream:
    /// damaged units are counted, not errors. It may be that of an earlier unit,
    /// for a few may still be decoded when this returns.
    pub fn push(&mut self, unit: AccessUnit) -> Result<(), Error> {
        let mut due = Vec::new();
        self.passthrough.hear(unit, &mut due);
        due.into_iter().try_for_each(|unit| self.enqueue(unit))
    }

    fn enqueue(&mut self, unit: AccessUnit) -> Result<(), Error> {
        match unit.track() {
            Track::Video => self.start(Task::Unit(unit)),
            Track::Audio => self.waiting.push_back(Waiting::Audio(unit)),
        }
        let crowded = self.waiting.len() > MAX_WAITING;
        self.advance(if crowded { 0 } else { AHEAD })
    }

    /// Codes all that came. For a source that has nothing more for now: viewers
    /// should not wait for its next unit.
    pub fn settle(&mut self) -> Result<(), Error> {
        self.advance(0)
    }

    /// Units were lost before this point: the decoder restarts at the next key
    /// unit and the segments say so.
    pub fn lost(&mut self) -> Result<(), Error> {
        self.end_trial(false)?;
        self.start(Task::Lost);
        Ok(())
    }

    fn end_trial(&mut self, passed: bool) -> Result<(), Error> {
        let mut due = Vec::new();
        self.passthrough.end_trial(passed, &mut due);
        due.into_iter().try_for_each(|unit| self.enqueue(unit))
    }

    /// Codes what is still held back, closes the last segments and gives the
    /// sink back.
    pub fn finish(mut self) -> Result<S, Error> {
        // All of it is shorter than a segment may be.
        self.end_trial(true)?;
        self.start(Task::End);
        self.settle()?;
        if !self.video && self.outputs.is_empty() {
            self.open_audio_only()?;
        }
        self.follow_sound()?;
        if let Some(picture) = self.held.take() {
            self.emit(picture, None)?;
        }
        if let Some(sound) = &mut self.sound {
            let mut units = Vec::new();
            self.settings
                .stats
                .timed(Stage::Audio, || sound.finish(&mut units))?;
            self.admit(units)?;
        }
        if self.cuts == 1 {
            // A broadcast of one segment has no other to be counted in.
            self.note_frame_rate(self.end);
        }
        let mut batch = Vec::new();
        for (index, segmenter) in self.segmenters.drain(..).enumerate() {
            let Some(mut segmenter) = segmenter else {
                continue;
            };
            self.settings
                .stats
                .timed(Stage::Mux, || segmenter.finish(self.end))?;
            while let Some(segment) = segmenter.poll() {
                batch.push((index, segment));
            }
        }
        batch.sort_by_key(|(index, segment)| (segment.number, *index));
        if !batch.is_empty() {
            self.sink.segments(&self.outputs, batch);
        }
        Ok(self.sink)
    }

    fn start(&mut self, task: Task) {
        self.ahead.start(task);
        self.waiting.push_back(Waiting::Decoded);
    }

    /// Takes what waits in its order, and waits for the decoder itself while it
    /// has more than `most` tasks.
    fn advance(&mut self, most: usize) -> Result<(), Error> {
        while let Some(next) = self.waiting.pop_front() {
            match next {
                Waiting::Decoded => {
                    let Some(decoded) = self.ahead.take(most) else {
                        self.waiting.push_front(Waiting::Decoded);
                        return Ok(());
                    };
                    self.decoded(decoded)?;
                }
                Waiting::Audio(unit) => {
                    self.push_audio(unit)?;
                    if self.fill.camera_froze() {
                        self.follow_sound()?;
                    }
                }
            }
            self.deliver();
        }
        Ok(())
    }

    fn decoded(&mut self, decoded: Decoded) -> Result<(), Error> {
        let damaged = matches!(decoded.outcome, Err(codec::Error::Malformed { .. }));
        match &decoded.of {
            Of::Unit(unit) => {
                self.video = true;
                self.passthrough.take(unit);
                if damaged {
                    self.passthrough.spoil(Unfit::Damage);
                }
            }
            Of::Skipped | Of::Lost | Of::Nothing => {}
        }
        for picture in decoded.pictures {
            self.picture(picture)?;
        }
        if matches!(decoded.of, Of::Lost) {
            self.passthrough.spoil(Unfit::Loss);
            self.force = Force::Discontinuity;
        }
        tolerate_damage(decoded.outcome, &self.settings.stats)
    }

    /// Takes a decoded picture and codes the one before it, whose length is now
    /// known.
    fn picture(&mut self, mut shown: Shown) -> Result<(), Error> {
        self.fill.picture_came();
        if let Some(held) = self.held.take() {
            if shown.pts() <= held.pts() {
                // A sender that repeats or turns back its time: the newer picture is left out.
                self.left_out = shown.cost.after(self.left_out);
                self.passthrough.spoil(Unfit::Damage);
                self.held = Some(held);
                return Ok(());
            }
            self.emit(held, Some(shown.pts()))?;
        }
        shown.cost = shown.cost.after(std::mem::take(&mut self.left_out));
        self.held = Some(shown);
        Ok(())
    }

    /// Codes a picture that lasts until `next`. A hole in the video is filled
    /// with repeats, so that segments keep their length while sound goes on.
    fn emit(&mut self, mut shown: Shown, next: Option<Timestamp>) -> Result<(), Error> {
        let Some(next) = next else {
            return self.code(&shown, None);
        };
        while next - shown.pts() > LONGEST_PICTURE {
            let repeat = shown.pts() + REPEAT_EVERY;
            self.code(&shown, Some(repeat))?;
            self.passthrough.spoil(Unfit::Hole);
            if !self.fill.repeat() {
                // A sender of holes: what it leaves out is left out.
                self.force = Force::Discontinuity;
                return Ok(());
            }
            shown.set_pts(repeat);
        }
        self.code(&shown, Some(next))
    }

    /// Repeats the picture in hand beside the sound that came without one.
    fn follow_sound(&mut self) -> Result<(), Error> {
        let Some(mut held) = self.held.take() else {
            return Ok(());
        };
        while self.fill.repeat_beside_sound() {
            let repeat = held.pts() + REPEAT_EVERY;
            self.code(&held, Some(repeat))?;
            self.passthrough.spoil(Unfit::Hole);
            held.set_pts(repeat);
        }
        self.held = Some(held);
        Ok(())
    }

    fn code(&mut self, shown: &Shown, next: Option<Timestamp>) -> Result<(), Error> {
        let picture = &*shown.picture;
        self.fit_lines(shown, next)?;
        let end = next.unwrap_or_else(|| {
            let guess = picture.pts + self.length;
            self.pace.last_end(picture.pts, guess)
        });
        let (mark, mut discontinuity) = self.mark(shown, end)?;
        if mark == Mark::Cut {
            discontinuity |= self.recolour(shown)?;
        }
        self.wake_lines()?;
        if mark == Mark::Cut {
            self.cut(picture.pts, discontinuity)?;
            // Sound from before the first picture has nothing to go with.
            let waiting = std::mem::take(&mut self.waiting_audio);
            waiting
                .into_iter()
                .filter(|unit| unit.pts >= picture.pts)
                .try_for_each(|unit| self.code_audio(unit))?;
        }
        let stats = &self.settings.stats;
        let lines = &mut self.lines;
        self.settings
            .pool
            .install(|| line::code_all(lines, shown, mark, stats));
        for index in 0..self.lines.len() {
            if let Some(unit) = self.lines[index].take_coded()? {
                self.place(index, unit)?;
            }
        }
        self.pass_on(end)?;
        self.counted += 1;
        self.length = next.map_or(self.length, |next| next - picture.pts);
        self.end = self.end.max(end);
        self.settings.stats.note_coded(picture.pts);
        if mark != Mark::Plain
            && let Some(line) = self.lines.iter().find(|line| line.wish().is_none())
        {
            self.sink.key_picture(line.scaled().unwrap_or(picture));
        }
        self.fill_silence(picture.pts)
    }

    fn hints(&self) -> Hints {
        *self
            .settings
            .hints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn same(one: &Arc<TrackConfig>, other: &Arc<TrackConfig>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// A damaged unit is counted and forgotten; whatever else went wrong will go
/// wrong again with the next unit and ends the stream.
fn tolerate_damage(result: Result<(), codec::Error>, stats: &Stats) -> Result<(), Error> {
    match result {
        Err(codec::Error::Malformed { .. }) => {
            stats.damaged.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Length of a picture that is the only one.
const NOMINAL_PICTURE: Ticks = Ticks::new(3000);

/// Entries that wait behind a decoder that is slow to begin: more than the sound
/// beside [`AHEAD`] pictures, so that it bounds nothing but odd interleavings.
const MAX_WAITING: usize = 64;
