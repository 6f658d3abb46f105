//! The listener: one task a connection, deadlines on slow requests, an orderly
//! end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::debug;

use super::lasting::{Handover, Lasting};
use super::socket::{Connected, Socket};
use super::{Content, answer};
use crate::app::App;
use crate::tls::Listeners;

/// Serves until `stop` turns true, then closes idle connections, lets answers
/// in flight end for [`LAST_WORDS`] and returns.
pub(crate) async fn serve(app: Arc<App>, listeners: Listeners, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // When all places are taken new connections wait in the kernel's queue.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stopped(&mut stop) => break,
        };
        let accepted = tokio::select! {
            accepted = listeners.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let (Ok(place), Ok((socket, peer, acceptor))) = (place, accepted) else {
            // Out of file descriptors, most likely: do not spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let socket = Socket::new(socket);
        let (app, stop) = (Arc::clone(&app), stop.clone());
        match acceptor {
            None => connections.spawn(async move {
                attend(app, socket, peer, stop).await;
                drop(place);
            }),
            // A task of another type: one in the clear need not be as large.
            Some(acceptor) => connections.spawn(async move {
                let mut stopping = stop.clone();
                let accepted = tokio::select! {
                    accepted = acceptor.accept(socket) => accepted,
                    () = stopped(&mut stopping) => return,
                };
                match accepted {
                    Ok(stream) => attend(app, stream, peer, stop).await,
                    // Whoever looks for open ports comes by here.
                    Err(error) => debug!(%peer, %error, "no TLS handshake"),
                }
                drop(place);
            }),
        };
    }
    drop(listeners);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WORDS, all).await;
}

/// Serves one connection to its end.
async fn attend<S: Connected + 'static>(
    app: Arc<App>,
    socket: S,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
) {
    if let Some((mut socket, lasting)) = converse(app, socket, peer, stop).await
        && let Err(error) = lasting.send(&mut socket).await
    {
        debug!(%peer, %error, "connection ended");
    }
}

/// Answers requests until the client leaves or `stop` turns true; gives the
/// connection back when it is to carry a lasting answer.
async fn converse<S: Connected + 'static>(
    app: Arc<App>,
    socket: S,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) -> Option<(S, Lasting)> {
    let handover = Handover::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (app, handover) = (Arc::clone(&app), handover.clone());
        async move {
            let version = request.version();
            let date = UNIX_EPOCH + Duration::from_millis(app.unix_ms());
            let answer = answer(app, peer, request.map(Body::new)).await;
            let (head, content) = answer.into_parts();
            Ok::<_, Infallible>(match content {
                Content::Whole(body) => Response::from_parts(head, body),
                Content::Lasting(flow) => {
                    let lasting = Lasting::new(head, version, date, flow);
                    handover.leave(lasting).await
                }
            })
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_headers(64)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(socket), service);
    let end = tokio::select! {
        end = handover.watch(&mut connection) => Some(end),
        () = stopped(&mut stop) => None,
    };
    let end = match end {
        Some(end) => end,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            handover.watch(&mut connection).await
        }
    };
    match end {
        Ok(lasting) => {
            let socket = connection.into_parts().io.into_inner();
            // Otherwise what hyper had still to write is lost, and the client, which
            // asked for more before it had read that, is let go.
            socket.keeps_up().then_some((socket, lasting))
        }
        Err(result) => {
            if let Err(error) = result {
                debug!(%peer, %error, "connection ended");
            }
            None
        }
    }
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

/// Time for answers in flight when the server stops.
const LAST_WORDS: Duration = Duration::from_secs(5);
