//! The first signal ends the streams so that players notice; the second does
//! not wait.

use crate::harness::peer::Publisher;
use crate::harness::server::Server;
use crate::harness::show::Show;
use crate::harness::sources::small;
use crate::harness::tools::publish_for_ever;
use crate::harness::{SMALL_LADDER, until};

#[test]
fn sigterm_ends_live_streams_with_endlist_and_exits_with_0() {
    let mut server = Server::configured(SMALL_LADDER);
    let mut ffmpeg = publish_for_ever(&small(), &server.publish_url("demo"));
    let mut show = Show::begin(&server, "demo");
    show.until_segment(&server, "demo", 2);
    server.signal("TERM");
    let show = show.until_end(&server, "demo");
    show.rung("180p").durations_are_true();
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
    assert!(
        !server.ports_file().exists(),
        "the ports file goes with the server"
    );
    ffmpeg.ended();
}

#[test]
fn a_draining_server_is_not_ready_and_takes_no_new_publisher() {
    // Segments of ten seconds, so that the drain lasts as long.
    let mut server = Server::start(SMALL_LADDER, &["--auth", "open", "--segment", "10"]);
    let _ffmpeg = publish_for_ever(&small(), &server.publish_url("demo"));
    until("a live stream", || {
        (server.metric("weir_streams_live") == Some(1.0)).then_some(())
    });
    server.signal("INT");
    let answer = until("503", || {
        Some(server.get("/readyz")).filter(|answer| answer.status == 503)
    });
    assert!(answer.text().contains("draining"), "{}", answer.text());
    assert_eq!(server.get("/healthz").status, 200, "it still works");
    let late = std::net::TcpStream::connect(&server.rtmp);
    if late.is_ok() {
        let Err(refusal) = Publisher::start(&server, "late") else {
            panic!("a publisher was let in")
        };
        assert!(refusal.description.contains("shutting down"), "{refusal:?}");
    }
    server.signal("INT");
    server.ended();
}

#[test]
fn a_second_signal_exits_at_once() {
    // A drain that would last ten seconds.
    let mut server = Server::start(SMALL_LADDER, &["--auth", "open", "--segment", "10"]);
    let _ffmpeg = publish_for_ever(&small(), &server.publish_url("demo"));
    until("a live stream", || {
        (server.metric("weir_streams_live") == Some(1.0)).then_some(())
    });
    server.signal("TERM");
    server.logged(&["shutting down"]);
    server.signal("TERM");
    server.ended();
    server.logged(&["exiting at once"]);
}

#[test]
fn a_server_without_streams_ends_at_once_and_clears_its_ports_file() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::configured("");
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(0), "{signal}");
        assert!(!server.ports_file().exists());
    }
}

#[test]
fn a_killed_server_leaves_a_ports_file_that_the_next_start_replaces() {
    let server = Server::configured("");
    let (old, file) = (server.http.clone(), server.ports_file());
    let dir = server.into_dir();
    assert!(file.exists());
    let next = Server::start_in(dir, "", &["--auth", "open"]);
    assert_eq!(next.get("/readyz").status, 200);
    assert_ne!(next.http, old, "what was read is the new file");
}
