//! RTMP in: one task a connection, from socket to ring.

mod connection;
mod live;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{error, warn};

use crate::app::App;

/// Accepts connections until `stop` turns true, then ends every session and
/// returns when all are gone.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(app.config.limits.connections));
    let mut connections: JoinSet<()> = JoinSet::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                contain(&app, ended);
                continue;
            }
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (socket, peer) = match accepted {
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
        let (app, stop) = (Arc::clone(&app), stop.clone());
        connections.spawn(async move {
            let open = Open::new(&app);
            connection::run(&app, socket, peer, stop).await;
            drop((open, place));
        });
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        contain(&app, ended);
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
