//! The events as a feed: for subscribers in the process and for Server-Sent Events.
//!
//! The last thousand are kept, once, for all who listen. A subscriber is a place in
//! them and holds nothing of its own; one that is too slow, or comes back too late,
//! is told that it missed some.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use super::event::{Event, Fact};

/// The last events of a server.
#[derive(Debug)]
pub struct Feed {
    kept: Mutex<Kept>,
    /// The newest id; closed with the feed.
    newest: Mutex<Option<watch::Sender<u64>>>,
    heard: watch::Receiver<u64>,
}

#[derive(Debug)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    /// The highest id that is not kept any more.
    gone: u64,
    /// The highest id there is.
    newest: u64,
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// An event.
    Event(Arc<Event>),
    /// Events behind `after` and up to `through` are not there any more.
    Missed {
        /// The last that the subscriber had.
        after: u64,
        /// The last that is gone.
        through: u64,
    },
}

/// A place in the events.
#[derive(Debug)]
pub struct Subscription {
    feed: Arc<Feed>,
    last: u64,
    heard: watch::Receiver<u64>,
}

impl Feed {
    /// A feed whose ids begin behind `id`.
    pub(super) fn new(id: u64) -> Self {
        let (newest, heard) = watch::channel(id);
        Self {
            kept: Mutex::new(Kept {
                events: VecDeque::new(),
                gone: id,
                newest: id,
            }),
            newest: Mutex::new(Some(newest)),
            heard,
        }
    }

    /// Adds what happened at `time`, under the next id.
    pub(super) fn add(&self, time: u64, fact: Fact) -> Arc<Event> {
        let mut kept = self.kept();
        let event = Arc::new(Event {
            id: kept.next_id(),
            time,
            fact,
        });
        if kept.events.len() >= KEPT
            && let Some(oldest) = kept.events.pop_front()
        {
            kept.gone = oldest.id;
        }
        kept.events.push_back(Arc::clone(&event));
        if let Some(newest) = &*self.sender() {
            newest.send_replace(event.id);
        }
        event
    }

    /// An id for something that is not kept.
    pub(super) fn next_id(&self) -> u64 {
        self.kept().next_id()
    }

    /// Ends every subscription behind what is there.
    pub(super) fn close(&self) {
        self.sender().take();
    }

    /// Listens to what comes behind the event `after`; `None`: to what comes from
    /// now on.
    pub fn subscribe(self: &Arc<Self>, after: Option<u64>) -> Subscription {
        let newest = self.kept().newest;
        Subscription {
            last: after.map_or(newest, |after| after.min(newest)),
            heard: self.heard.clone(),
            feed: Arc::clone(self),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> MutexGuard<'_, Option<watch::Sender<u64>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn next_id(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    fn after(&self, last: u64) -> Option<Heard> {
        if last < self.gone {
            return Some(Heard::Missed {
                after: last,
                through: self.gone,
            });
        }
        let at = self.events.partition_point(|event| event.id <= last);
        self.events
            .get(at)
            .map(|event| Heard::Event(Arc::clone(event)))
    }
}

impl Subscription {
    /// The next there is; `None` when the server is shutting down. Cancel safe.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            // Marked before the look: what comes after it wakes.
            self.heard.borrow_and_update();
            let found = self.feed.kept().after(self.last);
            if let Some(heard) = found {
                self.last = match &heard {
                    Heard::Event(event) => event.id,
                    Heard::Missed { through, .. } => *through,
                };
                return Some(heard);
            }
            if self.heard.changed().await.is_err() {
                return None;
            }
        }
    }

    /// As the body of a `text/event-stream` answer: a comment at once and after
    /// every 15 s of silence, an event a frame.
    pub fn frames(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold((self, true), |(mut subscription, first)| async move {
            if first {
                // Proxies pass on nothing of an answer before its first byte.
                return Some((Ok(HEARTBEAT), (subscription, false)));
            }
            let frame = match timeout(SILENCE, subscription.next()).await {
                Ok(heard) => frame(&heard?),
                Err(_) => HEARTBEAT,
            };
            Some((Ok(frame), (subscription, false)))
        })
    }
}

/// What JSON says of events that are gone.
#[derive(Serialize)]
struct Missed {
    r#type: &'static str,
    after: u64,
    through: u64,
}

/// A frame of Server-Sent Events. JSON has no line breaks, so that one line of data
/// is enough.
fn frame(heard: &Heard) -> Bytes {
    let (id, name, json) = match heard {
        Heard::Event(event) => (
            event.id,
            event.fact.kind().name(),
            serde_json::to_string(&**event),
        ),
        Heard::Missed { after, through } => {
            let missed = Missed {
                r#type: MISSED,
                after: *after,
                through: *through,
            };
            (*through, MISSED, serde_json::to_string(&missed))
        }
    };
    // Plain data with text for keys always has JSON.
    let json = json.unwrap_or_default();
    Bytes::from(format!("id: {id}\nevent: {name}\ndata: {json}\n\n"))
}

const MISSED: &str = "missed";

/// A comment: nobody but proxies and sockets notices.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// Half of what the most impatient proxies wait for a byte.
const SILENCE: Duration = Duration::from_secs(15);

/// Events kept: some hundred kilobytes, and an hour of a busy server's streams.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;
    use crate::hooks::event::{Client, Protocol};

    fn fact() -> Fact {
        let peer = "127.0.0.1:1".parse().unwrap();
        Fact::PostConnect {
            client: Client::new(peer, Protocol::Rtmp, "stream", "test"),
        }
    }

    fn id(heard: Option<Heard>) -> u64 {
        match heard {
            Some(Heard::Event(event)) => event.id,
            other => panic!("{other:?}"),
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn a_reader_that_is_too_slow_is_told_what_it_missed() {
        let feed = Arc::new(Feed::new(100));
        let mut slow = feed.subscribe(None);
        for _ in 0..KEPT + 10 {
            feed.add(1, fact());
        }
        block_on(async {
            let missed = slow.next().await;
            let expected = Heard::Missed {
                after: 100,
                through: 110,
            };
            assert_eq!(missed, Some(expected));
            for expected in 111..=110 + KEPT as u64 {
                assert_eq!(id(slow.next().await), expected);
            }
        });
        assert_eq!(feed.kept().events.len(), KEPT);
    }

    #[test]
    fn who_comes_back_goes_on_where_it_was() {
        let feed = Arc::new(Feed::new(100));
        for _ in 0..5 {
            feed.add(1, fact());
        }
        block_on(async {
            let mut again = feed.subscribe(Some(103));
            assert_eq!(id(again.next().await), 104);
            assert_eq!(id(again.next().await), 105);
            // From before the restart; a number that never was.
            let mut old = feed.subscribe(Some(7));
            assert!(matches!(
                old.next().await,
                Some(Heard::Missed {
                    after: 7,
                    through: 100
                })
            ));
            assert_eq!(id(old.next().await), 101);
            let mut wrong = feed.subscribe(Some(u64::MAX));
            feed.add(1, fact());
            assert_eq!(id(wrong.next().await), 106);
        });
    }

    #[test]
    fn numbers_of_what_is_not_kept_are_not_missed() {
        let feed = Arc::new(Feed::new(0));
        let mut reader = feed.subscribe(None);
        feed.next_id();
        feed.add(1, fact());
        assert_eq!(id(block_on(reader.next())), 2);
    }

    #[test]
    fn frames_carry_id_and_name_and_silence_a_heartbeat() {
        let feed = Arc::new(Feed::new(0));
        block_on(async {
            let mut frames = Box::pin(feed.subscribe(None).frames());
            assert_eq!(frames.next().await, Some(Ok(HEARTBEAT)));
            // Nothing happens for 15 s of the runtime's own clock.
            assert_eq!(frames.next().await, Some(Ok(HEARTBEAT)));
            feed.add(7, fact());
            let frame = frames.next().await.unwrap().unwrap();
            let text = std::str::from_utf8(&frame).unwrap();
            let data = text
                .strip_prefix("id: 1\nevent: postConnect\ndata: ")
                .and_then(|rest| rest.strip_suffix("\n\n"));
            let json: serde_json::Value = serde_json::from_str(data.unwrap()).unwrap();
            assert_eq!(json["type"], "postConnect");
            feed.close();
            assert_eq!(frames.next().await, None);
        });
    }
}
