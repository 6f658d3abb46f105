//! Streams sent on to other servers.
//!
//! Each target is one task with one cursor in the broadcast's ring: what it does
//! or does not do costs nobody else anything. A task ends with its stream, and
//! with nothing else: what fails is tried again, and says so meanwhile.

mod connect;
mod feed;
mod guard;
mod sending;
mod session;
mod status;
mod target;
mod task;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::app::App;
use crate::database::TargetRecord;
use crate::live::Broadcast;
use crate::name::StreamName;
use status::{Herald, Status};
pub(crate) use status::{Snapshot, State};
pub(crate) use target::Target;

/// The relays of this server's streams. A stream's are there from its
/// publication until it is forgotten.
#[derive(Default)]
pub(crate) struct Relays {
    streams: Mutex<HashMap<StreamName, Stream>>,
}

/// The relays of one stream.
#[derive(Default)]
struct Stream {
    relays: Vec<Relay>,
    wishes: Wishes,
}

/// Where a stream is to go beside the operator's targets.
#[derive(Clone, Default)]
pub(crate) struct Wishes {
    /// The query of the publisher's URL: names and values as they came.
    pub(crate) query: Vec<(String, String)>,
    /// The stream's own targets.
    pub(crate) own: Vec<TargetRecord>,
    /// What an application gave its publisher.
    pub(crate) granted: Vec<TargetRecord>,
}

struct Relay {
    target: Arc<Target>,
    status: Arc<Status>,
    source: watch::Sender<Source>,
    task: JoinHandle<()>,
}

/// A relay for those who look on.
pub(crate) type Shown = (Arc<Target>, Snapshot);

/// What is published, as a relay sees it.
#[derive(Clone, Debug)]
enum Source {
    Live(Arc<Broadcast>),
    /// The publisher is lost and may return until then.
    Away(Instant),
    Over,
    /// The relay has seen that it is over, and ends: it cannot be taken up again.
    Done,
}

impl Source {
    fn over(&self, now: Instant) -> bool {
        match self {
            Self::Live(_) => false,
            Self::Away(until) => now >= *until,
            Self::Over | Self::Done => true,
        }
    }
}

/// How a publisher went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It ended its stream, or this server did.
    Ended,
    /// Its connection was lost.
    Lost,
}

/// Why there is no connection to a destination.
#[derive(Debug)]
struct Failure {
    /// In words for a person, without a key.
    why: String,
    /// Somebody has decided so: trying again soon would change nothing.
    refused: bool,
}

impl Failure {
    fn passing(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            refused: false,
        }
    }

    fn refused(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            refused: true,
        }
    }
}

impl Relays {
    /// Sends `broadcast` on to all its targets. Those of an earlier broadcast of
    /// the stream that are still held go on with this one.
    pub(crate) fn begin(&self, app: &Arc<App>, broadcast: &Arc<Broadcast>, wishes: Wishes) {
        let stream = broadcast.name();
        let targets = target::targets(&app.config.relay, stream, &wishes);
        let mut streams = self.lock();
        if !app.directory.is_latest(broadcast) {
            // Another publisher took its place before it came here, and has begun.
            return;
        }
        let mut before = streams.remove(stream).unwrap_or_default().relays;
        let mut relays = Vec::with_capacity(targets.len());
        for target in targets {
            let held = before
                .iter()
                .position(|relay| *relay.target == target && relay.take_up(broadcast));
            if let Some(place) = held {
                let relay = before.swap_remove(place);
                relays.push(relay);
                continue;
            }
            info!(%stream, target = %target.name, url = %target.shown(), rung = target.rung, "relay begins");
            relays.push(Relay::spawn(app, broadcast, target));
        }
        for relay in before {
            // Its task says goodbye by itself.
            relay.end();
        }
        streams.insert(stream.clone(), Stream { relays, wishes });
    }

    /// Sends `broadcast` on to `own` instead of the targets that its stream had of its
    /// own, if they are others; the rest goes on as it is.
    pub(crate) fn retarget(
        &self,
        app: &Arc<App>,
        broadcast: &Arc<Broadcast>,
        own: Vec<TargetRecord>,
    ) {
        let wishes = match self.lock().get(broadcast.name()) {
            Some(stream) if stream.wishes.own != own => Wishes {
                own,
                ..stream.wishes.clone()
            },
            _ => return,
        };
        self.begin(app, broadcast, wishes);
    }

    /// The publisher of `broadcast` is gone.
    pub(crate) fn leave(&self, broadcast: &Arc<Broadcast>, how: Left, hold: Duration) {
        let source = match how {
            Left::Ended => Source::Over,
            Left::Lost => Source::Away(Instant::now() + hold),
        };
        let streams = self.lock();
        for relay in streams
            .get(broadcast.name())
            .iter()
            .flat_map(|stream| &stream.relays)
        {
            // Another publisher may have taken its place already.
            relay.source.send_if_modified(|now| {
                let its = matches!(now, Source::Live(one) if Arc::ptr_eq(one, broadcast));
                if its {
                    *now = source.clone();
                }
                its
            });
        }
    }

    /// All relays as they are now, by stream and in the order of the targets.
    pub(crate) fn all(&self, now: std::time::Instant) -> Vec<(StreamName, Vec<Shown>)> {
        let shown = |relay: &Relay| (Arc::clone(&relay.target), relay.status.snapshot(now));
        let mut all: Vec<_> = self
            .lock()
            .iter()
            .map(|(name, stream)| {
                (
                    name.clone(),
                    stream.relays.iter().map(shown).collect::<Vec<_>>(),
                )
            })
            .collect();
        all.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        all
    }

    /// Forgets the relays of streams that nobody knows any more.
    pub(crate) fn sweep(&self, known: impl Fn(&StreamName) -> bool) {
        self.lock().retain(|name, stream| {
            known(name) || stream.relays.iter().any(|relay| !relay.task.is_finished())
        });
    }

    /// Ends all relays, and resolves when every destination was told or has
    /// had its time.
    pub(crate) async fn drain(&self) {
        for relay in self.lock().values().flat_map(|stream| &stream.relays) {
            relay.end();
        }
        let going = || {
            let streams = self.lock();
            let mut relays = streams.values().flat_map(|stream| &stream.relays);
            relays.any(|relay| !relay.task.is_finished())
        };
        while going() {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A panic while the lock was held cannot have left a list half made that
    /// matters: relays end with their streams.
    fn lock(&self) -> MutexGuard<'_, HashMap<StreamName, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    fn spawn(app: &Arc<App>, broadcast: &Arc<Broadcast>, target: Target) -> Self {
        let (source, receiver) = watch::channel(Source::Live(Arc::clone(broadcast)));
        let target = Arc::new(target);
        let herald = Herald {
            hooks: app.hooks.clone(),
            stream: broadcast.name().clone(),
            target: target.name.clone(),
        };
        let status = Arc::new(Status::new(app.now(), herald));
        let task = task::Task {
            app: Arc::clone(app),
            stream: broadcast.name().clone(),
            target: Arc::clone(&target),
            status: Arc::clone(&status),
            source: receiver,
            ending: source.clone(),
        };
        Self {
            target,
            status,
            source,
            task: tokio::spawn(task.run()),
        }
    }

    /// Goes on with `broadcast`, unless its task ends just now.
    fn take_up(&self, broadcast: &Arc<Broadcast>) -> bool {
        if self.task.is_finished() {
            return false;
        }
        let mut goes_on = true;
        self.source.send_if_modified(|now| {
            match now {
                Source::Done => goes_on = false,
                Source::Live(one) if Arc::ptr_eq(one, broadcast) => {}
                _ => {
                    *now = Source::Live(Arc::clone(broadcast));
                    info!(stream = %broadcast.name(), target = %self.target.name, "relay goes on with the publisher that is back");
                    return true;
                }
            }
            false
        });
        goes_on
    }

    fn end(&self) {
        self.source.send_if_modified(|now| {
            let goes_on = !matches!(now, Source::Done);
            if goes_on {
                *now = Source::Over;
            }
            goes_on
        });
    }
}
