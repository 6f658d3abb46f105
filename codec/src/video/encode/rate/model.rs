//! What pictures of one kind take, learnt from those coded.

use super::STEPS_PER_HALF;

/// Predicts sizes. Work is the size a picture would have, in kbit, with a
/// quantiser of 0; it grows with cost to the power of [`EXPONENT`].
#[derive(Debug)]
pub(super) struct Model {
    /// Mean work of the pictures seen, and mean of what their cost says.
    work: f64,
    weight: f64,
    seen: u32,
}

impl Model {
    /// A model that knows nothing but how much work a unit of cost is.
    pub(super) fn new(work: f64) -> Self {
        Self {
            work,
            weight: 1.0,
            seen: 0,
        }
    }

    pub(super) fn has_learnt(&self) -> bool {
        self.seen > 0
    }

    /// Mean work of the pictures seen lately, repeats of a picture included.
    pub(super) fn mean(&self) -> f64 {
        self.work
    }

    /// The work of a picture of this cost.
    pub(super) fn work(&self, cost: f64) -> f64 {
        self.work / self.weight * cost.powf(EXPONENT)
    }

    /// The quantiser at which a picture of this cost takes `kbits`.
    pub(super) fn quantiser_for(&self, cost: f64, kbits: f64) -> f64 {
        STEPS_PER_HALF * (self.work(cost).max(1e-3) / kbits.max(1e-3)).log2()
    }

    /// A picture of this cost took this work. `memory` is the share of the old
    /// that it replaces, once enough have been seen.
    pub(super) fn learn(&mut self, work: f64, cost: f64, memory: f64) {
        self.seen = self.seen.saturating_add(1);
        let share = memory.max(1.0 / f64::from(self.seen));
        self.work += share * (work - self.work);
        self.weight += share * (cost.powf(EXPONENT) - self.weight);
        // A run of repeats has no cost and yet takes bits.
        self.weight = self.weight.max(LEAST_WEIGHT);
    }

    /// Takes another kind's picture for a first guess.
    pub(super) fn guess(&mut self, work: f64, cost: f64) {
        self.work = work;
        self.weight = cost.powf(EXPONENT).max(LEAST_WEIGHT);
    }

    /// The next picture is of another scene: it alone is believed.
    pub(super) fn forget(&mut self) {
        self.seen = 0;
    }
}

/// Bits grow more slowly than differences at low resolution do: 0.5 to 0.7 are
/// alike in effect.
const EXPONENT: f64 = 0.7;
const LEAST_WEIGHT: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::super::halvings;
    use super::*;

    #[test]
    fn sizes_are_foretold_from_those_seen() {
        let mut model = Model::new(1.0);
        for _ in 0..50 {
            model.learn(800.0, 100.0, 0.1);
        }
        let quantiser = model.quantiser_for(100.0, 25.0);
        assert!((quantiser - 30.0).abs() < 1e-6, "{quantiser}");
        assert!((800.0 * halvings(quantiser) - 25.0).abs() < 1e-6);
        assert!(model.work(400.0) > 2.0 * model.work(100.0));
    }

    #[test]
    fn repeats_do_not_make_motion_seem_endless() {
        let mut model = Model::new(1.0);
        model.learn(800.0, 100.0, 0.1);
        for _ in 0..1000 {
            model.learn(1.0, 0.0, 0.1);
        }
        assert!(model.work(100.0) < 800.0);
    }
}
