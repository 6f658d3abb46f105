use bytes::Bytes;
use packager::playlist::{Growth, recording};

use super::*;

fn piece(number: u64) -> Piece {
    Piece {
        number,
        rung: "720p".to_owned(),
        start: number as i64 * 180_000,
        duration: 180_000,
        discontinuity: false,
        unix_ms: number as i64 * 2000,
        bytes: 1000,
        came_ms: number * 2000,
    }
}

fn memory(number: u64) -> Place {
    Place::Memory(Arc::new(Segment {
        number,
        start: Timestamp::ZERO,
        duration: Ticks::new(180_000),
        discontinuity: false,
        data: Bytes::from_static(b"x"),
        has_video: true,
        has_audio: true,
    }))
}

fn account(numbers: impl IntoIterator<Item = u64>) -> Account {
    let mut account = Account::new(Ticks::new(180_000));
    for number in numbers {
        assert!(account.add(&piece(number), memory(number)));
    }
    account
}

#[test]
fn a_segment_goes_from_memory_to_the_disk_to_the_store() {
    let mut account = account(5..8);
    for number in 5..8 {
        let load = account.next_to_spool().unwrap();
        assert_eq!(load.number, number);
        assert!(account.spooled(number));
    }
    assert!(account.next_to_spool().is_none());
    let sent: Vec<_> = std::iter::from_fn(|| account.next_to_send()).collect();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|load| load.segment.is_none()));
    assert_eq!(account.counts(), (3, 0));
    // In whatever order they arrive, only the whole beginning counts.
    assert!(account.stored(6));
    assert_eq!(account.counts(), (3, 0));
    assert!(account.stored(5));
    assert_eq!(account.counts(), (3, 2));
    assert_eq!(account.waiting().segments, 1);
    assert_eq!(account.in_store().bytes, 2000);
}

#[test]
fn what_failed_is_sent_again_and_from_memory_if_the_disk_is_slow() {
    let mut account = account(5..7);
    let first = account.next_to_send().unwrap();
    assert_eq!(first.number, 5);
    assert!(first.segment.is_some());
    assert_eq!(account.next_to_send().unwrap().number, 6);
    assert!(account.next_to_send().is_none());
    account.unsent(5);
    assert_eq!(account.next_to_send().unwrap().number, 5);
    // It was not on the disk, and need not get there.
    assert!(!account.stored(5));
    assert!(!account.spooled(5));
    assert_eq!(account.next_to_spool().unwrap().number, 6);
}

#[test]
fn memory_has_a_limit_and_the_oldest_goes() {
    let mut account = account(0..MOST_IN_MEMORY as u64);
    assert_eq!(account.crowded(), None);
    account.add(&piece(100), memory(100));
    assert_eq!(account.crowded(), Some(0));
    account.lost(0);
    assert_eq!(account.crowded(), None);
    // One that is on its way stays.
    assert_eq!(account.next_to_send().unwrap().number, 1);
    account.add(&piece(101), memory(101));
    assert_eq!(account.crowded(), Some(2));
    assert_eq!(account.gaps().segments, 1);
}

#[test]
fn few_large_segments_are_too_much_as_well_but_never_a_single_one() {
    let mut account = account([]);
    let large = |number| Piece {
        bytes: 50 << 20,
        ..piece(number)
    };
    account.add(&large(1), memory(1));
    assert_eq!(account.crowded(), None);
    account.add(&large(2), memory(2));
    assert_eq!(account.crowded(), Some(1));
    account.lost(1);
    assert_eq!(account.crowded(), None);
}

#[test]
fn only_what_waits_on_the_disk_can_make_way() {
    let mut account = account(1..5);
    assert_eq!(account.oldest_spooled(), None);
    for number in 1..4 {
        account.spooled(number);
    }
    account.next_to_send().unwrap();
    assert_eq!(account.oldest_spooled(), Some((2, 4000)));
    assert!(account.lost(2));
    assert_eq!(account.oldest_spooled(), Some((3, 6000)));
    // Gone is gone.
    assert!(!account.stored(2));
    assert_eq!(account.gaps().segments, 1);
}

#[test]
fn late_segments_are_put_where_they_belong_and_twins_are_refused() {
    let mut account = account([5, 6, 900]);
    assert!(!account.add(&piece(6), Place::Stored));
    assert!(account.add(&piece(7), Place::Stored));
    let numbers: Vec<_> = account.pieces().map(|(piece, _)| piece.number).collect();
    assert_eq!(numbers, [5, 6, 7, 900]);
}

#[test]
fn another_rung_is_a_discontinuity_and_a_loss_is_a_gap() {
    let mut account = account([5]);
    let mut other = piece(6);
    other.rung = "480p".to_owned();
    account.add(&other, Place::Stored);
    account.lost(5);
    let text = recording(account.recorded(9), Growth::Complete);
    assert!(text.contains("#EXT-X-GAP\n#EXTINF:2.000000,\n720p/5.ts"));
    assert!(text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
    assert!(text.contains("480p/6.ts\n"));
    assert!(matches!(account.place("480p", 6), Some(Place::Stored)));
    assert!(account.place("720p", 6).is_none());
}

#[test]
fn the_media_of_a_recording_are_those_of_all_its_parts() {
    let mut account = account([1]);
    let part = |codec: &str, width, rate| Media {
        codecs: vec![codec.to_owned()],
        width: Some(width),
        height: Some(360),
        frame_rate: Some(rate),
    };
    assert!(account.join_media(&part("a", 640, 60.0)));
    assert!(!account.join_media(&part("a", 640, 60.0)));
    assert!(account.join_media(&part("b", 1280, 30.0)));
    assert_eq!(account.media().codecs, ["a", "b"]);
    assert_eq!(account.media().width, Some(1280));
    assert_eq!(account.media().frame_rate, Some(60.0));
}

#[test]
fn a_hole_is_filled_with_segments_and_nothing_else() {
    let piece_at = |number: u64, start: i64| Piece {
        number,
        start,
        ..piece(10)
    };
    let filled = |number: u64, start: i64| {
        let mut account = Account::new(Ticks::new(180_000));
        for piece in [piece_at(10, 0), piece_at(number, start)] {
            account.add(&piece, Place::Stored);
        }
        account.fill_holes();
        let last = account.recorded(usize::MAX).last().unwrap();
        (account.gaps().segments, last.entry.discontinuity)
    };
    assert_eq!(filled(11, 180_000), (0, false), "there is none");
    assert_eq!(filled(13, 3 * 180_000), (2, false));
    // A publisher that came back after ten seconds and kept its clock, and one that did not.
    assert_eq!(filled(10_010, 900_000 + 180_000), (0, true));
    assert_eq!(filled(10_010, 180_000), (0, true));
    // What somebody else wrote to the store.
    assert_eq!(filled(40_000_010, 1 << 62), (0, true));
    assert_eq!(filled(u64::MAX, i64::MAX), (0, true));
}
