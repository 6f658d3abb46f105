//! One plane's way through the steps: which rows and columns when.

use std::ops::Range;

use media::Plane;

use super::Kernel;
use super::steps::{Column, Line, ROWS, Row, STRIP, Steps, Tile};
use super::taps::{GROUP, Siting, Taps};

/// How planes of one size become planes of another.
#[derive(Debug)]
pub(super) struct Plan {
    width: usize,
    height: usize,
    columns: Taps,
    rows: Taps,
    /// For each group of output columns the pairs of source columns that must
    /// be ready before it can be made.
    needs: Vec<usize>,
}

/// What lies between source and output. Kept from picture to picture.
#[derive(Debug)]
pub(super) struct Workspace {
    /// The source rows of a strip, in pairs.
    lines: Vec<Line>,
    /// A strip between the passes.
    rows: [Row; ROWS],
    /// All columns of `ROWS` rows between the passes, in pairs. Only the latest
    /// are read, so they are still in the first-level cache.
    columns: Vec<Column>,
    tile: Tile,
}

impl Plan {
    /// From `from` to `to`, columns and rows. No side may be 0.
    pub(super) fn new(from: (u32, u32), to: (u32, u32), siting: Siting, kernel: Kernel) -> Self {
        let columns = Taps::new(from.0, to.0, siting, kernel);
        let groups = 0..columns.groups();
        let needs = groups.map(|group| {
            let group = columns.group(group);
            let last = group.starts.iter().max();
            last.map_or(0, |&start| start as usize + group.pairs)
        });
        Self {
            width: from.0 as usize,
            height: from.1 as usize,
            needs: needs.collect(),
            columns,
            rows: Taps::new(from.1, to.1, Siting::Centre, kernel),
        }
    }

    /// Resizes `source` into `out`, `size` columns and rows, `steps`' way.
    pub(super) fn run(
        &self,
        steps: &impl Steps,
        source: &Plane,
        out: &mut Plane,
        (width, height): (usize, usize),
        space: &mut Workspace,
    ) {
        let pairs = self.width.div_ceil(STRIP) * STRIP / 2;
        let most = space.columns.len().max(pairs);
        space.columns.resize(most, Column::EMPTY);
        for y in (0..height).step_by(ROWS) {
            let rows = y..height.min(y + ROWS);
            let pairs = self.rows.range(rows.clone());
            let most = space.lines.len().max(pairs.len());
            space.lines.resize(most, Line::EMPTY);
            let mut group = 0;
            for (strip, x) in (0..self.width).step_by(STRIP).enumerate() {
                self.blend(steps, source, x, rows.clone(), &pairs, space);
                let columns = &mut space.columns.as_chunks_mut().0[strip];
                steps.turn(&space.rows, columns);
                let ready = (strip + 1) * STRIP / 2;
                while self.needs.get(group).is_some_and(|&needs| needs <= ready) {
                    steps.across(&space.columns, &self.columns.group(group), &mut space.tile);
                    let x = group * GROUP;
                    let some = GROUP.min(width - x);
                    for (y, samples) in rows.clone().zip(&space.tile) {
                        let row = &mut out.data[y * out.stride + x..];
                        match row.first_chunk_mut() {
                            Some(row) if some == GROUP => *row = *samples,
                            _ => row[..some].copy_from_slice(&samples[..some]),
                        }
                    }
                    group += 1;
                }
            }
        }
    }

    /// The first pass over the strip at column `x`, for some output rows and
    /// the pairs of source rows that they take.
    fn blend(
        &self,
        steps: &impl Steps,
        source: &Plane,
        x: usize,
        rows: Range<usize>,
        pairs: &Range<usize>,
        space: &mut Workspace,
    ) {
        let row = |y: usize| {
            let start = y.min(self.height - 1) * source.stride;
            &source.data[start..][x..self.width]
        };
        for (pair, line) in pairs.clone().zip(&mut space.lines) {
            let rows = [row(2 * pair), row(2 * pair + 1)];
            for next in rows.iter().filter_map(|row| row.get(2 * STRIP - 1)) {
                steps.fetch(next);
            }
            match rows.map(|row| row.first_chunk()) {
                [Some(a), Some(b)] => steps.widen([a, b], line),
                _ => {
                    let [a, b] = rows.map(padded);
                    steps.widen([&a, &b], line);
                }
            }
        }
        for (y, out) in rows.zip(&mut space.rows) {
            let (start, weights) = self.rows.of(y);
            let lines = &space.lines[start - pairs.start..][..weights.len()];
            steps.blend(lines, weights, out);
        }
    }
}

impl Workspace {
    pub(super) fn new() -> Self {
        Self {
            lines: Vec::new(),
            rows: [Row::EMPTY; ROWS],
            columns: Vec::new(),
            tile: [[0; GROUP]; ROWS],
        }
    }
}

/// The end of a row, as long as a strip: what is added has no weight.
fn padded(row: &[u8]) -> [u8; STRIP] {
    let mut strip = [0; STRIP];
    strip[..row.len()].copy_from_slice(row);
    strip
}
