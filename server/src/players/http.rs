//! HTTP-FLV: a broadcast as a file that does not end while it is live.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Feed, Form, Left, Part};
use crate::live::Broadcast;

/// What follows the head of an answer.
pub(crate) struct Flow(Feed);

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The connection's end is the body's.
    None,
    /// The chunked transfer coding (RFC 9112 7.1).
    Chunks,
}

impl Flow {
    /// A player of `broadcast`; `None` when that has ended.
    pub(crate) fn open(broadcast: Arc<Broadcast>, lagged: Arc<AtomicU64>) -> Option<Self> {
        Feed::open(broadcast, Form::Flv, lagged).map(Self)
    }

    /// Sends `head` and the body until the broadcast ends or the client leaves.
    pub(crate) async fn send<S>(
        self,
        socket: &mut S,
        head: Vec<u8>,
        framing: Framing,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self(mut feed) = self;
        socket.write_all(&head).await?;
        drop(head);
        let mut parts = Vec::new();
        // Whatever it says is not for anybody.
        let mut input = [0; 64];
        loop {
            let left = feed.gather(&mut parts, AT_ONCE);
            if !parts.is_empty() {
                let (piece, start) = piece(&parts, framing);
                socket.write_all(&piece[start..]).await?;
                parts.clear();
            }
            match left {
                Left::Nothing => {}
                Left::More => continue,
                Left::End => break,
            }
            tokio::select! {
                // First, whatever a client has to say.
                biased;
                () = feed.ready() => {}
                read = socket.read(&mut input) => {
                    if read? == 0 {
                        return Ok(());
                    }
                }
            }
        }
        if framing == Framing::Chunks {
            socket.write_all(b"0\r\n\r\n").await?;
        }
        socket.shutdown().await
    }
}

/// `parts` as they are sent, and where in the vector that begins. Copied for each
/// player: the ring would hold everything twice otherwise.
fn piece(parts: &[Part], framing: Framing) -> (Vec<u8>, usize) {
    let length: usize = parts.iter().map(Part::flv_len).sum();
    let mut piece = Vec::with_capacity(CHUNK_HEADER + length + 2);
    if framing == Framing::None {
        parts.iter().for_each(|part| part.write_flv(&mut piece));
        return (piece, 0);
    }
    piece.resize(CHUNK_HEADER, 0);
    parts.iter().for_each(|part| part.write_flv(&mut piece));
    if piece.len() == CHUNK_HEADER {
        // A chunk of nothing would be the last.
        return (Vec::new(), 0);
    }
    let size = format!("{:x}\r\n", piece.len() - CHUNK_HEADER);
    let start = CHUNK_HEADER - size.len();
    piece[start..CHUNK_HEADER].copy_from_slice(size.as_bytes());
    piece.extend_from_slice(b"\r\n");
    (piece, start)
}

/// Room for the length of a chunk, in hexadecimal, and the line's end.
const CHUNK_HEADER: usize = 18;

/// Bytes taken from the ring at a time, and so held for a player that has
/// stopped reading.
const AT_ONCE: usize = 64 << 10;
