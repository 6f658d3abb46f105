//! One POST over HTTP/1.1: connection, request, answer.

use std::io;
use std::sync::{Mutex, PoisonError};

use axum::http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::Address;
use super::sign::Signer;
use crate::clock;
use crate::tls::{Connector, dial};

/// Posts to one address.
pub(super) struct Poster {
    address: Address,
    signer: Signer,
    tls: Connector,
    /// Connections that wait for the next event.
    idle: Mutex<Vec<Line>>,
}

/// What is posted.
pub(super) struct Letter {
    pub(super) kind: &'static str,
    pub(super) body: Bytes,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why nothing came back, in words for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Connect(#[from] io::Error),
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is larger than {LARGEST} bytes, or broke off")]
    Body,
    #[error("the request cannot be written")]
    Request,
}

struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// Ends with this.
    task: Task,
}

/// A task that nobody wants when this is gone.
pub(in crate::hooks) struct Task(pub(in crate::hooks) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Poster {
    pub(super) fn new(address: Address, signer: Signer, tls: Connector) -> Self {
        Self {
            address,
            signer,
            tls,
            idle: Mutex::default(),
        }
    }

    /// On a connection of its own: nothing that an old connection suffers from can
    /// be taken for an answer.
    pub(super) async fn post(&self, letter: &Letter) -> Result<Reply, Broken> {
        let mut line = self.connect().await?;
        line.post(self.request(letter)?).await
    }

    /// On a connection that is kept, where there is one. What is sent may arrive
    /// twice.
    pub(super) async fn post_again(&self, letter: &Letter) -> Result<Reply, Broken> {
        let kept = self.idle().pop().filter(|line| !line.sender.is_closed());
        if let Some(mut line) = kept
            && let Ok(reply) = line.post(self.request(letter)?).await
        {
            self.keep(line);
            return Ok(reply);
        }
        let mut line = self.connect().await?;
        let reply = line.post(self.request(letter)?).await?;
        self.keep(line);
        Ok(reply)
    }

    async fn connect(&self) -> Result<Line, Broken> {
        let to = &self.address;
        let tls = to.is_tls().then_some(&self.tls);
        let socket = dial(to.host(), to.port(), tls).await?;
        let mut builder = http1::Builder::new();
        builder.max_headers(MOST_HEADERS).max_buf_size(LARGEST);
        let (sender, connection) = builder.handshake(TokioIo::new(socket)).await?;
        let task = tokio::spawn(async move {
            // What goes wrong is told to who waits for an answer.
            let _ = connection.await;
        });
        Ok(Line {
            sender,
            task: Task(task),
        })
    }

    fn request(&self, letter: &Letter) -> Result<Request<Full<Bytes>>, Broken> {
        let timestamp = clock::unix_ms() / 1000;
        Request::post(self.address.path())
            .header(HOST, self.address.authority())
            .header(USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header("weir-event", letter.kind)
            .header("weir-timestamp", timestamp)
            .header("weir-signature", self.signer.timed(timestamp, &letter.body))
            .header("x-weir-signature-256", self.signer.plain(&letter.body))
            .body(Full::new(letter.body.clone()))
            .map_err(|_| Broken::Request)
    }

    fn keep(&self, line: Line) {
        let mut idle = self.idle();
        if idle.len() < MOST_IDLE && !line.task.0.is_finished() {
            idle.push(line);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    async fn post(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, Broken> {
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        Ok(Reply {
            status,
            body: body.map_err(|_| Broken::Body)?.to_bytes(),
        })
    }
}

/// Bytes of the largest answer, and of the headers in front of it.
const LARGEST: usize = 64 << 10;
const MOST_HEADERS: usize = 64;
/// Connections that are kept.
const MOST_IDLE: usize = super::AT_ONCE;
