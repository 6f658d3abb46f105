//! ENDLIST when the publisher goes, in whatever way, and 404 when the time for
//! late viewers is over.

use crate::harness::peer::Publisher;
use crate::harness::server::Server;
use crate::harness::show::Show;
use crate::harness::sources::small;
use crate::harness::tools::publish_for_ever;
use crate::harness::{SMALL_LADDER, until};

#[test]
fn a_clean_end_and_a_killed_publisher_both_close_the_playlists() {
    let server = Server::configured(SMALL_LADDER);
    for (name, signal) in [("clean", "INT"), ("killed", "KILL")] {
        let mut ffmpeg = publish_for_ever(&small(), &server.publish_url(name));
        let mut show = Show::begin(&server, name);
        show.until_segment(&server, name, 2);
        assert!(show.rungs.iter().all(|rung| !rung.playlist.ended));
        ffmpeg.signal(signal);
        ffmpeg.ended();
        let show = show.until_end(&server, name);
        show.is_true();
        // An ended stream stays playable, and is not called live.
        assert_eq!(server.get(&format!("/{name}/live.m3u8")).status, 200);
        assert_eq!(server.metric("weir_streams_live"), Some(0.0));
    }
    assert!(
        server
            .log()
            .lines()
            .any(|line| line.contains("unpublished") && line.contains("clean")),
        "deleteStream was understood"
    );
}

#[test]
fn an_ended_broadcast_is_playable_for_its_retention_and_then_gone() {
    let server = Server::configured(&format!("[hls]\nretain = \"2s\"\n{SMALL_LADDER}"));
    let ffmpeg = publish_for_ever(&small(), &server.publish_url("demo"));
    let mut show = Show::begin(&server, "demo");
    show.until_segment(&server, "demo", 2);
    drop(ffmpeg);
    let show = show.until_end(&server, "demo");
    let segment = format!("/demo/180p/{}", show.rung("180p").segments[0].entry.uri);
    let gone = until("404", || {
        Some(server.get("/demo/live.m3u8")).filter(|answer| answer.status == 404)
    });
    assert_eq!(gone.text(), "demo is not streaming live now");
    assert_eq!(gone.header("access-control-allow-origin"), Some("*"));
    for path in ["/demo/180p/index.m3u8", &segment, "/demo/thumb.jpg"] {
        let answer = server.get(path);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "demo is not streaming live now"),
            "{path}"
        );
    }
    assert_eq!(
        server.get("/demo").status,
        200,
        "the page waits for the next broadcast"
    );
    assert!(
        !server.get("/metrics").text().contains("stream=\"demo\""),
        "no series stays behind"
    );
}

#[test]
fn a_name_that_returns_is_a_new_broadcast_with_greater_numbers() {
    let server = Server::configured(SMALL_LADDER);
    let mut last = 0;
    for round in 0..2 {
        let ffmpeg = publish_for_ever(&small(), &server.publish_url("demo"));
        let numbers = until("segments of this round", || {
            let answer = server.get("/demo/180p/index.m3u8");
            let playlist =
                (answer.status == 200).then(|| crate::harness::playlist::media(&answer.text()))?;
            let fresh = !playlist.ended && playlist.sequence > last && playlist.entries.len() >= 2;
            fresh.then(|| playlist.sequence + playlist.entries.len() as u64)
        });
        assert!(numbers > last, "round {round}");
        drop(ffmpeg);
        let ended = until("the end", || {
            let playlist =
                crate::harness::playlist::media(&server.get("/demo/180p/index.m3u8").text());
            playlist
                .ended
                .then(|| playlist.sequence + playlist.entries.len() as u64)
        });
        last = ended;
    }
}

#[test]
fn a_publisher_that_sends_nothing_leaves_nothing_behind() {
    let server = Server::configured(SMALL_LADDER);
    Publisher::start(&server, "quiet")
        .unwrap_or_else(|refusal| panic!("{refusal:?}"))
        .finish();
    until("nobody live", || {
        (server.metric("weir_streams_live") == Some(0.0)).then_some(())
    });
    server.logged(&["quiet", "broadcast ended"]);
    let answer = server.get("/quiet/live.m3u8");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "quiet is not streaming live now")
    );
}
