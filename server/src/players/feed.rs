//! What one player is sent, message by message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fanout::{Next, Reader, Start};
use flv::file::{TagKind, write_tag};
use flv::mux;
use media::Track;
use rtmp::{Framed, MediaKind};

use crate::live::{Broadcast, COPIED, Packet, Tracks};

/// How messages are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Rtmp,
    Flv,
}

/// Something to send.
pub(crate) enum Part {
    /// As it is.
    Bytes(Bytes),
    /// An RTMP message that is this player's own.
    Message(Box<Framed>),
    /// A unit, in the player's form.
    Unit(Arc<Packet>),
}

impl Part {
    /// Appends it as it is over HTTP, but for large media: where that belongs.
    pub(crate) fn write_flv(&self, out: &mut Vec<u8>) -> Option<(usize, Bytes)> {
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Unit(packet) => return packet.write_flv(out),
            // RTMP's.
            Self::Message(_) => {}
        }
        None
    }

    /// Bytes that [`Self::write_flv`] appends, or a few more.
    pub(crate) fn flv_len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Unit(packet) if packet.unit.data.len() > COPIED => AROUND,
            Self::Unit(packet) => packet.unit.data.len() + AROUND,
            Self::Message(_) => 0,
        }
    }

    /// The RTMP message that this is, or the bytes.
    pub(crate) fn message(&self) -> Result<&Framed, &[u8]> {
        match self {
            Self::Bytes(bytes) => Err(bytes),
            Self::Message(message) => Ok(message),
            Self::Unit(packet) => packet.rtmp().ok_or(&[]),
        }
    }

    /// Makes it a message for `stream`: nearly always it is one.
    pub(crate) fn readdress(&mut self, stream: u32) {
        let other = self.message().ok();
        if let Some(other) = other.and_then(|message| message.readdressed(stream)) {
            *self = Self::Message(Box::new(other));
        }
    }
}

/// What [`Feed::gather`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// All was taken.
    Nothing,
    /// There may be more at once.
    More,
    /// The broadcast has ended, and all of it was taken.
    End,
}

/// A player's place in a broadcast.
pub(crate) struct Feed {
    broadcast: Arc<Broadcast>,
    reader: Reader<Arc<Packet>>,
    form: Form,
    /// Read and not sent yet.
    next: Option<Next<Arc<Packet>>>,
    /// What the player was told of the tracks.
    told: Tracks,
    described: Tracks,
    begun: bool,
    /// Units that readers of this kind have missed.
    lagged: Arc<AtomicU64>,
}

impl Feed {
    /// A player of `broadcast`; `None` when that has ended.
    pub(crate) fn open(
        broadcast: Arc<Broadcast>,
        form: Form,
        lagged: Arc<AtomicU64>,
    ) -> Option<Self> {
        let reader = broadcast.reader(Start::NewestEntry)?;
        Some(Self {
            broadcast,
            reader,
            form,
            next: None,
            told: Tracks::default(),
            described: Tracks::default(),
            begun: false,
            lagged,
        })
    }

    /// Goes on at the newest key picture, whatever was missed.
    pub(crate) fn skip(&mut self) {
        if let Some(reader) = self.broadcast.reader(Start::NewestEntry) {
            self.reader = reader;
            self.next = None;
        }
    }

    /// Resolves when there is something to gather. Cancel safe.
    pub(crate) async fn ready(&mut self) {
        if self.next.is_none() {
            self.next = Some(self.reader.next().await);
        }
    }

    /// Adds what is there to `out`, until that holds `most` bytes or a message
    /// more.
    pub(crate) fn gather(&mut self, out: &mut Vec<Part>, most: usize) -> Left {
        let mut held = 0;
        while held < most {
            let Some(next) = self.next.take().or_else(|| self.reader.try_next()) else {
                return Left::Nothing;
            };
            match next {
                Next::Unit(packet) => {
                    self.announce(&packet, out);
                    held += packet.unit.data.len() + AROUND;
                    out.push(Part::Unit(packet));
                }
                Next::Lagged(missed) => {
                    self.lagged.fetch_add(missed, Ordering::Relaxed);
                }
                Next::Closed => return Left::End,
            }
        }
        Left::More
    }

    /// Adds what has to be known before `packet`.
    fn announce(&mut self, packet: &Packet, out: &mut Vec<Part>) {
        let config = &packet.unit.config;
        let track = packet.unit.track();
        if self.told.is(config) {
            return;
        }
        let mut tracks = self.broadcast.tracks();
        tracks.set(config);
        if !std::mem::replace(&mut self.begun, true) && self.form == Form::Flv {
            let has = |track| tracks.get(track).is_some();
            let header = flv::file::header(has(Track::Audio), has(Track::Video));
            out.push(Part::Bytes(Bytes::copy_from_slice(&header)));
        }
        let ms = packet.ms();
        if self.described != tracks {
            let [video, audio] = [Track::Video, Track::Audio].map(|track| tracks.get(track));
            let body = mux::metadata(video.map(Arc::as_ref), audio.map(Arc::as_ref));
            // At any other time ffmpeg takes it for a track of text.
            out.extend(self.frame(Kind::Data, 0, body));
            self.described = tracks;
        }
        let kind = match track {
            Track::Video => Kind::Video,
            Track::Audio => Kind::Audio,
        };
        out.extend(self.frame(kind, ms, mux::sequence_header(config)));
        self.told.set(config);
    }

    /// A message of the player's own; `None` for one of 16 MiB.
    fn frame(&self, kind: Kind, ms: u32, body: Bytes) -> Option<Part> {
        let (message, tag) = match kind {
            Kind::Data => (MediaKind::Data, TagKind::Script),
            Kind::Video => (MediaKind::Video, TagKind::Video),
            Kind::Audio => (MediaKind::Audio, TagKind::Audio),
        };
        match self.form {
            Form::Rtmp => {
                let framed = Framed::new(message, ms, &[], body).ok()?;
                Some(Part::Message(Box::new(framed)))
            }
            Form::Flv => {
                let mut bytes = Vec::new();
                write_tag(&mut bytes, tag, ms, &body).ok()?;
                Some(Part::Bytes(bytes.into()))
            }
        }
    }
}

/// Bytes around the data of a unit, at most: an FLV tag's header and trailer, and
/// what is in front of a picture. RTMP has fewer, but for large ones.
const AROUND: usize = 20;

#[derive(Clone, Copy)]
enum Kind {
    Data,
    Video,
    Audio,
}
