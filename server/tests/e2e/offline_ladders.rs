//! `weir transcode`.

use std::path::Path;
use std::process::{Output, Stdio};

use crate::harness::SMALL_LADDER;
use crate::harness::server::weir;
use crate::harness::show::Show;
use crate::harness::sources::{bundled_clip, small};

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
fn a_file_that_is_no_flv_is_refused_with_the_place() {
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
    assert!(said.contains("byte 0") && said.contains("FLV"), "{said}");
}

#[test]
fn garbage_after_good_tags_is_refused_with_the_place() {
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
