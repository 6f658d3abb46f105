//! Cisco's openh264, through its safe wrapper.
//!
//! It is told that every stream is of Scalable Baseline profile. With any other
//! than the Baseline profiles it puts pictures in order itself, by a heuristic
//! over picture order counts that delays Main and High profile even without
//! B-frames, and flushing it behind every unit leaks a buffer a picture. The
//! profile decides about nothing else there: the tools a stream uses are named
//! by other fields. As Baseline it gives each picture at once.

use std::borrow::Cow;
use std::sync::Arc;

use bitstream::sps::Sps;
use media::{H264Config, Picture, Plane, Size, Timestamp};
use openh264::OpenH264API;
use openh264::decoder::{DecodeOptions, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;

use super::Backed;
use super::pool::Pool;
use super::sets::SpsBits;
use crate::Error;

pub(super) struct OpenH264 {
    decoder: Decoder,
    pool: Pool,
}

impl OpenH264 {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            decoder: decoder()?,
            pool: Pool::default(),
        })
    }
}

impl Backed for OpenH264 {
    fn decode(&mut self, annex_b: &[u8], pts: Timestamp) -> Result<Option<Arc<Picture>>, Error> {
        let options = DecodeOptions::new().flush_after_decode(Flush::NoFlush);
        let decoded = self
            .decoder
            .decode_with_options(annex_b, options)
            .map_err(Error::damaged_picture)?;
        let Some(decoded) = decoded else {
            return Ok(None);
        };
        let (width, height) = decoded.dimensions();
        let size = Size::new(width as u32, height as u32).even();
        let (width, height) = (size.width as usize, size.height as usize);
        let (luma, cb, cr) = decoded.strides();
        let whole = |plane: &[u8], stride: usize, width: usize, height: usize| -> bool {
            stride >= width && plane.len() >= stride * (height - 1) + width
        };
        if !(whole(decoded.y(), luma, width, height)
            && whole(decoded.u(), cb, width / 2, height / 2)
            && whole(decoded.v(), cr, width / 2, height / 2))
        {
            return Err(Error::Backend {
                library: "openh264",
                what: format!("planes shorter than a picture of {size}"),
            });
        }
        Ok(Some(self.pool.picture(size, pts, |picture| {
            let [y, u, v] = &mut picture.planes;
            copy(decoded.y(), luma, y);
            copy(decoded.u(), cb, u);
            copy(decoded.v(), cr, v);
        })))
    }

    fn reset(&mut self) -> Result<(), Error> {
        self.decoder = decoder()?;
        Ok(())
    }

    fn adapt_sps<'a>(&self, sps: &'a [u8]) -> Cow<'a, [u8]> {
        let chroma_fields = match sps.get(1) {
            Some(&HIGH) => false,
            Some(&MAIN) => true,
            _ => return Cow::Borrowed(sps),
        };
        match SpsBits::parse(sps) {
            Some(bits) => Cow::Owned(bits.with_profile(SCALABLE_BASELINE, chroma_fields)),
            None => Cow::Borrowed(sps),
        }
    }
}

fn decoder() -> Result<Decoder, Error> {
    // Threads stay off (they crash it), and so does error concealment: a unit
    // is decoded as it was meant or is reported.
    Decoder::with_api_config(OpenH264API::from_source(), DecoderConfig::new()).map_err(|error| {
        Error::Backend {
            library: "openh264",
            what: error.to_string(),
        }
    })
}

/// Why this backend cannot decode the track.
pub(super) fn lacks(config: &H264Config, facts: &[Sps]) -> Option<&'static str> {
    if config.interlaced {
        return Some("interlaced H.264");
    }
    let lossless = |nal| SpsBits::parse(nal).is_none_or(|sps| sps.lossless);
    if facts.iter().any(Sps::high_fidelity) || config.sps.iter().any(|nal| lossless(nal)) {
        return Some("H.264 with more than 8 bits or other chroma than 4:2:0");
    }
    None
}

/// Copies the rows and the part of each that `plane` holds.
fn copy(samples: &[u8], stride: usize, plane: &mut Plane) {
    let width = plane.stride;
    for (out, row) in plane
        .data
        .chunks_exact_mut(width)
        .zip(samples.chunks(stride))
    {
        out.copy_from_slice(&row[..width]);
    }
}

const MAIN: u8 = 77;
const HIGH: u8 = 100;
const SCALABLE_BASELINE: u8 = 83;
