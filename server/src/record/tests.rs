//! Recorders with a folder as their store, from the first segment to the last
//! playlist.

mod finished;
mod hours;

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use media::Timestamp;
use packager::playlist::{self, Kind, ListedSegment, Listing};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::record::store::Settings;

/// A data directory and a store, which outlive recorders.
struct Place {
    folder: TempDir,
    merge: Duration,
    spool_limit: u64,
}

impl Place {
    fn new(merge: Duration) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            merge,
            spool_limit: 1 << 30,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Puts something where the store would be, so that there is none.
    fn obstruct(&self) {
        fs::write(self.store(), "not a folder").unwrap();
    }

    fn clear(&self) {
        fs::remove_file(self.store()).unwrap();
    }

    fn open(&self) -> Recorder {
        self.open_with(&self.store(), Others::Left)
    }

    fn open_with(&self, store: &Path, others: Others) -> Recorder {
        self.open_at(&self.data(), store, others)
    }

    fn open_at(&self, data: &Path, store: &Path, others: Others) -> Recorder {
        fs::create_dir_all(data).unwrap();
        let settings = config::Record {
            store: Settings {
                url: format!("file://{}", store.display()).parse().unwrap(),
                endpoint: None,
                region: None,
                path_style: false,
            },
            merge: self.merge,
            spool_limit: self.spool_limit,
            keep_days: 0,
        };
        let target = Ticks::new(2 * Ticks::HZ);
        Recorder::open(settings, data, target, others).unwrap()
    }

    fn playlist(&self, id: u64) -> Listing {
        let path = self.store().join(format!("demo/vod-{id}.m3u8"));
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        playlist::read(&text).unwrap()
    }

    /// Whether `id` is finished in the store.
    fn closed(&self, id: u64) -> bool {
        let path = self.store().join(format!("demo/vod-{id}.m3u8"));
        let text = fs::read_to_string(path).unwrap_or_default();
        let marker = self.store().join(format!(".weir/open/demo/{id}"));
        text.ends_with("#EXT-X-ENDLIST\n") && !marker.exists()
    }

    /// What is listed is there, and nothing else is said.
    fn check(&self, playlist: &Listing, numbers: impl IntoIterator<Item = u64>) {
        let expected: Vec<_> = numbers
            .into_iter()
            .map(|n| format!("720p/{n}.ts"))
            .collect();
        let listed: Vec<_> = playlist
            .segments
            .iter()
            .map(|one| one.uri.clone())
            .collect();
        assert_eq!(listed, expected);
        for one in &playlist.segments {
            let gap = one.gap;
            let there = fs::read(self.store().join("demo").join(&one.uri)).ok();
            let number: u64 = one.uri["720p/".len()..one.uri.len() - 3].parse().unwrap();
            let expected = (!gap).then(|| data(number).to_vec());
            assert!(there == expected, "{} is another", one.uri);
        }
    }
}

fn data(number: u64) -> Bytes {
    Bytes::from(format!("segment {number} ").repeat(188 * 25))
}

fn output(name: &str, width: u32) -> Output {
    Output {
        name: name.to_owned(),
        listed: true,
        stands_for: Vec::new(),
        rung: None,
        size: Some(media::Size::new(width, width / 16 * 9)),
        frame_rate: Some(30.0),
        video: None,
        audio: None,
        audio_kbps: 0,
    }
}

fn segment(number: u64, session: u64) -> Arc<Segment> {
    Arc::new(Segment {
        number,
        start: Timestamp::from_ticks((number - session) as i64 * 2 * Ticks::HZ),
        duration: Ticks::new(2 * Ticks::HZ),
        discontinuity: false,
        data: data(number),
        has_video: true,
        has_audio: true,
    })
}

fn push(tap: &Tap, session: u64, numbers: impl IntoIterator<Item = u64>) {
    let outputs = [output("360p", 640), output("720p", 1280)];
    let clock = ProgramClock {
        at: Timestamp::ZERO,
        unix_ms: session as i64,
    };
    for number in numbers {
        let worse = Arc::new(Segment {
            data: Bytes::from_static(b"worse"),
            ..(*segment(number, session)).clone()
        });
        let batch = [(0, worse), (1, segment(number, session))];
        tap.push_best(&outputs, &batch, clock);
    }
}

fn name() -> StreamName {
    "demo".parse().unwrap()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let wait = async {
        while !is() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let done = timeout(Duration::from_secs(60), wait).await;
    assert!(done.is_ok(), "never: {what}");
}

/// What a viewer gets of a segment.
async fn seen(recorder: &Recorder, number: u64) -> Option<Bytes> {
    let found = recorder.segment(&name(), "720p", number, None).await;
    let found = found.unwrap()?;
    let read = recorder.read(&found, 0..found.size).await.unwrap();
    read.map(|held| held.bytes().clone())
}

async fn settled(recorder: &Recorder) {
    until("all is stored", || {
        let all = recorder.all();
        !all.is_empty() && all.iter().all(|one| one.backlog.segments == 0)
    })
    .await;
}

fn spooled(place: &Place) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![place.data().join("spool")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

#[tokio::test]
async fn a_broadcast_becomes_a_recording_of_its_best_rung() {
    let place = Place::new(Duration::ZERO);
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    push(&tap, 1000, 1000..1007);
    settled(&recorder).await;
    let watched = recorder.playlist(&name(), 1000).await.unwrap().unwrap();
    assert!(!watched.closed);
    let growing = playlist::read(watched.playlist.text()).unwrap();
    assert_eq!(growing.kind, Some(Kind::Event));
    assert_eq!(growing.segments.len(), 7);
    assert_eq!(recorder.all()[0].state, State::Recording);
    tap.end();
    until("it is closed", || place.closed(1000)).await;
    let playlist = place.playlist(1000);
    assert_eq!(playlist.kind, Some(Kind::Vod));
    assert_eq!(playlist.media_sequence, 1000);
    place.check(&playlist, 1000..1007);
    until("the spool is empty", || spooled(&place).is_empty()).await;
    assert_eq!(recorder.spooled_bytes(), 0);
    until("it is told as closed", || {
        recorder.all()[0].state == State::Closed
    })
    .await;
    // It is watched from the store now.
    let watched = recorder.playlist(&name(), 1000).await.unwrap().unwrap();
    assert!(watched.closed);
    assert_eq!(seen(&recorder, 1003).await, Some(data(1003)));
    assert_eq!(seen(&recorder, 9).await, None);
    let list = recorder.list(&name()).await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].id, list[0].sum.duration_ms), (1000, 14_000));
    assert!(list[0].sum.closed);
    let master = recorder.master(&name(), 1000).await.unwrap().unwrap();
    let master = String::from_utf8(master.playlist.text().to_vec()).unwrap();
    assert!(master.contains("RESOLUTION=1280x720"), "{master}");
    assert!(master.ends_with("vod-1000.m3u8\n"));
}

#[tokio::test]
async fn segments_that_become_complete_together_are_all_recorded() {
    let place = Place::new(Duration::ZERO);
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    let outputs = [output("360p", 640), output("720p", 1280)];
    let clock = ProgramClock {
        at: Timestamp::ZERO,
        unix_ms: 1000,
    };
    let of = |rung| (1000..1005).map(move |number| (rung, segment(number, 1000)));
    let batch: Vec<_> = of(1).chain(of(0)).collect();
    tap.push_best(&outputs, &batch, clock);
    tap.end();
    until("it is closed", || place.closed(1000)).await;
    place.check(&place.playlist(1000), 1000..1005);
}

#[tokio::test]
async fn a_list_tells_at_once_what_grows_and_what_ended() {
    let place = Place::new(Duration::ZERO);
    let recorder = place.open();
    let told = async || {
        let list = recorder.list(&name()).await.unwrap();
        let told = list
            .iter()
            .map(|one| (one.id, one.sum.duration_ms, one.sum.closed));
        told.collect::<Vec<_>>()
    };
    // From here on the store's answer is known for a while.
    assert_eq!(told().await, []);
    let tap = recorder.tap(&name(), 1000);
    push(&tap, 1000, 1000..1003);
    assert_eq!(told().await, [(1000, 6000, false)]);
    push(&tap, 1000, 1003..1004);
    assert_eq!(told().await, [(1000, 8000, false)]);
    tap.end();
    until("it is let go", || recorder.0.recordings().is_empty()).await;
    assert_eq!(told().await, [(1000, 8000, true)]);
}

#[tokio::test]
async fn a_publisher_that_returns_in_time_continues_its_recording() {
    let place = Place::new(Duration::from_secs(4));
    let recorder = place.open();
    let first = recorder.tap(&name(), 1000);
    push(&first, 1000, 1000..1003);
    first.end();
    let second = recorder.tap(&name(), 9000);
    push(&second, 9000, 9000..9002);
    settled(&recorder).await;
    second.end();
    until("it is closed", || place.closed(1000)).await;
    let playlist = place.playlist(1000);
    place.check(&playlist, [1000, 1001, 1002, 9000, 9001]);
    let breaks: Vec<_> = playlist
        .segments
        .iter()
        .map(|one| one.discontinuity)
        .collect();
    assert_eq!(breaks, [false, false, false, true, false]);
    assert!(playlist.segments[3].unix_ms.is_some());
    // One that comes too late has a recording of its own.
    let third = recorder.tap(&name(), 20_000);
    push(&third, 20_000, [20_000]);
    third.end();
    until("the other is closed", || place.closed(20_000)).await;
    place.check(&place.playlist(20_000), [20_000]);
    place.check(&place.playlist(1000), [1000, 1001, 1002, 9000, 9001]);
}

#[tokio::test]
async fn without_a_merge_time_two_broadcasts_are_two_recordings() {
    let place = Place::new(Duration::ZERO);
    let recorder = place.open();
    let first = recorder.tap(&name(), 1000);
    push(&first, 1000, 1000..1002);
    // The second begins before the first has ended.
    let second = recorder.tap(&name(), 5000);
    push(&second, 5000, [5000]);
    push(&first, 1000, [1002]);
    first.end();
    second.end();
    until("both are closed", || {
        place.closed(1000) && place.closed(5000)
    })
    .await;
    place.check(&place.playlist(1000), 1000..1003);
    place.check(&place.playlist(5000), [5000]);
}

#[tokio::test]
async fn a_store_that_is_away_costs_nothing() {
    let place = Place::new(Duration::ZERO);
    place.obstruct();
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    push(&tap, 1000, 1000..1005);
    until("it is told", || {
        let all = recorder.all();
        all.first().is_some_and(|one| one.state == State::Stalled)
    })
    .await;
    assert!(recorder.all()[0].error.is_some());
    until("all is in the spool", || {
        spooled(&place).len() == 6 && recorder.spooled_bytes() > 0
    })
    .await;
    // Who watches has everything all the same.
    assert_eq!(seen(&recorder, 1001).await, Some(data(1001)));
    tap.end();
    place.clear();
    until("it is closed", || place.closed(1000)).await;
    place.check(&place.playlist(1000), 1000..1005);
}

#[tokio::test]
async fn a_full_spool_gives_up_the_oldest_and_says_so() {
    let mut place = Place::new(Duration::ZERO);
    place.obstruct();
    place.spool_limit = 3 * data(1000).len() as u64 + 10;
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    for number in 1000..1006 {
        push(&tap, 1000, [number]);
        until("it is in the spool", || {
            let path = place.data().join(format!("spool/demo/1000/{number}.ts"));
            path.exists()
        })
        .await;
    }
    until("three are gone", || recorder.all()[0].gaps.segments == 3).await;
    assert!(recorder.spooled_bytes() <= place.spool_limit);
    tap.end();
    place.clear();
    until("it is closed", || place.closed(1000)).await;
    let playlist = place.playlist(1000);
    place.check(&playlist, 1000..1006);
    let gap = |at: usize| playlist.segments[at].gap;
    assert_eq!(
        (0..6).map(gap).collect::<Vec<_>>(),
        [true, true, true, false, false, false]
    );
    let lost = &recorder.counters().segments_lost;
    assert_eq!(lost.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn what_the_disk_does_not_let_go_of_is_not_lost() {
    let mut place = Place::new(Duration::ZERO);
    place.obstruct();
    place.spool_limit = 3 * data(1000).len() as u64 + 10;
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    let folder = place.data().join("spool/demo/1000");
    for number in 1000..1003 {
        push(&tap, 1000, [number]);
        let path = folder.join(format!("{number}.ts"));
        until("it is in the spool", || path.exists()).await;
    }
    // A file that cannot be removed, also by root: there is a folder in its place.
    let kept = folder.join("1000.ts");
    fs::rename(&kept, folder.join("aside")).unwrap();
    fs::create_dir(&kept).unwrap();
    push(&tap, 1000, [1003]);
    until("it is in the spool", || folder.join("1003.ts").exists()).await;
    assert_eq!(recorder.all()[0].gaps.segments, 0);
    fs::remove_dir(&kept).unwrap();
    fs::rename(folder.join("aside"), &kept).unwrap();
    tap.end();
    place.clear();
    until("it is closed", || place.closed(1000)).await;
    let playlist = place.playlist(1000);
    place.check(&playlist, 1000..1004);
    assert!(playlist.segments.iter().all(|one| !one.gap));
}

#[tokio::test]
async fn a_spool_that_is_removed_is_made_again() {
    let place = Place::new(Duration::ZERO);
    place.obstruct();
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    let folder = place.data().join("spool/demo/1000");
    push(&tap, 1000, [1000]);
    until("it is in the spool", || folder.join("1000.ts").exists()).await;
    // At once, whatever is being written there.
    fs::rename(place.data().join("spool"), place.data().join("gone")).unwrap();
    push(&tap, 1000, [1001]);
    until("it is in the spool", || folder.join("1001.ts").exists()).await;
    until("so is the journal", || folder.join("journal").exists()).await;
    until("it is told", || {
        recorder.all()[0]
            .error
            .as_deref()
            .is_none_or(|why| !why.contains("spool"))
    })
    .await;
    tap.end();
    place.clear();
    until("it is closed", || place.closed(1000)).await;
    let playlist = place.playlist(1000);
    place.check(&playlist, 1000..1002);
    let gaps: Vec<_> = playlist.segments.iter().map(|one| one.gap).collect();
    assert_eq!(gaps, [true, false]);
}

#[tokio::test]
async fn a_segment_of_the_spool_that_is_not_what_was_written_is_a_gap() {
    let place = Place::new(Duration::ZERO);
    place.obstruct();
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    push(&tap, 1000, 1000..1003);
    let path = |number| place.data().join(format!("spool/demo/1000/{number}.ts"));
    until("they are in the spool", || {
        (1000..1003).all(|number| path(number).exists())
    })
    .await;
    until("none is in memory", || {
        let recording = &recorder.0.recordings()[0];
        let account = recording.account();
        (1000..1003)
            .all(|number| matches!(account.place("720p", number), Some(account::Place::Spooled)))
    })
    .await;
    fs::write(path(1001), &data(1001)[..188]).unwrap();
    tap.end();
    place.clear();
    until("it is closed", || place.closed(1000)).await;
    let playlist = place.playlist(1000);
    place.check(&playlist, 1000..1003);
    let gaps: Vec<_> = playlist.segments.iter().map(|one| one.gap).collect();
    assert_eq!(gaps, [false, true, false]);
}

#[tokio::test]
async fn what_another_server_has_closed_meanwhile_is_not_unsaid() {
    let mut place = Place::new(Duration::from_secs(300));
    let here = place.open();
    let tap = here.tap(&name(), 1000);
    push(&tap, 1000, 1000..1003);
    settled(&here).await;
    tap.end();
    let marker = place.store().join(".weir/open/demo/1000");
    until("it can be continued elsewhere", || {
        let text = fs::read_to_string(&marker).unwrap_or_default();
        text.contains(r#""attached":false"#)
    })
    .await;
    // From here on this server does not reach the store, and another one does.
    let away = place.folder.path().join("away");
    fs::rename(place.store(), &away).unwrap();
    place.obstruct();
    let tap = here.tap(&name(), 1003);
    push(&tap, 1003, 1003..1020);
    place.merge = Duration::from_secs(5);
    let data = place.folder.path().join("other");
    let there = place.open_at(&data, &away, Others::Left);
    let other = there.tap(&name(), 2000);
    until("it goes on", || there.0.is_open(&name(), 1000)).await;
    push(&other, 2000, 2000..2002);
    other.end();
    until("it is closed", || {
        !away.join(".weir/open/demo/1000").exists()
    })
    .await;
    drop(there);
    place.clear();
    fs::rename(&away, place.store()).unwrap();
    until("it is told", || {
        let path = place.store().join("demo/vod-1000.m3u8");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.contains("720p/1004.ts")
    })
    .await;
    assert!(here.all().iter().all(|one| one.state != State::Closed));
    place.check(&place.playlist(1000), (1000..1020).chain(2000..2002));
}

/// A process that is killed: everything it was doing stops, and what is on the disk
/// stays.
fn in_a_process(work: impl AsyncFnOnce() + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work());
    runtime.shutdown_timeout(Duration::ZERO);
}

#[test]
fn the_next_start_closes_what_the_last_one_left() {
    let place = Arc::new(Place::new(Duration::from_secs(1)));
    place.obstruct();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 1000);
        push(&tap, 1000, 1000..1004);
        until("all is in the spool", || spooled(&here).len() == 5).await;
        std::mem::forget(tap);
    });
    // The last line is torn, and one segment's file half written.
    let journal = place.data().join("spool/demo/1000/journal");
    let mut text = fs::read(&journal).unwrap();
    text.extend_from_slice(b"{\"stored\":10");
    fs::write(&journal, text).unwrap();
    fs::write(place.data().join("spool/demo/1000/1004.new"), "half").unwrap();
    place.clear();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        assert_eq!(recorder.all()[0].backlog.segments, 4);
        until("it is closed", || here.closed(1000)).await;
        here.check(&here.playlist(1000), 1000..1004);
        until("the spool is empty", || spooled(&here).is_empty()).await;
        assert_eq!(recorder.spooled_bytes(), 0);
    });
}

#[test]
fn what_a_full_disk_did_not_note_is_known_before_the_end() {
    let place = Arc::new(Place::new(Duration::from_secs(600)));
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 1000);
        push(&tap, 1000, 1000..1006);
        settled(&recorder).await;
        std::mem::forget(tap);
    });
    // All from the third segment on.
    let journal = place.data().join("spool/demo/1000/journal");
    let text = fs::read_to_string(&journal).unwrap();
    let third = text.find("\"number\":1002,").unwrap();
    fs::write(&journal, &text[..third]).unwrap();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        until("all is known", || recorder.all()[0].stored.segments == 6).await;
        let watched = recorder.playlist(&name(), 1000).await.unwrap().unwrap();
        assert!(!watched.closed);
        let text = watched.playlist.text();
        here.check(&playlist::read(text).unwrap(), 1000..1006);
    });
}

#[test]
fn a_recording_is_continued_across_a_start() {
    let place = Arc::new(Place::new(Duration::from_secs(15)));
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 1000);
        push(&tap, 1000, 1000..1004);
        settled(&recorder).await;
        std::mem::forget(tap);
    });
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 7000);
        push(&tap, 7000, [7000]);
        tap.end();
        until("it is closed", || here.closed(1000)).await;
        here.check(&here.playlist(1000), [1000, 1001, 1002, 1003, 7000]);
    });
}

#[test]
fn without_its_disk_a_recording_is_closed_from_the_store_alone() {
    let place = Arc::new(Place::new(Duration::from_millis(100)));
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 1000);
        push(&tap, 1000, 1000..1008);
        settled(&recorder).await;
        let marker = here.store().join(".weir/open/demo/1000");
        until("it is marked as open", || marker.exists()).await;
        std::mem::forget(tap);
    });
    fs::remove_dir_all(place.data()).unwrap();
    // Its server has been silent for a minute.
    let marker = place.store().join(".weir/open/demo/1000");
    let file = fs::File::options().write(true).open(marker).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.set_modified(modified - Duration::from_secs(60))
        .unwrap();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let _recorder = here.open();
        until("it is closed", || here.closed(1000)).await;
        here.check(&here.playlist(1000), 1000..1008);
        let master = fs::read_to_string(here.store().join("demo/vod-1000-master.m3u8")).unwrap();
        assert!(master.contains("RESOLUTION=1280x720"), "{master}");
    });
}

#[test]
fn another_server_continues_what_one_has_left() {
    let place = Arc::new(Place::new(Duration::from_secs(15)));
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 1000);
        push(&tap, 1000, 1000..1003);
        settled(&recorder).await;
        tap.end();
        // That nobody is recorded any more has to be known.
        let marker = here.store().join(".weir/open/demo/1000");
        until("it is marked as left", || {
            fs::read_to_string(&marker).is_ok_and(|text| text.contains("\"attached\":false"))
        })
        .await;
    });
    fs::remove_dir_all(place.data()).unwrap();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 7000);
        until("it is taken over", || !recorder.all().is_empty()).await;
        push(&tap, 7000, [7000]);
        tap.end();
        until("it is closed", || here.closed(1000)).await;
        here.check(&here.playlist(1000), [1000, 1001, 1002, 7000]);
    });
}

/// What viewers are told of recording 1000 once that is `count` segments. A playlist
/// that began in the middle would have to change.
async fn told_whole(recorder: &Recorder, count: usize) -> Listing {
    loop {
        let watched = recorder.playlist(&name(), 1000).await.unwrap().unwrap();
        let listing = playlist::read(watched.playlist.text()).unwrap();
        assert!(listing.segments[0].uri == "720p/1000.ts", "{listing:?}");
        if listing.segments.len() == count {
            return listing;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_beginning_on_another_server_is_told_once_it_is_known() {
    let place = Arc::new(Place::new(Duration::from_secs(15)));
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 1000);
        push(&tap, 1000, 1000..1003);
        settled(&recorder).await;
        tap.end();
        recorder.drain().await;
    });
    fs::remove_dir_all(place.data()).unwrap();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 7000);
        until("it is taken over", || !recorder.all().is_empty()).await;
        push(&tap, 7000, [7000]);
        let seen = told_whole(&recorder, 4).await;
        settled(&recorder).await;
        here.check(&seen, [1000, 1001, 1002, 7000]);
        std::mem::forget(tap);
    });
    // What it had from the other server is in the store alone.
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let seen = told_whole(&recorder, 4).await;
        here.check(&seen, [1000, 1001, 1002, 7000]);
    });
}

#[tokio::test]
async fn the_last_segments_of_a_broadcast_are_told_before_those_of_its_successor() {
    let place = Place::new(Duration::from_secs(15));
    let recorder = place.open();
    let first = recorder.tap(&name(), 1000);
    push(&first, 1000, 1000..1002);
    let second = recorder.tap(&name(), 7000);
    push(&second, 7000, 7000..7002);
    settled(&recorder).await;
    let told = async |recorder: &Recorder| {
        let watched = recorder.playlist(&name(), 1000).await.unwrap().unwrap();
        playlist::read(watched.playlist.text()).unwrap()
    };
    place.check(&told(&recorder).await, [1000, 1001]);
    push(&first, 1000, 1002..1003);
    settled(&recorder).await;
    place.check(&told(&recorder).await, [1000, 1001, 1002]);
    first.end();
    place.check(&told(&recorder).await, [1000, 1001, 1002, 7000, 7001]);
    drop(second);
    recorder.drain().await;
    place.check(&place.playlist(1000), [1000, 1001, 1002, 7000, 7001]);
}

#[test]
fn a_recording_of_another_store_stays_in_the_spool() {
    let place = Arc::new(Place::new(Duration::from_millis(100)));
    place.obstruct();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 1000);
        push(&tap, 1000, 1000..1004);
        until("all is in the spool", || spooled(&here).len() == 5).await;
        std::mem::forget(tap);
    });
    let other = place.folder.path().join("other");
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open_with(&other, Others::Left);
        // Its own is recorded meanwhile.
        let tap = recorder.tap(&name(), 90_000);
        push(&tap, 90_000, [90_000]);
        tap.end();
        let playlist = other.join("demo/vod-90000.m3u8");
        until("it is closed", || playlist.exists()).await;
        assert_eq!(recorder.all().len(), 1);
        assert!(recorder.spooled_bytes() > 0);
        assert!(!other.join("demo/720p/1000.ts").exists());
    });
    place.clear();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let _recorder = here.open();
        until("it is closed", || here.closed(1000)).await;
        here.check(&here.playlist(1000), 1000..1004);
    });
}

#[tokio::test]
async fn playlists_cost_less_than_half_a_per_cent_of_the_media() {
    let place = Place::new(Duration::ZERO);
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    for number in 1000..1600 {
        push(&tap, 1000, [number]);
        settled(&recorder).await;
    }
    tap.end();
    until("it is closed", || place.closed(1000)).await;
    let puts = &recorder.counters().puts;
    let bytes = |(_, bytes): &(AtomicU64, AtomicU64)| bytes.load(Ordering::Relaxed);
    let media = bytes(&puts.segments);
    assert_eq!(puts.segments.0.load(Ordering::Relaxed), 600);
    assert!(
        bytes(&puts.playlists) * 200 <= media,
        "{} of {media}",
        bytes(&puts.playlists)
    );
    assert!(puts.playlists.0.load(Ordering::Relaxed) > 10);
}

async fn store_of(place: &Place) -> Store {
    let url = format!("file://{}", place.store().display());
    let settings = Settings {
        url: url.parse().unwrap(),
        endpoint: None,
        region: None,
        path_style: false,
    };
    Store::open(&settings).await.unwrap()
}

async fn recorded(place: &Place, id: u64) {
    let recorder = place.open();
    let tap = recorder.tap(&name(), id);
    push(&tap, id, id..id + 4);
    tap.end();
    // Another recorder of this data directory would find what is left and take it up.
    let over = || place.closed(id) && spooled(place).is_empty();
    until("it is closed", over).await;
}

#[tokio::test]
async fn what_is_missing_is_found_and_becomes_a_gap() {
    let place = Place::new(Duration::ZERO);
    recorded(&place, 1000).await;
    let store = store_of(&place).await;
    let all = catalogue::all(&store, None).await.unwrap();
    let [which] = &all[..] else {
        panic!("{all:?}");
    };
    // These segments are no MPEG-TS, but as long as such.
    let check = async |deep| {
        catalogue::check(&store, which, deep)
            .await
            .unwrap()
            .unwrap()
    };
    let good = check(false).await;
    assert_eq!((good.segments, good.sum.duration_ms), (4, 8000));
    assert!(good.flaws.is_empty() && good.sum.closed, "{good:?}");
    assert_eq!(check(true).await.flaws.len(), 4);
    fs::remove_file(place.store().join("demo/720p/1002.ts")).unwrap();
    let found = check(false).await;
    assert_eq!(found.missing, [1002]);
    assert_eq!((found.flaws.len(), found.faults().len()), (0, 1));
    assert!(
        catalogue::mark_missing(&store, which, &found)
            .await
            .unwrap()
    );
    let mended = check(false).await;
    assert!(mended.faults().is_empty(), "{mended:?}");
    assert_eq!((mended.sum.gaps, mended.segments), (1, 3));
    let sum = catalogue::sum(&store, which).await.unwrap().unwrap();
    assert_eq!((sum.gaps, sum.closed), (1, true));
}

#[tokio::test]
async fn what_is_too_old_is_deleted_and_nothing_else() {
    let place = Place::new(Duration::ZERO);
    recorded(&place, 1000).await;
    recorded(&place, 200_000_000).await;
    let others = [
        "demo/720p/readme.txt",
        "demo/vod-5.m3u8",
        "demo/720p/999.ts",
        "x/1.ts",
    ];
    for other in others {
        let path = place.store().join(other);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            path,
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n720p/999.ts\n#EXT-X-ENDLIST\n",
        )
        .unwrap();
    }
    let store = store_of(&place).await;
    let gone = catalogue::expire(&store, 1, 200_000_000).await.unwrap();
    let ids: Vec<_> = gone.iter().map(|which| which.id).collect();
    assert_eq!(ids, [1000]);
    assert!(!place.store().join("demo/vod-1000.m3u8").exists());
    assert!(!place.store().join("demo/vod-1000-master.m3u8").exists());
    assert!(!place.store().join("demo/720p/1001.ts").exists());
    for other in others {
        assert!(place.store().join(other).exists(), "{other}");
    }
    place.check(&place.playlist(200_000_000), 200_000_000..200_000_004);
    assert!(
        catalogue::expire(&store, 1, 200_000_000)
            .await
            .unwrap()
            .is_empty()
    );
}

#[test]
fn what_is_finished_already_is_not_made_less_by_whoever_comes_back_to_it() {
    let place = Arc::new(Place::new(Duration::from_millis(100)));
    let here = Arc::clone(&place);
    in_a_process(async move || recorded(&here, 1000).await);
    // A spool that knows of the first segment alone, which is not sent.
    let folder = place.data().join("spool/demo/1000");
    fs::create_dir_all(&folder).unwrap();
    let piece = Piece {
        number: 1000,
        rung: "720p".to_owned(),
        start: 0,
        duration: 180_000,
        discontinuity: true,
        unix_ms: 1000,
        bytes: data(1000).len() as u32,
        came_ms: 1000,
    };
    let begin = Begin {
        name: name(),
        id: 1000,
        target: 180_000,
        store: String::new(),
        elsewhere: false,
    };
    let mut journal = journal::Journal::new(&folder);
    journal
        .begin([journal::Line::Begin(begin), journal::Line::Segment(piece)])
        .unwrap();
    fs::write(folder.join("1000.ts"), data(1000)).unwrap();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let _recorder = here.open();
        until("the spool is empty", || spooled(&here).is_empty()).await;
        assert!(here.closed(1000));
        here.check(&here.playlist(1000), 1000..1004);
    });
}

#[test]
fn what_is_missing_within_a_broadcast_is_told_from_the_store_alone() {
    let place = Arc::new(Place::new(Duration::from_millis(100)));
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let recorder = here.open();
        let tap = recorder.tap(&name(), 1000);
        push(&tap, 1000, 1000..1006);
        settled(&recorder).await;
        let marker = here.store().join(".weir/open/demo/1000");
        until("it is marked as open", || marker.exists()).await;
        std::mem::forget(tap);
    });
    fs::remove_dir_all(place.data()).unwrap();
    for number in [1002, 1003] {
        fs::remove_file(place.store().join(format!("demo/720p/{number}.ts"))).unwrap();
    }
    let marker = place.store().join(".weir/open/demo/1000");
    let file = fs::File::options().write(true).open(marker).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.set_modified(modified - Duration::from_secs(60))
        .unwrap();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let _recorder = here.open();
        until("it is closed", || here.closed(1000)).await;
        let playlist = here.playlist(1000);
        here.check(&playlist, 1000..1006);
        let gap = |one: &&ListedSegment| one.gap;
        assert_eq!(playlist.segments.iter().filter(gap).count(), 2);
        assert_eq!(
            playlist.segments.iter().map(|one| one.seconds).sum::<f64>(),
            12.0
        );
    });
}

#[tokio::test]
async fn a_stop_leaves_all_that_another_server_needs() {
    let place = Place::new(Duration::from_secs(3600));
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    push(&tap, 1000, 1000..1008);
    tap.end();
    recorder.drain().await;
    let playlist = place.playlist(1000);
    assert_eq!(playlist.kind, Some(Kind::Event));
    place.check(&playlist, 1000..1008);
    let marker = fs::read_to_string(place.store().join(".weir/open/demo/1000")).unwrap();
    assert!(marker.contains("\"attached\":false"), "{marker}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_store_that_is_away() {
    let place = Place::new(Duration::from_secs(3600));
    place.obstruct();
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    push(&tap, 1000, 1000..1004);
    until("all is in the spool", || spooled(&place).len() == 5).await;
    tap.end();
    let stopped = timeout(upload::DRAIN / 2, recorder.drain());
    assert!(stopped.await.is_ok());
    assert_eq!(spooled(&place).len(), 5);
}

#[tokio::test]
async fn what_is_not_cut_by_weir_has_a_target_that_no_segment_changes() {
    let place = Place::new(Duration::ZERO);
    let recorder = place.open();
    let tap = recorder.tap(&name(), 1000);
    let clock = ProgramClock {
        at: Timestamp::ZERO,
        unix_ms: 1000,
    };
    let mut start = Timestamp::ZERO;
    for (number, seconds) in [(1000, 2), (1001, 29), (1002, 9)] {
        let duration = Ticks::new(seconds * Ticks::HZ);
        let one = Arc::new(Segment {
            start,
            duration,
            ..(*segment(number, 1000)).clone()
        });
        start += duration;
        tap.push_best(&[output(source::NAME, 1280)], &[(0, one)], clock);
        let watched = recorder.playlist(&name(), 1000).await.unwrap().unwrap();
        let growing = playlist::read(watched.playlist.text()).unwrap();
        assert_eq!(growing.target_seconds, 30);
    }
    tap.end();
    until("it is closed", || place.closed(1000)).await;
    assert_eq!(place.playlist(1000).target_seconds, 29);
}
