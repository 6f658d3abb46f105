//! What is still to be told, and when: a value without tasks or sockets.
//!
//! Events of one stream, and those of one connection, go out one after the other,
//! each when the one before it has arrived or is given up. Events of different
//! streams overtake each other.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::hooks::event::{ConnectionId, Event, Fact, Kind};
use crate::name::StreamName;

/// Events that wait to be told.
#[derive(Debug)]
pub(super) struct Queue {
    /// Oldest first.
    entries: VecDeque<Entry>,
    most: usize,
    /// The receiver could not be reached, and is left alone until then.
    away: Option<Instant>,
    backoff: Backoff,
}

#[derive(Debug)]
struct Entry {
    event: Arc<Event>,
    born: Instant,
    tries: u32,
    not_before: Instant,
    backoff: Backoff,
    under_way: bool,
}

/// What to do now.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Tell this.
    Send(Arc<Event>),
    /// Look again then.
    Wait(Instant),
    /// There is nothing, or what there is waits for what is under way.
    Nothing,
}

/// How telling an event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Arrived,
    /// The receiver does not want it now.
    Refused,
    /// There is no receiver.
    Unreachable,
}

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Left out for want of room.
    pub(super) crowded_out: u64,
    /// Given up.
    pub(super) given_up: u64,
    /// Replaced by a newer one of its kind.
    pub(super) coalesced: u64,
}

impl Queue {
    /// A queue of `most` events.
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            most,
            away: None,
            backoff: Backoff::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the receiver could not be reached the last time.
    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Adds what has just happened.
    pub(super) fn push(&mut self, event: Arc<Event>, now: Instant) -> Lost {
        let mut lost = Lost::default();
        let newer = |entry: &Entry| !entry.under_way && supersedes(&event.fact, &entry.event.fact);
        if let Some(old) = self.entries.iter().position(newer) {
            self.entries.remove(old);
            lost.coalesced += 1;
        }
        if self.entries.len() >= self.most {
            // Who connects in vain by the thousand shall not hide who is live.
            let idle = |entry: &Entry| !entry.under_way;
            let minor = |entry: &Entry| idle(entry) && is_minor(&entry.event.fact);
            let place = self.entries.iter().position(minor);
            let place = place.or_else(|| self.entries.iter().position(idle));
            lost.crowded_out += 1;
            match place {
                Some(place) => self.entries.remove(place),
                None => return lost,
            };
        }
        self.entries.push_back(Entry {
            event,
            born: now,
            tries: 0,
            not_before: now,
            backoff: Backoff::default(),
            under_way: false,
        });
        lost
    }

    /// What is to be told at `now`, and what was given up by then.
    pub(super) fn next(&mut self, now: Instant) -> (Next, Lost) {
        let before = self.entries.len();
        self.entries
            .retain(|entry| entry.under_way || now < entry.born + LONGEST);
        let lost = Lost {
            given_up: (before - self.entries.len()) as u64,
            ..Lost::default()
        };
        if let Some(until) = self.away.filter(|until| now < *until) {
            let next = match self.entries.is_empty() {
                true => Next::Nothing,
                false => Next::Wait(until),
            };
            return (next, lost);
        }
        let mut streams: HashSet<StreamName> = HashSet::new();
        let mut connections: HashSet<ConnectionId> = HashSet::new();
        let mut soonest: Option<Instant> = None;
        for entry in &mut self.entries {
            let fact = &entry.event.fact;
            let (stream, connection) = (fact.stream(), fact.client().map(|c| c.connection));
            let waits = stream.is_some_and(|stream| streams.contains(stream))
                || connection.is_some_and(|connection| connections.contains(&connection));
            if !waits && !entry.under_way {
                if entry.not_before <= now {
                    entry.under_way = true;
                    entry.tries += 1;
                    return (Next::Send(Arc::clone(&entry.event)), lost);
                }
                let at = entry.not_before;
                soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
            }
            streams.extend(stream.cloned());
            connections.extend(connection);
        }
        (soonest.map_or(Next::Nothing, Next::Wait), lost)
    }

    /// Event `id`, which was under way, is told or not.
    pub(super) fn done(&mut self, id: u64, outcome: Outcome, now: Instant) -> Lost {
        let mut lost = Lost::default();
        let Some(at) = self.entries.iter().position(|entry| entry.event.id == id) else {
            return lost;
        };
        match outcome {
            Outcome::Arrived | Outcome::Refused => {
                self.away = None;
                self.backoff.reset();
            }
            // Several may find out at the same time.
            Outcome::Unreachable => {
                if self.away.is_none_or(|until| until <= now) {
                    self.away = Some(now + self.backoff.next());
                }
            }
        }
        let entry = &mut self.entries[at];
        entry.under_way = false;
        match outcome {
            Outcome::Arrived => {
                self.entries.remove(at);
            }
            Outcome::Refused if entry.tries >= MOST_TRIES => {
                self.entries.remove(at);
                lost.given_up += 1;
            }
            Outcome::Refused => entry.not_before = now + entry.backoff.next(),
            // Its own tries are for what the receiver says of it.
            Outcome::Unreachable => entry.tries -= 1,
        }
        lost
    }
}

/// Whether nobody needs `old` who hears `new`.
fn supersedes(new: &Fact, old: &Fact) -> bool {
    match (new, old) {
        (
            Fact::StreamHealth {
                stream, finding, ..
            },
            Fact::StreamHealth {
                stream: other,
                finding: before,
                ..
            },
        ) => stream == other && finding.problem == before.problem,
        (
            Fact::RelayState { stream, target, .. },
            Fact::RelayState {
                stream: other,
                target: before,
                ..
            },
        ) => stream == other && target == before,
        _ => false,
    }
}

fn is_minor(fact: &Fact) -> bool {
    matches!(fact.kind(), Kind::PostConnect | Kind::DoneConnect)
}

/// An event that could not be told for so long is news to nobody.
const LONGEST: Duration = Duration::from_secs(600);

/// Tries of an event that the receiver does not take: over two minutes.
const MOST_TRIES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::event::{Client, Done, Finding, Protocol, Trouble};

    fn client() -> Client {
        Client::new("127.0.0.1:1".parse().unwrap(), Protocol::Rtmp, "stream", "")
    }

    fn event(id: u64, fact: Fact) -> Arc<Event> {
        Arc::new(Event { id, time: 0, fact })
    }

    fn published(id: u64, stream: &str) -> Arc<Event> {
        let stream = stream.parse().unwrap();
        let fact = Fact::PostPublish {
            client: client(),
            stream,
            session: 1,
        };
        event(id, fact)
    }

    fn connected(id: u64, client: &Client) -> Arc<Event> {
        let client = client.clone();
        event(id, Fact::PostConnect { client })
    }

    fn health(id: u64, stream: &str, problem: Trouble) -> Arc<Event> {
        let finding = Finding {
            problem,
            present: true,
            measured: 1.0,
            expected: 2.0,
        };
        let fact = Fact::StreamHealth {
            stream: stream.parse().unwrap(),
            session: 1,
            finding,
        };
        event(id, fact)
    }

    fn sends(queue: &mut Queue, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| match queue.next(now).0 {
            Next::Send(event) => Some(event.id),
            _ => None,
        })
        .collect()
    }

    fn ids(queue: &Queue) -> Vec<u64> {
        queue.entries.iter().map(|entry| entry.event.id).collect()
    }

    #[test]
    fn a_streams_events_stay_in_order_and_others_overtake() {
        let now = Instant::now();
        let mut queue = Queue::new(10);
        for (id, stream) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            queue.push(published(id, stream), now);
        }
        assert_eq!(sends(&mut queue, now), [1, 3]);
        // What the receiver does not take holds up its own stream.
        queue.done(1, Outcome::Refused, now);
        queue.done(3, Outcome::Arrived, now);
        assert!(sends(&mut queue, now).is_empty());
        let (Next::Wait(at), _) = queue.next(now) else {
            panic!("{queue:?}");
        };
        assert_eq!(sends(&mut queue, at), [1]);
        queue.done(1, Outcome::Arrived, at);
        assert_eq!(sends(&mut queue, at), [2]);
        queue.done(2, Outcome::Arrived, at);
        assert_eq!(sends(&mut queue, at), [4]);
    }

    #[test]
    fn a_connections_events_stay_in_order() {
        let now = Instant::now();
        let mut queue = Queue::new(10);
        let client = client();
        queue.push(connected(1, &client), now);
        let done = Done::new(now.into_std(), now.into_std(), 0, "");
        let fact = Fact::DonePublish {
            client: client.clone(),
            stream: "a".parse().unwrap(),
            session: 1,
            done,
        };
        queue.push(event(2, fact), now);
        assert_eq!(sends(&mut queue, now), [1]);
    }

    #[test]
    fn without_room_the_oldest_leaves_and_connections_first() {
        let now = Instant::now();
        let mut queue = Queue::new(3);
        queue.push(published(1, "a"), now);
        queue.push(published(2, "b"), now);
        queue.push(connected(3, &client()), now);
        for (id, left) in [(4, [1, 2, 4]), (5, [2, 4, 5])] {
            let lost = queue.push(published(id, "c"), now);
            assert_eq!(lost.crowded_out, 1);
            assert_eq!(ids(&queue), left);
        }
        // What is under way cannot be taken back.
        assert_eq!(sends(&mut queue, now), [2, 4]);
        queue.push(published(6, "d"), now);
        assert_eq!(ids(&queue), [2, 4, 6]);
        assert_eq!(sends(&mut queue, now), [6]);
        assert_eq!(queue.push(published(7, "e"), now).crowded_out, 1);
        assert_eq!(ids(&queue), [2, 4, 6]);
    }

    #[test]
    fn only_the_last_state_is_told() {
        let now = Instant::now();
        let mut queue = Queue::new(10);
        queue.push(health(1, "a", Trouble::FrameRateDrop), now);
        queue.push(health(2, "a", Trouble::BitRateStarved), now);
        queue.push(health(3, "b", Trouble::FrameRateDrop), now);
        let lost = queue.push(health(4, "a", Trouble::FrameRateDrop), now);
        assert_eq!(lost.coalesced, 1);
        assert_eq!(ids(&queue), [2, 3, 4]);
        // One that may have been heard is not taken back.
        assert_eq!(sends(&mut queue, now), [2, 3]);
        queue.push(health(5, "b", Trouble::FrameRateDrop), now);
        assert_eq!(ids(&queue), [2, 3, 4, 5]);
    }

    #[test]
    fn what_the_receiver_refuses_is_given_up_after_some_tries() {
        let mut now = Instant::now();
        let mut queue = Queue::new(10);
        queue.push(published(1, "a"), now);
        for left in (0..MOST_TRIES).rev() {
            assert_eq!(sends(&mut queue, now), [1]);
            let lost = queue.done(1, Outcome::Refused, now);
            assert_eq!(lost.given_up, u64::from(left == 0));
            if let (Next::Wait(at), _) = queue.next(now) {
                now = at;
            }
        }
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_dead_receiver_is_left_alone_and_asked_again() {
        let mut now = Instant::now();
        let begun = now;
        let mut queue = Queue::new(10);
        queue.push(published(1, "a"), now);
        queue.push(published(2, "b"), now);
        assert_eq!(sends(&mut queue, now), [1, 2]);
        queue.done(1, Outcome::Unreachable, now);
        queue.done(2, Outcome::Unreachable, now);
        let mut pauses = Vec::new();
        let given_up = loop {
            let (next, lost) = queue.next(now);
            match next {
                Next::Wait(at) => {
                    pauses.push(at - now);
                    now = at;
                }
                Next::Send(event) => {
                    queue.done(event.id, Outcome::Unreachable, now);
                }
                Next::Nothing => break lost.given_up,
            }
        };
        assert_eq!(given_up, 2);
        assert!(now - begun >= LONGEST, "{:?}", now - begun);
        assert!(pauses[0] <= Duration::from_secs(1), "{pauses:?}");
        assert!(pauses[10] > Duration::from_secs(20), "{pauses:?}");
        assert!(pauses.len() < 40, "{}", pauses.len());
        // Back again, it gets everything at once.
        queue.push(published(3, "a"), now);
        now += Duration::from_secs(31);
        assert_eq!(sends(&mut queue, now), [3]);
        queue.done(3, Outcome::Arrived, now);
        assert!(!queue.is_away());
    }
}
