//! Recordings: what was live, kept to be watched later.
//!
//! A broadcast hands each segment of its best rung to a [`Tap`], which never waits.
//! From there it goes to the [`spool`] on this server's disk and from the spool to the
//! [`store`] ([`upload`]); a [`journal`] beside the spooled segments says what a
//! recording consists of, and the facts of the stored segments say the same
//! ([`objects`]), so that a recording survives its process, its disk and its server
//! ([`remains`]).
//!
//! Live never waits for any of this and does not depend on it.

mod account;
pub(crate) mod catalogue;
mod journal;
mod objects;
mod recording;
mod remains;
pub(crate) mod source;
mod spool;
pub(crate) mod store;
mod upload;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use media::Ticks;
use packager::{ProgramClock, Segment};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

pub(crate) use self::account::Amount;
use self::account::{Account, Media, Piece};
use self::journal::Begin;
use self::recording::Recording;
pub(crate) use self::recording::{Snapshot, State};
use self::store::{Fault, FaultKind, Store};
pub(crate) use self::watch::{Held, Watched};
use crate::backoff::Backoff;
use crate::config;
use crate::hooks::{Bus, Fact};
use crate::ladder::Output;
use crate::name::StreamName;

/// Records broadcasts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Shared>);

/// What all recordings of a server share.
struct Shared {
    settings: config::Record,
    /// The folder of the spool.
    spool: PathBuf,
    /// What this server calls itself in markers: an id of its data directory.
    owner: String,
    /// The longest segments.
    target: Ticks,
    runtime: Handle,
    store: tokio::sync::Mutex<Option<Store>>,
    open: Mutex<Vec<Arc<Recording>>>,
    /// The last few that were closed.
    closed: Mutex<VecDeque<Snapshot>>,
    /// Who is told that a recording is closed, if anybody is.
    hooks: OnceLock<Bus>,
    /// Bytes of segments on the disk.
    spooled: AtomicU64,
    uploads: Semaphore,
    watch: watch::Places,
    draining: AtomicBool,
    counters: Counters,
}

/// What was done since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) segments_stored: AtomicU64,
    pub(crate) segments_lost: AtomicU64,
    /// Bytes of segments that are in the store.
    pub(crate) bytes_stored: AtomicU64,
    /// Objects that were sent to the store, and their bytes.
    pub(crate) puts: Puts,
}

/// Requests and bytes by kind of object, whatever became of them.
#[derive(Debug, Default)]
pub(crate) struct Puts {
    pub(crate) segments: (AtomicU64, AtomicU64),
    pub(crate) playlists: (AtomicU64, AtomicU64),
    pub(crate) markers: (AtomicU64, AtomicU64),
}

impl Counters {
    fn lost(&self, segments: u64) {
        self.segments_lost.fetch_add(segments, Ordering::Relaxed);
    }

    fn stored(&self, bytes: u64) {
        self.segments_stored.fetch_add(1, Ordering::Relaxed);
        self.bytes_stored.fetch_add(bytes, Ordering::Relaxed);
    }

    fn put(&self, key: &str, size: u64) {
        let (requests, bytes) = if key.ends_with(".ts") {
            &self.puts.segments
        } else if key.ends_with(".m3u8") {
            &self.puts.playlists
        } else {
            &self.puts.markers
        };
        requests.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(size, Ordering::Relaxed);
    }
}

/// What becomes of recordings in the spool that were begun in another store than the
/// one that is set now: what is there of them is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// They stay in the spool.
    Left,
    /// They go on here; somebody says that this is their store.
    TakenUp,
}

/// The end of a broadcast that is recorded. Dropping it ends its part.
pub(crate) struct Tap {
    shared: Arc<Shared>,
    name: StreamName,
    session: u64,
    recording: Mutex<Part>,
}

/// Where the segments of a broadcast go.
enum Part {
    /// None has come.
    Ahead,
    /// To this recording, and whether one has gone there.
    Into(Arc<Recording>, bool),
    Over,
}

impl Recorder {
    /// A recorder with what earlier runs have left in `data`. Call it in a runtime,
    /// where the recordings are worked on.
    pub(crate) fn open(
        settings: config::Record,
        data: &Path,
        target: Ticks,
        others: Others,
    ) -> std::io::Result<Self> {
        let spool = spool::place(data);
        let named = |error: std::io::Error| {
            let why = format!("{} cannot be used: {error}", spool.display());
            std::io::Error::new(error.kind(), why)
        };
        std::fs::create_dir_all(&spool).map_err(named)?;
        let owner = owner(data)?;
        let shared = Arc::new(Shared {
            settings,
            owner,
            target,
            runtime: Handle::current(),
            store: tokio::sync::Mutex::default(),
            open: Mutex::default(),
            closed: Mutex::default(),
            hooks: OnceLock::new(),
            spooled: AtomicU64::new(0),
            uploads: Semaphore::new(UPLOADS),
            watch: watch::Places::default(),
            draining: AtomicBool::new(false),
            counters: Counters::default(),
            spool,
        });
        let store = shared.settings.store.url.to_string();
        for found in spool::find(&shared.spool)? {
            let waiting = found.account.waiting();
            let begun = &found.begin.store;
            if others == Others::Left && !begun.is_empty() && *begun != store {
                error!(stream = %found.begin.name, recording = found.begin.id, segments = waiting.segments, "the spool has a recording that was begun in {begun}, and record.store is {store}: it stays where it is. Start once with the former to finish it; `weir recordings repair` sends what is left of it to the latter");
                shared.spool_used(found.bytes);
                continue;
            }
            info!(stream = %found.begin.name, recording = found.begin.id, segments = waiting.segments, bytes = waiting.bytes, "a recording of an earlier run is taken up");
            shared.spool_used(found.bytes);
            let recording = Recording::new(found.begin, found.folder, found.account);
            // What it did last may not be in its journal.
            recording.relist.store(true, Ordering::Relaxed);
            shared.open(Arc::new(recording));
        }
        shared.runtime.spawn(look_after(Arc::downgrade(&shared)));
        Ok(Self(shared))
    }

    /// What a broadcast of `name` that begins now is to be recorded with.
    pub(crate) fn tap(&self, name: &StreamName, session: u64) -> Tap {
        let (shared, stream) = (Arc::clone(&self.0), name.clone());
        // Until its first segment there is time to ask the store.
        self.0.runtime.spawn(async move {
            let mut backoff = Backoff::default();
            for tries_left in (0..ADOPTIONS).rev() {
                match remains::adopt(&shared, &stream).await {
                    Ok(()) => break,
                    Err(_) if tries_left > 0 => sleep(backoff.next()).await,
                    Err(fault) => {
                        warn!(%stream, reason = %fault.why, "whether there is a recording to be continued cannot be told");
                    }
                }
            }
        });
        // One that may be continued is kept open for it from now on, not from the end of
        // its first segment.
        let continued = self.0.continued(name, session);
        let part = continued.map_or(Part::Ahead, |before| Part::Into(before, false));
        Tap {
            shared: Arc::clone(&self.0),
            name: name.clone(),
            session,
            recording: Mutex::new(part),
        }
    }

    /// Tells `hooks` of recordings that are closed from now on. The first call counts.
    pub(crate) fn tell(&self, hooks: Bus) {
        let _ = self.0.hooks.set(hooks);
    }

    /// The open recordings and the last few that were closed, by name and id.
    pub(crate) fn all(&self) -> Vec<Snapshot> {
        let closed = self.0.closed().clone();
        let open = self.0.recordings();
        let open = open.iter().map(|one| one.snapshot());
        // One that is just being closed is in both.
        let all: BTreeMap<_, _> = closed
            .into_iter()
            .chain(open)
            .map(|one| ((one.name.to_string(), one.id), one))
            .collect();
        all.into_values().collect()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Bytes of segments on the disk.
    pub(crate) fn spooled_bytes(&self) -> u64 {
        self.0.spooled.load(Ordering::Relaxed)
    }

    /// Closes the recordings of the store that nobody looks after.
    pub(crate) async fn sweep(&self) -> Result<(), Fault> {
        remains::sweep(&self.0).await
    }

    /// Resolves when all that is here is in the store, or the store does not take
    /// it. Recordings stay open: a publisher may return to the next process.
    pub(crate) async fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        let until = Instant::now() + upload::DRAIN;
        let behind = |one: &Arc<Recording>| {
            one.to_send.notify_one();
            !one.can_be_left() && (one.attached() || !one.stalled_for(STALLED))
        };
        while Instant::now() < until && self.0.recordings().iter().any(behind) {
            sleep(Duration::from_millis(20)).await;
        }
        let left: u64 = self.all().iter().map(|one| one.backlog.segments).sum();
        if left > 0 {
            warn!(
                segments = left,
                "recordings wait in the spool for the next start"
            );
        }
    }
}

impl Shared {
    /// The store, opened when it is first needed. A folder may not be mounted yet,
    /// credentials may come later.
    async fn store(&self) -> Result<Store, Fault> {
        let mut store = self.store.lock().await;
        if let Some(store) = &*store {
            return Ok(store.clone());
        }
        let opened = Store::open(&self.settings.store).await?;
        Ok(store.insert(opened).clone())
    }

    /// After a refusal the store is opened anew: credentials are read again.
    fn distrust_store(&self, fault: &Fault) {
        if fault.kind == FaultKind::Refused
            && let Ok(mut store) = self.store.try_lock()
        {
            *store = None;
        }
    }

    fn recordings(&self) -> Vec<Arc<Recording>> {
        self.lock_open().clone()
    }

    fn lock_open(&self) -> MutexGuard<'_, Vec<Arc<Recording>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> MutexGuard<'_, VecDeque<Snapshot>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &StreamName, id: u64) -> Option<Arc<Recording>> {
        let open = self.lock_open();
        let mut open = open.iter();
        let found = open.find(|one| one.name() == name && one.id() == id);
        found.cloned()
    }

    fn is_open(&self, name: &StreamName, id: u64) -> bool {
        self.find(name, id).is_some()
    }

    /// The recording that a broadcast of `name` continues, which it is then a part of.
    fn continued(&self, name: &StreamName, session: u64) -> Option<Arc<Recording>> {
        let open = self.lock_open();
        let of_name = open.iter().filter(|one| one.name() == name);
        let newest = of_name.max_by_key(|one| one.id())?;
        if !newest.attach(session, self.settings.merge) {
            return None;
        }
        info!(stream = %name, recording = newest.id(), "the recording is continued");
        Some(Arc::clone(newest))
    }

    /// The recording that a broadcast of `name` is a part of from now on.
    fn attach(self: &Arc<Self>, name: &StreamName, session: u64, target: Ticks) -> Arc<Recording> {
        if let Some(before) = self.continued(name, session) {
            return before;
        }
        let mut open = self.lock_open();
        let begin = Begin {
            name: name.clone(),
            id: session,
            target: target.get(),
            store: self.settings.store.url.to_string(),
            elsewhere: false,
        };
        info!(stream = %name, recording = session, "recording");
        let folder = spool::folder(&self.spool, name, session);
        let recording = Arc::new(Recording::new(begin, folder, Account::new(target)));
        recording.begin_attached();
        open.push(Arc::clone(&recording));
        drop(open);
        self.work_on(&recording);
        recording
    }

    /// Takes up a recording that has begun elsewhere or before.
    fn open(self: &Arc<Self>, recording: Arc<Recording>) {
        let mut open = self.lock_open();
        if open
            .iter()
            .any(|one| one.name() == recording.name() && one.id() == recording.id())
        {
            return;
        }
        open.push(Arc::clone(&recording));
        drop(open);
        self.work_on(&recording);
    }

    fn work_on(self: &Arc<Self>, recording: &Arc<Recording>) {
        let (shared, recording) = (Arc::clone(self), Arc::clone(recording));
        self.runtime.spawn(async move {
            let all = async {
                // What the disk is busy with would come back behind the removal of all.
                let upload = async {
                    upload::run(&shared, &recording).await;
                    recording.end_spool();
                };
                tokio::join!(recording.spool(&shared), upload);
                upload::close(&shared, &recording).await;
            };
            let task = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(all));
            if task.await.is_err() {
                error!(stream = %recording.name(), recording = recording.id(), "recording panicked; the next start goes on with what is in the spool");
            } else {
                shared.note_closed(&recording);
            }
            let mut open = shared.lock_open();
            open.retain(|one| !Arc::ptr_eq(one, &recording));
            drop(open);
            shared.watch.forget(recording.name());
        });
    }

    fn note_closed(&self, recording: &Recording) {
        let mut closed = self.closed();
        recording.close();
        let snapshot = recording.snapshot();
        closed.push_back(snapshot.clone());
        if closed.len() > CLOSED {
            closed.pop_front();
        }
        drop(closed);
        // The one who goes on with it will tell.
        if recording.superseded.load(Ordering::Relaxed) {
            return;
        }
        if let Some(hooks) = self.hooks.get() {
            hooks.emit(Fact::RecordingClosed {
                stream: snapshot.name,
                recording: snapshot.id,
                segments: snapshot.stored.segments,
                duration_ms: (snapshot.stored.duration.as_secs_f64() * 1000.0) as u64,
                bytes: snapshot.stored.bytes,
                lost_segments: snapshot.gaps.segments,
            });
        }
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn spool_used(&self, bytes: u64) {
        self.spooled.fetch_add(bytes, Ordering::Relaxed);
    }

    fn spool_freed(&self, bytes: u64) {
        let less = |now: u64| Some(now.saturating_sub(bytes));
        let _ = self
            .spooled
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Keeps the spool below its limit once `bytes` more are in it.
    async fn make_room(&self, bytes: u64) {
        while self.spooled.load(Ordering::Relaxed) + bytes > self.settings.spool_limit {
            if !self.evict_oldest().await {
                return;
            }
        }
    }

    /// Gives up the oldest segment of the spool, of whatever recording. `false`:
    /// there is none that could be, or the disk does not let go of it.
    async fn evict_oldest(&self) -> bool {
        let all = self.recordings();
        let oldest = all.iter().filter_map(|one| {
            let (number, at) = one.account().oldest_spooled()?;
            Some((at, number, one))
        });
        let Some((_, number, recording)) = oldest.min_by_key(|(at, number, _)| (*at, *number))
        else {
            return false;
        };
        let bytes = recording.account().bytes_of(number);
        recording.give_up(self, number, bytes).await
    }
}

impl Tap {
    /// Takes the best segment of each number that became complete: a hole that is
    /// filled completes many at once.
    pub(crate) fn push_best(
        &self,
        outputs: &[Output],
        batch: &[(usize, Arc<Segment>)],
        clock: ProgramClock,
    ) {
        for (output, segment) in best(outputs, batch).into_values() {
            self.push(output, segment, clock.unix_ms(segment.start));
        }
    }

    /// Takes a segment of `output`, whose wall time is `unix_ms`.
    fn push(&self, output: &Output, segment: &Arc<Segment>, unix_ms: i64) {
        let mut part = self.lock();
        let (recording, first) = match &*part {
            Part::Over => return,
            Part::Into(recording, begun) => (Arc::clone(recording), !begun),
            Part::Ahead => {
                let recording = self
                    .shared
                    .attach(&self.name, self.session, self.shared.target);
                (recording, true)
            }
        };
        *part = Part::Into(Arc::clone(&recording), true);
        let piece = Piece {
            number: segment.number,
            rung: output.name.clone(),
            start: segment.start.ticks(),
            duration: segment.duration.get(),
            discontinuity: segment.discontinuity || first,
            unix_ms,
            bytes: u32::try_from(segment.data.len()).unwrap_or(u32::MAX),
            came_ms: crate::clock::unix_ms(),
        };
        recording.push(&self.shared, &piece, &media_of(output), Arc::clone(segment));
    }

    fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// The longest that segments should be.
    fn target(&self) -> Ticks {
        self.shared.target
    }

    /// The broadcast is over.
    pub(crate) fn end(&self) {
        if let Part::Into(recording, _) = std::mem::replace(&mut *self.lock(), Part::Over) {
            recording.detach(self.session);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Part> {
        self.recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap")
            .field("name", &self.name)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

fn media_of(output: &Output) -> Media {
    let configs = [&output.video, &output.audio];
    Media {
        codecs: configs
            .into_iter()
            .flatten()
            .map(|config| config.rfc6381())
            .collect(),
        width: output.size.map(|size| size.width),
        height: output.size.map(|size| size.height),
        frame_rate: output.frame_rate,
    }
}

/// The best segment of each number for a recording: of those that playlists have,
/// the one with the largest pictures.
fn best<'a>(
    outputs: &'a [Output],
    batch: &'a [(usize, Arc<Segment>)],
) -> BTreeMap<u64, (&'a Output, &'a Arc<Segment>)> {
    let area = |output: &Output| output.size.map(|size| size.area());
    let mut best: BTreeMap<u64, (&Output, &Arc<Segment>)> = BTreeMap::new();
    for (index, segment) in batch {
        let Some(output) = outputs.get(*index).filter(|output| output.listed) else {
            continue;
        };
        let other = best.get(&segment.number);
        if other.is_none_or(|(other, _)| area(output) > area(other)) {
            best.insert(segment.number, (output, segment));
        }
    }
    best
}

/// Closes what nobody looks after, and deletes what is too old, now and then, while
/// there is a recorder or a recording.
async fn look_after(shared: Weak<Shared>) {
    let mut next_expiry = Instant::now();
    // After an outage of the store those who look after their recordings have to be
    // heard first.
    let mut failed = false;
    let mut not_before = Instant::now();
    while let Some(shared) = shared.upgrade() {
        if shared.settings.keep_days > 0 && next_expiry <= Instant::now() {
            next_expiry = Instant::now() + EXPIRE;
            if let Err(fault) = expire(&shared).await {
                warn!(reason = %fault.why, "recordings that are too old could not be deleted");
            }
        }
        let seen = match Instant::now() < not_before {
            true => remains::look_at_all(&shared).await,
            false => remains::sweep(&shared).await,
        };
        match seen {
            Ok(()) => failed = false,
            Err(fault) => {
                shared.distrust_store(&fault);
                if !failed {
                    warn!(reason = %fault.why, "the store does not tell which recordings are open");
                }
                failed = true;
                not_before = Instant::now() + AFTER_OUTAGE;
            }
        }
        drop(shared);
        sleep(SWEEP).await;
    }
}

async fn expire(shared: &Shared) -> Result<(), Fault> {
    let store = shared.store().await?;
    let days = shared.settings.keep_days;
    for which in catalogue::expire(&store, days, crate::clock::unix_ms()).await? {
        info!(stream = %which.name, recording = which.id, days, "a recording is deleted: record.keep_days is over");
    }
    Ok(())
}

/// What this data directory is called in a store: sixteen letters by chance, kept.
fn owner(data: &Path) -> std::io::Result<String> {
    let path = data.join("server-id");
    if let Ok(text) = std::fs::read_to_string(&path) {
        let text = text.trim();
        if text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(text.to_owned());
        }
    }
    let id = format!("{:016x}", rand::random::<u64>());
    // A disk that takes no file takes none of its recordings: then it is as if the
    // directory were new with each start.
    let _ = std::fs::write(&path, format!("{id}\n"));
    Ok(id)
}

/// Requests with segments at once, of all recordings.
const UPLOADS: usize = 16;

/// How often the store is asked for a recording to be continued: until the longest of
/// first segments has come.
const ADOPTIONS: u32 = 4;

/// How long a stop waits for a store that takes nothing.
const STALLED: Duration = Duration::from_secs(5);

/// Closed recordings that are told in metrics and in the API.
const CLOSED: usize = 100;

/// How often the store is asked for recordings that are too old.
const EXPIRE: Duration = Duration::from_secs(3600);

/// How long after an outage of the store nothing is closed that others might look
/// after: a beat, and the longest wait before it.
const AFTER_OUTAGE: Duration = Duration::from_secs(60);

/// How often the store is asked for recordings that nobody looks after.
const SWEEP: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
