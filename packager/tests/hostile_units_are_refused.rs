//! Units that contradict themselves or each other are refused one by one, and
//! the stream goes on.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::units::{PPS, SPS, aac, audio, avcc, h264, slice, video};
use common::{AUDIO, Checker, VIDEO, adts_frames, nal_types};
use media::{AccessUnit, Ticks, Timestamp, TrackConfig};
use proptest::prelude::*;
use weir_packager::{Error, Segment, Segmenter, SegmenterConfig, Tracks};

fn at(ticks: i64) -> Timestamp {
    Timestamp::from_ticks(ticks)
}

fn finish(segmenter: &mut Segmenter, end: i64) -> Vec<Segment> {
    segmenter.finish(at(end)).unwrap();
    std::iter::from_fn(|| segmenter.poll()).collect()
}

fn source(error: &Error) -> String {
    std::error::Error::source(error).map_or(String::new(), ToString::to_string)
}

#[test]
fn damaged_units_are_refused_and_the_stream_goes_on() {
    let (picture, sound) = (h264(), aac(48_000));
    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    segmenter.push(video(&picture, true, 0, 0, 0, 10)).unwrap();
    let with = |data: &[u8], config: &Arc<TrackConfig>| AccessUnit {
        data: Bytes::copy_from_slice(data),
        ..audio(config, 3000, 0, 0)
    };
    for (unit, message) in [
        (
            with(&[0, 0, 0, 9, 0x41], &picture),
            "NAL unit longer than its access unit at byte 0",
        ),
        (
            with(&[0, 0, 0], &picture),
            "NAL unit cut off in its length field at byte 0",
        ),
        (
            with(&[], &picture),
            "Video access unit at 0.033 s: no coded picture in it",
        ),
        (
            with(&avcc(&[SPS, PPS]), &picture),
            "Video access unit at 0.033 s: no coded picture in it",
        ),
        (
            with(&[], &sound),
            "Audio access unit at 0.033 s: no coded sound in it",
        ),
        (
            with(&[0; 8185], &sound),
            "ADTS frame length in bytes of 8192 is above the limit of 8191",
        ),
        (
            video(&picture, false, 3000, 0, 1, 10),
            "Video access unit at 0.000 s: dts does not rise above the one before",
        ),
        (
            video(&picture, false, 2999, 3000, 1, 10),
            "Video access unit at 0.033 s: presented before it is decoded",
        ),
    ] {
        let error = segmenter.push(unit).unwrap_err();
        let text = source(&error);
        assert_eq!(
            if text.is_empty() {
                error.to_string()
            } else {
                text
            },
            message
        );
    }
    segmenter
        .push(video(&picture, false, 3000, 3000, 1, 10))
        .unwrap();
    segmenter.push(audio(&sound, 3000, 0, 10)).unwrap();
    let segments = finish(&mut segmenter, 6000);
    let contents = Checker::default().segment(&segments[0]);
    assert_eq!(contents.of(VIDEO).count(), 2);
    assert_eq!(contents.of(AUDIO).count(), 1);
    assert!(matches!(
        segmenter.push(video(&picture, true, 6000, 6000, 2, 10)),
        Err(Error::Closed)
    ));
}

#[test]
fn a_segment_begins_with_a_key_picture_or_not_at_all() {
    let picture = h264();
    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    let refused = |segmenter: &mut Segmenter, ticks| {
        let unit = video(&picture, false, ticks, ticks, 0, 10);
        segmenter.push(unit).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&mut segmenter, 0),
        "Video access unit at 0.000 s: first of its segment, but not a key picture"
    );
    segmenter
        .push(video(&picture, true, 3000, 3000, 1, 10))
        .unwrap();
    segmenter.cut(at(6000));
    refused(&mut segmenter, 6000);
    // A cut told wrongly gives way to what the picture says.
    segmenter
        .push(video(&picture, true, 9000, 9000, 2, 10))
        .unwrap();
    let segments = finish(&mut segmenter, 12_000);
    let spans: Vec<_> = segments
        .iter()
        .map(|segment| (segment.start.ticks(), segment.duration.get()))
        .collect();
    assert_eq!(spans, [(3000, 6000), (9000, 3000)]);
}

#[test]
fn a_stream_that_is_never_cut_ends_at_the_bound() {
    let picture = h264();
    let mut segmenter = Segmenter::new(SegmenterConfig {
        max_bytes: 100_000,
        ..SegmenterConfig::default()
    });
    let error = (0..)
        .find_map(|number: u32| {
            let at = i64::from(number) * 3000;
            segmenter
                .push(video(&picture, number == 0, at, at, number, 0))
                .err()
        })
        .unwrap();
    assert_eq!(
        error.to_string(),
        "bytes in unfinished segments would exceed 100000"
    );
    // A cut makes room again once the segment before it is complete.
    segmenter.announce(Tracks {
        video: true,
        audio: false,
    });
    segmenter
        .cut_discontinuity(at(90_000_000), at(90_000_000))
        .unwrap();
    segmenter
        .push(video(&picture, true, 90_000_000, 90_000_000, 0, 0))
        .unwrap();
    assert!(segmenter.poll().is_some());
}

#[test]
fn a_hole_of_years_does_not_ask_for_years_of_clock() {
    let picture = h264();
    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    segmenter.push(video(&picture, true, 0, 0, 0, 10)).unwrap();
    for far in [i64::MAX / 4, i64::MAX / 2, i64::MAX - 1] {
        segmenter
            .push(video(&picture, false, far, far, 1, 10))
            .unwrap();
    }
    let segments = finish(&mut segmenter, i64::MAX);
    assert!(segments[0].data.len() < 20 * 188);
}

#[test]
fn cuts_that_go_back_or_repeat_are_none() {
    let picture = h264();
    let mut segmenter = Segmenter::new(SegmenterConfig {
        tracks: Some(Tracks {
            video: true,
            audio: false,
        }),
        ..SegmenterConfig::default()
    });
    segmenter.cut(at(900));
    segmenter.cut(at(0));
    for number in 0..10_u32 {
        let dts = i64::from(number) * 3000;
        if number > 0 {
            segmenter.cut(at(-6000));
        }
        if number == 5 {
            segmenter.cut(at(dts));
            segmenter.cut(at(dts));
            segmenter.cut(at(dts - 10));
            segmenter.cut(at(dts));
        }
        segmenter
            .push(video(&picture, number % 5 == 0, dts, dts, number, 10))
            .unwrap();
    }
    let segments = finish(&mut segmenter, 30_000);
    let shape: Vec<_> = segments
        .iter()
        .map(|segment| {
            (
                segment.number,
                segment.start.ticks(),
                segment.duration.get(),
            )
        })
        .collect();
    assert_eq!(shape, [(0, 0, 15_000), (1, 15_000, 15_000)]);
}

#[test]
fn a_track_outside_the_pmt_waits_for_a_discontinuity() {
    let (picture, sound) = (h264(), aac(48_000));
    let mut segmenter = Segmenter::new(SegmenterConfig {
        tracks: Some(Tracks {
            video: true,
            audio: false,
        }),
        ..SegmenterConfig::default()
    });
    segmenter.push(video(&picture, true, 0, 0, 0, 10)).unwrap();
    let error = segmenter.push(audio(&sound, 0, 0, 10)).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }));
    segmenter.cut_discontinuity(at(3000), at(3000)).unwrap();
    segmenter.announce(Tracks {
        video: true,
        audio: true,
    });
    segmenter
        .push(video(&picture, true, 3000, 3000, 1, 10))
        .unwrap();
    segmenter.push(audio(&sound, 3000, 0, 10)).unwrap();
    let segments = finish(&mut segmenter, 6000);
    let mut checker = Checker::default();
    let [one, two] = &segments[..] else {
        panic!("{segments:?}");
    };
    let contents = checker.segment(one);
    assert_eq!((contents.tracks, contents.pmt_version), (vec![VIDEO], 0));
    let contents = checker.segment(two);
    assert_eq!(
        (contents.tracks, contents.pmt_version),
        (vec![VIDEO, AUDIO], 1)
    );
    assert!(!one.discontinuity && two.discontinuity);
}

#[test]
fn delimiters_and_repeated_parameter_sets_of_the_sender_go() {
    let picture = h264();
    let other_sps = [SPS, &[0x11]].concat();
    let nals: [&[u8]; 8] = [
        &[0x09, 0xf0],
        SPS,
        PPS,
        &[],
        &other_sps,
        &[0x06, 5, 1, 0x80],
        &[0x09, 0x10],
        &slice(true, 0, 10),
    ];
    let unit = AccessUnit {
        data: avcc(&nals),
        ..video(&picture, true, 0, 0, 0, 0)
    };
    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    segmenter.push(unit).unwrap();
    let segments = finish(&mut segmenter, 3000);
    let contents = Checker::default().segment(&segments[0]);
    assert_eq!(nal_types(&contents.pes[0]), [9, 7, 8, 7, 6, 5]);
}

#[derive(Clone, Debug)]
enum Step {
    Unit {
        video: bool,
        key: bool,
        pts: i64,
        dts: i64,
        bytes: Vec<u8>,
    },
    Cut(i64),
    Discontinuity(i64, i64),
    Announce(bool, bool),
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -100_000_i64..1_000_000, 1 => any::<i64>()]
}

fn any_step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 1..700).prop_map(|nal| avcc(&[&nal]).to_vec()),
    ];
    prop_oneof![
        8 => (any::<bool>(), any::<bool>(), any_time(), any_time(), bytes).prop_map(
            |(video, key, pts, dts, bytes)| Step::Unit { video, key, pts: pts.max(dts), dts, bytes }
        ),
        2 => any_time().prop_map(Step::Cut),
        1 => (any_time(), any_time()).prop_map(|(end, at)| Step::Discontinuity(end, at)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(video, audio)| Step::Announce(video, audio)),
    ]
}

proptest! {
    /// Nothing panics; what was taken comes out once, in order within its track.
    #[test]
    fn any_sequence_of_calls_is_survived(
        steps in prop::collection::vec(any_step(), 0..60),
        end in any_time(),
    ) {
        let (picture, sound) = (h264(), aac(44_100));
        let mut segmenter = Segmenter::new(SegmenterConfig::default());
        let (mut pictures, mut sounds) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Unit { video, key, pts, dts, bytes } => {
                    let unit = AccessUnit {
                        pts: at(if video { pts } else { dts }),
                        dts: at(dts),
                        key,
                        data: bytes.clone().into(),
                        config: Arc::clone(if video { &picture } else { &sound }),
                    };
                    if segmenter.push(unit).is_ok() {
                        if video {
                            pictures += 1;
                        } else {
                            sounds.push(bytes);
                        }
                    }
                }
                Step::Cut(pts) => segmenter.cut(at(pts)),
                Step::Discontinuity(end, pts) => {
                    segmenter.cut_discontinuity(at(end), at(pts)).unwrap();
                }
                Step::Announce(video, audio) => segmenter.announce(Tracks { video, audio }),
            }
        }
        let segments = finish(&mut segmenter, end);
        let mut seen = (0, Vec::new());
        for (number, segment) in segments.iter().enumerate() {
            prop_assert_eq!(segment.number, number as u64);
            prop_assert!(segment.duration > Ticks::ZERO);
            // Time may jump either way here, so clocks are not compared.
            let contents = Checker::default().segment_of_any_time(segment);
            seen.0 += contents.of(VIDEO).count();
            let frames = contents.of(AUDIO).flat_map(adts_frames);
            seen.1.extend(frames.map(|(_, frame)| frame));
        }
        prop_assert_eq!(seen, (pictures, sounds));
    }
}
