//! Gives back some of the contrast of details that scaling took: a mild
//! unsharp mask over 3 by 3 samples.
//!
//! What a blur (1 2 1, both ways) takes from a sample is added to it, times the
//! strength. Plain loops over 16-bit integers: they become vectors by
//! themselves, and every CPU gets the same samples.

use media::Plane;

/// Sharpens planes. Keeps rows from plane to plane.
#[derive(Debug)]
pub(super) struct Sharpen {
    /// The strength in units of 1 / 2^`STRENGTH_BITS`, not 0.
    strength: i16,
    /// The row above, as it was.
    above: Vec<u8>,
    /// This row, as it was.
    row: Vec<u8>,
    /// Sums down of three rows, with one more at either end.
    sums: Vec<i16>,
}

impl Sharpen {
    /// `None` if so little would be added that no sample would change.
    pub(super) fn new(strength: f64) -> Option<Self> {
        let units = (strength.clamp(0.0, 1.0) * f64::from(1 << STRENGTH_BITS)).round();
        (units > 0.0).then(|| Self {
            strength: units as i16,
            above: Vec::new(),
            row: Vec::new(),
            sums: Vec::new(),
        })
    }

    /// Sharpens `width` by `height` samples in place. Beyond the edges samples
    /// are as at the edges.
    pub(super) fn apply(&mut self, plane: &mut Plane, (width, height): (usize, usize)) {
        if width == 0 || height == 0 {
            return;
        }
        self.above.clear();
        self.above.extend_from_slice(&plane.row(0)[..width]);
        self.sums.resize(width + 2, 0);
        for y in 0..height {
            self.row.clear();
            self.row.extend_from_slice(&plane.row(y)[..width]);
            let below = &plane.row((y + 1).min(height - 1))[..width];
            let sums = &mut self.sums[1..=width];
            for (((sum, &a), &b), &c) in sums.iter_mut().zip(&self.above).zip(&self.row).zip(below)
            {
                *sum = i16::from(a) + 2 * i16::from(b) + i16::from(c);
            }
            self.sums[0] = self.sums[1];
            self.sums[width + 1] = self.sums[width];
            let out = &mut plane.row_mut(y)[..width];
            let (left, middle, right) = (&self.sums, &self.sums[1..], &self.sums[2..]);
            let blurs = left.iter().zip(middle).zip(right);
            for ((out, &sample), ((l, m), r)) in out.iter_mut().zip(&self.row).zip(blurs) {
                let sample = i16::from(sample) * 16;
                // Up to 16 * 255 to either side; 8 times that fits.
                let lost = (sample - (l + 2 * m + r)) * 8;
                let gain = (i32::from(lost) * i32::from(self.strength)) >> 16;
                *out = ((sample + gain as i16 + 8) >> 4).clamp(0, 255) as u8;
            }
            std::mem::swap(&mut self.above, &mut self.row);
        }
    }
}

/// With 3 bits of `lost` and the 16 that a product drops: 16ths of a sample.
const STRENGTH_BITS: u32 = 13;
