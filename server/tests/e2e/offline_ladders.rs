//! `weir transcode`.

use std::path::Path;
use std::process::{Output, Stdio};

use crate::harness::SMALL_LADDER;
use crate::harness::server::weir;
use crate::harness::show::Show;
use crate::harness::sources::{AAC, X264, bundled_clip, clip, small};
use crate::harness::tools::{ffprobe, files};

fn transcode(input: &str, dir: &Path, stdin: Option<&Path>) -> Output {
    let config = dir.join("weir.toml");
    std::fs::write(&config, format!("[hls]\nsegment = \"2s\"\n{SMALL_LADDER}")).expect("a file");
    let mut command = weir();
    command
        .args(["transcode", input, "--out"])
        .arg(dir.join("out"))
        .arg("--config")
        .arg(config);
    if let Some(path) = stdin {
        command.stdin(std::fs::File::open(path).expect("a clip"));
    }
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("weir starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Untold, players guess what samples mean by the height of the picture, and the
/// colours would change from rung to rung.
#[test]
fn every_rung_says_of_its_colours_what_the_source_says() {
    let told = |of: &str| {
        let input = clip(
            &format!("colours-{}", of.replace(':', "-")),
            &[
                &["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2"][..],
                X264,
                &["-x264-params", of],
            ]
            .concat(),
        );
        let dir = tempfile::tempdir().expect("a directory");
        let output = transcode(&input.to_string_lossy(), dir.path(), None);
        assert!(output.status.success(), "{}", said(&output));
        let show = Show::on_disk(&dir.path().join("out"));
        let fields = [
            "color_range",
            "color_space",
            "color_primaries",
            "color_transfer",
        ];
        let of_rung = show.rungs.iter().map(|rung| {
            let probed = ffprobe(&show.file(rung), &["-show_streams", "-select_streams", "v"]);
            let stream = &probed["streams"][0];
            fields.map(|field| stream[field].as_str().unwrap_or("-").to_owned())
        });
        of_rung.collect::<Vec<_>>()
    };
    let full = "colorprim=bt2020:transfer=smpte170m:colormatrix=bt470bg:fullrange=on";
    assert_eq!(told(full), [["pc", "bt470bg", "bt2020", "smpte170m"]; 2]);
    let wide = "colorprim=bt709:transfer=bt709:colormatrix=bt709";
    assert_eq!(told(wide), [["tv", "bt709", "bt709", "bt709"]; 2]);
    assert_eq!(told("keyint=25"), [["-"; 4]; 2]);
}

#[test]
fn a_file_becomes_a_vod_ladder_with_segments_counted_from_zero() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = transcode(&bundled_clip().to_string_lossy(), dir.path(), None);
    assert!(output.status.success(), "{}", said(&output));
    let show = Show::on_disk(&dir.path().join("out"));
    show.is_true();
    assert_eq!(show.names(), ["180p", "90p"]);
    for (rung, variant) in show.rungs.iter().zip(&show.master.variants) {
        let numbers: Vec<_> = rung.segments.iter().map(|seen| seen.number).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert!(rung.playlist.ended);
        assert_eq!(rung.playlist.kind.as_deref(), Some("VOD"));
        assert_eq!(rung.pictures(), 132, "{}", rung.name);
        // A recording states its true rates (Apple HLS authoring 1.26, 1.27).
        let bits: usize = rung.segments.iter().map(|seen| seen.data.len() * 8).sum();
        let average = bits as f64 / rung.duration();
        assert!(
            (variant.average_bandwidth as f64 / average - 1.0).abs() < 0.1,
            "{average} {variant:?}"
        );
        assert!(variant.bandwidth >= variant.average_bandwidth);
    }
    let mut left: Vec<_> = std::fs::read_dir(dir.path().join("out/90p"))
        .expect("a directory")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    left.sort();
    assert_eq!(
        left,
        ["0.ts", "1.ts", "2.ts", "index.m3u8"],
        "nothing half written stays behind"
    );
}

#[test]
fn standard_input_gives_the_same_bytes_as_a_file() {
    let (one, other) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let source = small();
    assert!(
        transcode(&source.to_string_lossy(), one.path(), None)
            .status
            .success()
    );
    let piped = transcode("-", other.path(), Some(&source));
    assert!(piped.status.success(), "{}", said(&piped));
    for file in ["master.m3u8", "90p/index.m3u8", "90p/0.ts", "180p/4.ts"] {
        let read = |dir: &tempfile::TempDir| {
            std::fs::read(dir.path().join("out").join(file)).expect("a file")
        };
        assert_eq!(read(&one), read(&other), "{file}");
    }
}

/// B-frames, a still between two scenes, a hole, and bytes that are no picture:
/// whatever could make the order of things depend on who was faster.
fn eventful() -> std::path::PathBuf {
    let video = "testsrc2=size=640x360:rate=30:duration=8,\
                 loop=loop=60:size=1:start=90,select='not(between(t,6,7.5))',\
                 noise=alls=20:allf=t:enable='between(t,0,2)'";
    let source = [
        "-f",
        "lavfi",
        "-i",
        video,
        "-f",
        "lavfi",
        "-i",
        "sine=440:duration=9",
        "-vsync",
        "vfr",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-bf",
        "3",
        "-g",
        "45",
        "-pix_fmt",
        "yuv420p",
        "-ac",
        "2",
    ];
    clip("eventful", &[&source, AAC].concat())
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let mut source = std::fs::read(eventful()).expect("a clip");
    // One picture in the middle is damaged.
    let middle = source.len() / 2;
    source[middle..middle + 300]
        .iter_mut()
        .for_each(|byte| *byte ^= 0x55);
    let dir = tempfile::tempdir().expect("a directory");
    let (file, config) = (dir.path().join("source.flv"), dir.path().join("weir.toml"));
    std::fs::write(&file, source).expect("a file");
    std::fs::write(&config, format!("[hls]\nsegment = \"2s\"\n{SMALL_LADDER}")).expect("a file");
    let ladders = ["1", "2", "4", "4"].map(|threads| {
        let out = dir.path().join("out");
        let mut command = weir();
        command.args([
            "transcode".as_ref(),
            file.as_os_str(),
            "--out".as_ref(),
            out.as_os_str(),
        ]);
        command
            .arg("--config")
            .arg(&config)
            .env("RAYON_NUM_THREADS", threads);
        let output = command.output().expect("weir starts");
        assert!(output.status.success(), "{}", said(&output));
        let found = files(&out);
        std::fs::remove_dir_all(&out).expect("a directory");
        found
    });
    let names: Vec<_> = ladders[0].keys().collect();
    assert!(names.len() > 8, "{names:?}");
    for other in &ladders[1..] {
        assert_eq!(other.keys().collect::<Vec<_>>(), names);
        for (name, data) in other {
            assert!(*data == ladders[0][name], "{name} differs");
        }
    }
}

#[test]
fn progress_goes_to_standard_error_as_plain_lines_without_a_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = transcode(&small().to_string_lossy(), dir.path(), None);
    assert!(output.stdout.is_empty());
    let said = said(&output);
    assert!(
        said.contains("x real time") && !said.contains('\u{1b}') && !said.contains('\r'),
        "{said:?}"
    );
}

#[test]
fn a_file_that_is_no_flv_is_refused_with_what_would_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("noise.flv");
    std::fs::write(
        &file,
        (0..5000_u32)
            .map(|index| (index * 131 % 255) as u8)
            .collect::<Vec<_>>(),
    )
    .expect("a file");
    let output = transcode(&file.to_string_lossy(), dir.path(), None);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.contains("noise.flv is not an FLV file") && said.contains("ffmpeg -i"),
        "{said}"
    );
    assert!(!dir.path().join("out").exists());

    std::fs::write(&file, "").expect("a file");
    let said = self::said(&transcode(&file.to_string_lossy(), dir.path(), None));
    assert!(said.contains("noise.flv is empty"), "{said}");
    let said = self::said(&transcode(&dir.path().to_string_lossy(), dir.path(), None));
    assert!(said.contains("is a directory"), "{said}");
}

#[test]
fn an_output_that_is_a_file_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("out"), "mine").expect("a file");
    let output = transcode(&small().to_string_lossy(), dir.path(), None);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("out is a file"), "{said}");
}

#[test]
fn pictures_without_room_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("weir.toml");
    let rung = "[[hls.rung]]\nname = \"a\"\nwidth = 320\nheight = 180\nvideo_kbps = 1\n";
    std::fs::write(&config, rung).expect("a file");
    let output = weir()
        .arg("transcode")
        .arg(small())
        .arg("--out")
        .arg(dir.path().join("out"))
        .arg("--config")
        .arg(&config)
        .output()
        .expect("weir starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("pictures were left out: its video_kbps"),
        "{said}"
    );
}

#[test]
fn garbage_after_good_tags_is_refused_with_the_place_and_what_came_before_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("torn.flv");
    let mut data = std::fs::read(small()).expect("a clip");
    let cut = data.len() / 2;
    data.truncate(cut);
    data.extend((0..500_000_u32).map(|index| (index * 131 % 255) as u8 | 0xe0));
    std::fs::write(&file, data).expect("a file");
    let output = transcode(&file.to_string_lossy(), dir.path(), None);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("at byte "), "{}", said(&output));
    let show = Show::on_disk(&dir.path().join("out"));
    assert!(!show.rungs.is_empty());
}

#[test]
fn what_came_before_pictures_that_cannot_be_decoded_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let video = "testsrc2=size=320x180:rate=25:duration=2";
    let coded = ["-c:v", "libx264", "-pix_fmt", "yuv444p"];
    let refused = clip("444", &[&["-f", "lavfi", "-i", video][..], &coded].concat());
    let mut data = std::fs::read(small()).expect("a clip");
    data.extend(&std::fs::read(refused).expect("a clip")[FLV_HEADER..]);
    let file = dir.path().join("both.flv");
    std::fs::write(&file, data).expect("a file");
    let output = transcode(&file.to_string_lossy(), dir.path(), None);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("4:4:4"), "{}", said(&output));
    assert!(!Show::on_disk(&dir.path().join("out")).rungs.is_empty());
}

#[test]
fn a_truncated_file_is_told_with_the_place_where_it_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("short.flv");
    let data = std::fs::read(small()).expect("a clip");
    std::fs::write(&file, &data[..data.len() / 2]).expect("a file");
    let output = transcode(&file.to_string_lossy(), dir.path(), None);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("byte "), "{}", said(&output));
}

#[test]
fn an_input_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = transcode("nowhere.flv", dir.path(), None);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("nowhere.flv"), "{}", said(&output));
}

/// The header of an FLV file and the length of no tag before the first.
const FLV_HEADER: usize = 13;
