//! The demuxer beside another one: every packet of ffprobe, in its order, with
//! its times, its size and its key flag.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use media::{AccessUnit, Track};
use weir_flv::file::{self, TagKind};
use weir_flv::{Config, Demuxer, Metadata};

#[test]
fn a_clip_without_reordering() {
    let file = check("bbb-720p25-5s");
    let video = file.units.iter().find(|unit| unit.track() == Track::Video);
    let h264 = video.unwrap().config.h264().unwrap();
    assert_eq!(h264.size, media::Size::new(1280, 720));
    assert_eq!(h264.frame_rate, Some((25, 1)));
    let audio = file.units.iter().find(|unit| unit.track() == Track::Audio);
    let aac = audio.unwrap().config.aac().unwrap();
    assert_eq!((aac.sample_rate, aac.channels), (48_000, 6));
    assert_eq!(
        (file.metadata.width, file.metadata.height),
        (Some(1280), Some(720))
    );
    assert_eq!(file.metadata.video_codec.as_deref(), Some("H.264 video"));
    assert_eq!(file.metadata.audio_codec.as_deref(), Some("AAC audio"));
    assert_eq!(file.metadata.audio_kbps.map(f64::round), Some(376.0));
    // ffmpeg's word for six channels.
    assert_eq!(file.metadata.stereo, Some(false));
}

#[test]
fn a_clip_with_a_pyramid_of_b_frames() {
    let file = check("x264-bframes-2s");
    let reordered = file.units.windows(2).any(|pair| pair[1].pts < pair[0].pts);
    assert!(reordered);
    let aac = file
        .units
        .iter()
        .find_map(|unit| unit.config.aac())
        .unwrap();
    assert_eq!((aac.sample_rate, aac.channels), (44_100, 1));
}

struct Demuxed {
    units: Vec<AccessUnit>,
    metadata: Metadata,
}

/// Compares `testdata/{name}.flv` with `testdata/{name}.packets.csv`.
fn check(name: &str) -> Demuxed {
    let testdata = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata"));
    let bytes = fs::read(testdata.join(format!("{name}.flv"))).unwrap();
    let expected = fs::read_to_string(testdata.join(format!("{name}.packets.csv"))).unwrap();
    let file = demux(&bytes);
    let lines: Vec<String> = file.units.iter().map(line).collect();
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(lines.len(), expected.len());
    for (number, (line, expected)) in lines.iter().zip(expected).enumerate() {
        assert_eq!(line, expected, "packet {number}");
    }
    file
}

fn demux(bytes: &[u8]) -> Demuxed {
    let mut reader = file::Reader::new(file::Limits::default());
    let mut demuxer = Demuxer::new(Config::default());
    let mut units = Vec::new();
    let mut metadata = None;
    for piece in bytes.chunks(4096) {
        reader.push(piece);
        while let Some(tag) = reader.next_tag().unwrap() {
            match tag.kind {
                TagKind::Video => units.extend(demuxer.video(tag.timestamp_ms, tag.body).unwrap()),
                TagKind::Audio => units.extend(demuxer.audio(tag.timestamp_ms, tag.body).unwrap()),
                TagKind::Script => metadata = demuxer.script(&tag.body),
            }
        }
    }
    reader.finish().unwrap();
    Demuxed {
        units,
        metadata: metadata.unwrap(),
    }
}

/// As `ffprobe -show_entries packet=codec_type,pts,dts,size,flags -of csv=p=0`
/// writes it, in milliseconds.
fn line(unit: &AccessUnit) -> String {
    format!(
        "{},{},{},{},{}_",
        match unit.track() {
            Track::Video => "video",
            Track::Audio => "audio",
        },
        unit.pts.millis(),
        unit.dts.millis(),
        unit.data.len(),
        if unit.key { 'K' } else { '_' },
    )
}
