//! The steps in AVX2: 16 multiplications at a time, added up in pairs.
//!
//! A line holds its two rows interleaved, a column its two columns, so that one
//! 32-bit lane is a pair of samples and `vpmaddwd` does both. Within a line the
//! groups of 4 columns lie as unpacking leaves them (0, 2, 1, 3), which packing
//! undoes.
#![expect(
    unsafe_code,
    reason = "loads, stores, and calls that need the CPU to be asked"
)]

use std::arch::x86_64::{
    __m128i, __m256i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_storeu_si128,
    _mm256_add_epi32, _mm256_castsi128_si256, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_packs_epi32,
    _mm256_packus_epi16, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_setr_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srai_epi32, _mm256_storeu_si256,
    _mm256_unpackhi_epi8, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi8,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};

use super::plane::Job;
use super::steps::{
    ACROSS_HALF, ACROSS_SHIFT, BLEND_HALF, BLEND_SHIFT, Column, Line, ROWS, Row, STRIP, Steps, Tile,
};
use super::taps::{GROUP, Group};

/// Proof that the CPU has AVX2: there is no other way to one than [`Avx2::new`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn run(self, job: Job<'_>) {
        // SAFETY: `self` proves that the CPU has what it takes.
        unsafe { run(self, job) }
    }
}

impl Steps for Avx2 {
    #[inline(always)]
    fn fetch(&self, sample: &u8) {
        // SAFETY: it reads nothing; SSE, which has it, is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(sample).cast()) }
    }

    #[inline(always)]
    fn widen(&self, rows: [&[u8; STRIP]; 2], line: &mut Line) {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { widen(rows, line) }
    }

    #[inline(always)]
    fn blend(&self, lines: &[Line], weights: &[[i16; 2]], row: &mut Row) {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { blend(lines, weights, row) }
    }

    #[inline(always)]
    fn turn(&self, rows: &[Row; ROWS], columns: &mut [Column; STRIP / 2]) {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { turn(rows, columns) }
    }

    #[inline(always)]
    fn across(&self, columns: &[Column], group: &Group<'_>, tile: &mut Tile) {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { across(columns, group, tile) }
    }
}

/// The whole of it, in here so that the steps become part of it.
#[target_feature(enable = "avx2")]
fn run(steps: Avx2, job: Job<'_>) {
    job.run(&steps);
}

#[target_feature(enable = "avx2")]
fn widen(rows: [&[u8; STRIP]; 2], line: &mut Line) {
    let zero = _mm256_setzero_si256();
    let (first, second) = (rows[0].as_chunks::<32>().0, rows[1].as_chunks::<32>().0);
    for ((a, b), out) in first.iter().zip(second).zip(line.0.as_chunks_mut::<64>().0) {
        let a = _mm256_permute4x64_epi64::<MIDDLE_SWAPPED>(load_bytes(a));
        let b = _mm256_permute4x64_epi64::<MIDDLE_SWAPPED>(load_bytes(b));
        let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
        let out = out.as_chunks_mut::<16>().0;
        store(&mut out[0], _mm256_unpacklo_epi8(low, zero));
        store(&mut out[1], _mm256_unpackhi_epi8(low, zero));
        store(&mut out[2], _mm256_unpacklo_epi8(high, zero));
        store(&mut out[3], _mm256_unpackhi_epi8(high, zero));
    }
}

#[target_feature(enable = "avx2")]
fn blend(lines: &[Line], weights: &[[i16; 2]], row: &mut Row) {
    let mut sums = [_mm256_set1_epi32(BLEND_HALF); 8];
    for (line, &weights) in lines.iter().zip(weights) {
        let weights = both(weights);
        for (sum, samples) in sums.iter_mut().zip(line.0.as_chunks::<16>().0) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(load(samples), weights));
        }
    }
    for sum in &mut sums {
        *sum = _mm256_srai_epi32::<{ BLEND_SHIFT as i32 }>(*sum);
    }
    for (out, [a, b]) in row
        .0
        .as_chunks_mut::<16>()
        .0
        .iter_mut()
        .zip(sums.as_chunks().0)
    {
        store(out, _mm256_packs_epi32(*a, *b));
    }
}

#[target_feature(enable = "avx2")]
fn turn(rows: &[Row; ROWS], columns: &mut [Column; STRIP / 2]) {
    for (index, columns) in columns.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        // Four pairs of columns of one row in each half.
        let part = |row: usize| &rows[row].0.as_chunks::<8>().0[index];
        for (half, rows) in [[0, 1, 2, 3], [8, 9, 10, 11]].into_iter().enumerate() {
            let [a, b, c, d] = rows;
            let turned = transpose(
                load_halves(part(a), part(a + 4)),
                load_halves(part(b), part(b + 4)),
                load_halves(part(c), part(c + 4)),
                load_halves(part(d), part(d + 4)),
            );
            for (column, pair) in columns.iter_mut().zip(turned) {
                store(&mut column.0.as_chunks_mut::<16>().0[half], pair);
            }
        }
    }
}

#[target_feature(enable = "avx2")]
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

#[target_feature(enable = "avx2")]
fn across_pairs<const N: usize>(columns: &[Column], group: &Group<'_>, tile: &mut Tile) {
    let pairs = if N == ANY { group.pairs } else { N };
    // Bytes of 4 output samples by row, from bytes of 4 rows by output sample.
    let by_row = _mm256_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, //
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    );
    let mut upper = [_mm256_setzero_si256(); GROUP / 4];
    let mut lower = upper;
    for quad in 0..GROUP / 4 {
        let mut sums = [[_mm256_setzero_si256(); 2]; 4];
        for (place, sums) in sums.iter_mut().enumerate() {
            let output = quad * 4 + place;
            let columns = &columns[group.starts[output] as usize..][..pairs];
            *sums = sum(columns, &group.weights[output * pairs..][..pairs]);
        }
        let [a, b, c, d] = sums;
        let bytes = |half: usize| {
            let first = _mm256_packs_epi32(a[half], b[half]);
            let second = _mm256_packs_epi32(c[half], d[half]);
            _mm256_shuffle_epi8(_mm256_packus_epi16(first, second), by_row)
        };
        (upper[quad], lower[quad]) = (bytes(0), bytes(1));
    }
    for (half, [a, b, c, d]) in [upper, lower].into_iter().enumerate() {
        for (row, samples) in transpose(a, b, c, d).into_iter().enumerate() {
            store_halves(samples, tile, half * 8 + row);
        }
    }
}

/// One output sample of 16 rows, 8 in each vector.
#[target_feature(enable = "avx2")]
fn sum(columns: &[Column], weights: &[[i16; 2]]) -> [__m256i; 2] {
    let mut sums = [_mm256_set1_epi32(ACROSS_HALF); 2];
    for (column, &weights) in columns.iter().zip(weights) {
        let weights = both(weights);
        for (sum, samples) in sums.iter_mut().zip(column.0.as_chunks::<16>().0) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(load(samples), weights));
        }
    }
    let [upper, lower] = sums;
    [
        _mm256_srai_epi32::<{ ACROSS_SHIFT as i32 }>(upper),
        _mm256_srai_epi32::<{ ACROSS_SHIFT as i32 }>(lower),
    ]
}

/// Turns four vectors of four lanes, in either half: lane n of each into vector n.
#[target_feature(enable = "avx2")]
fn transpose(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [__m256i; 4] {
    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// A pair of weights in every lane.
#[target_feature(enable = "avx2")]
fn both([first, second]: [i16; 2]) -> __m256i {
    let [a, b] = first.to_le_bytes();
    let [c, d] = second.to_le_bytes();
    _mm256_set1_epi32(i32::from_le_bytes([a, b, c, d]))
}

#[target_feature(enable = "avx2")]
fn load(samples: &[i16; 16]) -> __m256i {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { _mm256_loadu_si256(samples.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn load_bytes(samples: &[u8; 32]) -> __m256i {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { _mm256_loadu_si256(samples.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn load_halves(low: &[i16; 8], high: &[i16; 8]) -> __m256i {
    // SAFETY: each array is as long as half the vector; neither need be aligned.
    let (low, high): (__m128i, __m128i) = unsafe {
        (
            _mm_loadu_si128(low.as_ptr().cast()),
            _mm_loadu_si128(high.as_ptr().cast()),
        )
    };
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
}

#[target_feature(enable = "avx2")]
fn store(out: &mut [i16; 16], vector: __m256i) {
    // SAFETY: the array is as long as the vector; it need not be aligned.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), vector) }
}

/// The halves go to rows `row` and `row + 4`.
#[target_feature(enable = "avx2")]
fn store_halves(samples: __m256i, tile: &mut Tile, row: usize) {
    let store = |out: &mut [u8; GROUP], half: __m128i| {
        // SAFETY: the array is as long as the vector; it need not be aligned.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), half) }
    };
    store(&mut tile[row], _mm256_castsi256_si128(samples));
    store(&mut tile[row + 4], _mm256_extracti128_si256::<1>(samples));
}

/// Quarters 0, 2, 1, 3: what unpacking in halves puts back in order.
const MIDDLE_SWAPPED: i32 = 0b11_01_10_00;
/// In place of a number of pairs: as many as there are.
const ANY: usize = 0;
