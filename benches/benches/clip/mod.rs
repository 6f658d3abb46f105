//! What the benches work on: five seconds of Big Buck Bunny, 1280x720, 25
//! pictures a second, as FLV and at every stage after that.
#![allow(dead_code, reason = "each bench takes up the clip at its own stage")]

use std::process::{Command, Stdio};
use std::sync::Arc;

use codec::Limits;
use codec::video::{Backend, open_decoder};
use flv::Demuxer;
use flv::file::{Reader, Tag, TagKind};
use media::{AccessUnit, Picture, Track};

/// The clip as it lies in `testdata/`.
pub(crate) const FLV: &[u8] = include_bytes!("../../../testdata/bbb-720p25-5s.flv");

/// The clip as a 1080p30 stream of 6 Mbit/s, High profile with two B-frames:
/// ffmpeg enlarges it. `None` where ffmpeg is missing.
pub(crate) fn enlarged() -> Option<Vec<u8>> {
    let rate = ["-b:v", "6000k", "-maxrate", "6000k", "-bufsize", "12000k"];
    made("fps=30,scale=1920:1080:flags=lanczos", &rate)
}

/// One picture of it for as long, at constant quality: x264 refines it for some
/// pictures behind each key picture.
pub(crate) fn still() -> Option<Vec<u8>> {
    let filter = "trim=start_frame=60:end_frame=61,scale=1920:1080:flags=lanczos,\
                  loop=loop=149:size=1,setpts=N/30/TB,fps=30";
    made(filter, &["-crf", "23"])
}

fn made(filter: &str, rate: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", "testdata/bbb-720p25-5s.flv"])
        .args(["-vf", filter, "-c:v", "libx264", "-preset", "veryfast"])
        .args(["-profile:v", "high", "-g", "60", "-bf", "2"])
        .args(["-pix_fmt", "yuv420p", "-c:a", "copy"])
        .args(rate)
        .args(["-f", "flv", "-"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    output.status.success().then_some(output.stdout)
}

/// The tags of an FLV file.
pub(crate) fn tags(file: &[u8]) -> Vec<Tag> {
    let mut reader = Reader::new(flv::file::Limits::default());
    reader.push(file);
    let mut tags = Vec::new();
    while let Some(tag) = reader.next_tag().expect("a whole FLV file") {
        tags.push(tag);
    }
    tags
}

/// The access units of both tracks, in the order of the file.
pub(crate) fn units(tags: &[Tag]) -> Vec<AccessUnit> {
    let mut demuxer = Demuxer::new(flv::Config::default());
    let mut units = Vec::new();
    for tag in tags {
        let unit = match tag.kind {
            TagKind::Video => demuxer.video(tag.timestamp_ms, tag.body.clone()),
            TagKind::Audio => demuxer.audio(tag.timestamp_ms, tag.body.clone()),
            TagKind::Script => continue,
        };
        units.extend(unit.expect("tags that ffmpeg wrote"));
    }
    units
}

/// The pictures of a file.
pub(crate) fn pictures(file: &[u8]) -> Vec<Arc<Picture>> {
    let units = units(&tags(file));
    let mut video = units.iter().filter(|unit| unit.track() == Track::Video);
    let first = video.clone().next().expect("a video track");
    let config = first.config.h264().expect("H.264");
    let backend = Backend::RustyH264;
    let mut decoder = open_decoder(backend, config, &Limits::default()).expect("4:2:0, 8 bits");
    let mut pictures = Vec::new();
    video
        .try_for_each(|unit| decoder.decode(unit, &mut pictures))
        .expect("an undamaged stream");
    pictures
}
