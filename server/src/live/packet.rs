//! One access unit on its way to all who read it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flv::file::{TagKind, write_tag};
use flv::mux;
use media::{AccessUnit, Timestamp, Track};
use rtmp::MediaKind;

/// A unit of a publisher in the ring, and what players get of it: framed when
/// the first one asks, and the same bytes for all.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) unit: AccessUnit,
    rtmp: OnceLock<Bytes>,
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

    /// Milliseconds of the stream's clock, as RTMP and FLV have them.
    pub(crate) fn ms(&self) -> u32 {
        // Wraps as both do.
        mux::millis(self.unit.dts - Timestamp::ZERO).max(0) as u32
    }

    /// The RTMP message.
    pub(crate) fn rtmp(&self) -> &Bytes {
        self.rtmp.get_or_init(|| {
            let kind = match self.unit.track() {
                Track::Video => MediaKind::Video,
                Track::Audio => MediaKind::Audio,
            };
            rtmp_message(kind, self.ms(), &mux::frame(&self.unit))
        })
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

/// A message for RTMP players. Empty for a body of 16 MiB, which no session
/// lets in.
pub(crate) fn rtmp_message(kind: MediaKind, ms: u32, body: &[u8]) -> Bytes {
    rtmp::framed(kind, ms, body).unwrap_or_default()
}

/// A tag for HTTP-FLV players; empty as above.
pub(crate) fn flv_tag(kind: TagKind, ms: u32, body: &[u8]) -> Bytes {
    let mut tag = Vec::with_capacity(body.len() + TAG_AROUND);
    let _ = write_tag(&mut tag, kind, ms, body);
    tag.into()
}

/// Bytes of an FLV tag beside its body.
const TAG_AROUND: usize = 15;
