//! HTTP for the SDK: connections of hyper's, with weir's own TLS.
//!
//! One TLS for all of weir, with the same roots and the same words for what is
//! wrong with a certificate, and a connection that ends when nothing moves on it:
//! neither is to be had from the client that comes with the SDK.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::error::{BoxError, ConnectorError};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower_service::Service;

use super::Patience;
use crate::tls;

/// Makes requests for the SDK, its look-ups of credentials included. Cheap to clone.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<Dial, SdkBody>,
}

impl Http {
    pub(super) fn new(patience: Patience) -> io::Result<Self> {
        let dial = Dial {
            tls: tls::Connector::new(None).map_err(io::Error::other)?,
            patience,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .build(dial);
        Ok(Self { client })
    }
}

impl HttpClient for Http {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        // Set for the look-ups of credentials: where there is no metadata service,
        // one second shows it. For the store, the caller has a deadline.
        let connect = settings.connect_timeout().unwrap_or_default();
        let limit = settings.read_timeout().map(|read| read + connect);
        let http = self.clone();
        SharedHttpConnector::new(Requests { http, limit })
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

#[derive(Debug)]
struct Requests {
    http: Http,
    /// Until an answer begins, the connection included.
    limit: Option<Duration>,
}

impl HttpConnector for Requests {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        let answer = self.http.client.request(request);
        let limit = self.limit;
        HttpConnectorFuture::new(async move {
            let answer = match limit {
                None => answer.await,
                Some(limit) => match timeout(limit, answer).await {
                    Ok(answer) => answer,
                    Err(late) => return Err(ConnectorError::timeout(late.into())),
                },
            };
            let answer = answer.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Makes connections.
#[derive(Clone)]
struct Dial {
    tls: tls::Connector,
    patience: Patience,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Line>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Self { tls, patience } = self.clone();
        Box::pin(async move {
            let secure = to.scheme_str() == Some("https");
            let host = to.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = to.port_u16().unwrap_or(if secure { 443 } else { 80 });
            let dialled = tls::dial(host, port, secure.then_some(&tls));
            let io = match timeout(patience.connect, dialled).await {
                Ok(Ok(io)) => io,
                Ok(Err(error)) => {
                    let why = error.to_string();
                    let why = match why.contains(host) {
                        true => why,
                        false => format!("{host}:{port} {why}"),
                    };
                    return Err(io::Error::new(error.kind(), why).into());
                }
                Err(_) => {
                    let why = format!(
                        "{host}:{port} cannot be reached within {:?}",
                        patience.connect
                    );
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why).into());
                }
            };
            let until = Box::pin(sleep(patience.still));
            let still = patience.still;
            Ok(TokioIo::new(Line { io, still, until }))
        })
    }
}

/// A connection that fails when nothing has come or gone for some time.
struct Line {
    io: Box<dyn tls::Stream>,
    still: Duration,
    until: Pin<Box<Sleep>>,
}

impl Line {
    /// Looks at the clock where `polled` has to wait, and sets it where it moved.
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.until.as_mut().reset(Instant::now() + self.still);
            return polled;
        }
        ready!(self.until.as_mut().poll(cx));
        let why = format!("nothing was taken and nothing came for {:?}", self.still);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.watched(cx, polled)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watched(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watched(cx, polled)
    }

    // Otherwise hyper copies every body behind its headers.
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Where there is nothing to flush, nothing has moved.
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => self.watched(cx, Poll::Pending),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watched(cx, polled)
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// How long a connection waits for another request: Amazon closes one that is idle
/// for a little longer.
const IDLE: Duration = Duration::from_secs(15);

/// Connections that wait.
const MOST_IDLE: usize = 8;
