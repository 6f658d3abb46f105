//! Sources of every shape, rate and sound: each gets a valid playlist that tells
//! the truth about segments that others decode.
//!
//! Most go through `weir transcode`, which is the same ladder without the wait;
//! a few are published live.

use std::path::{Path, PathBuf};

use crate::harness::SMALL_LADDER;
use crate::harness::server::{Server, weir};
use crate::harness::show::Show;
use crate::harness::sources::{AAC, X264, clip, test_picture};
use crate::harness::tools::{publish, run};

/// Transcodes and checks what holds for every ladder.
#[track_caller]
fn transcoded(source: &Path, config: &str) -> Show {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, config).expect("a file");
    let out = dir.path().join("out");
    run(weir()
        .arg("transcode")
        .arg(source)
        .arg("--out")
        .arg(&out)
        .arg("--config")
        .arg(&file));
    let show = Show::on_disk(&out);
    show.is_true();
    for rung in &show.rungs {
        assert!(rung.playlist.ended && rung.playlist.kind.as_deref() == Some("VOD"));
        assert_eq!(rung.discontinuities(), 0, "{}", rung.name);
    }
    show
}

#[track_caller]
fn shapes(size: &str, expected: &[(&str, u64, u64)]) {
    let show = transcoded(&test_picture(size, "25", 4), "[hls]\nsegment = \"2s\"\n");
    let mut found: Vec<_> = show
        .master
        .variants
        .iter()
        .map(|variant| {
            let (width, height) = variant.resolution.expect("RESOLUTION");
            (variant.rung(), width, height)
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, expected, "{size}");
    for rung in &show.rungs {
        assert_eq!(rung.pictures(), 100, "{size} {}", rung.name);
    }
}

#[test]
fn a_portrait_source_keeps_its_shape() {
    shapes(
        "1080x1920",
        &[("360p", 202, 360), ("480p", 270, 480), ("720p", 406, 720)],
    );
}

#[test]
fn a_laptop_screen_of_1366_by_768_keeps_its_shape() {
    shapes(
        "1366x768",
        &[("360p", 640, 360), ("480p", 854, 480), ("720p", 1280, 720)],
    );
}

#[test]
fn an_ultrawide_source_keeps_its_shape() {
    shapes(
        "2560x1080",
        &[("360p", 640, 270), ("480p", 854, 360), ("720p", 1280, 540)],
    );
}

#[test]
fn a_source_below_the_smallest_box_gets_one_rung_of_its_own_size() {
    shapes("640x272", &[("360p", 640, 272)]);
    shapes("320x240", &[("360p", 320, 240)]);
}

#[test]
fn every_frame_rate_is_told_and_kept() {
    for (rate, told) in [
        ("24", "24.000"),
        ("24000/1001", "23.976"),
        ("25", "25.000"),
        ("30000/1001", "29.970"),
        ("30", "30.000"),
        ("50", "50.000"),
        ("60", "60.000"),
    ] {
        let show = transcoded(
            &test_picture("320x180", rate, 5),
            &format!("[hls]\nsegment = \"2s\"\n{SMALL_LADDER}"),
        );
        for (variant, rung) in show.master.variants.iter().zip(&show.rungs) {
            assert_eq!(
                variant.frame_rate.as_deref(),
                Some(told),
                "{rate} on {}",
                rung.name
            );
            assert_eq!(rung.segments.len(), 3, "{rate} on {}", rung.name);
        }
    }
}

/// Pictures come at 30 a second, then 10, then 30 again.
fn variable_rate() -> PathBuf {
    let select = "select='not(between(t,1.5,3.5))+not(mod(n,3))'";
    let head = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=30:duration=5",
        "-f",
        "lavfi",
        "-i",
        "sine=440:sample_rate=48000:duration=5",
        "-vf",
        select,
        "-vsync",
        "vfr",
    ];
    clip(
        "variable-rate",
        &[&head, X264, &["-bf", "2", "-ac", "2"], AAC].concat(),
    )
}

#[test]
fn a_variable_frame_rate_keeps_every_picture_at_its_time() {
    let show = transcoded(
        &variable_rate(),
        &format!("[hls]\nsegment = \"2s\"\n{SMALL_LADDER}"),
    );
    for rung in &show.rungs {
        // 150 pictures at 30 a second, less two of three in two seconds.
        assert!(
            (108..=112).contains(&rung.pictures()),
            "{} on {}",
            rung.pictures(),
            rung.name
        );
        assert!((rung.duration() - 5.0).abs() < 0.1, "{}", rung.duration());
    }
}

/// A clip with a picture and `channels` of sound at `rate`.
fn with_sound(channels: &str, rate: &str) -> PathBuf {
    let tone = format!("sine=frequency=440:sample_rate={rate}:duration=4");
    let head = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=25:duration=4",
        "-f",
        "lavfi",
        "-i",
        &tone,
    ];
    clip(
        &format!("sound-{channels}-{rate}"),
        &[&head, X264, &["-ac", channels], AAC].concat(),
    )
}

#[test]
fn mono_stereo_and_surround_at_both_rates_become_stereo() {
    for rate in ["44100", "48000"] {
        for channels in ["1", "2", "6"] {
            let show = transcoded(
                &with_sound(channels, rate),
                &format!("[hls]\nsegment = \"2s\"\n{SMALL_LADDER}"),
            );
            let copied = channels == "2";
            let frame = &show.rungs[0].segments[0].probed.audio[0];
            let expected = if copied { rate } else { "48000" };
            assert_eq!(
                (frame.channels, frame.rate.to_string().as_str()),
                (2, expected),
                "{channels} at {rate}"
            );
            let frames: usize = show.rungs[0]
                .segments
                .iter()
                .map(|seen| seen.probed.audio.len())
                .sum();
            let seconds = frames as f64 * 1024.0 / f64::from(frame.rate);
            assert!(
                (seconds - 4.0).abs() < 0.15,
                "{seconds} s of sound from {channels} at {rate}"
            );
        }
    }
}

fn silent_clip() -> PathBuf {
    clip(
        "no-sound",
        &[
            &[
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=320x180:rate=25:duration=5",
            ],
            X264,
        ]
        .concat(),
    )
}

fn sound_alone() -> PathBuf {
    clip(
        "no-picture",
        &[
            &[
                "-f",
                "lavfi",
                "-i",
                "sine=440:sample_rate=44100:duration=5",
                "-ac",
                "2",
            ],
            AAC,
        ]
        .concat(),
    )
}

#[test]
fn a_source_without_sound_lists_video_alone() {
    let show = transcoded(
        &silent_clip(),
        &format!("[hls]\nsegment = \"2s\"\n{SMALL_LADDER}"),
    );
    for seen in show.rungs.iter().flat_map(|rung| &rung.segments) {
        assert_eq!(seen.probed.streams.len(), 1, "the PMT lists what there is");
    }
}

#[test]
fn a_source_without_video_gets_one_variant_of_sound() {
    let show = transcoded(&sound_alone(), "[hls]\nsegment = \"2s\"\n");
    assert_eq!(show.rungs.len(), 1);
    assert_eq!(
        show.rungs[0].segments[0].probed.streams.len(),
        1,
        "the PMT lists what there is"
    );
    assert!(
        (show.rungs[0].duration() - 5.0).abs() < 0.1,
        "{}",
        show.rungs[0].duration()
    );
}

#[test]
fn odd_sources_play_live_as_well() {
    let server = Server::configured(SMALL_LADDER);
    let portrait = test_picture("90x160", "30000/1001", 5);
    let sources = [
        ("vfr", variable_rate()),
        ("silent", silent_clip()),
        ("blind", sound_alone()),
        ("portrait", portrait),
        ("surround", with_sound("6", "44100")),
    ];
    let publishers: Vec<_> = sources
        .iter()
        .map(|(name, source)| publish(source, &server.publish_url(name)))
        .collect();
    for (name, _) in &sources {
        let show = Show::begin(&server, name).until_end(&server, name);
        show.is_true();
        assert!(
            show.rungs[0].duration() > 3.7,
            "{name}: {}",
            show.rungs[0].duration()
        );
        assert_eq!(show.rungs[0].discontinuities(), 0, "{name}");
    }
    for mut publisher in publishers {
        assert!(publisher.ended().success(), "{}", publisher.said());
    }
}
