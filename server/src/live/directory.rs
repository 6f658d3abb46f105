//! Who publishes which name, and which broadcast answers for a name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use packager::Segment;

use super::broadcast::{Broadcast, Dismissal, Playout};
use crate::config::Takeover;
use crate::name::StreamName;

/// All broadcasts of this server, live and recently ended.
#[derive(Debug)]
pub struct Directory {
    playout: Playout,
    retain: Duration,
    takeover: Takeover,
    entries: RwLock<HashMap<StreamName, Entry>>,
}

#[derive(Debug)]
struct Entry {
    current: Arc<Broadcast>,
    /// Answers for the name until `current` has something to show.
    previous: Option<Arc<Broadcast>>,
}

/// The right to publish a name. Dropping it gives the name back.
#[derive(Debug)]
pub struct Claim {
    broadcast: Arc<Broadcast>,
}

/// Why a name cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody else publishes it.
    #[error("this stream is already live")]
    Live,
}

impl Directory {
    /// An empty directory.
    pub fn new(playout: Playout, retain: Duration, takeover: Takeover) -> Self {
        Self {
            playout,
            retain,
            takeover,
            entries: RwLock::default(),
        }
    }

    /// Claims `name` for a new broadcast that starts at `unix_ms`.
    pub fn claim(&self, name: &StreamName, unix_ms: u64, now: Instant) -> Result<Claim, Refused> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let old = entries.get(name).map(|entry| Arc::clone(&entry.current));
        if let Some(old) = old.as_ref().filter(|old| old.publisher.present()) {
            let stale = old.silent_for(now) >= STALE_AFTER;
            let displace = match self.takeover {
                Takeover::Always => true,
                Takeover::Stale => stale,
                Takeover::Never => false,
            };
            if !displace {
                return Err(Refused::Live);
            }
            old.publisher.dismiss(Dismissal::Displaced);
        }
        // Names of segments are never reused, even if the wall clock was set back.
        let first = old.as_ref().map_or(0, |old| old.next_number() + OVERLAP);
        let broadcast = Arc::new(Broadcast::new(
            name.clone(),
            unix_ms.max(first),
            self.playout,
            now,
        ));
        let previous = old.and_then(|old| {
            if old.playable() {
                Some(old)
            } else {
                entries.get(name).and_then(|entry| entry.previous.clone())
            }
        });
        let entry = Entry {
            current: Arc::clone(&broadcast),
            previous,
        };
        entries.insert(name.clone(), entry);
        Ok(Claim { broadcast })
    }

    /// The broadcast that viewers of `name` get now.
    pub fn find(&self, name: &StreamName) -> Option<Arc<Broadcast>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(name)?;
        if entry.current.playable() {
            return Some(Arc::clone(&entry.current));
        }
        entry.previous.clone()
    }

    /// The broadcast of `name` that has a publisher.
    pub(crate) fn on_air(&self, name: &StreamName) -> Option<Arc<Broadcast>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let current = &entries.get(name)?.current;
        current.publisher.present().then(|| Arc::clone(current))
    }

    /// Whether `broadcast` is the latest that its name was claimed for.
    pub(crate) fn is_latest(&self, broadcast: &Arc<Broadcast>) -> bool {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(broadcast.name());
        entry.is_some_and(|entry| Arc::ptr_eq(&entry.current, broadcast))
    }

    /// Whether a broadcast answers for `name`.
    pub(crate) fn knows(&self, name: &StreamName) -> bool {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.contains_key(name)
    }

    /// A segment of `name`, of the present broadcast or the one before.
    pub fn segment(&self, name: &StreamName, rung: &str, number: u64) -> Option<Arc<Segment>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(name)?;
        let previous = || entry.previous.as_ref()?.segment(rung, number);
        entry.current.segment(rung, number).or_else(previous)
    }

    /// The broadcasts with a publisher, by name.
    pub fn live(&self) -> Vec<Arc<Broadcast>> {
        self.collect(|broadcast| broadcast.publisher.present())
    }

    /// The broadcasts whose playlists are still open, by name: longer than
    /// [`Directory::live`] by the time the ladder takes to finish.
    pub fn open(&self) -> Vec<Arc<Broadcast>> {
        self.collect(|broadcast| broadcast.ended().is_none())
    }

    /// Every broadcast that answers for a name, by name.
    pub fn all(&self) -> Vec<Arc<Broadcast>> {
        self.collect(|_| true)
    }

    /// Forgets what ended longer than the retention time ago. Gives back the
    /// names that are gone.
    pub fn sweep(&self, now: Instant) -> Vec<StreamName> {
        let expired = |broadcast: &Broadcast| {
            broadcast
                .ended()
                .is_some_and(|ended| now.saturating_duration_since(ended) >= self.retain)
        };
        let mut gone = Vec::new();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|name, entry| {
            if entry.previous.as_deref().is_some_and(expired) {
                entry.previous = None;
            }
            if !expired(&entry.current) || entry.current.publisher.present() {
                return true;
            }
            gone.push(name.clone());
            false
        });
        gone
    }

    fn collect(&self, wanted: impl Fn(&Broadcast) -> bool) -> Vec<Arc<Broadcast>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = entries
            .values()
            .map(|entry| &entry.current)
            .filter(|one| wanted(one))
            .map(Arc::clone)
            .collect();
        found.sort_by(|a, b| a.name().as_str().cmp(b.name().as_str()));
        found
    }
}

impl Claim {
    /// The broadcast that this claim is for.
    pub fn broadcast(&self) -> &Arc<Broadcast> {
        &self.broadcast
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.broadcast.publisher.leave();
    }
}

/// A publisher without a byte for so long may be displaced: OBS sends audio
/// every 23 ms, and two seconds of nothing are two seconds of nothing for
/// viewers too.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// Numbers left free between two broadcasts of a name, for the segments that
/// the first one's ladder may still be finishing: more than a ring holds.
const OVERLAP: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use media::Ticks;

    fn directory(takeover: Takeover) -> (Directory, StreamName, Instant) {
        let playout = Playout {
            segment: Ticks::SECOND,
            window: 6,
        };
        let directory = Directory::new(playout, Duration::from_secs(120), takeover);
        #[expect(clippy::disallowed_methods, reason = "an arbitrary start")]
        let now = Instant::now();
        (directory, "demo".parse().unwrap(), now)
    }

    #[test]
    fn a_healthy_publisher_keeps_its_name_and_a_silent_one_loses_it() {
        let (directory, name, now) = directory(Takeover::Stale);
        let first = directory.claim(&name, 1000, now).unwrap();
        first.broadcast().received(10, now + Duration::from_secs(5));
        let healthy = now + Duration::from_millis(6900);
        assert_eq!(
            directory.claim(&name, 7000, healthy).unwrap_err(),
            Refused::Live
        );
        assert!(
            directory
                .claim(&name, 8000, now + Duration::from_secs(7))
                .is_ok()
        );
    }

    #[test]
    fn policy_decides_over_a_healthy_publisher() {
        for (policy, taken) in [(Takeover::Always, true), (Takeover::Never, false)] {
            let (directory, name, now) = directory(policy);
            let _first = directory.claim(&name, 1000, now).unwrap();
            let later = now + Duration::from_secs(60);
            assert_eq!(
                directory.claim(&name, 2000, later).is_ok(),
                taken,
                "{policy:?}"
            );
        }
    }

    #[test]
    fn segment_numbers_grow_even_if_the_clock_is_set_back() {
        let (directory, name, now) = directory(Takeover::Stale);
        drop(directory.claim(&name, 5000, now).unwrap());
        let second = directory.claim(&name, 10, now).unwrap();
        assert!(second.broadcast().session() > 5000);
    }

    #[test]
    fn an_ended_broadcast_is_forgotten_after_its_retention_and_not_before() {
        let (directory, name, now) = directory(Takeover::Stale);
        let claim = directory.claim(&name, 1000, now).unwrap();
        claim.broadcast().end(now);
        drop(claim);
        assert!(directory.sweep(now + Duration::from_secs(119)).is_empty());
        assert_eq!(directory.sweep(now + Duration::from_secs(120)), [name]);
        assert!(directory.all().is_empty());
    }
}
