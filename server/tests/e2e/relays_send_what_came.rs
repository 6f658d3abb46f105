//! What arrives at relay targets: the publisher's own access units, or a rung's.

use std::path::{Path, PathBuf};

use crate::harness::SMALL_LADDER;
use crate::harness::destinations::{FfmpegListens, Nginx};
use crate::harness::messages::{AUDIO, DATA, Message, VIDEO};
use crate::harness::peer::Publisher;
use crate::harness::relays::{ALLOWED, NO_LADDER, Source, figure, publish, target, until_state};
use crate::harness::server::Server;
use crate::harness::sources::{bundled_clip, clip, test_picture};
use crate::harness::tools::{decodes, ffprobe, packets};
use crate::harness::witness::{Manner, Witness};

#[test]
fn three_destinations_get_every_access_unit_once_in_order_and_unchanged() {
    let (nginx, mut ffmpeg) = (Nginx::new(), FfmpegListens::new("key"));
    let witness = Witness::new(Manner::Takes);
    let server = Server::configured(
        &[
            NO_LADDER,
            ALLOWED,
            &target("nginx", &nginx.url(), "key"),
            &target("ffmpeg", &ffmpeg.url(), "key"),
            &target("witness", &witness.url(), "key"),
        ]
        .concat(),
    );
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    for target in ["nginx", "ffmpeg", "witness"] {
        until_state(&server, target, "live");
        assert_eq!(figure(&server, "weir_relay_up", target), Some(1.0));
    }
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    assert!(
        ffmpeg.running.ended().success(),
        "{}",
        ffmpeg.running.said()
    );

    let session = witness.until("the end of the session", |session| session.is_over);
    assert!(session.ended_well(), "{:?}", session.commands);
    let source = Source::of(&bundled_clip());
    assert_eq!(source.whole(&session), source.len());

    let bytes = figure(&server, "weir_relay_bytes_total", "witness").expect("a figure");
    let least: usize = session
        .messages
        .iter()
        .map(|message| message.body.len())
        .sum();
    assert!(bytes as usize >= least, "{bytes} of {least} bytes");

    let nginx = the_recording(&nginx);
    let original = packets(&bundled_clip());
    for recording in [nginx, ffmpeg.recording()] {
        assert_eq!(packets(&recording), original, "{}", recording.display());
        times_are_those_of(&recording, &bundled_clip());
    }
}

/// The only one, when it is written.
fn the_recording(nginx: &Nginx) -> PathBuf {
    let all = nginx.recordings();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

/// Packets have the times of the original's, to the millisecond.
#[track_caller]
fn times_are_those_of(recording: &Path, original: &Path) {
    let times = |file: &Path| -> Vec<(String, i64, i64)> {
        let entries = ["-show_entries", "packet=codec_type,pts,dts"];
        let probed = ffprobe(file, &entries);
        let packets = probed["packets"].as_array().expect("packets").iter();
        let time = |packet: &serde_json::Value, of: &str| packet[of].as_i64().expect("a time");
        let mut times: Vec<_> = packets
            .map(|packet| {
                let kind = packet["codec_type"].as_str().expect("a type").to_owned();
                (kind, time(packet, "pts"), time(packet, "dts"))
            })
            .collect();
        times.sort();
        times
    };
    let (got, wanted) = (times(recording), times(original));
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(&wanted) {
        let close = (got.1 - wanted.1).abs() <= 1 && (got.2 - wanted.2).abs() <= 1;
        assert!(close, "{got:?} for {wanted:?}");
    }
}

#[test]
fn pictures_that_are_shown_out_of_order_keep_both_their_times() {
    let witness = Witness::new(Manner::Takes);
    let relay = target("witness", &witness.url(), "key");
    let server = Server::configured(&[NO_LADDER, ALLOWED, &relay].concat());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/x264-bframes-2s.flv");
    let source = Source::of(&file);
    let mut publisher = publish(&server, &file, &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let session = witness.until("the end of the session", |session| session.is_over);
    // Composition times are in the bytes that are compared.
    assert_eq!(source.whole(&session), source.len());
    let later = session
        .units()
        .filter(|unit| unit.kind == VIDEO && unit.body[2..5] != [0; 3]);
    assert!(later.count() > 10, "no picture is shown later than decoded");
}

#[test]
fn pictures_without_sound_arrive_without_sound() {
    let silent = clip(
        "silent",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x180:r=25:d=3",
            "-c:v",
            "libx264",
            "-g",
            "25",
            "-pix_fmt",
            "yuv420p",
        ],
    );
    let mut nginx = Nginx::new();
    let relay = target("nginx", &nginx.url(), "key");
    let server = Server::configured(&[NO_LADDER, ALLOWED, &relay].concat());
    let mut publisher = publish(&server, &silent, &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    until_state(&server, "nginx", "stopped");
    nginx.stop();
    assert_eq!(packets(&the_recording(&nginx)), packets(&silent));
}

#[test]
fn rungs_are_sent_where_they_are_asked_for_listed_or_not() {
    let unlisted = r#"
[[hls.rung]]
name = "relay"
width = 240
height = 136
video_kbps = 300
listed = false
"#;
    let (mut listed, mut hidden) = (Nginx::new(), Nginx::new());
    let rung = |name: &str, nginx: &Nginx| {
        target(name, &nginx.url(), "key") + &format!("rung = {name:?}\n")
    };
    let server = Server::configured(
        &[
            ALLOWED,
            &rung("180p", &listed),
            &rung("relay", &hidden),
            SMALL_LADDER,
            unlisted,
        ]
        .concat(),
    );
    let clip = test_picture("320x180", "25", 5);
    let mut publisher = publish(&server, &clip, &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    for (name, nginx, size) in [
        ("180p", &mut listed, (320, 180)),
        ("relay", &mut hidden, (240, 136)),
    ] {
        until_state(&server, name, "stopped");
        nginx.stop();
        let recording = the_recording(nginx);
        let pictures = pictures_of(&recording, size);
        assert!(pictures > 100, "{name}: {pictures} of 125 pictures");
        decodes(&recording);
    }
}

/// A recording has sound and pictures of `size`; so many.
#[track_caller]
fn pictures_of(recording: &Path, size: (u64, u64)) -> u32 {
    let probed = ffprobe(recording, &["-show_streams", "-count_packets"]);
    let streams = probed["streams"].as_array().expect("streams");
    let of = |kind: &str| streams.iter().find(|stream| stream["codec_type"] == kind);
    assert!(of("audio").is_some(), "no sound");
    let video = of("video").expect("pictures");
    let number = |name: &str| video[name].as_u64();
    assert_eq!(number("width").zip(number("height")), Some(size));
    let count = video["nb_read_packets"].as_str();
    count.and_then(|count| count.parse().ok()).expect("a count")
}

#[test]
fn a_rung_is_made_for_a_relay_alone_where_there_are_no_playlists() {
    let mut nginx = Nginx::new();
    let rung = "[[hls.rung]]\nname = \"relay\"\nwidth = 160\nheight = 90\nvideo_kbps = 150\nlisted = false\n";
    let relay = target("small", &nginx.url(), "key") + "rung = \"relay\"\n";
    let server = Server::configured(&[NO_LADDER, rung, ALLOWED, &relay].concat());
    let clip = test_picture("320x180", "25", 5);
    let mut publisher = publish(&server, &clip, &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    until_state(&server, "small", "stopped");
    nginx.stop();
    let recording = the_recording(&nginx);
    let pictures = pictures_of(&recording, (160, 90));
    assert!(pictures > 100, "{pictures} of 125 pictures");
    decodes(&recording);
    assert_eq!(server.get("/demo/live.m3u8").status, 404);
}

#[test]
fn times_begin_at_0_and_rise_whatever_the_publishers_clock_says() {
    let witness = Witness::new(Manner::Takes);
    let relay = target("witness", &witness.url(), "key");
    let server = Server::configured(&[NO_LADDER, ALLOWED, &relay].concat());
    let clip = test_picture("320x180", "25", 3);
    let mut publisher = Publisher::start(&server, "demo").expect("welcome");
    until_state(&server, "witness", "live");
    // Its 32 bits overflow on the way.
    publisher.play(&clip, u32::MAX - 1000, |_| true);
    publisher.finish();
    let session = witness.until("the end of the session", |session| session.is_over);
    let source = Source::of(&clip);
    assert_eq!(source.whole(&session), source.len());
}

#[test]
fn another_picture_on_the_way_is_announced_right_before_it_begins() {
    let witness = Witness::new(Manner::Takes);
    let relay = target("witness", &witness.url(), "key");
    let server = Server::configured(&[NO_LADDER, ALLOWED, &relay].concat());
    let clips = [
        test_picture("320x180", "25", 2),
        test_picture("240x136", "25", 1),
    ];
    let mut publisher = Publisher::start(&server, "demo").expect("welcome");
    until_state(&server, "witness", "live");
    let at = publisher.play(&clips[0], 0, |_| true) + 40;
    publisher.play(&clips[1], at, |_| true);
    publisher.finish();
    let session = witness.until("the end of the session", |session| session.is_over);
    let sources = clips.map(|clip| Source::of(&clip));
    for kind in [VIDEO, AUDIO] {
        let got = session.units().filter(|unit| unit.kind == kind);
        let wanted = sources.iter().flat_map(|source| source.of_kind(kind));
        let bodies = |message: &Message| message.body.clone();
        assert!(got.map(bodies).eq(wanted.map(bodies)), "units of {kind}");
    }
    let messages = &session.messages;
    assert!(messages.is_sorted_by_key(|message| message.timestamp));
    let headers: Vec<_> = messages.iter().filter(|one| one.is_header()).collect();
    let [_, _, again] = headers[..] else {
        panic!("{} headers", headers.len())
    };
    assert_eq!(again.body, sources[1].header(VIDEO));
    let mut behind = messages.iter().skip_while(|one| *one != again).skip(1);
    let picture = behind.find(|one| one.kind == VIDEO).expect("a picture");
    assert_eq!(
        Some(&picture.body),
        sources[1].of_kind(VIDEO).next().map(|one| &one.body)
    );
    let described = messages.iter().filter(|one| one.kind == DATA);
    assert_eq!(
        described.count(),
        1,
        "at the beginning, where it has a time"
    );
}
