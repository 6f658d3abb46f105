//! Recordings whose server is gone, told from the store alone.
//!
//! A server that dies leaves its segments in the store and a marker that nobody
//! writes any more. Another server, or the same one without its disk, goes on with
//! such a recording when the publisher comes to it in time, and closes it otherwise.
//! Two that do so at once write the same.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use media::Ticks;
use tracing::{info, warn};

use super::account::{Account, Piece, Place};
use super::journal::Begin;
use super::objects::{self, Marker, SILENT};
use super::recording::Recording;
use super::store::{Entry, Fault, Store};
use super::{Shared, catalogue, spool, upload};
use crate::clock::unix_ms;
use crate::name::StreamName;

/// Completes a recording by what the store knows of it: the facts of its segments, and
/// the playlist that there may be. What was said there is not unsaid: the facts are gone
/// once it is finished.
pub(super) async fn complete(store: &Store, recording: &Recording) -> Result<(), Fault> {
    let (name, id) = (recording.name(), recording.id());
    let listed = {
        let mut listed = catalogue::pieces(store, name, id).await?;
        let account = recording.account();
        if let Some((last, _)) = listed.last() {
            recording.told.fetch_max(last.number, Ordering::Relaxed);
        }
        listed.retain(|(piece, _)| !account.knows(piece.number));
        listed
    };
    let sizes = stream::iter(listed)
        .map(|(mut piece, missing)| async move {
            let key = objects::segment(name, &piece.rung, piece.number).ok();
            let head = match key.filter(|_| !missing) {
                Some(key) => store.head(&key).await?,
                None => None,
            };
            // What it was put with, not what is left of it: that is for a check to find.
            let size = head.map(|head| {
                let said = objects::piece_of(&head.meta);
                said.map_or(head.size, |piece| u64::from(piece.bytes))
            });
            piece.bytes = u32::try_from(size.unwrap_or_default()).unwrap_or(u32::MAX);
            let place = size.map_or(Place::Lost, |_| Place::Stored);
            Ok::<_, Fault>((piece, place))
        })
        .buffered(HEADS);
    let mut sizes = std::pin::pin!(sizes);
    while let Some((piece, place)) = sizes.try_next().await? {
        recording.account().add(&piece, place);
    }
    let pieces = {
        let until = recording.account().came_ms();
        let known = |number| recording.account().knows(number);
        segments(store, (name, id), until, known).await?
    };
    let mut account = recording.account();
    for piece in &pieces {
        account.add(piece, Place::Stored);
    }
    Ok(())
}

/// The segments of a recording that are in `store` and not `known`. Asks for the facts of
/// each, so it takes a while. The last that is known came at `until`.
async fn segments(
    store: &Store,
    (name, id): (&StreamName, u64),
    until: u64,
    known: impl Fn(u64) -> bool,
) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    for rung in store.list_folders(name.as_str(), None, MOST_RUNGS).await? {
        // The first is called after the recording.
        let mut after = format!("{name}/{rung}/{id}").parse().ok();
        'rung: loop {
            let prefix = format!("{name}/{rung}/");
            let page = store.list(&prefix, after.as_ref(), PAGE).await?;
            let unknown: Vec<_> = page
                .iter()
                .filter_map(|entry| Some((objects::number_of(&entry.key)?, entry.key.clone())))
                .filter(|(number, _)| *number >= id && !known(*number))
                .collect();
            let mut heads = stream::iter(unknown)
                .map(|(number, key)| async move {
                    let head = store.head(&key).await?;
                    Ok::<_, Fault>((number, key, head))
                })
                .buffered(HEADS);
            while let Some((number, key, head)) = heads.try_next().await? {
                // It may have been deleted meanwhile.
                let Some(meta) = head.map(|head| head.meta) else {
                    continue;
                };
                match objects::recording_of(&meta) {
                    Some(of) if of == id => {}
                    // Of a broadcast that began when this recording was over, like all
                    // that follow: numbers begin at the time of day.
                    Some(of) if of > id && number > until + LATER => break 'rung,
                    _ => continue,
                }
                match objects::piece_of(&meta) {
                    Some(piece) => pieces.push(piece),
                    None => {
                        warn!(stream = %name, recording = id, object = %key, "a segment in the store does not say what it is and is left out");
                    }
                }
            }
            if page.len() < PAGE {
                break;
            }
            after = page.last().map(|entry| entry.key.clone());
        }
    }
    Ok(pieces)
}

/// A recording made of what is in the store.
async fn gather(
    shared: &Shared,
    store: &Store,
    name: &StreamName,
    id: u64,
    marker: &Marker,
) -> Result<Recording, Fault> {
    let recording = marked(shared, name, id, marker);
    complete(store, &recording).await?;
    Ok(recording)
}

/// A recording of which nothing is known but what its marker says.
fn marked(shared: &Shared, name: &StreamName, id: u64, marker: &Marker) -> Recording {
    let mut account = Account::new(Ticks::new(marker.target));
    account.join_media(&marker.media);
    account.came(marker.came_ms);
    let begin = Begin {
        name: name.clone(),
        id,
        target: marker.target,
        store: shared.settings.store.url.to_string(),
        // Its server may have been slow rather than dead, too.
        elsewhere: true,
    };
    let folder = spool::folder(&shared.spool, name, id);
    Recording::new(begin, folder, account)
}

/// Closes what nobody looks after and nobody can continue any more.
pub(super) async fn sweep(shared: &Arc<Shared>) -> Result<(), Fault> {
    let store = shared.store().await?;
    let mut first = None;
    for (name, id, entry) in markers(shared, &store).await? {
        // One that cannot be closed is no reason to leave the others.
        if let Err(fault) = close(shared, &store, (&name, id), &entry).await {
            warn!(stream = %name, recording = id, reason = %fault.why, "a recording whose server is gone cannot be closed now");
            first.get_or_insert(fault);
        }
    }
    first.map_or(Ok(()), Err)
}

/// Only sees whether the store answers.
pub(super) async fn look_at_all(shared: &Shared) -> Result<(), Fault> {
    let store = shared.store().await?;
    markers(shared, &store).await.map(|_| ())
}

/// The markers of recordings that are not open here.
async fn markers(shared: &Shared, store: &Store) -> Result<Vec<(StreamName, u64, Entry)>, Fault> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(objects::OPEN, after.as_ref(), PAGE).await?;
        after = page.last().map(|entry| entry.key.clone());
        let more = page.len() == PAGE;
        for entry in page {
            if let Some((name, id)) = objects::marked(&entry.key)
                && !objects::says_closed(entry.size)
                && !shared.is_open(&name, id)
            {
                found.push((name, id, entry));
            }
        }
        if !more {
            return Ok(found);
        }
    }
}

async fn close(
    shared: &Arc<Shared>,
    store: &Store,
    (name, id): (&StreamName, u64),
    entry: &Entry,
) -> Result<(), Fault> {
    let Some((marker, age)) = look(store, entry).await? else {
        return Ok(());
    };
    let merge = Duration::from_millis(marker.merge_ms).max(shared.settings.merge);
    if shared.is_open(name, id) || !is_silent(&marker, age, shared, merge) {
        return Ok(());
    }
    // From here on whoever had it sees that it is looked after.
    upload::claim(shared, store, (name, id), &marker).await?;
    let recording = gather(shared, store, name, id, &marker).await?;
    recording.account().fill_holes();
    let still = look(store, entry).await?;
    if still.is_none_or(|(now, _)| now.owner != shared.owner) || shared.is_open(name, id) {
        return Ok(());
    }
    upload::finish(shared, store, &recording).await?;
    let snapshot = recording.snapshot();
    info!(stream = %name, recording = id, segments = snapshot.stored.segments, gaps = snapshot.gaps.segments, duration_s = snapshot.stored.duration.as_secs_f64(), "a recording whose server is gone is closed, from what the store has of it");
    shared.note_closed(&recording);
    Ok(())
}

/// Takes over the recording of `name` that a broadcast which begins now continues,
/// if its server is gone. It can be continued at once; what it consists of is asked for
/// meanwhile, which takes the longer the longer it is.
pub(super) async fn adopt(shared: &Arc<Shared>, name: &StreamName) -> Result<(), Fault> {
    let store = shared.store().await?;
    let prefix = format!("{}{name}/", objects::OPEN);
    for entry in store.list(&prefix, None, PAGE).await?.iter().rev() {
        let Some((_, id)) = objects::marked(&entry.key) else {
            continue;
        };
        if objects::says_closed(entry.size) || shared.is_open(name, id) {
            continue;
        }
        let Some((marker, age)) = look(&store, entry).await? else {
            continue;
        };
        let until = marker
            .came_ms
            .saturating_add(shared.settings.merge.as_millis() as u64);
        let left = !marker.attached || is_silent(&marker, age, shared, SILENT);
        if unix_ms() >= until || !left {
            continue;
        }
        upload::claim(shared, &store, (name, id), &marker).await?;
        let recording = marked(shared, name, id, &marker);
        info!(stream = %name, recording = id, "the recording of another server may be continued here");
        shared.open(Arc::new(recording));
        return Ok(());
    }
    Ok(())
}

/// A marker, and how long ago it was written.
#[expect(
    clippy::disallowed_methods,
    reason = "the server is where time is read"
)]
async fn look(store: &Store, entry: &Entry) -> Result<Option<(Marker, Duration)>, Fault> {
    let Some(got) = store.get(&entry.key, None).await? else {
        return Ok(None);
    };
    // Of this answer: the listing may be minutes old.
    let age = got
        .head
        .modified
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    match serde_json::from_slice(&got.bytes) {
        Ok(marker) => Ok(Some((marker, age.unwrap_or_default()))),
        Err(error) => {
            warn!(object = %entry.key, %error, "this marker of an open recording cannot be read");
            Ok(None)
        }
    }
}

/// Whether a marker has not been written for so long that its server must be gone,
/// and for longer than `least`. One of this server is of an earlier life.
fn is_silent(marker: &Marker, age: Duration, shared: &Shared, least: Duration) -> bool {
    let own = marker.owner == shared.owner;
    age >= if own { least } else { least.max(SILENT) }
}

/// Names, and objects, that are asked for at once.
const PAGE: usize = 1000;

/// Rungs of a stream over all its recordings.
const MOST_RUNGS: usize = 1000;

/// Milliseconds by which a number may lie above the time at which its segment came:
/// numbers of segments rise by one each, but clocks differ.
const LATER: u64 = 600_000;

/// Requests for facts at once.
const HEADS: usize = 16;
