//! `rust_h264`: Rust as well, slower, with more tools.
//!
//! It decodes fields, 10 bits and 4:2:2, which are brought to the 8 bits and
//! 4:2:0 of a [`Picture`]. `unsafe` in it is SIMD behind run-time detection, and
//! planes shared between threads, which are not used here.
//!
//! Damage in other slices than a picture's first is not reported by it.

use std::sync::Arc;

use bitstream::sps::Sps;
use media::{H264Config, Picture, Plane, Size, Timestamp};
use rust_h264::decoder::{ChromaFormat, Decoder, Frame};
use rust_h264::error::DecodeError;
use rust_h264::nal::parse_annex_b;

use super::Backed;
use super::pool::Pool;
use super::sets::{SpsBits, has_slice_groups};
use crate::Error;

pub(super) struct Rust {
    decoder: Decoder,
    pool: Pool,
    /// Height of a whole picture where fields may come, each in a unit of its
    /// own. Then a picture is complete when the next one begins.
    fields: Option<u32>,
    /// The pts of the first unit of the picture that is not complete.
    pending: Option<Timestamp>,
}

impl Rust {
    pub(super) fn new(config: &H264Config) -> Self {
        Self {
            decoder: Decoder::new(),
            pool: Pool::default(),
            fields: config.interlaced.then_some(config.size.height),
            pending: None,
        }
    }

    fn picture(&mut self, frame: Frame, pts: Timestamp) -> Result<Arc<Picture>, Error> {
        let size = Size::new(frame.width, frame.height).even();
        let chroma_rows = frame.chroma_height() as usize;
        let whole = |plane: &[u8], stride: usize, rows: usize| {
            plane.len() >= stride * frame.bytes_per_sample() * rows
        };
        let (luma, chroma) = (frame.width as usize, frame.chroma_width() as usize);
        if !(whole(&frame.y, luma, frame.height as usize)
            && whole(&frame.u, chroma, chroma_rows)
            && whole(&frame.v, chroma, chroma_rows))
        {
            return Err(Error::Backend {
                library: "rust_h264",
                what: format!("planes shorter than a picture of {size}"),
            });
        }
        if frame.chroma_format == ChromaFormat::Yuv420 && frame.bit_depth == 8 {
            let plane = |data: Vec<u8>, stride: usize| Plane { data, stride };
            return Ok(Arc::new(Picture {
                pts,
                size,
                planes: [
                    plane(frame.y, luma),
                    plane(frame.u, chroma),
                    plane(frame.v, chroma),
                ],
            }));
        }
        let rows = match frame.chroma_format {
            ChromaFormat::Yuv420 => 1,
            ChromaFormat::Yuv422 => 2,
        };
        Ok(self.pool.picture(size, pts, |picture| {
            let [y, u, v] = &mut picture.planes;
            let depth = frame.bit_depth;
            reduce(&frame.y, luma, depth, 1, y);
            reduce(&frame.u, chroma, depth, rows, u);
            reduce(&frame.v, chroma, depth, rows, v);
        }))
    }
}

impl Backed for Rust {
    fn decode(&mut self, annex_b: &[u8], pts: Timestamp) -> Result<Option<Arc<Picture>>, Error> {
        let mut frame = None;
        for nal in parse_annex_b(annex_b) {
            let done = self.decoder.decode_nal(&nal).map_err(damage)?;
            frame = done.or(frame);
        }
        if self.fields.is_none() {
            return match self.decoder.flush() {
                Some(frame) => self.picture(frame, pts).map(Some),
                None => Err(Error::damaged_picture("a picture is incomplete")),
            };
        }
        let done = frame.zip(self.pending);
        if done.is_some() || self.pending.is_none() {
            self.pending = Some(pts);
        }
        done.map(|(frame, pts)| self.picture(frame, pts))
            .transpose()
    }

    fn drain(&mut self) -> Option<Arc<Picture>> {
        let (frame, pts) = (self.decoder.flush()?, self.pending.take()?);
        // A field without its other half is not a picture.
        if self
            .fields
            .is_some_and(|height| frame.height * 2 <= height + 1)
        {
            return None;
        }
        self.picture(frame, pts).ok()
    }

    fn reset(&mut self) -> Result<(), Error> {
        self.decoder = Decoder::new();
        self.pending = None;
        Ok(())
    }
}

fn damage(error: DecodeError) -> Error {
    Error::damaged_picture(error)
}

/// Why this backend cannot decode the track.
pub(super) fn lacks(config: &H264Config, facts: &[Sps]) -> Option<&'static str> {
    for (sps, nal) in facts.iter().zip(&config.sps) {
        if sps.chroma_format == 3 {
            return Some("H.264 with 4:4:4 colour (in OBS: Settings, Advanced, Color Format NV12)");
        }
        if !matches!(sps.luma_depth, 8 | 10)
            || sps.chroma_format != 0 && sps.chroma_depth != sps.luma_depth
        {
            return Some("H.264 with other than 8 or 10 bits a sample (choose 8 bits)");
        }
        if SpsBits::parse(nal).is_none_or(|sps| sps.lossless) {
            return Some("lossless H.264 (in OBS: choose CBR, or a CRF or CQP above 0)");
        }
    }
    if facts
        .windows(2)
        .any(|two| two[0].max_ref_frames != two[1].max_ref_frames)
    {
        // It would keep as many as the last set says.
        return Some("H.264 with several numbers of reference frames (choose one encoder setting)");
    }
    if config.pps.iter().any(|pps| has_slice_groups(pps)) {
        return Some("H.264 with slice groups (choose the Main or High profile)");
    }
    None
}

/// Brings samples of `depth` bits, in rows of `width`, to the 8 bits of `plane`,
/// averaging `rows` of them into one.
fn reduce(samples: &[u8], width: usize, depth: u8, rows: usize, plane: &mut Plane) {
    let bytes = if depth > 8 { 2 } else { 1 };
    let row_bytes = width * bytes;
    let shift = u32::from(depth - 8) + rows.trailing_zeros();
    let half = (1_u32 << shift) >> 1;
    let sample = |row: &[u8], x: usize| match bytes {
        1 => u32::from(row[x]),
        _ => u32::from(u16::from_le_bytes([row[2 * x], row[2 * x + 1]])),
    };
    let sources = samples.chunks_exact(row_bytes * rows);
    for (out, source) in plane.data.chunks_exact_mut(plane.stride).zip(sources) {
        let (first, second) = source.split_at(row_bytes);
        for (x, out) in out.iter_mut().enumerate() {
            let mut sum = sample(first, x) + half;
            if rows == 2 {
                sum += sample(second, x);
            }
            *out = (sum >> shift).min(255) as u8;
        }
    }
}
