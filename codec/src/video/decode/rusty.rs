//! `rusty_h264`: Rust without `unsafe` in the codec itself.
//!
//! It is fuzzed by its authors never to panic; were it to do so all the same,
//! the unwinding ends the stream it happens in (see the crate's page).

use media::{H264Config, Picture, Plane, Size, Timestamp};
use rusty_h264_decoder::{DecodeError, Decoder, Pps, Sps};

use super::{Backed, unescape};
use crate::Error;

pub(super) struct Rusty {
    decoder: Decoder,
}

impl Rusty {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::new(),
        }
    }
}

impl Backed for Rusty {
    fn decode(&mut self, annex_b: &[u8], pts: Timestamp) -> Result<Option<Picture>, Error> {
        let frame = self.decoder.decode(annex_b).map_err(|error| match error {
            DecodeError::Internal(what) => Error::Backend {
                library: "rusty_h264",
                what: what.into(),
            },
            damage => Error::damaged_picture(damage),
        })?;
        let Some(frame) = frame else {
            return Ok(None);
        };
        let plane = |data: Vec<u8>, stride: usize| Plane { data, stride };
        let picture = Picture {
            pts,
            size: Size::new(frame.width as u32, frame.height as u32).even(),
            planes: [
                plane(frame.y, frame.width),
                plane(frame.u, frame.width / 2),
                plane(frame.v, frame.width / 2),
            ],
        };
        Ok(Some(picture))
    }

    fn reset(&mut self) -> Result<(), Error> {
        self.decoder = Decoder::new();
        Ok(())
    }
}

/// Whether this backend can decode the track.
///
/// What it lacks, and would decode to wrong pictures or give up on later:
/// cropping at the left and at the top, a Cr quantiser offset other than Cb's,
/// picture order count type 1, explicit weights in B slices, slice groups.
pub(super) fn can_decode(config: &H264Config) -> bool {
    let sps_fits = |sps: Sps| {
        sps.frame_crop_left == 0 && sps.frame_crop_top == 0 && sps.pic_order_cnt_type != 1
    };
    let pps_fits = |pps: Pps| {
        pps.second_chroma_qp_index_offset == pps.chroma_qp_index_offset
            && pps.weighted_bipred_idc != EXPLICIT
    };
    config
        .sps
        .iter()
        .all(|sps| Sps::parse(&unescape(sps)).is_ok_and(sps_fits))
        && config
            .pps
            .iter()
            .all(|pps| Pps::parse(&unescape(pps)).is_ok_and(pps_fits))
}

/// `weighted_bipred_idc` of explicit weights (7.4.2.2).
const EXPLICIT: u8 = 1;
