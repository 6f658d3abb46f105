//! Decoding, judged by ffmpeg's decoder.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::sync::Arc;

use bitstream::nal;
use bytes::Bytes;
use common::{Stream, decode_units, raw};
use media::{AccessUnit, Picture, Size};
use weir_codec::video::{Backend, open_decoder};
use weir_codec::{Error, Limits};

const BACKENDS: [Backend; 3] = [Backend::RustyH264, Backend::RustH264, Backend::OpenH264];

fn pts(pictures: &[Arc<Picture>]) -> Vec<media::Timestamp> {
    pictures.iter().map(|picture| picture.pts).collect()
}

/// The backends give ffmpeg's samples, in order, at the units' own times.
///
/// openh264 (2.6) gets a few samples of B slices wrong, driven by its own
/// wrapper as well as here; streams without them are exact.
fn check(size: (u32, u32), options: &[&str]) {
    let stream = Stream::x264(size, options);
    let reordered = stream.units.iter().any(|unit| unit.pts != unit.dts);
    for backend in BACKENDS {
        let pictures = stream.decode(backend);
        assert_eq!(pts(&pictures), stream.shown(), "{backend:?} {options:?}");
        let samples = raw(&pictures);
        if backend == Backend::OpenH264 && reordered {
            assert_close(&samples, &stream.expected, options);
        } else {
            assert!(
                samples == stream.expected,
                "{backend:?} {size:?} {options:?}: samples differ"
            );
        }
    }
}

fn assert_close(samples: &[u8], expected: &[u8], options: &[&str]) {
    assert_eq!(samples.len(), expected.len(), "{options:?}");
    let errors = || samples.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    let differing = errors().filter(|&error| error > 0).count();
    assert!(
        differing * 1000 < samples.len(),
        "{options:?}: {differing} samples differ, by up to {:?}",
        errors().max()
    );
}

#[test]
fn baseline_and_cavlc_are_exact() {
    check((176, 144), &["-profile:v", "baseline", "-preset", "medium"]);
    check(
        (176, 144),
        &["-profile:v", "main", "-coder", "0", "-bf", "2"],
    );
}

#[test]
fn presets_from_ultrafast_to_slow_are_exact() {
    for preset in ["ultrafast", "veryfast", "medium", "slow"] {
        check((320, 180), &["-preset", preset, "-g", "20"]);
    }
}

#[test]
fn b_frames_come_out_in_order_at_their_own_times() {
    for (count, pyramid) in [
        ("0", "none"),
        ("2", "none"),
        ("3", "normal"),
        ("3", "strict"),
    ] {
        let parameters = format!("b-pyramid={pyramid}:b-adapt=0");
        check(
            (320, 180),
            &[
                "-profile:v",
                "main",
                "-bf",
                count,
                "-x264-params",
                &parameters,
                "-g",
                "24",
            ],
        );
    }
}

#[test]
fn several_slices_are_exact() {
    check((320, 240), &["-slices", "4", "-bf", "2"]);
    check((320, 240), &["-tune", "zerolatency", "-slices", "4"]);
}

#[test]
fn cropped_sizes_are_exact() {
    for size in [(202, 360), (854, 480), (640, 270), (406, 720), (66, 34)] {
        check(size, &["-preset", "veryfast", "-bf", "2"]);
    }
}

#[test]
fn weights_matrices_and_direct_modes_are_exact() {
    for parameters in [
        "weightp=2:weightb=1:bframes=3",
        "cqm=jvt:8x8dct=1",
        "direct=temporal:bframes=3",
        "ref=5:mixed-refs=1:trellis=2:me=umh",
        "chroma-qp-offset=4",
        "keyint=1",
        "constrained-intra=1",
    ] {
        check(
            (320, 180),
            &["-preset", "medium", "-x264-params", parameters],
        );
    }
}

#[test]
fn a_stream_without_b_frames_is_never_delayed() {
    let stream = Stream::x264((176, 144), &["-bf", "0"]);
    for backend in BACKENDS {
        let config = stream.units[0].config.h264().unwrap();
        let mut decoder = open_decoder(backend, config, &Limits::default()).unwrap();
        for unit in &stream.units {
            let mut out = Vec::new();
            decoder.decode(unit, &mut out).unwrap();
            assert_eq!(pts(&out), [unit.pts], "{backend:?}");
        }
    }
}

#[test]
fn b_frames_delay_by_what_the_sender_delayed_them() {
    let stream = Stream::x264(
        (176, 144),
        &["-bf", "3", "-x264-params", "b-pyramid=normal:b-adapt=0"],
    );
    for backend in BACKENDS {
        let config = stream.units[0].config.h264().unwrap();
        let mut decoder = open_decoder(backend, config, &Limits::default()).unwrap();
        let mut out = Vec::new();
        for (count, unit) in stream.units.iter().enumerate() {
            decoder.decode(unit, &mut out).unwrap();
            assert!(
                out.len() + 2 > count,
                "{backend:?}: {} of {count}",
                out.len()
            );
        }
    }
}

/// Damages unit 20 of a stream with key units at 0, 16 and 32.
fn damaged(by: impl Fn(&mut Vec<u8>)) {
    let stream = Stream::x264(
        (320, 180),
        &[
            "-bf",
            "2",
            "-x264-params",
            "keyint=16:min-keyint=16:scenecut=0",
        ],
    );
    for backend in BACKENDS {
        let mut units = stream.units.clone();
        let mut data = units[20].data.to_vec();
        by(&mut data);
        units[20].data = Bytes::from(data);
        let (pictures, errors) = decode_units(backend, &units);
        assert!(
            errors
                .iter()
                .all(|error| matches!(error, Error::Malformed { .. })),
            "{backend:?}: {errors:?}"
        );
        let shown = pts(&pictures);
        assert!(shown.is_sorted_by(|a, b| a < b), "{backend:?}");
        let resumed = stream.units[32].pts;
        let tail: Vec<_> = stream
            .shown()
            .into_iter()
            .filter(|at| *at >= resumed)
            .collect();
        assert!(shown.ends_with(&tail), "{backend:?} does not recover");
        let bytes = stream.expected.len() / stream.units.len() * tail.len();
        let samples = raw(&pictures);
        assert_close(
            &samples[samples.len() - bytes..],
            &stream.expected[stream.expected.len() - bytes..],
            &[],
        );
    }
}

#[test]
fn a_truncated_unit_is_an_error_and_decoding_resumes_at_the_next_key_unit() {
    damaged(|data| data.truncate(data.len() / 2));
}

#[test]
fn a_unit_that_is_cut_inside_a_slice_is_survived() {
    damaged(|data| {
        let nal_end = data.len() - 30;
        let mut at = 0;
        // Keeps the lengths right and drops the end of the last NAL unit.
        while at + 4 < data.len() {
            let length = u32::from_be_bytes(data[at..at + 4].try_into().unwrap()) as usize;
            if at + 4 + length >= data.len() {
                let shorter = (nal_end - at - 4) as u32;
                data[at..at + 4].copy_from_slice(&shorter.to_be_bytes());
                data.truncate(nal_end);
                return;
            }
            at += 4 + length;
        }
    });
}

#[test]
fn flipped_bits_are_survived() {
    for seed in 0..8 {
        damaged(|data| {
            let length = data.len();
            for step in 0..6 {
                let at = 12 + (seed * 7919 + step * 104_729) % (length - 12);
                data[at] ^= 1 << (step % 8);
            }
        });
    }
}

#[test]
fn a_lost_unit_does_not_shift_the_times_of_later_pictures() {
    let stream = Stream::x264((320, 180), &["-bf", "2", "-g", "16"]);
    for backend in BACKENDS {
        let mut units = stream.units.clone();
        units.remove(5);
        let key = units.iter().rposition(|unit| unit.key).unwrap();
        let (pictures, _) = decode_units(backend, &units);
        let shown = pts(&pictures);
        let count = units.len() - key;
        let mut tail: Vec<_> = units[key..].iter().map(|unit| unit.pts).collect();
        tail.sort();
        assert_eq!(shown[shown.len() - count..], tail, "{backend:?}");
    }
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    let stream = Stream::x264((64, 64), &["-bf", "2"]);
    for backend in BACKENDS {
        let config = stream.units[0].config.h264().unwrap();
        let mut decoder = open_decoder(backend, config, &Limits::default()).unwrap();
        let mut out = Vec::new();
        for seed in 0..200_u32 {
            let mut unit = stream.units[0].clone();
            let body: Vec<u8> = (0..seed * 3)
                .map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 13) as u8)
                .collect();
            let mut data = (body.len() as u32 + 1).to_be_bytes().to_vec();
            data.push([0x65, 0x41, 0x68, 0x01][seed as usize % 4]);
            data.extend(body);
            unit.data = data.into();
            unit.key = seed % 4 == 0;
            let _ = decoder.decode(&unit, &mut out);
        }
        assert!(out.len() <= 200);
    }
}

#[test]
fn a_clock_that_jumps_back_starts_a_new_order() {
    let stream = Stream::x264((64, 64), &["-bf", "2", "-g", "10"]);
    let mut units = stream.units.clone();
    units.extend(stream.units.iter().cloned());
    let (pictures, errors) = decode_units(Backend::RustyH264, &units);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(pictures.len(), units.len());
}

#[test]
fn a_hidden_parameter_set_of_another_size_never_reaches_a_backend() {
    let stream = Stream::x264((320, 180), &["-bf", "0", "-g", "10"]);
    let large = Stream::x264((640, 360), &["-bf", "0", "-g", "10"]);
    let config = |stream: &Stream| stream.units[0].config.h264().unwrap().clone();
    let sets = config(&large);
    // In units of their own, and behind a start code inside a slice's.
    let open = |out: &mut Vec<u8>| {
        nal::push_length_prefixed(out, &sets.sps[0]);
        nal::push_length_prefixed(out, &sets.pps[0]);
    };
    let hidden = |out: &mut Vec<u8>| {
        let mut joined = vec![0x06, 0x80];
        nal::push_annex_b(&mut joined, &sets.sps[0]);
        nal::push_annex_b(&mut joined, &sets.pps[0]);
        nal::push_length_prefixed(out, &joined);
    };
    for (backend, hide) in BACKENDS
        .into_iter()
        .flat_map(|one| [(one, false), (one, true)])
    {
        let config = config(&stream);
        let mut decoder = open_decoder(backend, &config, &Limits::default()).unwrap();
        let mut pictures = Vec::new();
        for unit in stream.units.iter().chain(&large.units) {
            let mut data = Vec::new();
            match hide {
                false => open(&mut data),
                true => hidden(&mut data),
            }
            data.extend_from_slice(&unit.data);
            let data = data.into();
            let _ = decoder.decode(
                &AccessUnit {
                    data,
                    ..unit.clone()
                },
                &mut pictures,
            );
        }
        assert!(!pictures.is_empty(), "{backend:?}");
        for picture in pictures {
            assert_eq!(picture.size, stream.size, "{backend:?}");
        }
    }
}

#[test]
fn units_joined_by_start_codes_behind_one_length_are_decoded() {
    let stream = Stream::x264((320, 180), &["-slices", "4", "-bf", "2"]);
    for backend in BACKENDS {
        let mut units = stream.units.clone();
        for unit in &mut units {
            let joined = nal::to_annex_b(&unit.data, 4).unwrap();
            let mut data = Vec::new();
            nal::push_length_prefixed(&mut data, &joined[4..]);
            unit.data = data.into();
        }
        let (pictures, errors) = decode_units(backend, &units);
        assert!(errors.is_empty(), "{backend:?}: {errors:?}");
        assert_eq!(pts(&pictures), stream.shown());
    }
}

#[test]
fn damage_in_every_group_hands_the_stream_on_at_a_key_unit() {
    let options = [
        "-bf",
        "2",
        "-x264-params",
        "keyint=8:min-keyint=8:scenecut=0",
    ];
    let stream = Stream::x264((320, 180), &options);
    let config = stream.units[0].config.h264().unwrap();
    let mut decoder = open_decoder(Backend::RustyH264, config, &Limits::default()).unwrap();
    let mut pictures = Vec::new();
    for (index, unit) in stream.units.iter().enumerate() {
        let mut unit = unit.clone();
        // One unit in each of the first three groups.
        if [5, 12, 20].contains(&index) {
            unit.data = unit.data.slice(..unit.data.len() / 2);
        }
        let _ = decoder.decode(&unit, &mut pictures);
        let expected = match index {
            ..24 => Backend::RustyH264,
            _ => Backend::RustH264,
        };
        assert_eq!(decoder.backend(), expected, "unit {index}");
    }
    decoder.flush(&mut pictures).unwrap();
    let tail = raw(&pictures[pictures.len() - 26..]);
    assert!(stream.expected.ends_with(&tail), "samples differ");
}

#[test]
fn a_group_without_damage_starts_the_count_again() {
    let options = [
        "-bf",
        "2",
        "-x264-params",
        "keyint=8:min-keyint=8:scenecut=0",
    ];
    let stream = Stream::x264((320, 180), &options);
    let config = stream.units[0].config.h264().unwrap();
    let mut decoder = open_decoder(Backend::RustyH264, config, &Limits::default()).unwrap();
    for (index, unit) in stream.units.iter().enumerate() {
        let mut unit = unit.clone();
        if [5, 12, 28, 36].contains(&index) {
            unit.data = unit.data.slice(..unit.data.len() / 2);
        }
        let _ = decoder.decode(&unit, &mut Vec::new());
    }
    assert_eq!(decoder.backend(), Backend::RustyH264);
}

#[test]
fn a_picture_above_the_limit_is_refused_when_opening() {
    let stream = Stream::x264((320, 180), &[]);
    let config = stream.units[0].config.h264().unwrap();
    let limits = |max_picture_area, max_picture_side| Limits {
        max_picture_area,
        max_picture_side,
    };
    for limits in [limits(320 * 180, 4096), limits(1 << 30, 319)] {
        for backend in BACKENDS {
            let refused = open_decoder(backend, config, &limits);
            assert!(matches!(refused, Err(Error::Limit { .. })), "{limits:?}");
        }
    }
    // 180 rows are coded as 192.
    assert!(open_decoder(Backend::OpenH264, config, &limits(320 * 192, 320)).is_ok());
    assert_eq!(stream.size, Size::new(320, 180));
}

#[test]
fn more_reference_frames_than_the_largest_level_holds_are_refused() {
    let open = |size, references: &str| {
        let parameters = format!("ref={references}:level=62");
        let options = ["-preset", "ultrafast", "-x264-params", &parameters];
        let stream = Stream::encode(&format!("color=s={size}:r=25:d=0.08"), &options);
        let config = stream.units[0].config.h264().unwrap();
        open_decoder(Backend::RustyH264, config, &Limits::default())
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(open("1920x1080", "16"), None);
    assert_eq!(open("4096x2304", "5"), None);
    assert_eq!(
        open("4096x2304", "6").as_deref(),
        Some("number of reference frames, 6 of 4096x2304, is above the limit of 5")
    );
}
