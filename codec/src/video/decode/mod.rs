//! H.264 access units to pictures.
//!
//! The backends are driven one access unit at a time and give the picture of
//! that unit at once, in decoding order. So a picture always carries the pts of
//! the very unit it came in: there is no queue of timestamps that a damaged
//! unit could shift. Presentation order is made here, once, by
//! [`Reorder`].
//!
//! What each backend can do, and why they have the places they have, is
//! measured in `docs/decoders.md`.

mod openh264;
mod ordered;
mod pool;
mod reorder;
mod rust;
mod rusty;
mod sets;

use std::borrow::Cow;
use std::sync::Arc;

use bitstream::sps::Sps;
use media::{AccessUnit, H264Config, Picture, Timestamp};

use self::ordered::Ordered;
use self::reorder::{MAX_DEPTH, Reorder};
use crate::{Error, Limits};

/// Turns the access units of one H.264 track into pictures.
///
/// A new configuration needs a new decoder: flush the old one first.
pub trait Decoder: Send {
    /// Feeds one access unit; pictures that became ready are appended in
    /// presentation order, their pts strictly rising until the next jump of the
    /// units' dts.
    ///
    /// On [`Error::Malformed`] the unit is lost and so are all up to the next
    /// key unit, which are skipped without an error.
    fn decode(&mut self, unit: &AccessUnit, out: &mut Vec<Arc<Picture>>) -> Result<(), Error>;

    /// Gives out what is held back for reordering, at the end of a stream.
    fn flush(&mut self, out: &mut Vec<Arc<Picture>>) -> Result<(), Error>;

    /// Which library decodes, now: after damage that does not end, another one
    /// takes over at a key unit.
    fn backend(&self) -> Backend;
}

/// Which library decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The `rusty_h264` crate: Rust without `unsafe`, and the fastest where the
    /// CPU has AVX2.
    RustyH264,
    /// The `rust_h264` crate: Rust, takes twice as long, and has the tools that
    /// the other lacks: fields, 10 bits, 4:2:2.
    RustH264,
    /// Cisco's openh264, in C++. One thread: more crash it. Never chosen by
    /// itself: it is slower than the default, has fewer tools than the
    /// fallback, gets B slices slightly wrong, and no stream from a stranger
    /// should choose C++.
    OpenH264,
}

impl Backend {
    /// The library's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RustyH264 => "rusty_h264",
            Self::RustH264 => "rust_h264",
            Self::OpenH264 => "openh264",
        }
    }
}

/// Opens a decoder for a track: with `backend`, or with
/// [`Backend::RustH264`] if that lacks what the track says it uses.
///
/// Refused as [`Error::Unsupported`], with what the sender could change: 4:4:4,
/// more than 10 bits, lossless coding, slice groups. Refused as
/// [`Error::Limit`]: pictures larger than `limits`, before cropping as well, so
/// that a cropping rectangle cannot hide a giant; and more reference pictures
/// than level 5.2 has room for.
///
/// Fields are woven into pictures, more than 8 bits are rounded, and 4:2:2 is
/// brought to 4:2:0.
pub fn open_decoder(
    backend: Backend,
    config: &H264Config,
    limits: &Limits,
) -> Result<Box<dyn Decoder>, Error> {
    let facts = facts(config, limits)?;
    let depth = facts
        .iter()
        .map(|sps| sps.max_reorder_frames.map(usize::from))
        .try_fold(0, |depth, frames| Some(depth.max(frames?)));
    let room = facts.iter().map(room).min().unwrap_or(MAX_DEPTH);
    let fallback = rust::lacks(config, &facts);
    let lacks = match backend {
        Backend::RustyH264 => rusty::lacks(config),
        Backend::RustH264 => fallback,
        Backend::OpenH264 => openh264::lacks(config, &facts),
    };
    let (backend, fallback) = match (lacks, fallback) {
        (None, None) => (backend, Some(Backend::RustH264)),
        (None, Some(_)) => (backend, None),
        (Some(_), None) => (Backend::RustH264, None),
        (Some(_), Some(what)) => return Err(Error::Unsupported(what.into())),
    };
    let fallback = fallback.filter(|fallback| *fallback != backend);
    let order = Reorder::new(depth, room.clamp(1, MAX_DEPTH));
    Ok(Box::new(Ordered::open(backend, fallback, config, order)?))
}

/// Reads every SPS, within `limits`.
fn facts(config: &H264Config, limits: &Limits) -> Result<Vec<Sps>, Error> {
    let limits = bitstream::Limits {
        max_side: limits.max_picture_side,
        max_area: limits.max_picture_area,
    };
    let facts = config.sps.iter().map(|nal| {
        let sps = Sps::parse(nal, &limits).map_err(|error| match error {
            bitstream::Error::Limit { what, found, max } => Error::Limit {
                what: format!("{what} of {found}"),
                max,
            },
            bitstream::Error::Unsupported { what } => Error::Unsupported(what),
            damage => Error::damaged_picture(damage),
        })?;
        let room = room(&sps);
        if usize::from(sps.max_ref_frames) > room {
            return Err(Error::Limit {
                what: format!(
                    "number of reference frames, {} of {},",
                    sps.max_ref_frames, sps.coded_size
                ),
                max: room as u64,
            });
        }
        Ok(sps)
    });
    facts.collect()
}

/// Frames that the decoded picture buffer of the largest level has room for.
fn room(sps: &Sps) -> usize {
    let area = sps.coded_size.width as usize * sps.coded_size.height as usize;
    MAX_DPB_MACROBLOCKS / (area / 256).max(1)
}

/// Most macroblocks in a decoded picture buffer: level 5.2 (table A-1). All 16
/// reference frames at 1080p, 5 at 4096 x 2304.
const MAX_DPB_MACROBLOCKS: usize = 184_320;

fn open_backend(backend: Backend, config: &H264Config) -> Result<Box<dyn Backed>, Error> {
    Ok(match backend {
        Backend::RustyH264 => Box::new(rusty::Rusty::new(config)),
        Backend::RustH264 => Box::new(rust::Rust::new(config)),
        Backend::OpenH264 => Box::new(openh264::OpenH264::new()?),
    })
}

/// A library that decodes one access unit to its picture.
trait Backed: Send {
    /// Decodes an Annex B access unit. The picture's pts is `pts`; a picture of
    /// two fields that may come in two units is given with the unit behind
    /// them, at the time of the first.
    fn decode(&mut self, annex_b: &[u8], pts: Timestamp) -> Result<Option<Arc<Picture>>, Error>;

    /// The picture that waited for the unit behind it.
    fn drain(&mut self) -> Option<Arc<Picture>> {
        None
    }

    /// Forgets everything, parameter sets included.
    fn reset(&mut self) -> Result<(), Error>;

    /// Whether this library decodes the slice as it is meant, as far as its
    /// header tells.
    fn suits(&self, _slice: &[u8]) -> bool {
        true
    }

    /// A sequence parameter set the way this library wants to be given it.
    fn adapt_sps<'a>(&self, sps: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(sps)
    }
}
