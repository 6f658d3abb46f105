//! What one player is sent, message by message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fanout::{Next, Reader, Start};
use flv::file::TagKind;
use flv::mux;
use media::{Track, TrackConfig};
use rtmp::MediaKind;

use crate::live::{Broadcast, Packet, Tracks, flv_tag, rtmp_message};

/// How messages are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Rtmp,
    Flv,
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
    /// more. False at the end of the broadcast.
    pub(crate) fn gather(&mut self, out: &mut Vec<Bytes>, most: usize) -> bool {
        let mut held = 0;
        while held < most {
            let Some(next) = self.next.take().or_else(|| self.reader.try_next()) else {
                break;
            };
            match next {
                Next::Unit(packet) => {
                    let before = out.len();
                    self.announce(&packet, out);
                    out.push(match self.form {
                        Form::Rtmp => packet.rtmp().clone(),
                        Form::Flv => packet.flv().clone(),
                    });
                    held += out[before..].iter().map(Bytes::len).sum::<usize>();
                }
                Next::Lagged(missed) => {
                    self.lagged.fetch_add(missed, Ordering::Relaxed);
                }
                Next::Closed => return false,
            }
        }
        true
    }

    /// Adds what has to be known before `packet`.
    fn announce(&mut self, packet: &Packet, out: &mut Vec<Bytes>) {
        let config = &packet.unit.config;
        let track = packet.unit.track();
        if self.told.is(track, config) {
            return;
        }
        let mut tracks = self.broadcast.tracks();
        tracks.set(config);
        if !std::mem::replace(&mut self.begun, true) && self.form == Form::Flv {
            let has = |track| tracks.get(track).is_some();
            let header = flv::file::header(has(Track::Audio), has(Track::Video));
            out.push(Bytes::copy_from_slice(&header));
        }
        let ms = packet.ms();
        if self.described != tracks {
            let [video, audio] = [Track::Video, Track::Audio].map(|track| tracks.get(track));
            let body = mux::metadata(video.map(Arc::as_ref), audio.map(Arc::as_ref));
            // At any other time ffmpeg takes it for a track of text.
            out.push(self.frame(Kind::Data, 0, &body));
            self.described = tracks;
        }
        let kind = match track {
            Track::Video => Kind::Video,
            Track::Audio => Kind::Audio,
        };
        out.push(self.frame(kind, ms, &mux::sequence_header(config)));
        self.told.set(config);
    }

    fn frame(&self, kind: Kind, ms: u32, body: &[u8]) -> Bytes {
        let (message, tag) = match kind {
            Kind::Data => (MediaKind::Data, TagKind::Script),
            Kind::Video => (MediaKind::Video, TagKind::Video),
            Kind::Audio => (MediaKind::Audio, TagKind::Audio),
        };
        match self.form {
            Form::Rtmp => rtmp_message(message, ms, body),
            Form::Flv => flv_tag(tag, ms, body),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Data,
    Video,
    Audio,
}

impl Tracks {
    /// Whether `config` is what stands here for its track.
    fn is(&self, track: Track, config: &Arc<TrackConfig>) -> bool {
        self.get(track)
            .is_some_and(|known| Arc::ptr_eq(known, config) || known == config)
    }
}
