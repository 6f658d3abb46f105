//! The coded units of rungs, for those who read them one by one.
//!
//! A rung has a ring while somebody holds a [`RungReader`] of it, and none
//! otherwise: nothing is kept for a rung that nobody asked for. The wish is also
//! what the ladder goes by: one that is not listed is coded only meanwhile, and
//! where nothing is listed at all (`hls.enabled = false`) there is a ladder only
//! meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fanout::{Limits, Reader, Ring, Start, Writer};
use media::{AccessUnit, Track};

use super::{KEPT_FOR_READERS, Packet};
use crate::ladder::{Output, Wants};

/// The rungs of one broadcast. See the module.
#[derive(Debug, Default)]
pub(super) struct Rungs {
    /// Set when a ladder is started, or could be.
    wants: OnceLock<Arc<Wants>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// One for each rung that is read, at most as many as are configured.
    open: Vec<Open>,
    /// For a ladder that runs only for those who read here.
    on_demand: Option<OnDemand>,
    /// Why nobody can begin to read any more.
    over: Option<NoRung>,
}

struct Open {
    place: usize,
    readers: usize,
    /// A unit that one can start at has come: those before it are not kept.
    begun: bool,
    writer: Writer<Arc<Packet>>,
    ring: Ring<Arc<Packet>>,
}

struct OnDemand {
    start: Box<StartLadder>,
    running: bool,
    /// Nothing more will come of the publisher.
    left: bool,
}

/// Starts a ladder.
pub(crate) type StartLadder = dyn Fn() -> std::io::Result<()> + Send;

/// A place in the coded units of a rung, and the wish that there be any: video
/// and sound in the order in which they are coded, beginning with a key picture.
///
/// Timestamps are those of the stream's clock; each track's configuration comes
/// with its units. Where the source's own pictures become the rung or cease to
/// be it, a key picture with another configuration follows, and its `dts` may
/// lie before that of the unit before it by as much as the source reorders.
#[derive(Debug)]
pub(crate) struct RungReader {
    pub(crate) reader: Reader<Arc<Packet>>,
    _want: Want,
}

/// A wish for a rung. Dropping it withdraws it.
#[derive(Debug)]
struct Want {
    rungs: Arc<Rungs>,
    place: usize,
}

/// Why a rung cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRung {
    /// None is called so.
    #[error("no rung is called {0:?}")]
    Unknown(String),
    /// The broadcast has ended.
    #[error("the broadcast has ended")]
    Ended,
    /// This stream cannot be transcoded, and why.
    #[error("no rung can be made of this stream: {0}")]
    Failed(String),
    /// The system has no thread for a ladder at the moment.
    #[error("no thread could be started for the rungs of this stream")]
    Thread,
}

impl Rungs {
    /// What is on offer, and which of it is wanted. The first offer counts.
    pub(super) fn offer(&self, wants: Wants) -> Arc<Wants> {
        Arc::clone(self.wants.get_or_init(|| Arc::new(wants)))
    }

    /// Lets `start` be called whenever somebody wants a rung and no ladder runs.
    pub(super) fn start_on_demand(&self, start: Box<StartLadder>) {
        self.lock().on_demand = Some(OnDemand {
            start,
            running: false,
            left: false,
        });
    }

    /// A place in the units of the rung called `name`.
    pub(super) fn reader(self: &Arc<Self>, name: &str, start: Start) -> Result<RungReader, NoRung> {
        let unknown = || NoRung::Unknown(name.to_owned());
        let wants = self.wants.get().ok_or_else(unknown)?;
        let place = wants.find(name).ok_or_else(unknown)?;
        let mut state = self.lock();
        if let Some(why) = &state.over {
            return Err(why.clone());
        }
        if let Some(open) = state.open.iter_mut().find(|open| open.place == place) {
            open.readers += 1;
            let reader = open.ring.reader(start);
            return Ok(self.read(reader, place));
        }
        // Before the ladder is started, which would have nothing to do otherwise.
        wants.mark(place, true);
        if let Some(ladder) = &mut state.on_demand
            && let Err(why) = ladder.wake()
        {
            wants.mark(place, false);
            return Err(why);
        }
        let (writer, ring) = fanout::ring(Limits {
            min_span: KEPT_FOR_READERS,
            ..Limits::default()
        });
        let reader = ring.reader(start);
        state.open.push(Open {
            place,
            readers: 1,
            begun: false,
            writer,
            ring,
        });
        Ok(self.read(reader, place))
    }

    fn read(self: &Arc<Self>, reader: Reader<Arc<Packet>>, place: usize) -> RungReader {
        RungReader {
            reader,
            _want: Want {
                rungs: Arc::clone(self),
                place,
            },
        }
    }

    /// Hands a unit to those who read its output.
    pub(super) fn push(&self, output: &Output, unit: &AccessUnit) {
        let Some(wants) = self.wants.get().filter(|wants| wants.any()) else {
            return;
        };
        let entry = match unit.track() {
            Track::Video => unit.key,
            // Sound alone can be entered anywhere.
            Track::Audio => output.rung.is_none(),
        };
        let mut packet = None;
        for open in &mut self.lock().open {
            let name = wants.name(open.place);
            if output.name != name && !output.stands_for.iter().any(|other| other == name) {
                continue;
            }
            open.begun |= entry;
            if open.begun {
                let packet = packet.get_or_insert_with(|| Packet::new(unit.clone()));
                let (bytes, at) = (unit.data.len(), packet.at());
                open.writer.push(Arc::clone(packet), bytes, at, entry);
            }
        }
    }

    /// A ladder that was started on demand has stopped, because nobody wanted
    /// anything or the publisher has left, or it `failed`. Gives back whether
    /// that is the end of the broadcast.
    pub(super) fn stopped(&self, failed: Option<String>) -> bool {
        let mut state = self.lock();
        let Some(mut ladder) = state.on_demand.take() else {
            return true;
        };
        ladder.running = false;
        let left = ladder.left;
        if let Some(why) = failed {
            // It would fail again.
            self.close_rings(&mut state);
            state.over = Some(NoRung::Failed(why));
        } else if !left && !state.open.is_empty() {
            // Somebody came while it stopped.
            let woken = ladder.wake();
            if woken.is_err() {
                self.close_rings(&mut state);
            }
        }
        state.on_demand = Some(ladder);
        left
    }

    /// The publisher has left. Gives back whether a ladder still codes what came
    /// of it, and ends the broadcast then.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.lock();
        let Some(ladder) = &mut state.on_demand else {
            return false;
        };
        ladder.left = true;
        let running = ladder.running;
        if !running {
            state.over = Some(NoRung::Ended);
        }
        running
    }

    /// No unit will follow: who reads goes on to the end of the ring.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        self.close_rings(&mut state);
        state.over = Some(NoRung::Ended);
        // What it holds is not for us to drop under a lock.
        let ladder = state.on_demand.take();
        drop(state);
        drop(ladder);
    }

    fn close_rings(&self, state: &mut State) {
        for open in state.open.drain(..) {
            self.mark_unwanted(open.place);
        }
    }

    fn withdraw(&self, place: usize) {
        let mut state = self.lock();
        let Some(at) = state.open.iter().position(|open| open.place == place) else {
            return;
        };
        state.open[at].readers -= 1;
        if state.open[at].readers == 0 {
            state.open.swap_remove(at);
            self.mark_unwanted(place);
        }
    }

    fn mark_unwanted(&self, place: usize) {
        if let Some(wants) = self.wants.get() {
            wants.mark(place, false);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnDemand {
    fn wake(&mut self) -> Result<(), NoRung> {
        if !self.running {
            (self.start)().map_err(|_| NoRung::Thread)?;
            self.running = true;
        }
        Ok(())
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        self.rungs.withdraw(self.place);
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places: Vec<_> = self.open.iter().map(|open| open.place).collect();
        f.debug_struct("State")
            .field("open", &places)
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
