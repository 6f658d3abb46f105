//! Recordings for those who watch them: from this server's memory and disk while
//! they are here, from the store otherwise.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::account::Place;
use super::objects::{self, Sum};
use super::recording::{Recording, blocking};
use super::store::{Fault, Key};
use super::{Recorder, Shared, spool, upload};
use crate::http::Rendered;
use crate::name::StreamName;

/// A playlist, and whether it will not change any more.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) playlist: Arc<Rendered>,
    pub(crate) closed: bool,
}

/// A recording in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its start in Unix milliseconds, which is what it is called.
    pub(crate) id: u64,
    pub(crate) sum: Sum,
}

type List = Arc<Vec<Listed>>;

/// What is kept for those who watch, and how many may ask the store at once.
#[derive(Debug)]
pub(super) struct Places {
    asking: Semaphore,
    /// Playlists of the store that were asked for lately.
    playlists: Mutex<HashMap<Key, (Instant, Watched)>>,
    lists: Mutex<HashMap<StreamName, (Instant, List)>>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            asking: Semaphore::new(ASKING),
            playlists: Mutex::default(),
            lists: Mutex::default(),
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

    /// A segment of a recording; `None`: there is none.
    pub(crate) async fn segment(
        &self,
        name: &StreamName,
        rung: &str,
        number: u64,
    ) -> Result<Option<Bytes>, Fault> {
        if let Some(bytes) = self.0.segment_of_here(name, rung, number).await {
            return Ok(Some(bytes));
        }
        // What is no key names no segment.
        let Ok(key) = objects::segment(name, rung, number) else {
            return Ok(None);
        };
        let store = self.0.store().await?;
        let _place = self.0.watch.asking.acquire().await;
        Ok(store.get(&key, None).await?.map(|got| got.bytes))
    }

    /// The newest recordings of `name`, the newest first. Those that grow here are
    /// told as they are now, whatever is known of the store.
    pub(crate) async fn list(&self, name: &StreamName) -> Result<Vec<Listed>, Fault> {
        let stored = self.stored(name).await?;
        let mut sums: BTreeMap<u64, Sum> = stored.iter().map(|one| (one.id, one.sum)).collect();
        sums.extend(self.0.open_sums(name));
        let newest = sums.into_iter().rev().take(SHOWN);
        Ok(newest.map(|(id, sum)| Listed { id, sum }).collect())
    }

    /// Those of the store.
    async fn stored(&self, name: &StreamName) -> Result<List, Fault> {
        let lists = &self.0.watch.lists;
        let known = {
            let lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
            lists.get(name).cloned()
        };
        if let Some((at, list)) = known
            && at.elapsed() < FRESH
        {
            return Ok(list);
        }
        let list = Arc::new(self.0.list_anew(name).await?);
        let mut lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= KEPT {
            lists.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if lists.len() < KEPT {
            lists.insert(name.clone(), (Instant::now(), Arc::clone(&list)));
        }
        Ok(list)
    }
}

impl Shared {
    fn growing(&self, name: &StreamName, id: u64) -> Option<Arc<Recording>> {
        let told = |one: &Arc<Recording>| !one.is_closed() && !one.is_partial();
        self.find(name, id).filter(told)
    }

    async fn playlist_of_store(&self, key: Key) -> Result<Option<Watched>, Fault> {
        let playlists = &self.watch.playlists;
        let known = {
            let playlists = playlists.lock().unwrap_or_else(PoisonError::into_inner);
            playlists.get(&key).cloned()
        };
        if let Some((at, watched)) = known
            && at.elapsed() < FRESH
        {
            return Ok(Some(watched));
        }
        let store = self.store().await?;
        let place = self.watch.asking.acquire().await;
        let Some(got) = store.get(&key, None).await? else {
            return Ok(None);
        };
        drop(place);
        let Ok(text) = String::from_utf8(got.bytes.into()) else {
            return Err(Fault::refused(format!("{key} in the store is no playlist")));
        };
        let watched = Watched {
            closed: objects::sum_of(&got.head.meta).closed || text.ends_with("#EXT-X-ENDLIST\n"),
            playlist: Arc::new(Rendered::new(text)),
        };
        let mut playlists = playlists.lock().unwrap_or_else(PoisonError::into_inner);
        if playlists.len() >= KEPT {
            playlists.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if playlists.len() < KEPT {
            playlists.insert(key, (Instant::now(), watched.clone()));
        }
        Ok(Some(watched))
    }

    async fn segment_of_here(&self, name: &StreamName, rung: &str, number: u64) -> Option<Bytes> {
        let open = self.recordings();
        let of_name = open.iter().filter(|one| one.name() == name);
        for recording in of_name {
            match recording.account().place(rung, number) {
                Some(Place::Memory(segment)) => return Some(segment.data.clone()),
                Some(Place::Spooled) => {}
                // The store has it, or nobody.
                Some(Place::Stored | Place::Lost) => return None,
                None => continue,
            }
            let path = spool::file(&recording.folder, number);
            let read = blocking(move || std::fs::read(path)).await;
            // It may just have gone to the store.
            return read.ok().map(Bytes::from);
        }
        None
    }

    async fn list_anew(&self, name: &StreamName) -> Result<Vec<Listed>, Fault> {
        let store = self.store().await?;
        let place = self.watch.asking.acquire().await;
        let prefix = format!("{name}/vod-");
        let (mut after, mut keys) = (None, Vec::new());
        loop {
            let page = store.list(&prefix, after.as_ref(), PAGE).await?;
            after = page.last().map(|entry| entry.key.clone());
            let more = page.len() == PAGE;
            let playlists = page.into_iter().filter_map(|entry| {
                let id = objects::id(&entry.key)?;
                Some((id, entry.key))
            });
            keys.extend(playlists);
            if !more || keys.len() >= MOST {
                break;
            }
        }
        keys.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        keys.truncate(SHOWN);
        let listed = stream::iter(keys)
            .map(|(id, key)| {
                let store = &store;
                async move {
                    let head = store.head(&key).await?;
                    let sum = head.map(|head| objects::sum_of(&head.meta));
                    let sum = sum.unwrap_or_default();
                    Ok::<_, Fault>(Listed { id, sum })
                }
            })
            .buffered(HEADS)
            .try_collect()
            .await?;
        drop(place);
        Ok(listed)
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
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.remove(name);
    }
}

/// Requests to the store at once for those who watch.
const ASKING: usize = 32;

/// How long an answer of the store is given again.
const FRESH: Duration = Duration::from_secs(5);

/// Answers that are kept: the playlist of a whole day is a megabyte.
const KEPT: usize = 64;

const PAGE: usize = 1000;

/// Recordings of a stream that are looked through for the newest.
const MOST: usize = 10_000;

/// Recordings in a list.
const SHOWN: usize = 50;

/// Requests for sums at once.
const HEADS: usize = 8;
