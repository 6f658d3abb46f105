//! How bits are shared out between pictures: one quantiser for each.
//!
//! A single pass without lookahead, and pure: instants, costs and the sizes of
//! coded pictures in, quantisers out. It knows no encoder, so it can be tested
//! against a made-up one and put before another.
//!
//! Three things pull at the quantiser:
//!
//! * The [`Bucket`] of the decoder's buffer (VBV). It is a hard limit: bits in
//!   any window of T seconds never exceed `max_kbps * T + buffer_kbits`.
//! * The average rate: what was not spent may be spent later, as far as the
//!   bucket allows.
//! * The work of the pictures: key pictures and others have a [`Model`] each,
//!   that learns how many bits a unit of cost takes, and an expectation of the
//!   key pictures still to come.
//!
//! The quantiser of a steady scene stays steady: it is chosen so that a whole
//! key period, key picture included, spends what is wanted, and the bucket's
//! level is compared with the level it should have at this point of the period.
//!
//! What was tried and what each part is worth is in docs/encoding.md.

mod bucket;
mod model;

use media::Timestamp;

use self::bucket::Bucket;
use self::model::Model;

/// What a [`Control`] keeps to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    /// Average rate, in kbit/s.
    pub(super) video_kbps: f64,
    /// Highest rate over the buffer, in kbit/s.
    pub(super) max_kbps: f64,
    /// Decoder buffer, in kbit.
    pub(super) buffer_kbits: f64,
    /// Pictures a second, nominally; the pictures' own instants take over.
    pub(super) frame_rate: f64,
    /// Macroblocks in a picture.
    pub(super) macroblocks: f64,
}

/// How hard a picture is to code: mean absolute differences of its 8x8 blocks
/// at low resolution, in sums of samples (0 to 16,320).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// From what lies beside each block.
    pub(super) intra: f64,
    /// From the picture before, with motion, or from beside, whichever is less.
    pub(super) inter: f64,
}

impl Cost {
    /// The cost of the same picture once more.
    pub fn repeated(self) -> Self {
        Self { inter: 0.0, ..self }
    }

    /// The cost of this picture where the one before it, of cost `left_out`, was
    /// not coded: at most the sum, and never more than without any before.
    pub fn after(self, left_out: Self) -> Self {
        Self {
            inter: (self.inter + left_out.inter).min(self.intra.max(self.inter)),
            ..self
        }
    }
}

/// What to do with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Code(Quantiser),
    /// There is no room for even the smallest picture.
    LeaveOut,
}

/// How coarsely to code a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quantiser {
    /// H.264's quantisation parameter, [`FINEST`] to [`COARSEST`].
    pub(super) qp: u8,
    /// Average the samples over squares of 2 to the power of this before
    /// coding, 0 to [`SOFTEST`]: what the coarsest quantiser cannot make small
    /// enough. With the last there is one value a macroblock.
    pub(super) soften: u8,
}

/// What to do about a coded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// It overflows the decoder's buffer. Code it again as a key picture, which
    /// needs nothing of the one thrown away.
    Again(Quantiser),
}

/// See the module. Call [`Self::plan`] for every picture and, if it is to be
/// coded, [`Self::coded`] after it.
#[derive(Debug)]
pub(super) struct Control {
    settings: Settings,
    bucket: Bucket,
    /// Bits spent above the average rate since the start, in kbit; what was
    /// saved is forgotten beyond [`SAVINGS`].
    debt: f64,
    last: Option<Timestamp>,
    /// Seconds a picture, averaged.
    interval: f64,
    key: Model,
    inter: Model,
    /// Pictures since the last key picture, that one included.
    since_key: f64,
    /// Pictures in a key period, averaged.
    period: f64,
    /// Size of the last key picture, in kbit.
    key_kbits: f64,
    /// The quantiser of the last picture as an inter picture's, not rounded.
    steady: Option<f64>,
    soften: u8,
    planned: Option<Planned>,
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    key: bool,
    cost: f64,
    quantiser: Quantiser,
}

impl Control {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            bucket: Bucket::new(settings.max_kbps, settings.buffer_kbits),
            debt: 0.0,
            last: None,
            interval: 1.0 / settings.frame_rate,
            key: Model::new(settings.macroblocks * KEY_PRIOR),
            inter: Model::new(settings.macroblocks * KEY_PRIOR),
            since_key: 0.0,
            period: KEY_SECONDS * settings.frame_rate,
            key_kbits: 0.0,
            steady: None,
            soften: 0,
            planned: None,
            settings,
        }
    }

    /// Decides on the picture at `pts`. A key picture is never left out.
    pub(super) fn plan(&mut self, pts: Timestamp, key: bool, cost: Cost) -> Plan {
        self.advance(pts);
        let cost = if key {
            cost.intra.max(LEAST_INTRA)
        } else {
            cost.inter
        };
        if key {
            if self.key.has_learnt() {
                self.period += 0.5 * (self.since_key - self.period);
            }
            self.since_key = 0.0;
        }
        let room = self.bucket.room();
        if !key && room < 2.0 * self.smallest() {
            return Plan::LeaveOut;
        }
        self.since_key += 1.0;

        let steady = self.steady_quantiser(key, cost);
        let steady = match self.steady {
            Some(before) => steady.clamp(before - MAX_FALL, before + MAX_RISE),
            None => steady,
        };
        let (model, share, lower) = if key {
            (&self.key, KEY_SHARE, KEY_OFFSET)
        } else {
            (&self.inter, INTER_SHARE, 0.0)
        };
        let most = room * share + self.settings.max_kbps * self.interval * 0.5;
        let wanted = (steady - lower).max(model.quantiser_for(cost, most));
        let wanted = wanted.clamp(f64::from(FINEST), MOST);
        self.steady = Some(
            (wanted + lower)
                .min(steady.max(f64::from(FINEST)))
                .min(MOST),
        );
        let quantiser = self.round(wanted);
        self.planned = Some(Planned {
            key,
            cost,
            quantiser,
        });
        Plan::Code(quantiser)
    }

    /// Learns that the planned picture took `bits`.
    pub(super) fn coded(&mut self, bits: usize) -> Verdict {
        let Some(planned) = self.planned else {
            return Verdict::Keep;
        };
        let kbits = bits as f64 / 1000.0;
        let spent = planned.quantiser.steps();
        let at_zero = kbits * halvings(spent).recip();
        // Room is kept for one more picture, should that have to be a key picture.
        let room = self.bucket.room() - self.smallest();
        if kbits > room && spent < MOST {
            // Half the room, so that a wrong guess once more still fits.
            let room = room.max(self.smallest());
            let wanted = STEPS_PER_HALF * (at_zero / (0.5 * room)).log2();
            let wanted = wanted.max(spent + STEPS_PER_HALF).min(MOST);
            return Verdict::Again(self.again(planned, wanted));
        }
        self.planned = None;
        self.bucket.fill(kbits);
        self.debt += kbits;
        if planned.key {
            self.key_kbits = kbits;
            if !self.key.has_learnt() && !self.inter.has_learnt() {
                // Half a key picture's bits for as much cost, until the first one is seen.
                self.inter.guess(at_zero * INTER_GUESS, planned.cost);
            }
            self.key.learn(at_zero, planned.cost, KEY_MEMORY);
        } else {
            self.inter.learn(at_zero, planned.cost, INTER_MEMORY);
        }
        Verdict::Keep
    }

    /// Learns that the planned picture was too large for the encoder itself. How
    /// to code it as a key picture, or `None` when nothing coarser is left.
    pub(super) fn overflowed(&mut self) -> Option<Quantiser> {
        let planned = self.planned?;
        let spent = planned.quantiser.steps();
        let wanted = (spent + 2.0 * STEPS_PER_HALF).min(MOST);
        (spent < MOST).then(|| self.again(planned, wanted))
    }

    fn again(&mut self, planned: Planned, wanted: f64) -> Quantiser {
        self.key.forget();
        self.steady = Some(wanted);
        self.since_key = 1.0;
        let quantiser = self.round(wanted);
        self.planned = Some(Planned {
            key: true,
            cost: planned.cost.max(LEAST_INTRA),
            quantiser,
        });
        quantiser
    }

    /// What any picture can be made to take, in kbit.
    fn smallest(&self) -> f64 {
        let smallest = SMALLEST * self.settings.macroblocks;
        smallest.min(0.25 * self.settings.buffer_kbits)
    }

    fn advance(&mut self, pts: Timestamp) {
        if let Some(last) = self.last {
            let passed = (pts - last).as_secs_f64();
            if (-LONGEST_INTERVAL..0.0).contains(&passed) {
                // What has drained must not drain again when it comes back to now.
                return;
            }
            // Further back, time begins anew.
            let passed = passed.clamp(0.0, LONGEST_INTERVAL);
            self.bucket.drain(passed);
            let savings = SAVINGS * self.settings.buffer_kbits;
            self.debt = (self.debt - self.settings.video_kbps * passed).max(-savings);
            let plausible = passed.clamp(self.interval / 4.0, self.interval * 4.0);
            self.interval += 0.05 * (plausible - self.interval);
        }
        self.last = Some(pts);
    }

    /// The quantiser of inter pictures at which a key period like the last
    /// pictures spends the rate that is wanted now.
    fn steady_quantiser(&self, key: bool, cost: f64) -> f64 {
        let Settings {
            video_kbps,
            buffer_kbits,
            ..
        } = self.settings;
        let key_work = if key {
            self.key.mean().midpoint(self.key.work(cost))
        } else {
            self.key.mean()
        };
        // A repeat says nothing of the pictures to come.
        let inter_work = if key || cost <= 0.0 {
            self.inter.mean()
        } else {
            let (mean, now) = (self.inter.mean(), self.inter.work(cost));
            mean + PRESENT * (now - mean)
        };
        let period = self.period.max(1.0);
        let key_work = key_work / halvings(KEY_OFFSET);
        let work = (key_work + (period - 1.0) * inter_work) / (period * self.interval);

        // A key picture fills the bucket at once and it drains until the next
        // one: half its size above the mean level after it, half below before.
        let phase = (self.since_key / period).min(1.0);
        let swing = self.key_kbits * if key { -0.5 } else { 0.5 - phase };
        let saved = (-self.debt / buffer_kbits).clamp(0.0, 1.0);
        let level = buffer_kbits * (LEVEL + LEVEL_FOR_SAVINGS * saved) + swing;
        let excess = self.bucket.level() - level;
        let overspent = self.debt.max(-SAVINGS * buffer_kbits);
        let wanted = video_kbps - (LEVEL_PULL * excess + DEBT_PULL * overspent) / HORIZON;
        let wanted = wanted.clamp(0.3 * video_kbps, 2.0 * video_kbps);
        STEPS_PER_HALF * (work.max(1e-3) / wanted).log2()
    }

    /// A quantiser the encoder has. Softening is kept up until it is clearly
    /// not needed: each change of it costs a picture's worth of differences.
    fn round(&mut self, wanted: f64) -> Quantiser {
        let beyond = (wanted - f64::from(COARSEST)) / SOFT_STEPS;
        let needed = beyond.ceil().clamp(0.0, f64::from(SOFTEST)) as u8;
        let kept = (beyond + SOFT_HYSTERESIS).ceil();
        let kept = kept.clamp(0.0, f64::from(self.soften)) as u8;
        self.soften = needed.max(kept);
        let qp = wanted - f64::from(self.soften) * SOFT_STEPS;
        Quantiser {
            qp: qp.round().clamp(f64::from(FINEST), f64::from(COARSEST)) as u8,
            soften: self.soften,
        }
    }
}

impl Quantiser {
    /// On one scale, softening included.
    fn steps(self) -> f64 {
        f64::from(self.qp) + f64::from(self.soften) * SOFT_STEPS
    }
}

/// What is left of a size after so many steps of the quantiser.
fn halvings(steps: f64) -> f64 {
    (-steps / STEPS_PER_HALF).exp2()
}

/// The finest quantiser used. Below it a still picture gains nothing that can
/// be seen: on Big Buck Bunny at 360p, 18 instead of 14 saves 3 % of the bits
/// at the same VMAF, 20 begins to cost.
pub(super) const FINEST: u8 = 18;
/// H.264's coarsest.
pub(super) const COARSEST: u8 = 51;
pub(super) const SOFTEST: u8 = 4;
/// Steps of the quantiser that one more level of softening is worth: sizes of
/// noise fall to between a third and a quarter.
const SOFT_STEPS: f64 = 10.0;
/// The part of a level by which softening must be more than enough before it is
/// lessened.
const SOFT_HYSTERESIS: f64 = 0.5;
/// The coarsest with all softening.
const MOST: f64 = COARSEST as f64 + SOFTEST as f64 * SOFT_STEPS;
/// The most that a macroblock takes with all of it, in kbit.
pub(super) const SMALLEST: f64 = 0.02;
/// The quantiser's step doubles every 6, and sizes are taken to halve. (They
/// fall to between 0.4 and 0.6; 4.8 or 7.2 here give the same VMAF.)
const STEPS_PER_HALF: f64 = 6.0;
/// How far below its neighbours a key picture is quantised: its quality lasts
/// for a whole period. 2 to 4 are alike, 1 and 6 cost.
const KEY_OFFSET: f64 = 3.0;
/// Most steps from one picture to the next: a single picture that seems easy
/// must not spend what the scene needs.
const MAX_FALL: f64 = 2.0;
const MAX_RISE: f64 = 4.0;
/// How much a picture that costs more, or less, than those before it changes
/// the expectation of those to come.
const PRESENT: f64 = 0.5;
/// How quickly what was learnt is replaced.
const KEY_MEMORY: f64 = 0.5;
const INTER_MEMORY: f64 = 0.1;
/// Bits of an inter picture for those of a key picture of the same cost.
const INTER_GUESS: f64 = 0.5;
/// Seconds within which the bucket's level and the debt are to be mended.
const HORIZON: f64 = 2.0;
const LEVEL_PULL: f64 = 0.7;
const DEBT_PULL: f64 = 0.4;
/// The bucket's level aimed at, as a share of it: enough above 0 that an easy
/// second is not lost, enough below 1 for the next key picture and a cut.
const LEVEL: f64 = 0.45;
/// How much higher while less than the average rate was spent.
const LEVEL_FOR_SAVINGS: f64 = 0.15;
/// What may be saved for later, in buffers.
const SAVINGS: f64 = 2.0;
/// How much of the bucket's room one picture may take by expectation.
const KEY_SHARE: f64 = 0.9;
const INTER_SHARE: f64 = 0.6;
/// A black picture takes bits as well.
const LEAST_INTRA: f64 = 1.0;
/// Kbits that a macroblock of a key picture would take with a quantiser of 0, a
/// unit of work: between those measured on film at 360p and 720p.
const KEY_PRIOR: f64 = 0.06;
/// Seconds between key pictures until they have been seen.
const KEY_SECONDS: f64 = 2.0;
/// A hole in time drains the bucket no further; longer ones do not come, the
/// ladder repeats pictures.
const LONGEST_INTERVAL: f64 = 2.0;

#[cfg(test)]
mod tests;
