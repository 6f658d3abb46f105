//! The steps in NEON: 8 multiplications at a time, added to 32-bit sums.
//!
//! `smlal` takes samples of one row or column, not pairs, so a line holds its
//! first row and then its second, and a column likewise.
#![expect(
    unsafe_code,
    reason = "loads, stores, and calls that need the CPU to be asked"
)]

use std::arch::aarch64::{
    int16x8_t, int32x4_t, uint8x16_t, vcombine_s16, vcombine_u8, vdupq_n_s32, vdupq_n_u8,
    vget_high_u8, vget_low_s16, vget_low_u8, vld1q_s16, vld1q_u8, vmlal_high_n_s16, vmlal_n_s16,
    vmovl_u8, vqmovn_s32, vqmovun_s16, vreinterpretq_s16_s32, vreinterpretq_s16_s64,
    vreinterpretq_s16_u16, vreinterpretq_s32_s16, vreinterpretq_s64_s16, vshrq_n_s32, vst1q_s16,
    vst1q_u8, vtrn1q_s16, vtrn1q_s32, vtrn1q_s64, vtrn2q_s16, vtrn2q_s32, vtrn2q_s64, vzip1q_u8,
    vzip2q_u8,
};
use std::arch::{asm, is_aarch64_feature_detected};

use super::plane::Job;
use super::steps::{
    ACROSS_HALF, ACROSS_SHIFT, BLEND_HALF, BLEND_SHIFT, Column, Line, ROWS, Row, STRIP, Steps, Tile,
};
use super::taps::{GROUP, Group};

/// Proof that the CPU has NEON: there is no other way to one than [`Neon::new`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn new() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    pub(super) fn run(self, job: Job<'_>) {
        // SAFETY: `self` proves that the CPU has what it takes.
        unsafe { run(self, job) }
    }
}

impl Steps for Neon {
    #[inline(always)]
    fn fetch(&self, sample: &u8) {
        // SAFETY: a hint, which reads nothing that the program could see and
        // does not fault whatever the address.
        unsafe {
            asm!(
                "prfm pldl1keep, [{sample}]",
                sample = in(reg) std::ptr::from_ref(sample),
                options(nostack, preserves_flags, readonly),
            );
        }
    }

    #[inline(always)]
    fn widen(&self, rows: [&[u8; STRIP]; 2], line: &mut Line) {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { widen(rows, line) }
    }

    #[inline(always)]
    fn blend(&self, lines: &[Line], weights: &[[i16; 2]], row: &mut Row) {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { blend(lines, weights, row) }
    }

    #[inline(always)]
    fn turn(&self, rows: &[Row; ROWS], columns: &mut [Column; STRIP / 2]) {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { turn(rows, columns) }
    }

    #[inline(always)]
    fn across(&self, columns: &[Column], group: &Group<'_>, tile: &mut Tile) {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { across(columns, group, tile) }
    }
}

/// The whole of it, in here so that the steps become part of it.
#[target_feature(enable = "neon")]
fn run(steps: Neon, job: Job<'_>) {
    job.run(&steps);
}

#[target_feature(enable = "neon")]
fn widen(rows: [&[u8; STRIP]; 2], line: &mut Line) {
    for (row, out) in rows.iter().zip(line.0.as_chunks_mut::<STRIP>().0) {
        let samples = row.as_chunks::<16>().0;
        for (samples, out) in samples.iter().zip(out.as_chunks_mut::<16>().0) {
            let samples = load_bytes(samples);
            let [low, high] =
                [vget_low_u8(samples), vget_high_u8(samples)].map(|half| vmovl_u8(half));
            let out = out.as_chunks_mut::<8>().0;
            store(&mut out[0], vreinterpretq_s16_u16(low));
            store(&mut out[1], vreinterpretq_s16_u16(high));
        }
    }
}

#[target_feature(enable = "neon")]
fn blend(lines: &[Line], weights: &[[i16; 2]], row: &mut Row) {
    // 32 columns at a time: 8 vectors of sums.
    for (part, out) in row.0.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let mut sums = [[vdupq_n_s32(BLEND_HALF); 2]; 4];
        for (line, weights) in lines.iter().zip(weights) {
            for (row, &weight) in line.0.as_chunks::<STRIP>().0.iter().zip(weights) {
                let samples = row.as_chunks::<32>().0[part].as_chunks::<8>().0;
                for (sums, samples) in sums.iter_mut().zip(samples) {
                    *sums = add(*sums, load(samples), weight);
                }
            }
        }
        for (out, sums) in out.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            store(
                out,
                narrow(sums.map(|sum| vshrq_n_s32::<{ BLEND_SHIFT as i32 }>(sum))),
            );
        }
    }
}

#[target_feature(enable = "neon")]
fn turn(rows: &[Row; ROWS], columns: &mut [Column; STRIP / 2]) {
    for (index, columns) in columns.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        for (half, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
            let turned = transpose(
                rows.each_ref()
                    .map(|row| load(&row.0.as_chunks::<8>().0[index])),
            );
            for (column, pair) in columns.iter_mut().zip(turned.as_chunks::<2>().0) {
                let out = column.0.as_chunks_mut::<8>().0;
                store(&mut out[half], pair[0]);
                store(&mut out[2 + half], pair[1]);
            }
        }
    }
}

#[target_feature(enable = "neon")]
fn across(columns: &[Column], group: &Group<'_>, tile: &mut Tile) {
    let pairs = group.pairs;
    let mut outputs = [vdupq_n_u8(0); GROUP];
    for (index, output) in outputs.iter_mut().enumerate() {
        let columns = &columns[group.starts[index] as usize..];
        let mut sums = [[vdupq_n_s32(ACROSS_HALF); 2]; 2];
        for (column, weights) in columns.iter().zip(&group.weights[index * pairs..][..pairs]) {
            for (column, &weight) in column.0.as_chunks::<ROWS>().0.iter().zip(weights) {
                for (sums, samples) in sums.iter_mut().zip(column.as_chunks::<8>().0) {
                    *sums = add(*sums, load(samples), weight);
                }
            }
        }
        let [upper, lower] = sums.map(|sums| {
            vqmovun_s16(narrow(
                sums.map(|sum| vshrq_n_s32::<{ ACROSS_SHIFT as i32 }>(sum)),
            ))
        });
        *output = vcombine_u8(upper, lower);
    }
    // Zipping output n with n + 8 four times over turns columns into rows.
    for _ in 0..4 {
        let mut zipped = outputs;
        for index in 0..GROUP / 2 {
            let (a, b) = (outputs[index], outputs[index + GROUP / 2]);
            zipped[2 * index] = vzip1q_u8(a, b);
            zipped[2 * index + 1] = vzip2q_u8(a, b);
        }
        outputs = zipped;
    }
    for (row, samples) in tile.iter_mut().zip(outputs) {
        store_bytes(row, samples);
    }
}

#[target_feature(enable = "neon")]
fn add([low, high]: [int32x4_t; 2], samples: int16x8_t, weight: i16) -> [int32x4_t; 2] {
    [
        vmlal_n_s16(low, vget_low_s16(samples), weight),
        vmlal_high_n_s16(high, samples, weight),
    ]
}

#[target_feature(enable = "neon")]
fn narrow([low, high]: [int32x4_t; 2]) -> int16x8_t {
    vcombine_s16(vqmovn_s32(low), vqmovn_s32(high))
}

/// Turns 8 vectors of 8 lanes: lane n of each into vector n.
#[target_feature(enable = "neon")]
fn transpose(rows: [int16x8_t; 8]) -> [int16x8_t; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let twos = |a, b| [vtrn1q_s16(a, b), vtrn2q_s16(a, b)];
    let fours = |a, b| {
        let (a, b) = (vreinterpretq_s32_s16(a), vreinterpretq_s32_s16(b));
        [vtrn1q_s32(a, b), vtrn2q_s32(a, b)].map(|out| vreinterpretq_s16_s32(out))
    };
    let eights = |a, b| {
        let (a, b) = (vreinterpretq_s64_s16(a), vreinterpretq_s64_s16(b));
        [vtrn1q_s64(a, b), vtrn2q_s64(a, b)].map(|out| vreinterpretq_s16_s64(out))
    };
    let [[a, b], [c, d], [e, f], [g, h]] = [twos(a, b), twos(c, d), twos(e, f), twos(g, h)];
    let [[a, c], [b, d], [e, g], [f, h]] = [fours(a, c), fours(b, d), fours(e, g), fours(f, h)];
    let [[a, e], [b, f], [c, g], [d, h]] = [eights(a, e), eights(b, f), eights(c, g), eights(d, h)];
    [a, b, c, d, e, f, g, h]
}

#[target_feature(enable = "neon")]
fn load(samples: &[i16; 8]) -> int16x8_t {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { vld1q_s16(samples.as_ptr()) }
}

#[target_feature(enable = "neon")]
fn load_bytes(samples: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { vld1q_u8(samples.as_ptr()) }
}

#[target_feature(enable = "neon")]
fn store(out: &mut [i16; 8], vector: int16x8_t) {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { vst1q_s16(out.as_mut_ptr(), vector) }
}

#[target_feature(enable = "neon")]
fn store_bytes(out: &mut [u8; GROUP], vector: uint8x16_t) {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { vst1q_u8(out.as_mut_ptr(), vector) }
}
