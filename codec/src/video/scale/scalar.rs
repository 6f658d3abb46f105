//! The steps in plain loops: for CPUs without a path of their own, and the
//! twin that the others are tested against.

use std::hint::black_box;

use super::plane::Job;
use super::steps::{
    ACROSS_HALF, ACROSS_SHIFT, BLEND_HALF, BLEND_SHIFT, Column, Line, ROWS, Row, STRIP, Steps, Tile,
};
use super::taps::Group;

/// Runs everywhere. A line holds its first row and then its second, a column
/// likewise: the compiler makes vectors of any width of that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scalar;

impl Scalar {
    pub(super) fn run(self, job: Job<'_>) {
        job.run(&self);
    }
}

impl Steps for Scalar {
    fn widen(&self, rows: [&[u8; STRIP]; 2], line: &mut Line) {
        let (first, second) = line.0.split_at_mut(STRIP);
        for (out, &sample) in first.iter_mut().zip(rows[0]) {
            *out = sample.into();
        }
        for (out, &sample) in second.iter_mut().zip(rows[1]) {
            *out = sample.into();
        }
    }

    fn blend(&self, lines: &[Line], weights: &[[i16; 2]], row: &mut Row) {
        // As many columns at a time as there are registers for.
        for (chunk, out) in row.0.chunks_exact_mut(CHUNK).enumerate() {
            let mut sums = [BLEND_HALF; CHUNK];
            for (line, weights) in lines.iter().zip(weights) {
                let [a, b] = one_by_one(weights);
                let first = &line.0[chunk * CHUNK..][..CHUNK];
                let second = &line.0[STRIP + chunk * CHUNK..][..CHUNK];
                for ((sum, x), y) in sums.iter_mut().zip(first).zip(second) {
                    *sum += i32::from(*x) * a + i32::from(*y) * b;
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = (sum >> BLEND_SHIFT).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
            }
        }
    }

    fn turn(&self, rows: &[Row; ROWS], columns: &mut [Column; STRIP / 2]) {
        for (index, column) in columns.iter_mut().enumerate() {
            let (first, second) = column.0.split_at_mut(ROWS);
            for ((first, second), row) in first.iter_mut().zip(second).zip(rows) {
                *first = row.0[2 * index];
                *second = row.0[2 * index + 1];
            }
        }
    }

    fn across(&self, columns: &[Column], group: &Group<'_>, tile: &mut Tile) {
        let outputs = group.starts.iter().zip(group.weights.chunks(group.pairs));
        for (x, (&start, weights)) in outputs.enumerate() {
            let mut sums = [ACROSS_HALF; ROWS];
            for (column, weights) in columns[start as usize..].iter().zip(weights) {
                let [a, b] = one_by_one(weights);
                let (first, second) = column.0.split_at(ROWS);
                for ((sum, x), y) in sums.iter_mut().zip(first).zip(second) {
                    *sum += i32::from(*x) * a + i32::from(*y) * b;
                }
            }
            for (row, sum) in tile.iter_mut().zip(sums) {
                row[x] = (sum >> ACROSS_SHIFT).clamp(0, 255) as u8;
            }
        }
    }
}

/// A pair of weights, not foreseen by the compiler: it would make vectors of 8
/// pairs, not of samples, and take four times as long where there are as many.
fn one_by_one(&[a, b]: &[i16; 2]) -> [i32; 2] {
    black_box([a.into(), b.into()])
}

const CHUNK: usize = 16;
