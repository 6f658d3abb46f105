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
use tokio::time::timeout;

use super::PATIENCE;
use super::count::{Clock, Count};
use crate::tls::{Connector, dial};

/// An HTTP URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    server: Server,
    path: String,
}

/// Whom a connection is with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    tls: bool,
    /// As the URL has it and the Host header wants it.
    authority: String,
    /// Without brackets.
    host: String,
    port: u16,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => bail!("only http:// and https:// are played, and the playlist leads elsewhere"),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self {
            server: Server::parse(tls, authority)?,
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
            server: self.server.clone(),
            path,
        })
    }
}

impl Server {
    fn parse(tls: bool, authority: &str) -> Result<Self> {
        // A colon behind the last bracket is not part of an address.
        let at = authority
            .rfind(':')
            .filter(|at| !authority[*at..].contains(']'));
        let (host, port) = match at {
            Some(at) => (&authority[..at], Some(&authority[at + 1..])),
            None => (authority, None),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() || authority.contains('@') {
            bail!("an HTTP URL without a host, or with a user in it");
        }
        let port = match port {
            Some(port) => port.parse().context("an HTTP URL with a crooked port")?,
            None if tls => 443,
            None => 80,
        };
        Ok(Self {
            tls,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may be a token.
        let path = self.path.split('?').next().unwrap_or_default();
        let scheme = if self.server.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{path}", self.server.authority)
    }
}

/// A connection, kept from one request to the next of the same server.
pub(super) struct Client {
    connector: Connector,
    open: Option<(Server, SendRequest<Empty<Bytes>>)>,
}

impl Client {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            open: None,
        }
    }

    /// Sends a request; the answer's body is still to be read.
    async fn get(&mut self, address: &Address) -> Result<(StatusCode, Incoming)> {
        let mut sender = match self.open.take() {
            Some((server, sender)) if server == address.server && !sender.is_closed() => sender,
            _ => connect(&address.server, &self.connector).await?,
        };
        let ready = timeout(PATIENCE, sender.ready()).await;
        ready.map_err(|_| anyhow!("no answer within {PATIENCE:?}"))??;
        let request = Request::get(&address.path)
            .header(HOST, &address.server.authority)
            .header("user-agent", "weir-play")
            .body(Empty::new())?;
        let answer = timeout(PATIENCE, sender.send_request(request)).await;
        let answer = answer.map_err(|_| anyhow!("no answer within {PATIENCE:?}"))??;
        self.open = Some((address.server.clone(), sender));
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

async fn connect(server: &Server, connector: &Connector) -> Result<SendRequest<Empty<Bytes>>> {
    let tls = server.tls.then_some(connector);
    let socket = dial(&server.host, server.port, tls).await?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Plays until the server ends the answer.
pub(super) async fn play_flv(
    address: &Address,
    connector: &Connector,
    count: &Count,
) -> Result<()> {
    let stream = async {
        let (status, mut body) = Client::new(connector.clone()).get(address).await?;
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
    }

    #[test]
    fn a_host_is_read_with_its_port_or_the_usual_one() {
        let read = |url| {
            let server = Address::parse(url).unwrap().server;
            (server.host, server.port)
        };
        assert_eq!(read("http://host/a"), ("host".to_owned(), 80));
        assert_eq!(read("https://host/a"), ("host".to_owned(), 443));
        assert_eq!(read("https://[::1]/a"), ("::1".to_owned(), 443));
        assert_eq!(read("http://[::1]:81/a"), ("::1".to_owned(), 81));
        for url in [
            "http://u@host/a",
            "http:///a",
            "http://:80/a",
            "https://host:x/a",
            "ftp://host/a",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
