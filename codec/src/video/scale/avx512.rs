//! The steps in AVX-512 with its neural network instructions: `vpdpwssd`
//! multiplies 32 samples, adds pairs of products and adds those to a sum.
//!
//! Lines and columns hold pairs of samples in 32-bit lanes as on AVX2, 16 of
//! them in a vector: a column of all rows is one. Within a line lane n of
//! vector m is column (n / 4) * 16 + m * 4 + n % 4, as unpacking leaves them;
//! within a row each half has every other 8 columns, as packing leaves them,
//! and only turning puts columns in order.
#![expect(
    unsafe_code,
    reason = "loads, stores, and calls that need the CPU to be asked"
)]

use std::arch::x86_64::{
    __m128i, __m512i, _MM_HINT_T0, _mm_prefetch, _mm_setr_epi8, _mm_storeu_si128,
    _mm512_broadcast_i32x4, _mm512_dpwssd_epi32, _mm512_extracti32x4_epi32, _mm512_loadu_si512,
    _mm512_packs_epi32, _mm512_packus_epi16, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srai_epi32, _mm512_storeu_si512,
    _mm512_unpackhi_epi8, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi8,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::plane::Job;
use super::steps::{
    ACROSS_HALF, ACROSS_SHIFT, BLEND_HALF, BLEND_SHIFT, Column, Line, ROWS, Row, STRIP, Steps, Tile,
};
use super::taps::{GROUP, Group};

/// Proof that the CPU has AVX-512 F, BW and VNNI: there is no other way to one
/// than [`Avx512::new`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn new() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        has_all.then_some(Self(()))
    }

    pub(super) fn run(self, job: Job<'_>) {
        // SAFETY: `self` proves that the CPU has what it takes.
        unsafe { run(self, job) }
    }
}

impl Steps for Avx512 {
    #[inline(always)]
    fn fetch(&self, sample: &u8) {
        // SAFETY: it reads nothing; SSE, which has it, is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(sample).cast()) }
    }

    #[inline(always)]
    fn widen(&self, rows: [&[u8; STRIP]; 2], line: &mut Line) {
        // SAFETY: `self` proves that the CPU has what it takes.
        unsafe { widen(rows, line) }
    }

    #[inline(always)]
    fn blend(&self, lines: &[Line], weights: &[[i16; 2]], row: &mut Row) {
        // SAFETY: `self` proves that the CPU has what it takes.
        unsafe { blend(lines, weights, row) }
    }

    #[inline(always)]
    fn turn(&self, rows: &[Row; ROWS], columns: &mut [Column; STRIP / 2]) {
        // SAFETY: `self` proves that the CPU has what it takes.
        unsafe { turn(rows, columns) }
    }

    #[inline(always)]
    fn across(&self, columns: &[Column], group: &Group<'_>, tile: &mut Tile) {
        // SAFETY: `self` proves that the CPU has what it takes.
        unsafe { across(columns, group, tile) }
    }
}

/// The whole of it, in here so that the steps become part of it.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn run(steps: Avx512, job: Job<'_>) {
    job.run(&steps);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn widen(rows: [&[u8; STRIP]; 2], line: &mut Line) {
    let zero = _mm512_setzero_si512();
    let (a, b) = (load_bytes(rows[0]), load_bytes(rows[1]));
    let (low, high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let out = line.0.as_chunks_mut::<32>().0;
    store(&mut out[0], _mm512_unpacklo_epi8(low, zero));
    store(&mut out[1], _mm512_unpackhi_epi8(low, zero));
    store(&mut out[2], _mm512_unpacklo_epi8(high, zero));
    store(&mut out[3], _mm512_unpackhi_epi8(high, zero));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn blend(lines: &[Line], weights: &[[i16; 2]], row: &mut Row) {
    let mut sums = [_mm512_set1_epi32(BLEND_HALF); 4];
    for (line, &weights) in lines.iter().zip(weights) {
        let weights = both(weights);
        for (sum, samples) in sums.iter_mut().zip(line.0.as_chunks::<32>().0) {
            *sum = _mm512_dpwssd_epi32(*sum, load(samples), weights);
        }
    }
    for sum in &mut sums {
        *sum = _mm512_srai_epi32::<BLEND_SHIFT>(*sum);
    }
    let [a, b, c, d] = sums;
    let out = row.0.as_chunks_mut::<32>().0;
    store(&mut out[0], _mm512_packs_epi32(a, b));
    store(&mut out[1], _mm512_packs_epi32(c, d));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn turn(rows: &[Row; ROWS], columns: &mut [Column; STRIP / 2]) {
    for half in 0..2 {
        let part = |row: usize| load(&rows[row].0.as_chunks::<32>().0[half]);
        // Vector k of each: pair k of every quarter, of 4 rows.
        let mut by_rows = [[_mm512_setzero_si512(); 4]; ROWS / 4];
        for (index, turned) in by_rows.iter_mut().enumerate() {
            let row = index * 4;
            *turned = transpose(part(row), part(row + 1), part(row + 2), part(row + 3));
        }
        for k in 0..4 {
            let [a, b, c, d] = by_rows;
            let turned = transpose_quarters(a[k], b[k], c[k], d[k]);
            for (quarter, column) in turned.into_iter().enumerate() {
                store(&mut columns[quarter * 8 + half * 4 + k].0, column);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn across(columns: &[Column], group: &Group<'_>, tile: &mut Tile) {
    // With a number of pairs that the compiler knows, sums lose their loops:
    // these are the numbers of all kernels at ratios up to 3.
    match group.pairs {
        2 => across_pairs::<2>(columns, group, tile),
        3 => across_pairs::<3>(columns, group, tile),
        4 => across_pairs::<4>(columns, group, tile),
        5 => across_pairs::<5>(columns, group, tile),
        6 => across_pairs::<6>(columns, group, tile),
        7 => across_pairs::<7>(columns, group, tile),
        8 => across_pairs::<8>(columns, group, tile),
        9 => across_pairs::<9>(columns, group, tile),
        10 => across_pairs::<10>(columns, group, tile),
        _ => across_pairs::<ANY>(columns, group, tile),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn across_pairs<const N: usize>(columns: &[Column], group: &Group<'_>, tile: &mut Tile) {
    let pairs = if N == ANY { group.pairs } else { N };
    // Bytes of 4 output samples by row, from bytes of 4 rows by output sample.
    let by_row = _mm512_broadcast_i32x4(_mm_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    ));
    let mut quads = [_mm512_setzero_si512(); GROUP / 4];
    for (index, quad) in quads.iter_mut().enumerate() {
        let mut sums = [_mm512_setzero_si512(); 4];
        for (place, sum) in sums.iter_mut().enumerate() {
            let output = index * 4 + place;
            let columns = &columns[group.starts[output] as usize..][..pairs];
            *sum = weigh(columns, &group.weights[output * pairs..][..pairs]);
        }
        let [a, b, c, d] = sums;
        let (first, second) = (_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
        *quad = _mm512_shuffle_epi8(_mm512_packus_epi16(first, second), by_row);
    }
    let [a, b, c, d] = quads;
    for (row, samples) in transpose(a, b, c, d).into_iter().enumerate() {
        store_bytes(&mut tile[row], _mm512_extracti32x4_epi32::<0>(samples));
        store_bytes(&mut tile[row + 4], _mm512_extracti32x4_epi32::<1>(samples));
        store_bytes(&mut tile[row + 8], _mm512_extracti32x4_epi32::<2>(samples));
        store_bytes(&mut tile[row + 12], _mm512_extracti32x4_epi32::<3>(samples));
    }
}

/// One output sample of 16 rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn weigh(columns: &[Column], weights: &[[i16; 2]]) -> __m512i {
    let mut sum = _mm512_set1_epi32(ACROSS_HALF);
    for (column, &weights) in columns.iter().zip(weights) {
        sum = _mm512_dpwssd_epi32(sum, load(&column.0), both(weights));
    }
    _mm512_srai_epi32::<ACROSS_SHIFT>(sum)
}

/// Turns four vectors of four lanes, in each quarter: lane n of each into
/// vector n.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn transpose(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Turns four vectors of four quarters: quarter n of each into vector n.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn transpose_quarters(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let ab = _mm512_shuffle_i32x4::<EVEN>(a, b);
    let cd = _mm512_shuffle_i32x4::<EVEN>(c, d);
    let ab_odd = _mm512_shuffle_i32x4::<ODD>(a, b);
    let cd_odd = _mm512_shuffle_i32x4::<ODD>(c, d);
    [
        _mm512_shuffle_i32x4::<EVEN>(ab, cd),
        _mm512_shuffle_i32x4::<EVEN>(ab_odd, cd_odd),
        _mm512_shuffle_i32x4::<ODD>(ab, cd),
        _mm512_shuffle_i32x4::<ODD>(ab_odd, cd_odd),
    ]
}

/// A pair of weights in every lane.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn both([first, second]: [i16; 2]) -> __m512i {
    let [a, b] = first.to_le_bytes();
    let [c, d] = second.to_le_bytes();
    _mm512_set1_epi32(i32::from_le_bytes([a, b, c, d]))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load(samples: &[i16; 32]) -> __m512i {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { _mm512_loadu_si512(samples.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load_bytes(samples: &[u8; 64]) -> __m512i {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { _mm512_loadu_si512(samples.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn store(out: &mut [i16; 32], vector: __m512i) {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), vector) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn store_bytes(out: &mut [u8; GROUP], samples: __m128i) {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), samples) }
}

/// Quarters 0 and 2 of the one and of the other, and 1 and 3.
const EVEN: i32 = 0b10_00_10_00;
const ODD: i32 = 0b11_01_11_01;
/// In place of a number of pairs: as many as there are.
const ANY: usize = 0;
