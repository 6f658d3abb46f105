//! What a current ffmpeg writes behind the headers of Enhanced RTMP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use media::{AccessUnit, Track};
use weir_flv::file::{self, TagKind};
use weir_flv::{Config, Demuxer, Error};

#[test]
fn hevc_and_opus_are_refused_by_name_before_anything_else_fails() {
    for (name, codec) in [
        ("ffmpeg-9.0_hevc", "HEVC (H.265) video"),
        ("ffmpeg-9.0_opus", "Opus audio"),
    ] {
        let error = demux(name).unwrap_err();
        assert!(error.is_fatal());
        assert_eq!(
            error.to_string(),
            format!("{codec} is not supported: send H.264 video and AAC-LC audio")
        );
    }
}

#[test]
fn of_two_video_tracks_the_first_is_taken() {
    let units = demux("ffmpeg-9.0_two-video-tracks").unwrap();
    let video = units.iter().filter(|unit| unit.track() == Track::Video);
    let video: Vec<&AccessUnit> = video.collect();
    // 0.4 s of 10 fps: with the second track there would be eight.
    assert_eq!(video.len(), 4);
    assert!(video[0].key);
    assert!(units.iter().any(|unit| unit.track() == Track::Audio));
}

fn demux(name: &str) -> Result<Vec<AccessUnit>, Error> {
    let testdata = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata"));
    let mut reader = file::Reader::new(file::Limits::default());
    reader.push(&fs::read(testdata.join(format!("{name}.flv"))).unwrap());
    let mut demuxer = Demuxer::new(Config::default());
    let mut units = Vec::new();
    while let Some(tag) = reader.next_tag()? {
        match tag.kind {
            TagKind::Video => units.extend(demuxer.video(tag.timestamp_ms, tag.body)?),
            TagKind::Audio => units.extend(demuxer.audio(tag.timestamp_ms, tag.body)?),
            TagKind::Script => {}
        }
    }
    reader.finish()?;
    Ok(units)
}
