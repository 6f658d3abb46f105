//! Answers that last as long as a broadcast does.
//!
//! hyper keeps 16 KiB of buffers for a connection and frames what it is given
//! piece by piece: four fifths of what a player would cost. So it reads the request,
//! and the connection is taken from it before the answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::SystemTime;

use axum::http::{HeaderValue, Version, header, response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::players::http::{Flow, Framing};

/// An answer whose head is not written yet.
pub(super) struct Lasting {
    head: Vec<u8>,
    framing: Framing,
    flow: Flow,
}

impl Lasting {
    /// The answer to a request of `version` at the time `date`.
    pub(super) fn new(
        mut parts: response::Parts,
        version: Version,
        date: SystemTime,
        flow: Flow,
    ) -> Self {
        let framing = match version >= Version::HTTP_11 {
            true => Framing::Chunks,
            // Up to where the connection ends.
            false => Framing::None,
        };
        let headers = &mut parts.headers;
        if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(date)) {
            headers.insert(header::DATE, date);
        }
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if framing == Framing::Chunks {
            let chunked = HeaderValue::from_static("chunked");
            headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        let mut head = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
        for (name, value) in headers.iter() {
            for bytes in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(bytes);
            }
        }
        head.extend_from_slice(b"\r\n");
        Self {
            head,
            framing,
            flow,
        }
    }

    /// Sends it until the broadcast ends or the client leaves.
    pub(super) async fn send<S>(self, socket: &mut S) -> std::io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.flow.send(socket, self.head, self.framing).await
    }
}

/// Where the answer to a connection's request is left, once it is a lasting one.
#[derive(Clone, Default)]
pub(super) struct Handover(Arc<Mutex<Option<Lasting>>>);

impl Handover {
    /// Leaves `lasting`. Never resolves: there is nothing that hyper should send.
    pub(super) async fn leave<T>(&self, lasting: Lasting) -> T {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(lasting);
        std::future::pending().await
    }

    /// What `connection` ends with, unless an answer is left meanwhile.
    pub(super) async fn watch<C: Future + Unpin>(
        &self,
        mut connection: C,
    ) -> Result<Lasting, C::Output> {
        std::future::poll_fn(|context| {
            if let Poll::Ready(end) = std::pin::Pin::new(&mut connection).poll(context) {
                return Poll::Ready(Err(end));
            }
            // It is left by the connection's own turn.
            let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            left.map_or(Poll::Pending, |lasting| Poll::Ready(Ok(lasting)))
        })
        .await
    }
}
