//! `weir health`: asks a server's `/readyz`, for container health checks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Ok when `/readyz` of the server at `url` (`http://host:port`) answers 200.
pub fn run(url: &str) -> Result<()> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("{url:?}: health is asked over plain HTTP, like http://127.0.0.1:8000");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let address = if authority
        .rsplit(']')
        .next()
        .is_some_and(|end| end.contains(':'))
    {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let found = address
        .to_socket_addrs()
        .with_context(|| format!("{address} cannot be found"))?
        .next();
    let Some(found) = found else {
        bail!("{address} has no address")
    };
    let mut socket = TcpStream::connect_timeout(&found, PATIENCE)
        .with_context(|| format!("{address} does not answer"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    write!(
        socket,
        "GET /readyz HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    )?;
    let mut status = String::new();
    BufReader::new(socket)
        .read_line(&mut status)
        .with_context(|| format!("{address} does not answer"))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(code) => bail!("{address} is not ready: it answers {code}"),
        None => bail!("{address} does not speak HTTP"),
    }
}

/// Time for each step: container health checks give up after a few seconds.
const PATIENCE: Duration = Duration::from_secs(3);
