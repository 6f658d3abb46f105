//! A ring of a publisher's recent units, read by any number of readers, each
//! with a cursor of its own.
//!
//! The writer never waits: when the ring is full its oldest group of units
//! leaves. A reader whose cursor fell behind is told how much it missed and goes
//! on at the newest unit where decoding can start. That drop policy lives here
//! and nowhere else, for ladders, players and relays alike.
//!
//! Nothing here knows what a unit is: the writer says how many bytes one weighs
//! and whether a reader may start at it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, Listener as _};

/// What a ring may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all units together, as weighed by the writer.
    pub max_bytes: usize,
    /// Units. Bounds what tiny units cost beside their bytes.
    pub max_units: usize,
    /// How far back the units have to reach, in the writer's own measure of
    /// time: groups that are older than that leave early. The newest group
    /// stays, however long it is.
    pub min_span: u64,
}

impl Default for Limits {
    /// 12 MiB, ten seconds of 10 Mbit/s: a reader further behind than that is
    /// better served by the present. 16,384 units are two minutes of the busiest
    /// audio and video seen. Nothing leaves for its age.
    fn default() -> Self {
        Self {
            max_bytes: 12 << 20,
            max_units: 16_384,
            min_span: u64::MAX,
        }
    }
}

/// The writing end. Dropping it closes the ring: readers get what is left, then
/// [`Next::Closed`].
#[derive(Debug)]
pub struct Writer<T> {
    shared: Arc<Shared<T>>,
}

/// A handle that opens readers, for those who do not write.
#[derive(Debug)]
pub struct Ring<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Ring<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Where a new reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With all that the ring still holds.
    Oldest,
    /// At the newest unit where decoding can start, or the next one to come.
    NewestEntry,
}

/// What a reader got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The next unit.
    Unit(T),
    /// The reader was overtaken: so many units are gone for it. The next read
    /// gives a unit where decoding can start.
    Lagged(u64),
    /// The writer is gone and everything was read.
    Closed,
}

/// One cursor into a ring.
#[derive(Debug)]
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    next: u64,
    /// Set after a lag and at a start: skip to an entry before reading on.
    seek_entry: bool,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Event,
}

#[derive(Debug)]
struct State<T> {
    limits: Limits,
    units: VecDeque<Slot<T>>,
    /// Index of the first slot, counted from the ring's beginning.
    first: u64,
    bytes: usize,
    /// Those where a reader may start, counted likewise: nobody searches for one
    /// in a group that has no end.
    entries: VecDeque<u64>,
    closed: bool,
}

#[derive(Debug)]
struct Slot<T> {
    unit: T,
    bytes: usize,
    at: u64,
    entry: bool,
}

/// An empty ring.
pub fn ring<T: Clone>(limits: Limits) -> (Writer<T>, Ring<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            limits,
            units: VecDeque::new(),
            first: 0,
            bytes: 0,
            entries: VecDeque::new(),
            closed: false,
        }),
        changed: Event::new(),
    });
    (
        Writer {
            shared: Arc::clone(&shared),
        },
        Ring { shared },
    )
}

impl<T: Clone> Writer<T> {
    /// Adds a unit as [`Self::add`] does, and wakes the readers.
    pub fn push(&self, unit: T, bytes: usize, at: u64, entry: bool) {
        self.add(unit, bytes, at, entry);
        self.wake();
    }

    /// Adds a unit of the time `at` that weighs `bytes`; `entry` says that a
    /// reader may start at it. Never waits; drops the oldest groups while the ring
    /// is over a limit.
    ///
    /// Readers that wait go on waiting until [`Self::wake`]: who has several units
    /// at a time adds them all first, for a reader costs what its turns cost.
    pub fn add(&self, unit: T, bytes: usize, at: u64, entry: bool) {
        let slot = Slot {
            unit,
            bytes,
            at,
            entry,
        };
        let mut state = self.shared.lock();
        state.bytes += bytes;
        if entry {
            let index = state.end();
            state.entries.push_back(index);
        }
        state.units.push_back(slot);
        let gone = state.shrink(at);
        drop(state);
        // Freeing what nobody reads any more is not the readers' business.
        drop(gone);
    }

    /// Wakes the readers that wait.
    pub fn wake(&self) {
        self.shared.changed.notify(usize::MAX);
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify(usize::MAX);
    }
}

impl<T: Clone> Ring<T> {
    /// A new cursor.
    pub fn reader(&self, start: Start) -> Reader<T> {
        let state = self.shared.lock();
        let (next, seek_entry) = match start {
            Start::Oldest => (state.first, false),
            Start::NewestEntry => (state.newest_entry().unwrap_or_else(|| state.end()), true),
        };
        drop(state);
        Reader {
            shared: Arc::clone(&self.shared),
            next,
            seek_entry,
        }
    }
}

impl<T: Clone> Reader<T> {
    /// The next unit if there is one now.
    pub fn try_next(&mut self) -> Option<Next<T>> {
        let state = self.shared.lock();
        if self.next < state.first {
            let resume = state.newest_entry().unwrap_or_else(|| state.end());
            let missed = resume - self.next;
            self.next = resume;
            self.seek_entry = true;
            return Some(Next::Lagged(missed));
        }
        loop {
            let Some(slot) = state.units.get((self.next - state.first) as usize) else {
                return state.closed.then_some(Next::Closed);
            };
            self.next += 1;
            if self.seek_entry && !slot.entry {
                continue;
            }
            self.seek_entry = false;
            return Some(Next::Unit(slot.unit.clone()));
        }
    }

    /// The next unit; blocks the thread until there is one. For threads that
    /// belong to no async runtime.
    pub fn next_blocking(&mut self) -> Next<T> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            let listener = self.shared.changed.listen();
            // Something may have come between the look and the listening.
            if let Some(next) = self.try_next() {
                return next;
            }
            listener.wait();
        }
    }

    /// The next unit. Cancel safe.
    pub async fn next(&mut self) -> Next<T> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            let listener = self.shared.changed.listen();
            if let Some(next) = self.try_next() {
                return next;
            }
            listener.await;
        }
    }

    /// Units that wait to be read.
    pub fn backlog(&self) -> u64 {
        self.shared.lock().end().saturating_sub(self.next)
    }

    /// Time from the next unit to read to the newest one, in the writer's own
    /// measure; 0 when there is none to read.
    pub fn behind(&self) -> u64 {
        let state = self.shared.lock();
        let place = self.next.saturating_sub(state.first) as usize;
        match (state.units.get(place), state.units.back()) {
            (Some(next), Some(newest)) => newest.at.saturating_sub(next.at),
            _ => 0,
        }
    }

    /// Goes on at the newest unit where decoding can start, if that is still to
    /// be read. Gives how many units are left out.
    pub fn skip(&mut self) -> u64 {
        let state = self.shared.lock();
        let Some(entry) = state.newest_entry().filter(|entry| *entry > self.next) else {
            return 0;
        };
        let missed = entry - self.next;
        self.next = entry;
        missed
    }
}

impl<T> Shared<T> {
    /// A panic while the lock was held cannot have left the state half made:
    /// every section is a few infallible steps.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn end(&self) -> u64 {
        self.first + self.units.len() as u64
    }

    fn newest_entry(&self) -> Option<u64> {
        self.entries.back().copied()
    }

    fn over(&self) -> bool {
        self.bytes > self.limits.max_bytes || self.units.len() > self.limits.max_units
    }

    /// Drops the oldest group, up to the next entry, while a limit is exceeded or
    /// the groups after it reach back far enough at the time `now`. A single group
    /// larger than the ring loses its head unit by unit. Gives what was dropped.
    fn shrink(&mut self, now: u64) -> Vec<T> {
        let old_enough = now.checked_sub(self.limits.min_span);
        let mut gone = Vec::new();
        loop {
            let next_entry = self.next_entry();
            let outlived = next_entry.is_some_and(|at| Some(self.units[at].at) <= old_enough);
            if !self.over() && !outlived {
                return gone;
            }
            for _ in 0..next_entry.unwrap_or(1) {
                let Some(slot) = self.units.pop_front() else {
                    return gone;
                };
                self.bytes -= slot.bytes;
                if slot.entry {
                    self.entries.pop_front();
                }
                self.first += 1;
                gone.push(slot.unit);
            }
        }
    }

    /// Place of the first entry after the oldest slot.
    fn next_entry(&self) -> Option<usize> {
        let after = self.entries.iter().find(|index| **index > self.first)?;
        Some((after - self.first) as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    fn small() -> Limits {
        Limits {
            max_bytes: 10,
            max_units: 100,
            ..Limits::default()
        }
    }

    /// Drains a reader: `k7` is unit 7, an entry; `lag3` a lag of three.
    fn drain(reader: &mut Reader<u32>) -> String {
        let mut seen = Vec::new();
        while let Some(next) = reader.try_next() {
            match next {
                Next::Unit(unit) => seen.push(unit.to_string()),
                Next::Lagged(missed) => seen.push(format!("lag{missed}")),
                Next::Closed => {
                    seen.push("closed".to_owned());
                    break;
                }
            }
        }
        seen.join(" ")
    }

    #[test]
    fn a_lagging_reader_resumes_at_the_newest_entry() {
        let (writer, ring) = ring(small());
        let mut reader = ring.reader(Start::Oldest);
        for unit in 0..14 {
            writer.push(unit, 1, 0, unit % 4 == 0);
        }
        assert_eq!(drain(&mut reader), "lag12 12 13");
    }

    #[test]
    fn a_group_larger_than_the_ring_keeps_the_bound_and_waits_for_the_next_entry() {
        let (writer, ring) = ring(small());
        let mut reader = ring.reader(Start::Oldest);
        for unit in 0..50 {
            writer.push(unit, 1, 0, unit == 0);
        }
        assert!(ring.shared.lock().units.len() <= 10);
        assert_eq!(drain(&mut reader), "lag50");
        writer.push(50, 1, 0, false);
        writer.push(51, 1, 0, true);
        // The entry pushes the whole headless group out, unit 50 with it.
        assert_eq!(drain(&mut reader), "lag1 51");
    }

    #[test]
    fn a_unit_larger_than_the_ring_leaves_it_empty() {
        let (writer, ring) = ring(small());
        let mut reader = ring.reader(Start::Oldest);
        writer.push(0, 11, 0, true);
        assert_eq!(drain(&mut reader), "lag1");
        assert_eq!(ring.shared.lock().bytes, 0);
    }

    #[test]
    fn groups_leave_when_those_after_them_reach_back_far_enough() {
        let (writer, ring) = ring(Limits {
            min_span: 6,
            ..Limits::default()
        });
        let mut reader = ring.reader(Start::Oldest);
        for unit in 0..14 {
            writer.push(unit, 1, u64::from(unit), unit % 4 == 0);
        }
        // 4 to 13 span 9, 8 to 13 would span 5.
        assert_eq!(drain(&mut reader), "lag12 12 13");
        assert_eq!(
            drain(&mut ring.reader(Start::Oldest)),
            "4 5 6 7 8 9 10 11 12 13"
        );
        // Nothing else can be entered: it stays, however old it gets.
        for unit in 14..40 {
            writer.push(unit, 1, u64::from(unit), false);
        }
        assert_eq!(ring.shared.lock().first, 12);
    }

    #[test]
    fn a_new_player_starts_at_an_entry() {
        let (writer, ring) = ring(small());
        for unit in 0..6 {
            writer.push(unit, 1, 0, unit % 4 == 0);
        }
        assert_eq!(drain(&mut ring.reader(Start::NewestEntry)), "4 5");
        drop(writer);
        assert_eq!(drain(&mut ring.reader(Start::NewestEntry)), "4 5 closed");
    }

    #[test]
    fn a_reader_that_skips_goes_forward_to_an_entry_or_stays() {
        let (writer, ring) = ring(Limits::default());
        let mut reader = ring.reader(Start::Oldest);
        assert_eq!((reader.behind(), reader.skip()), (0, 0));
        for unit in 0..7 {
            writer.push(unit, 1, 10 * u64::from(unit), unit % 4 == 0);
        }
        assert_eq!(reader.try_next(), Some(Next::Unit(0)));
        assert_eq!((reader.behind(), reader.skip()), (50, 3));
        assert_eq!((reader.behind(), reader.skip()), (20, 0));
        assert_eq!(drain(&mut reader), "4 5 6");
        assert_eq!((reader.behind(), reader.skip()), (0, 0));
    }

    #[test]
    fn readers_are_woken_once_for_all_that_was_added() {
        #[derive(Default)]
        struct Woken(AtomicUsize);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (writer, ring) = ring(small());
        let mut reader = ring.reader(Start::Oldest);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut next = Box::pin(reader.next());
        assert!(next.as_mut().poll(&mut context).is_pending());
        writer.add(0, 1, 0, true);
        writer.add(1, 1, 0, false);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        writer.wake();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(next.as_mut().poll(&mut context), Poll::Ready(Next::Unit(0)));
        drop(next);
        assert_eq!(drain(&mut reader), "1");
    }

    #[test]
    fn a_blocked_reader_is_woken_by_the_end() {
        let (writer, ring) = ring::<u32>(small());
        let mut reader = ring.reader(Start::Oldest);
        let waiting = std::thread::spawn(move || reader.next_blocking());
        drop(writer);
        assert_eq!(waiting.join().unwrap(), Next::Closed);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_pushed_the_bounds_hold_and_order_is_kept(
            pushes in proptest::collection::vec((0_usize..6, proptest::bool::ANY, proptest::bool::ANY), 0..200),
            min_span in proptest::sample::select(vec![0, 3, u64::MAX]),
        ) {
            let limits = Limits { max_bytes: 20, max_units: 9, min_span };
            let (writer, ring) = ring(limits);
            let mut reader = ring.reader(Start::Oldest);
            let mut last = None;
            let mut lagged = false;
            for (index, (bytes, entry, read)) in pushes.iter().copied().enumerate() {
                writer.push((index, entry), bytes, index as u64, entry);
                let state = ring.shared.lock();
                proptest::prop_assert!(!state.over());
                proptest::prop_assert_eq!(state.bytes, state.units.iter().map(|slot| slot.bytes).sum::<usize>());
                let entries: Vec<_> = (state.first..).zip(&state.units).filter(|(_, slot)| slot.entry).map(|(at, _)| at).collect();
                proptest::prop_assert_eq!(&state.entries, &entries);
                drop(state);
                if !read {
                    continue;
                }
                match reader.try_next() {
                    Some(Next::Unit((at, entry))) => {
                        proptest::prop_assert!(last.is_none_or(|last| at > last));
                        proptest::prop_assert!(!lagged || entry, "first unit after a lag starts decoding");
                        lagged = false;
                        last = Some(at);
                    }
                    Some(Next::Lagged(missed)) => {
                        proptest::prop_assert!(missed > 0);
                        lagged = true;
                    }
                    Some(Next::Closed) => proptest::prop_assert!(false),
                    None => {}
                }
            }
        }
    }
}
