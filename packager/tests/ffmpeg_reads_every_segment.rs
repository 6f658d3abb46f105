//! What x264 and ffmpeg's AAC encoder made, through the segmenter, back into
//! ffprobe: every packet with its timestamps, every segment decodable alone.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bitstream::nal::{self, Kind};
use bytes::Bytes;
use common::Checker;
use media::{AacConfig, AccessUnit, H264Config, Size, Ticks, Timestamp, Track, TrackConfig};
use weir_packager::{Segment, Segmenter, SegmenterConfig, Tracks};

/// Runs `program` and gives its output; it must succeed without a word on
/// stderr.
fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program)
        .args(["-v", "warning"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaints}"
    );
    assert_eq!(complaints, "", "{program} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Timestamps (pts, dts) of one stream's packets, in ticks of 90 kHz.
fn packets(file: &str, stream: &str, directory: &Path) -> Vec<(i64, i64)> {
    let arguments = [
        "-select_streams",
        stream,
        "-show_entries",
        "packet=pts,dts",
        "-of",
        "csv=p=0",
        file,
    ];
    let text = run("ffprobe", &arguments, directory);
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut fields = line.split(',').map(|field| field.parse().unwrap());
            (fields.next().unwrap(), fields.next().unwrap())
        })
        .collect()
}

/// Six seconds of a test picture with a key picture each 50 and two B-frames
/// between others, and a tone.
fn source(directory: &Path) -> Vec<AccessUnit> {
    let make = |arguments: &str| {
        run(
            "ffmpeg",
            &arguments.split(' ').collect::<Vec<_>>(),
            directory,
        );
    };
    make(
        "-f lavfi -i testsrc2=size=320x180:rate=25 -t 6 -pix_fmt yuv420p -c:v libx264 -preset veryfast -g 50 -bf 2 -sc_threshold 0 -x264-params open-gop=0 video.mp4",
    );
    make("-f lavfi -i sine=frequency=440:sample_rate=48000 -t 6 -ac 2 -c:a aac -b:a 96k sound.aac");
    make(
        "-i video.mp4 -c copy -bsf:v h264_mp4toannexb,h264_metadata=aud=insert -f h264 video.h264",
    );

    let stamps = packets("video.mp4", "v", directory);
    // The time base of the mp4 muxer at 25 fps.
    let scale = 90_000.0 / 12_800.0;
    let stream = std::fs::read(directory.join("video.h264")).unwrap();
    let mut pictures: Vec<Vec<u8>> = Vec::new();
    let (mut sps, mut pps) = (Vec::new(), Vec::new());
    for unit in nal::annex_b(&stream) {
        match Kind::of(unit) {
            Kind::Aud => pictures.push(Vec::new()),
            Kind::Sps => sps = vec![Bytes::copy_from_slice(unit)],
            Kind::Pps => pps = vec![Bytes::copy_from_slice(unit)],
            _ => nal::push_length_prefixed(pictures.last_mut().unwrap(), unit),
        }
    }
    let config = Arc::new(TrackConfig::H264(H264Config {
        nal_length_size: 4,
        profile: sps[0][1],
        constraints: sps[0][2],
        level: sps[0][3],
        sps,
        pps,
        size: Size::new(320, 180),
        sample_aspect: (1, 1),
        frame_rate: None,
        colour: None,
        interlaced: false,
        high_fidelity: false,
    }));
    assert_eq!(pictures.len(), stamps.len());
    let ticks = |value: i64| Timestamp::from_ticks((value as f64 * scale).round() as i64);
    let mut units: Vec<AccessUnit> = std::iter::zip(pictures, stamps)
        .map(|(data, (pts, dts))| AccessUnit {
            pts: ticks(pts),
            dts: ticks(dts),
            key: nal::lengths(&data, 4).any(|unit| Kind::of(unit.unwrap()) == Kind::Idr),
            data: data.into(),
            config: Arc::clone(&config),
        })
        .collect();

    let config = Arc::new(TrackConfig::Aac(AacConfig {
        asc: Bytes::from_static(&[0x11, 0x90]),
        object_type: 2,
        core_rate: 48_000,
        sample_rate: 48_000,
        channels: 2,
        frame_samples: 1024,
    }));
    let mut rest = &std::fs::read(directory.join("sound.aac")).unwrap()[..];
    let mut frames = 0;
    while rest.len() > 7 {
        let length =
            usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5] >> 5);
        let pts = Timestamp::ZERO + Ticks::from_periods(frames * 1024, 48_000);
        units.push(AccessUnit {
            pts,
            dts: pts,
            key: true,
            data: Bytes::copy_from_slice(&rest[7..length]),
            config: Arc::clone(&config),
        });
        rest = &rest[length..];
        frames += 1;
    }
    units.sort_by_key(|unit| unit.dts);
    units
}

fn segments(units: &[AccessUnit], offset: Ticks) -> Vec<Segment> {
    let mut segmenter = Segmenter::new(SegmenterConfig {
        ts_offset: offset,
        tracks: Some(Tracks {
            video: true,
            audio: true,
        }),
        ..SegmenterConfig::default()
    });
    for unit in units {
        if unit.track() == Track::Video && unit.key {
            segmenter.cut(unit.pts);
        }
        segmenter.push(unit.clone()).unwrap();
    }
    segmenter.finish(Timestamp::from_millis(6_000)).unwrap();
    std::iter::from_fn(|| segmenter.poll()).collect()
}

#[test]
fn every_packet_and_every_segment() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let units = source(directory);
    let reordered = units.iter().any(|unit| unit.pts != unit.dts);
    assert!(
        reordered
            && units
                .iter()
                .any(|unit| unit.dts < Timestamp::ZERO || unit.pts > unit.dts)
    );

    let offset = Ticks::from_millis(10_000);
    let segments = segments(&units, offset);
    assert_eq!(segments.len(), 3);
    let mut checker = Checker::default();
    let mut whole = Vec::new();
    let mut frames = BTreeMap::new();
    for segment in &segments {
        let name = format!("{}.ts", segment.number);
        std::fs::write(directory.join(&name), &segment.data).unwrap();
        whole.extend_from_slice(&segment.data);
        checker.segment(segment);
        // Alone: 50 pictures, each decodable.
        let arguments = [
            "-count_frames",
            "-select_streams",
            "v",
            "-show_entries",
            "stream=nb_read_frames,codec_name,width",
            "-of",
            "default=nw=1",
            &name,
        ];
        let text = run("ffprobe", &arguments, directory);
        assert!(
            text.contains("codec_name=h264\nwidth=320\nnb_read_frames=50\n"),
            "{text}"
        );
        run(
            "ffmpeg",
            &["-xerror", "-i", &name, "-f", "null", "-"],
            directory,
        );
        let first = packets(&name, "v", directory)[0].0;
        assert_eq!(first, (segment.start + offset).ticks());
        frames.insert(segment.number, packets(&name, "a", directory).len());
    }
    assert_eq!(frames.len(), 3);

    std::fs::write(directory.join("whole.ts"), whole).unwrap();
    for (track, stream) in [(Track::Video, "v"), (Track::Audio, "a")] {
        let expected: Vec<_> = units
            .iter()
            .filter(|unit| unit.track() == track)
            .map(|unit| ((unit.pts + offset).ticks(), (unit.dts + offset).ticks()))
            .collect();
        assert_eq!(packets("whole.ts", stream, directory), expected);
    }
    run(
        "ffmpeg",
        &["-xerror", "-i", "whole.ts", "-f", "null", "-"],
        directory,
    );
}

#[test]
fn a_wrap_of_33_bits_is_not_a_jump() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let units = source(directory);
    // The wrap comes 3 s in, in the middle of the second segment.
    let segments = segments(&units, Ticks::new((1 << 33) - 3 * Ticks::HZ));
    let mut checker = Checker::default();
    let mut whole = Vec::new();
    for segment in &segments {
        checker.segment(segment);
        whole.extend_from_slice(&segment.data);
    }
    assert!(checker.widest_clock_gap <= 9_000);
    std::fs::write(directory.join("whole.ts"), whole).unwrap();
    // ffprobe unwraps: a rising line, without a step at the wrap.
    let stamps = packets("whole.ts", "a", directory);
    assert!(
        stamps.windows(2).all(|pair| pair[1].0 - pair[0].0 == 1920),
        "{stamps:?}"
    );
    run(
        "ffmpeg",
        &["-xerror", "-i", "whole.ts", "-f", "null", "-"],
        directory,
    );
}
