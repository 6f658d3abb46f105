//! Two ports of one service: in the clear and with TLS.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::Acceptor;

/// Where connections come in.
pub(crate) struct Listeners {
    pub(crate) plain: TcpListener,
    pub(crate) tls: Option<(TcpListener, Arc<Acceptor>)>,
}

impl Listeners {
    /// The next connection, and what does its handshake when it is to speak TLS.
    pub(crate) async fn accept(
        &self,
    ) -> io::Result<(TcpStream, SocketAddr, Option<Arc<Acceptor>>)> {
        let tls = async {
            match &self.tls {
                Some((listener, acceptor)) => (listener.accept().await, acceptor),
                None => pending().await,
            }
        };
        let (accepted, acceptor) = tokio::select! {
            accepted = self.plain.accept() => (accepted, None),
            (accepted, acceptor) = tls => (accepted, Some(Arc::clone(acceptor))),
        };
        accepted.map(|(socket, peer)| (socket, peer, acceptor))
    }
}
