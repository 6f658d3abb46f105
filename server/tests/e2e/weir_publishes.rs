//! `weir publish`.

use crate::harness::SMALL_LADDER;
use crate::harness::server::{Server, weir};
use crate::harness::show::Show;
use crate::harness::sources::{bundled_clip, test_picture};
use crate::harness::tools::Running;

fn publish(file: &std::path::Path, url: &str, flags: &[&str]) -> Running {
    Running::start(weir().arg("publish").arg(file).arg(url).args(flags))
}

#[test]
fn a_file_is_published_whole_and_ends_well() {
    let server = Server::configured(SMALL_LADDER);
    let mut publisher = publish(&bundled_clip(), &server.publish_url("demo"), &[]);
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    show.is_true();
    assert_eq!(show.rung("180p").pictures(), 132);
}

#[test]
fn timestamps_go_on_rising_over_the_border_of_a_loop() {
    let server = Server::configured(SMALL_LADDER);
    let clip = test_picture("320x180", "25", 3);
    let publisher = publish(&clip, &server.publish_url("demo"), &["--loop"]);
    let mut show = Show::begin(&server, "demo");
    show.until_segment(&server, "demo", 7);
    drop(publisher);
    let show = show.until_end(&server, "demo");
    show.is_true();
    for rung in &show.rungs {
        assert_eq!(rung.discontinuities(), 0, "{}", rung.name);
        // The clip's sound lasts half a picture longer than its pictures do, so a
        // border may cost one of them and no more.
        for seen in &rung.segments[..6] {
            let count = seen.probed.video.len();
            assert!(
                (24..=25).contains(&count),
                "{} {}: {count} pictures",
                rung.name,
                seen.number
            );
        }
    }
}

#[test]
fn copies_publish_under_numbered_names() {
    let server = Server::configured(SMALL_LADDER);
    let clip = test_picture("320x180", "25", 3);
    let mut publisher = publish(&clip, &server.publish_url("load"), &["--copies", "3"]);
    for copy in 1..=3 {
        let name = format!("load-{copy}");
        Show::begin(&server, &name)
            .until_end(&server, &name)
            .is_true();
    }
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
}

#[test]
fn a_refusal_ends_it_with_the_servers_words_and_no_key() {
    let server = Server::start("", &["--segment", "1"]);
    let mut publisher = publish(
        &bundled_clip(),
        &server.publish_url("a-secret-of-mine"),
        &[],
    );
    assert_eq!(publisher.ended().code(), Some(1));
    assert!(publisher.said().contains("key"), "{}", publisher.said());
    assert!(
        !publisher.said().contains("a-secret-of-mine"),
        "{}",
        publisher.said()
    );
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let mut publisher = publish(&bundled_clip(), &format!("rtmp://{free}/stream/demo"), &[]);
    assert_eq!(publisher.ended().code(), Some(1));
    assert!(
        publisher.said().contains(&free.to_string()),
        "{}",
        publisher.said()
    );
}
