//! RTMP in: one task a connection, from socket to ring.

mod connection;
mod live;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error, warn};

use self::socket::Socket;
use crate::app::App;
use crate::hooks::Protocol;
use crate::tls::{Acceptor, Listeners};

/// Accepts connections until `stop` turns true, then ends every session and
/// returns when all are gone.
pub(crate) async fn serve(app: Arc<App>, listeners: Listeners, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(app.config.limits.connections));
    let mut connections: JoinSet<()> = JoinSet::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listeners.accept() => accepted,
            Some(ended) = connections.join_next() => {
                contain(&app, ended);
                continue;
            }
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (socket, peer, acceptor) = match accepted {
            Ok(accepted) => {
                failing = false;
                accepted
            }
            Err(error) => {
                // Out of file descriptors, most likely: neither spin nor fill the log.
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "connections of publishers cannot be accepted");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // Refused at once rather than left hanging: the encoder tries again.
            warn!(%peer, most = app.config.limits.connections, "connection refused: limits.connections are open");
            continue;
        };
        let _ = socket.set_nodelay(true);
        let socket = Socket::Prompt(socket);
        let (app, stop) = (Arc::clone(&app), stop.clone());
        match acceptor {
            None => connections.spawn(async move {
                let open = Open::new(&app);
                connection::run(&app, socket, peer, Protocol::Rtmp, stop).await;
                drop((open, place));
            }),
            // A task of another type: one in the clear need not be as large.
            Some(acceptor) => connections.spawn(async move {
                let open = Open::new(&app);
                if let Some(stream) = secured(&acceptor, socket, peer, stop.clone()).await {
                    connection::run(&app, stream, peer, Protocol::Rtmps, stop).await;
                }
                drop((open, place));
            }),
        };
    }
    drop(listeners);
    while let Some(ended) = connections.join_next().await {
        contain(&app, ended);
    }
}

/// The connection after the TLS handshake, unless that fails or `stop` turns true.
async fn secured(
    acceptor: &Acceptor,
    socket: Socket,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) -> Option<TlsStream<Socket>> {
    let accepted = tokio::select! {
        accepted = acceptor.accept(socket) => accepted,
        _ = stop.wait_for(|stop| *stop) => return None,
    };
    match accepted {
        Ok(stream) => Some(stream),
        // Load balancers look at ports so.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            debug!(%peer, %error, "connection closed");
            None
        }
        Err(error) => {
            warn!(%peer, %error, "connection refused: no TLS handshake");
            None
        }
    }
}

/// A panic of one connection's task ends that connection and nothing else.
fn contain(app: &App, ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        app.metrics.panics.rtmp.fetch_add(1, Ordering::Relaxed);
        error!("a connection's task panicked and was ended");
    }
}

/// Counts a connection while it is open.
struct Open<'a>(&'a App);

impl<'a> Open<'a> {
    fn new(app: &'a App) -> Self {
        app.metrics.rtmp_connections.fetch_add(1, Ordering::Relaxed);
        Self(app)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0
            .metrics
            .rtmp_connections
            .fetch_sub(1, Ordering::Relaxed);
    }
}
