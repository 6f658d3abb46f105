//! Finished recordings in a store: what there is, whether it is whole, and what
//! becomes of it.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use media::Ticks;
use packager::playlist::{self, Kind, Listing};
use packager::scan;
use tracing::warn;

use super::account::Piece;
use super::objects::{self, Sum};
use super::store::{Fault, FaultKind, Key, Store};
use crate::name::StreamName;

/// A recording by what it is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Which {
    pub(crate) name: StreamName,
    pub(crate) id: u64,
}

/// What is wrong with a recording, in words, and where.
pub(crate) type Flaw = String;

/// What was found of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) sum: Sum,
    /// Segments that the playlist lists and the store has.
    pub(crate) segments: u64,
    /// Segments that the playlist lists, not as gaps, and the store has not.
    pub(crate) missing: Vec<u64>,
    pub(crate) flaws: Vec<Flaw>,
}

/// All recordings of a store, or those of one stream, by name and id.
pub(crate) async fn all(store: &Store, only: Option<&StreamName>) -> Result<Vec<Which>, Fault> {
    let mut all = Vec::new();
    for name in streams(store, only).await? {
        let prefix = format!("{name}/vod-");
        let mut after = None;
        loop {
            let page = store.list(&prefix, after.as_ref(), PAGE).await?;
            let ids = page.iter().filter_map(|entry| objects::id(&entry.key));
            all.extend(ids.map(|id| Which {
                name: name.clone(),
                id,
            }));
            if page.len() < PAGE {
                break;
            }
            after = page.last().map(|entry| entry.key.clone());
        }
    }
    all.sort();
    Ok(all)
}

async fn streams(store: &Store, only: Option<&StreamName>) -> Result<Vec<StreamName>, Fault> {
    if let Some(name) = only {
        return Ok(vec![name.clone()]);
    }
    let mut names: Vec<StreamName> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list_folders("", after.as_deref(), PAGE).await?;
        // What is named otherwise is somebody else's.
        names.extend(page.iter().filter_map(|name| name.parse().ok()));
        if page.len() < PAGE {
            return Ok(names);
        }
        after = page.last().cloned();
    }
}

/// What the playlist of a recording was put with.
pub(crate) async fn sum(store: &Store, which: &Which) -> Result<Option<Sum>, Fault> {
    let Ok(key) = objects::playlist(&which.name, which.id) else {
        return Ok(None);
    };
    let head = store.head(&key).await?;
    Ok(head.map(|head| objects::sum_of(&head.meta)))
}

/// The playlist of a recording, as text and read.
async fn fetch(store: &Store, which: &Which) -> Result<Option<(String, Listing)>, Fault> {
    let Ok(key) = objects::playlist(&which.name, which.id) else {
        return Ok(None);
    };
    let Some(got) = store.get(&key, None).await? else {
        return Ok(None);
    };
    let text = String::from_utf8(got.bytes.into());
    let text = text.map_err(|_| Fault::refused(format!("{key} is no text")))?;
    match playlist::read(text.as_bytes()) {
        Some(read) => Ok(Some((text, read))),
        None => Err(Fault::refused(format!("{key} is no media playlist"))),
    }
}

/// A segment as a playlist lists it.
#[derive(Clone, Debug)]
struct Listed {
    number: u64,
    key: Key,
    rung: String,
    unix_ms: Option<i64>,
    seconds: f64,
    discontinuity: bool,
    gap: bool,
}

/// What a playlist lists. Others may have written to the store: what does not lie
/// where weir puts segments is a flaw and nothing that anything is done to.
fn listed(which: &Which, read: &Listing, flaws: &mut Vec<Flaw>) -> Vec<Listed> {
    let mut all = Vec::new();
    for one in &read.segments {
        let key = Key::new(format!("{}/{}", which.name, one.uri)).ok();
        let ours = key.and_then(|key| {
            let number = objects::number_of(&key)?;
            let mut elements = key.as_str().split('/');
            let rung = elements.nth(1)?.to_owned();
            let three = elements.count() == 1;
            (three && number >= which.id).then_some((number, key, rung))
        });
        let Some((number, key, rung)) = ours else {
            flaws.push(format!(
                "{:?} is listed, which is no segment of weir's",
                one.uri
            ));
            continue;
        };
        all.push(Listed {
            number,
            key,
            rung,
            unix_ms: one.unix_ms,
            seconds: one.seconds,
            discontinuity: one.discontinuity,
            gap: one.gap,
        });
    }
    all
}

/// The segments that the playlist of a recording lists, and whether each is a gap; none
/// when there is no playlist, or none that can be read. What a playlist does not say, the
/// bytes, is zero.
pub(super) async fn pieces(
    store: &Store,
    name: &StreamName,
    id: u64,
) -> Result<Vec<(Piece, bool)>, Fault> {
    let which = Which {
        name: name.clone(),
        id,
    };
    let read = match fetch(store, &which).await {
        Ok(Some((_, read))) => read,
        Ok(None) => return Ok(Vec::new()),
        Err(fault) if fault.kind == FaultKind::Passing => return Err(fault),
        // It is written anew.
        Err(_) => return Ok(Vec::new()),
    };
    let mut pieces = Vec::new();
    let (mut start, mut ms) = (0, id as i64);
    for one in listed(&which, &read, &mut Vec::new()) {
        if one.discontinuity {
            start = 0;
        }
        if let Some(at) = one.unix_ms {
            ms = at;
        }
        let duration = (one.seconds * Ticks::HZ as f64).round() as i64;
        let piece = Piece {
            number: one.number,
            rung: one.rung,
            start,
            duration,
            discontinuity: one.discontinuity,
            unix_ms: ms,
            bytes: 0,
            came_ms: u64::try_from(ms + duration / 90).unwrap_or_default(),
        };
        start += duration;
        ms += duration / 90;
        pieces.push((piece, one.gap));
    }
    Ok(pieces)
}

/// Looks at every segment of a recording: that it is there and, with `deep`, that
/// its pictures and sounds are where and as long as the playlist says. `None`: there
/// is no such recording.
pub(crate) async fn check(
    store: &Store,
    which: &Which,
    deep: bool,
) -> Result<Option<Findings>, Fault> {
    let Some((_, read)) = fetch(store, which).await? else {
        return Ok(None);
    };
    let mut findings = Findings::default();
    findings.sum.closed = read.ended;
    let flaws = &mut findings.flaws;
    let list = listed(which, &read, flaws);
    form(&read, &list, flaws);
    let looked = stream::iter(list.clone())
        .map(|one| async move {
            if one.gap {
                return Ok::<_, Fault>((one, None, None));
            }
            if !deep {
                let size = store.head(&one.key).await?.map(|head| head.size);
                return Ok((one, size, None));
            }
            let got = store.get(&one.key, None).await?;
            let size = got.as_ref().map(|got| got.bytes.len() as u64);
            let span = got.map(|got| scan::span(&got.bytes));
            Ok((one, size, span))
        })
        .buffered(AT_ONCE);
    let mut looked = std::pin::pin!(looked);
    let mut before: Option<(scan::Span, f64)> = None;
    let mut seconds = 0.0;
    while let Some((one, size, span)) = looked.try_next().await? {
        seconds += one.seconds;
        if one.gap {
            findings.sum.gaps += 1;
            before = None;
            continue;
        }
        let Some(size) = size.filter(|size| *size > 0) else {
            findings.missing.push(one.number);
            findings
                .flaws
                .push(format!("segment {} is listed and not there", one.number));
            before = None;
            continue;
        };
        findings.segments += 1;
        findings.sum.bytes += size;
        match span {
            Some(Ok(span)) => {
                let follows = before.filter(|_| !one.discontinuity);
                if let Some((last, lasted)) = follows {
                    let found = last.until(&span);
                    if (found - lasted).abs() > TOLERANCE {
                        findings.flaws.push(format!(
                            "segment {} begins {found:.3} s after the one before, whose duration is said to be {lasted:.3} s",
                            one.number
                        ));
                    }
                }
                before = Some((span, one.seconds));
            }
            Some(Err(why)) => {
                findings
                    .flaws
                    .push(format!("segment {}: {why}", one.number));
                before = None;
            }
            None => {}
        }
    }
    findings.sum.duration_ms = (seconds * 1000.0).round() as u64;
    Ok(Some(findings))
}

/// What can be told from the playlist alone.
fn form(read: &Listing, list: &[Listed], flaws: &mut Vec<Flaw>) {
    let longest = list.iter().map(|one| one.seconds).fold(0.0, f64::max);
    if longest.ceil() > read.target_seconds as f64 {
        flaws.push(format!(
            "a segment lasts {longest:.3} s, and TARGETDURATION is {}",
            read.target_seconds
        ));
    }
    if list.windows(2).any(|pair| pair[1].number <= pair[0].number) {
        flaws.push("the numbers of segments do not rise".to_owned());
    }
    let expected = match read.ended {
        true => Kind::Vod,
        false => Kind::Event,
    };
    if read.kind != Some(expected) {
        flaws.push("the type of the playlist does not fit whether it has an end".to_owned());
    }
}

/// Says of the segments that are `missing` that they are: they become gaps.
pub(crate) async fn mark_missing(
    store: &Store,
    which: &Which,
    missing: &[u64],
) -> Result<(), Fault> {
    let Some((text, read)) = fetch(store, which).await? else {
        return Ok(());
    };
    if is_open(store, which).await? {
        // Its server would say otherwise with the next segment.
        return Ok(());
    }
    let mut sum = sum(store, which).await?.unwrap_or_default();
    sum.gaps += missing.len() as u64;
    sum.closed = read.ended;
    let facts = objects::playlist_facts(which.id, &sum)
        .map_err(|error| Fault::refused(error.to_string()))?;
    let key = objects::playlist(&which.name, which.id)
        .map_err(|error| Fault::refused(error.to_string()))?;
    let text = with_gaps(&text, missing);
    store.put(&key, text.into(), &facts).await
}

fn with_gaps(text: &str, missing: &[u64]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(text.len() + missing.len() * 12);
    for (at, line) in lines.iter().enumerate() {
        let uri = lines.get(at + 1).copied().unwrap_or_default();
        let number = uri.rsplit_once('/').map_or(uri, |(_, file)| file);
        let number = number.strip_suffix(".ts").and_then(|n| n.parse().ok());
        if line.starts_with("#EXTINF:") && number.is_some_and(|n: u64| missing.contains(&n)) {
            out.push_str("#EXT-X-GAP\n");
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Whether a server looks after it.
async fn is_open(store: &Store, which: &Which) -> Result<bool, Fault> {
    let Ok(marker) = objects::marker(&which.name, which.id) else {
        return Ok(false);
    };
    let head = store.head(&marker).await?;
    Ok(head.is_some_and(|head| !objects::says_closed(head.size)))
}

/// Deletes a finished recording: its segments first, so that what is left of one that
/// was interrupted is found and deleted the next time. `false`: it is not finished, or
/// not weir's.
pub(crate) async fn delete(store: &Store, which: &Which) -> Result<bool, Fault> {
    let Some((_, read)) = fetch(store, which).await? else {
        return Ok(false);
    };
    let key = objects::playlist(&which.name, which.id);
    let key = key.map_err(|error| Fault::refused(error.to_string()))?;
    let head = store.head(&key).await?;
    let ours = head.is_some_and(|head| objects::recording_of(&head.meta) == Some(which.id));
    if !ours || !read.ended || is_open(store, which).await? {
        return Ok(false);
    }
    let segments = listed(which, &read, &mut Vec::new());
    stream::iter(segments.into_iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |one| async move { store.delete(&one.key).await })
        .await?;
    if let Ok(master) = objects::master(&which.name, which.id) {
        store.delete(&master).await?;
    }
    store.delete(&key).await?;
    Ok(true)
}

/// Deletes what began more than `days` ago. Gives back how many that were.
pub(crate) async fn expire(store: &Store, days: u32, now_ms: u64) -> Result<Vec<Which>, Fault> {
    let oldest = now_ms.saturating_sub(u64::from(days) * DAY_MS);
    let mut gone = Vec::new();
    let by_stream = all(store, None).await?;
    for which in by_stream.into_iter().filter(|which| which.id < oldest) {
        match delete(store, &which).await {
            Ok(true) => gone.push(which),
            Ok(false) => {}
            Err(fault) if fault.kind == FaultKind::Passing => return Err(fault),
            // The others are none the worse for it.
            Err(fault) => {
                warn!(stream = %which.name, recording = which.id, reason = %fault.why, "a recording that is too old cannot be deleted");
            }
        }
    }
    Ok(gone)
}

/// The sums of recordings.
pub(crate) async fn sums(store: &Store, all: Vec<Which>) -> Result<BTreeMap<Which, Sum>, Fault> {
    stream::iter(all)
        .map(|which| async move {
            let sum = sum(store, &which).await?.unwrap_or_default();
            Ok((which, sum))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Objects, and names, that are asked for at once.
const PAGE: usize = 1000;

/// Requests at once.
const AT_ONCE: usize = 8;

/// By how much times may differ, in seconds: durations are read with seven digits.
const TOLERANCE: f64 = 0.002;

const DAY_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_becomes_a_gap_and_nothing_else_changes() {
        let text =
            "#EXTM3U\n#EXTINF:2.000000,\n720p/7.ts\n#EXTINF:2.000000,\n720p/8.ts\n#EXT-X-ENDLIST\n";
        assert_eq!(with_gaps(text, &[]), text);
        assert_eq!(
            with_gaps(text, &[8]),
            "#EXTM3U\n#EXTINF:2.000000,\n720p/7.ts\n#EXT-X-GAP\n#EXTINF:2.000000,\n720p/8.ts\n#EXT-X-ENDLIST\n"
        );
    }

    #[test]
    fn only_what_lies_where_weir_puts_segments_is_weirs() {
        let which = Which {
            name: "demo".parse().unwrap(),
            id: 7,
        };
        let mut text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n".to_owned();
        for uri in [
            "720p/7.ts",
            "../other/720p/8.ts",
            "8.ts",
            "a/b/8.ts",
            "720p/6.ts",
            "/8.ts",
        ] {
            text += &format!("#EXTINF:2.0,\n{uri}\n");
        }
        let read = playlist::read(text.as_bytes()).unwrap();
        let mut flaws = Vec::new();
        let listed = listed(&which, &read, &mut flaws);
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].key.as_str(), "demo/720p/7.ts");
        assert_eq!(flaws.len(), 5);
    }
}
