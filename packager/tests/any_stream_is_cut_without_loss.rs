//! Whatever the order of units and cuts, no unit is lost, repeated or moved, and
//! every segment can be played from its first packet.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::units::{Video, sound};
use common::{AUDIO, Checker, VIDEO, WRAP, adts_frames, nal_types};
use media::{AccessUnit, Ticks, Timestamp, Track};
use proptest::prelude::*;
use weir_packager::{Segment, Segmenter, SegmenterConfig, Tracks};

/// Pushes `units` by dts, sound `lag` later than pictures, and cuts before each
/// key picture but the first.
fn segments(config: SegmenterConfig, mut units: Vec<AccessUnit>, lag: i64) -> Vec<Segment> {
    units.sort_by_key(|unit| match unit.track() {
        Track::Video => unit.dts.ticks(),
        Track::Audio => unit.dts.ticks() + lag,
    });
    let end = units.iter().map(|unit| unit.pts).max().unwrap() + Ticks::new(3000);
    let mut segmenter = Segmenter::new(config);
    let mut segments = Vec::new();
    let mut first = true;
    for unit in units {
        if unit.track() == Track::Video && unit.key && !std::mem::take(&mut first) {
            segmenter.cut(unit.pts);
        }
        segmenter.push(unit).unwrap();
        segments.extend(std::iter::from_fn(|| segmenter.poll()));
    }
    segmenter.finish(end).unwrap();
    segments.extend(std::iter::from_fn(|| segmenter.poll()));
    segments
}

fn stamp(pts: Timestamp, offset: i64) -> u64 {
    (pts.ticks() + offset).rem_euclid(WRAP as i64) as u64
}

fn frames() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![
        1500, 1502, 3000, 3003, 3600, 3750, 6000, 9000, 18_000, 90_000,
    ])
}

fn offsets() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(900_000),
        (WRAP as i64 - 900_000)..(WRAP as i64 + 900_000),
    ]
}

fn video() -> impl Strategy<Value = Video> {
    (
        frames(),
        any::<bool>(),
        prop::collection::vec(1_usize..20, 1..8),
        0_usize..900,
        -5_000_i64..20_000,
    )
        .prop_map(|(frame, reordered, groups, size, start)| Video {
            frame,
            reordered,
            groups,
            size,
            start,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_unit_is_lost_repeated_or_moved(
        pictures in video(),
        rate in prop::sample::select(vec![44_100, 48_000]),
        sound_offset in -30_000_i64..30_000,
        sound_size in 0_usize..700,
        lag in -45_000_i64..250_000,
        offset in offsets(),
        announced in any::<bool>(),
    ) {
        let video = pictures.units();
        let audio = sound(
            rate,
            pictures.start + sound_offset,
            pictures.start + video.len() as i64 * pictures.frame + 30_000,
            sound_size,
        );
        // Sound that is not announced and begins after the first segment is
        // closed is refused: that is another test.
        let announced = announced || lag + sound_offset >= 45_000;
        let config = SegmenterConfig {
            first_number: 41,
            ts_offset: Ticks::new(offset),
            tracks: announced.then_some(Tracks { video: true, audio: true }),
            ..SegmenterConfig::default()
        };
        let units = [video.clone(), audio.clone()].concat();
        let segments = segments(config, units, lag);
        prop_assert_eq!(segments.len(), pictures.groups.len());

        let mut checker = Checker::default();
        let (mut video, mut audio) = (video.iter(), audio.iter());
        for (index, segment) in segments.iter().enumerate() {
            let contents = checker.segment(segment);
            prop_assert_eq!(segment.number, 41 + index as u64);
            prop_assert_eq!(&contents.tracks, &[VIDEO, AUDIO]);
            prop_assert_eq!((contents.clock_pid, contents.pmt_version), (VIDEO, 0));
            prop_assert_eq!(segment.has_audio, contents.of(AUDIO).next().is_some());

            let first = contents.of(VIDEO).next().unwrap();
            prop_assert_eq!(&nal_types(first)[..4], &[9, 7, 8, 5]);
            prop_assert_eq!(first.pts(), stamp(segment.start, offset));
            let packet = &segment.data[first.packet * 188..][..12];
            prop_assert_eq!(packet[5] & 0x50, 0x50, "random access and clock");
            prop_assert_eq!(first.packet, 2, "nothing between the tables and the picture");
            for pes in contents.of(VIDEO) {
                let unit = video.next().unwrap();
                prop_assert_eq!(pes.pts(), stamp(unit.pts, offset));
                prop_assert_eq!(pes.dts(), stamp(unit.dts, offset));
                let types = nal_types(pes);
                prop_assert_eq!(types[0], 9);
                prop_assert_eq!(types.len(), if unit.key { 4 } else { 2 });
                prop_assert!(pes.data.ends_with(&unit.data[4..]));
                let ahead = (pes.dts() + WRAP - pes.clock.unwrap()) % WRAP;
                prop_assert!((45_000..=150_000).contains(&ahead), "clock {ahead} ahead");
            }
            for (pts, frame) in contents.of(AUDIO).flat_map(adts_frames) {
                let unit = audio.next().unwrap();
                prop_assert_eq!(&frame, &unit.data.to_vec());
                let off = (pts + WRAP - stamp(unit.pts, offset) + 8) % WRAP;
                prop_assert!(off <= 16, "{off}");
                let end = segment.start + segment.duration;
                let last = index + 1 == segments.len();
                prop_assert!(last || unit.pts < end, "sound past the cut");
                if lag < 80_000 && index > 0 {
                    prop_assert!(unit.pts >= segment.start, "sound left behind the cut");
                }
            }
            if let Some(next) = segments.get(index + 1) {
                prop_assert_eq!(segment.start + segment.duration, next.start);
            }
        }
        prop_assert!(video.next().is_none() && audio.next().is_none());
        prop_assert!(checker.widest_clock_gap <= 9_000, "{}", checker.widest_clock_gap);
    }

    #[test]
    fn sound_alone_is_cut_where_told(
        rate in prop::sample::select(vec![44_100, 48_000]),
        cuts in prop::collection::vec(3_000_i64..300_000, 0..6),
        size in 0_usize..700,
        offset in offsets(),
    ) {
        let cuts: Vec<i64> = cuts
            .iter()
            .scan(0, |at, step| {
                *at += step;
                Some(*at)
            })
            .collect();
        let units = sound(rate, 0, cuts.last().unwrap_or(&0) + 90_000, size);
        let mut segmenter = Segmenter::new(SegmenterConfig {
            ts_offset: Ticks::new(offset),
            ..SegmenterConfig::default()
        });
        let mut segments = Vec::new();
        let mut due = cuts.iter().peekable();
        for unit in &units {
            let near = |&&at: &&i64| (1..).contains(&unit.pts.ticks()) && unit.pts.ticks() > at - 10_000;
            if let Some(&at) = due.next_if(near) {
                segmenter.cut(Timestamp::from_ticks(at));
            }
            segmenter.push(unit.clone()).unwrap();
            segments.extend(std::iter::from_fn(|| segmenter.poll()));
        }
        segmenter.finish(units.last().unwrap().pts + Ticks::new(2000)).unwrap();
        segments.extend(std::iter::from_fn(|| segmenter.poll()));

        let mut checker = Checker::default();
        let mut expected = units.iter();
        for segment in &segments {
            let contents = checker.segment(segment);
            prop_assert_eq!(&contents.tracks, &[AUDIO]);
            prop_assert_eq!((segment.has_video, segment.has_audio), (false, true));
            for pes in &contents.pes {
                let ahead = (pes.pts() + WRAP - pes.clock.unwrap()) % WRAP;
                prop_assert_eq!(ahead, 45_000);
                for (_, frame) in adts_frames(pes) {
                    let unit = expected.next().unwrap();
                    prop_assert_eq!(&frame, &unit.data.to_vec());
                    prop_assert!(unit.pts >= segment.start);
                }
            }
        }
        prop_assert!(expected.next().is_none());
        prop_assert!(checker.widest_clock_gap <= 9_000);
    }

    #[test]
    fn output_is_the_same_for_the_same_units(pictures in video(), lag in 0_i64..50_000) {
        let units = [pictures.units(), sound(48_000, pictures.start, 400_000, 300)].concat();
        let config = SegmenterConfig {
            tracks: Some(Tracks { video: true, audio: true }),
            ..SegmenterConfig::default()
        };
        let [one, two] = [(); 2].map(|()| segments(config, units.clone(), lag));
        prop_assert_eq!(one.len(), two.len());
        for (one, two) in one.iter().zip(&two) {
            prop_assert_eq!(&one.data, &two.data);
        }
    }
}
