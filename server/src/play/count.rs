//! What a player has seen.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One player's figures, written by it and read by who prints them.
#[derive(Debug, Default)]
pub(super) struct Count {
    bytes: AtomicU64,
    video: AtomicU64,
    audio: AtomicU64,
    gaps: AtomicU64,
}

impl Count {
    pub(super) fn bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn frames(&self, video: u64, audio: u64) {
        self.video.fetch_add(video, Ordering::Relaxed);
        self.audio.fetch_add(audio, Ordering::Relaxed);
    }

    pub(super) fn gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }
}

/// Finds the gaps of one track in the times of its frames.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<u32>,
}

impl Clock {
    /// A frame at `ms`; true when something is missing before it, or time has
    /// gone back. Frames come at least four times a second, but for the
    /// slowest of slide shows.
    pub(super) fn gap_before(&mut self, ms: u32) -> bool {
        let last = self.last.replace(ms);
        last.is_some_and(|last| ms.wrapping_sub(last) > LONGEST_STEP)
    }
}

/// In milliseconds. Time that goes back is a step of nearly 2^32.
const LONGEST_STEP: u32 = 250;

/// The figures of all players together.
pub(super) struct Totals {
    players: usize,
    silent: usize,
    bytes: u64,
    video: u64,
    audio: u64,
    gaps: u64,
}

impl Totals {
    pub(super) fn of(counts: &[Arc<Count>]) -> Self {
        let sum = |field: fn(&Count) -> &AtomicU64| {
            counts
                .iter()
                .map(|count| field(count).load(Ordering::Relaxed))
                .sum()
        };
        Self {
            players: counts.len(),
            silent: counts
                .iter()
                .filter(|count| count.bytes.load(Ordering::Relaxed) == 0)
                .count(),
            bytes: sum(|count| &count.bytes),
            video: sum(|count| &count.video),
            audio: sum(|count| &count.audio),
            gaps: sum(|count| &count.gaps),
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            players,
            silent,
            bytes,
            video,
            audio,
            gaps,
        } = self;
        let megabytes = *bytes as f64 / 1e6;
        write!(
            f,
            "{video} pictures, {audio} sounds, {gaps} gaps, {megabytes:.1} MB"
        )?;
        match silent {
            0 => Ok(()),
            _ => write!(f, ", nothing yet for {silent} of {players}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_steps_back_are_gaps() {
        let mut clock = Clock::default();
        let gaps: Vec<_> = [1000, 1040, 1040, 1290, 1541, 1500, 1540]
            .map(|ms| clock.gap_before(ms))
            .into();
        assert_eq!(gaps, [false, false, false, false, true, true, false]);
        let mut clock = Clock::default();
        assert!(!clock.gap_before(u32::MAX - 10) && !clock.gap_before(20));
    }
}
