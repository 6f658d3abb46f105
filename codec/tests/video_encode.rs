//! Encoding, judged by ffmpeg's decoder.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::sync::Arc;

use media::{AccessUnit, Colour, Picture, Preset, Size, Ticks, Timestamp};
use weir_codec::video::{Cost, EncoderConfig, Meter, open_encoder};

fn config(size: Size, frame_rate: f64, video_kbps: u32) -> EncoderConfig {
    EncoderConfig {
        size,
        frame_rate,
        video_kbps,
        max_kbps: video_kbps * 107 / 100,
        buffer_kbits: video_kbps * 3 / 2,
        colour: None,
        preset: Preset::Balanced,
        threads: 1,
    }
}

fn at(index: u32) -> Timestamp {
    Timestamp::ZERO + Ticks::from_periods(i64::from(index), 30)
}

fn encode(
    config: &EncoderConfig,
    count: u32,
    picture: impl Fn(u32) -> Picture,
    key: impl Fn(u32) -> bool,
) -> Vec<AccessUnit> {
    let mut encoder = open_encoder(config).unwrap();
    let announced = Arc::clone(encoder.config());
    let mut meter = Meter::default();
    let units: Vec<_> = (0..count)
        .filter_map(|index| {
            let picture = picture(index);
            let cost = meter.measure(&picture);
            encoder.encode(&picture, key(index), cost).unwrap()
        })
        .collect();
    assert!(
        units
            .iter()
            .all(|unit| Arc::ptr_eq(&unit.config, &announced))
    );
    units
}

/// One leaky bucket over all of it: a change is no reason for a second buffer.
#[test]
fn colours_that_change_all_the_time_do_not_break_the_rate() {
    let size = Size::new(320, 180);
    let config = config(size, 30.0, 300);
    let mut encoder = open_encoder(&config).unwrap();
    let mut meter = Meter::default();
    let (mut level, mut seen) = (0.0_f64, 0);
    for index in 0..90 {
        let picture = testkit::noise(size, index, at(index));
        let key = index % 5 == 0;
        let colour = Colour {
            full_range: index % 10 == 0,
            primaries: 1,
            transfer: 1,
            matrix: 1,
        };
        if key {
            encoder.recolour(Some(colour)).unwrap();
        }
        let cost = meter.measure(&picture);
        level = (level - f64::from(config.max_kbps) / 30.0).max(0.0);
        let Some(unit) = encoder.encode(&picture, key, cost).unwrap() else {
            continue;
        };
        assert!(unit.key || !key);
        if key {
            assert_eq!(unit.config.h264().unwrap().colour, Some(colour));
        }
        level += unit.data.len() as f64 * 8.0 / 1000.0;
        assert!(level <= f64::from(config.buffer_kbits), "{index}: {level}");
        seen += 1;
    }
    assert!(seen >= 18, "{seen}");
}

#[test]
fn every_size_of_the_ladder_comes_back_at_its_size_and_close_to_its_source() {
    for (width, height) in [
        (640, 360),
        (202, 360),
        (854, 480),
        (640, 270),
        (320, 240),
        (16, 16),
    ] {
        let size = Size::new(width, height);
        let picture = |index| testkit::moving_pattern(size, index, at(index));
        let units = encode(&config(size, 30.0, 2000), 12, picture, |_| false);
        assert_eq!(units[0].config.h264().unwrap().size, size);
        let directory = tempfile::tempdir().unwrap();
        let path = common::write_annex_b(directory.path().join("out.h264"), &units);
        let decoded = common::decode(&path);
        let bytes = width as usize * height as usize * 3 / 2;
        assert_eq!(decoded.len(), bytes * 12, "{size}");
        let source = common::raw(&[Arc::new(picture(11))]);
        let error: u64 = source
            .iter()
            .zip(&decoded[bytes * 11..])
            .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
            .sum();
        let mean = error as f64 / bytes as f64;
        assert!(mean < 60.0, "{size}: mean squared error {mean}");
    }
}

#[test]
fn key_units_come_when_asked_for_and_never_by_themselves() {
    let size = Size::new(320, 180);
    // A cut to other content at 20, 40 and 60, none of which asks for a key unit.
    let picture = |index: u32| match index / 20 % 3 {
        0 => testkit::moving_pattern(size, index, at(index)),
        1 => testkit::flash(size, at(index)),
        _ => testkit::moving_pattern(size, 1000 - index * 7, at(index)),
    };
    let units = encode(&config(size, 30.0, 800), 90, picture, |index| {
        index == 33 || index == 34
    });
    let keys: Vec<_> = (0..90).filter(|&index| units[index].key).collect();
    assert_eq!(keys, [0, 33, 34]);
    for (index, unit) in units.iter().enumerate() {
        assert_eq!((unit.pts, unit.dts), (at(index as u32), at(index as u32)));
        let slices: Vec<u8> = bitstream::nal::lengths(&unit.data, 4)
            .map(|nal| nal.unwrap()[0] & 31)
            .collect();
        assert_eq!(slices, [if unit.key { 5 } else { 1 }], "unit {index}");
    }
}

#[test]
fn the_parameter_sets_tell_profile_level_and_size() {
    for (width, height, fps, level) in [
        (640, 360, 30.0, 30),
        (854, 480, 30.0, 31),
        (1280, 720, 30.0, 31),
        (1280, 720, 60.0, 32),
        (1280, 720, 29.97, 31),
        (1280, 720, 30.01, 31),
        (640, 360, 25.0, 30),
    ] {
        let encoder = open_encoder(&config(Size::new(width, height), fps, 2800)).unwrap();
        let config = encoder.config().h264().unwrap();
        // Constrained further: frames only, no B slices.
        assert_eq!((config.profile, config.constraints), (77, 0x4c));
        assert_eq!(config.level, level, "{width}x{height} at {fps}");
        assert_eq!(config.size, Size::new(width, height));
        assert_eq!((config.sps.len(), config.pps.len()), (1, 1));
        assert!(!config.interlaced && !config.high_fidelity);
    }
}

#[test]
fn a_picture_of_another_size_is_refused() {
    let mut encoder = open_encoder(&config(Size::new(64, 64), 30.0, 300)).unwrap();
    let other = Picture::black(Size::new(64, 48), Timestamp::ZERO);
    assert!(encoder.encode(&other, false, Cost::default()).is_err());
    let mut cut = Picture::black(Size::new(64, 64), Timestamp::ZERO);
    cut.planes[2].data.truncate(100);
    assert!(encoder.encode(&cut, false, Cost::default()).is_err());
    let whole = Picture::black(Size::new(64, 64), Timestamp::ZERO);
    assert!(encoder.encode(&whole, false, Cost::default()).is_ok());
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let good = config(Size::new(64, 64), 30.0, 300);
    let refused = |change: &dyn Fn(&mut EncoderConfig)| {
        let mut config = good.clone();
        change(&mut config);
        open_encoder(&config).err().map(|error| error.to_string())
    };
    assert_eq!(refused(&|_| ()), None);
    assert_eq!(
        refused(&|config| config.size.width = 65).as_deref(),
        Some("pictures of 65x64 have an odd side")
    );
    assert!(refused(&|config| config.size.width = 8).is_some());
    assert!(refused(&|config| config.frame_rate = f64::NAN).is_some());
    assert!(refused(&|config| config.max_kbps = 200).is_some());
    assert!(refused(&|config| config.threads = 0).is_some());
}

#[test]
fn noise_after_calm_pictures_does_not_end_the_stream() {
    let size = Size::new(320, 180);
    let picture = |index: u32| match index / 20 {
        0 => testkit::flash(size, at(index)),
        _ => testkit::noise(size, index, at(index)),
    };
    let units = encode(&config(size, 30.0, 800), 40, picture, |_| false);
    let directory = tempfile::tempdir().unwrap();
    let path = common::write_annex_b(directory.path().join("out.h264"), &units);
    assert_eq!(common::decode(&path).len(), 40 * 320 * 180 * 3 / 2);
}

/// The most that any window holds beyond what drains in it, in kbit (C.1 of
/// H.264: a leaky bucket that never runs over).
fn fullest(units: &[AccessUnit], max_kbps: u32) -> f64 {
    let (mut level, mut most, mut last) = (0.0_f64, 0.0_f64, Timestamp::ZERO);
    for unit in units {
        let passed = (unit.pts - last).as_secs_f64();
        level = (level - f64::from(max_kbps) * passed).max(0.0);
        level += unit.data.len() as f64 * 8.0 / 1000.0;
        most = most.max(level);
        last = unit.pts;
    }
    most
}

#[test]
fn no_picture_overflows_the_decoders_buffer_whatever_comes() {
    let size = Size::new(640, 360);
    let noise = |index| testkit::noise(size, index, at(index));
    let film = |index| testkit::moving_pattern(size, index, at(index));
    let still = |index| Picture {
        pts: at(index),
        ..testkit::moving_pattern(size, 7, at(index))
    };
    type Source<'a> = &'a dyn Fn(u32) -> Picture;
    let sources: [(&str, Source<'_>); 4] = [
        ("noise", &noise),
        ("a cut to noise and back every half second", &|index| {
            if index / 15 % 2 == 1 {
                noise(index)
            } else {
                film(index)
            }
        }),
        ("five seconds of a still, then noise", &|index| {
            if index < 150 {
                still(index)
            } else {
                noise(index)
            }
        }),
        ("film and a flash of noise", &|index| {
            if index % 50 == 49 {
                noise(index)
            } else {
                film(index)
            }
        }),
    ];
    for preset in [Preset::Fast, Preset::Balanced, Preset::Quality] {
        for (name, source) in sources {
            let config = EncoderConfig {
                preset,
                ..config(size, 30.0, 800)
            };
            let units = encode(&config, 240, source, |index| index % 60 == 0);
            let fullest = fullest(&units, config.max_kbps);
            let buffer = f64::from(config.buffer_kbits);
            assert!(fullest <= buffer, "{name}: {fullest} of {buffer} kbit");
            assert!(units.len() > 200, "{name}: {} pictures", units.len());
        }
    }
}

/// Rows of letters of two strokes, which move up by a line a second.
fn terminal(size: Size, index: u32) -> Picture {
    let mut picture = Picture::black(size, at(index));
    for y in 0..size.height {
        let line = (y + index / 30 * 12) / 12;
        if (y + index / 30 * 12) % 12 >= 8 {
            continue;
        }
        let width = size.width as usize;
        let row = &mut picture.planes[0].row_mut(y as usize)[..width];
        for (x, sample) in row.iter_mut().enumerate() {
            let letter = (x / 8 * 31 + line as usize * 17) % 5;
            *sample = if x % 8 == 1 || x % 8 == 3 + letter {
                220
            } else {
                16
            };
        }
    }
    picture
}

#[test]
fn a_stream_may_go_from_film_to_a_screen_and_back() {
    let size = Size::new(640, 360);
    let picture = |index: u32| match index / 180 % 2 {
        0 => testkit::moving_pattern(size, index, at(index)),
        _ => terminal(size, index),
    };
    let key = |index: u32| index.is_multiple_of(60);
    let config = config(size, 30.0, 800);
    // `encode` checks that the track's configuration stays the same one.
    let units = encode(&config, 540, picture, key);
    for unit in units.iter().filter(|unit| key(index_of(unit))) {
        assert!(unit.key, "{:?}", unit.pts);
    }
    assert!(fullest(&units, config.max_kbps) <= f64::from(config.buffer_kbits));
    let directory = tempfile::tempdir().unwrap();
    let path = common::write_annex_b(directory.path().join("out.h264"), &units);
    assert_eq!(common::decode(&path).len(), units.len() * 640 * 360 * 3 / 2);
    let camera = EncoderConfig {
        preset: Preset::Fast,
        ..config
    };
    // What the tools for screens are for: the second half of the text, when
    // they are at work, takes less than without them.
    let late = |units: &[AccessUnit]| -> usize {
        let late = units
            .iter()
            .filter(|unit| (240..360).contains(&index_of(unit)));
        late.map(|unit| unit.data.len()).sum()
    };
    let without = encode(&camera, 540, picture, key);
    assert!(late(&units) < late(&without));
}

fn index_of(unit: &AccessUnit) -> u32 {
    ((unit.pts - Timestamp::ZERO).as_secs_f64() * 30.0).round() as u32
}
