//! Recordings whose server is gone, told from the store alone.
//!
//! A server that dies leaves its segments in the store and a marker that nobody
//! writes any more. Another server, or the same one without its disk, goes on with
//! such a recording when the publisher comes to it in time, and closes it otherwise.
//! Two that do so at once write the same.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use media::Ticks;
use tracing::{info, warn};

use super::account::{Account, Piece, Place};
use super::journal::Begin;
use super::objects::{self, Marker, SILENT};
use super::recording::Recording;
use super::store::{Entry, Fault, Store};
use super::{Shared, spool, upload};
use crate::clock::unix_ms;
use crate::name::StreamName;

/// The segments of recording `id` of `name` that are in `store` and not `known`.
/// Asks for the facts of each, so it takes a while.
pub(super) async fn segments(
    store: &Store,
    name: &StreamName,
    id: u64,
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
                .map(|entry| entry.key.clone())
                .filter(|key| {
                    objects::number_of(key).is_some_and(|number| number >= id && !known(number))
                })
                .collect();
            let mut heads = stream::iter(unknown)
                .map(|key| async {
                    let head = store.head(&key).await?;
                    Ok::<_, Fault>((key, head))
                })
                .buffered(HEADS);
            while let Some((key, head)) = heads.try_next().await? {
                // It may have been deleted meanwhile.
                let Some(meta) = head.map(|head| head.meta) else {
                    continue;
                };
                match objects::recording_of(&meta) {
                    Some(of) if of == id => {}
                    // The recordings of a stream do not overlap: behind the first
                    // segment of a later one there is none of this.
                    Some(of) if of > id => break 'rung,
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
    pieces.sort_by_key(|piece| piece.number);
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
    let pieces = segments(store, name, id, |_| false).await?;
    let mut account = Account::new(Ticks::new(marker.target));
    account.join_media(&marker.media);
    for piece in &pieces {
        account.add(piece, Place::Stored);
    }
    let begin = Begin {
        name: name.clone(),
        id,
        target: marker.target,
    };
    let folder = spool::folder(&shared.spool, name, id);
    let recording = Recording::new(begin, folder, account);
    // Its server may have been slow rather than dead.
    recording
        .relist
        .store(true, std::sync::atomic::Ordering::Relaxed);
    Ok(recording)
}

/// Closes what nobody looks after and nobody can continue any more.
pub(super) async fn sweep(shared: &Arc<Shared>) -> Result<(), Fault> {
    let store = shared.store().await?;
    let mut after = None;
    loop {
        let page = store.list(objects::OPEN, after.as_ref(), PAGE).await?;
        for entry in &page {
            let Some((name, id)) = objects::marked(&entry.key) else {
                continue;
            };
            if shared.is_open(&name, id) {
                continue;
            }
            let Some(marker) = look(&store, entry).await? else {
                continue;
            };
            let merge = Duration::from_millis(marker.merge_ms).max(shared.settings.merge);
            if !is_silent(entry, &marker, shared, merge) {
                continue;
            }
            let recording = gather(shared, &store, &name, id, &marker).await?;
            upload::finish(shared, &store, &recording).await?;
            let snapshot = recording.snapshot();
            info!(stream = %name, recording = id, segments = snapshot.stored.segments, duration_s = snapshot.stored.duration.as_secs_f64(), "a recording whose server is gone is closed, from what the store has of it");
            shared.note_closed(&recording);
        }
        if page.len() < PAGE {
            return Ok(());
        }
        after = page.last().map(|entry| entry.key.clone());
    }
}

/// Takes over the recording of `name` that a broadcast which begins now continues,
/// if its server is gone.
pub(super) async fn adopt(shared: &Arc<Shared>, name: &StreamName) -> Result<(), Fault> {
    let store = shared.store().await?;
    let prefix = format!("{}{name}/", objects::OPEN);
    for entry in store.list(&prefix, None, PAGE).await?.iter().rev() {
        let Some((_, id)) = objects::marked(&entry.key) else {
            continue;
        };
        if shared.is_open(name, id) {
            continue;
        }
        let Some(marker) = look(&store, entry).await? else {
            continue;
        };
        let until = marker.came_ms + shared.settings.merge.as_millis() as u64;
        let left = !marker.attached || is_silent(entry, &marker, shared, SILENT);
        if unix_ms() >= until || !left {
            continue;
        }
        let recording = gather(shared, &store, name, id, &marker).await?;
        upload::claim(shared, &store, &recording).await?;
        info!(stream = %name, recording = id, "the recording of another server may be continued here");
        shared.open(Arc::new(recording));
        return Ok(());
    }
    Ok(())
}

async fn look(store: &Store, entry: &Entry) -> Result<Option<Marker>, Fault> {
    let got = store.get(&entry.key, None).await?;
    let marker = got.map(|got| serde_json::from_slice(&got.bytes));
    match marker.transpose() {
        Ok(marker) => Ok(marker),
        Err(error) => {
            warn!(object = %entry.key, %error, "this marker of an open recording cannot be read");
            Ok(None)
        }
    }
}

/// Whether a marker has not been written for so long that its server must be gone,
/// and for longer than `least`. One of this server is of an earlier life.
#[expect(
    clippy::disallowed_methods,
    reason = "the server is where time is read"
)]
fn is_silent(entry: &Entry, marker: &Marker, shared: &Shared, least: Duration) -> bool {
    let age = entry
        .modified
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    let age = age.unwrap_or_default();
    let own = marker.owner == shared.owner;
    age >= if own { least } else { least.max(SILENT) }
}

/// Names, and objects, that are asked for at once.
const PAGE: usize = 1000;

/// Rungs of a stream over all its recordings.
const MOST_RUNGS: usize = 1000;

/// Requests for facts at once.
const HEADS: usize = 16;
