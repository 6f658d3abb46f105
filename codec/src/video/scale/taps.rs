//! Which source samples make an output sample, and how much of each.
//!
//! Weights come in pairs of neighbouring samples that begin at an even one:
//! CPUs multiply pairs of 16-bit numbers and add them in one instruction, and
//! pairs that always begin at even samples are put together once and serve
//! every output sample that uses them.

use std::ops::Range;

use super::Kernel;

/// The taps of one axis.
#[derive(Debug)]
pub(super) struct Taps {
    /// For each output sample the first pair of source samples.
    starts: Vec<u32>,
    /// For each output sample how many pairs from there on can have a weight
    /// other than 0.
    used: Vec<u32>,
    /// `pairs` for each output sample. They sum up to `ONE`; the last ones may
    /// be padding of value 0.
    weights: Vec<[i16; 2]>,
    /// Pairs for each output sample.
    pairs: usize,
}

/// Where the first samples of an axis lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Siting {
    /// Centres of pictures coincide: luma, and chroma from top to bottom.
    Centre,
    /// The sample lies level with the left one of its two luma samples.
    Left,
}

impl Taps {
    /// Taps from `from` samples to `to`, both at least 1. There are some more
    /// than `to`, of no weight, up to a multiple of `GROUP`.
    pub(super) fn new(from: u32, to: u32, siting: Siting, kernel: Kernel) -> Self {
        let ratio = f64::from(from) / f64::from(to);
        let stretch = ratio.max(1.0);
        let reach = kernel.reach() * stretch;
        // Where output sample 0 lies: centres align for luma; for left-sited
        // chroma the samples lie a quarter of a chroma sample left of that.
        let offset = match siting {
            Siting::Centre => 0.5,
            Siting::Left => 0.25,
        } * (ratio - 1.0);
        let last = i64::from(from) - 1;
        let mut exact = vec![0.0; from as usize + 1];
        let rows: Vec<(u32, Vec<[i16; 2]>)> = (0..to)
            .map(|index| {
                let centre = f64::from(index) * ratio + offset;
                let begin = (centre - reach).ceil() as i64;
                let end = (centre + reach).floor() as i64;
                // A tap beyond the edge falls on the edge's sample.
                let start = begin.clamp(0, last) & !1;
                let exact = &mut exact[..(end.clamp(0, last) - start) as usize + 1];
                exact.fill(0.0);
                for tap in begin..=end {
                    let place = (tap.clamp(0, last) - start) as usize;
                    exact[place] += kernel.at((tap as f64 - centre) / stretch);
                }
                trimmed(start as u32 / 2, quantised(exact))
            })
            .collect();
        let pairs = rows.iter().map(|row| row.1.len()).max().unwrap_or(0);
        let padded = rows.len().next_multiple_of(GROUP);
        let mut starts = Vec::with_capacity(padded);
        let mut used = Vec::with_capacity(padded);
        let mut weights = vec![[0; 2]; padded * pairs];
        // Padding lies behind the weights, or before them where the source ends.
        let last_start = from.div_ceil(2) - pairs as u32;
        for ((start, row), weights) in rows.iter().zip(weights.chunks_exact_mut(pairs)) {
            let padding = start.saturating_sub(last_start);
            weights[padding as usize..][..row.len()].copy_from_slice(row);
            starts.push(start - padding);
            used.push(padding + row.len() as u32);
        }
        starts.resize(padded, last_start);
        used.resize(padded, 0);
        Self {
            starts,
            used,
            weights,
            pairs,
        }
    }

    /// The first pair of output sample `index` and its weights.
    pub(super) fn of(&self, index: usize) -> (usize, &[[i16; 2]]) {
        let weights = &self.weights[index * self.pairs..][..self.used[index] as usize];
        (self.starts[index] as usize, weights)
    }

    /// The pairs that these output samples take.
    pub(super) fn range(&self, indices: Range<usize>) -> Range<usize> {
        let starts = &self.starts[indices.clone()];
        let ends = starts.iter().zip(&self.used[indices]);
        let start = starts.iter().min();
        let end = ends.map(|(start, used)| start + used).max();
        start.map_or(0, |&start| start as usize)..end.unwrap_or(0) as usize
    }

    /// `GROUP` output samples and how many pairs each of them has.
    pub(super) fn group(&self, index: usize) -> Group<'_> {
        Group {
            starts: &self.starts.as_chunks().0[index],
            weights: &self.weights[index * GROUP * self.pairs..][..GROUP * self.pairs],
            pairs: self.pairs,
        }
    }

    /// Groups of output samples.
    pub(super) fn groups(&self) -> usize {
        self.starts.len() / GROUP
    }
}

/// Neighbouring output samples of the second pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    /// The first pair of each.
    pub(super) starts: &'a [u32; GROUP],
    /// `pairs` for each.
    pub(super) weights: &'a [[i16; 2]],
    /// Pairs of source samples for each output sample.
    pub(super) pairs: usize,
}

/// Rounds `exact`, whatever it sums up to, to weights that sum up to `ONE`, so
/// that a flat area stays as it is. What rounding leaves goes to the largest.
fn quantised(exact: &[f64]) -> Vec<i16> {
    let total: f64 = exact.iter().sum();
    let mut left = ONE;
    let mut largest = 0;
    let mut weights = vec![0; exact.len()];
    for (place, value) in exact.iter().enumerate() {
        weights[place] = (value / total * f64::from(ONE)).round() as i16;
        left -= i32::from(weights[place]);
        if weights[place] > weights[largest] {
            largest = place;
        }
    }
    weights[largest] += left as i16;
    weights
}

/// Pairs of weights from pair `start` on, without those of 0 at either end.
fn trimmed(start: u32, weights: Vec<i16>) -> (u32, Vec<[i16; 2]>) {
    let pairs: Vec<[i16; 2]> = weights
        .chunks(2)
        .map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)])
        .collect();
    let counts = |pair: &[i16; 2]| *pair != [0; 2];
    let first = pairs.iter().position(counts).unwrap_or(0);
    let last = pairs.iter().rposition(counts).unwrap_or(0);
    (start + first as u32, pairs[first..=last].to_vec())
}

/// Output samples that the second pass makes at once.
pub(super) const GROUP: usize = 16;
/// Fraction bits of a weight. 14 leave room for a weight of 1 and its overshoot.
pub(super) const WEIGHT_BITS: u32 = 14;
const ONE: i32 = 1 << WEIGHT_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_stay_inside_the_source_and_sum_up_to_one() {
        for kernel in Kernel::ALL {
            for (from, to) in [(1, 8), (2, 1), (8, 8), (33, 16), (960, 427), (2160, 8)] {
                for siting in [Siting::Centre, Siting::Left] {
                    let taps = Taps::new(from, to, siting, kernel);
                    for index in 0..to as usize {
                        let (start, weights) = taps.of(index);
                        let samples = || weights.iter().flatten().map(|&weight| i32::from(weight));
                        assert!(start + weights.len() <= from.div_ceil(2) as usize);
                        assert_eq!(samples().sum::<i32>(), ONE);
                        // What the 16-bit row between the passes rests on.
                        assert!(samples().map(i32::abs).sum::<i32>() < 2 * ONE);
                    }
                    for group in 0..taps.groups() {
                        let group = taps.group(group);
                        let end = |start| start as usize + group.pairs;
                        let fits = |&start: &u32| end(start) <= from.div_ceil(2) as usize;
                        assert!(group.starts.iter().all(fits));
                        assert_eq!(group.weights.len(), GROUP * group.pairs);
                    }
                }
            }
        }
    }

    #[test]
    fn weights_of_nothing_are_left_out() {
        // At a ratio of 3 the centres fall on samples, and every third weight
        // to either side is 0: the kernel of 18 samples has 17 that can count.
        let taps = Taps::new(1920, 640, Siting::Centre, Kernel::Lanczos3);
        assert_eq!(taps.of(100).1.len(), 9);
    }
}
