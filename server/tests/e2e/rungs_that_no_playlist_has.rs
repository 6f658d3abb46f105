//! `hls.rung.listed = false`: for relays alone.

use crate::harness::server::{Server, weir};
use crate::harness::show::Show;
use crate::harness::sources::small;
use crate::harness::tools::publish;
use crate::harness::{SMALL_LADDER, until};

/// Between the two of the small ladder, so that one could be made of it.
const UNLISTED: &str = r#"
[[hls.rung]]
name = "relay"
width = 240
height = 136
video_kbps = 300
listed = false
"#;

#[test]
fn viewers_get_no_trace_of_one_and_while_nobody_reads_it_none_is_encoded() {
    let server = Server::configured(&format!("{SMALL_LADDER}{UNLISTED}"));
    let mut ffmpeg = publish(&small(), &server.publish_url("demo"));
    let frames = |rung: &str| {
        let series = format!(
            "weir_ladder_frames_total{{stream=\"demo\",rung=\"{rung}\",result=\"encoded\"}}"
        );
        server.metric(&series)
    };
    until("coded pictures", || {
        frames("180p").filter(|count| *count > 0.0)
    });
    assert_eq!(frames("relay"), None);
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    assert!(ffmpeg.ended().success(), "{}", ffmpeg.said());
    let mut names = show.names();
    names.sort_unstable();
    assert_eq!(names, ["180p", "90p"]);
    show.is_true();
    assert_eq!(server.get("/demo/relay/index.m3u8").status, 404);
}

#[test]
fn a_file_is_transcoded_to_the_same_bytes_beside_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = |name: &str, config: String| {
        let file = dir.path().join(format!("{name}.toml"));
        std::fs::write(&file, config).expect("a file");
        let out = dir.path().join(name);
        let mut command = weir();
        command.arg("transcode").arg(small()).arg("--out").arg(&out);
        let output = command.arg("--config").arg(file).output();
        let output = output.expect("weir starts");
        assert!(output.status.success(), "{output:?}");
        assert!(!out.join("relay").exists());
        let show = Show::on_disk(&out);
        let segments = show.rungs.into_iter().flat_map(|rung| rung.segments);
        segments.map(|seen| seen.data).collect::<Vec<_>>()
    };
    let alone = made("alone", SMALL_LADDER.to_owned());
    assert!(!alone.is_empty());
    assert!(alone == made("beside", format!("{SMALL_LADDER}{UNLISTED}")));
}
