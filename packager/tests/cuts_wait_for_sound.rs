//! When a segment comes out, and what it then holds.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::units::{aac, audio, h264, video};
use common::{AUDIO, Checker, PMT, VIDEO};
use media::{Ticks, Timestamp};
use weir_packager::{Segment, Segmenter, SegmenterConfig, Tracks};

const BOTH: Tracks = Tracks {
    video: true,
    audio: true,
};
const PICTURES: Tracks = Tracks {
    video: true,
    audio: false,
};

fn at(ticks: i64) -> Timestamp {
    Timestamp::from_ticks(ticks)
}

fn segmenter(tracks: Option<Tracks>) -> Segmenter {
    Segmenter::new(SegmenterConfig {
        tracks,
        ..SegmenterConfig::default()
    })
}

/// Pushes pictures at 10 fps from second `from` to `until`, with a key picture
/// and a cut each second.
fn pictures(segmenter: &mut Segmenter, from: i64, until: i64) {
    let config = h264();
    for number in from * 10..until * 10 {
        let dts = number * 9000;
        if number % 10 == 0 && number > 0 {
            segmenter.cut(at(dts));
        }
        let unit = video(&config, number % 10 == 0, dts, dts, number as u32, 500);
        segmenter.push(unit).unwrap();
    }
}

/// Pushes frames of sound from tick `from` to `until`.
fn sound(segmenter: &mut Segmenter, from: i64, until: i64) {
    let config = aac(48_000);
    for number in (from + 1919) / 1920..(until + 1919) / 1920 {
        segmenter
            .push(audio(&config, number * 1920, number as u32, 200))
            .unwrap();
    }
}

fn poll(segmenter: &mut Segmenter) -> Vec<Segment> {
    std::iter::from_fn(|| segmenter.poll()).collect()
}

#[test]
fn pictures_alone_come_out_with_the_next_key_picture() {
    let mut segmenter = segmenter(Some(PICTURES));
    pictures(&mut segmenter, 0, 1);
    segmenter.cut(at(90_000));
    assert!(segmenter.poll().is_none());
    segmenter
        .push(video(&h264(), true, 90_000, 90_000, 10, 500))
        .unwrap();
    let segment = segmenter.poll().unwrap();
    assert_eq!((segment.number, segment.duration), (0, Ticks::SECOND));
    assert!(!segment.has_audio);
}

#[test]
fn unannounced_silence_is_believed_after_the_wait() {
    let mut segmenter = segmenter(None);
    pictures(&mut segmenter, 0, 2);
    assert!(segmenter.poll().is_none());
    pictures(&mut segmenter, 2, 3);
    assert_eq!(poll(&mut segmenter).len(), 2);
    assert_eq!(segmenter.tracks(), Some(PICTURES));
}

#[test]
fn tracks_announced_before_the_first_segment_is_written_count_at_once() {
    let mut segmenter = segmenter(None);
    pictures(&mut segmenter, 0, 1);
    segmenter.announce(PICTURES);
    pictures(&mut segmenter, 1, 2);
    assert!(segmenter.poll().is_some());
    // Its PMT is out: from here on only a discontinuity changes the tracks.
    segmenter.announce(BOTH);
    assert_eq!(segmenter.tracks(), Some(PICTURES));
}

#[test]
fn what_was_seen_is_listed_whatever_is_announced() {
    let mut segmenter = segmenter(None);
    sound(&mut segmenter, 0, 50_000);
    pictures(&mut segmenter, 0, 1);
    segmenter.announce(PICTURES);
    segmenter.finish(at(90_000)).unwrap();
    let segment = segmenter.poll().unwrap();
    assert_eq!(Checker::default().segment(&segment).tracks, [VIDEO, AUDIO]);
}

#[test]
fn sound_keeps_its_order_when_a_picture_moves_its_cut() {
    let mut segmenter = segmenter(Some(BOTH));
    pictures(&mut segmenter, 0, 1);
    sound(&mut segmenter, 0, 120_000);
    segmenter.cut(at(90_000));
    segmenter
        .push(video(&h264(), true, 180_000, 180_000, 10, 100))
        .unwrap();
    sound(&mut segmenter, 120_000, 190_000);
    segmenter.finish(at(190_000)).unwrap();
    let segments = poll(&mut segmenter);
    let mut checker = Checker::default();
    let stamps: Vec<u64> = segments
        .iter()
        .flat_map(|segment| {
            checker
                .segment(segment)
                .of(AUDIO)
                .map(common::Pes::pts)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(segments.len(), 2);
    assert!(stamps.is_sorted(), "{stamps:?}");
}

#[test]
fn a_segment_waits_until_sound_has_passed_the_cut() {
    let mut segmenter = segmenter(Some(BOTH));
    pictures(&mut segmenter, 0, 1);
    sound(&mut segmenter, 0, 80_000);
    pictures(&mut segmenter, 1, 2);
    assert!(segmenter.poll().is_none());
    sound(&mut segmenter, 80_000, 90_000);
    assert!(segmenter.poll().is_none());
    sound(&mut segmenter, 90_000, 92_000);
    let segment = segmenter.poll().unwrap();
    assert_eq!((segment.start, segment.duration), (at(0), Ticks::SECOND));
}

#[test]
fn sound_that_comes_too_late_goes_into_the_next_segment() {
    let mut segmenter = segmenter(Some(BOTH));
    sound(&mut segmenter, 0, 60_000);
    pictures(&mut segmenter, 0, 3);
    let first = segmenter.poll().unwrap();
    assert!(first.has_audio);
    sound(&mut segmenter, 60_000, 190_000);
    let second = segmenter.poll().unwrap();
    let mut checker = Checker::default();
    let frames = |checker: &mut Checker, segment| {
        let contents = checker.segment(segment);
        contents.of(AUDIO).flat_map(common::adts_frames).count()
    };
    assert_eq!(frames(&mut checker, &first), 32);
    assert_eq!(frames(&mut checker, &second), 94 - 32);
}

#[test]
fn sound_from_before_the_first_picture_belongs_to_its_segment() {
    let mut segmenter = segmenter(Some(BOTH));
    sound(&mut segmenter, 0, 90_000);
    segmenter.cut(at(45_000));
    let config = h264();
    for number in 0..5_u32 {
        let dts = 45_000 + i64::from(number) * 9000;
        segmenter
            .push(video(&config, number == 0, dts, dts, number, 100))
            .unwrap();
    }
    segmenter.finish(at(90_000)).unwrap();
    let segments = poll(&mut segmenter);
    assert_eq!(segments.len(), 1);
    assert_eq!(
        (segments[0].start, segments[0].duration),
        (at(45_000), Ticks::new(45_000))
    );
    let contents = Checker::default().segment(&segments[0]);
    assert_eq!(contents.pes[0].pid, VIDEO);
    for pes in &contents.pes {
        assert!(pes.clock.unwrap() + 45_000 <= pes.dts());
    }
}

#[test]
fn a_discontinuity_finishes_the_old_timeline_at_its_true_end() {
    let mut segmenter = segmenter(Some(BOTH));
    sound(&mut segmenter, 0, 50_000);
    pictures(&mut segmenter, 0, 1);
    segmenter.announce(PICTURES);
    segmenter
        .cut_discontinuity(at(88_000), at(10 * 90_000))
        .unwrap();
    let old = segmenter.poll().unwrap();
    assert_eq!((old.duration.get(), old.discontinuity), (88_000, false));
    // The clock may go back: pictures of another source, an hour earlier.
    segmenter.cut(at(-3600 * 90_000));
    let config = h264();
    for number in 0..10_u32 {
        let dts = -3600 * 90_000 + i64::from(number) * 9000;
        segmenter
            .push(video(&config, number == 0, dts, dts, number, 100))
            .unwrap();
    }
    segmenter.finish(at(-3599 * 90_000)).unwrap();
    let new = segmenter.poll().unwrap();
    assert_eq!((new.number, new.discontinuity), (1, true));
    assert_eq!(
        (new.start, new.duration),
        (at(-3600 * 90_000), Ticks::SECOND)
    );
    let mut checker = Checker::default();
    assert_eq!(checker.segment(&old).pmt_version, 0);
    let contents = checker.segment(&new);
    assert_eq!((contents.pmt_version, contents.tracks), (1, vec![VIDEO]));
}

#[test]
fn a_discontinuity_before_anything_is_none() {
    let mut segmenter = segmenter(Some(PICTURES));
    segmenter.announce(PICTURES);
    segmenter.cut_discontinuity(at(0), at(0)).unwrap();
    pictures(&mut segmenter, 0, 1);
    segmenter.finish(at(90_000)).unwrap();
    let segments = poll(&mut segmenter);
    assert_eq!((segments.len(), segments[0].discontinuity), (1, false));
}

#[test]
fn an_end_before_the_start_still_lasts() {
    let mut segmenter = segmenter(Some(PICTURES));
    pictures(&mut segmenter, 0, 1);
    segmenter.finish(at(-1)).unwrap();
    assert_eq!(poll(&mut segmenter)[0].duration, Ticks::new(1));
    segmenter.finish(at(0)).unwrap();
    assert!(segmenter.poll().is_none());
}

#[test]
fn tables_return_within_half_a_second() {
    for tracks in [BOTH, PICTURES] {
        let mut segmenter = segmenter(Some(tracks));
        if tracks.audio {
            sound(&mut segmenter, 0, 180_000);
        }
        let config = h264();
        // One picture in 1.9 s: only the clock's own packets fill the time.
        segmenter.push(video(&config, true, 0, 0, 0, 100)).unwrap();
        segmenter
            .push(video(&config, false, 171_000, 171_000, 1, 100))
            .unwrap();
        segmenter.finish(at(180_000)).unwrap();
        let segment = segmenter.poll().unwrap();
        let contents = Checker::default().segment(&segment);
        let tables = contents.pids.iter().filter(|&&pid| pid == PMT).count();
        assert_eq!(tables, 5);
    }
}
