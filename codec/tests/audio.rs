//! Sound, judged by ffmpeg's codecs.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::sync::Arc;

use bitstream::{adts, asc};
use bytes::Bytes;
use media::{AacConfig, AccessUnit, Samples, Ticks, Timestamp, TrackConfig};
use weir_codec::Error;
use weir_codec::audio::{Decoder, Encoder, Resampler};

/// A second of silence with a beep of 100 ms from 400 ms on, as ffmpeg's AAC
/// encoder codes it. ffmpeg puts 1024 instants of its own in front.
struct Coded {
    units: Vec<AccessUnit>,
}

const FFMPEG_DELAY: i64 = 1024;

/// ffmpeg's name for what AAC's channel configurations mean.
fn layout(channels: u8) -> &'static str {
    match channels {
        1 => "mono",
        2 => "stereo",
        3 => "3.0",
        4 => "4.0",
        5 => "5.0",
        6 => "5.1",
        8 => "7.1",
        _ => panic!("no configuration has {channels} channels"),
    }
}

impl Coded {
    fn new(rate: u32, channels: u8) -> Self {
        let source = format!(
            "aevalsrc='{}':c={}:s={rate}:d=1",
            vec!["sin(2*PI*1000*t)*0.5*between(t,0.4,0.5)"; usize::from(channels)].join("|"),
            layout(channels)
        );
        let adts = common::ffmpeg(&[
            "-f", "lavfi", "-i", &source, "-c:a", "aac", "-b:a", "192k", "-f", "adts", "-",
        ]);
        let config = Arc::new(TrackConfig::Aac(
            asc::low_complexity(rate, channels).unwrap(),
        ));
        let mut units = Vec::new();
        let mut rest = &adts[..];
        while !rest.is_empty() {
            let header = adts::parse(rest).unwrap();
            let frame = &rest[header.header_len..header.frame_len];
            let first = units.len() as i64 * 1024 - FFMPEG_DELAY;
            let pts = Timestamp::ZERO + Ticks::from_periods(first, rate);
            units.push(AccessUnit {
                pts,
                dts: pts,
                key: true,
                data: Bytes::copy_from_slice(frame),
                config: Arc::clone(&config),
            });
            rest = &rest[header.frame_len..];
        }
        Self { units }
    }

    fn config(&self) -> &AacConfig {
        self.units[0].config.aac().unwrap()
    }

    fn decode(&self) -> Vec<Samples> {
        let mut decoder = Decoder::open(self.config()).unwrap();
        let frames = self.units.iter();
        frames
            .filter_map(|unit| decoder.decode(unit, unit.pts).unwrap())
            .collect()
    }
}

fn join(pieces: &[Samples]) -> Samples {
    let mut all = pieces[0].clone();
    all.data = pieces.iter().flat_map(|piece| piece.data.clone()).collect();
    all
}

fn assert_near(at: Timestamp, ms: i64, tolerance_ms: i64, what: &str) {
    let error = at - Timestamp::from_millis(ms);
    assert!(
        error.abs() <= Ticks::from_millis(tolerance_ms),
        "{what}: off by {error}"
    );
}

/// What ffmpeg hears in units: mono samples of the encoder's rate.
fn listen(units: &[AccessUnit]) -> Samples {
    let config = units[0].config.aac().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.aac");
    let mut file = Vec::new();
    for unit in units {
        file.extend(adts::header(config, unit.data.len()).unwrap());
        file.extend_from_slice(&unit.data);
    }
    std::fs::write(&path, file).unwrap();
    let pcm = common::ffmpeg(&["-i", path.to_str().unwrap(), "-ac", "1", "-f", "f32le", "-"]);
    let samples = pcm
        .as_chunks::<4>()
        .0
        .iter()
        .map(|value| f32::from_le_bytes(*value));
    Samples {
        pts: units[0].pts,
        rate: config.sample_rate,
        channels: 1,
        data: samples.collect(),
    }
}

#[test]
fn every_layout_and_rate_decodes_to_the_beep_at_its_instant() {
    for (rate, channels) in [
        (44_100, 1),
        (44_100, 2),
        (48_000, 2),
        (48_000, 1),
        (48_000, 3),
        (48_000, 4),
        (48_000, 5),
        (48_000, 6),
        (48_000, 8),
        (22_050, 2),
        (16_000, 1),
        (96_000, 2),
    ] {
        let coded = Coded::new(rate, channels);
        let decoded = join(&coded.decode());
        // fdk-aac mixes 7.1 down to 5.1 by itself.
        let expected = if channels == 8 { 6 } else { channels };
        assert_eq!((decoded.rate, decoded.channels), (rate, expected));
        let onset = testkit::beep_onset(&decoded).unwrap();
        assert_near(onset, 400, 5, &format!("{rate} Hz, {channels} channels"));
    }
}

#[test]
fn channels_come_in_wav_order() {
    for channels in [3, 5, 6] {
        let layout = layout(channels);
        for sounding in 0..channels {
            // One channel at a time, in WAV order.
            let voices: Vec<_> = (0..channels)
                .map(|channel| match channel == sounding {
                    // Low enough for the LFE.
                    true => "sin(2*PI*60*t)*0.5",
                    false => "0",
                })
                .collect();
            let source = format!("aevalsrc='{}':c={layout}:s=48000:d=0.3", voices.join("|"));
            let adts = common::ffmpeg(&[
                "-f", "lavfi", "-i", &source, "-c:a", "aac", "-b:a", "384k", "-f", "adts", "-",
            ]);
            let config = asc::low_complexity(48_000, channels).unwrap();
            let mut decoder = Decoder::open(&config).unwrap();
            let shared = Arc::new(TrackConfig::Aac(config));
            let mut energy = vec![0.0; usize::from(channels)];
            let mut rest = &adts[..];
            while !rest.is_empty() {
                let header = adts::parse(rest).unwrap();
                let unit = AccessUnit {
                    pts: Timestamp::ZERO,
                    dts: Timestamp::ZERO,
                    key: true,
                    data: Bytes::copy_from_slice(&rest[header.header_len..header.frame_len]),
                    config: Arc::clone(&shared),
                };
                rest = &rest[header.frame_len..];
                let Some(samples) = decoder.decode(&unit, Timestamp::ZERO).unwrap() else {
                    continue;
                };
                for instant in samples.data.chunks_exact(usize::from(channels)) {
                    for (sum, value) in energy.iter_mut().zip(instant) {
                        *sum += value * value;
                    }
                }
            }
            let loudest = (0..energy.len()).max_by(|&a, &b| energy[a].total_cmp(&energy[b]));
            assert_eq!(loudest, Some(usize::from(sounding)), "{layout}: {energy:?}");
        }
    }
}

#[test]
fn a_beep_goes_through_the_whole_chain_and_stays_where_it_was() {
    for (rate, channels) in [
        (44_100, 2),
        (48_000, 6),
        (44_100, 1),
        (22_050, 1),
        (48_000, 2),
    ] {
        let coded = Coded::new(rate, channels);
        let mut resampler = Resampler::new(48_000);
        let mut encoder = Encoder::open(48_000, 2, 128).unwrap();
        let (mut stereo, mut units) = (Vec::new(), Vec::new());
        for samples in coded.decode() {
            resampler.process(&samples, &mut stereo).unwrap();
        }
        resampler.flush(&mut stereo).unwrap();
        for samples in &stereo {
            encoder.encode(samples, &mut units).unwrap();
        }
        encoder.flush(&mut units).unwrap();
        let onset = testkit::beep_onset(&listen(&units)).unwrap();
        assert_near(onset, 400, 5, &format!("{rate} Hz, {channels} channels"));
        for (index, pair) in units.windows(2).enumerate() {
            let step = (pair[1].pts - pair[0].pts).get();
            assert_eq!(step, 1920, "after unit {index}");
        }
    }
}

#[test]
fn everything_fed_comes_out_once() {
    let mut encoder = Encoder::open(44_100, 2, 96).unwrap();
    let mut units = Vec::new();
    let source = testkit::sine(44_100, 2, 440.0, 0, 44_100);
    encoder.encode(&source, &mut units).unwrap();
    encoder.flush(&mut units).unwrap();
    let end = units.last().unwrap().pts + Ticks::from_periods(1024, 44_100);
    let over = end - Timestamp::from_millis(1000);
    assert!(
        over >= Ticks::ZERO && over < Ticks::from_periods(1024, 44_100),
        "{over}"
    );
    // Counted, not added up: rounded once each.
    let first = units[0].pts;
    for (index, unit) in units.iter().enumerate() {
        let exact = Ticks::from_periods(index as i64 * 1024, 44_100);
        assert!((unit.pts - first - exact).abs().get() <= 1);
        assert!(unit.key && Arc::ptr_eq(&unit.config, encoder.config()));
    }
}

#[test]
fn a_short_gap_is_filled_and_a_long_one_jumps() {
    for (gap_ms, jumps) in [(30, false), (200, false), (5000, true), (-300, true)] {
        let mut encoder = Encoder::open(48_000, 2, 128).unwrap();
        let mut units = Vec::new();
        encoder
            .encode(&testkit::sine(48_000, 2, 440.0, 0, 24_000), &mut units)
            .unwrap();
        let mut second = testkit::beep(48_000, 2, 12_000, 0, 24_000);
        let start = Timestamp::from_millis(500 + gap_ms);
        second.pts = start;
        encoder.encode(&second, &mut units).unwrap();
        encoder.flush(&mut units).unwrap();
        let steps = units
            .windows(2)
            .filter(|pair| (pair[1].pts - pair[0].pts).get() != 1920);
        assert_eq!(steps.count(), usize::from(jumps), "{gap_ms} ms");
        // The beep, 250 ms into the second piece.
        let beep = start + Ticks::from_millis(250);
        let from = units
            .iter()
            .rposition(|unit| unit.pts + Ticks::from_millis(100) < beep);
        let heard = testkit::beep_onset(&listen(&units[from.unwrap()..])).unwrap();
        let off = (heard - beep).abs();
        let allowed = if gap_ms == 30 { 31 } else { 5 };
        assert!(
            off <= Ticks::from_millis(allowed),
            "{gap_ms} ms: off by {off}"
        );
    }
}

#[test]
fn damaged_frames_are_errors_and_the_next_frame_is_heard() {
    for (rate, channels) in [(48_000, 2), (48_000, 6), (22_050, 2)] {
        let coded = Coded::new(rate, channels);
        let mut decoder = Decoder::open(coded.config()).unwrap();
        let mut pieces = Vec::new();
        for (index, unit) in coded.units.iter().enumerate() {
            let mut unit = unit.clone();
            if index % 5 == 2 {
                let garbage: Vec<u8> = (0..unit.data.len())
                    .map(|at| (at * 151 + index * 7) as u8 | 0x80)
                    .collect();
                unit.data = garbage.into();
            }
            match decoder.decode(&unit, unit.pts) {
                Ok(samples) => pieces.extend(samples),
                Err(Error::Malformed { .. }) => pieces.push(decoder.silence(unit.pts)),
                Err(error) => panic!("{error}"),
            }
        }
        let frames: usize = pieces.iter().map(Samples::frames).sum();
        assert_eq!(frames, coded.units.len() * 1024, "{rate} {channels}");
    }
}

#[test]
fn an_empty_and_a_giant_frame_are_survived() {
    for (rate, channels) in [(48_000, 2), (48_000, 6)] {
        let coded = Coded::new(rate, channels);
        let mut decoder = Decoder::open(coded.config()).unwrap();
        for size in [0, 1, 100_000] {
            let mut unit = coded.units[0].clone();
            unit.data = vec![0xff; size].into();
            let _ = decoder.decode(&unit, unit.pts);
        }
        let mut heard = false;
        for unit in &coded.units {
            heard |= decoder
                .decode(unit, unit.pts)
                .is_ok_and(|samples| samples.is_some());
        }
        assert!(heard);
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    assert!(Encoder::open(48_000, 3, 128).is_err());
    assert!(Encoder::open(48_000, 2, 0).is_err());
    assert!(Encoder::open(12_345, 2, 128).is_err());
    let mut encoder = Encoder::open(48_000, 2, 128).unwrap();
    let mono = testkit::sine(48_000, 1, 440.0, 0, 1024);
    assert!(encoder.encode(&mono, &mut Vec::new()).is_err());
    assert_eq!(encoder.config().rfc6381(), "mp4a.40.2");
}
