//! Cisco's openh264, through its safe wrapper.
//!
//! It is told that every stream is of Scalable Baseline profile. With any other
//! than the Baseline profiles it puts pictures in order itself, by a heuristic
//! over picture order counts that delays Main and High profile even without
//! B-frames, and flushing it behind every unit leaks a buffer a picture. The
//! profile decides about nothing else there: the tools a stream uses are named
//! by other fields. As Baseline it gives each picture at once.

use std::borrow::Cow;

use media::{Picture, Size, Timestamp};
use openh264::OpenH264API;
use openh264::decoder::{DecodeOptions, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;

use super::{Backed, crop_plane, unescape};
use crate::Error;

pub(super) struct OpenH264 {
    decoder: Decoder,
}

impl OpenH264 {
    pub(super) fn new() -> Result<Self, Error> {
        // Threads stay off (they crash it), and so does error concealment: a
        // unit is decoded as it was meant or is reported.
        Decoder::with_api_config(OpenH264API::from_source(), DecoderConfig::new())
            .map(|decoder| Self { decoder })
            .map_err(backend)
    }
}

impl Backed for OpenH264 {
    fn decode(&mut self, annex_b: &[u8], pts: Timestamp) -> Result<Option<Picture>, Error> {
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
        let planes = (
            crop_plane(decoded.y(), luma, width, height),
            crop_plane(decoded.u(), cb, width / 2, height / 2),
            crop_plane(decoded.v(), cr, width / 2, height / 2),
        );
        let (Some(y), Some(u), Some(v)) = planes else {
            return Err(Error::Backend {
                library: "openh264",
                what: format!("planes shorter than a picture of {size}"),
            });
        };
        Ok(Some(Picture {
            pts,
            size,
            planes: [y, u, v],
        }))
    }

    fn reset(&mut self) -> Result<(), Error> {
        *self = Self::new()?;
        Ok(())
    }

    fn adapt_sps<'a>(&self, sps: &'a [u8]) -> Cow<'a, [u8]> {
        match sps.get(1) {
            Some(&HIGH) => {
                let mut sps = sps.to_vec();
                sps[1] = SCALABLE_BASELINE;
                Cow::Owned(sps)
            }
            Some(&MAIN) => Cow::Owned(with_chroma_fields(sps)),
            _ => Cow::Borrowed(sps),
        }
    }
}

fn backend(error: openh264::Error) -> Error {
    Error::Backend {
        library: "openh264",
        what: error.to_string(),
    }
}

/// An SPS of Main profile as one of Scalable Baseline, which like High says a
/// few things that Main implies (7.3.2.1.1):
///
/// ```text
/// profile_idc(8) constraint flags(8) level_idc(8) seq_parameter_set_id(ue)
/// chroma_format_idc(ue) = 1, bit_depth_luma_minus8(ue) = 0,
/// bit_depth_chroma_minus8(ue) = 0, qpprime_y_zero_transform_bypass_flag = 0,
/// seq_scaling_matrix_present_flag = 0            <- these are inserted
/// log2_max_frame_num_minus4(ue) ... rbsp_stop_bit
/// ```
fn with_chroma_fields(sps: &[u8]) -> Vec<u8> {
    let mut payload = unescape(sps);
    if let Some(profile) = payload.first_mut() {
        *profile = SCALABLE_BASELINE;
    }
    let bits: Vec<bool> = payload
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    let end = bits.iter().rposition(|&bit| bit).map_or(0, |at| at + 1);
    let zeros = bits.iter().skip(24).take_while(|&&bit| !bit).count();
    let id_end = (24 + 2 * zeros + 1).min(end);
    let inserted = [false, true, false, true, true, false, false];
    let bits = [&bits[..id_end], &inserted, &bits[id_end..end]].concat();

    let mut out = vec![sps[0]];
    let mut zeros = 0;
    for byte in bits.chunks(8) {
        let byte = (0..8).fold(0, |value, at| {
            value << 1 | u8::from(byte.get(at).copied().unwrap_or(false))
        });
        if zeros == 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

const MAIN: u8 = 77;
const HIGH: u8 = 100;
const SCALABLE_BASELINE: u8 = 83;

#[cfg(test)]
mod tests {
    use bitstream::Limits;
    use bitstream::sps::Sps;

    use super::*;

    #[test]
    fn a_main_profile_sps_says_the_same_with_chroma_fields() {
        // x264, Main profile, 320x180, level 1.3.
        let sps = [
            0x67, 0x4d, 0x40, 0x0d, 0x96, 0x56, 0x0a, 0x0c, 0xff, 0x96, 0x01, 0x10, 0x00, 0x00,
            0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x60,
        ];
        let before = Sps::parse(&sps, &Limits::default()).unwrap();
        let after = Sps::parse(&with_chroma_fields(&sps), &Limits::default()).unwrap();
        let profile = SCALABLE_BASELINE;
        assert_eq!(after, Sps { profile, ..before });
    }
}
