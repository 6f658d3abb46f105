//! A connection to a target, if it is where targets may be.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use rtmp::Url;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Failure;
use super::guard;
use crate::tls::{Connector, Stream};

/// Connects to `url`. The addresses of its host are looked up and checked every
/// time, and none is connected to that was not checked.
pub(super) async fn connect(
    url: &Url,
    allow_private: bool,
    tls: &Connector,
) -> Result<Box<dyn Stream>, Failure> {
    let host = url.host();
    let mut addresses = resolve(host, url.port()).await?;
    if !allow_private {
        let mut inside = None;
        addresses.retain(|address| match guard::private(address.ip()) {
            Some(kind) => {
                inside = Some((address.ip(), kind));
                false
            }
            None => true,
        });
        if let Some((ip, kind)) = inside.filter(|_| addresses.is_empty()) {
            return Err(Failure::refused(format!(
                "{host} is {ip}, {kind}: targets there are not allowed (relay.allow_private)"
            )));
        }
    }
    let socket = dial(host, &in_turn(addresses)).await?;
    let socket = set_up(socket).map_err(|error| Failure::passing(format!("{host}: {error}")))?;
    if !url.is_tls() {
        return Ok(Box::new(socket));
    }
    match tls.connect(host, socket).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Failure::refused(error.to_string()))
        }
        Err(error) => Err(Failure::passing(error.to_string())),
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let found = match timeout(LOOKUP, look_up(host.to_owned(), port)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            return Err(Failure::passing(format!("{host} has no address: {error}")));
        }
        Err(_) => {
            return Err(Failure::passing(format!(
                "{host}: no answer of the name server within {LOOKUP:?}"
            )));
        }
    };
    match found.is_empty() {
        true => Err(Failure::passing(format!("{host} has no address"))),
        false => Ok(found),
    }
}

/// Asks the system, which blocks a thread for as long as the name servers are
/// silent, longer than anybody waits here. Those threads are everybody's, publishers'
/// keys are checked on them: relays take a part of them.
async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    static PLACES: Semaphore = Semaphore::const_new(MOST_LOOKUPS);
    let place = PLACES.acquire().await.map_err(io::Error::other)?;
    let looked = tokio::task::spawn_blocking(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        drop(place);
        Ok(found?.take(MOST_LOOKED_AT).collect())
    });
    looked.await.map_err(io::Error::other)?
}

/// Those that are tried, of both families in turn: one of them may lead nowhere
/// here (RFC 8305 4).
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (preferred, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv4() == first_is_v4);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let pairs = std::iter::from_fn(|| match (preferred.next(), other.next()) {
        (None, None) => None,
        pair => Some([pair.0, pair.1]),
    });
    pairs.flatten().flatten().take(MOST_ADDRESSES).collect()
}

/// The first of `addresses` that answers.
async fn dial(host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut why = String::new();
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => why = format!("{host} cannot be reached at {address}: {error}"),
            Err(_) => {
                why =
                    format!("{host} cannot be reached at {address}: no answer within {CONNECT:?}");
            }
        }
    }
    Err(Failure::passing(why))
}

/// So that a destination that is gone or reads nothing is noticed: the kernel
/// takes little more than it can send, and gives up what nobody acknowledges.
fn set_up(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    let options = SockRef::from(&socket);
    options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    options.set_tcp_notsent_lowat(UNSENT)?;
    options.set_keepalive(true)?;
    Ok(socket)
}

/// Time for the name server.
const LOOKUP: Duration = Duration::from_secs(10);

/// Of all relays at once: a quarter of tokio's threads for what blocks.
const MOST_LOOKUPS: usize = 128;

/// Addresses of one host that are looked at.
const MOST_LOOKED_AT: usize = 32;

/// Those of them that are tried in turn.
const MOST_ADDRESSES: usize = 4;

/// Time for each.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes that wait in the kernel unsent before it takes no more.
const UNSENT: u32 = 16 << 10;

/// A connection whose bytes are not acknowledged for so long is gone (RFC 5482).
const UNACKNOWLEDGED: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_tried() {
        let of = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let tried = in_turn(of(&[
            "[1::1]:1",
            "[1::2]:1",
            "[1::3]:1",
            "[1::4]:1",
            "1.1.1.1:1",
        ]));
        assert_eq!(
            tried,
            of(&["[1::1]:1", "1.1.1.1:1", "[1::2]:1", "[1::3]:1"])
        );
        assert_eq!(in_turn(of(&["1.1.1.1:1"])), of(&["1.1.1.1:1"]));
    }
}
