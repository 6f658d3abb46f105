//! What of a picture differs from the one before it.
//!
//! A still that an encoder goes on coding is seldom the same in all samples: it
//! refines a few macroblocks with every picture, and blends of two pictures
//! round otherwise than either. So changes are counted in bands of rows, of
//! each plane by itself, and what lies between them need not be scaled again.

use std::ops::Range;

use media::{Picture, Plane};

/// The rows of a picture that differ from the picture before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// For each plane, whether its bands of `BAND` rows differ.
    planes: [Vec<bool>; 3],
}

impl Changes {
    /// What differs between two pictures. `None` if all does, for they have
    /// different sizes.
    ///
    /// A band is read up to its first difference: next to nothing of pictures
    /// that move.
    pub fn between(before: &Picture, now: &Picture) -> Option<Self> {
        (before.size == now.size).then(|| Self {
            planes: std::array::from_fn(|index| {
                let planes = [&before.planes[index], &now.planes[index]];
                bands(planes, now.plane_size(index))
            }),
        })
    }

    /// Whether the two pictures have the same samples.
    pub fn is_empty(&self) -> bool {
        !self.planes.iter().flatten().any(|&changed| changed)
    }

    /// What may differ of pictures that are made of these, with `height` rows of
    /// luma: rows of plane `index` are made of those that `of` says.
    pub(super) fn carried(
        &self,
        height: usize,
        of: impl Fn(usize, Range<usize>) -> Option<Range<usize>>,
    ) -> Self {
        Self {
            planes: std::array::from_fn(|index| {
                let height = if index == 0 { height } else { height / 2 };
                let starts = (0..height).step_by(BAND);
                starts
                    .map(|start| {
                        let rows = of(index, start..height.min(start + BAND));
                        rows.is_none_or(|rows| self.plane(index).touch(rows))
                    })
                    .collect()
            }),
        }
    }

    /// Those of plane `index`.
    pub(super) fn plane(&self, index: usize) -> Bands<'_> {
        Bands(&self.planes[index])
    }
}

/// What of a plane differs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bands<'a>(&'a [bool]);

impl Bands<'_> {
    /// Whether any of these rows may differ. Rows that the plane does not have
    /// do.
    pub(super) fn touch(self, rows: Range<usize>) -> bool {
        let bands = self.0.get(rows.start / BAND..rows.end.div_ceil(BAND));
        bands.is_none_or(|bands| bands.contains(&true))
    }
}

fn bands([before, now]: [&Plane; 2], (width, height): (usize, usize)) -> Vec<bool> {
    let differs = |y: usize| before.row(y)[..width] != now.row(y)[..width];
    let starts = (0..height).step_by(BAND);
    starts
        .map(|start| (start..height.min(start + BAND)).any(differs))
        .collect()
}

/// Rows of a band: a macroblock's chroma, half of its luma.
const BAND: usize = 8;
