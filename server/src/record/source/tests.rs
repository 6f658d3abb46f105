use bytes::Bytes;
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
    let segments = cutter.ready.into_iter();
    segments.map(|(_, segment)| (*segment).clone()).collect()
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
    cutter.breaks("a test");
    assert!(cutter.lost.is_some());
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

/// The same pictures, `factor` times as slow.
fn slow(units: Vec<AccessUnit>, factor: i64) -> Vec<AccessUnit> {
    let slower = |at: Timestamp| Timestamp::from_ticks(at.ticks() * factor);
    let units = units.into_iter().map(|unit| AccessUnit {
        pts: slower(unit.pts),
        dts: slower(unit.dts),
        ..unit
    });
    units.collect()
}

/// AAC from one second to another.
fn sound(from: i64, to: i64, config: &Arc<TrackConfig>) -> Vec<AccessUnit> {
    let rate = i64::from(config.aac().unwrap().core_rate);
    let frames = (0..).map(|index| from * Ticks::HZ + index * 1024 * Ticks::HZ / rate);
    let units = frames.take_while(|at| *at < to * Ticks::HZ).map(|at| {
        let at = Timestamp::from_ticks(at);
        AccessUnit {
            pts: at,
            dts: at,
            key: true,
            data: Bytes::from_static(&[0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c]),
            config: Arc::clone(config),
        }
    });
    units.collect()
}

fn aac(rate: u32) -> Arc<TrackConfig> {
    let config = bitstream::asc::low_complexity(rate, 2).unwrap();
    Arc::new(TrackConfig::Aac(config))
}

/// In the order in which they are decoded.
fn mixed(tracks: [Vec<AccessUnit>; 2]) -> Vec<AccessUnit> {
    let mut all = tracks.concat();
    all.sort_by_key(|unit| (unit.dts, unit.track() == Track::Audio));
    all
}

#[test]
fn a_segment_without_an_end_is_ended_and_the_rest_is_told_as_lost() {
    // 5 pictures a second: key pictures at 0 and 40 s, then every 10 s.
    let mut units = slow(pictures(Size::new(160, 96), 350, 50), 5);
    for unit in units.iter_mut().skip(1).take(199) {
        unit.key = false;
    }
    let mut cutter = cutter(6);
    let mut told = Vec::new();
    for (index, unit) in units.iter().enumerate() {
        cutter.push(unit, tracks);
        told.extend(cutter.lost.take().map(|why| (index, why)));
        if index == 151 {
            assert_eq!(cutter.ready.len(), 1, "it does not wait for a key picture");
        }
    }
    assert!(matches!(&told[..], [(151, _)]), "{told:?}");
    let segments = rest(cutter);
    assert_eq!(seconds(&segments), [30.0, 10.0, 10.0, 10.0]);
    let breaks: Vec<_> = segments.iter().map(|one| one.discontinuity).collect();
    assert_eq!(breaks, [false, true, false, false]);
    assert_eq!(segments[1].start, units[200].pts);
    let numbers: Vec<_> = segments.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [100, 101, 102, 103]);
}

#[test]
fn key_pictures_as_far_apart_as_may_be_lose_nothing() {
    let mut units = slow(pictures(Size::new(160, 96), 310, 150), 5);
    for unit in &mut units {
        // B-pictures let a key picture's own time come late.
        unit.pts += Ticks::from_millis(400);
    }
    let mut cutter = cutter(6);
    for unit in &units {
        cutter.push(unit, tracks);
        assert_eq!(cutter.lost, None);
    }
    assert_eq!(seconds(&rest(cutter)), [30.0, 30.0, 2.0]);
}

#[test]
fn a_clock_that_jumps_is_a_discontinuity() {
    for by in [-50, 50] {
        let mut units = pictures(Size::new(160, 96), 200, 50);
        for unit in &mut units {
            let seconds = if unit.pts.millis() < 4000 {
                100
            } else {
                100 + by
            };
            unit.pts += Ticks::new(seconds * Ticks::HZ);
            unit.dts += Ticks::new(seconds * Ticks::HZ);
        }
        let mut cutter = cutter(2);
        for unit in &units {
            cutter.push(unit, tracks);
        }
        assert!(cutter.lost.is_some());
        let segments = rest(cutter);
        assert_eq!(seconds(&segments), [2.0; 4], "{by}");
        let breaks: Vec<_> = segments.iter().map(|one| one.discontinuity).collect();
        assert_eq!(breaks, [false, false, true, false], "{by}");
    }
}

#[test]
fn what_is_held_has_a_limit() {
    let big = |unit: &AccessUnit, bytes: usize| {
        // User data, which goes along with the picture.
        let mut data = vec![0, 0, 0, 0, 6];
        data.resize(4 + bytes, 0xaa);
        data[..4].copy_from_slice(&(bytes as u32).to_be_bytes());
        data.extend_from_slice(&unit.data);
        AccessUnit {
            data: data.into(),
            ..unit.clone()
        }
    };
    let units = pictures(Size::new(160, 96), 200, 50);
    // 10 MB a second: what is cut at each key picture has room.
    let mut cutter = cutter(6);
    for unit in &units {
        cutter.push(&big(unit, 400_000), tracks);
        assert_eq!(cutter.lost, None);
    }
    assert_eq!(seconds(&rest(cutter)), [2.0; 4]);
    // 25 MB a second: nothing has.
    let mut cutter = self::cutter(6);
    let mut lost = 0;
    for unit in &units {
        cutter.push(&big(unit, 1_000_000), tracks);
        lost += u64::from(cutter.lost.take().is_some());
    }
    assert_eq!(lost, 4);
    let segments = rest(cutter);
    assert_eq!(segments.len(), 4);
    assert!(segments.iter().all(|one| one.data.len() < 36 << 20));
    assert!(segments[1..].iter().all(|one| one.discontinuity));
}

#[test]
fn other_sound_begins_with_a_key_picture_behind_a_discontinuity() {
    let both = || Tracks {
        video: true,
        audio: true,
    };
    let (first, second) = (aac(44_100), aac(48_000));
    let sounds = [sound(0, 3, &first), sound(3, 8, &second)].concat();
    let units = mixed([pictures(Size::new(160, 96), 200, 50), sounds]);
    let mut cutter = cutter(2);
    for unit in &units {
        cutter.push(unit, both);
        assert_eq!(cutter.lost, None, "all pictures are there");
    }
    cutter.finish();
    let ready: Vec<_> = cutter.ready.into_iter().collect();
    let of: Vec<_> = ready
        .iter()
        .map(|(output, segment)| (segment.discontinuity, output.audio.clone().unwrap()))
        .collect();
    let expected = [
        (false, Arc::clone(&first)),
        (false, first),
        (true, Arc::clone(&second)),
        (false, second),
    ];
    assert_eq!(of, expected);
    let segments: Vec<_> = ready.into_iter().map(|(_, one)| (*one).clone()).collect();
    assert_eq!(seconds(&segments), [2.0; 4]);
    // Each as its PMT and its headers say, with sound of one kind.
    let mut prober = Prober::new();
    let counts: Vec<_> = segments
        .iter()
        .map(|one| {
            if one.discontinuity {
                prober.discontinuity();
            }
            let found = prober.segment(&one.data).unwrap();
            (found.video.len(), found.audio.len())
        })
        .collect();
    assert_eq!(counts, [(50, 87), (50, 43), (50, 94), (50, 94)]);
}

#[test]
fn sound_that_nobody_spoke_of_costs_no_pictures() {
    let units = mixed([
        pictures(Size::new(160, 96), 200, 50),
        sound(1, 8, &aac(44_100)),
    ]);
    let mut cutter = cutter(2);
    for (index, unit) in units.iter().enumerate() {
        let audio = index > 60;
        cutter.push(unit, || Tracks { video: true, audio });
        assert_eq!(cutter.lost, None);
    }
    let segments = rest(cutter);
    assert_eq!(seconds(&segments), [2.0; 4]);
    let breaks: Vec<_> = segments.iter().map(|one| one.discontinuity).collect();
    assert_eq!(breaks, [false, true, false, false]);
}
