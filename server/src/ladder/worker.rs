//! The thread that runs a live ladder: reads the ring, codes, publishes.
//!
//! One OS thread for each transcoded stream, never a tokio worker. It ends when
//! the ring closes and everything in it was coded, or at an error that would
//! repeat with every unit; the reason then goes to whoever ingests. A ladder
//! that makes no segments ends as well when nobody wants any of its rungs:
//! nothing is decoded then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use fanout::{Next, Reader};

use super::{Ladder, Settings, Sink};
use crate::live::Packet;

/// How a ladder's thread ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The stream asked for something that cannot be done.
    #[error(transparent)]
    Ladder(#[from] super::Error),
    /// A bug of ours or of a codec, contained in this stream.
    #[error("the transcoder panicked")]
    Panic,
}

/// Starts a ladder on its own thread. `done` is called on that thread at the
/// end, with the sink unless the ladder failed: then with the reason.
pub(crate) fn spawn<S, D>(
    name: &str,
    settings: Settings,
    sink: S,
    reader: Reader<Arc<Packet>>,
    done: D,
) -> std::io::Result<JoinHandle<()>>
where
    S: Sink + Send + 'static,
    D: FnOnce(Result<S, Failure>) + Send + 'static,
{
    // Thread names are cut at 15 bytes by Linux; the prefix tells them apart in `top`.
    std::thread::Builder::new()
        .name(format!("ladder {name}"))
        .spawn(move || {
            let run = || run(settings, sink, reader);
            let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Failure::Panic));
            done(result);
        })
}

fn run<S: Sink>(
    settings: Settings,
    sink: S,
    mut reader: Reader<Arc<Packet>>,
) -> Result<S, Failure> {
    let lagged = Arc::clone(&settings.lagged);
    let wants = Arc::clone(&settings.wants);
    let on_demand = settings.rungs.is_empty();
    let mut ladder = Ladder::new(settings, sink);
    loop {
        if on_demand && !wants.any() {
            return Ok(ladder.finish()?);
        }
        let next = match reader.try_next() {
            Some(next) => next,
            None => {
                ladder.settle()?;
                reader.next_blocking()
            }
        };
        match next {
            Next::Unit(packet) => ladder.push(packet.unit.clone())?,
            Next::Lagged(missed) => {
                lagged.fetch_add(missed, std::sync::atomic::Ordering::Relaxed);
                ladder.lost()?;
            }
            Next::Closed => return Ok(ladder.finish()?),
        }
    }
}
