//! `rusty_h264`: Rust without `unsafe` in the codec itself.
//!
//! It is fuzzed by its authors, and by `fuzz/` here, never to panic; were it to
//! do so all the same, the unwinding ends the stream it happens in (see the
//! crate's page).
//!
//! A picture is the planes the crate has reconstructed it in, moved out. It is
//! told that nothing is cropped, since it would copy a 1080p picture into new
//! planes to leave out eight rows that nobody reads.

use std::borrow::Cow;
use std::sync::Arc;

use media::{H264Config, Picture, Plane, Size, Timestamp};
use rusty_h264_decoder::{DecodeError, Decoder, Pps, Sps};

use super::Backed;
use super::sets::{SpsBits, first_macroblock, unescape};
use crate::Error;

pub(super) struct Rusty {
    decoder: Decoder,
    /// What of the coded picture is shown. `None` where the sequence parameter
    /// sets differ about it, and the crate has to crop.
    window: Option<Window>,
    /// Macroblocks in a row, as each sequence parameter set says.
    rows: Vec<usize>,
}

/// In luma samples, all even.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Rusty {
    pub(super) fn new(config: &H264Config) -> Self {
        let sets: Vec<Sps> = config
            .sps
            .iter()
            .filter_map(|sps| Sps::parse(&unescape(sps)).ok())
            .collect();
        Self {
            decoder: Decoder::new(),
            window: match &sets[..] {
                [sps] => Some(Window::of(sps)),
                _ => None,
            },
            rows: sets.iter().map(|sps| sps.pic_width_in_mbs).collect(),
        }
    }
}

impl Backed for Rusty {
    fn decode(&mut self, annex_b: &[u8], pts: Timestamp) -> Result<Option<Arc<Picture>>, Error> {
        let frame = self.decoder.decode(annex_b).map_err(|error| match error {
            DecodeError::Internal(what) => Error::Backend {
                library: "rusty_h264",
                what: what.into(),
            },
            damage => Error::damaged_picture(damage),
        })?;
        let Some(frame) = frame else {
            // Left in the decoder, it would take the next unit down with it.
            return Err(Error::damaged_picture("a picture is incomplete"));
        };
        let window = self.window.unwrap_or(Window {
            left: 0,
            top: 0,
            width: frame.width,
            height: frame.height,
        });
        let half = window.half();
        let planes = (
            window.plane(frame.y, frame.width),
            half.plane(frame.u, frame.width / 2),
            half.plane(frame.v, frame.width / 2),
        );
        let (Some(y), Some(u), Some(v)) = planes else {
            return Err(Error::Backend {
                library: "rusty_h264",
                what: format!("a picture of {}x{}", frame.width, frame.height),
            });
        };
        Ok(Some(Arc::new(Picture {
            pts,
            size: Size::new(window.width as u32, window.height as u32).even(),
            planes: [y, u, v],
        })))
    }

    fn reset(&mut self) -> Result<(), Error> {
        self.decoder = Decoder::new();
        Ok(())
    }

    fn adapt_sps<'a>(&self, sps: &'a [u8]) -> Cow<'a, [u8]> {
        match (self.window, SpsBits::parse(sps)) {
            (Some(_), Some(bits)) => Cow::Owned(bits.uncropped()),
            _ => Cow::Borrowed(sps),
        }
    }

    /// Where a slice begins inside a row, some samples come out wrong.
    fn suits(&self, slice: &[u8]) -> bool {
        first_macroblock(slice).is_some_and(|first| self.rows.iter().all(|row| first % row == 0))
    }
}

impl Window {
    fn of(sps: &Sps) -> Self {
        Self {
            left: 2 * sps.frame_crop_left as usize,
            top: sps.crop_unit_y() * sps.frame_crop_top as usize,
            width: sps.display_width(),
            height: sps.display_height(),
        }
    }

    /// The same window in a chroma plane.
    fn half(self) -> Self {
        Self {
            left: self.left / 2,
            top: self.top / 2,
            width: self.width / 2,
            height: self.height / 2,
        }
    }

    /// The plane in the window. Samples right of it and below it stay, where
    /// nobody looks; ones above it and left of it cannot.
    fn plane(self, mut data: Vec<u8>, stride: usize) -> Option<Plane> {
        let first = self.top * stride + self.left;
        let end = (self.top + self.height) * stride;
        if self.left + self.width > stride || data.len() < end {
            return None;
        }
        if first > 0 {
            data.copy_within(first.., 0);
        }
        Some(Plane { data, stride })
    }
}

/// Why this backend cannot decode the track.
///
/// Named here is what it would decode to wrong pictures or give up on later;
/// what it refuses by itself it says when asked to read the parameter sets.
pub(super) fn lacks(config: &H264Config) -> Option<&'static str> {
    if config.interlaced {
        return Some("interlaced H.264");
    }
    for nal in &config.sps {
        let Ok(sps) = Sps::parse(&unescape(nal)) else {
            return Some("H.264 with more than 8 bits or other chroma than 4:2:0");
        };
        let cropped = sps.frame_crop_left != 0 || sps.frame_crop_top != 0;
        if cropped && config.sps.len() > 1 {
            return Some("H.264 cropped at the left or at the top");
        }
        if sps.transform_bypass {
            return Some("lossless H.264");
        }
        if sps.pic_order_cnt_type == 1 {
            return Some("H.264 with picture order count type 1");
        }
    }
    for nal in &config.pps {
        let Ok(pps) = Pps::parse(&unescape(nal)) else {
            return Some("H.264 with slice groups");
        };
        if pps.second_chroma_qp_index_offset != pps.chroma_qp_index_offset {
            return Some("H.264 with a Cr quantiser of its own");
        }
        if pps.constrained_intra_pred_flag {
            return Some("H.264 with constrained intra prediction");
        }
        if pps.weighted_bipred_idc == EXPLICIT {
            return Some("H.264 with explicit weights in B slices");
        }
    }
    None
}

/// `weighted_bipred_idc` of explicit weights (7.4.2.2).
const EXPLICIT: u8 = 1;
