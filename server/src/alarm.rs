//! A timer for deadlines that are moved more often than they come.

use std::future::pending;
use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// Rings when its deadline comes, or before that: who is rung looks at the clock
/// and sets it again. So a deadline that every message moves away costs a look,
/// and the runtime's timers are touched when it would have come.
#[derive(Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it will ring.
    set: Option<Instant>,
}

impl Alarm {
    /// Rings at `deadline` at the latest, if there is one.
    pub(crate) fn set(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if self.set.is_some_and(|set| set <= deadline) {
            return;
        }
        self.set = Some(deadline);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.sleep = Some(Box::pin(sleep_until(deadline))),
        }
    }

    /// Resolves when it rings. Cancel safe.
    pub(crate) async fn rings(&mut self) {
        match (&self.set, &mut self.sleep) {
            (Some(_), Some(sleep)) => sleep.await,
            _ => pending().await,
        }
        self.set = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_that_moves_is_not_missed() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let start = Instant::now();
            let at = |ms| Some(start + Duration::from_millis(ms));
            let mut alarm = Alarm::default();
            alarm.set(at(20));
            alarm.set(at(60));
            alarm.set(None);
            alarm.rings().await;
            // Early, for who has moved on.
            alarm.set(at(60));
            alarm.set(at(40));
            alarm.rings().await;
            assert!(Some(Instant::now()) >= at(40));
            alarm.set(at(60));
            alarm.rings().await;
            assert!(Some(Instant::now()) >= at(60));
        });
    }
}
