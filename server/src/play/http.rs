//! Plays HTTP-FLV, and fetches what HLS needs.

use std::fmt;

use anyhow::{Context as _, Result, anyhow, bail};
use axum::http::header::HOST;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use flv::file::{Reader, TagKind};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::count::{Clock, Count};

/// A plain HTTP URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    authority: String,
    path: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("only http:// is played, and the playlist leads elsewhere");
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains('@') {
            bail!("an http:// URL without a host, or with a user in it");
        }
        Ok(Self {
            authority: authority.to_owned(),
            path: format!("/{path}"),
        })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What `uri`, found in a document of this address, stands for.
    pub(super) fn join(&self, uri: &str) -> Result<Self> {
        if uri.contains("://") {
            return Self::parse(uri);
        }
        let path = match uri.strip_prefix('/') {
            Some(path) => format!("/{path}"),
            None => {
                let before_query = self.path.split('?').next().unwrap_or_default();
                let folder = before_query
                    .rfind('/')
                    .map_or("/", |at| &before_query[..=at]);
                format!("{folder}{uri}")
            }
        };
        Ok(Self {
            authority: self.authority.clone(),
            path,
        })
    }

    /// Host and port to connect to.
    fn socket(&self) -> String {
        let has_port = self
            .authority
            .rsplit(']')
            .next()
            .is_some_and(|end| end.contains(':'));
        match has_port {
            true => self.authority.clone(),
            false => format!("{}:80", self.authority),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may be a token.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "http://{}{path}", self.authority)
    }
}

/// A connection to one server, kept from one request to the next.
pub(super) struct Client(Option<SendRequest<Empty<Bytes>>>);

impl Client {
    pub(super) fn new() -> Self {
        Self(None)
    }

    /// Sends a request; the answer's body is still to be read.
    async fn get(&mut self, address: &Address) -> Result<(StatusCode, Incoming)> {
        let mut sender = match self.0.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => connect(address).await?,
        };
        let ready = timeout(PATIENCE, sender.ready()).await;
        ready.map_err(|_| anyhow!("no answer within {PATIENCE:?}"))??;
        let request = Request::get(&address.path)
            .header(HOST, &address.authority)
            .header("user-agent", "weir-play")
            .body(Empty::new())?;
        let answer = timeout(PATIENCE, sender.send_request(request)).await;
        let answer = answer.map_err(|_| anyhow!("no answer within {PATIENCE:?}"))??;
        self.0 = Some(sender);
        Ok((answer.status(), answer.into_body()))
    }

    /// The whole of a document.
    pub(super) async fn fetch(&mut self, address: &Address) -> Result<(StatusCode, Bytes)> {
        let (status, body) = self
            .get(address)
            .await
            .with_context(|| address.to_string())?;
        let body = timeout(PATIENCE, Limited::new(body, LARGEST).collect()).await;
        let body = body.map_err(|_| anyhow!("{address}: not read within {PATIENCE:?}"))?;
        let body = body.map_err(|error| anyhow!("{address}: {error}"))?;
        Ok((status, body.to_bytes()))
    }
}

async fn connect(address: &Address) -> Result<SendRequest<Empty<Bytes>>> {
    let connecting = timeout(PATIENCE, TcpStream::connect(address.socket())).await;
    let socket = connecting
        .map_err(|_| anyhow!("no answer within {PATIENCE:?}"))?
        .context("cannot be reached")?;
    socket.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Plays until the server ends the answer.
pub(super) async fn play_flv(address: &Address, count: &Count) -> Result<()> {
    let stream = async {
        let (status, mut body) = Client::new().get(address).await?;
        if status != StatusCode::OK {
            bail!("the server answers {status}");
        }
        let mut reader = Reader::new(flv::file::Limits::default());
        let (mut video, mut audio) = (Clock::default(), Clock::default());
        while let Some(frame) = body.frame().await {
            let frame = frame.context("connection lost")?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            count.bytes(data.len());
            reader.push(data);
            while let Some(tag) = reader.next_tag()? {
                let header = tag.body.get(1) == Some(&0);
                let clock = match tag.kind {
                    TagKind::Video if !header => {
                        count.frames(1, 0);
                        &mut video
                    }
                    TagKind::Audio if !header => {
                        count.frames(0, 1);
                        &mut audio
                    }
                    _ => continue,
                };
                if clock.gap_before(tag.timestamp_ms) {
                    count.gap();
                }
            }
        }
        Ok(())
    };
    stream.await.with_context(|| address.to_string())
}

/// Bytes of the largest document: ten seconds of 50 Mbit/s.
const LARGEST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_join_as_in_a_browser() {
        let base = Address::parse("http://host:8000/a/live.m3u8?token=b/c").unwrap();
        let joined = |uri| base.join(uri).unwrap().to_string();
        assert_eq!(
            joined("720p/index.m3u8"),
            "http://host:8000/a/720p/index.m3u8"
        );
        assert_eq!(joined("/x.ts"), "http://host:8000/x.ts");
        assert_eq!(joined("http://other/x.ts"), "http://other/x.ts");
        assert_eq!(base.to_string(), "http://host:8000/a/live.m3u8");
        assert_eq!(Address::parse("http://host/a").unwrap().socket(), "host:80");
        assert!(Address::parse("http://u@host/a").is_err());
    }
}
