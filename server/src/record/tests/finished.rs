//! Recordings that are finished: what is found to be wrong with them, what can be
//! mended, and what is deleted.

use super::catalogue::{Patience, Which};
use super::journal::{Journal, Line};
use super::objects::Sum;
use super::store::{Facts, FaultKind};
use super::*;

fn which(id: u64) -> Which {
    Which { name: name(), id }
}

fn object(place: &Place, number: u64) -> PathBuf {
    place.store().join(format!("demo/720p/{number}.ts"))
}

async fn faults(store: &Store, id: u64) -> Vec<String> {
    let found = catalogue::check(store, &which(id), false).await.unwrap();
    found.unwrap().faults()
}

/// What is put with the object at `key` from now on.
async fn put_facts(store: &Store, key: &str, change: impl FnOnce(&mut Facts)) {
    let key = key.parse().unwrap();
    let got = store.get(&key, None).await.unwrap().unwrap();
    let mut facts = Facts {
        content_type: "video/MP2T",
        cache_control: "no-cache",
        meta: got.head.meta,
    };
    change(&mut facts);
    store.put(&key, got.bytes, &facts).await.unwrap();
}

#[tokio::test]
async fn a_segment_that_is_cut_short_is_found_without_being_read() {
    let place = Place::new(Duration::ZERO);
    recorded(&place, 1000).await;
    let store = store_of(&place).await;
    assert_eq!(faults(&store, 1000).await, [""; 0]);
    let whole = data(1002).len();
    fs::write(object(&place, 1002), &data(1002)[..whole - 100]).unwrap();
    let found = faults(&store, 1000).await;
    let [packets, sum] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(packets.contains("segment 1002") && packets.contains("packets"));
    assert!(sum.contains(&(4 * whole).to_string()), "{sum}");
    // Whole packets: only the sum tells.
    fs::write(object(&place, 1002), &data(1002)[..whole - 188]).unwrap();
    let found = 4 * whole - 188;
    let told = format!(
        "{} bytes are stated, and its segments have {found}",
        4 * whole
    );
    assert_eq!(faults(&store, 1000).await, [told]);
    // A bucket keeps what was put with each segment.
    let piece = piece(1002);
    let key = "demo/720p/1002.ts";
    put_facts(&store, key, |facts| {
        *facts = objects::segment_facts(1000, &piece).unwrap();
    })
    .await;
    let found = faults(&store, 1000).await;
    let expected = format!("segment 1002: it has {} bytes of {whole}", whole - 188);
    assert_eq!(found[0], expected);
    fs::write(object(&place, 1002), data(1002)).unwrap();
    assert_eq!(faults(&store, 1000).await, [""; 0]);
    put_facts(&store, key, |facts| {
        *facts = objects::segment_facts(999, &piece).unwrap();
    })
    .await;
    assert_eq!(
        faults(&store, 1000).await,
        ["segment 1002: it belongs to recording 999"]
    );
}

#[tokio::test]
async fn what_is_stated_of_a_recording_is_compared_to_what_it_is() {
    let place = Place::new(Duration::ZERO);
    recorded(&place, 1000).await;
    let store = store_of(&place).await;
    let right = catalogue::sum(&store, &which(1000)).await.unwrap().unwrap();
    let wrong = [
        (
            Sum {
                duration_ms: right.duration_ms + 100,
                ..right
            },
            "8100 ms are stated, and its playlist has 8000 ms",
        ),
        (
            Sum { gaps: 1, ..right },
            "1 gaps are stated, and its playlist has 0",
        ),
        (
            Sum {
                closed: false,
                ..right
            },
            "its playlist is closed, and is listed as open",
        ),
    ];
    for (sum, told) in wrong {
        put_facts(&store, "demo/vod-1000.m3u8", |facts| {
            *facts = objects::playlist_facts(1000, &sum).unwrap();
        })
        .await;
        assert_eq!(faults(&store, 1000).await, [told]);
    }
}

fn piece(number: u64) -> Piece {
    Piece {
        number,
        rung: "720p".to_owned(),
        start: (number as i64 - 1000) * 180_000,
        duration: 180_000,
        discontinuity: number == 1000,
        unix_ms: number as i64,
        bytes: data(number).len() as u32,
        came_ms: 1000,
    }
}

/// A spool whose journal says of the segments of recording 1000 which of them are
/// stored, and that has the files of `there`.
fn spool_of(place: &Place, stored: &[u64], there: &[u64]) {
    let folder = place.data().join("spool/demo/1000");
    fs::create_dir_all(&folder).unwrap();
    let begin = Begin {
        name: name(),
        id: 1000,
        target: 180_000,
        store: String::new(),
        elsewhere: false,
    };
    let segments = (1000..1004).map(|number| Line::Segment(piece(number)));
    let lines = [Line::Begin(begin)].into_iter().chain(segments);
    let lines = lines.chain(stored.iter().map(|number| Line::Stored(*number)));
    Journal::new(&folder).begin(lines).unwrap();
    for number in there {
        fs::write(folder.join(format!("{number}.ts")), data(*number)).unwrap();
    }
}

#[test]
fn what_the_spool_of_a_closed_recording_still_has_is_sent_again() {
    let place = Arc::new(Place::new(Duration::ZERO));
    let here = Arc::clone(&place);
    in_a_process(async move || recorded(&here, 1000).await);
    // Stored and not removed, not noted as stored, and one that is as it was.
    spool_of(&place, &[1000, 1001, 1002], &[1000, 1001, 1002, 1003]);
    fs::write(object(&place, 1001), "short").unwrap();
    fs::remove_file(object(&place, 1002)).unwrap();
    fs::write(object(&place, 1003), &data(1003)[..188]).unwrap();
    let here = Arc::clone(&place);
    in_a_process(async move || {
        let store = store_of(&here).await;
        // What is made a gap is one no more.
        let found = catalogue::check(&store, &which(1000), false).await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.missing, [1002]);
        let marked = catalogue::mark_missing(&store, &which(1000), &found).await;
        assert!(marked.unwrap());
        let resent = catalogue::resend(&store, &here.data()).await.unwrap();
        let resent: Vec<_> = resent
            .into_iter()
            .map(|(which, count)| (which.id, count.unwrap()))
            .collect();
        assert_eq!(resent, [(1000, 2)]);
        let _recorder = here.open();
        until("the spool is empty", || spooled(&here).is_empty()).await;
        assert!(here.closed(1000));
        let playlist = here.playlist(1000);
        assert!(playlist.segments.iter().all(|one| !one.gap));
        here.check(&playlist, 1000..1004);
        assert_eq!(faults(&store, 1000).await, [""; 0]);
    });
}

#[tokio::test]
async fn one_recording_that_cannot_be_read_does_not_keep_others_from_being_deleted() {
    let place = Place::new(Duration::ZERO);
    recorded(&place, 1000).await;
    recorded(&place, 5000).await;
    let store = store_of(&place).await;
    fs::write(place.store().join("demo/vod-1000.m3u8"), "no playlist").unwrap();
    let gone = catalogue::expire(&store, 1, 200_000_000).await.unwrap();
    assert_eq!(gone, [which(5000)]);
    assert!(object(&place, 1000).exists());
}

#[test]
fn a_store_is_away_when_it_fails_several_times_in_a_row() {
    let fault = |kind| Fault::new(kind, "why".to_owned());
    let (passing, refused) = (fault(FaultKind::Passing), fault(FaultKind::Refused));
    let mut patience = Patience::default();
    let all = [
        (Some(&passing), false),
        (Some(&passing), false),
        (None, false),
        (Some(&passing), false),
        (Some(&refused), false),
        (Some(&passing), false),
        (Some(&passing), true),
    ];
    for (fault, over) in all {
        assert_eq!(patience.is_over(fault), over);
    }
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_is_finished_the_next_time() {
    let place = Place::new(Duration::ZERO);
    recorded(&place, 1000).await;
    let store = store_of(&place).await;
    for number in [1000, 1001, 1003] {
        fs::remove_file(object(&place, number)).unwrap();
    }
    fs::remove_file(place.store().join("demo/vod-1000-master.m3u8")).unwrap();
    let gone = catalogue::expire(&store, 1, 200_000_000).await.unwrap();
    assert_eq!(gone, [which(1000)]);
    assert!(!place.store().join("demo").exists());
}

/// A playlist of recording 1000, put as weir puts them, that lists `numbers`.
async fn list(store: &Store, numbers: &[u64]) {
    let mut text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n".to_owned();
    for number in numbers {
        text += &format!("#EXTINF:2.0,\n720p/{number}.ts\n");
    }
    text += "#EXT-X-ENDLIST\n";
    let sum = Sum {
        closed: true,
        ..Sum::default()
    };
    let facts = objects::playlist_facts(1000, &sum).unwrap();
    let key = objects::playlist(&name(), 1000).unwrap();
    store.put(&key, text.into(), &facts).await.unwrap();
}

#[tokio::test]
async fn a_segment_that_a_later_recording_lists_is_not_deleted_with_an_earlier_one() {
    let place = Place::new(Duration::ZERO);
    recorded(&place, 1000).await;
    recorded(&place, 5000).await;
    let store = store_of(&place).await;
    // A part of its own that came when the other had begun.
    fs::write(object(&place, 9000), data(9000)).unwrap();
    list(&store, &[1000, 1001, 1002, 1003, 5001, 5002, 9000]).await;
    assert!(catalogue::delete(&store, &which(1000)).await.unwrap());
    place.check(&place.playlist(5000), 5000..5004);
    assert_eq!(faults(&store, 5000).await, [""; 0]);
    for number in [1000, 1003, 9000] {
        assert!(!object(&place, number).exists(), "{number}");
    }
}

#[tokio::test]
async fn a_segment_of_an_open_recording_is_not_deleted_with_an_earlier_one() {
    let place = Place::new(Duration::from_secs(3600));
    let store = store_of(&place).await;
    let recorder = place.open();
    let tap = recorder.tap(&name(), 5000);
    push(&tap, 5000, 5000..5003);
    settled(&recorder).await;
    let marker = place.store().join(".weir/open/demo/5000");
    until("it is marked as open", || marker.exists()).await;
    fs::write(object(&place, 1000), data(1000)).unwrap();
    list(&store, &[1000, 5001]).await;
    assert!(catalogue::delete(&store, &which(1000)).await.unwrap());
    assert!(!object(&place, 1000).exists());
    for number in 5000..5003 {
        assert!(object(&place, number).exists(), "{number}");
    }
}
