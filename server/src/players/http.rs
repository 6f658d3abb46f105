//! HTTP-FLV: a broadcast as a file that does not end while it is live.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use super::{Feed, Form, Left, Part};
use crate::alarm::Alarm;
use crate::auth::play::Pass;
use crate::clock::unix_ms;
use crate::hooks::Playing;
use crate::live::Broadcast;

/// What follows the head of an answer.
pub(crate) struct Flow {
    feed: Feed,
    pass: Pass,
    playing: Option<Box<Playing>>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The connection's end is the body's.
    None,
    /// The chunked transfer coding (RFC 9112 7.1).
    Chunks,
}

impl Flow {
    /// A player of `broadcast`, for as long as `pass` is good; `None` when it has ended.
    pub(crate) fn open(
        broadcast: Arc<Broadcast>,
        lagged: Arc<AtomicU64>,
        pass: Pass,
    ) -> Option<Self> {
        let feed = Feed::open(broadcast, Form::Flv, lagged)?;
        Some(Self {
            feed,
            pass,
            playing: None,
        })
    }

    /// Hooks are told of it with `playing`.
    pub(crate) fn told(mut self, playing: Box<Playing>) -> Self {
        self.playing = Some(playing);
        self
    }

    /// Sends `head` and the body until the broadcast ends, the client leaves or may
    /// not watch any longer.
    pub(crate) async fn send<S>(
        mut self,
        socket: &mut S,
        head: Vec<u8>,
        framing: Framing,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let sent = self.play(socket, head, framing).await;
        if let Some(playing) = &mut self.playing {
            match &sent {
                Ok(why) => playing.over(why),
                Err(error) => playing.over(&format!("connection lost: {error}")),
            }
        }
        sent.map(|_| ())
    }

    /// Gives why it ends.
    async fn play<S>(
        &mut self,
        socket: &mut S,
        head: Vec<u8>,
        framing: Framing,
    ) -> io::Result<&'static str>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self {
            feed,
            pass,
            playing,
        } = self;
        let mut alarm = Alarm::default();
        socket.write_all(&head).await?;
        socket.flush().await?;
        drop(head);
        let mut parts = Vec::new();
        // Whatever it says is not for anybody.
        let mut input = [0; 64];
        let why = loop {
            let left = feed.gather(&mut parts, AT_ONCE);
            if !parts.is_empty() {
                let piece = Piece::new(&mut parts, framing);
                let count = piece.write(socket).await?;
                playing.iter_mut().for_each(|playing| playing.sent(count));
            }
            match left {
                Left::Nothing => {}
                // A client that never catches up must not watch for ever.
                Left::More if pass.left(unix_ms()).is_some() => continue,
                Left::More => break EXPIRED,
                Left::End => break "the stream ended",
            }
            let Some(look) = pass.left(unix_ms()) else {
                break EXPIRED;
            };
            alarm.set(look.map(|time| Instant::now() + time));
            tokio::select! {
                // Media first, whatever the client has to say.
                biased;
                () = feed.ready() => {}
                () = alarm.rings() => {}
                read = socket.read(&mut input) => {
                    if read? == 0 {
                        return Ok("the player closed the connection");
                    }
                }
            }
        };
        if framing == Framing::Chunks {
            socket.write_all(b"0\r\n\r\n").await?;
        }
        socket.shutdown().await?;
        Ok(why)
    }
}

/// Parts as they are sent: copied for each player, for the ring would hold
/// everything twice otherwise, except for large media.
struct Piece {
    copied: Vec<u8>,
    /// Where in `copied` it begins.
    start: usize,
    /// Media that belongs into `copied`, and where.
    shared: Vec<(usize, Bytes)>,
}

impl Piece {
    /// Takes all of `parts`.
    fn new(parts: &mut Vec<Part>, framing: Framing) -> Self {
        let length: usize = parts.iter().map(Part::flv_len).sum();
        let mut copied = Vec::with_capacity(CHUNK_HEADER + length + 2);
        copied.resize(CHUNK_HEADER, 0);
        let shared: Vec<_> = parts
            .drain(..)
            .filter_map(|part| part.write_flv(&mut copied))
            .collect();
        let mut start = CHUNK_HEADER;
        let apart: usize = shared.iter().map(|(_, media)| media.len()).sum();
        let length = copied.len() - CHUNK_HEADER + apart;
        // A chunk of nothing would be the last.
        if framing == Framing::Chunks && length > 0 {
            let size = format!("{length:x}\r\n");
            start -= size.len();
            copied[start..CHUNK_HEADER].copy_from_slice(size.as_bytes());
            copied.extend_from_slice(b"\r\n");
        }
        Self {
            copied,
            start,
            shared,
        }
    }

    /// Gives its bytes.
    async fn write<S: AsyncWrite + Unpin>(&self, socket: &mut S) -> io::Result<u64> {
        let mut slices = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut from = self.start;
        for (at, media) in &self.shared {
            slices.push(IoSlice::new(&self.copied[from..*at]));
            slices.push(IoSlice::new(media));
            from = *at;
        }
        slices.push(IoSlice::new(&self.copied[from..]));
        let bytes = slices.iter().map(|slice| slice.len() as u64).sum();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match socket.write_vectored(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => IoSlice::advance_slices(&mut rest, count),
            }
        }
        // What TLS holds back otherwise stays until the next piece.
        socket.flush().await?;
        Ok(bytes)
    }
}

const EXPIRED: &str = "its token is no longer good";

/// Room for the length of a chunk, in hexadecimal, and the line's end.
const CHUNK_HEADER: usize = 18;

/// Bytes taken from the ring at a time, or a message more, and so held for a player
/// that has stopped reading.
const AT_ONCE: usize = 64 << 10;
