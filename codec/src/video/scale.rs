//! Resizes pictures with a windowed kernel, rows first and then columns.
//!
//! The kernel is a choice of quality: at 360p Catmull-Rom is worth 9 VMAF
//! points over bilinear, which drops samples when it shrinks. When shrinking,
//! the kernel is stretched by the ratio, so every source sample counts.
//!
//! The vertical pass comes first: it is the one that vectorises without
//! shuffles, and it runs over the long rows. All arithmetic is in 16-bit
//! integers with 32-bit sums, in loops plain enough for the compiler to turn
//! into AVX2 multiply-adds.

use media::{Picture, Plane, Size};

/// Resizes pictures of one size to another. Coefficients are computed once.
///
/// Planes are resized separately. Chroma samples are taken to lie where H.264
/// puts them unless told otherwise: level with the left one of their two luma
/// samples and half way between their two rows (type 0).
#[derive(Debug)]
pub struct Scaler {
    from: Size,
    to: Size,
    luma: Axes,
    chroma: Axes,
    /// One row between the passes, with room for the taps that overhang it.
    line: Vec<i16>,
}

#[derive(Debug)]
struct Axes {
    columns: Taps,
    rows: Taps,
}

impl Scaler {
    /// A scaler from one size to another. Sides are rounded down to even.
    pub fn new(from: Size, to: Size) -> Self {
        let (from, to) = (from.even(), to.even());
        let axes = |share: u32, left_sited: bool| Axes {
            columns: Taps::new(from.width / share, to.width / share, left_sited),
            rows: Taps::new(from.height / share, to.height / share, false),
        };
        Self {
            from,
            to,
            luma: axes(1, false),
            chroma: axes(2, true),
            line: Vec::new(),
        }
    }

    /// The size of its pictures.
    pub fn size(&self) -> Size {
        self.to
    }

    /// Writes `from`, resized, into `to`, with its pts. Planes of `to` are
    /// reused when they have the right size already. A picture of another size
    /// than announced is resized as well, at the price of new coefficients.
    pub fn scale(&mut self, from: &Picture, to: &mut Picture) {
        if from.size.even() != self.from {
            *self = Self::new(from.size, self.to);
        }
        to.pts = from.pts;
        to.size = self.to;
        for index in 0..3 {
            let (source_width, source_height) = from.plane_size(index);
            let (width, height) = to.plane_size(index);
            let plane = &mut to.planes[index];
            if plane.stride < width || plane.data.len() < plane.stride * height {
                *plane = Plane::filled(width, height, 0);
            }
            let source = &from.planes[index];
            if self.from == self.to {
                for y in 0..height {
                    plane.row_mut(y)[..width].copy_from_slice(&source.row(y)[..width]);
                }
                continue;
            }
            let axes = if index == 0 { &self.luma } else { &self.chroma };
            self.line.clear();
            self.line.resize(source_width + LINE_PADDING, 0);
            for y in 0..height {
                blend_rows(
                    &axes.rows,
                    y,
                    source,
                    source_height,
                    &mut self.line[..source_width],
                );
                axes.columns
                    .apply(&self.line, &mut plane.row_mut(y)[..width]);
            }
        }
    }
}

/// For each output sample of one axis, where its input begins and how much of
/// each input sample goes into it.
#[derive(Debug)]
struct Taps {
    /// First input sample for each output sample.
    starts: Vec<u32>,
    /// `per_sample` weights for each output sample, summing up to `ONE`; the
    /// last ones are padding of value 0.
    weights: Vec<i16>,
    /// Weights for each output sample, a multiple of `LANES`.
    per_sample: usize,
    /// How many of them can be other than 0.
    used: usize,
}

impl Taps {
    fn new(from: u32, to: u32, left_sited: bool) -> Self {
        let ratio = f64::from(from) / f64::from(to);
        let stretch = ratio.max(1.0);
        let reach = KERNEL_REACH * stretch;
        let used = ((reach * 2.0).ceil() as usize + 1).min(from as usize);
        let per_sample = used.next_multiple_of(LANES);
        // Where output sample 0 lies: centres align for luma; for left-sited
        // chroma the samples lie a quarter of a chroma sample left of that.
        let offset = if left_sited { 0.25 } else { 0.5 } * (ratio - 1.0);
        let mut starts = Vec::with_capacity(to as usize);
        let mut weights = vec![0; per_sample * to as usize];
        let mut exact = vec![0.0; used];
        for (index, weights) in weights.chunks_exact_mut(per_sample).enumerate() {
            let centre = index as f64 * ratio + offset;
            let first = (centre - reach).ceil() as i64;
            let last_start = i64::from(from) - used as i64;
            let start = first.clamp(0, last_start);
            starts.push(start as u32);
            exact.fill(0.0);
            // A tap beyond the edge falls on the edge's sample.
            for tap in first..=(centre + reach).floor() as i64 {
                let sample = tap.clamp(0, i64::from(from) - 1);
                let place = (sample - start).clamp(0, used as i64 - 1) as usize;
                exact[place] += catmull_rom((tap as f64 - centre) / stretch);
            }
            quantise(&exact, weights);
        }
        Self {
            starts,
            weights,
            per_sample,
            used,
        }
    }

    fn weights(&self, index: usize) -> &[i16] {
        &self.weights[index * self.per_sample..][..self.per_sample]
    }

    /// Filters `line` (with `LINE_PADDING` behind its samples) into `out`.
    fn apply(&self, line: &[i16], out: &mut [u8]) {
        match self.per_sample / LANES {
            1 => self.apply_fixed::<LANES>(line, out),
            2 => self.apply_fixed::<{ 2 * LANES }>(line, out),
            3 => self.apply_fixed::<{ 3 * LANES }>(line, out),
            _ => self.apply_any(line, out),
        }
    }

    /// A fixed number of weights, so that the compiler unrolls the sum into
    /// multiply-adds.
    fn apply_fixed<const N: usize>(&self, line: &[i16], out: &mut [u8]) {
        let weights = self.weights.as_chunks::<N>().0;
        for ((out, &start), weights) in out.iter_mut().zip(&self.starts).zip(weights) {
            let Some(samples) = line[start as usize..].first_chunk::<N>() else {
                return;
            };
            let mut sum = 0_i32;
            for tap in 0..N {
                sum += i32::from(samples[tap]) * i32::from(weights[tap]);
            }
            *out = narrow(sum);
        }
    }

    fn apply_any(&self, line: &[i16], out: &mut [u8]) {
        let taps = self
            .starts
            .iter()
            .zip(self.weights.chunks_exact(self.per_sample));
        for (out, (&start, weights)) in out.iter_mut().zip(taps) {
            let samples = &line[start as usize..][..self.used];
            let sum = samples
                .iter()
                .zip(weights)
                .map(|(&sample, &weight)| i32::from(sample) * i32::from(weight))
                .sum();
            *out = narrow(sum);
        }
    }
}

/// One row between the passes: the weighted sum of source rows for output row
/// `y`, in units of 1 / 2^`LINE_BITS`.
fn blend_rows(taps: &Taps, y: usize, source: &Plane, height: usize, line: &mut [i16]) {
    // Each product is rounded down, half a unit too low on average.
    let products = taps
        .weights(y)
        .iter()
        .filter(|&&weight| weight != 0)
        .count();
    line.fill((products / 2) as i16);
    let start = taps.starts[y] as usize;
    for (tap, &weight) in taps.weights(y)[..taps.used].iter().enumerate() {
        if weight == 0 {
            continue;
        }
        let row = source.row((start + tap).min(height - 1));
        for (sum, &sample) in line.iter_mut().zip(row) {
            // (sample * 2^7) * (weight * 2^14) / 2^16: the upper half of a
            // 16-bit product, one instruction for 16 samples.
            let product = (i32::from(i16::from(sample) << 7) * i32::from(weight)) >> 16;
            *sum += product as i16;
        }
    }
}

fn narrow(sum: i32) -> u8 {
    const SHIFT: u32 = WEIGHT_BITS + LINE_BITS;
    ((sum + (1 << (SHIFT - 1))) >> SHIFT).clamp(0, 255) as u8
}

/// Rounds `exact`, whatever it sums up to, to weights that sum up to `ONE`, so
/// that a flat area stays as it is. What rounding leaves goes to the largest.
fn quantise(exact: &[f64], weights: &mut [i16]) {
    let total: f64 = exact.iter().sum();
    let mut left = ONE;
    let mut largest = 0;
    for (place, value) in exact.iter().enumerate() {
        weights[place] = (value / total * f64::from(ONE)).round() as i16;
        left -= i32::from(weights[place]);
        if weights[place] > weights[largest] {
            largest = place;
        }
    }
    weights[largest] += left as i16;
}

/// The cubic of Catmull and Rom: interpolates, 2 samples to either side.
fn catmull_rom(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// Samples to either side that the kernel reaches, before it is stretched.
const KERNEL_REACH: f64 = 2.0;
/// Weights are padded to a multiple of this, one AVX2 register of `i16`.
const LANES: usize = 8;
/// Fraction bits of a weight. 14 leave room for a weight of 1 and its overshoot.
const WEIGHT_BITS: u32 = 14;
const ONE: i32 = 1 << WEIGHT_BITS;
/// Fraction bits of the row between the passes: 7 + 14 - 16.
const LINE_BITS: u32 = 5;
/// Samples behind a row that padded weights may touch.
const LINE_PADDING: usize = 3 * LANES;

#[cfg(test)]
mod tests {
    use media::Timestamp;

    use super::*;

    fn scale(from: &Picture, to: Size) -> Picture {
        let mut out = Picture::black(Size::new(2, 2), Timestamp::ZERO);
        Scaler::new(from.size, to).scale(from, &mut out);
        out
    }

    /// The same filter in floating point, both ways at once.
    fn reference(from: &Picture, to: Size, index: usize) -> Vec<u8> {
        let (source_width, source_height) = from.plane_size(index);
        let out = Picture::black(to, Timestamp::ZERO);
        let (width, height) = out.plane_size(index);
        let taps = |from: usize, to: usize, at: usize, left: bool| -> Vec<(usize, f64)> {
            let ratio = from as f64 / to as f64;
            let stretch = ratio.max(1.0);
            let offset = if left { 0.25 } else { 0.5 } * (ratio - 1.0);
            let centre = at as f64 * ratio + offset;
            let near = (centre - 2.0 * stretch).ceil() as i64..=(centre + 2.0 * stretch) as i64;
            let taps: Vec<_> = near
                .map(|tap| {
                    let weight = catmull_rom((tap as f64 - centre) / stretch);
                    (tap.clamp(0, from as i64 - 1) as usize, weight)
                })
                .collect();
            let total: f64 = taps.iter().map(|tap| tap.1).sum();
            taps.into_iter().map(|tap| (tap.0, tap.1 / total)).collect()
        };
        let columns: Vec<_> = (0..width)
            .map(|x| taps(source_width, width, x, index > 0))
            .collect();
        let mut samples = Vec::new();
        for y in 0..height {
            let rows = taps(source_height, height, y, false);
            for columns in &columns {
                let mut sum = 0.0;
                for (row, weight) in &rows {
                    let row = from.planes[index].row(*row);
                    let across: f64 = columns
                        .iter()
                        .map(|tap| f64::from(row[tap.0]) * tap.1)
                        .sum();
                    sum += across * weight;
                }
                samples.push(sum.round().clamp(0.0, 255.0) as u8);
            }
        }
        samples
    }

    fn check(from: &Picture, to: Size) {
        let scaled = scale(from, to);
        assert_eq!(scaled.size, to);
        for index in 0..3 {
            let (width, _) = scaled.plane_size(index);
            let expected = reference(from, to, index);
            for (y, expected) in expected.chunks(width).enumerate() {
                let row = &scaled.planes[index].row(y)[..width];
                for (x, (a, b)) in row.iter().zip(expected).enumerate() {
                    let size = from.size;
                    assert!(
                        a.abs_diff(*b) <= 1,
                        "{size} to {to}, plane {index} at {x},{y}: {a}, {b}"
                    );
                }
            }
        }
    }

    #[test]
    fn noise_scales_as_in_floating_point() {
        for (width, height) in [(320, 180), (66, 50), (1920, 34)] {
            let from = testkit::noise(Size::new(width, height), 1, Timestamp::ZERO);
            for (width, height) in [
                (106, 60),
                (202, 34),
                (64, 180),
                (16, 16),
                (322, 182),
                (400, 26),
            ] {
                check(&from, Size::new(width, height));
            }
        }
    }

    #[test]
    fn equal_sizes_are_copied() {
        let from = testkit::moving_pattern(Size::new(202, 130), 5, Timestamp::from_millis(7));
        let to = scale(&from, from.size);
        assert_eq!(to.planes, from.planes);
        assert_eq!(to.pts, from.pts);
    }

    #[test]
    fn flat_areas_keep_their_value_exactly() {
        for value in [0, 1, 16, 127, 128, 235, 254, 255] {
            let mut from = Picture::black(Size::new(640, 358), Timestamp::ZERO);
            for plane in &mut from.planes {
                plane.data.fill(value);
            }
            for (width, height) in [(214, 120), (426, 238), (90, 52), (800, 448)] {
                for plane in scale(&from, Size::new(width, height)).planes {
                    assert!(
                        plane.data.iter().all(|&sample| sample == value),
                        "{value} {width}"
                    );
                }
            }
        }
    }

    #[test]
    fn rows_with_padding_are_read_and_written_without_it() {
        let plain = testkit::moving_pattern(Size::new(128, 96), 3, Timestamp::ZERO);
        let mut padded = plain.clone();
        for index in 0..3 {
            let (width, height) = plain.plane_size(index);
            let mut plane = Plane::filled(width + 13, height, 99);
            for y in 0..height {
                plane.row_mut(y)[..width].copy_from_slice(&plain.planes[index].row(y)[..width]);
            }
            padded.planes[index] = plane;
        }
        let to = Size::new(64, 48);
        assert_eq!(scale(&padded, to).planes, scale(&plain, to).planes);
        assert_eq!(scale(&padded, plain.size).planes, plain.planes);
    }

    #[test]
    fn a_source_that_changes_its_size_is_scaled_from_its_new_one() {
        let mut scaler = Scaler::new(Size::new(128, 96), Size::new(64, 48));
        let mut out = Picture::black(Size::new(64, 48), Timestamp::ZERO);
        let other = testkit::moving_pattern(Size::new(320, 180), 3, Timestamp::ZERO);
        scaler.scale(&other, &mut out);
        assert_eq!(out.planes, scale(&other, Size::new(64, 48)).planes);
    }
}
