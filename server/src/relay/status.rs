//! What one target is doing, for metrics, the API and the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::hooks::{Bus, Fact};
use crate::name::StreamName;
use crate::rate::Rate;

/// What a target is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// On the way to its consent.
    Connecting,
    /// It has consented and takes what it is sent.
    Live,
    /// There is nothing to send: the publisher was lost and may return, or no key
    /// picture comes.
    Holding,
    /// Something failed that may pass; it is tried again.
    Retrying,
    /// It, or this server, has said no. Tried again now and then where the
    /// other side may change its mind.
    Refused,
    /// The stream has ended, or nobody wants the target any more.
    Stopped,
}

impl State {
    pub(crate) const ALL: [Self; 6] = [
        Self::Connecting,
        Self::Live,
        Self::Holding,
        Self::Retrying,
        Self::Refused,
        Self::Stopped,
    ];

    /// Its name in metrics and in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Holding => "holding",
            Self::Retrying => "retrying",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// What a target is doing at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    /// Tries in a row: 1 at the first. Starts anew after a minute of health.
    pub(crate) attempt: u32,
    /// Why the last connection ended or was not made, in words. Stays until
    /// the target has been live for a minute.
    pub(crate) error: Option<String>,
    /// Until the next try.
    pub(crate) next_try: Option<Duration>,
    /// How long it has been live in one go.
    pub(crate) up: Option<Duration>,
    /// Bytes that all its connections took.
    pub(crate) sent: u64,
    /// Bytes that the destination has acknowledged, on those connections where it
    /// ever did.
    pub(crate) acknowledged: u64,
    /// In bit/s, of what it took.
    pub(crate) bit_rate: f64,
    /// How far behind the publisher it is.
    pub(crate) lag: Duration,
    /// Tries after the first.
    pub(crate) retries: u64,
    /// Units that were left out because it lagged, or while it was away.
    pub(crate) missed: u64,
}

/// What a target is doing. Written by its task alone.
#[derive(Debug)]
pub(crate) struct Status {
    inner: Mutex<Inner>,
    herald: Herald,
}

/// Tells of a target's changes.
#[derive(Debug)]
pub(super) struct Herald {
    pub(super) hooks: Bus,
    pub(super) stream: StreamName,
    pub(super) target: String,
}

#[derive(Debug)]
struct Inner {
    /// The state that hooks know of.
    told: Option<State>,
    state: State,
    attempt: u32,
    error: Option<String>,
    /// The error is that there is nothing to send.
    waiting: bool,
    next_try: Option<Instant>,
    live_since: Option<Instant>,
    sent: u64,
    acknowledged: u64,
    rate: Rate,
    lag: Duration,
    retries: u64,
    missed: u64,
}

impl Status {
    pub(super) fn new(now: Instant, herald: Herald) -> Self {
        let inner = Mutex::new(Inner {
            told: None,
            state: State::Connecting,
            attempt: 0,
            error: None,
            waiting: false,
            next_try: None,
            live_since: None,
            sent: 0,
            acknowledged: 0,
            rate: Rate::new(now),
            lag: Duration::ZERO,
            retries: 0,
            missed: 0,
        });
        Self { inner, herald }
    }

    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        let mut inner = self.lock();
        let sent = inner.sent;
        let bit_rate = inner.rate.look(sent, now);
        Snapshot {
            state: inner.state,
            attempt: inner.attempt,
            error: inner.error.clone(),
            next_try: inner.next_try.map(|at| at.saturating_duration_since(now)),
            up: inner
                .live_since
                .map(|since| now.saturating_duration_since(since)),
            sent,
            acknowledged: inner.acknowledged,
            bit_rate,
            lag: inner.lag,
            retries: inner.retries,
            missed: inner.missed,
        }
    }

    /// A connection is being made, the `attempt`th in a row.
    pub(super) fn connecting(&self, attempt: u32) {
        let mut inner = self.lock();
        inner.retries += u64::from(inner.attempt > 0);
        inner.attempt = attempt;
        inner.enter(State::Connecting);
        self.tell(inner);
    }

    /// The destination has consented, or there is something to send again.
    pub(super) fn live(&self, now: Instant) {
        let mut inner = self.lock();
        if inner.state == State::Live {
            return;
        }
        if std::mem::take(&mut inner.waiting) {
            inner.error = None;
        }
        let since = inner.live_since.unwrap_or(now);
        inner.enter(State::Live);
        inner.live_since = Some(since);
        self.tell(inner);
    }

    /// There is a connection, and nothing to send.
    pub(super) fn waiting(&self, why: String) {
        let mut inner = self.lock();
        inner.enter(State::Holding);
        inner.error = Some(why);
        inner.waiting = true;
        self.tell(inner);
    }

    /// How long it has been live in one go.
    pub(super) fn live_for(&self, now: Instant) -> Duration {
        let since = self.lock().live_since;
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// It has been live for so long that what was before is history.
    pub(super) fn healthy(&self) {
        let mut inner = self.lock();
        inner.error = None;
        inner.attempt = 1;
    }

    /// There is no publisher; with a connection it keeps its time of being live.
    pub(super) fn holding(&self, connected: bool) {
        let mut inner = self.lock();
        let since = inner.live_since.filter(|_| connected);
        inner.enter(State::Holding);
        inner.live_since = since;
        self.tell(inner);
    }

    /// No connection, because of `error`; `refused` by somebody's decision.
    pub(super) fn failed(&self, error: String, refused: bool, next_try: Option<Instant>) {
        let mut inner = self.lock();
        inner.enter(match refused {
            true => State::Refused,
            false => State::Retrying,
        });
        inner.error = Some(error);
        inner.waiting = false;
        inner.next_try = next_try;
        self.tell(inner);
    }

    pub(super) fn stopped(&self) {
        let mut inner = self.lock();
        inner.enter(State::Stopped);
        self.tell(inner);
    }

    /// `count` bytes more were taken.
    pub(super) fn sent(&self, count: usize) {
        self.lock().sent += count as u64;
    }

    /// `count` bytes more were acknowledged.
    pub(super) fn acknowledged(&self, count: u64) {
        let mut inner = self.lock();
        // A destination may say anything.
        inner.acknowledged = inner.acknowledged.saturating_add(count).min(inner.sent);
    }

    pub(super) fn lag(&self, lag: Duration) {
        self.lock().lag = lag;
    }

    /// `count` units are gone for this target.
    pub(super) fn missed(&self, count: u64) {
        self.lock().missed += count;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells hooks of another state, with the lock given back.
    fn tell(&self, mut inner: MutexGuard<'_, Inner>) {
        let (state, attempt) = (inner.state, inner.attempt);
        if inner.told.replace(state) == Some(state) {
            return;
        }
        let error = inner.error.clone().filter(|_| state != State::Live);
        drop(inner);
        self.herald.hooks.emit(Fact::RelayState {
            stream: self.herald.stream.clone(),
            target: self.herald.target.clone(),
            state: state.name(),
            attempt,
            error,
        });
    }
}

impl Inner {
    fn enter(&mut self, state: State) {
        self.state = state;
        self.next_try = None;
        self.live_since = None;
        self.lag = Duration::ZERO;
    }
}
