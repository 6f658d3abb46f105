//! TLS: what lies between a socket and RTMP or HTTP when the URL says so.
//!
//! Both sides speak TLS 1.2 and 1.3 by rustls with ring. What goes wrong is told
//! in words that name whose fault it is: "handshake failure" on a streamer's
//! screen helps nobody.

mod client;
mod listen;
mod server;

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use client::{CaError, Connector};
pub(crate) use listen::Listeners;
pub(crate) use server::Acceptor;
pub use server::{Files, PairError, Settings};

/// A connection, in the clear or not. What is written to one with TLS leaves
/// with `flush` at the latest, and not before.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to `host`, a name or an address without brackets, with TLS when
/// there is a connector for it.
pub(crate) async fn dial(
    host: &str,
    port: u16,
    tls: Option<&Connector>,
) -> io::Result<Box<dyn Stream>> {
    let connecting = timeout(CONNECT, TcpStream::connect((host, port))).await;
    let socket = connecting
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot be reached: {error}")))?;
    socket.set_nodelay(true)?;
    Ok(match tls {
        Some(tls) => Box::new(tls.connect(host, socket).await?),
        None => Box::new(socket),
    })
}

/// Reads into `input` as `AsyncReadExt::read` does. A peer that closes without TLS's own goodbye, as
/// many encoders do, has closed all the same: RTMP says itself where it ends.
pub(crate) async fn read<S: AsyncRead + Unpin>(
    socket: &mut S,
    input: &mut [u8],
) -> io::Result<usize> {
    match socket.read(input).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        read => read,
    }
}

/// What the handshake with `peer` died of.
///
/// [`io::ErrorKind::InvalidData`] where the next attempt would end in the same
/// way: the peer's certificate, or a peer that does not speak TLS.
fn failure(error: &io::Error, peer: &str) -> io::Error {
    let rustls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match rustls {
        Some(Error::InvalidCertificate(why)) => wrong(certificate(why, peer)),
        Some(Error::InvalidMessage(_)) => wrong(format!("{peer} does not speak TLS on this port")),
        Some(Error::AlertReceived(alert)) => wrong(refusal(*alert, peer)),
        Some(Error::PeerIncompatible(_)) => wrong(format!(
            "{peer} speaks no TLS that is spoken here, 1.2 or 1.3 with ciphers of today"
        )),
        Some(other) => wrong(format!("TLS with {peer}: {other}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => io::Error::new(
            error.kind(),
            format!(
                "{peer} closed the connection in the TLS handshake; does it speak TLS on this port?"
            ),
        ),
        None => io::Error::new(
            error.kind(),
            format!("{peer}: the connection was lost in the TLS handshake: {error}"),
        ),
    }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn late(peer: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{peer}: the TLS handshake was not over within {HANDSHAKE:?}"),
    )
}

/// What is wrong with the certificate of `peer`.
fn certificate(why: &CertificateError, peer: &str) -> String {
    let date = |time: &rustls::pki_types::UnixTime| {
        let ms = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let text = packager::playlist::iso8601(ms.saturating_mul(1000));
        text.split('T').next().unwrap_or(&text).to_owned()
    };
    match why {
        CertificateError::UnknownIssuer => format!(
            "the certificate of {peer} is not signed by a CA that is trusted here; a CA of one's own is trusted when its file is given"
        ),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate of {peer} expired on {}", date(not_after))
        }
        CertificateError::Expired => format!("the certificate of {peer} has expired"),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the certificate of {peer} is not valid before {}; is the clock right?",
            date(not_before)
        ),
        CertificateError::NotValidForNameContext { presented, .. } => match &presented[..] {
            [] => format!("the certificate of {peer} names no host"),
            names => {
                let named: Vec<_> = names.iter().take(MOST_NAMES).map(|n| name(n)).collect();
                let more = match names.len() > MOST_NAMES {
                    true => " and others",
                    false => "",
                };
                format!(
                    "the certificate that {peer} shows is for {}{more}, not for {peer}",
                    named.join(", ")
                )
            }
        },
        CertificateError::NotValidForName => {
            format!("the certificate that {peer} shows is for another host")
        }
        CertificateError::BadSignature => format!(
            "the certificate of {peer} names a CA that is trusted here but is not signed with its key"
        ),
        CertificateError::Revoked => format!("the certificate of {peer} was revoked"),
        CertificateError::BadEncoding => format!("the certificate of {peer} cannot be read"),
        // webpki's word for it; rustls has none of its own.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            format!("the certificate of {peer} is a CA's own (CA:TRUE), which cannot be a server's")
        }
        other => format!("the certificate of {peer} is not accepted: {other}"),
    }
}

/// A name out of a certificate, `DnsName("host")` as it comes from webpki.
fn name(presented: &str) -> String {
    let bare = presented
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(presented);
    let fit = |c: &char| c.is_ascii_graphic() && *c != '"';
    bare.chars().filter(fit).take(253).collect()
}

fn refusal(alert: AlertDescription, peer: &str) -> String {
    match alert {
        AlertDescription::UnrecognisedName => {
            format!("{peer} knows no host of this name (TLS alert)")
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            format!("{peer} refuses the TLS spoken here, 1.2 and 1.3 (TLS alert)")
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown => {
            format!("{peer} does not trust the certificate shown to it ({alert:?})")
        }
        other => format!("{peer} refuses the TLS connection ({other:?})"),
    }
}

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Time for a handshake: of all that is done in three round trips it is the
/// part that a peer may draw out at will.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Names of a wrong certificate that are told; some have a hundred.
const MOST_NAMES: usize = 3;

#[cfg(test)]
mod tests;
