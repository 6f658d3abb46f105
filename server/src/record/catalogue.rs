//! Finished recordings in a store: what there is, whether it is whole, and what
//! becomes of it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use media::Ticks;
use packager::playlist::{self, Kind, Listing};
use packager::scan;
use tracing::warn;

use super::account::{Piece, Place};
use super::objects::{self, Sum};
use super::recording::blocking;
use super::spool;
use super::store::{Fault, FaultKind, Key, Meta, Store};
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
    /// What else is wrong.
    pub(crate) flaws: Vec<Flaw>,
}

impl Findings {
    /// Everything that is wrong.
    pub(crate) fn faults(&self) -> Vec<Flaw> {
        let missing = self.missing.iter();
        missing
            .map(|number| format!("segment {number} is listed and not there"))
            .chain(self.flaws.iter().cloned())
            .collect()
    }
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

/// The playlist of a recording.
struct Fetched {
    text: String,
    read: Listing,
    /// What it was put with.
    meta: Meta,
}

impl Fetched {
    /// Whether weir has written it, as it is.
    fn is_of(&self, which: &Which) -> bool {
        objects::recording_of(&self.meta) == Some(which.id)
    }
}

async fn fetch(store: &Store, which: &Which) -> Result<Option<Fetched>, Fault> {
    let Ok(key) = objects::playlist(&which.name, which.id) else {
        return Ok(None);
    };
    let Some(got) = store.get(&key, None).await? else {
        return Ok(None);
    };
    let text = String::from_utf8(got.bytes.into());
    let text = text.map_err(|_| Fault::refused(format!("{key} is no text")))?;
    match playlist::read(text.as_bytes()) {
        Some(read) => Ok(Some(Fetched {
            text,
            read,
            meta: got.head.meta,
        })),
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
        Ok(Some(found)) => found.read,
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

/// Looks at every segment of a recording: that it is there, as large as it was put and,
/// with `deep`, that its pictures and sounds are where and as long as the playlist
/// says. `None`: there is no such recording.
pub(crate) async fn check(
    store: &Store,
    which: &Which,
    deep: bool,
) -> Result<Option<Findings>, Fault> {
    let Some(found) = fetch(store, which).await? else {
        return Ok(None);
    };
    let read = &found.read;
    let mut findings = Findings::default();
    findings.sum.closed = read.ended;
    let flaws = &mut findings.flaws;
    let list = listed(which, read, flaws);
    form(read, &list, flaws);
    let looked = stream::iter(list)
        .map(|one| look(store, one, deep))
        .buffered(AT_ONCE);
    let mut looked = std::pin::pin!(looked);
    let mut before: Option<(scan::Span, f64)> = None;
    let mut seconds = 0.0;
    while let Some(Looked {
        one,
        size,
        meta,
        span,
    }) = looked.try_next().await?
    {
        seconds += one.seconds;
        if one.gap {
            findings.sum.gaps += 1;
            before = None;
            continue;
        }
        let Some(size) = size.filter(|size| *size > 0) else {
            findings.missing.push(one.number);
            before = None;
            continue;
        };
        findings.segments += 1;
        findings.sum.bytes += size;
        let own = own(which, &meta, size).filter(|_| !matches!(span, Some(Err(_))));
        if let Some(flaw) = own {
            findings
                .flaws
                .push(format!("segment {}: {flaw}", one.number));
        }
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
    if found.is_of(which) {
        compare(&objects::sum_of(&found.meta), &mut findings);
    }
    Ok(Some(findings))
}

/// What was seen of a segment.
struct Looked {
    one: Listed,
    /// `None`: it is not there, or is a gap.
    size: Option<u64>,
    meta: Meta,
    span: Option<Result<scan::Span, String>>,
}

async fn look(store: &Store, one: Listed, deep: bool) -> Result<Looked, Fault> {
    let (mut head, mut span) = (None, None);
    if deep && !one.gap {
        let got = store.get(&one.key, None).await?;
        span = got.as_ref().map(|got| scan::span(&got.bytes));
        head = got.map(|got| got.head);
    } else if !one.gap {
        head = store.head(&one.key).await?;
    }
    Ok(Looked {
        one,
        size: head.as_ref().map(|head| head.size),
        meta: head.map(|head| head.meta).unwrap_or_default(),
        span,
    })
}

/// What is wrong with a segment as it was put, of `size` bytes now. A folder has not
/// kept what was put with the segments of a closed recording.
fn own(which: &Which, meta: &Meta, size: u64) -> Option<Flaw> {
    if let Some(of) = objects::recording_of(meta)
        && of != which.id
    {
        return Some(format!("it belongs to recording {of}"));
    }
    match objects::piece_of(meta) {
        Some(piece) if u64::from(piece.bytes) != size => {
            Some(format!("it has {size} bytes of {}", piece.bytes))
        }
        None if !size.is_multiple_of(PACKET) => Some(format!(
            "its {size} bytes are not whole packets of {PACKET}"
        )),
        _ => None,
    }
}

/// Compares what the playlist was put with to what was found.
fn compare(stated: &Sum, findings: &mut Findings) {
    let found = findings.sum;
    let flaws = &mut findings.flaws;
    if stated.closed != found.closed {
        let state = |closed| if closed { "closed" } else { "open" };
        flaws.push(format!(
            "its playlist is {}, and is listed as {}",
            state(found.closed),
            state(stated.closed)
        ));
    }
    if stated.gaps != found.gaps {
        flaws.push(format!(
            "{} gaps are stated, and its playlist has {}",
            stated.gaps, found.gaps
        ));
    }
    // Each EXTINF is rounded to a millionth.
    let rounding = 2 + (findings.segments + found.gaps) / 500;
    if stated.duration_ms.abs_diff(found.duration_ms) > rounding {
        flaws.push(format!(
            "{} ms are stated, and its playlist has {} ms",
            stated.duration_ms, found.duration_ms
        ));
    }
    // While it grows, segments are stored that no playlist lists yet; and those that
    // are missing are told by themselves.
    let all = stated.closed && found.closed && findings.missing.is_empty();
    if all && stated.bytes != found.bytes {
        flaws.push(format!(
            "{} bytes are stated, and its segments have {}",
            stated.bytes, found.bytes
        ));
    }
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

/// Says of the segments that were found missing that they are: they become gaps.
/// `false`: a server looks after the recording, which would say otherwise with the next
/// segment.
pub(crate) async fn mark_missing(
    store: &Store,
    which: &Which,
    found: &Findings,
) -> Result<bool, Fault> {
    if is_open(store, which).await? {
        return Ok(false);
    }
    let Some(Fetched { text, read, .. }) = fetch(store, which).await? else {
        return Ok(false);
    };
    let sum = Sum {
        gaps: found.sum.gaps + found.missing.len() as u64,
        closed: read.ended,
        ..found.sum
    };
    let facts = objects::playlist_facts(which.id, &sum)
        .map_err(|error| Fault::refused(error.to_string()))?;
    let key = objects::playlist(&which.name, which.id)
        .map_err(|error| Fault::refused(error.to_string()))?;
    let text = with_gaps(&text, &found.missing);
    store.put(&key, text.into(), &facts).await?;
    Ok(true)
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
        if line.starts_with("#EXT-X-VERSION:") && !missing.is_empty() {
            let _ = write!(out, "#EXT-X-VERSION:{}", playlist::VERSION_WITH_GAPS);
        } else {
            out.push_str(line);
        }
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
    let Some(found) = fetch(store, which).await? else {
        return Ok(false);
    };
    let key = objects::playlist(&which.name, which.id);
    let key = key.map_err(|error| Fault::refused(error.to_string()))?;
    if !found.is_of(which) || !found.read.ended || is_open(store, which).await? {
        return Ok(false);
    }
    let segments = listed(which, &found.read, &mut Vec::new());
    let later = &Later::than(store, which, &segments).await?;
    stream::iter(segments.into_iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |one| async move {
            if later.may_have(store, which, &one).await? {
                warn!(stream = %which.name, recording = which.id, object = %one.key, "a recording that is deleted lists a segment of another, which stays");
                return Ok(());
            }
            store.delete(&one.key).await
        })
        .await?;
    if let Ok(master) = objects::master(&which.name, which.id) {
        store.delete(&master).await?;
    }
    store.delete(&key).await?;
    Ok(true)
}

/// What later recordings of a stream may call theirs of the segments of one. Numbers
/// begin at the time of day, so there is mostly none; a recording that was merged, or a
/// playlist that somebody else wrote, may reach into the next.
#[derive(Debug, Default)]
struct Later {
    /// The first segment that may be another's.
    from: Option<u64>,
    listed: HashSet<Key>,
}

impl Later {
    async fn than(store: &Store, which: &Which, segments: &[Listed]) -> Result<Self, Fault> {
        let Some(last) = segments.iter().map(|one| one.number).max() else {
            return Ok(Self::default());
        };
        let mut ids = ids(store, &which.name).await?;
        ids.retain(|id| *id > which.id && *id <= last);
        let mut listed = HashSet::new();
        for id in &ids {
            let other = Which {
                name: which.name.clone(),
                id: *id,
            };
            if let Some(found) = fetch(store, &other).await? {
                let all = self::listed(&other, &found.read, &mut Vec::new());
                listed.extend(all.into_iter().map(|one| one.key));
            }
        }
        let from = ids.into_iter().min();
        Ok(Self { from, listed })
    }

    /// Whether a segment that `which` lists is not its own. What was put with it says so,
    /// where that is still known: while its recording is open, and in a bucket.
    async fn may_have(&self, store: &Store, which: &Which, one: &Listed) -> Result<bool, Fault> {
        if self.from.is_none_or(|from| one.number < from) {
            return Ok(false);
        }
        let Some(head) = store.head(&one.key).await? else {
            return Ok(false);
        };
        Ok(match objects::recording_of(&head.meta) {
            Some(of) => of != which.id,
            None => self.listed.contains(&one.key),
        })
    }
}

/// The recordings of a stream, those included that have no playlist yet.
async fn ids(store: &Store, name: &StreamName) -> Result<Vec<u64>, Fault> {
    let closed = all(store, Some(name)).await?;
    let mut ids: Vec<u64> = closed.into_iter().map(|one| one.id).collect();
    let prefix = format!("{}{name}/", objects::OPEN);
    let mut after = None;
    loop {
        let page = store.list(&prefix, after.as_ref(), PAGE).await?;
        let marked = page.iter().filter_map(|entry| objects::marked(&entry.key));
        ids.extend(marked.map(|(_, id)| id));
        if page.len() < PAGE {
            return Ok(ids);
        }
        after = page.last().map(|entry| entry.key.clone());
    }
}

/// Deletes what began more than `days` ago. Gives back which that were. One that cannot be
/// deleted is told, and left to the next time.
pub(crate) async fn expire(store: &Store, days: u32, now_ms: u64) -> Result<Vec<Which>, Fault> {
    let oldest = now_ms.saturating_sub(u64::from(days) * DAY_MS);
    let mut gone = Vec::new();
    let mut patience = Patience::default();
    let by_stream = all(store, None).await?;
    for which in by_stream.into_iter().filter(|which| which.id < oldest) {
        let deleted = delete(store, &which).await;
        if let Err(fault) = &deleted {
            warn!(stream = %which.name, recording = which.id, reason = %fault.why, "a recording that is too old cannot be deleted");
        }
        if patience.is_over(deleted.as_ref().err()) {
            break;
        }
        if deleted.is_ok_and(|deleted| deleted) {
            gone.push(which);
        }
    }
    Ok(gone)
}

/// Tells a store that is away from a recording that cannot be read: of many recordings the
/// others are none the worse for one.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    in_a_row: usize,
}

impl Patience {
    /// Takes what became of the next recording.
    pub(crate) fn is_over(&mut self, fault: Option<&Fault>) -> bool {
        match fault {
            None => self.in_a_row = 0,
            Some(fault) if fault.kind == FaultKind::Passing => self.in_a_row += 1,
            Some(_) => {}
        }
        self.in_a_row >= ENOUGH
    }
}

/// Sends segments of the spool in `data` again that the store had taken, where it does
/// not have them any more as they were. What it has not taken is sent by whoever takes up
/// the recording. Recordings one by one: a fault is that recording's.
pub(crate) async fn resend(
    store: &Store,
    data: &Path,
) -> std::io::Result<Vec<(Which, Result<u64, Fault>)>> {
    let folder = spool::place(data);
    let found = blocking(move || spool::look(&folder)).await?;
    let mut done = Vec::new();
    let mut patience = Patience::default();
    for one in found {
        let which = Which {
            name: one.begin.name.clone(),
            id: one.begin.id,
        };
        let resent = resend_one(store, &one).await;
        let over = patience.is_over(resent.as_ref().err());
        done.push((which, resent));
        if over {
            break;
        }
    }
    Ok(done)
}

async fn resend_one(store: &Store, found: &spool::Found) -> Result<u64, Fault> {
    let (name, id) = (&found.begin.name, found.begin.id);
    let invalid = |error: &dyn std::fmt::Display| Fault::refused(error.to_string());
    let mut count = 0;
    for (piece, place) in found.account.pieces() {
        let path = spool::file(&found.folder, piece.number);
        if !matches!(place, Place::Stored) || !path.is_file() {
            continue;
        }
        let key = objects::segment(name, &piece.rung, piece.number);
        let key = key.map_err(|error| invalid(&error))?;
        let head = store.head(&key).await?;
        if head.is_some_and(|head| head.size == u64::from(piece.bytes)) {
            continue;
        }
        let Ok(bytes) = blocking(move || std::fs::read(path)).await else {
            continue;
        };
        if bytes.len() as u64 != u64::from(piece.bytes) {
            continue;
        }
        let facts = objects::segment_facts(id, &piece).map_err(|error| invalid(&error))?;
        store.put(&key, bytes.into(), &facts).await?;
        count += 1;
    }
    Ok(count)
}

/// The sums of recordings, each on its own.
pub(crate) async fn sums(store: &Store, all: Vec<Which>) -> Vec<(Which, Result<Sum, Fault>)> {
    stream::iter(all)
        .map(|which| async move {
            let sum = sum(store, &which).await;
            (which, sum.map(Option::unwrap_or_default))
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

/// Objects, and names, that are asked for at once.
const PAGE: usize = 1000;

/// Requests at once.
const AT_ONCE: usize = 8;

/// Recordings in a row that a store does not answer for, when it is taken to be away.
const ENOUGH: usize = 3;

/// Bytes of a packet of MPEG-TS.
const PACKET: u64 = 188;

/// By how much times may differ, in seconds: durations are read with seven digits.
const TOLERANCE: f64 = 0.002;

const DAY_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_becomes_a_gap_and_nothing_else_changes() {
        let text = "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:2.000000,\n720p/7.ts\n#EXTINF:2.000000,\n720p/8.ts\n#EXT-X-ENDLIST\n";
        assert_eq!(with_gaps(text, &[]), text);
        assert_eq!(
            with_gaps(text, &[8]),
            "#EXTM3U\n#EXT-X-VERSION:8\n#EXTINF:2.000000,\n720p/7.ts\n#EXT-X-GAP\n#EXTINF:2.000000,\n720p/8.ts\n#EXT-X-ENDLIST\n"
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
