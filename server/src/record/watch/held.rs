//! Bytes on their way to viewers.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes of a segment, and the room in memory that they take up until the last who
/// sends them has let go.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Held {
    pub(crate) fn new(bytes: Bytes, room: OwnedSemaphorePermit) -> Self {
        Self { bytes, _room: room }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
