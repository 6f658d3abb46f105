//! HTTP-FLV: a broadcast as a file that does not end while it is live.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use super::{Feed, Form};
use crate::live::Broadcast;

/// The body of the answer; `None` when the broadcast has ended.
pub(crate) fn body(broadcast: Arc<Broadcast>, lagged: Arc<AtomicU64>) -> Option<Body> {
    let feed = Feed::open(broadcast, Form::Flv, lagged)?;
    let start = Flow {
        feed,
        gathered: Vec::new().into_iter(),
        live: true,
    };
    let parts = stream::unfold(start, |mut flow| async {
        let part = flow.next().await?;
        Some((Ok::<_, std::convert::Infallible>(part), flow))
    });
    Some(Body::from_stream(parts))
}

struct Flow {
    feed: Feed,
    gathered: std::vec::IntoIter<Bytes>,
    live: bool,
}

impl Flow {
    /// The next part: asked for only when the connection has room for it.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(part) = self.gathered.next() {
                return Some(part);
            }
            if !self.live {
                return None;
            }
            self.feed.ready().await;
            let mut out = Vec::new();
            self.live = self.feed.gather(&mut out, AT_ONCE);
            self.gathered = out.into_iter();
        }
    }
}

/// Bytes taken from the ring at a time, and so held for a player that has
/// stopped reading.
const AT_ONCE: usize = 64 << 10;
