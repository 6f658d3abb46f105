//! How hard a picture is to code, cheaply: block differences at low resolution.
//!
//! Rate control needs to know before coding that a picture is a repeat, a cut
//! or a burst of motion. Means over squares of samples, half to a sixteenth of
//! the size, are enough for that; what they cannot see (grain, noise) the rate
//! control learns from the bits. So one look at the source does for all rungs.
//! The bench `encode` says what it takes.

use media::Picture;

use super::rate::Cost;

/// Measures pictures one after the other. After one of another shape there is
/// nothing to compare with: such a picture costs what a first one does.
#[derive(Debug, Default)]
pub struct Meter {
    now: Low,
    before: Low,
    /// Motion of each block, in low-resolution samples.
    motion: Vec<(i32, i32)>,
    sums: Vec<u16>,
}

/// Luma at low resolution; both sides multiples of [`BLOCK`].
#[derive(Debug, Default)]
struct Low {
    width: usize,
    height: usize,
    samples: Vec<u8>,
}

impl Meter {
    /// The cost of `picture` after the one measured before it.
    pub fn measure(&mut self, picture: &Picture) -> Cost {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.take(picture, &mut self.sums);
        let (across, down) = (self.now.width / BLOCK, self.now.height / BLOCK);
        if across * down == 0 {
            return Cost::default();
        }
        let comparable =
            self.before.width == self.now.width && self.before.height == self.now.height;
        let (mut intra, mut inter) = (0_u64, 0_u64);
        self.motion.clear();
        for row in 0..down {
            for column in 0..across {
                let place = (column * BLOCK, row * BLOCK);
                let beside = self.now.beside(place);
                let mut least = beside;
                if comparable {
                    least = least.min(self.search(place, across));
                }
                intra += u64::from(beside);
                inter += u64::from(least);
            }
        }
        let blocks = (across * down) as f64;
        Cost {
            intra: intra as f64 / blocks,
            inter: inter as f64 / blocks,
        }
    }

    /// The least difference of a block from the picture before, around where
    /// its neighbours came from. Notes the motion found.
    fn search(&mut self, place: (usize, usize), across: usize) -> u32 {
        let difference = |motion| self.now.difference(place, &self.before, motion);
        let mut found = (0, 0);
        let mut least = difference(found).unwrap_or(u32::MAX);
        if least > 0 {
            let index = self.motion.len();
            let left = (place.0 > 0).then(|| self.motion[index - 1]);
            let above = (place.1 > 0).then(|| self.motion[index - across]);
            let mut improve = |motion: (i32, i32), found: &mut (i32, i32)| {
                if let Some(value) = difference(motion).filter(|&value| value < least) {
                    least = value;
                    *found = motion;
                }
            };
            for guess in left
                .into_iter()
                .chain(above)
                .filter(|&guess| guess != (0, 0))
            {
                improve(guess, &mut found);
            }
            for _ in 0..STEPS {
                let centre = found;
                for (x, y) in [(1, 0), (-1, 0), (0, 1), (0, -1)] {
                    improve((centre.0 + x, centre.1 + y), &mut found);
                }
                if found == centre {
                    break;
                }
            }
        }
        self.motion.push(found);
        least
    }
}

impl Low {
    /// Fills itself with the means of squares of `picture`'s luma.
    fn take(&mut self, picture: &Picture, sums: &mut Vec<u16>) {
        let (width, height) = picture.plane_size(0);
        let mut shift = 0;
        while width >> shift > MOST_ACROSS && shift < MOST_SHIFT {
            shift += 1;
        }
        let side = 1 << shift;
        self.width = width / side / BLOCK * BLOCK;
        self.height = height / side / BLOCK * BLOCK;
        self.samples.resize(self.width * self.height, 0);
        sums.resize(self.width * side, 0);
        let plane = &picture.planes[0];
        for (y, out) in self.samples.chunks_exact_mut(self.width.max(1)).enumerate() {
            sums.fill(0);
            for row in y * side..(y + 1) * side {
                for (sum, &sample) in sums.iter_mut().zip(plane.row(row)) {
                    *sum += u16::from(sample);
                }
            }
            match shift {
                0 => means::<0>(sums, out),
                1 => means::<1>(sums, out),
                2 => means::<2>(sums, out),
                3 => means::<3>(sums, out),
                _ => means::<MOST_SHIFT>(sums, out),
            }
        }
    }

    /// Difference of the block at `place` from that of `other`, moved by
    /// `motion`; `None` when that lies outside.
    fn difference(&self, (x, y): (usize, usize), other: &Self, motion: (i32, i32)) -> Option<u32> {
        let from_x = x.checked_add_signed(motion.0 as isize)?;
        let from_y = y.checked_add_signed(motion.1 as isize)?;
        if from_x + BLOCK > other.width || from_y + BLOCK > other.height {
            return None;
        }
        let mut sum = 0;
        for row in 0..BLOCK {
            let own = self.row(x, y + row)?;
            let others = other.row(from_x, from_y + row)?;
            let differences = own.iter().zip(others).map(|(a, b)| a.abs_diff(*b));
            sum += differences.map(u32::from).sum::<u32>();
        }
        Some(sum)
    }

    /// Difference of a block from the best of three predictions from what lies
    /// left of it and above it: the mean, the row above, the column to the left.
    fn beside(&self, (x, y): (usize, usize)) -> u32 {
        let mut rows = [[0; BLOCK]; BLOCK];
        for (index, row) in rows.iter_mut().enumerate() {
            *row = self.row(x, y + index).copied().unwrap_or_default();
        }
        let sum: u32 = rows
            .as_flattened()
            .iter()
            .map(|&sample| u32::from(sample))
            .sum();
        let mean = (sum / (BLOCK * BLOCK) as u32) as u8;
        let above = match y {
            0 => [mean; BLOCK],
            _ => self.row(x, y - 1).copied().unwrap_or_default(),
        };
        let (mut flat, mut across, mut down) = (0, 0, 0);
        for (index, row) in rows.iter().enumerate() {
            let left = match x {
                0 => mean,
                _ => self.samples[(y + index) * self.width + x - 1],
            };
            for (sample, above) in row.iter().zip(above) {
                flat += u32::from(sample.abs_diff(mean));
                across += u32::from(sample.abs_diff(left));
                down += u32::from(sample.abs_diff(above));
            }
        }
        flat.min(across).min(down)
    }

    fn row(&self, x: usize, y: usize) -> Option<&[u8; BLOCK]> {
        self.samples.get(y * self.width + x..)?.first_chunk()
    }
}

fn means<const SHIFT: usize>(sums: &[u16], out: &mut [u8]) {
    for (out, sums) in out.iter_mut().zip(sums.chunks_exact(1 << SHIFT)) {
        let sum: u32 = sums.iter().map(|&sum| u32::from(sum)).sum();
        *out = (sum >> (2 * SHIFT)) as u8;
    }
}

const BLOCK: usize = 8;
/// Low resolution is at most this wide, up to pictures of 3840: one of 1280 becomes
/// 160, one of 1920 becomes 240 wide. Twice as wide brings 0.05 VMAF at most.
const MOST_ACROSS: usize = 240;
/// 4096 becomes 256; 16 samples of 255 in 16 rows still fit the sums.
const MOST_SHIFT: usize = 4;
/// Steps of a search, one sample each: more find little for the ladder's rates.
const STEPS: usize = 4;

#[cfg(test)]
mod tests {
    use media::{Size, Timestamp};

    use super::*;

    fn measure(pictures: &[Picture]) -> Vec<Cost> {
        let mut meter = Meter::default();
        pictures
            .iter()
            .map(|picture| meter.measure(picture))
            .collect()
    }

    fn shifted(picture: &Picture, by: usize) -> Picture {
        let mut moved = picture.clone();
        let (width, height) = picture.plane_size(0);
        for y in 0..height {
            let row = picture.planes[0].row(y)[..width].to_vec();
            moved.planes[0].row_mut(y)[by..width].copy_from_slice(&row[..width - by]);
        }
        moved
    }

    #[test]
    fn a_repeat_costs_nothing_and_a_cut_as_much_as_a_first_picture() {
        let size = Size::new(640, 360);
        let one = testkit::moving_pattern(size, 1, Timestamp::ZERO);
        let other = testkit::noise(size, 2, Timestamp::ZERO);
        let costs = measure(&[one.clone(), one, other]);
        assert_eq!(costs[0].inter, costs[0].intra);
        assert_eq!(costs[1].inter, 0.0);
        assert!(costs[1].intra > 0.0);
        assert!(costs[2].inter > 0.7 * costs[2].intra);
    }

    #[test]
    fn motion_is_followed() {
        // Grain that survives the means: squares of 16 samples.
        let size = Size::new(640, 360);
        let mut picture = testkit::noise(size, 3, Timestamp::ZERO);
        for y in 0..360 {
            for x in 0..640 {
                let value = picture.planes[0].row(y / 16 * 16)[x / 16 * 16];
                picture.planes[0].row_mut(y)[x] = value;
            }
        }
        let moved = shifted(&picture, 4);
        let costs = measure(&[picture, moved]);
        assert!(costs[1].inter < 0.25 * costs[1].intra, "{costs:?}");
    }

    #[test]
    fn any_size_can_be_measured() {
        for (width, height) in [(16, 16), (18, 640), (4096, 16), (4096, 2304), (482, 270)] {
            let picture = testkit::noise(Size::new(width, height), 1, Timestamp::ZERO);
            let costs = measure(&[picture.clone(), picture]);
            assert_eq!(costs[1].inter, 0.0);
        }
    }
}
