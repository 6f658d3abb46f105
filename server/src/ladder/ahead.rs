//! Decodes ahead of the rungs.
//!
//! The decoder of a stream works on the shared pool, one access unit a job and
//! up to [`AHEAD`] units beyond what its ladder is at, so that the next pictures
//! are decoded while this one is coded. What it gives is taken in the order of
//! the units that went in: nothing the ladder decides depends on when a picture
//! was ready, and the output is the same on any number of threads.
//!
//! A job on the pool rather than a thread beside it: a machine of two cores has
//! two workers that decode and code whatever is next, and nobody waits for a
//! third thread's turn.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use codec::video::{Backend, Changes, Cost, Decoder, Meter, open_decoder};
use media::{AccessUnit, Picture, Timestamp, TrackConfig};

use super::settings::Settings;
use super::stats::{Stage, Stats};

/// What the decoder is given.
pub(super) enum Task {
    /// A unit of the video track.
    Unit(AccessUnit),
    /// Units were lost before this point.
    Lost,
    /// Nothing will follow.
    End,
}

/// What came of a task.
pub(super) struct Decoded {
    /// What the task was.
    pub(super) of: Of,
    /// Pictures that became ready, in presentation order.
    pub(super) pictures: Vec<Shown>,
    /// `Malformed` and the unit is lost, and all that follow up to the next key
    /// unit; any other error would come again with every unit.
    pub(super) outcome: Result<(), codec::Error>,
}

/// See [`Task`].
pub(super) enum Of {
    /// A unit that the decoder took.
    Unit(AccessUnit),
    /// A unit from before the first key unit, or behind a loss.
    Skipped,
    /// A loss in a track that had begun.
    Lost,
    /// A loss before anything, or the end.
    Nothing,
}

/// A decoded picture and what else is known of it.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) picture: Arc<Picture>,
    /// Configuration of the unit it was decoded from.
    pub(super) config: Arc<TrackConfig>,
    /// Pictures with the same number have the same samples.
    pub(super) content: u64,
    /// What differs from the pictures that have the number before this one's, so
    /// that of a still nothing is scaled again. `None`: all of it.
    pub(super) changes: Option<Arc<Changes>>,
    /// How hard it is to code, for all rungs.
    pub(super) cost: Cost,
}

impl Shown {
    /// A decoded picture, compared with the one before it.
    pub(super) fn after(
        before: Option<Self>,
        picture: Arc<Picture>,
        config: Arc<TrackConfig>,
        meter: &mut Meter,
    ) -> Self {
        let changes = before
            .as_ref()
            .and_then(|before| Changes::between(&before.picture, &picture));
        let (content, changes, cost) = match (before, changes) {
            (Some(before), Some(none)) if none.is_empty() => {
                (before.content, before.changes, before.cost.repeated())
            }
            (before, changes) => {
                let content = before.map_or(0, |before| before.content + 1);
                (content, changes.map(Arc::new), meter.measure(&picture))
            }
        };
        Self {
            picture,
            config,
            content,
            changes,
            cost,
        }
    }

    /// When it is presented.
    pub(super) fn pts(&self) -> Timestamp {
        self.picture.pts
    }

    /// Presents it at another time, as a repeat. Copies the picture once for
    /// each hole that is filled, if others still hold it.
    pub(super) fn set_pts(&mut self, pts: Timestamp) {
        Arc::make_mut(&mut self.picture).pts = pts;
        self.cost = self.cost.repeated();
    }
}

/// The decoder of one stream. See the module.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    pool: Arc<rayon::ThreadPool>,
    /// Tasks given whose outcome was not taken.
    under_way: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    /// A task is done.
    done: Condvar,
    /// Locked by the one job that runs.
    front: Mutex<Front>,
}

struct Queue {
    tasks: VecDeque<Task>,
    done: VecDeque<Result<Decoded, Box<dyn Any + Send>>>,
    /// A job is on the pool.
    running: bool,
}

/// The decoder and what it was opened for.
struct Front {
    input: Option<Input>,
    backend: Backend,
    limits: codec::Limits,
    stats: Arc<Stats>,
    /// The last picture given out.
    last: Option<Shown>,
    meter: Meter,
}

struct Input {
    decoder: Box<dyn Decoder>,
    config: Arc<TrackConfig>,
    /// A key unit has come since the decoder was opened, or units were lost.
    started: bool,
}

/// Units decoded beyond the one that the rungs are at, so that a few slow ones in
/// a row do not keep the rungs waiting: three cost 2 % more wall time. Each costs
/// a picture's memory, 3 MB at 1080p.
pub(super) const AHEAD: usize = 5;

impl Ahead {
    pub(super) fn new(settings: &Settings) -> Self {
        let front = Front {
            input: None,
            backend: settings.backend,
            limits: settings.limits,
            stats: Arc::clone(&settings.stats),
            last: None,
            meter: Meter::default(),
        };
        let queue = Queue {
            tasks: VecDeque::new(),
            done: VecDeque::new(),
            running: false,
        };
        Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(queue),
                done: Condvar::new(),
                front: Mutex::new(front),
            }),
            pool: Arc::clone(&settings.pool),
            under_way: 0,
        }
    }

    /// Gives the decoder something to do. Does not wait.
    pub(super) fn start(&mut self, task: Task) {
        self.under_way += 1;
        let mut queue = self.shared.lock();
        queue.tasks.push_back(task);
        if !queue.running {
            queue.running = true;
            drop(queue);
            Shared::spawn(&self.shared, &self.pool);
        }
    }

    /// What came of the oldest task: waits for it while more than `most` are
    /// under way, otherwise `None` when it is not done.
    ///
    /// A panic of the decoder goes on here.
    pub(super) fn take(&mut self, most: usize) -> Option<Decoded> {
        let mut queue = self.shared.lock();
        while queue.done.is_empty() {
            if self.under_way <= most {
                return None;
            }
            queue = self
                .shared
                .done
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let outcome = queue.done.pop_front()?;
        drop(queue);
        self.under_way -= 1;
        Some(outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // The job that may still run finds nothing more to do.
        self.shared.lock().tasks.clear();
    }
}

impl Shared {
    /// Puts a job for one task on the pool. It puts the next one there itself:
    /// between two units of a stream others have their turn.
    fn spawn(shared: &Arc<Self>, pool: &Arc<rayon::ThreadPool>) {
        let (job, on) = (Arc::clone(shared), Arc::clone(pool));
        pool.spawn(move || {
            if job.step() {
                Self::spawn(&job, &on);
            }
        });
    }

    /// Does the next task; false when there is none left.
    fn step(&self) -> bool {
        let mut queue = self.lock();
        let Some(task) = queue.tasks.pop_front() else {
            queue.running = false;
            return false;
        };
        drop(queue);
        // The pool belongs to all streams: a panic has to end this one alone,
        // and where its pictures are waited for.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut front = self.front.lock().unwrap_or_else(PoisonError::into_inner);
            front.run(task)
        }));
        let mut queue = self.lock();
        queue.done.push_back(outcome);
        self.done.notify_one();
        queue.running = !queue.tasks.is_empty();
        queue.running
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Front {
    fn run(&mut self, task: Task) -> Decoded {
        let mut pictures = Vec::new();
        let (of, outcome) = match task {
            Task::Unit(unit) => {
                let stats = Arc::clone(&self.stats);
                let decoded = stats.timed(Stage::Decode, || self.decode(&unit, &mut pictures));
                match decoded {
                    Ok(true) => (Of::Unit(unit), Ok(())),
                    Ok(false) => (Of::Skipped, Ok(())),
                    Err(error) => (Of::Unit(unit), Err(error)),
                }
            }
            Task::Lost => {
                let of = match &mut self.input {
                    Some(input) => {
                        input.started = false;
                        Of::Lost
                    }
                    None => Of::Nothing,
                };
                (of, self.flush(&mut pictures))
            }
            Task::End => (Of::Nothing, self.flush(&mut pictures)),
        };
        Decoded {
            of,
            pictures,
            outcome,
        }
    }

    /// Decodes a unit; false when it was not for the decoder.
    fn decode(&mut self, unit: &AccessUnit, out: &mut Vec<Shown>) -> Result<bool, codec::Error> {
        let changed = self
            .input
            .as_ref()
            .is_some_and(|input| !super::same(&input.config, &unit.config));
        let mut damage = Ok(());
        if changed {
            damage = survivable(self.flush(out))?;
        }
        if self.input.is_none() || changed {
            let Some(config) = unit.config.h264().filter(|_| unit.key) else {
                return damage.map(|()| false);
            };
            self.input = Some(Input {
                decoder: open_decoder(self.backend, config, &self.limits)?,
                config: Arc::clone(&unit.config),
                started: false,
            });
        }
        let Some(input) = self
            .input
            .as_mut()
            .filter(|input| input.started || unit.key)
        else {
            return damage.map(|()| false);
        };
        input.started = true;
        let mut ready = Vec::new();
        let decoded = input.decoder.decode(unit, &mut ready);
        self.stats.note_decoder(input.decoder.backend());
        self.show(ready, out);
        decoded.and(damage).map(|()| true)
    }

    fn flush(&mut self, out: &mut Vec<Shown>) -> Result<(), codec::Error> {
        let Some(input) = &mut self.input else {
            return Ok(());
        };
        let mut ready = Vec::new();
        let flushed = input.decoder.flush(&mut ready);
        self.show(ready, out);
        flushed
    }

    fn show(&mut self, ready: Vec<Arc<Picture>>, out: &mut Vec<Shown>) {
        let Some(input) = &self.input else { return };
        for picture in ready {
            let config = Arc::clone(&input.config);
            let shown = Shown::after(self.last.take(), picture, config, &mut self.meter);
            self.last = Some(shown.clone());
            out.push(shown);
        }
    }
}

/// Damage is kept for later; what would come again with every unit is not.
fn survivable(result: Result<(), codec::Error>) -> Result<Result<(), codec::Error>, codec::Error> {
    match result {
        Ok(()) | Err(codec::Error::Malformed { .. }) => Ok(result),
        Err(error) => Err(error),
    }
}
