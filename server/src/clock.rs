//! Wall time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the server is where time is read"
)]
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// The clock that only goes forward.
#[expect(
    clippy::disallowed_methods,
    reason = "the server is where time is read"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
