//! `weir publish` and `weir play` through stunnel: who is believed, who is not,
//! and what is said then.

use std::path::Path;

use crate::harness::certificates::{Authority, Pair};
use crate::harness::destinations::Stunnel;
use crate::harness::server::{Server, weir};
use crate::harness::show::Show;
use crate::harness::sources::{bundled_clip, test_picture};
use crate::harness::tools::Running;
use crate::harness::{SMALL_LADDER, until};

fn publish(url: &str, ca: Option<&Path>) -> Running {
    with_ca(weir().arg("publish").arg(bundled_clip()).arg(url), ca)
}

fn play(url: &str, ca: Option<&Path>) -> Running {
    with_ca(weir().args(["play", url]), ca)
}

fn with_ca(command: &mut std::process::Command, ca: Option<&Path>) -> Running {
    if let Some(ca) = ca {
        command.arg("--ca").arg(ca);
    }
    Running::start(command)
}

/// Ends with code 1, all of `words` in its last line and nothing of a key.
#[track_caller]
fn refused(mut program: Running, words: &[&str]) {
    let code = program.ended().code();
    let said = program.said();
    assert_eq!(code, Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("weir: "), "{said}");
    for word in words {
        assert!(last.contains(word), "{word:?} in {said}");
    }
    assert!(!said.contains("a-secret-of-mine"), "{said}");
}

#[test]
fn a_wrong_host_an_expired_certificate_and_an_unknown_ca_are_refused_in_words() {
    let server = Server::configured(SMALL_LADDER);
    let authority = Authority::new("a CA of tests");
    let ca = authority.file();
    let try_with = |pair: &Pair, ca: Option<&Path>, words: &[&str]| {
        let front = Stunnel::start(&server.rtmp, pair, "");
        let url = format!("rtmps://localhost:{}/stream/a-secret-of-mine", front.port);
        let shown = format!("rtmps://localhost:{}/stream/***", front.port);
        for program in [publish(&url, ca), play(&url, ca)] {
            refused(program, words);
        }
        refused(publish(&url, ca), &[&shown]);
    };
    let elsewhere = authority.issue("elsewhere", &["other.example"]);
    try_with(
        &elsewhere,
        Some(&ca),
        &["for other.example, not for localhost"],
    );
    let expired = authority.issue_until("expired", &["localhost"], 2021);
    try_with(&expired, Some(&ca), &["localhost expired on 2021-01-01"]);
    let right = authority.issue("right", &["localhost"]);
    try_with(
        &right,
        None,
        &["localhost is not signed by a CA that is trusted"],
    );
    let stranger = Authority::new("another CA");
    try_with(&right, Some(&stranger.file()), &["not signed by a CA"]);

    let log = server.log();
    assert!(!log.contains("accepted"), "nothing of RTMP was sent: {log}");
    assert!(!log.contains("a-secret-of-mine"), "{log}");
}

#[test]
fn a_right_certificate_lets_the_stream_through_whole() {
    let server = Server::configured(SMALL_LADDER);
    let authority = Authority::new("a CA of tests");
    let ca = authority.file();
    let pair = authority.issue("right", &["localhost", "127.0.0.1"]);
    let front = Stunnel::start(&server.rtmp, &pair, "");
    let web = Stunnel::start(&server.http, &pair, "");
    let url = |host: &str| format!("rtmps://{host}:{}/stream/demo", front.port);
    let mut publisher = publish(&url("localhost"), Some(&ca));
    until("the playlist is there", || {
        (server.get("/demo/live.m3u8").status == 200).then_some(())
    });
    let port = web.port;
    let mut players = [
        play(&url("127.0.0.1"), Some(&ca)),
        play(
            &format!("https://localhost:{port}/stream/demo.flv"),
            Some(&ca),
        ),
        play(
            &format!("https://127.0.0.1:{port}/demo/live.m3u8"),
            Some(&ca),
        ),
    ];
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    show.is_true();
    assert_eq!(show.rung("180p").pictures(), 132);
    for player in &mut players {
        assert_eq!(player.ended().code(), Some(0), "{}", player.said());
        let said = player.said();
        assert!(
            said.contains(" 0 gaps") && !said.contains(" s: 0 pictures"),
            "{said}"
        );
    }
}

#[test]
fn the_host_is_named_before_a_certificate_is_chosen() {
    let server = Server::configured(SMALL_LADDER);
    let authority = Authority::new("a CA of tests");
    let elsewhere = authority.issue("elsewhere", &["other.example"]);
    let right = authority.issue("right", &["localhost"]);
    // Whoever names localhost is shown the right one, all others the wrong one.
    let named = format!(
        "[named]\nsni = front:localhost\nconnect = {}\ncert = {}\nkey = {}\n",
        server.rtmp,
        right.cert.display(),
        right.key.display()
    );
    let front = Stunnel::start(&server.rtmp, &elsewhere, &named);
    let url = format!("rtmps://localhost:{}/stream/demo", front.port);
    let clip = test_picture("320x180", "25", 3);
    let mut command = weir();
    command.arg("publish").arg(clip).arg(url);
    let mut publisher = with_ca(&mut command, Some(&authority.file()));
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
}

#[test]
fn a_server_without_tls_and_a_ca_file_of_no_use_are_named() {
    let server = Server::configured(SMALL_LADDER);
    let url = format!("rtmps://{}/stream/a-secret-of-mine", server.rtmp);
    refused(publish(&url, None), &[&server.rtmp, "does it speak TLS"]);
    let url = format!("rtmps://{}/stream/a-secret-of-mine", server.http);
    refused(publish(&url, None), &[&server.http, "TLS"]);

    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ca.pem");
    refused(play(&url, Some(&file)), &["ca.pem cannot be read"]);
    std::fs::write(&file, "mine").expect("a file");
    refused(publish(&url, Some(&file)), &["ca.pem holds no certificate"]);
}
