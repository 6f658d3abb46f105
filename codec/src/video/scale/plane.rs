//! One plane's way through the steps: which rows and columns when.

use std::ops::Range;

use media::Plane;

use super::Kernel;
use super::changes::Bands;
use super::steps::{Column, Line, ROWS, Row, STRIP, Steps, Tile};
use super::taps::{GROUP, Siting, Taps};

/// How planes of one size become planes of another.
#[derive(Debug)]
pub(super) struct Plan {
    /// Columns and rows of the source.
    from: (usize, usize),
    /// Columns and rows of the output.
    to: (usize, usize),
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

/// One plane to resize.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) plan: &'a Plan,
    /// Of the plan's size.
    pub(super) source: &'a Plane,
    /// What of `source` differs from what `out` was made of; `None`: all of it.
    pub(super) changes: Option<Bands<'a>>,
    /// Of the plan's size.
    pub(super) out: &'a mut Plane,
    pub(super) space: &'a mut Workspace,
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
            from: (from.0 as usize, from.1 as usize),
            to: (to.0 as usize, to.1 as usize),
            needs: needs.collect(),
            columns,
            rows: Taps::new(from.1, to.1, Siting::Centre, kernel),
        }
    }

    /// The source's rows that these output rows are made of.
    pub(super) fn source_rows(&self, rows: Range<usize>) -> Range<usize> {
        let pairs = self.rows.range(rows);
        2 * pairs.start..self.from.1.min(2 * pairs.end)
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

    fn grow(&mut self, lines: usize, columns: usize) {
        let lines = lines.max(self.lines.len());
        self.lines.resize(lines, Line::EMPTY);
        let columns = columns.max(self.columns.len());
        self.columns.resize(columns, Column::EMPTY);
    }
}

impl Job<'_> {
    /// Does it `steps`' way. Inlined, to be compiled for each CPU.
    #[inline(always)]
    pub(super) fn run(mut self, steps: &impl Steps) {
        let width = self.plan.from.0;
        for y in (0..self.plan.to.1).step_by(ROWS) {
            let rows = y..self.plan.to.1.min(y + ROWS);
            let pairs = self.plan.rows.range(rows.clone());
            let source = self.plan.source_rows(rows.clone());
            if self.changes.is_some_and(|changes| !changes.touch(source)) {
                continue;
            }
            self.space
                .grow(pairs.len(), width.div_ceil(STRIP) * STRIP / 2);
            let mut group = 0;
            for (strip, x) in (0..width).step_by(STRIP).enumerate() {
                self.widen(steps, x, &pairs);
                for (y, out) in rows.clone().zip(&mut self.space.rows) {
                    let (start, weights) = self.plan.rows.of(y);
                    let lines = &self.space.lines[start - pairs.start..][..weights.len()];
                    steps.blend(lines, weights, out);
                }
                let columns = &mut self.space.columns.as_chunks_mut().0[strip];
                steps.turn(&self.space.rows, columns);
                let ready = (strip + 1) * STRIP / 2;
                let needs = &self.plan.needs;
                while needs.get(group).is_some_and(|&needs| needs <= ready) {
                    let taps = self.plan.columns.group(group);
                    steps.across(&self.space.columns, &taps, &mut self.space.tile);
                    self.put(group * GROUP, rows.clone());
                    group += 1;
                }
            }
        }
    }

    /// Lays out the strip at column `x` of these pairs of source rows.
    #[inline(always)]
    fn widen(&mut self, steps: &impl Steps, x: usize, pairs: &Range<usize>) {
        let (width, height) = self.plan.from;
        let row = |y: usize| {
            let start = y.min(height - 1) * self.source.stride;
            &self.source.data[start..][x..width]
        };
        for (pair, line) in pairs.clone().zip(&mut self.space.lines) {
            let rows = [row(2 * pair), row(2 * pair + 1)];
            for row in rows {
                // The far end: rows may begin anywhere in a cache line.
                if let Some(next) = row.get(2 * STRIP - 1) {
                    steps.fetch(next);
                }
            }
            match [rows[0].first_chunk(), rows[1].first_chunk()] {
                [Some(a), Some(b)] => steps.widen([a, b], line),
                _ => {
                    let [a, b] = rows.map(padded);
                    steps.widen([&a, &b], line);
                }
            }
        }
    }

    /// Puts the tile into the output at column `x` of these rows.
    #[inline(always)]
    fn put(&mut self, x: usize, rows: Range<usize>) {
        let some = GROUP.min(self.plan.to.0 - x);
        for (y, samples) in rows.zip(&self.space.tile) {
            let row = &mut self.out.data[y * self.out.stride + x..];
            match row.first_chunk_mut() {
                Some(row) if some == GROUP => *row = *samples,
                _ => row[..some].copy_from_slice(&samples[..some]),
            }
        }
    }
}

/// The end of a row, as long as a strip: what is added has no weight.
#[cold]
fn padded(row: &[u8]) -> [u8; STRIP] {
    let mut strip = [0; STRIP];
    strip[..row.len()].copy_from_slice(row);
    strip
}
