//! One recording: its account, and the task that brings it to the store.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media::Ticks;
use packager::Segment;
use packager::playlist::{Growth, recording};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::account::{Account, Amount, Media, Piece, Place};
use super::journal::{self, Begin, Journal, Line};
use super::{Shared, source, spool};
use crate::clock::unix_ms;
use crate::http::Rendered;
use crate::name::StreamName;

/// A recording that is not closed. See the module.
pub(super) struct Recording {
    pub(super) begin: Begin,
    pub(super) folder: PathBuf,
    account: Mutex<Account>,
    /// Lines that the journal has not got yet.
    due: Mutex<VecDeque<Line>>,
    /// Broadcasts that are recorded here now, by the numbers of their first segments.
    attached: Mutex<Vec<u64>>,
    /// It has no place for another broadcast any more.
    sealed: AtomicBool,
    /// Segments of it may be in the store that the account does not know.
    pub(super) relist: AtomicBool,
    /// What another server had of it is not known here yet: where it begins.
    partial: AtomicBool,
    /// The last segment of the playlist that the store had when it was asked.
    pub(super) told: AtomicU64,
    /// Another server goes on with it.
    pub(super) superseded: AtomicBool,
    /// Segments in the newest playlist of the store.
    listed: AtomicUsize,
    /// The store knows that nothing is being recorded.
    left: AtomicBool,
    /// All is in the store: nothing has to go to the disk any more.
    over: AtomicBool,
    /// Bytes of segments that could not be removed from the disk.
    stuck: AtomicU64,
    status: Mutex<Status>,
    rendered: Mutex<Option<Cached>>,
    pub(super) to_spool: Notify,
    pub(super) to_send: Notify,
}

/// A playlist and the counts that it was made at: of segments, and of gaps.
struct Cached {
    at: (usize, u64),
    playlist: Arc<Rendered>,
}

#[derive(Debug, Default)]
struct Status {
    /// What is wrong with the store, while it is, and since when.
    store: Option<(String, Instant)>,
    /// What is wrong with the spool.
    spool: Option<String>,
    closed: bool,
}

/// What a recording is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its broadcast is on air and nearly all of it is in the store.
    Recording,
    /// The store has much less than there is.
    CatchingUp,
    /// Nothing gets to the store, or to the spool.
    Stalled,
    /// Its broadcast has ended and may be continued.
    Waiting,
    /// It is whole, and its playlist is being finished.
    Closing,
    /// It is finished.
    Closed,
}

impl State {
    pub(crate) const ALL: [Self; 6] = [
        Self::Recording,
        Self::CatchingUp,
        Self::Stalled,
        Self::Waiting,
        Self::Closing,
        Self::Closed,
    ];

    /// In metrics and in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::CatchingUp => "catching_up",
            Self::Stalled => "stalled",
            Self::Waiting => "waiting",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

/// A recording for those who look on.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) name: StreamName,
    pub(crate) id: u64,
    pub(crate) state: State,
    /// In words; there is none while all goes well.
    pub(crate) error: Option<String>,
    /// Not in the store yet.
    pub(crate) backlog: Amount,
    pub(crate) stored: Amount,
    /// Segments that are lost.
    pub(crate) gaps: Amount,
}

impl Recording {
    /// A recording whose segments so far are those of `account`.
    pub(super) fn new(begin: Begin, folder: PathBuf, account: Account) -> Self {
        let elsewhere = begin.elsewhere;
        Self {
            begin,
            folder,
            account: Mutex::new(account),
            due: Mutex::default(),
            attached: Mutex::default(),
            sealed: AtomicBool::new(false),
            relist: AtomicBool::new(elsewhere),
            partial: AtomicBool::new(elsewhere),
            told: AtomicU64::new(0),
            superseded: AtomicBool::new(false),
            listed: AtomicUsize::new(0),
            left: AtomicBool::new(false),
            over: AtomicBool::new(false),
            stuck: AtomicU64::new(0),
            status: Mutex::default(),
            rendered: Mutex::new(None),
            to_spool: Notify::new(),
            to_send: Notify::new(),
        }
    }

    pub(super) fn name(&self) -> &StreamName {
        &self.begin.name
    }

    pub(super) fn id(&self) -> u64 {
        self.begin.id
    }

    /// Lets a broadcast in that begins now with segment `first`, unless it comes too
    /// late.
    pub(super) fn attach(&self, first: u64, merge: Duration) -> bool {
        // Sealing looks at both under the same lock.
        let account = self.account();
        let mut attached = self.attached_now();
        let in_time = match !attached.is_empty() {
            // The last segments of the one before are still to come.
            true => !merge.is_zero(),
            false => !self.sealed.load(Ordering::Relaxed) && unix_ms() < ends(&account, merge),
        };
        // Nothing is put in front of what players may have read already; a clock that
        // was set back would do so.
        let after = first > account.last().unwrap_or_else(|| self.id());
        let ours = !self.superseded.load(Ordering::Relaxed);
        let welcome = in_time && after && ours;
        if welcome {
            attached.push(first);
        }
        welcome
    }

    /// Its first broadcast is one that begins now.
    pub(super) fn begin_attached(&self) {
        self.attached_now().push(self.id());
    }

    /// The broadcast that began with segment `first` has nothing more for it.
    pub(super) fn detach(&self, first: u64) {
        self.attached_now().retain(|one| *one != first);
        self.to_send.notify_one();
    }

    pub(super) fn attached(&self) -> bool {
        !self.attached_now().is_empty()
    }

    fn attached_now(&self) -> MutexGuard<'_, Vec<u64>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many segments a playlist may tell of. While the last ones of a broadcast are
    /// still to come, those of its successor have to wait: what was told stays as it is.
    pub(super) fn tellable(&self, account: &Account) -> usize {
        let mut attached = self.attached_now().clone();
        attached.sort_unstable();
        let successor = attached.get(1);
        successor.map_or_else(|| account.counts().0, |first| account.before(*first))
    }

    /// All of it that there is anywhere is in the account.
    pub(super) fn is_whole(&self) {
        self.partial.store(false, Ordering::Relaxed);
    }

    /// Whether its beginning is not known here.
    pub(super) fn is_partial(&self) -> bool {
        self.partial.load(Ordering::Relaxed)
    }

    /// Whether nobody can continue it any more, which then stays so.
    pub(super) fn seal(&self, merge: Duration) -> bool {
        let account = self.account();
        let over = !self.attached() && unix_ms() >= ends(&account, merge);
        if over {
            self.sealed.store(true, Ordering::Relaxed);
        }
        over
    }

    /// Takes a segment. Never waits for anything but other users of the account,
    /// which do not wait for anything themselves.
    pub(super) fn push(&self, shared: &Shared, piece: &Piece, media: &Media, bytes: Arc<Segment>) {
        let mut account = self.account();
        let mut due = self.due();
        if account.join_media(media) {
            due.push_back(Line::Media(account.media().clone()));
        }
        if !account.add(piece, Place::Memory(bytes)) {
            return;
        }
        due.push_back(Line::Segment(piece.clone()));
        while let Some(number) = account.crowded() {
            account.lost(number);
            due.push_back(Line::Lost(number));
            shared.counters.lost(1);
            error!(stream = %self.name(), recording = self.id(), segment = number, "a segment is LOST to the recording: neither the spool nor the store took it in time");
        }
        drop((account, due));
        self.to_spool.notify_one();
        self.to_send.notify_one();
    }

    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let account = self.account();
        let (backlog, stored, gaps) = (account.waiting(), account.in_store(), account.gaps());
        drop(account);
        let status = self.status();
        let store = status.store.as_ref().map(|(why, _)| why);
        let error = store.or(status.spool.as_ref());
        let much = Ticks::new(self.begin.target.saturating_mul(BACKLOG));
        let state = if status.closed {
            State::Closed
        } else if error.is_some() {
            State::Stalled
        } else if backlog.duration > much {
            State::CatchingUp
        } else if self.attached() {
            State::Recording
        } else if self.sealed.load(Ordering::Relaxed) {
            State::Closing
        } else {
            State::Waiting
        };
        Snapshot {
            name: self.name().clone(),
            id: self.id(),
            state,
            error: error.cloned(),
            backlog,
            stored,
            gaps,
        }
    }

    /// Whether its last playlist is in the store.
    pub(super) fn is_closed(&self) -> bool {
        self.status().closed
    }

    pub(super) fn close(&self) {
        let mut status = self.status();
        status.closed = true;
        status.store = None;
        status.spool = None;
    }

    /// The store took something again.
    pub(super) fn store_works(&self) {
        if self.status().store.take().is_some() {
            info!(stream = %self.name(), recording = self.id(), "the store takes the recording again");
        }
    }

    /// The store did not do what it was asked for.
    pub(super) fn store_fails(&self, why: &str, again_in: Duration) {
        let waiting = self.account().waiting();
        warn!(stream = %self.name(), recording = self.id(), reason = why, again_in_ms = again_in.as_millis() as u64, backlog_segments = waiting.segments, backlog_bytes = waiting.bytes, "the store does not take the recording");
        let mut status = self.status();
        let since = status
            .store
            .as_ref()
            .map_or_else(Instant::now, |(_, since)| *since);
        status.store = Some((why.to_owned(), since));
    }

    pub(super) fn note_listed(&self, segments: usize) {
        self.listed.store(segments, Ordering::Relaxed);
    }

    pub(super) fn note_left(&self, left: bool) {
        self.left.store(left, Ordering::Relaxed);
    }

    /// Whether the store has and knows all that there is, so that another server can
    /// go on at once; a superseded one is not this server's to tell of.
    pub(super) fn can_be_left(&self) -> bool {
        let account = self.account();
        let (_, settled) = account.counts();
        let told = self.superseded.load(Ordering::Relaxed)
            || self.left.load(Ordering::Relaxed)
                && (account.in_store().segments == 0
                    || self.listed.load(Ordering::Relaxed) >= settled);
        !self.attached() && account.waiting().segments == 0 && told
    }

    /// Whether the store has taken nothing for so long.
    pub(super) fn stalled_for(&self, time: Duration) -> bool {
        let status = self.status();
        let stalled = status.store.as_ref();
        stalled.is_some_and(|(_, since)| since.elapsed() >= time)
    }

    /// A segment has reached the store.
    pub(super) async fn stored(&self, shared: &Shared, number: u64, bytes: u32) {
        let on_disk = {
            let mut account = self.account();
            if account.settled(number) {
                return;
            }
            self.due().push_back(Line::Stored(number));
            account.stored(number)
        };
        shared.counters.stored(u64::from(bytes));
        self.to_spool.notify_one();
        if on_disk {
            self.unspool(shared, number, bytes).await;
        }
    }

    /// A segment of the disk is not there, nor in the store.
    pub(super) async fn lose(&self, shared: &Shared, number: u64, bytes: u32) {
        let on_disk = {
            let mut account = self.account();
            // It may have got to the store meanwhile.
            if account.settled(number) {
                return;
            }
            self.due().push_back(Line::Lost(number));
            account.lost(number)
        };
        shared.counters.lost(1);
        self.to_spool.notify_one();
        if on_disk {
            self.unspool(shared, number, bytes).await;
        }
    }

    /// Gives up a segment of the disk, for its room. `false`: the disk does not let go
    /// of it. Then there is no room for it to make way for, and it is not lost.
    pub(super) async fn give_up(&self, shared: &Shared, number: u64, bytes: u32) -> bool {
        let folder = self.folder.clone();
        let removed = blocking(move || spool::remove(&folder, number)).await;
        if let Err(error) = removed {
            warn!(stream = %self.name(), segment = number, %error, "a segment cannot be removed from the spool to make room");
            return false;
        }
        error!(stream = %self.name(), recording = self.id(), segment = number, spooled_bytes = shared.spooled.load(Ordering::Relaxed), "a segment is LOST to the recording: the spool is full and the store has not taken it");
        self.lose(shared, number, bytes).await;
        true
    }

    async fn unspool(&self, shared: &Shared, number: u64, bytes: u32) {
        let folder = self.folder.clone();
        let removed = blocking(move || spool::remove(&folder, number)).await;
        match removed {
            Ok(()) => shared.spool_freed(u64::from(bytes)),
            Err(error) => {
                self.stuck.fetch_add(u64::from(bytes), Ordering::Relaxed);
                warn!(stream = %self.name(), segment = number, %error, "a segment cannot be removed from the spool");
            }
        }
    }

    /// What the recording is until now: an EVENT playlist. Of all segments; who is
    /// sent here can be given each of them.
    pub(super) fn playlist(&self) -> Arc<Rendered> {
        // Before the account, for which the ladder may wait: what is held here is held
        // while a long text is compressed.
        let mut cached = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let account = self.account();
        let count = self.tellable(&account);
        let at = (count, account.gaps().segments);
        if let Some(cached) = cached.as_ref().filter(|cached| cached.at == at) {
            return Arc::clone(&cached.playlist);
        }
        let text = recording(account.recorded(count), self.growing(&account));
        drop(account);
        let playlist = Arc::new(Rendered::new(text));
        *cached = Some(Cached {
            at,
            playlist: Arc::clone(&playlist),
        });
        playlist
    }

    /// TARGETDURATION before the end, from the first segment on.
    pub(super) fn growing(&self, account: &Account) -> Growth {
        let mut target = Ticks::new(self.begin.target);
        if account.has_rung(source::NAME) {
            target = target.max(source::LONGEST);
        }
        Growth::Growing {
            target_seconds: packager::playlist::target_seconds(target),
        }
    }

    /// Removes all that there is of it on the disk.
    pub(super) async fn clear(&self, shared: &Shared) {
        let folder = self.folder.clone();
        match blocking(move || spool::clear(&folder)).await {
            Ok(()) => shared.spool_freed(self.stuck.swap(0, Ordering::Relaxed)),
            Err(error) => {
                warn!(stream = %self.name(), recording = self.id(), %error, "a closed recording cannot be removed from the spool");
            }
        }
    }

    /// Has [`Recording::spool`] end when it has done what it is about.
    pub(super) fn end_spool(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.to_spool.notify_one();
    }

    /// Brings what comes to the disk, until it is told to end.
    pub(super) async fn spool(&self, shared: &Shared) {
        let mut journal = Journal::new(&self.folder);
        // Of segments: where a disk takes no new file it may still take lines.
        let mut refused = false;
        while !self.over.load(Ordering::Relaxed) {
            let next = self.account().next_to_spool();
            let lines: Vec<Line> = self.due().drain(..).collect();
            if next.is_none() && lines.is_empty() && journal.is_open() {
                self.to_spool.notified().await;
                continue;
            }
            if let Some(load) = &next {
                shared.make_room(u64::from(load.piece.bytes)).await;
            }
            // Written anew, it is of the account as it is now, lines included.
            let whole = match journal.is_open() {
                true => Vec::new(),
                false => journal::lines(&self.begin, &self.account()),
            };
            let folder = self.folder.clone();
            let segment = next.as_ref().and_then(|load| load.segment.clone());
            let done = blocking(move || {
                if !journal.is_open() {
                    spool::make(&folder)?;
                }
                let written = segment.map(|segment| {
                    spool::write(&folder, segment.number, &segment.data).map(|()| segment.number)
                });
                let noted = match journal.is_open() {
                    true => journal.add(&lines),
                    false => journal.begin(whole),
                };
                Ok((written, noted, journal))
            });
            let (written, noted);
            (written, noted, journal) = match done.await {
                Ok(done) => done,
                Err(error) => (None, Err(error), Journal::new(&self.folder)),
            };
            let mut fault = noted.err();
            match written {
                Some(Ok(number)) => {
                    refused = false;
                    self.has_spooled(shared, number, &next).await;
                }
                Some(Err(error)) => {
                    refused = true;
                    if error.kind() == io::ErrorKind::NotFound {
                        // The folder is gone, and with it the journal, open or not.
                        journal = Journal::new(&self.folder);
                    }
                    fault = Some(error);
                }
                None => {}
            }
            let Some(error) = fault else {
                if !refused && self.status().spool.take().is_some() {
                    info!(stream = %self.name(), recording = self.id(), "the spool can be written to again");
                }
                continue;
            };
            let why = format!("{} cannot be written to: {error}", self.folder.display());
            let before = self.status().spool.replace(why.clone());
            if before.as_ref() != Some(&why) {
                warn!(stream = %self.name(), recording = self.id(), reason = %why, "the spool does not take the recording; it is held in memory");
            }
            if self.account().pressed() && spool::is_full(&error) {
                // What is newer is worth more than what nobody came for so far.
                shared.evict_oldest().await;
            }
            let _ = timeout(AGAIN, self.to_spool.notified()).await;
            sleep(PAUSE).await;
        }
    }

    async fn has_spooled(&self, shared: &Shared, number: u64, next: &Option<super::account::Load>) {
        let bytes = next.as_ref().map_or(0, |load| load.piece.bytes);
        shared.spool_used(u64::from(bytes));
        if !self.account().spooled(number) {
            // It got to the store meanwhile, from memory.
            self.unspool(shared, number, bytes).await;
        }
    }

    /// The instant at which nobody will continue it, if nobody does until then.
    pub(super) fn ends_in(&self, merge: Duration) -> Duration {
        let ends = ends(&self.account(), merge);
        Duration::from_millis(ends.saturating_sub(unix_ms()))
    }

    /// When something is to be looked at again.
    pub(super) fn look_again(&self, merge: Duration) -> Instant {
        let wait = match self.attached() {
            true => LOOK,
            false => self.ends_in(merge).clamp(PAUSE, LOOK),
        };
        Instant::now() + wait
    }
}

/// When a recording ends that nobody is recorded to, in Unix milliseconds.
fn ends(account: &Account, merge: Duration) -> u64 {
    account.came_ms().saturating_add(merge.as_millis() as u64)
}

/// Has `job` done on a thread that may wait for a disk.
pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(job).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Target durations of backlog that are much: one segment is always on its way, and
/// a hiccup of the network is no news.
const BACKLOG: i64 = 3;

/// Longest wait before a spool that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Shortest.
const PAUSE: Duration = Duration::from_millis(100);

/// Longest wait before a recording is looked at.
const LOOK: Duration = Duration::from_secs(1);
