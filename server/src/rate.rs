//! Bit rates of things that only count.

use std::time::{Duration, Instant};

/// The rate of a counter since the last look at it that lies a second back.
#[derive(Debug)]
pub(crate) struct Rate {
    bytes: u64,
    at: Instant,
    bits_per_second: f64,
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            bytes: 0,
            at: now,
            bits_per_second: 0.0,
        }
    }

    /// The bit rate, in bit/s, of what has counted `bytes` by `now`.
    pub(crate) fn look(&mut self, bytes: u64, now: Instant) -> f64 {
        let span = now.saturating_duration_since(self.at);
        if span >= SHORTEST {
            let bits = bytes.saturating_sub(self.bytes) as f64 * 8.0;
            *self = Self {
                bytes,
                at: now,
                bits_per_second: bits / span.as_secs_f64(),
            };
        }
        self.bits_per_second
    }
}

/// Two who look one right after the other see the same.
const SHORTEST: Duration = Duration::from_secs(1);
