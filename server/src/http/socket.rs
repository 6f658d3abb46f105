//! A client's socket. A client that does not read holds a segment, and a place.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use crate::tls::Stream;

/// A client's connection, in the clear or with TLS around its socket.
pub(super) trait Connected: Stream {
    /// Whether all was taken that was to be written.
    fn keeps_up(&self) -> bool;
}

impl Connected for Socket {
    fn keeps_up(&self) -> bool {
        self.patience.is_none()
    }
}

impl Connected for TlsStream<Socket> {
    /// What TLS still holds is not lost: it goes before what is written next.
    fn keeps_up(&self) -> bool {
        self.get_ref().0.keeps_up()
    }
}

/// See the module.
pub(super) struct Socket {
    socket: TcpStream,
    /// Until it has to take something of what is written, when it took nothing.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            patience: None,
        }
    }

    fn poll_taken(
        &mut self,
        context: &mut Context<'_>,
        taken: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if taken.is_ready() {
            self.patience = None;
            return taken;
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(sleep(WRITE_DEADLINE)));
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.poll_taken(context, taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.poll_taken(context, taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Time in which a client must read something of its answer. Players stop
/// reading while they are paused, and fetch again.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
