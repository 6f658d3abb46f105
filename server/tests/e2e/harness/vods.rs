//! Recordings: where they are kept, what is kept of them, and what must be true of
//! every one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use super::bucket::{BUCKET, Bucket, Gate};
use super::playlist::{self, Entry, Media};
use super::server::Server;
use super::show::{Seen, Show};
use super::{SMALL_LADDER, pause, until};

/// A configuration that keeps recordings in the bucket behind `gate`, below
/// `live/`, and the small ladder. More of `[record]` may be given.
pub(crate) fn kept_behind(gate: &Gate, record: &str) -> String {
    let url = gate.url();
    format!(
        "[record]\nstore = \"s3://{BUCKET}/live\"\nendpoint = {url:?}\npath_style = true\n{record}\n{SMALL_LADDER}"
    )
}

/// Who is let into a bucket that is not locked.
pub(crate) const ANYBODY: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "anybody"),
    ("AWS_SECRET_ACCESS_KEY", "any secret"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

/// What the API says of the recordings of `demo`, oldest first.
#[track_caller]
pub(crate) fn recordings(server: &Server) -> Vec<Value> {
    let answer = server.get("/api/v1/recordings");
    assert_eq!(answer.status, 200);
    let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let all = answer["recordings"].as_array().expect("a list").iter();
    all.filter(|one| one["stream"] == "demo").cloned().collect()
}

/// What the API and the metrics say that the newest recording of `demo` is doing.
#[track_caller]
pub(crate) fn state(server: &Server) -> Option<String> {
    let newest = recordings(server).pop()?;
    Some(newest["state"].as_str().expect("a state").to_owned())
}

/// What the metrics say that it is doing; there is never more than one.
#[track_caller]
pub(crate) fn state_in_metrics(server: &Server) -> Option<String> {
    let page = server.get("/metrics").text();
    let head = "weir_record_state{stream=\"demo\",state=\"";
    let states = page
        .lines()
        .filter_map(|line| line.strip_prefix(head)?.split_once("\"} "));
    let present: Vec<_> = states.filter(|(_, is)| *is == "1").collect();
    assert!(present.len() <= 1, "{present:?}");
    present.first().map(|(state, _)| (*state).to_owned())
}

/// Waits until the recording with this id is closed, and gives back its id; without
/// one, until all are.
#[track_caller]
pub(crate) fn until_closed(server: &Server) -> u64 {
    until("the recording to be closed", || {
        let all = recordings(server);
        let closed = |one: &Value| one["state"] == "closed";
        let newest = all.last().filter(|_| all.iter().all(closed))?;
        newest["id"].as_u64()
    })
}

/// One recording, whole.
pub(crate) struct Vod {
    pub(crate) text: String,
    pub(crate) playlist: Media,
    /// The segments that are there, by their URI.
    pub(crate) segments: BTreeMap<String, Vec<u8>>,
}

impl Vod {
    /// Takes it from wherever `fetch` has what is below the stream's name.
    #[track_caller]
    pub(crate) fn read(id: u64, fetch: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let text = fetch(&format!("vod-{id}.m3u8")).expect("a playlist");
        let text = String::from_utf8(text).expect("text");
        let playlist = playlist::media(&text);
        let listed = playlist.entries.iter().filter(|entry| !entry.gap);
        let segments = listed.map(|entry| {
            let data = fetch(&entry.uri);
            let data = data.unwrap_or_else(|| panic!("{} is listed and not there", entry.uri));
            (entry.uri.clone(), data)
        });
        let segments = segments.collect();
        Self {
            text,
            playlist,
            segments,
        }
    }

    #[track_caller]
    pub(crate) fn from_server(server: &Server, id: u64) -> Self {
        Self::read(id, |path| {
            let answer = server.get(&format!("/demo/{path}"));
            (answer.status == 200).then_some(answer.body)
        })
    }

    #[track_caller]
    pub(crate) fn from_bucket(bucket: &Bucket, id: u64) -> Self {
        Self::read(id, |path| {
            Some(bucket.object(&format!("live/demo/{path}"))?.body)
        })
    }

    pub(crate) fn gaps(&self) -> usize {
        self.playlist
            .entries
            .iter()
            .filter(|entry| entry.gap)
            .count()
    }

    /// Sum of EXTINF.
    pub(crate) fn duration(&self) -> f64 {
        self.playlist
            .entries
            .iter()
            .map(|entry| entry.duration)
            .sum()
    }

    /// All that is there, in a row.
    pub(crate) fn media(&self) -> Vec<u8> {
        let entries = self.playlist.entries.iter();
        let parts = entries.filter_map(|entry| self.segments.get(&entry.uri));
        parts.flatten().copied().collect()
    }

    /// What holds for every finished recording.
    #[track_caller]
    pub(crate) fn is_finished(&self) {
        let playlist = &self.playlist;
        assert!(playlist.ended, "{}", self.text);
        assert_eq!(playlist.kind.as_deref(), Some("VOD"));
        let longest = playlist
            .entries
            .iter()
            .map(|entry| entry.duration.ceil() as u64);
        assert_eq!(
            Some(playlist.target),
            longest.max(),
            "TARGETDURATION is exact"
        );
        let first = &playlist.entries[0];
        assert!(!first.discontinuity && first.date.is_some(), "{first:?}");
        let number = |entry: &Entry| {
            let (_, file) = entry.uri.split_once('/').expect("a rung");
            file.strip_suffix(".ts")
                .and_then(|number| number.parse::<u64>().ok())
        };
        for pair in playlist.entries.windows(2) {
            assert!(number(&pair[0]) < number(&pair[1]), "{pair:?}");
            assert_eq!(pair[1].date.is_some(), pair[1].discontinuity, "{pair:?}");
        }
    }

    /// Every segment of `live` is in it as it was, in its place; gives back how many
    /// are not.
    #[track_caller]
    pub(crate) fn missing(&self, rung: &str, live: &[Seen]) -> Vec<u64> {
        let mut missing = Vec::new();
        for seen in live {
            let uri = format!("{rung}/{}", seen.entry.uri);
            let entry = self.playlist.entries.iter().find(|entry| entry.uri == uri);
            match entry.filter(|entry| !entry.gap) {
                None => missing.push(seen.number),
                Some(entry) => {
                    assert!(self.segments[&uri] == seen.data, "{uri} is another one");
                    let off = (entry.duration - seen.entry.duration).abs();
                    assert!(off < 1e-6, "{entry:?} and {:?}", seen.entry);
                }
            }
        }
        missing
    }

    /// It is what viewers of the best rung of `show` were given, no more and no less.
    #[track_caller]
    pub(crate) fn is_what_was_live(&self, show: &Show) {
        let rung = show.rung(BEST);
        assert_eq!(self.missing(BEST, &rung.segments), [0_u64; 0]);
        assert_eq!(self.playlist.entries.len(), rung.segments.len());
        let live: Vec<u8> = rung
            .segments
            .iter()
            .flat_map(|seen| &seen.data)
            .copied()
            .collect();
        assert!(self.media() == live, "other bytes than live");
    }
}

/// The best rung of the small ladder.
pub(crate) const BEST: &str = "180p";

/// Looks at all playlists of a bucket all the time, for what is listed and not there.
pub(crate) struct Audit {
    over: Arc<AtomicBool>,
    looking: Option<JoinHandle<Findings>>,
}

#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) looks: usize,
    /// Versions of playlists.
    pub(crate) playlists: usize,
    wrong: Vec<String>,
    there: BTreeSet<String>,
    tags: BTreeMap<String, String>,
    entries: BTreeMap<String, Vec<Entry>>,
}

impl Audit {
    pub(crate) fn of(bucket: &Bucket) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (bucket, enough) = (bucket.clone(), Arc::clone(&over));
        let looking = std::thread::spawn(move || {
            let mut findings = Findings::default();
            loop {
                // Once more after the end.
                let last = enough.load(Ordering::Relaxed);
                findings.look(&bucket);
                if last {
                    return findings;
                }
                pause();
            }
        });
        let looking = Some(looking);
        Self { over, looking }
    }

    /// Ends it; the test fails when anything was wrong at any time.
    #[track_caller]
    pub(crate) fn found_nothing(mut self) -> Findings {
        self.over.store(true, Ordering::Relaxed);
        let looking = self.looking.take().expect("it looks");
        let findings = looking.join().expect("playlists that can be read");
        assert!(findings.wrong.is_empty(), "{:#?}", findings.wrong);
        assert!(
            findings.playlists > 0,
            "no playlist in {} looks",
            findings.looks
        );
        findings
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Findings {
    fn look(&mut self, bucket: &Bucket) {
        self.looks += 1;
        for (key, tag) in bucket.keys("live/demo/vod-") {
            if key.ends_with("-master.m3u8") || self.tags.get(&key) == Some(&tag) {
                continue;
            }
            let Some(object) = bucket.object(&key) else {
                self.wrong.push(format!("{key} is gone"));
                continue;
            };
            self.tags.insert(key.clone(), tag);
            self.playlists += 1;
            let playlist = playlist::media(&object.text());
            for entry in playlist.entries.iter().filter(|entry| !entry.gap) {
                let segment = format!("live/demo/{}", entry.uri);
                if self.there.contains(&segment) {
                    continue;
                }
                match bucket.has(&segment) {
                    true => _ = self.there.insert(segment),
                    false => self
                        .wrong
                        .push(format!("{key} lists {segment}, which is not there")),
                }
            }
            // Players have what was there before, and do not read it again.
            let before = self.entries.insert(key.clone(), playlist.entries.clone());
            let before = before.unwrap_or_default();
            if !playlist.entries.starts_with(&before) {
                let after = &playlist.entries;
                let at = before.iter().zip(after).take_while(|(a, b)| a == b).count();
                self.wrong.push(format!(
                    "{key} has {:?} where it had {:?} (of {} and {})",
                    after.get(at),
                    before.get(at),
                    after.len(),
                    before.len()
                ));
            }
        }
    }
}
