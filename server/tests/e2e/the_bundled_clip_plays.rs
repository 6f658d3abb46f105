//! The main job: the clip of the repository on the default ladder, and a minute
//! on air.

use crate::harness::server::Server;
use crate::harness::show::Show;
use crate::harness::sources::{bundled_clip, small, test_picture};
use crate::harness::tools::{ffprobe, publish, publish_for_ever};
use crate::harness::{SMALL_LADDER, until};

#[test]
fn ffmpeg_publishes_the_bundled_clip_and_every_rung_is_true() {
    let server = Server::open();
    let mut ffmpeg = publish(&bundled_clip(), &server.publish_url("demo"));
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    assert!(ffmpeg.ended().success(), "{}", ffmpeg.said());

    // Nearest to 2 Mbit/s first, for players start with the first (Apple HLS
    // authoring 1.32).
    assert_eq!(show.names(), ["480p", "360p", "720p"]);
    let sizes: Vec<_> = show
        .master
        .variants
        .iter()
        .map(|variant| variant.resolution)
        .collect();
    assert_eq!(
        sizes,
        [Some((854, 480)), Some((640, 360)), Some((1280, 720))]
    );
    for variant in &show.master.variants {
        assert_eq!(variant.frame_rate.as_deref(), Some("25.000"));
        assert!(
            variant.codecs.starts_with("avc1.4d"),
            "Main profile: {}",
            variant.codecs
        );
        assert!(variant.bandwidth >= variant.average_bandwidth);
    }
    show.is_true();
    for rung in &show.rungs {
        assert_eq!(
            (
                rung.playlist.version,
                rung.playlist.target,
                rung.playlist.kind.as_deref()
            ),
            (3, 2, None)
        );
        // 5.3 s of 25 pictures a second, cut every two seconds; none is lost.
        assert_eq!(rung.pictures(), 132, "{}", rung.name);
        let counts: Vec<_> = rung
            .segments
            .iter()
            .map(|seen| seen.probed.video.len())
            .collect();
        assert_eq!(counts, [50, 50, 32], "{}", rung.name);
        assert_eq!(rung.discontinuities(), 0);
        assert!(rung.segments[0].entry.date.is_some(), "PROGRAM-DATE-TIME");
        for seen in &rung.segments {
            assert_eq!(seen.probed.audio[0].rate, 48_000);
            assert_eq!(seen.probed.audio[0].channels, 2, "5.1 is mixed down");
            // A warning of ffprobe's fails the test.
            ffprobe(
                &show.segment_file(rung, seen),
                &["-show_packets", "-show_frames"],
            );
        }
    }
}

#[test]
fn a_minute_on_air_has_no_continuity_error_and_drops_nothing() {
    let server = Server::configured(SMALL_LADDER);
    let clip = test_picture("320x180", "25", 62);
    let _publisher = publish(&clip, &server.publish_url("demo"));
    let mut show = Show::begin(&server, "demo");
    // Twice, for one wait is shorter than a minute of media.
    show.until_segment(&server, "demo", 30);
    show.until_segment(&server, "demo", 60);
    let show = show.until_end(&server, "demo");
    show.is_true();
    for rung in &show.rungs {
        assert_eq!(rung.discontinuities(), 0, "{}", rung.name);
        assert_eq!(rung.pictures(), 62 * 25, "{}", rung.name);
    }
}

#[test]
fn a_segment_that_left_the_playlist_is_served_for_the_time_a_player_may_need_it() {
    let server = Server::configured(&format!("[hls]\nwindow = 3\n{SMALL_LADDER}"));
    let _publisher = publish_for_ever(&small(), &server.publish_url("demo"));
    let mut show = Show::begin(&server, "demo");
    let first = show.rung("180p").segments[0].number;
    let path = format!("/demo/180p/{first}.ts");
    // RFC 8216bis 6.2.2: its own length and that of the longest playlist it was in.
    while show.rung("180p").playlist.sequence < first + 3 {
        assert_eq!(
            server.get(&path).status,
            200,
            "{path} left the playlist too recently to be gone"
        );
        let count = show.rung("180p").segments.len();
        show.until_segment(&server, "demo", count + 1);
    }
    until("an old segment to be gone", || {
        (server.get(&path).status == 404).then_some(())
    });
}
