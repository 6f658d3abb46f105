//! The application at the other end of an HTTP POST.
//!
//! A question is one attempt on a connection of its own: whatever is not an answer
//! is what `auth.on_timeout` says. Events wait in a bounded queue and are posted by
//! one task; who puts them there waits for nothing.

mod address;
mod answer;
mod post;
mod queue;
mod sign;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

pub use address::{Address, InvalidAddress};

use self::answer::Question;
pub(super) use self::post::Task;
use self::post::{Letter, Poster};
use self::queue::{Lost, Next, Outcome, Queue};
use self::sign::Signer;
use super::event::{Client, Event, Kind};
use super::verdict::{Denied, Grant, Publication, Viewing};
use crate::clock;
use crate::config::{self, OnTimeout};
use crate::tls::Connector;

/// Asks and tells an application. See the module.
pub(super) struct Webhook {
    shared: Arc<Shared>,
    /// Questions that may be out at the same time.
    places: Semaphore,
    timeout: Duration,
    on_timeout: OnTimeout,
    events: Vec<Kind>,
    _teller: Task,
}

struct Shared {
    poster: Poster,
    queue: Mutex<Queue>,
    news: Notify,
    counts: Counts,
    said: Mutex<Said>,
}

/// What a webhook has done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Questions that were answered with yes.
    pub(crate) allowed: AtomicU64,
    /// Questions that were answered with no.
    pub(crate) denied: AtomicU64,
    /// Questions without an answer.
    pub(crate) unanswered: AtomicU64,
    /// Events that the application has taken.
    pub(crate) told: AtomicU64,
    /// Events that it will not hear of.
    pub(crate) lost: AtomicU64,
    /// Events in whose place a newer one was told.
    pub(crate) coalesced: AtomicU64,
}

/// When something was logged last, and what was not since.
#[derive(Default)]
struct Said {
    lost: Seldom,
    unanswered: Seldom,
    failing: bool,
}

#[derive(Default)]
struct Seldom {
    last: Option<Instant>,
    unsaid: u64,
}

impl Webhook {
    /// Call it in a runtime.
    pub(super) fn new(config: &config::Webhook, tls: Connector) -> Self {
        let signer = Signer::new(config.secret.reveal());
        let shared = Arc::new(Shared {
            poster: Poster::new(config.url.clone(), signer, tls),
            queue: Mutex::new(Queue::new(MOST_WAITING)),
            news: Notify::new(),
            counts: Counts::default(),
            said: Mutex::default(),
        });
        let teller = tokio::spawn(tell(Arc::clone(&shared)));
        Self {
            shared,
            places: Semaphore::new(MOST_QUESTIONS),
            timeout: config.timeout,
            on_timeout: config.on_timeout,
            events: config.events.clone(),
            _teller: Task(teller),
        }
    }

    /// Whether it is asked or told this.
    pub(super) fn wants(&self, kind: Kind) -> bool {
        self.events.contains(&kind)
    }

    pub(super) async fn pre_connect(&self, id: u64, client: &Client) -> Result<(), Denied> {
        if !self.wants(Kind::PreConnect) {
            return Ok(());
        }
        let question = question(Kind::PreConnect, id, client);
        self.ask(&question).await.map(|_| ())
    }

    pub(super) async fn pre_publish(
        &self,
        id: u64,
        client: &Client,
        publication: &Publication,
    ) -> Result<Grant, Denied> {
        if !self.wants(Kind::PrePublish) {
            return Ok(Grant::default());
        }
        let question = Question {
            stream: publication.stream.as_ref(),
            key: publication.key.as_ref().map(|key| key.reveal()),
            ..question(Kind::PrePublish, id, client)
        };
        self.ask(&question).await
    }

    pub(super) async fn pre_play(
        &self,
        id: u64,
        client: &Client,
        viewing: &Viewing,
    ) -> Result<(), Denied> {
        if !self.wants(Kind::PrePlay) {
            return Ok(());
        }
        let question = Question {
            stream: Some(&viewing.stream),
            query: Some(answer::query(&viewing.query)),
            ..question(Kind::PrePlay, id, client)
        };
        self.ask(&question).await.map(|_| ())
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Grant, Denied> {
        let letter = Letter {
            kind: question.r#type,
            body: question.body(),
        };
        let asked = async {
            // Never closed.
            let _place = self.places.acquire().await;
            let reply = self.shared.poster.post(&letter).await;
            let reply = reply.map_err(|error| error.to_string())?;
            answer::read(&reply, question.key).map_err(|error| error.to_string())
        };
        let answered = match timeout(self.timeout, asked).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        };
        let counts = &self.shared.counts;
        match answered {
            Ok(Ok(grant)) => {
                counts.allowed.fetch_add(1, Ordering::Relaxed);
                Ok(grant)
            }
            Ok(Err(denied)) => {
                counts.denied.fetch_add(1, Ordering::Relaxed);
                Err(denied)
            }
            Err(why) => {
                counts.unanswered.fetch_add(1, Ordering::Relaxed);
                let names_stream = question.key.is_some();
                let allowed = self.on_timeout == OnTimeout::Allow && !names_stream;
                if let Some(others) = self.shared.said().unanswered.say(Instant::now()) {
                    warn!(question = question.r#type, reason = %why, allowed, others, "the webhook gives no answer");
                }
                match allowed {
                    true => Ok(Grant::default()),
                    false => Err(Denied::new(
                        "the application that decides gives no answer; try again later",
                    )),
                }
            }
        }
    }

    /// Tells `event` when it comes to it. Waits for nothing.
    pub(super) fn tell(&self, event: &Arc<Event>) {
        let kind = event.fact.kind();
        // Who was asked knows.
        if kind.asks() || !self.wants(kind) {
            return;
        }
        let lost = self.shared.queue().push(Arc::clone(event), Instant::now());
        self.shared.note(lost);
        self.shared.news.notify_one();
    }

    /// Resolves when everything is told, or cannot be now, or takes too long.
    pub(super) async fn drain(&self) {
        let told = async {
            loop {
                let waiting = {
                    let queue = self.shared.queue();
                    queue.len() > 0 && !queue.is_away()
                };
                if !waiting {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(LONGEST_DRAIN, told).await.is_err() {
            let events = self.waiting();
            warn!(
                events,
                "the webhook is too slow: it does not hear the last events"
            );
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Events that are to be told.
    pub(super) fn waiting(&self) -> usize {
        self.shared.queue().len()
    }
}

fn question(kind: Kind, id: u64, client: &Client) -> Question<'_> {
    Question {
        r#type: kind.name(),
        id,
        time: clock::unix_ms(),
        client,
        stream: None,
        key: None,
        query: None,
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, lost: Lost) {
        let gone = lost.crowded_out + lost.given_up;
        self.counts
            .coalesced
            .fetch_add(lost.coalesced, Ordering::Relaxed);
        if gone == 0 {
            return;
        }
        self.counts.lost.fetch_add(gone, Ordering::Relaxed);
        if let Some(others) = self.said().lost.say(Instant::now()) {
            warn!(
                crowded_out = lost.crowded_out,
                given_up = lost.given_up,
                others,
                "events are LOST to the webhook"
            );
        }
    }

    /// Posts an event once.
    async fn post(&self, event: Arc<Event>) -> (u64, Outcome) {
        let letter = Letter {
            kind: event.fact.kind().name(),
            // Plain data with text for keys always has JSON.
            body: Bytes::from(serde_json::to_vec(&*event).unwrap_or_default()),
        };
        let (outcome, why) = match timeout(LONGEST_POST, self.poster.post_again(&letter)).await {
            Ok(Ok(reply)) if reply.status.is_success() => (Outcome::Arrived, None),
            Ok(Ok(reply)) => (
                Outcome::Refused,
                Some(format!("it answers {}", reply.status)),
            ),
            Ok(Err(error)) => (Outcome::Unreachable, Some(error.to_string())),
            Err(_) => (
                Outcome::Unreachable,
                Some(format!("no answer within {LONGEST_POST:?}")),
            ),
        };
        let failing = why.is_some();
        // One line when it begins and one when it is over.
        if std::mem::replace(&mut self.said().failing, failing) != failing {
            match why {
                Some(reason) => {
                    warn!(event = letter.kind, %reason, "the webhook does not take events; they are told again");
                }
                None => info!("the webhook takes events again"),
            }
        }
        (event.id, outcome)
    }
}

/// Tells what is in the queue, as long as there is one.
async fn tell(shared: Arc<Shared>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        let mut wait = None;
        while under_way.len() < AT_ONCE {
            let (next, lost) = shared.queue().next(Instant::now());
            shared.note(lost);
            match next {
                Next::Send(event) => under_way.push(shared.post(event)),
                Next::Wait(at) => {
                    wait = Some(at);
                    break;
                }
                Next::Nothing => break,
            }
        }
        tokio::select! {
            Some((id, outcome)) = under_way.next(), if !under_way.is_empty() => {
                if outcome == Outcome::Arrived {
                    shared.counts.told.fetch_add(1, Ordering::Relaxed);
                }
                let lost = shared.queue().done(id, outcome, Instant::now());
                shared.note(lost);
            }
            () = shared.news.notified() => {}
            () = sleep_until(wait.unwrap_or_else(Instant::now)), if wait.is_some() => {}
        }
    }
}

impl Seldom {
    /// How many were not said since the last time; `None`: this one is not said
    /// either.
    fn say(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + BETWEEN_LINES) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Questions out at the same time; others wait for their turn within their time.
const MOST_QUESTIONS: usize = 64;
/// Events that wait: under a megabyte.
const MOST_WAITING: usize = 1024;
/// Events under way at the same time.
const AT_ONCE: usize = 8;
/// Time to take an event.
const LONGEST_POST: Duration = Duration::from_secs(10);
/// Time for the last events when the server ends.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);
/// Between two lines of a kind: a receiver that is down must not fill the log.
const BETWEEN_LINES: Duration = Duration::from_secs(60);
