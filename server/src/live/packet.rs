//! One access unit on its way to all who read it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flv::file::{TagKind, around};
use flv::mux;
use media::{AccessUnit, Timestamp, Track};
use rtmp::{Framed, MediaKind};

/// A unit of a publisher in the ring, and what RTMP players get of it: framed when
/// the first one asks, and the same bytes for all.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) unit: AccessUnit,
    /// The unit's own bytes, with what RTMP has around them; boxed because most
    /// units are never played over RTMP.
    rtmp: OnceLock<Option<Box<Framed>>>,
}

impl Packet {
    pub(crate) fn new(unit: AccessUnit) -> Arc<Self> {
        Arc::new(Self {
            unit,
            rtmp: OnceLock::new(),
        })
    }

    /// Its time for the ring: decoding time in ticks of 90 kHz.
    pub(crate) fn at(&self) -> u64 {
        self.unit.dts.ticks().max(0).unsigned_abs()
    }

    /// Milliseconds of the stream's clock, as RTMP and FLV have them.
    pub(crate) fn ms(&self) -> u32 {
        // Wraps as both do.
        mux::millis(self.unit.dts - Timestamp::ZERO).max(0) as u32
    }

    /// The RTMP message; `None` for a body of 16 MiB, which no session lets in.
    pub(crate) fn rtmp(&self) -> Option<&Framed> {
        let framed = self.rtmp.get_or_init(|| {
            let kind = match self.unit.track() {
                Track::Video => MediaKind::Video,
                Track::Audio => MediaKind::Audio,
            };
            let start = mux::frame_header(&self.unit);
            let framed = Framed::new(kind, self.ms(), &start, self.unit.data.clone());
            framed.ok().map(Box::new)
        });
        framed.as_deref()
    }

    /// Appends the FLV tag to `out`; nothing for a body of 16 MiB, which no session
    /// lets in. A unit's own bytes, where they are more than [`COPIED`], are left out:
    /// gives where they belong, and them.
    pub(crate) fn write_flv(&self, out: &mut Vec<u8>) -> Option<(usize, Bytes)> {
        let kind = match self.unit.track() {
            Track::Video => TagKind::Video,
            Track::Audio => TagKind::Audio,
        };
        let (start, data) = (mux::frame_header(&self.unit), &self.unit.data);
        let (front, back) = around(kind, self.ms(), start.len() + data.len()).ok()?;
        out.extend_from_slice(&front);
        out.extend_from_slice(&start);
        let apart = (data.len() > COPIED).then(|| (out.len(), data.clone()));
        if apart.is_none() {
            out.extend_from_slice(data);
        }
        out.extend_from_slice(&back);
        apart
    }
}

/// Units of up to so many bytes are copied for each player over HTTP, larger ones
/// shared: a megabyte for everybody who has stopped reading is too much.
pub(crate) const COPIED: usize = 16 << 10;

/// What a ring keeps at least while its bytes allow, in ticks of 90 kHz: a player
/// that takes nothing for ten seconds is let go.
pub(crate) const KEPT_FOR_READERS: u64 = 10 * 90_000;
