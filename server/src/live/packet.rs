//! One access unit on its way to all who read it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flv::file::{TagKind, write_tag};
use flv::mux;
use media::{AccessUnit, Timestamp, Track};
use rtmp::{Framed, MediaKind};

/// A unit of a publisher in the ring, and what players get of it: framed when
/// the first one asks, and the same bytes for all.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) unit: AccessUnit,
    /// The unit's own bytes, with what RTMP has around them; boxed because most
    /// units are never played over RTMP.
    rtmp: OnceLock<Option<Box<Framed>>>,
    /// A copy, in one piece: HTTP frames every piece once more.
    flv: OnceLock<Bytes>,
}

impl Packet {
    pub(crate) fn new(unit: AccessUnit) -> Arc<Self> {
        Arc::new(Self {
            unit,
            rtmp: OnceLock::new(),
            flv: OnceLock::new(),
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

    /// The FLV tag.
    pub(crate) fn flv(&self) -> &Bytes {
        self.flv.get_or_init(|| {
            let kind = match self.unit.track() {
                Track::Video => TagKind::Video,
                Track::Audio => TagKind::Audio,
            };
            flv_tag(kind, self.ms(), &mux::frame(&self.unit))
        })
    }
}

/// A tag for HTTP-FLV players. Empty for a body of 16 MiB.
pub(crate) fn flv_tag(kind: TagKind, ms: u32, body: &[u8]) -> Bytes {
    let mut tag = Vec::with_capacity(body.len() + TAG_AROUND);
    let _ = write_tag(&mut tag, kind, ms, body);
    tag.into()
}

/// Bytes of an FLV tag beside its body.
const TAG_AROUND: usize = 15;

/// What a ring keeps at least while its bytes allow, in ticks of 90 kHz: a player
/// that takes nothing for ten seconds is let go.
pub(crate) const KEPT_FOR_READERS: u64 = 10 * 90_000;
