//! How long to wait before the next try.

use std::time::Duration;

use rand::RngExt as _;

/// Waits that double from one second to thirty, each shorter by chance, by up to
/// a quarter: targets that fell together do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Tries since the last reset.
    failed: u32,
}

impl Backoff {
    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failed.min(DOUBLINGS));
        self.failed = self.failed.saturating_add(1);
        jittered(wait.min(LONGEST))
    }

    /// The longest wait: where somebody has said no.
    pub(crate) fn longest() -> Duration {
        jittered(LONGEST)
    }

    /// The next wait is a short one again.
    pub(crate) fn reset(&mut self) {
        self.failed = 0;
    }
}

fn jittered(wait: Duration) -> Duration {
    // Never longer: what is cut off at the longest wait would be no chance at all.
    let by: f64 = rand::rng().random_range(0.0..=JITTER);
    wait.mul_f64(1.0 - by)
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
const DOUBLINGS: u32 = 5;
const JITTER: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_start_anew() {
        let mut backoff = Backoff::default();
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let wait = backoff.next().as_secs_f64();
            let range = expected * 0.74..=expected;
            assert!(range.contains(&wait), "{wait} for {expected}");
        }
        backoff.reset();
        assert!(backoff.next().as_secs_f64() <= 1.0);
    }

    #[test]
    fn no_two_targets_wait_alike() {
        for next in [|| Backoff::default().next(), Backoff::longest] {
            let waits: std::collections::HashSet<_> = (0..20).map(|_| next()).collect();
            assert!(waits.len() > 15, "{waits:?}");
        }
    }
}
