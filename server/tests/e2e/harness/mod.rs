//! Starts servers, publishers and viewers, and waits for what they do.

pub(crate) mod bucket;
pub(crate) mod certificates;
pub(crate) mod destinations;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod messages;
pub(crate) mod peer;
pub(crate) mod playlist;
pub(crate) mod relays;
pub(crate) mod server;
pub(crate) mod show;
pub(crate) mod sources;
pub(crate) mod tools;
pub(crate) mod vods;
pub(crate) mod witness;

use std::time::{Duration, Instant};

/// How long to wait for something that takes a second on an idle machine: the
/// machine may be anything but idle.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A ladder that costs next to nothing, for tests where size is not the point.
pub(crate) const SMALL_LADDER: &str = r#"
[[hls.rung]]
name = "90p"
width = 160
height = 90
video_kbps = 150

[[hls.rung]]
name = "180p"
width = 320
height = 180
video_kbps = 400
"#;

/// Asks `look` until it answers; fails the test when `what` does not come.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// As [`until`], for what takes longer by itself.
#[track_caller]
pub(crate) fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let deadline = now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            now() < deadline,
            "{patience:?} are over, still waiting for {what}"
        );
        pause();
    }
}

/// Between two looks.
#[expect(clippy::disallowed_methods, reason = "other processes send no events")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

#[expect(
    clippy::disallowed_methods,
    reason = "deadlines of tests are in real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
