//! Bytes that take up room in memory until a client has read them.
//!
//! A client that reads nothing is let go by its socket; one that reads hardly
//! anything could hold them for ever. So they are taken back after a while, and the
//! answer is broken off.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::record::Held;

/// A body of bytes that are lent.
pub(super) struct Lent {
    held: Arc<Mutex<Option<Arc<Held>>>>,
    length: usize,
    sent: usize,
    /// Takes them back.
    end: JoinHandle<()>,
}

impl Lent {
    pub(super) fn new(held: Arc<Held>) -> Self {
        let length = held.bytes().len();
        let held = Arc::new(Mutex::new(Some(held)));
        let limit = SHORTEST + Duration::from_secs(length as u64 / SLOWEST);
        let ours = Arc::clone(&held);
        let end = tokio::spawn(async move {
            sleep(limit).await;
            lock(&ours).take();
        });
        Self {
            held,
            length,
            sent: 0,
            end,
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let to = self.length.min(self.sent + PIECE);
        // A slice would hold all of them for as long as the connection has it.
        let piece = lock(&self.held)
            .as_ref()
            .map(|held| Bytes::copy_from_slice(&held.bytes()[self.sent..to]));
        let Some(piece) = piece else {
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        };
        self.sent = to;
        if self.is_end_stream() {
            lock(&self.held).take();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.length - self.sent) as u64)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.end.abort();
        lock(&self.held).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that a connection is given at once.
const PIECE: usize = 64 << 10;

/// Time that any client has: mobile networks are gone for as long.
const SHORTEST: Duration = Duration::from_secs(15);

/// Bytes a second of the slowest client: half of what the smallest rung takes.
const SLOWEST: u64 = 32 << 10;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;
    use tokio::time::advance;

    use super::*;

    async fn held(bytes: &Bytes) -> (Arc<Held>, Arc<Semaphore>) {
        let room = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&room).acquire_owned().await.unwrap();
        (Arc::new(Held::new(bytes.clone(), place)), room)
    }

    #[tokio::test(start_paused = true)]
    async fn all_is_sent_and_the_room_is_free_with_the_last_piece() {
        let bytes: Bytes = (0..3 * PIECE + 7).map(|at| at as u8).collect();
        let (held, room) = held(&bytes).await;
        let mut body = Lent::new(held);
        let mut sent = Vec::new();
        while sent.len() < bytes.len() {
            assert_eq!(room.available_permits(), 0);
            let frame = body.frame().await.unwrap().unwrap();
            sent.extend_from_slice(&frame.into_data().unwrap());
        }
        assert_eq!(room.available_permits(), 1);
        assert_eq!(sent, bytes);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_hardly_anything_holds_nothing_for_long() {
        let bytes = Bytes::from(vec![1; 4 * PIECE]);
        let (held, room) = held(&bytes).await;
        let mut body = Lent::new(held);
        body.frame().await.unwrap().unwrap();
        tokio::task::yield_now().await;
        advance(SHORTEST).await;
        tokio::task::yield_now().await;
        assert_eq!(room.available_permits(), 0);
        advance(Duration::from_secs(4 * PIECE as u64 / SLOWEST)).await;
        tokio::task::yield_now().await;
        assert_eq!(room.available_permits(), 1);
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_lets_go_at_once() {
        let (held, room) = held(&Bytes::from_static(b"segment")).await;
        drop(Lent::new(held));
        assert_eq!(room.available_permits(), 1);
    }
}
