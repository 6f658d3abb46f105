//! Viewers who cannot be served, told without a line for each of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::record::store::Fault;

/// Whether the store gives viewers what they ask for.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Requests since the last line.
    unserved: u64,
    /// When the last line was.
    told_at: Option<Instant>,
    /// Nothing has been told since that it works again.
    told: bool,
}

impl Outage {
    /// A request cannot be answered. Told now, or with others within a minute.
    pub(super) fn fails(&self, fault: &Fault) {
        if let Some(requests) = self.lock().fails() {
            warn!(reason = %fault.why, requests, "recordings cannot be read from the store; such requests are told once a minute");
        }
    }

    /// The store has answered.
    pub(super) fn works(&self) {
        let mut state = self.lock();
        if state.told {
            let requests = std::mem::take(&mut state.unserved);
            state.told = false;
            info!(requests, "recordings can be read from the store again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many requests are to be told now.
    fn fails(&mut self) -> Option<u64> {
        self.unserved += 1;
        // Also for a store that fails and works by turns.
        if self.told_at.is_some_and(|at| at.elapsed() < BETWEEN) {
            return None;
        }
        self.told_at = Some(Instant::now());
        self.told = true;
        Some(std::mem::take(&mut self.unserved))
    }
}

/// Shortest time between two lines.
const BETWEEN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_and_then_a_count_a_minute() {
        let mut state = State::default();
        assert_eq!(state.fails(), Some(1));
        for _ in 0..1000 {
            assert_eq!(state.fails(), None);
        }
        advance(BETWEEN).await;
        assert_eq!(state.fails(), Some(1001));
        assert_eq!(state.fails(), None);
    }
}
