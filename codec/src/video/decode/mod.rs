//! H.264 access units to pictures.
//!
//! Both backends are driven one access unit at a time and give the picture of
//! that unit at once, in decoding order. So a picture always carries the pts of
//! the very unit it came in: there is no queue of timestamps that a damaged
//! unit could shift. Presentation order is made here, once, by [`Reorder`].

mod openh264;
mod reorder;
mod rusty;

use std::borrow::Cow;
use std::sync::Arc;

use bitstream::nal;
use bitstream::sps::Sps;
use media::{AccessUnit, H264Config, Picture, Plane, Timestamp};

use self::reorder::Reorder;
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
}

/// Which library decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The `rusty_h264` crate: Rust without `unsafe`, and the faster one where
    /// the CPU has AVX2. A stream that needs a tool it lacks is given to
    /// openh264 when it is opened.
    RustyH264,
    /// Cisco's openh264, in C++. One thread: more crash it.
    OpenH264,
}

/// Opens a decoder for a track.
///
/// Refused as [`Error::Unsupported`]: interlaced streams, and chroma or depth
/// other than 4:2:0 with 8 bits, which neither backend has. Refused as
/// [`Error::Limit`]: pictures larger than `limits`, before cropping as well, so
/// that a cropping rectangle cannot hide a giant.
pub fn open_decoder(
    backend: Backend,
    config: &H264Config,
    limits: &Limits,
) -> Result<Box<dyn Decoder>, Error> {
    if config.interlaced {
        return Err(Error::Unsupported("interlaced H.264".into()));
    }
    if config.high_fidelity {
        return Err(Error::Unsupported(
            "H.264 with more than 8 bits or other chroma than 4:2:0".into(),
        ));
    }
    let depth = check_size(config, limits)?;
    let able = rusty::can_decode(config);
    Ok(match backend {
        Backend::RustyH264 if able => Box::new(Ordered::new(rusty::Rusty::new(), config, depth)),
        _ => Box::new(Ordered::new(openh264::OpenH264::new()?, config, depth)),
    })
}

/// Checks every SPS against `limits`, and says how far pictures are reordered.
fn check_size(config: &H264Config, limits: &Limits) -> Result<Option<usize>, Error> {
    let limits = bitstream::Limits {
        max_side: limits.max_picture_side,
        max_area: limits.max_picture_area,
    };
    let mut depth = Some(0);
    for nal in &config.sps {
        let sps = Sps::parse(nal, &limits).map_err(|error| match error {
            bitstream::Error::Limit { what, found, max } => Error::Limit {
                what: format!("{what} of {found}"),
                max,
            },
            bitstream::Error::Unsupported { what } => Error::Unsupported(what),
            damage => Error::damaged_picture(damage),
        })?;
        depth = match (depth, sps.max_reorder_frames) {
            (Some(depth), Some(frames)) => Some(depth.max(usize::from(frames))),
            _ => None,
        };
    }
    Ok(depth)
}

/// A library that decodes one access unit to its picture.
trait Backed: Send {
    /// Decodes an Annex B access unit. The picture's pts is `pts`.
    fn decode(&mut self, annex_b: &[u8], pts: Timestamp) -> Result<Option<Picture>, Error>;

    /// Forgets everything, parameter sets included.
    fn reset(&mut self) -> Result<(), Error>;

    /// A sequence parameter set the way this library wants to be given it.
    fn adapt_sps<'a>(&self, sps: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(sps)
    }
}

/// What the backends have in common: parameter sets, recovery, order.
struct Ordered<B> {
    backend: B,
    nal_length_size: u8,
    /// Parameter sets as Annex B, fed in front of key units.
    parameter_sets: Vec<u8>,
    annex_b: Vec<u8>,
    state: State,
    order: Reorder,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for the first key unit.
    Fresh,
    /// Waits for a key unit after damage.
    Damaged,
    Decoding,
}

impl<B: Backed> Ordered<B> {
    fn new(backend: B, config: &H264Config, depth: Option<usize>) -> Self {
        let mut parameter_sets = Vec::new();
        for sps in &config.sps {
            nal::push_annex_b(&mut parameter_sets, &backend.adapt_sps(sps));
        }
        for pps in &config.pps {
            nal::push_annex_b(&mut parameter_sets, pps);
        }
        Self {
            backend,
            nal_length_size: config.nal_length_size,
            parameter_sets,
            annex_b: Vec::new(),
            state: State::Fresh,
            order: Reorder::new(depth),
        }
    }

    /// Fills `annex_b` with what of `unit` a decoder needs.
    ///
    /// Sequence parameter sets inside a unit are left out: a change of them has
    /// come as a new configuration, which was checked against the limits.
    fn rewrite(&mut self, unit: &AccessUnit) -> Result<bool, Error> {
        self.annex_b.clear();
        if unit.key || self.state != State::Decoding {
            self.annex_b.extend_from_slice(&self.parameter_sets);
        }
        let mut key = unit.key;
        for nal in nal::lengths(&unit.data, self.nal_length_size) {
            let nal = nal.map_err(Error::damaged_picture)?;
            match nal[0] & 0x1f {
                IDR_SLICE => key = true,
                SLICE | PPS => {}
                _ => continue,
            }
            nal::push_annex_b(&mut self.annex_b, nal);
        }
        Ok(key)
    }
}

impl<B: Backed> Decoder for Ordered<B> {
    fn decode(&mut self, unit: &AccessUnit, out: &mut Vec<Arc<Picture>>) -> Result<(), Error> {
        self.order.begin(unit.dts, out);
        let key = self
            .rewrite(unit)
            .inspect_err(|_| self.state = State::Damaged)?;
        if self.state != State::Decoding {
            if !key {
                return Ok(());
            }
            if self.state == State::Damaged {
                self.backend.reset()?;
            }
            self.state = State::Decoding;
        }
        if key {
            self.order.flush(out);
        }
        match self.backend.decode(&self.annex_b, unit.pts) {
            Ok(Some(picture)) => self.order.push(picture, unit.dts, out),
            Ok(None) => Ok(()),
            Err(error) => {
                self.state = State::Damaged;
                Err(error)
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<Arc<Picture>>) -> Result<(), Error> {
        self.order.flush(out);
        Ok(())
    }
}

/// Copies the part of a plane that is shown.
fn crop_plane(data: &[u8], stride: usize, width: usize, height: usize) -> Option<Plane> {
    let mut plane = Plane {
        data: Vec::with_capacity(width * height),
        stride: width,
    };
    for row in data.chunks(stride.max(1)).take(height) {
        plane.data.extend_from_slice(row.get(..width)?);
    }
    (plane.data.len() == width * height).then_some(plane)
}

/// The payload of a NAL unit behind its header, without the bytes that keep
/// start codes out of it (7.4.1).
fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal.iter().skip(1) {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        payload.push(byte);
    }
    payload
}

const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const PPS: u8 = 8;
