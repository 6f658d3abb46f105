//! The source's own access units as the top rung (`hls.passthrough = "auto"`).
//!
//! Three questions are answered here: whether a broadcast begins this way, which
//! units are due when a picture has been coded on the other rungs, and when it
//! ends or begins again. What would do is for [`fitness`](super::fitness) to
//! say, where segments begin for [`pace`](super::pace).
//!
//! **The beginning.** Whether a source's key pictures come often enough is known
//! with the second of them. Until then its units are held, undecoded: the
//! [`Trial`]. It costs at most one group of pictures of delay, of which none is
//! left by the time a segment of several groups is complete, and spares every
//! source that will not do a discontinuity in its first minute.
//!
//! **Order.** Units come in decoding order, pictures are coded in presentation
//! order. A unit is passed on when a picture at or after its own has been coded,
//! and none before the units ahead of it: a segment then ends cleanly wherever
//! the passing has to end, for what is held back is just what refers to pictures
//! that are not shown any more.

use std::collections::VecDeque;
use std::sync::Arc;

use media::{AccessUnit, Rung, Ticks, Timestamp, Track, TrackConfig};

use super::fitness::{Unfit, Watch};

pub(super) struct Passthrough {
    /// `None`: switched off.
    watch: Option<Watch>,
    trial: Option<Trial>,
    state: State,
    /// What has to be well before it begins in mid-broadcast.
    patience: Ticks,
}

#[derive(Default)]
enum State {
    #[default]
    Off,
    /// Begins with the picture of the first unit.
    Boarding(Passing),
    On(Passing),
}

struct Passing {
    config: Arc<TrackConfig>,
    /// Units whose turn has not come, in decoding order.
    units: VecDeque<AccessUnit>,
    /// What went wrong since the last picture.
    unfit: Option<Unfit>,
}

/// Units from the first key unit on, until it is known how to begin.
struct Trial {
    watch: Watch,
    longest_segment: Ticks,
    held: Vec<AccessUnit>,
    bytes: usize,
    first: Option<Timestamp>,
}

impl Passthrough {
    pub(super) fn new(auto: bool, rungs: &[Rung], longest_segment: Ticks) -> Self {
        let watch = auto.then(|| Watch::new(rungs, longest_segment));
        let trial = watch.clone().map(|watch| Trial {
            watch,
            longest_segment,
            held: Vec::new(),
            bytes: 0,
            first: None,
        });
        Self {
            watch,
            trial,
            state: State::Off,
            patience: PATIENCE,
        }
    }

    /// Takes a unit of either track before anything else is done with it, and
    /// appends those whose turn it is.
    pub(super) fn hear(&mut self, unit: AccessUnit, out: &mut Vec<AccessUnit>) {
        let Some(trial) = &mut self.trial else {
            out.push(unit);
            return;
        };
        let begins = unit.key && unit.track() == Track::Video;
        if trial.first.is_none() && !begins {
            out.push(unit);
            return;
        }
        if let Some(passed) = trial.take(unit) {
            self.end_trial(passed, out);
        }
    }

    /// Ends a trial that is under way, as `passed` unless it had not begun, and
    /// appends what it held.
    pub(super) fn end_trial(&mut self, passed: bool, out: &mut Vec<AccessUnit>) {
        let Some(trial) = self.trial.take() else {
            return;
        };
        if let (true, Some(first)) = (passed, trial.held.first()) {
            self.state = State::Boarding(Passing::new(first));
        }
        out.extend(trial.held);
    }

    /// Looks at a unit that was decoded.
    pub(super) fn take(&mut self, unit: &AccessUnit) {
        let Some(watch) = &mut self.watch else { return };
        let verdict = watch.take(unit);
        if let State::Off = self.state {
            let well = watch.well_for(unit.pts);
            if unit.key && verdict.is_ok() && well.is_some_and(|well| well >= self.patience) {
                self.state = State::Boarding(Passing::new(unit));
            }
        }
        let (State::Boarding(passing) | State::On(passing)) = &mut self.state else {
            return;
        };
        // Those of another configuration are not waited for: the passing ends
        // with the first picture of theirs.
        if !super::same(&passing.config, &unit.config) {
            return;
        }
        match verdict {
            Ok(()) if passing.units.len() < MOST_UNITS => passing.units.push_back(unit.clone()),
            Ok(()) => passing.spoil(Unfit::Damage),
            Err(why) => passing.spoil(why),
        }
    }

    /// Something other than a unit speaks against passing on.
    pub(super) fn spoil(&mut self, why: Unfit) {
        if let Some(watch) = &mut self.watch {
            watch.spoil();
        }
        if let State::Boarding(passing) | State::On(passing) = &mut self.state {
            passing.spoil(why);
        }
    }

    pub(super) fn is_on(&self) -> bool {
        matches!(self.state, State::On(_))
    }

    /// Whether the passing begins with the picture of `pts`; it then is on.
    pub(super) fn boards(&mut self, pts: Timestamp, config: &Arc<TrackConfig>) -> bool {
        let State::Boarding(passing) = &self.state else {
            return false;
        };
        let Some(first) = passing.units.front().map(|unit| unit.pts) else {
            self.state = State::Off;
            return false;
        };
        if pts < first {
            return false;
        }
        let State::Boarding(passing) = std::mem::take(&mut self.state) else {
            return false;
        };
        // Its picture may never have come, or trouble has come with it.
        let good = pts == first && passing.unfit.is_none() && super::same(&passing.config, config);
        if good {
            self.state = State::On(passing);
        }
        good
    }

    /// Why the passing has to end with a picture of `config`, if it has to.
    pub(super) fn ends(&self, config: &Arc<TrackConfig>) -> Option<Unfit> {
        match &self.state {
            State::On(passing) if !super::same(&passing.config, config) => Some(Unfit::Changed),
            State::On(passing) => passing.unfit,
            State::Off | State::Boarding(_) => None,
        }
    }

    /// Whether the picture of `pts` is a key picture of the source, and if so,
    /// how far behind it the next one is to be expected.
    pub(super) fn key(&self, pts: Timestamp) -> Option<Ticks> {
        let (State::On(passing), Some(watch)) = (&self.state, &self.watch) else {
            return None;
        };
        let key = passing.units.iter().any(|unit| unit.key && unit.pts == pts);
        key.then(|| watch.expected())
    }

    /// The next unit that is due when `before` is where the next picture begins.
    pub(super) fn due(&mut self, before: Timestamp) -> Option<AccessUnit> {
        let State::On(passing) = &mut self.state else {
            return None;
        };
        passing.units.pop_front_if(|unit| unit.pts < before)
    }

    /// Ends the passing. What is still held refers to pictures that will be
    /// coded here.
    pub(super) fn end(&mut self) {
        self.state = State::Off;
        if let Some(watch) = &mut self.watch {
            watch.spoil();
        }
    }

    /// Asks for more the next time. Called where it begins in mid-broadcast.
    pub(super) fn lose_patience(&mut self) {
        self.patience = Ticks::new(self.patience.get().saturating_mul(2));
    }
}

impl Passing {
    fn new(first: &AccessUnit) -> Self {
        Self {
            config: Arc::clone(&first.config),
            units: VecDeque::new(),
            unfit: None,
        }
    }

    fn spoil(&mut self, why: Unfit) {
        self.unfit.get_or_insert(why);
    }
}

impl Trial {
    /// Holds a unit. `Some` when the trial is over: whether it was passed.
    fn take(&mut self, unit: AccessUnit) -> Option<bool> {
        let first = *self.first.get_or_insert(unit.pts);
        let video = unit.track() == Track::Video;
        let verdict = if video {
            self.watch.take(&unit)
        } else {
            Ok(())
        };
        // Sound may lead its pictures by so much; where these stop, it tells.
        let late = if video { Ticks::ZERO } else { Ticks::SECOND };
        let too_late = unit.pts - first > self.longest_segment + late;
        let second = video && unit.key && !self.held.is_empty();
        self.bytes += unit.data.len();
        self.held.push(unit);
        let too_much = self.bytes > MOST_HELD_BYTES || self.held.len() > MOST_HELD;
        if verdict.is_err() || too_late || too_much {
            Some(false)
        } else {
            second.then_some(true)
        }
    }
}

/// What has to be well before it begins in mid-broadcast, the first time: five
/// segments, in which a source that will not do for long would have shown it.
/// Twice as long each time after, so that the discontinuities of a day stay few
/// whatever the source does: ten beginnings take more than eight hours.
const PATIENCE: Ticks = Ticks::from_millis(30_000);

/// Units that wait for their pictures: more than a decoder holds back (16) and
/// is ahead.
const MOST_UNITS: usize = 64;

/// What a trial holds at the most: the bytes that a ring may, and four seconds of
/// the busiest audio and video for each second of the longest segment.
const MOST_HELD_BYTES: usize = 12 << 20;
const MOST_HELD: usize = 8192;
