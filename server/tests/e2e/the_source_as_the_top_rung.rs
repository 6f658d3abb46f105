//! `hls.passthrough = "auto"`: the top rung is the source's own pictures while
//! they would do as one, and is encoded otherwise.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flv::file::{Limits, Reader, TagKind};
use media::Ticks;
use packager::Segment;
use weir_server::config::{Config, Passthrough};
use weir_server::ladder::{Ladder, Output, Settings, Sink, Unfit};

use crate::harness::SMALL_LADDER;
use crate::harness::peer::Publisher;
use crate::harness::playlist::Variant;
use crate::harness::server::{Server, weir};
use crate::harness::show::{Rung, Show};
use crate::harness::sources::{AAC, clip};
use crate::harness::tools::{files, pictures, run};
use crate::harness::until;

/// 320x180 at 25 a second with B-frames, 300 kbit/s, a key picture every two
/// seconds and none between: what fits the upper rung of the small ladder.
/// `more` comes later on ffmpeg's command line.
fn source(name: &str, picture: &str, more: &[&str]) -> PathBuf {
    let tone = "sine=frequency=440:sample_rate=48000:duration=100";
    let head = [
        "-f",
        "lavfi",
        "-i",
        picture,
        "-f",
        "lavfi",
        "-i",
        tone,
        "-shortest",
    ];
    let x264 = [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-profile:v",
        "high",
        "-pix_fmt",
        "yuv420p",
        "-bf",
        "2",
        "-g",
        "50",
        "-sc_threshold",
        "0",
        "-b:v",
        "300k",
        "-maxrate",
        "340k",
        "-bufsize",
        "340k",
        "-ac",
        "2",
    ];
    clip(name, &[&head, &x264[..], AAC, more].concat())
}

fn fitting() -> PathBuf {
    source("fits", "testsrc2=size=320x180:rate=25:duration=8", &[])
}

/// Transcodes with `segment`; gives what was said beside what is on disk.
#[track_caller]
fn transcoded(file: &Path, segment: &str) -> (Show, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("weir.toml");
    let text = format!("[hls]\nsegment = \"{segment}\"\npassthrough = \"auto\"\n{SMALL_LADDER}");
    std::fs::write(&config, text).expect("a file");
    let out = dir.path().join("out");
    let mut command = weir();
    command.arg("transcode").arg(file).arg("--out").arg(&out);
    let output = run(command.arg("--config").arg(&config));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (Show::on_disk(&out), said)
}

fn top(show: &Show) -> &Rung {
    show.rung("180p")
}

fn variant(show: &Show) -> &Variant {
    let mut variants = show.master.variants.iter();
    variants
        .find(|variant| variant.rung() == "180p")
        .expect("listed")
}

/// What is encoded here is of the Main profile.
fn is_coded(show: &Show) -> bool {
    variant(show).codecs.starts_with("avc1.4d")
}

/// The same pictures, to the last bit.
#[track_caller]
fn assert_same(one: &[String], other: &[String]) {
    assert_eq!(one.len(), other.len(), "as many pictures");
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    assert_eq!(differs, None, "the first picture that differs");
}

/// The broadcast is valid, and so are its parts on each rung, whose sound is the
/// same on both to the tick.
#[track_caller]
fn check(show: &Show) {
    show.is_true_in_parts();
    let sound = |rung: &Rung| -> Vec<Vec<i64>> {
        let frames = rung.segments.iter().map(|seen| seen.probed.audio.iter());
        frames
            .map(|frames| frames.map(|frame| frame.pts).collect())
            .collect()
    };
    assert_eq!(sound(&show.rungs[0]), sound(top(show)));
}

/// Where the discontinuities are, the same on both rungs.
#[track_caller]
fn breaks(show: &Show) -> Vec<usize> {
    let of = |rung: &Rung| -> Vec<usize> {
        let marked = rung
            .segments
            .iter()
            .enumerate()
            .filter(|(_, seen)| seen.entry.discontinuity);
        marked.map(|(index, _)| index).collect()
    };
    let breaks = of(&show.rungs[0]);
    assert_eq!(of(top(show)), breaks);
    breaks
}

fn durations(rung: &Rung) -> Vec<f64> {
    rung.segments
        .iter()
        .map(|seen| seen.entry.duration)
        .collect()
}

#[test]
fn a_source_that_fits_is_the_top_rung_picture_by_picture() {
    let (show, said) = transcoded(&fitting(), "2s");
    show.is_true();
    check(&show);
    assert!(said.contains("180p is the source's own pictures"), "{said}");
    let top = top(&show);
    assert_same(&pictures(&show.file(top)), &pictures(&fitting()));
    assert_eq!(durations(top), [2.0; 4]);
    assert_eq!(breaks(&show), [0; 0]);
    let reordered = |rung: &Rung| {
        rung.segments
            .iter()
            .any(|seen| seen.probed.video.iter().any(|unit| unit.pts != unit.dts))
    };
    assert!(
        reordered(top) && !reordered(show.rung("90p")),
        "B-frames are kept"
    );
    let variant = variant(&show);
    assert!(variant.codecs.starts_with("avc1.64"), "{variant:?}");
    assert_eq!(variant.resolution, Some((320, 180)));
    assert_eq!(variant.frame_rate.as_deref(), Some("25.000"));
    let bits = top
        .segments
        .iter()
        .map(|seen| seen.data.len() * 8)
        .sum::<usize>();
    let average = bits as f64 / top.duration();
    assert!(
        (variant.average_bandwidth as f64 / average - 1.0).abs() < 0.01,
        "{variant:?}"
    );
    for (seen, other) in top.segments.iter().zip(&show.rung("90p").segments) {
        assert!(
            variant.bandwidth as f64 * 1.001 >= seen.data.len() as f64 * 8.0 / seen.entry.duration
        );
        let keys = |units: &[testkit::tsprobe::VideoUnit]| -> Vec<i64> {
            units
                .iter()
                .filter(|unit| unit.nals.contains(&5))
                .map(|unit| unit.pts)
                .collect()
        };
        assert_eq!(
            keys(&seen.probed.video),
            keys(&other.probed.video),
            "IDRs follow the source's"
        );
    }
}

#[test]
fn several_groups_of_pictures_share_a_segment() {
    let (show, _) = transcoded(&fitting(), "6s");
    check(&show);
    assert!(!is_coded(&show));
    assert_eq!(durations(top(&show)), [6.0, 2.0]);
    // Of each group of five seconds, one is all that fits.
    let five = source(
        "fits-g125",
        "testsrc2=size=320x180:rate=25:duration=12",
        &["-g", "125", "-bufsize", "600k"],
    );
    let (show, _) = transcoded(&five, "6s");
    check(&show);
    assert!(!is_coded(&show));
    assert_eq!(durations(top(&show)), [5.0, 5.0, 2.0]);
}

#[test]
fn key_pictures_at_scene_cuts_give_segments_within_the_target() {
    let times = "expr:eq(n,0)+eq(n,37)+eq(n,60)+eq(n,99)+eq(n,149)+eq(n,160)+eq(n,199)";
    let scenes = source(
        "scenes",
        "testsrc2=size=320x180:rate=25:duration=9",
        &["-force_key_frames", times],
    );
    let (show, _) = transcoded(&scenes, "3s");
    check(&show);
    assert!(!is_coded(&show));
    assert_eq!(breaks(&show), [0; 0]);
    assert!(
        durations(top(&show))
            .iter()
            .all(|length| (0.9..=3.0).contains(length))
    );
    assert_same(&pictures(&show.file(top(&show))), &pictures(&scenes));
}

#[test]
fn cavlc_of_the_constrained_baseline_is_passed_on() {
    let baseline = source(
        "baseline",
        "testsrc2=size=320x180:rate=25:duration=5",
        &["-profile:v", "baseline", "-bf", "0"],
    );
    let (show, _) = transcoded(&baseline, "2s");
    check(&show);
    assert!(
        variant(&show).codecs.starts_with("avc1.42c0"),
        "{:?}",
        show.master
    );
    assert_same(&pictures(&show.file(top(&show))), &pictures(&baseline));
}

#[test]
fn a_variable_frame_rate_is_passed_on_as_it_is() {
    let select = "testsrc2=size=320x180:rate=25:duration=8,\
                  select='not(between(t,2.5,4.5))+not(mod(n,3))'";
    let variable = source(
        "vfr",
        select,
        &[
            "-vsync",
            "vfr",
            "-force_key_frames",
            "expr:gte(t,n_forced*1.5)",
        ],
    );
    let (show, _) = transcoded(&variable, "2s");
    check(&show);
    assert!(!is_coded(&show));
    assert_eq!(breaks(&show), [0; 0]);
    assert_same(&pictures(&show.file(top(&show))), &pictures(&variable));
}

#[test]
fn what_does_not_fit_is_encoded_from_the_start() {
    let large = source("large", "testsrc2=size=640x360:rate=25:duration=4", &[]);
    let rich = source(
        "rich",
        "testsrc2=size=320x180:rate=25:duration=4,noise=alls=60:allf=t",
        &["-b:v", "2500k", "-maxrate", "2500k", "-bufsize", "2500k"],
    );
    let sparse = source(
        "sparse",
        "testsrc2=size=320x180:rate=25:duration=8",
        &["-g", "250"],
    );
    let chroma = source(
        "anamorphic",
        "testsrc2=size=320x180:rate=25:duration=4,setsar=4/3",
        &[],
    );
    for file in [large, rich, sparse, chroma] {
        let (show, said) = transcoded(&file, "2s");
        show.is_true();
        assert!(is_coded(&show), "{}", file.display());
        assert_eq!(breaks(&show), [0; 0], "{}", file.display());
        assert!(!said.contains("own pictures"), "{said}");
    }
}

#[test]
fn a_clip_shorter_than_a_group_of_pictures_is_passed_on() {
    let short = source(
        "short",
        "testsrc2=size=320x180:rate=25:duration=1",
        &["-g", "250"],
    );
    let (show, _) = transcoded(&short, "2s");
    show.is_true();
    assert!(!is_coded(&show));
    assert_same(&pictures(&show.file(top(&show))), &pictures(&short));
}

/// The passing ends at one discontinuity, and so far was the source itself.
#[track_caller]
fn ends_once(file: &Path, segment: &str, why: &str) -> Show {
    let (show, said) = transcoded(file, segment);
    check(&show);
    assert!(said.contains(why), "{said}");
    assert_eq!(breaks(&show).len(), 1, "{:?}", durations(top(&show)));
    let top = top(&show);
    let parts = top.parts();
    let passed = pictures(&show.run_file(top, parts[0]));
    assert_same(&passed, &pictures(file)[..passed.len()]);
    let coded = pictures(&show.run_file(top, parts[1]));
    // Behind a key picture that was not shown any more up to two may be missing.
    let all = show.rung("90p").pictures();
    assert!(
        (all - 3..=all).contains(&(passed.len() + coded.len())),
        "{all}"
    );
    show
}

#[test]
fn key_pictures_that_become_rare_end_it_before_a_segment_is_too_long() {
    let rarer = source(
        "rarer",
        "testsrc2=size=320x180:rate=25:duration=12",
        &["-g", "500", "-force_key_frames", "0,2,4,6"],
    );
    let show = ends_once(&rarer, "2s", "too far apart");
    assert_eq!(durations(top(&show)), [2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
    let show = ends_once(&rarer, "5s", "too far apart");
    assert!(durations(top(&show)).iter().all(|length| *length <= 5.0));
}

#[test]
fn a_rate_above_the_rungs_ends_it() {
    let bursts = source(
        "bursts",
        "testsrc2=size=320x180:rate=25:duration=10,noise=alls=70:allf=t:enable='gt(t,4)'",
        &[
            "-b:v", "300k", "-maxrate", "9000k", "-bufsize", "9000k", "-crf", "26",
        ],
    );
    ends_once(&bursts, "2s", "bit rate");
}

/// The clip with the header of a slice in its middle overwritten.
fn with_a_bad_slice(clip: &Path) -> Vec<u8> {
    let mut data = std::fs::read(clip).expect("a clip");
    let mut reader = Reader::new(Limits::default());
    reader.push(&data);
    let mut pictures = Vec::new();
    while let Some(tag) = reader.next_tag().expect("a good clip") {
        if tag.kind == TagKind::Video && tag.body[0] >> 4 == 2 {
            pictures.push(tag.offset as usize);
        }
    }
    // A tag's header, the video header, a NAL unit's length and its own header.
    let slice = pictures[pictures.len() / 2] + 11 + 5 + 4 + 1;
    data[slice..slice + 8].fill(0);
    data
}

#[test]
fn a_damaged_picture_ends_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("damaged.flv");
    std::fs::write(&file, with_a_bad_slice(&fitting())).expect("a file");
    let (show, said) = transcoded(&file, "2s");
    check(&show);
    assert!(said.contains("it is damaged"), "{said}");
    assert_eq!(breaks(&show).len(), 1);
}

#[test]
fn any_number_of_threads_ends_it_at_the_same_picture() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, config) = (dir.path().join("source.flv"), dir.path().join("weir.toml"));
    std::fs::write(&file, with_a_bad_slice(&fitting())).expect("a file");
    let text = format!("[hls]\nsegment = \"2s\"\npassthrough = \"auto\"\n{SMALL_LADDER}");
    std::fs::write(&config, text).expect("a file");
    let ladders = ["1", "2", "4"].map(|threads| {
        let out = dir.path().join("out");
        let mut command = weir();
        command.arg("transcode").arg(&file).arg("--out").arg(&out);
        run(command
            .arg("--config")
            .arg(&config)
            .env("RAYON_NUM_THREADS", threads));
        let found = files(&out);
        std::fs::remove_dir_all(&out).expect("a directory");
        found
    });
    assert!(ladders[0].len() > 8);
    assert!(ladders[1] == ladders[0] && ladders[2] == ladders[0]);
}

#[test]
fn it_begins_in_mid_broadcast_when_the_source_has_done_for_long_enough() {
    let calms = source(
        "calms",
        "testsrc2=size=320x180:rate=25:duration=42,noise=alls=70:allf=t:enable='lt(t,3)'",
        &[
            "-b:v", "300k", "-maxrate", "9000k", "-bufsize", "9000k", "-crf", "30",
        ],
    );
    let (show, said) = transcoded(&calms, "2s");
    check(&show);
    assert!(said.contains("own pictures"), "{said}");
    assert_eq!(breaks(&show).len(), 1);
    let passed = &top(&show).parts()[1];
    let passed = pictures(&show.run_file(top(&show), passed));
    assert!(
        (7 * 25..12 * 25).contains(&passed.len()),
        "{}",
        passed.len()
    );
    let all = pictures(&calms);
    assert_same(&passed, &all[all.len() - passed.len()..]);
}

#[test]
fn another_format_in_mid_broadcast_ends_it() {
    let main = source(
        "main",
        "testsrc2=size=320x180:rate=25:duration=5",
        &["-profile:v", "main", "-x264-params", "ref=2"],
    );
    let portrait = source("portrait", "testsrc2=size=90x160:rate=25:duration=5", &[]);
    for second in [main, portrait] {
        let config = format!("[hls]\npassthrough = \"auto\"\n{SMALL_LADDER}");
        let server = Server::start(&config, &["--auth", "open", "--segment", "3"]);
        let mut publisher = Publisher::start(&server, "demo").expect("let in");
        let last = publisher.play(&fitting(), 0, |_| true);
        publisher.play(&second, last + 40, |tag| tag.kind != TagKind::Script);
        publisher.finish();
        let show = Show::begin(&server, "demo").until_end(&server, "demo");
        show.rungs_agree();
        assert_eq!(breaks(&show).len(), 1, "{:?}", durations(&show.rungs[0]));
        for rung in &show.rungs {
            assert!(durations(rung).iter().all(|length| *length <= 3.0));
            for part in rung.parts() {
                crate::harness::tools::decodes(&show.run_file(rung, part));
            }
        }
        let passed = show.run_file(top(&show), top(&show).parts()[0]);
        assert_same(&pictures(&passed), &pictures(&fitting()));
        assert!(
            server.log().contains("its format changed"),
            "{}",
            server.log()
        );
    }
}

#[test]
fn live_it_begins_with_the_first_segment_as_well() {
    let config = format!("[hls]\npassthrough = \"auto\"\n{SMALL_LADDER}");
    let server = Server::start(&config, &["--auth", "open", "--segment", "2"]);
    let mut publisher = Publisher::start(&server, "demo").expect("let in");
    publisher.play(&fitting(), 0, |_| true);
    publisher.finish();
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    show.is_true();
    assert_eq!(breaks(&show), [0; 0]);
    assert_same(&pictures(&show.file(top(&show))), &pictures(&fitting()));
}

#[test]
fn sound_that_began_alone_is_followed_by_an_encoded_ladder() {
    let config = format!("[hls]\npassthrough = \"auto\"\n{SMALL_LADDER}");
    let server = Server::start(&config, &["--auth", "open", "--segment", "2"]);
    let mut publisher = Publisher::start(&server, "demo").expect("let in");
    publisher.play(&fitting(), 0, |tag| tag.kind == TagKind::Audio);
    let mut sound = Show::begin(&server, "demo");
    assert_eq!(sound.names(), ["audio"]);
    sound.until_segment(&server, "demo", 1);
    publisher.play(&fitting(), 8000, |tag| tag.kind != TagKind::Script);
    publisher.finish();
    until("a ladder", || {
        let listed = server.get("/demo/live.m3u8").text().contains("180p/");
        listed.then_some(())
    });
    Show::begin(&server, "demo").until_end(&server, "demo");
    assert!(!server.log().contains("own pictures"), "{}", server.log());
}

/// Keeps what it is given.
#[derive(Default)]
struct Kept {
    segments: Vec<(usize, Segment)>,
    passing: Vec<Result<(), Unfit>>,
}

impl Sink for Kept {
    fn segments(&mut self, _: &[Output], batch: Vec<(usize, Segment)>) {
        self.segments.extend(batch);
    }

    fn passing(&mut self, _: &str, now: Result<(), Unfit>) {
        self.passing.push(now);
    }
}

#[test]
fn units_that_were_lost_end_it_at_a_discontinuity() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, SMALL_LADDER).expect("a file");
    let rungs = Config::check_file(&file)
        .expect("a good file")
        .config
        .hls
        .rungs;
    let settings = Settings {
        rungs,
        unlisted: Vec::new(),
        wants: Arc::default(),
        segment: Ticks::from_millis(2000),
        passthrough: Passthrough::Auto,
        wait_for_video: Ticks::SECOND,
        audio: Config::default().audio,
        first_number: 0,
        backend: codec::video::Backend::RustyH264,
        limits: codec::Limits::default(),
        pool: Arc::new(
            rayon::ThreadPoolBuilder::new()
                .num_threads(2)
                .build()
                .expect("threads"),
        ),
        hints: Arc::default(),
        stats: Arc::default(),
        lagged: Arc::default(),
    };
    let mut ladder = Ladder::new(settings, Kept::default());
    let mut demuxer = flv::Demuxer::new(flv::Config::default());
    let mut reader = Reader::new(Limits::default());
    reader.push(&std::fs::read(fitting()).expect("a clip"));
    let mut lost = false;
    while let Some(tag) = reader.next_tag().expect("a good clip") {
        let unit = match tag.kind {
            TagKind::Video => demuxer.video(tag.timestamp_ms, tag.body),
            TagKind::Audio => demuxer.audio(tag.timestamp_ms, tag.body),
            TagKind::Script => continue,
        };
        let Some(unit) = unit.expect("a good unit") else {
            continue;
        };
        // From 2.9 s to the key picture at 4 s a ring had no room for them.
        let gone = (2900..4000).contains(&tag.timestamp_ms);
        if gone && !lost {
            lost = true;
            ladder.lost().expect("a ladder that goes on");
        }
        if !gone {
            ladder.push(unit).expect("a ladder that goes on");
        }
    }
    let kept = ladder.finish().expect("an end");
    assert_eq!(kept.passing, [Ok(()), Err(Unfit::Loss)]);
    for index in 0..2 {
        let mut prober = testkit::tsprobe::Prober::new();
        let (mut breaks, mut units) = (0, 0);
        for (_, segment) in kept.segments.iter().filter(|(output, _)| *output == index) {
            assert!(
                segment.duration <= Ticks::from_millis(2000),
                "{:?}",
                segment.duration
            );
            if segment.discontinuity {
                breaks += 1;
                prober.discontinuity();
            }
            let probed = prober
                .segment(&segment.data)
                .unwrap_or_else(|broken| panic!("{broken}"));
            units += probed.video.len();
        }
        assert_eq!(breaks, 1);
        assert!(units > 170, "{units}");
    }
}
