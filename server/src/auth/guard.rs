//! A change of keys or streams takes effect on those who are live, too.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::error;

use crate::app::App;
use crate::database::{Error, now};
use crate::live::{Broadcast, Dismissal};

/// Looks after the live broadcasts for as long as it is polled.
pub(crate) async fn run(app: Arc<App>) {
    let mut seen = None;
    let mut next = Instant::now();
    let mut failing = false;
    loop {
        sleep(LOOK).await;
        let server = Arc::clone(&app);
        let overdue = Instant::now() >= next;
        let looked = tokio::task::spawn_blocking(move || {
            let changes = server.database.changes()?;
            if seen == Some(changes) && !overdue {
                return Ok((changes, None));
            }
            look(&server).map(|wait| (changes, Some(wait)))
        });
        match looked.await {
            Ok(Ok((changes, wait))) => {
                seen = Some(changes);
                if let Some(wait) = wait {
                    next = Instant::now() + wait;
                }
                failing = false;
            }
            Ok(Err(error)) if !failing => {
                failing = true;
                error!(%error, "changes of streams and keys cannot be seen");
            }
            // Told already, or a panic, which is told as well.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Compares all that is live with the database. Gives when to look again, whatever
/// happens until then.
fn look(app: &Arc<App>) -> Result<Duration, Error> {
    let now = now();
    let mut wait = LONGEST;
    for broadcast in app.directory.live() {
        if let Some(left) = judge(app, &broadcast, now)? {
            wait = wait.min(Duration::from_secs(left));
        }
    }
    Ok(wait)
}

/// Ends `broadcast` if it may not go on, or has it sent where it is to go now. Gives
/// the seconds until its key expires.
fn judge(app: &Arc<App>, broadcast: &Arc<Broadcast>, now: u64) -> Result<Option<u64>, Error> {
    let (name, publisher) = (broadcast.name(), &broadcast.publisher);
    let mut left = None;
    if let Some(key) = publisher.key() {
        match app.database.key(key)? {
            Some(record) if !record.refused(now) => {
                left = record.expires.map(|expires| expires - now);
            }
            _ => {
                publisher.dismiss(Dismissal::Key);
                return Ok(None);
            }
        }
    }
    match app.database.stream(name)? {
        Some(stream) if stream.disabled => publisher.dismiss(Dismissal::Disabled),
        Some(_) => app
            .relays
            .retarget(app, broadcast, app.database.targets(name)?),
        None => app.relays.retarget(app, broadcast, Vec::new()),
    }
    Ok(left)
}

/// From one look at whether somebody wrote to the next.
const LOOK: Duration = Duration::from_millis(200);

/// From one look at everything to the next, if nobody writes.
const LONGEST: Duration = Duration::from_secs(10);
