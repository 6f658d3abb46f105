//! The listener: one task a connection, deadlines on slow requests, an orderly
//! end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tracing::debug;

use super::answer;
use crate::app::App;

/// Serves until `stop` turns true, then closes idle connections, lets answers
/// in flight end for [`LAST_WORDS`] and returns.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // When all places are taken new connections wait in the kernel's queue.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stopped(&mut stop) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let (Ok(place), Ok((socket, peer))) = (place, accepted) else {
            // Out of file descriptors, most likely: do not spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        // A client that does not read holds a segment, and a place.
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(Some(WRITE_DEADLINE));
        let socket = Box::pin(socket);
        let (app, mut stop) = (Arc::clone(&app), stop.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let app = Arc::clone(&app);
                async move { Ok::<_, Infallible>(answer(app, peer, request.map(Body::new)).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .max_headers(64)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(socket), service);
            let mut connection = std::pin::pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                debug!(%peer, %error, "connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WORDS, all).await;
}

/// Resolves when the server is told to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Connections at once. A viewer needs one or two.
pub(crate) const MAX_CONNECTIONS: usize = 10_000;

/// Time from one answer to the end of the next request's headers. Idle
/// connections of players that poll every target duration stay open.
const HEADER_DEADLINE: Duration = Duration::from_secs(30);

/// Time in which a client must read something of its answer. Players stop
/// reading while they are paused, and fetch again.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// Time for answers in flight when the server stops.
const LAST_WORDS: Duration = Duration::from_secs(5);
