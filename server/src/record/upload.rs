//! The way of a recording into its store, and its end.
//!
//! Segments go first, a few at once, the oldest first. A playlist follows when what
//! it costs has been earned: every [`EARNED`] bytes of media earn one. A playlist of
//! all segments is as long as they are many, so one that is written with every
//! segment costs the square of the recording; here the wait between two grows with
//! the recording, and all of them together stay below half a per cent of the media
//! (with 2 s of 128 kbit/s of sound alone, the thinnest there is, 0.46 %). Viewers of
//! this server do not wait: it makes the playlist of what it has itself.
//!
//! What fails is tried again for as long as the process lives; what is not done then
//! is done by the next one, or by another server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use media::Ticks;
use packager::playlist::{Growth, Variant, multivariant, recording};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::account::{Account, Load, Media};
use super::objects::{self, BEAT, Marker, Sum};
use super::recording::{Recording, blocking};
use super::store::{Facts, Fault, FaultKind, Key, Store};
use super::{Shared, remains, spool};
use crate::backoff::Backoff;
use crate::name::StreamName;

/// What has been done for a recording, or not.
enum Done {
    Segment(Load, Result<Sent, Fault>),
    /// With whether it was sent: it is not while the store says that the recording is
    /// another server's, or closed.
    Playlist(usize, Result<bool, Fault>),
    Marker(bool, Result<(), Fault>),
    /// What the store knows of it has been asked for.
    Complete(Result<(), Fault>),
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Segment,
    Playlist,
    Marker,
    Complete,
}

/// What became of a segment.
enum Sent {
    Stored,
    /// It is neither on the disk nor in the store.
    Gone,
}

struct Upload<'a> {
    shared: &'a Arc<Shared>,
    recording: &'a Arc<Recording>,
    flying: FuturesUnordered<BoxFuture<'a, Done>>,
    segments: usize,
    backoff: Backoff,
    /// What failed last. A marker that gets there is no news while segments do not:
    /// a store may take what is small and nothing else.
    failing: Option<Kind>,
    /// Nothing is begun before.
    not_before: Option<Instant>,
    /// When something failed last, and how many segments were lost by then.
    failed: (Instant, u64),
    /// Bytes of playlists that were sent.
    spent: u64,
    /// Settled segments in the newest playlist of the store.
    listed: usize,
    /// A playlist is on its way.
    listing: bool,
    /// The store is being asked what it knows.
    completing: bool,
    /// A marker is on its way.
    marking: bool,
    next_marker: Instant,
    /// There is a marker in the store.
    is_marked: bool,
    /// What the last marker said.
    marked: Option<(bool, Media)>,
}

/// Brings everything to the store, until nobody can continue the recording any more and
/// all of it is there or lost.
pub(super) async fn run(shared: &Arc<Shared>, recording: &Arc<Recording>) {
    // What an earlier life has spent is not known: all that it had.
    let spent = recording.account().in_store().bytes / EARNED;
    Upload {
        shared,
        recording,
        flying: FuturesUnordered::new(),
        segments: 0,
        backoff: Backoff::default(),
        failing: None,
        not_before: None,
        failed: (Instant::now(), 0),
        spent,
        listed: 0,
        listing: false,
        completing: false,
        marking: false,
        is_marked: false,
        next_marker: Instant::now(),
        marked: None,
    }
    .run()
    .await;
}

impl Upload<'_> {
    async fn run(&mut self) {
        loop {
            let (failed, lost) = self.failed;
            let losing = self.recording.account().gaps().segments > lost;
            self.not_before = self.not_before.map(|until| next_try(until, failed, losing));
            if self.not_before.is_none_or(|until| until <= Instant::now()) {
                self.not_before = None;
                self.begin();
            }
            if self.flying.is_empty() && self.complete() {
                return;
            }
            let merge = self.shared.settings.merge;
            let mut look = self.recording.look_again(merge);
            if let Some(until) = self.not_before {
                look = look.min(until);
            }
            tokio::select! {
                Some(done) = self.flying.next() => self.done(done).await,
                () = self.recording.to_send.notified() => {}
                () = sleep_until(look) => {}
            }
        }
    }

    /// Whether nothing is left to do, now and later.
    fn complete(&self) -> bool {
        let waiting = self.recording.account().waiting().segments;
        waiting == 0 && self.recording.seal(self.shared.settings.merge)
    }

    fn begin(&mut self) {
        while self.segments < AT_ONCE {
            let Some(load) = self.recording.account().next_to_send() else {
                break;
            };
            self.segments += 1;
            let (shared, recording) = (Arc::clone(self.shared), Arc::clone(self.recording));
            let send = async move {
                let sent = send(&shared, &recording, &load).await;
                Done::Segment(load, sent)
            };
            self.flying.push(send.boxed());
        }
        if self.recording.superseded.load(Ordering::Relaxed) {
            return;
        }
        let attached = self.recording.attached();
        let says = (attached, self.recording.account().media().clone());
        // Without its media nobody could say what is in the recording.
        let begun = self.recording.account().counts().0 > 0;
        let news = self.marked.as_ref() != Some(&says);
        let due = begun && (news || self.next_marker <= Instant::now());
        if due && !self.marking {
            self.marking = true;
            self.marked = Some(says);
            let (shared, recording) = (Arc::clone(self.shared), Arc::clone(self.recording));
            let before = self.is_marked;
            let mark = async move {
                let done = mark(&shared, &recording, attached, before).await;
                Done::Marker(attached, done)
            };
            self.flying.push(mark.boxed());
        }
        let unsure = self.recording.relist.load(Ordering::Relaxed);
        if unsure && !self.completing {
            self.completing = true;
            let (shared, recording) = (Arc::clone(self.shared), Arc::clone(self.recording));
            let complete = async move { Done::Complete(complete(&shared, &recording).await) };
            self.flying.push(complete.boxed());
        }
        // A marker stands before the first playlist: whoever finds one that is open
        // finds who looks after it. One that is on its way may find that somebody else did.
        if !self.listing && self.is_marked && !self.marking && !unsure {
            self.list();
        }
    }

    /// Begins to send a playlist, if one is due.
    fn list(&mut self) {
        let account = self.recording.account();
        let (_, settled) = account.counts();
        let settled = settled.min(self.recording.tellable(&account));
        let stored = account.in_store();
        let draining = self.shared.draining();
        if settled <= self.listed || stored.segments == 0 {
            return;
        }
        // What another server has told is not unsaid for what is sent after.
        let told = self.recording.told.load(Ordering::Relaxed);
        if settled < account.before(told.saturating_add(1)) {
            return;
        }
        let earned = (stored.bytes / EARNED).saturating_sub(self.spent);
        // What it will be, nearly.
        let length = 250 + 48 * settled as u64;
        if earned < length && !draining {
            return;
        }
        let growth = self.recording.growing(&account);
        let text = recording(account.recorded(settled), growth);
        let sum = sum(&account, settled, false);
        let master = master(self.recording, &account);
        drop(account);
        self.spent += (text.len() + master.len()) as u64;
        self.listing = true;
        // The other playlist names this one, and says of it what is known so far.
        let first = self.listed == 0;
        let (shared, recording) = (Arc::clone(self.shared), Arc::clone(self.recording));
        let put = async move {
            let store = shared.store().await;
            let ours = match store {
                Ok(store) => owner(&store, &recording).await,
                Err(fault) => Err(fault),
            };
            let done = match ours {
                Ok(owner) if owner.as_ref() == Some(&shared.owner) => {
                    put_playlists(&shared, &recording, text, first.then_some(master), sum)
                        .await
                        .map(|()| true)
                }
                other => other.map(|_| false),
            };
            Done::Playlist(settled, done)
        };
        self.flying.push(put.boxed());
    }

    async fn done(&mut self, done: Done) {
        let (kind, failed) = match done {
            Done::Segment(load, sent) => {
                self.segments -= 1;
                let (number, bytes) = (load.number, load.piece.bytes);
                let failed = match sent {
                    Ok(Sent::Stored) => {
                        self.recording.stored(self.shared, number, bytes).await;
                        None
                    }
                    Ok(Sent::Gone) => {
                        self.recording.lose(self.shared, number, bytes).await;
                        tracing::error!(stream = %self.recording.name(), recording = self.recording.id(), segment = number, "a segment is LOST to the recording: it is neither in the spool nor in the store");
                        None
                    }
                    Err(fault) => {
                        self.recording.account().unsent(number);
                        Some(fault)
                    }
                };
                (Kind::Segment, failed)
            }
            Done::Playlist(settled, done) => {
                self.listing = false;
                match done {
                    Ok(true) => {
                        self.listed = self.listed.max(settled);
                        self.recording.note_listed(self.listed);
                    }
                    // What that means is seen to with the next marker.
                    Ok(false) => self.next_marker = Instant::now(),
                    Err(_) => {}
                }
                (Kind::Playlist, done.err())
            }
            Done::Marker(attached, done) => {
                self.marking = false;
                if done.is_ok() {
                    self.is_marked = true;
                    self.next_marker = Instant::now() + BEAT;
                    self.recording.note_left(!attached);
                } else {
                    self.marked = None;
                }
                (Kind::Marker, done.err())
            }
            Done::Complete(done) => {
                self.completing = false;
                (Kind::Complete, done.err())
            }
        };
        match failed {
            None => {
                let waiting = self.recording.account().waiting().segments;
                let small = kind != Kind::Segment && waiting > 0;
                if !small || self.failing.is_none_or(|failing| failing == kind) {
                    self.failing = None;
                    self.recording.store_works();
                    self.backoff.reset();
                }
            }
            Some(fault) if self.not_before.is_none() => {
                self.failing = Some(kind);
                let wait = self.backoff.next();
                self.recording.store_fails(&fault.why, wait);
                self.shared.distrust_store(&fault);
                let now = Instant::now();
                self.not_before = Some(now + wait);
                self.failed = (now, self.recording.account().gaps().segments);
            }
            // One of several that were on their way together.
            Some(_) => {}
        }
    }
}

/// Puts a segment into the store.
async fn send(shared: &Shared, recording: &Recording, load: &Load) -> Result<Sent, Fault> {
    let _place = shared.uploads.acquire().await;
    let (name, id) = (recording.name(), recording.id());
    let store = shared.store().await?;
    let key = objects::segment(name, &load.piece.rung, load.number).map_err(invalid)?;
    let facts = objects::segment_facts(id, &load.piece).map_err(invalid)?;
    let bytes = match &load.segment {
        Some(segment) => segment.data.clone(),
        None => {
            let path = spool::file(&recording.folder, load.number);
            let size = load.piece.bytes as usize;
            match blocking(move || spool::read_whole(&path, size)).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    if error.kind() != std::io::ErrorKind::NotFound {
                        warn!(stream = %name, recording = id, segment = load.number, %error, "a segment of the spool cannot be read");
                    }
                    // It may have got there before it was noted.
                    return match store.head(&key).await? {
                        Some(head) if head.size == u64::from(load.piece.bytes) => Ok(Sent::Stored),
                        _ if spool::is_gone(&error) => Ok(Sent::Gone),
                        _ => Err(Fault::passing(format!(
                            "segment {} of the spool cannot be read: {error}",
                            load.number
                        ))),
                    };
                }
            }
        }
    };
    put(shared, &store, &key, bytes, &facts).await?;
    Ok(Sent::Stored)
}

async fn put(
    shared: &Shared,
    store: &Store,
    key: &Key,
    bytes: Bytes,
    facts: &Facts,
) -> Result<(), Fault> {
    let size = bytes.len() as u64;
    shared.counters.put(key.as_str(), size);
    store.put(key, bytes, facts).await
}

/// Adds what the store knows of a recording that was not begun here and now.
async fn complete(shared: &Shared, recording: &Recording) -> Result<(), Fault> {
    let store = shared.store().await?;
    remains::complete(&store, recording).await?;
    recording.relist.store(false, Ordering::Relaxed);
    recording.is_whole();
    recording.to_spool.notify_one();
    Ok(())
}

/// Says that the recording is open and who looks after it, unless somebody else
/// does now. `before`: this server has said so already.
async fn mark(
    shared: &Shared,
    recording: &Recording,
    attached: bool,
    before: bool,
) -> Result<(), Fault> {
    let store = shared.store().await?;
    let owner = owner(&store, recording).await?;
    if before && owner.is_none() {
        // It was closed meanwhile by one that had gone on with it: the store may know more.
        recording.relist.store(true, Ordering::Relaxed);
    }
    if let Some(other) = owner.filter(|owner| *owner != shared.owner) {
        if !attached {
            info!(stream = %recording.name(), recording = recording.id(), server = other, "another server goes on with the recording; what is here is sent after");
            recording.superseded.store(true, Ordering::Relaxed);
            return Ok(());
        }
        // It went on while the publisher was there, who is back.
        recording.relist.store(true, Ordering::Relaxed);
    }
    let marker = {
        let account = recording.account();
        Marker {
            owner: shared.owner.clone(),
            attached,
            came_ms: account.came_ms(),
            merge_ms: shared.settings.merge.as_millis() as u64,
            target: recording.begin.target,
            media: account.media().clone(),
        }
    };
    let which = (recording.name(), recording.id());
    write_marker(shared, &store, which, &marker).await
}

/// Who looks after the recording.
async fn owner(store: &Store, recording: &Recording) -> Result<Option<String>, Fault> {
    let key = objects::marker(recording.name(), recording.id()).map_err(invalid)?;
    let got = store.get(&key, None).await?;
    let marker = got.and_then(|got| serde_json::from_slice::<Marker>(&got.bytes).ok());
    Ok(marker.map(|marker| marker.owner))
}

/// Says that this server goes on with a recording that it was not the first to have.
pub(super) async fn claim(
    shared: &Shared,
    store: &Store,
    which: (&StreamName, u64),
    marker: &Marker,
) -> Result<(), Fault> {
    let marker = Marker {
        owner: shared.owner.clone(),
        attached: false,
        ..marker.clone()
    };
    write_marker(shared, store, which, &marker).await
}

async fn write_marker(
    shared: &Shared,
    store: &Store,
    (name, id): (&StreamName, u64),
    marker: &Marker,
) -> Result<(), Fault> {
    let key = objects::marker(name, id).map_err(invalid)?;
    let text = serde_json::to_vec(marker).unwrap_or_default();
    put(
        shared,
        store,
        &key,
        Bytes::from(text),
        &objects::marker_facts(),
    )
    .await
}

async fn put_playlists(
    shared: &Shared,
    recording: &Recording,
    text: String,
    master: Option<String>,
    sum: Sum,
) -> Result<(), Fault> {
    let (name, id) = (recording.name(), recording.id());
    let store = shared.store().await?;
    let facts = objects::playlist_facts(id, &sum).map_err(invalid)?;
    let key = objects::playlist(name, id).map_err(invalid)?;
    put(shared, &store, &key, Bytes::from(text), &facts).await?;
    let Some(master) = master else { return Ok(()) };
    let key = objects::master(name, id).map_err(invalid)?;
    put(shared, &store, &key, Bytes::from(master), &facts).await
}

/// Finishes a recording all of whose segments are where they stay.
pub(super) async fn close(shared: &Shared, recording: &Recording) {
    let mut backoff = Backoff::default();
    while let Err(fault) = try_close(shared, recording).await {
        let wait = backoff.next();
        recording.store_fails(&fault.why, wait);
        shared.distrust_store(&fault);
        sleep(wait).await;
    }
    recording.close();
    recording.clear(shared).await;
    if recording.superseded.load(Ordering::Relaxed) {
        info!(stream = %recording.name(), recording = recording.id(), "what was here of a recording that another server goes on with is in the store");
        return;
    }
    let account = recording.account();
    let (stored, gaps) = (account.in_store(), account.gaps());
    info!(stream = %recording.name(), recording = recording.id(), duration_s = stored.duration.as_secs_f64(), bytes = stored.bytes, segments = stored.segments, gaps = gaps.segments, "recording closed");
}

async fn try_close(shared: &Shared, recording: &Recording) -> Result<(), Fault> {
    let store = shared.store().await?;
    let owner = owner(&store, recording).await?;
    if owner.is_some_and(|owner| owner != shared.owner) {
        recording.superseded.store(true, Ordering::Relaxed);
    }
    if recording.superseded.load(Ordering::Relaxed) {
        return Ok(());
    }
    // Another server may have had it for a while, and sent its last after that.
    remains::complete(&store, recording).await?;
    finish(shared, &store, recording).await
}

/// Writes the last playlists and takes the marker away.
pub(super) async fn finish(
    shared: &Shared,
    store: &Store,
    recording: &Recording,
) -> Result<(), Fault> {
    let (name, id) = (recording.name(), recording.id());
    let (text, master, sum, keys) = {
        let account = recording.account();
        let (count, _) = account.counts();
        let text = packager::playlist::recording(account.recorded(count), Growth::Complete);
        let master = master(recording, &account);
        let pieces = account.pieces();
        let keys: Result<Vec<Key>, _> = pieces
            .filter(|(_, place)| matches!(place, super::account::Place::Stored))
            .map(|(piece, _)| objects::segment(name, &piece.rung, piece.number))
            .collect();
        let sum = sum(&account, count, true);
        (text, master, sum, keys.map_err(invalid)?)
    };
    if !keys.is_empty() {
        put_playlists(shared, recording, text, Some(master), sum).await?;
    }
    unmark(shared, store, (name, id)).await?;
    // Everything that they say stands in the playlist now. What stays costs room and
    // nothing else.
    for key in &keys {
        if let Err(fault) = store.forget(key).await {
            info!(stream = %name, recording = id, reason = %fault.why, "facts of segments stay in the store");
            break;
        }
    }
    Ok(())
}

/// Says that the recording is closed.
async fn unmark(
    shared: &Shared,
    store: &Store,
    (name, id): (&StreamName, u64),
) -> Result<(), Fault> {
    let key = objects::marker(name, id).map_err(invalid)?;
    let Err(fault) = store.delete(&key).await else {
        return Ok(());
    };
    if fault.kind != FaultKind::Refused {
        return Err(fault);
    }
    // Whoever may write may say so all the same.
    let nothing = Bytes::new();
    put(shared, store, &key, nothing, &objects::marker_facts()).await?;
    info!(stream = %name, recording = id, reason = %fault.why, "the store lets no marker be deleted: an empty one stays");
    Ok(())
}

fn sum(account: &Account, count: usize, closed: bool) -> Sum {
    let mut sum = Sum {
        closed,
        ..Sum::default()
    };
    let mut duration = Ticks::ZERO;
    for one in account.recorded(count) {
        duration += one.entry.duration;
        sum.gaps += u64::from(one.missing);
    }
    sum.duration_ms = (duration.get().max(0) / 90) as u64;
    sum.bytes = account.in_store().bytes;
    sum
}

/// The multivariant playlist of the one playlist that a recording has.
pub(super) fn master(recording: &Recording, account: &Account) -> String {
    let media = account.media();
    let bandwidth = account.meter().measured();
    let (peak, average) = bandwidth.map_or((1, 1), |one| (one.peak, one.average));
    multivariant(&[Variant {
        uri: format!("vod-{}.m3u8", recording.id()),
        bandwidth: peak,
        average_bandwidth: average,
        codecs: media.codecs.clone(),
        resolution: media.size(),
        frame_rate: media.frame_rate,
    }])
}

/// Names are checked where they are made: this is a fault of weir's own.
fn invalid(error: impl std::fmt::Display) -> Fault {
    Fault::refused(format!("weir named an object wrongly: {error}"))
}

/// When a store that failed at `failed` is tried again, and was to be at `until`: soon while
/// segments are lost for want of it.
fn next_try(until: Instant, failed: Instant, losing: bool) -> Instant {
    match losing {
        true => until.min(failed + LOSING),
        false => until,
    }
}

/// How long a store is left alone that segments are lost for want of.
const LOSING: Duration = Duration::from_secs(3);

/// Segments of a recording on their way at once: more than one, for the wait for
/// the store's answer is longer than that for the bytes.
const AT_ONCE: usize = 4;

/// Bytes of media that earn a byte of playlist.
const EARNED: u64 = 300;

/// How long a drain waits for a store that does not answer.
pub(super) const DRAIN: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_tried_soon_while_segments_are_lost() {
        let failed = Instant::now();
        let after = |seconds| failed + Duration::from_secs(seconds);
        assert_eq!(next_try(after(30), failed, false), after(30));
        assert_eq!(next_try(after(30), failed, true), after(3));
        assert_eq!(next_try(after(1), failed, true), after(1));
    }
}
