//! Recordings for those who watch them: from this server's memory and disk while
//! they are here, from the store otherwise.
//!
//! What many want is asked of the store once ([`once`]), what is not there is
//! remembered for a moment, and no viewer waits longer than [`PATIENCE`] for an
//! answer. Segments take up room until their viewers have read them ([`held`]): there
//! is so much and no more, however many they are and however slowly they read.

mod held;
mod once;
mod outage;

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::held::Held;
use self::once::Answers;
use self::outage::Outage;
use super::account::Place;
use super::objects::{self, Sum};
use super::recording::{Recording, blocking};
use super::store::{Fault, Key, Store, Url};
use super::{Recorder, Shared, spool, upload};
use crate::clock::unix_ms;
use crate::http::Rendered;
use crate::name::StreamName;

/// A playlist, and whether it will not change any more.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) playlist: Arc<Rendered>,
    pub(crate) closed: bool,
}

/// A segment that is there.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// In bytes.
    pub(crate) size: u64,
    key: Key,
    at: At,
    /// When whoever looked for it has waited long enough.
    until: Instant,
}

#[derive(Clone, Debug)]
enum At {
    Memory(Bytes),
    /// On this server's disk, where it may just have gone from to the store.
    Spool(PathBuf),
    Store,
}

/// What this server itself can say of a segment.
enum Here {
    Found(At, u64),
    /// Nobody else could know more.
    Nowhere,
    Unknown,
}

/// A recording in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its start in Unix milliseconds, which is what it is called.
    pub(crate) id: u64,
    pub(crate) sum: Sum,
}

type List = Arc<Vec<Listed>>;

/// What is kept for those who watch, and how much they may ask for at once.
#[derive(Debug)]
pub(super) struct Places {
    /// For requests to the store, and for those that wait for one.
    asking: Arc<Semaphore>,
    waiting: Semaphore,
    /// For reads of the spool: a store that hangs does not stop them.
    reading: Arc<Semaphore>,
    /// For bytes that are read or sent, in KiB.
    room: Arc<Semaphore>,
    playlists: Answers<Key, Watched>,
    lists: Answers<StreamName, List>,
    /// Of segments in the store.
    sizes: Answers<Key, u64>,
    /// Parts of segments, for those who ask for the same at the same time.
    parts: Answers<(Key, Range<u64>), Arc<Held>>,
    outage: Outage,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            asking: Arc::new(Semaphore::new(ASKING)),
            waiting: Semaphore::new(WAITING),
            reading: Arc::new(Semaphore::new(READING)),
            room: Arc::new(Semaphore::new(ROOM as usize)),
            playlists: Answers::new(PLAYLISTS, FRESH),
            lists: Answers::new(LISTS, FRESH),
            sizes: Answers::new(SIZES, FRESH_SIZE),
            parts: Answers::new(0, Duration::ZERO),
            outage: Outage::default(),
        }
    }
}

impl Recorder {
    /// The media playlist of a recording; `None`: there is none.
    pub(crate) async fn playlist(
        &self,
        name: &StreamName,
        id: u64,
    ) -> Result<Option<Watched>, Fault> {
        if let Some(recording) = self.0.growing(name, id) {
            let playlist = recording.playlist();
            let closed = false;
            return Ok(Some(Watched { playlist, closed }));
        }
        match objects::playlist(name, id) {
            Ok(key) => self.0.playlist_of_store(key).await,
            Err(_) => Ok(None),
        }
    }

    /// Its multivariant playlist.
    pub(crate) async fn master(
        &self,
        name: &StreamName,
        id: u64,
    ) -> Result<Option<Watched>, Fault> {
        if let Some(recording) = self.0.growing(name, id) {
            let text = upload::master(&recording, &recording.account());
            let playlist = Arc::new(Rendered::new(text));
            let closed = false;
            return Ok(Some(Watched { playlist, closed }));
        }
        match objects::master(name, id) {
            Ok(key) => self.0.playlist_of_store(key).await,
            Err(_) => Ok(None),
        }
    }

    /// A segment of a recording; `None`: there is none. `live` is the first number of
    /// the broadcast that is on air, if one is.
    pub(crate) async fn segment(
        &self,
        name: &StreamName,
        rung: &str,
        number: u64,
        live: Option<u64>,
    ) -> Result<Option<Found>, Fault> {
        // What is no key names no segment.
        let Ok(key) = objects::segment(name, rung, number) else {
            return Ok(None);
        };
        let until = Instant::now() + PATIENCE;
        let found = |key, at, size| {
            Some(Found {
                size,
                key,
                at,
                until,
            })
        };
        match self.0.here(name, rung, number, live) {
            Here::Found(at, size) => return Ok(found(key, at, size)),
            Here::Nowhere => return Ok(None),
            Here::Unknown => {}
        }
        let (shared, of) = (Arc::clone(&self.0), key.clone());
        let size = self.0.watch.sizes.ask(key.clone(), || async move {
            let head = async move |store: Store| store.head(&of).await;
            let head = shared.ask(1, until, head).await?;
            Ok(head.map(|head| head.size))
        });
        Ok(size.await?.and_then(|size| found(key, At::Store, size)))
    }

    /// The bytes of a segment that lie in `range`, which is within it. `None`: it has
    /// gone.
    pub(crate) async fn read(
        &self,
        found: &Found,
        range: Range<u64>,
    ) -> Result<Option<Arc<Held>>, Fault> {
        let part = (found.key.clone(), range.clone());
        let (shared, of) = (Arc::clone(&self.0), found.clone());
        let parts = &self.0.watch.parts;
        let read = parts.ask(part, || async move { shared.part(of, range).await });
        let read = read.await?;
        if read.is_none() {
            self.0.watch.sizes.forget(&found.key);
        }
        Ok(read)
    }

    /// The newest recordings of `name`, the newest first. Those that grow here are
    /// told as they are now, whatever is known of the store.
    pub(crate) async fn list(&self, name: &StreamName) -> Result<Vec<Listed>, Fault> {
        let (shared, of) = (Arc::clone(&self.0), name.clone());
        let stored = self.0.watch.lists.ask(name.clone(), || async move {
            let until = Instant::now() + PATIENCE;
            let list = async move |store: Store| list_anew(&store, &of, unix_ms()).await;
            let list = shared.ask(HEADS as u32, until, list).await?;
            Ok(Some(Arc::new(list)))
        });
        let stored = stored.await?.unwrap_or_default();
        let mut sums: BTreeMap<u64, Sum> = stored.iter().map(|one| (one.id, one.sum)).collect();
        sums.extend(self.0.open_sums(name));
        let newest = sums.into_iter().rev().take(SHOWN);
        Ok(newest.map(|(id, sum)| Listed { id, sum }).collect())
    }

    /// A viewer was not served, for this reason: which is the operator's business.
    pub(crate) fn unserved(&self, fault: &Fault) {
        self.0.watch.outage.fails(fault);
    }
}

impl Shared {
    /// Asks the store, with as many requests at once as `places`, unless there is no
    /// answer by `until`.
    async fn ask<T, Q, F>(self: Arc<Self>, places: u32, until: Instant, ask: Q) -> Result<T, Fault>
    where
        T: Send + 'static,
        Q: FnOnce(Store) -> F + Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let late = |_| Fault::passing(format!("no answer within {PATIENCE:?}"));
        let Ok(_waiting) = self.watch.waiting.try_acquire() else {
            return Err(Fault::passing(format!(
                "{WAITING} requests wait for it already"
            )));
        };
        let place = Arc::clone(&self.watch.asking).acquire_many_owned(places);
        let place = timeout_at(until, place).await.map_err(late)?;
        let shared = Arc::clone(&self);
        let mut answer = tokio::spawn(async move {
            let _place = place;
            let store = shared.store().await?;
            ask(store).await
        });
        match timeout_at(until, &mut answer).await {
            Ok(Ok(Ok(answer))) => {
                self.watch.outage.works();
                Ok(answer)
            }
            Ok(Ok(fault)) => fault,
            Ok(Err(panicked)) => Err(Fault::passing(panicked.to_string())),
            Err(elapsed) => {
                // Whoever waits for a disk cannot be called off, and keeps the place.
                if matches!(self.settings.store.url, Url::S3 { .. }) {
                    answer.abort();
                }
                Err(late(elapsed))
            }
        }
    }

    fn growing(&self, name: &StreamName, id: u64) -> Option<Arc<Recording>> {
        let told = |one: &Arc<Recording>| !one.is_closed() && !one.is_partial();
        self.find(name, id).filter(told)
    }

    async fn playlist_of_store(self: &Arc<Self>, key: Key) -> Result<Option<Watched>, Fault> {
        let (shared, of) = (Arc::clone(self), key.clone());
        let playlist = self.watch.playlists.ask(key, || async move {
            let get = {
                let of = of.clone();
                async move |store: Store| store.get(&of, None).await
            };
            let got = shared.ask(1, Instant::now() + PATIENCE, get).await?;
            let Some(got) = got else { return Ok(None) };
            let Ok(text) = String::from_utf8(got.bytes.into()) else {
                return Err(Fault::refused(format!("{of} in the store is no playlist")));
            };
            let closed =
                objects::sum_of(&got.head.meta).closed || text.ends_with("#EXT-X-ENDLIST\n");
            let playlist = Arc::new(Rendered::new(text));
            Ok(Some(Watched { playlist, closed }))
        });
        playlist.await
    }

    fn here(&self, name: &StreamName, rung: &str, number: u64, live: Option<u64>) -> Here {
        let open = self.recordings();
        for recording in open.iter().filter(|one| one.name() == name) {
            let account = recording.account();
            let size = u64::from(account.bytes_of(number));
            match account.place(rung, number) {
                Some(Place::Memory(segment)) => {
                    let size = segment.data.len() as u64;
                    return Here::Found(At::Memory(segment.data.clone()), size);
                }
                Some(Place::Spooled) => {
                    let path = spool::file(&recording.folder, number);
                    return Here::Found(At::Spool(path), size);
                }
                Some(Place::Stored) if size > 0 => return Here::Found(At::Store, size),
                // The store has it, or nobody.
                Some(Place::Stored | Place::Lost) => return Here::Unknown,
                None => {}
            }
            // Numbers of the broadcast that is on air are given by this server, and this
            // recording has all of them that are recorded. Those far ahead may be of
            // another server that has the publisher now.
            let own = |first| {
                let soon = account.last().unwrap_or(first).saturating_add(SOON);
                recording.attached() && recording.id() <= first && (first..=soon).contains(&number)
            };
            if live.is_some_and(own) {
                return Here::Nowhere;
            }
        }
        Here::Unknown
    }

    /// Reads a part of a segment, when there is room for it.
    async fn part(
        self: Arc<Self>,
        found: Found,
        range: Range<u64>,
    ) -> Result<Option<Arc<Held>>, Fault> {
        let length = range.end.saturating_sub(range.start);
        let soon = found.until;
        let room = self.watch.room_for(length, soon).await?;
        let whole = |bytes: Bytes| {
            let held = || Arc::new(Held::new(bytes.clone(), room));
            // Another object than it was a moment ago is none of this size.
            (bytes.len() as u64 == length).then(held)
        };
        let key = found.key;
        match found.at {
            At::Memory(bytes) => {
                return Ok(whole(bytes.slice(range.start as usize..range.end as usize)));
            }
            At::Spool(path) => {
                let place = Arc::clone(&self.watch.reading).acquire_owned();
                let place = timeout_at(soon, place).await.map_err(|_| {
                    Fault::passing(format!("the spool was not read within {PATIENCE:?}"))
                })?;
                let of = range.clone();
                let read = blocking(move || {
                    let _place = place;
                    spool::read(&path, of)
                });
                match timeout_at(soon, read).await {
                    Ok(Ok(bytes)) => return Ok(whole(bytes)),
                    // It may just have gone to the store.
                    Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Ok(Err(error)) => {
                        return Err(Fault::passing(format!("{key} of the spool: {error}")));
                    }
                    Err(_) => {
                        return Err(Fault::passing(format!("{key} of the spool is not read")));
                    }
                }
            }
            At::Store => {}
        }
        let until = soon + Duration::from_secs(length / SLOWEST);
        let get = async move |store: Store| store.get(&key, Some(range)).await;
        let got = self.ask(1, until, get).await?;
        Ok(got.and_then(|got| whole(got.bytes)))
    }

    fn open_sums(&self, name: &StreamName) -> Vec<(u64, Sum)> {
        let open = self.recordings();
        let of_name = open
            .iter()
            .filter(|one| one.name() == name && !one.is_closed() && !one.is_partial());
        let sums = of_name.map(|recording| {
            let account = recording.account();
            let (stored, waiting) = (account.in_store(), account.waiting());
            let gaps = account.gaps();
            let duration = stored.duration + waiting.duration + gaps.duration;
            let sum = Sum {
                duration_ms: (duration.get().max(0) / 90) as u64,
                bytes: stored.bytes + waiting.bytes,
                gaps: gaps.segments,
                closed: false,
            };
            (recording.id(), sum)
        });
        sums.collect()
    }
}

impl Places {
    /// A recording of `name` has just been closed: what was known of the store is
    /// from before.
    pub(super) fn forget(&self, name: &StreamName) {
        self.lists.forget(name);
    }

    /// Room for so many bytes; one who wants more than there is gets all of it.
    async fn room_for(&self, bytes: u64, until: Instant) -> Result<OwnedSemaphorePermit, Fault> {
        let kib = bytes.div_ceil(1024).min(u64::from(ROOM)) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(kib);
        let full = "segments that viewers read slowly take up all the room that there is";
        match timeout_at(until, room).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(Fault::passing(full)),
        }
    }
}

/// The newest recordings of `name` in `store`, the newest first.
///
/// A store lists the oldest first. Most streams have few; of one with many, the last
/// hour is looked at, then the seven hours before it, and so on in steps of eight times
/// the length until there are enough: no recording is listed twice, and none that is
/// much older than those that are shown.
async fn list_anew(store: &Store, name: &StreamName, now: u64) -> Result<Vec<Listed>, Fault> {
    let (mut newest, more) = page(store, name, None).await?;
    if more.is_some() {
        newest.clear();
        let (mut span, mut before) = (SPAN, None);
        while newest.len() < SHOWN && before != Some(0) {
            let from = now.saturating_sub(span);
            window(store, name, from, before, &mut newest).await?;
            before = Some(from);
            span = span.saturating_mul(8);
        }
    }
    newest.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    newest.truncate(SHOWN);
    stream::iter(newest)
        .map(|(id, key)| async move {
            let head = store.head(&key).await?;
            let sum = head.map(|head| objects::sum_of(&head.meta));
            let sum = sum.unwrap_or_default();
            Ok::<_, Fault>(Listed { id, sum })
        })
        .buffered(HEADS)
        .try_collect()
        .await
}

/// Adds the newest recordings from `from` on, up to `before`. The order of keys is that
/// of time, for ids have thirteen digits until the year 2286.
async fn window(
    store: &Store,
    name: &StreamName,
    from: u64,
    before: Option<u64>,
    newest: &mut Vec<(u64, Key)>,
) -> Result<(), Fault> {
    let key = |id: u64| Key::new(format!("{name}/vod-{id}")).ok();
    let end = before.and_then(key);
    let mut after = key(from).filter(|_| from > 0);
    loop {
        let (mut found, more) = page(store, name, after.as_ref()).await?;
        found.retain(|(id, _)| *id >= from && before.is_none_or(|before| *id < before));
        newest.append(&mut found);
        newest.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        newest.truncate(SHOWN);
        if more.is_none() || end.is_some() && more >= end {
            return Ok(());
        }
        after = more;
    }
}

/// The recordings that come after `after`, and after what there may be more.
async fn page(
    store: &Store,
    name: &StreamName,
    after: Option<&Key>,
) -> Result<(Vec<(u64, Key)>, Option<Key>), Fault> {
    let page = store.list(&format!("{name}/vod-"), after, PAGE).await?;
    let more = page.last().filter(|_| page.len() == PAGE);
    let more = more.map(|entry| entry.key.clone());
    let playlists = page.into_iter().filter_map(|entry| {
        let id = objects::id(&entry.key)?;
        Some((id, entry.key))
    });
    Ok((playlists.collect(), more))
}

/// How long a viewer waits for an answer; players ask again after about as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes a second that a store gives at least: what takes longer is no answer.
const SLOWEST: u64 = 1 << 20;

/// Requests to the store at once for those who watch.
const ASKING: usize = 32;

/// Questions that wait for their answer, or to be asked. Those who want to know the
/// same are one.
const WAITING: usize = 512;

/// Reads of the spool at once.
const READING: usize = 16;

/// KiB of segments that are read or sent: 64 MiB, which is half a minute of the
/// largest rung for sixty viewers who read as slowly as they watch.
const ROOM: u32 = 64 << 10;

/// How long a playlist of the store, or its list, is given again.
const FRESH: Duration = Duration::from_secs(5);

/// How long the size of a segment is known, which never changes: until it is deleted.
const FRESH_SIZE: Duration = Duration::from_secs(60);

/// Playlists that are kept: that of a whole day is a megabyte.
const PLAYLISTS: usize = 64;

/// Lists that are kept, of [`SHOWN`] recordings each.
const LISTS: usize = 256;

/// Sizes that are kept.
const SIZES: usize = 4096;

/// How far ahead of the last segment players may ask for one that is not made yet.
const SOON: u64 = 100;

/// Keys in an answer.
const PAGE: usize = 1000;

/// Milliseconds that are looked at first in a long list.
const SPAN: u64 = 3_600_000;

/// Recordings in a list.
const SHOWN: usize = 50;

/// Requests for sums at once.
const HEADS: usize = 8;

#[cfg(test)]
mod tests;
