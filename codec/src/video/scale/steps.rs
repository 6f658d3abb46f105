//! The four steps of a resize, in integers, so that every CPU gets the same
//! samples: what each does is said here, and [`scalar`](super::scalar) is it in
//! plain loops.
//!
//! A picture is worked on in strips of `STRIP` columns for `ROWS` output rows
//! at a time. All that a strip needs stays in the first-level cache, and the
//! second pass, which runs along rows, finds columns of 16 rows laid out side
//! by side: it multiplies whole vectors by one weight, as the first does.
//!
//! How samples lie inside [`Line`] and [`Column`] is known to the CPU path
//! alone that fills and reads them.

use super::taps::{GROUP, Group, WEIGHT_BITS};

/// One CPU's way to do it.
pub(super) trait Steps {
    /// Asks for the cache line of a sample that [`widen`](Self::widen) takes
    /// next. Strips run down rows, which no CPU foresees by itself.
    fn fetch(&self, _sample: &u8) {}

    /// Lays two neighbouring source rows of a strip out for [`blend`](Self::blend).
    fn widen(&self, rows: [&[u8; STRIP]; 2], line: &mut Line);

    /// The weighted sum of source rows, a pair of weights for each of `lines`,
    /// rounded to `LINE_BITS` fraction bits.
    fn blend(&self, lines: &[Line], weights: &[[i16; 2]], row: &mut Row);

    /// Turns blended rows into pairs of columns for [`across`](Self::across).
    fn turn(&self, rows: &[Row; ROWS], columns: &mut [Column; STRIP / 2]);

    /// A group of output samples of `ROWS` rows: weighted sums of columns,
    /// rounded, limited to a byte.
    fn across(&self, columns: &[Column], group: &Group<'_>, tile: &mut Tile);
}

/// Two source rows of a strip, or as much.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [i16; 2 * STRIP]);

/// One row of a strip between the passes, in units of 1 / 2^`LINE_BITS`.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Row(pub(super) [i16; STRIP]);

/// Two neighbouring columns of `ROWS` rows between the passes.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Column(pub(super) [i16; 2 * ROWS]);

/// Finished samples, `GROUP` of each of `ROWS` rows.
pub(super) type Tile = [[u8; GROUP]; ROWS];

impl Line {
    pub(super) const EMPTY: Self = Self([0; 2 * STRIP]);
}

impl Row {
    pub(super) const EMPTY: Self = Self([0; STRIP]);
}

impl Column {
    pub(super) const EMPTY: Self = Self([0; 2 * ROWS]);
}

/// Columns of a strip: one cache line of source samples.
pub(super) const STRIP: usize = 64;
/// Output rows that are made together.
pub(super) const ROWS: usize = 16;
/// Fraction bits of a sample between the passes. 6 leave room in 16 bits for
/// weights whose absolute values sum up to 2, which no kernel's do.
pub(super) const LINE_BITS: u32 = 6;
/// Bits that the first pass drops, and half of the last of them.
pub(super) const BLEND_SHIFT: u32 = WEIGHT_BITS - LINE_BITS;
pub(super) const BLEND_HALF: i32 = 1 << (BLEND_SHIFT - 1);
/// Bits that the second pass drops, and half of the last of them.
pub(super) const ACROSS_SHIFT: u32 = WEIGHT_BITS + LINE_BITS;
pub(super) const ACROSS_HALF: i32 = 1 << (ACROSS_SHIFT - 1);
