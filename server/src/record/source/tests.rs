use media::Size;
use testkit::tsprobe::Prober;

use super::*;
use crate::ladder::tests::source as pictures;

fn tracks() -> Tracks {
    Tracks {
        video: true,
        audio: false,
    }
}

fn cutter(seconds: i64) -> Cutter {
    Cutter::new(Ticks::new(seconds * Ticks::HZ), 100)
}

fn rest(mut cutter: Cutter) -> Vec<Segment> {
    cutter.finish();
    std::iter::from_fn(|| cutter.segmenter.poll()).collect()
}

fn seconds(segments: &[Segment]) -> Vec<f64> {
    let durations = segments.iter().map(|one| one.duration.as_secs_f64());
    durations.map(|one| (one * 100.0).round() / 100.0).collect()
}

#[test]
fn the_source_is_cut_at_its_key_pictures_and_nothing_is_left_out() {
    // 25 pictures a second, a key picture every 2 s.
    let units = pictures(Size::new(160, 96), 260, 50);
    let mut cutter = cutter(6);
    for unit in &units {
        cutter.push(unit, tracks);
    }
    let segments = rest(cutter);
    assert_eq!(seconds(&segments), [6.0, 4.4]);
    let mut probe = Prober::new();
    let count = |one: &Segment| probe.segment(&one.data).unwrap().video.len();
    assert_eq!(segments.iter().map(count).sum::<usize>(), 260);
}

#[test]
fn segments_are_no_longer_than_they_should_be_where_that_can_be() {
    let units = pictures(Size::new(160, 96), 250, 100);
    let mut cutter = cutter(6);
    for unit in &units {
        cutter.push(unit, tracks);
    }
    assert_eq!(seconds(&rest(cutter)), [4.0, 4.0, 2.0]);
}

#[test]
fn what_was_missed_is_a_discontinuity_at_a_key_picture() {
    let units = pictures(Size::new(160, 96), 200, 50);
    let mut cutter = cutter(2);
    for unit in &units[..60] {
        cutter.push(unit, tracks);
    }
    cutter.broken = true;
    for unit in &units[80..] {
        cutter.push(unit, tracks);
    }
    let segments = rest(cutter);
    let breaks: Vec<_> = segments.iter().map(|one| one.discontinuity).collect();
    assert_eq!(breaks, [false, false, true, false]);
    assert_eq!(segments[2].start, units[100].pts);
    assert_eq!(seconds(&segments), [2.0, 0.4, 2.0, 2.0]);
}

#[test]
fn pictures_before_the_first_key_picture_are_left_out() {
    let units = pictures(Size::new(160, 96), 120, 50);
    let mut cutter = cutter(2);
    for unit in &units[20..] {
        cutter.push(unit, tracks);
    }
    let segments = rest(cutter);
    assert_eq!(segments[0].start, units[50].pts);
    assert_eq!(seconds(&segments), [2.0, 0.8]);
}
