//! The life of one target: connections one after the other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use rtmp::Url;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::session::{self, Context, Ended, HEALTHY};
use super::status::Status;
use super::{Failure, Source, Target};
use crate::app::App;
use crate::backoff::Backoff;
use crate::name::StreamName;

pub(super) struct Task {
    pub(super) app: Arc<App>,
    pub(super) stream: StreamName,
    pub(super) target: Arc<Target>,
    pub(super) status: Arc<Status>,
    pub(super) source: watch::Receiver<Source>,
    /// The other end, to say that it was heeded.
    pub(super) ending: watch::Sender<Source>,
}

impl Task {
    /// Sends the stream on until it ends.
    pub(super) async fn run(mut self) {
        let target = Arc::clone(&self.target);
        match &target.aim {
            Ok(url) => self.keep_on(url).await,
            Err(why) => {
                warn!(stream = %self.stream, target = %target.name, reason = %why, "relay refused");
                self.status.failed(why.clone(), true, None);
                while !self.ends() {
                    self.changed(Duration::MAX).await;
                }
            }
        }
        self.status.stopped();
        info!(stream = %self.stream, target = %target.name, "relay stopped");
    }

    async fn keep_on(&mut self, url: &Url) {
        let mut backoff = Backoff::default();
        let mut served: Option<u64> = None;
        let mut attempt = 0;
        let mut heeds_acks = true;
        let mut last_live: Option<Instant> = None;
        loop {
            while !matches!(*self.source.borrow_and_update(), Source::Live(_)) {
                if self.ends() {
                    return;
                }
                self.status.holding(false);
                self.changed(LOOK).await;
            }
            attempt += 1;
            self.status.connecting(attempt);
            let trying =
                AssertUnwindSafe(self.once(url, &mut served, &mut heeds_acks)).catch_unwind();
            let ended = trying.await.unwrap_or_else(|_| {
                self.app.metrics.panics.relay.fetch_add(1, Ordering::Relaxed);
                error!(stream = %self.stream, target = %self.target.name, "a relay panicked; it is begun anew");
                Ended {
                    failure: Some(Failure::passing("a fault of this server's own")),
                    live: Duration::ZERO,
                }
            });
            if ended.live > Duration::ZERO {
                last_live = Some(Instant::now());
            }
            if ended.live >= HEALTHY {
                backoff.reset();
                attempt = 0;
                heeds_acks = true;
            }
            let Some(failure) = ended.failure else {
                // It may have come back while the destination was told.
                if self.ends() {
                    return;
                }
                continue;
            };
            // Who has just lost a session often finds its stream taken, by itself.
            let after_all = last_live.is_some_and(|live| live.elapsed() < SESSION_LOST);
            let refused = failure.refused && !after_all;
            let wait = match refused {
                true => {
                    // The next fault that passes is the first of its row.
                    backoff.reset();
                    Backoff::longest()
                }
                false => backoff.next(),
            };
            warn!(
                stream = %self.stream, target = %self.target.name, url = %url, refused,
                reason = %failure.why, again_in_ms = wait.as_millis() as u64, "relay failed"
            );
            let next_try = Instant::now() + wait;
            self.status
                .failed(failure.why, refused, Some(next_try.into_std()));
            while Instant::now() < next_try {
                if self.ends() {
                    return;
                }
                self.changed(next_try.saturating_duration_since(Instant::now()))
                    .await;
            }
        }
    }

    /// One connection, from the name server to the goodbye.
    async fn once(&mut self, url: &Url, served: &mut Option<u64>, heeds_acks: &mut bool) -> Ended {
        let app = Arc::clone(&self.app);
        let connecting = super::connect::connect(url, app.config.relay.allow_private, &app.tls);
        let mut source = self.source.clone();
        let socket = tokio::select! {
            connected = connecting => connected,
            () = over(&mut source) => {
                return Ended { failure: None, live: Duration::ZERO };
            }
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(failure) => {
                return Ended {
                    failure: Some(failure),
                    live: Duration::ZERO,
                };
            }
        };
        info!(stream = %self.stream, target = %self.target.name, url = %url, "relay connected");
        let context = Context {
            target: &self.target,
            status: &self.status,
            source: &mut self.source,
            served,
            heeds_acks,
        };
        session::run(context, url.clone(), socket).await
    }

    /// Whether the stream is over. What is said of it after that comes too late:
    /// a publisher that is back is sent on by another task.
    fn ends(&self) -> bool {
        self.ending.send_if_modified(|now| {
            let over = now.over(Instant::now());
            if over {
                *now = Source::Done;
            }
            over
        })
    }

    /// Resolves when there is news of the publisher, or after `most`.
    async fn changed(&mut self, most: Duration) {
        let most = most.min(LOOK);
        tokio::select! {
            // The other end is held here as well.
            _ = self.source.changed() => {}
            () = sleep(most) => {}
        }
    }
}

/// Resolves when the stream has ended.
async fn over(source: &mut watch::Receiver<Source>) {
    loop {
        let until = match &*source.borrow_and_update() {
            Source::Live(_) => None,
            Source::Away(until) => Some(*until),
            Source::Over | Source::Done => return,
        };
        let passed = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = passed => return,
            changed = source.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

/// How long a destination may take a stream for live whose connection is lost.
const SESSION_LOST: Duration = Duration::from_secs(120);

/// Between two looks at the clock while a publisher is away.
const LOOK: Duration = Duration::from_millis(500);
