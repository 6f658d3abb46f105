//! `weir health`: asks a server's `/readyz`, for container health checks.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use crate::tls::{Connector, dial};

/// Ok when `/readyz` of the server at `url` (`http(s)://host:port`) answers 200.
/// `ca` is a file of CAs that are trusted beside the system's.
pub fn run(url: &str, ca: Option<&Path>) -> Result<()> {
    let (rest, usual, tls) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (rest, 80, None),
        (_, Some(rest)) => (rest, 443, Some(Connector::new(ca)?)),
        _ => bail!("{url:?}: health is asked over HTTP, like http://127.0.0.1:8000"),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = split(authority, usual)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let asked = runtime
        .block_on(async { timeout(PATIENCE, ask(authority, host, port, tls.as_ref())).await });
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    let status = asked
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .with_context(|| format!("{authority} does not answer"))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(code) => bail!("{authority} is not ready: it answers {code}"),
        None => bail!("{authority} does not speak HTTP"),
    }
}

/// The first line of the answer.
async fn ask(
    authority: &str,
    host: &str,
    port: u16,
    tls: Option<&Connector>,
) -> io::Result<String> {
    let mut socket = dial(host, port, tls).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    socket.flush().await?;
    let mut status = String::new();
    BufReader::new(socket.take(LONGEST_LINE))
        .read_line(&mut status)
        .await?;
    Ok(status)
}

/// The host, without brackets, and the port of a URL.
fn split(authority: &str, usual: u16) -> Result<(&str, u16)> {
    // A colon behind the last bracket is not part of an address.
    let at = authority
        .rfind(':')
        .filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match at {
        Some(at) => {
            let port = authority[at + 1..].parse();
            let port = port.with_context(|| format!("{authority}: the port is no number"))?;
            (&authority[..at], port)
        }
        None => (authority, usual),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    Ok((bare.unwrap_or(host), port))
}

/// Time for everything: container health checks give up after a few seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of a status line that are waited for.
const LONGEST_LINE: u64 = 1 << 10;
