//! Whether a publisher sends what it usually sends.
//!
//! A stream is compared with itself: with the median of its last minute. So a slide
//! show is as healthy as a football match, and what stays different becomes usual.
//! What begins needs a wide difference and what ends a narrow one, both for five
//! seconds: on the edge nothing flaps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::Bus;
use super::event::{Fact, Finding, Trouble};
use super::webhook::Task;
use crate::clock;
use crate::name::StreamName;

/// What a publisher has sent so far. Written by its connection.
#[derive(Debug)]
pub(crate) struct Sent {
    bytes: AtomicU64,
    pictures: AtomicU64,
    key_pictures: AtomicU64,
    /// Decoding times, in ticks of 90 kHz: of the newest picture and the newest key
    /// picture.
    newest: AtomicI64,
    newest_key: AtomicI64,
    /// Longest distance of key pictures since the last look, in ticks.
    longest: AtomicI64,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            pictures: AtomicU64::new(0),
            key_pictures: AtomicU64::new(0),
            newest: AtomicI64::new(NONE),
            newest_key: AtomicI64::new(NONE),
            longest: AtomicI64::new(0),
        }
    }
}

impl Sent {
    /// A unit of `bytes` came.
    pub(crate) fn unit(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A picture came, to be decoded at `ticks` of the stream's clock.
    pub(crate) fn picture(&self, ticks: i64, key: bool) {
        self.pictures.fetch_add(1, Ordering::Relaxed);
        self.newest.store(ticks, Ordering::Relaxed);
        let last = self.newest_key.load(Ordering::Relaxed);
        if key {
            self.key_pictures.fetch_add(1, Ordering::Relaxed);
            self.newest_key.store(ticks, Ordering::Relaxed);
        }
        if last != NONE {
            self.longest
                .fetch_max(ticks.saturating_sub(last), Ordering::Relaxed);
        }
    }

    fn look(&self) -> Look {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Look {
            bytes: load(&self.bytes),
            pictures: load(&self.pictures),
            key_pictures: load(&self.key_pictures),
            longest: self.longest.swap(0, Ordering::Relaxed) as f64 / 90_000.0,
        }
    }
}

/// The counts at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    bytes: u64,
    pictures: u64,
    key_pictures: u64,
    /// Longest time without a key picture since the last look, in seconds.
    longest: f64,
}

/// Judges a stream from a look a second.
#[derive(Debug, Default)]
struct Doctor {
    before: Look,
    bits: Level,
    pictures: Level,
    keys: Keys,
}

impl Doctor {
    /// What has changed with `look`, which comes `seconds` after the one before.
    fn examine(&mut self, look: Look, seconds: f64) -> Vec<Finding> {
        let before = std::mem::replace(&mut self.before, look);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let bits = self.bits.note(
            8.0 * rate(look.bytes, before.bytes),
            (STARVED, FED),
            Trouble::BitRateStarved,
        );
        let pictures = self.pictures.note(
            rate(look.pictures, before.pictures),
            (DROPPING, FLOWING),
            Trouble::FrameRateDrop,
        );
        let keys = self
            .keys
            .note(look.longest, look.key_pictures > before.key_pictures);
        [bits, pictures, keys].into_iter().flatten().collect()
    }
}

/// A rate, compared with its own past.
#[derive(Debug, Default)]
struct Level {
    /// Newest last.
    past: VecDeque<f64>,
    low: bool,
    /// Looks in a row that say otherwise.
    against: usize,
}

impl Level {
    /// `bounds` are the shares of the median where trouble begins and ends.
    fn note(&mut self, now: f64, bounds: (f64, f64), problem: Trouble) -> Option<Finding> {
        self.past.push_back(now);
        if self.past.len() > MEMORY {
            self.past.pop_front();
        }
        if self.past.len() < LEAST {
            return None;
        }
        let usual = median(&self.past);
        let late = self.past.iter().rev().take(IN_A_ROW);
        let lately = late.sum::<f64>() / IN_A_ROW as f64;
        let changed = match self.low {
            false => lately < usual * bounds.0,
            true => lately >= usual * bounds.1,
        };
        // The mean itself needs some looks to get there; it has to stay as well.
        self.against = if changed { self.against + 1 } else { 0 };
        let needed = if self.low { IN_A_ROW } else { 1 };
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.low = !self.low;
        Some(Finding {
            problem,
            present: self.low,
            measured: round(lately),
            expected: round(usual),
        })
    }
}

/// The distance of key pictures.
#[derive(Debug, Default)]
struct Keys {
    far: bool,
    /// Key pictures in a row that came in time.
    in_time: u32,
}

impl Keys {
    /// `longest` is the longest time without one since the last look, at whose end
    /// one came or not.
    fn note(&mut self, longest: f64, came: bool) -> Option<Finding> {
        let finding = |present| Finding {
            problem: Trouble::KeyFramesFarApart,
            present,
            measured: round(longest),
            expected: FARTHEST,
        };
        if longest > FARTHEST {
            self.in_time = 0;
            let news = !std::mem::replace(&mut self.far, true);
            return news.then(|| finding(true));
        }
        self.in_time += u32::from(came);
        let over = self.far && self.in_time >= TWICE;
        if over {
            self.far = false;
        }
        over.then(|| finding(false))
    }
}

fn median(values: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Tenths are enough for anybody.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Looks after a stream while it is held.
pub(crate) struct Watcher {
    _task: Task,
}

impl Bus {
    /// Watches what `sent` counts of `stream`, and tells of trouble with it.
    pub(crate) fn watch(&self, stream: &StreamName, session: u64, sent: Arc<Sent>) -> Watcher {
        let (bus, stream) = (self.clone(), stream.clone());
        let task = tokio::spawn(async move {
            let mut doctor = Doctor::default();
            let mut every = interval(Duration::from_secs(1));
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut before: Instant = clock::now();
            loop {
                every.tick().await;
                let now = clock::now();
                let seconds = now.saturating_duration_since(before).as_secs_f64();
                // The first tick comes at once.
                if seconds < 0.1 {
                    continue;
                }
                before = now;
                for finding in doctor.examine(sent.look(), seconds) {
                    bus.emit(Fact::StreamHealth {
                        stream: stream.clone(),
                        session,
                        finding,
                    });
                }
            }
        });
        Watcher { _task: Task(task) }
    }
}

/// No picture yet.
const NONE: i64 = i64::MIN;

/// Looks, one a second, that say what is usual.
const MEMORY: usize = 60;
/// Fewer say nothing yet.
const LEAST: usize = 15;
/// Looks that a trouble lasts before it is one, and health before it is over.
const IN_A_ROW: usize = 5;

/// Shares of the usual bit rate.
const STARVED: f64 = 0.5;
const FED: f64 = 0.7;

/// Shares of the usual picture rate.
const DROPPING: f64 = 0.7;
const FLOWING: f64 = 0.85;

/// Seconds between key pictures, from which on players wait too long for one and
/// services that streams are sent on to complain.
const FARTHEST: f64 = 10.0;
/// Key pictures in time, in a row, that end the trouble.
const TWICE: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of a stream: so many with so many bits and pictures each.
    fn findings(parts: &[(usize, u64, u64)]) -> Vec<(usize, Trouble, bool)> {
        let (mut doctor, mut look) = (Doctor::default(), Look::default());
        let mut found = Vec::new();
        let mut second = 0;
        for &(seconds, bits, pictures) in parts {
            for _ in 0..seconds {
                second += 1;
                look.bytes += bits / 8;
                look.pictures += pictures;
                look.key_pictures += 1;
                let news = doctor.examine(look, 1.0).into_iter();
                found.extend(news.map(|one| (second, one.problem, one.present)));
            }
        }
        found
    }

    #[test]
    fn a_stream_that_starves_is_told_once_and_once_when_it_is_over() {
        let found = findings(&[(30, 4_000_000, 30), (10, 500_000, 30), (20, 4_000_000, 30)]);
        assert_eq!(
            found,
            [
                (33, Trouble::BitRateStarved, true),
                (48, Trouble::BitRateStarved, false)
            ]
        );
    }

    #[test]
    fn a_stream_on_the_edge_does_not_flap() {
        let edge: Vec<_> = (0..60)
            .map(|second| (1, 4_000_000, if second % 2 == 0 { 19 } else { 22 }))
            .collect();
        let mut parts = vec![(60, 4_000_000, 30)];
        parts.extend(&edge[..25]);
        let found = findings(&parts);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].1, found[0].2), (Trouble::FrameRateDrop, true));
    }

    #[test]
    fn a_moment_is_no_trouble_and_what_stays_is_usual() {
        assert_eq!(
            findings(&[(30, 4_000_000, 30), (1, 0, 0), (30, 4_000_000, 30)]),
            []
        );
        let found = findings(&[(60, 4_000_000, 30), (60, 1_000_000, 30)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(!found[1].2, "{found:?}");
    }

    #[test]
    fn a_stream_that_begins_is_not_judged() {
        assert_eq!(findings(&[(3, 20_000_000, 60), (11, 2_000_000, 25)]), []);
    }

    #[test]
    fn a_stream_without_pictures_or_of_slides_is_well() {
        assert_eq!(findings(&[(120, 128_000, 0)]), []);
        assert_eq!(findings(&[(120, 300_000, 1)]), []);
    }

    #[test]
    fn key_pictures_far_apart_are_told_while_they_are_missing() {
        let (sent, mut doctor) = (Sent::default(), Doctor::default());
        let mut found = Vec::new();
        for second in 0..60 {
            // Every second up to the tenth, then none for 20 s, then every other.
            let key = second < 10 || (second >= 30 && second % 2 == 0);
            sent.picture(second * 90_000, key);
            let news = doctor.examine(sent.look(), 1.0).into_iter();
            let far = news.filter(|one| one.problem == Trouble::KeyFramesFarApart);
            found.extend(far.map(|one| (second, one.present, one.measured)));
        }
        assert_eq!(found, [(20, true, 11.0), (34, false, 2.0)]);
    }
}
