//! `auth.play = "token"`: who has one watches in any player, who has none gets
//! nothing at all.

use std::path::Path;
use std::process::Output;

use crate::harness::http::{self, Answer, parse};
use crate::harness::relays::publish;
use crate::harness::server::{Server, weir};
use crate::harness::sources::{bundled_clip, small};
use crate::harness::tools::{Running, publish_for_ever, run, tool};
use crate::harness::{SMALL_LADDER, until};

const SECRET: &str = "this-secret-is-of-tests-and-no-good-elsewhere";

/// Settings of a server that asks for tokens.
fn locked(more: &str) -> String {
    format!("[auth]\nplay = \"token\"\nplay_secret = \"{SECRET}\"\n{more}")
}

/// A token of `weir play-token`.
#[track_caller]
fn token(arguments: &[&str]) -> String {
    let mut command = weir();
    command.arg("play-token").args(arguments);
    command.env("WEIR_AUTH_PLAY", "token");
    let output = run(command.env("WEIR_AUTH_PLAY_SECRET", SECRET));
    let said = String::from_utf8(output.stdout).expect("text");
    said.trim_end().to_owned()
}

/// A token that is no good any more.
fn expired(server: &Server) -> String {
    let token = token(&["demo", "--expires", "1s"]);
    until("it to expire", || {
        let answer = server.get(&with("/demo/live.m3u8", &token));
        answer.text().contains("expired").then_some(())
    });
    token
}

fn with(path: &str, token: &str) -> String {
    format!("{path}?token={token}")
}

fn live(server: &Server, token: &str) {
    until("the stream to be playable", || {
        let answer = server.get(&with("/demo/live.m3u8", token));
        (answer.status == 200).then_some(())
    });
}

/// The URIs of a playlist.
fn uris(playlist: &Answer) -> Vec<String> {
    let text = playlist.text();
    let uris = text.lines().filter(|line| !line.starts_with('#'));
    uris.map(str::to_owned).collect()
}

#[track_caller]
fn refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 403, "{what}");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("*"),
        "{what}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
}

#[test]
fn nothing_of_a_stream_is_given_to_who_has_no_token_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("vods");
    let record = format!(
        "[record]\nstore = \"file://{}\"\nmerge = \"0s\"\n{SMALL_LADDER}",
        store.display()
    );
    let flags = ["--auth", "open", "--segment", "1"];
    let server = Server::start_in(dir, &locked(&record), &flags);
    let good = token(&["demo"]);
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    live(&server, &good);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let id = until("the recording to be closed", || {
        let list = server.get(&with("/demo/recordings.json", &good)).text();
        let list: serde_json::Value = serde_json::from_str(&list).ok()?;
        let one = &list["recordings"][0];
        (one["closed"] == true).then(|| one["id"].as_u64())?
    });
    let first = server.get(&with("/demo/180p/index.m3u8", &good));
    let first = uris(&first).first().expect("a segment").clone();
    let segment = format!("/demo/180p/{}", first.split('?').next().expect("a name"));
    let paths = [
        "/demo/live.m3u8".to_owned(),
        "/demo/180p/index.m3u8".to_owned(),
        segment,
        "/demo/thumb.jpg".to_owned(),
        "/demo/recordings.json".to_owned(),
        format!("/demo/vod-{id}.m3u8"),
        format!("/demo/vod-{id}-master.m3u8"),
    ];
    let wrong = [
        token(&["other"]),
        token(&["demo", "--addr", "203.0.113.7"]),
        expired(&server),
        format!("{good}x"),
        good.replace('.', "%2e"),
        String::new(),
    ];
    for path in &paths {
        let answer = server.get(&with(path, &good));
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(server.get(&with(path, &token(&["*"]))).status, 200);
        refused(&server.get(path), path);
        refused(&server.ask("HEAD", path, &[]), path);
        for wrong in &wrong {
            let answer = server.get(&with(path, wrong));
            refused(&answer, path);
            let said = answer.text();
            assert!(said.starts_with("the token ") || wrong.is_empty(), "{said}");
            assert!(wrong.is_empty() || !said.contains(wrong.as_str()), "{said}");
        }
    }
    for path in [
        "/stream/demo.flv",
        "/nobody/live.m3u8",
        "/nobody/1080p/1.ts",
    ] {
        refused(&server.get(path), path);
    }
    let nobody = with("/nobody/live.m3u8", &token(&["nobody"]));
    assert_eq!(server.get(&nobody).status, 404);
    // What shows nothing of the media is there for all.
    for path in ["/", "/demo", "/healthz", "/metrics", "/api/v1/streams"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.ask("OPTIONS", "/demo/live.m3u8", &[]).status, 204);
}

#[test]
fn playlists_carry_the_token_to_all_that_they_list_and_are_otherwise_the_same() {
    let server = Server::configured(&locked(SMALL_LADDER));
    let (one, other) = (token(&["demo"]), token(&["demo", "--expires", "2h"]));
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    until("the end of the stream", || {
        let playlist = server.get(&with("/demo/180p/index.m3u8", &one));
        playlist.text().contains("#EXT-X-ENDLIST").then_some(())
    });
    for path in ["/demo/live.m3u8", "/demo/180p/index.m3u8"] {
        let ask =
            |token: &str, headers: &[(&str, &str)]| server.ask("GET", &with(path, token), headers);
        let plain = ask(&one, &[]);
        let query = with("", &one);
        assert!(!uris(&plain).is_empty());
        for uri in uris(&plain) {
            assert!(uri.ends_with(&query), "{uri}");
            let from = path.rsplit_once('/').expect("a folder").0;
            assert_eq!(server.get(&format!("{from}/{uri}")).status, 200, "{uri}");
        }
        let bare = |answer: &Answer, token: &str| answer.text().replace(&with("", token), "");
        assert_eq!(bare(&plain, &one), bare(&ask(&other, &[]), &other));
        assert!(!bare(&plain, &one).contains('?'));
        let cache = plain.header("cache-control").expect("a rule");
        assert!(cache.starts_with("private, "), "{cache}");

        let tag = |answer: &Answer| answer.header("etag").expect("an ETag").to_owned();
        let gzip = ask(&one, &[("accept-encoding", "gzip")]);
        assert_eq!(gzip.gunzipped(), plain.text());
        let tags = [&plain, &gzip, &ask(&other, &[])].map(tag);
        assert!(tags[0] != tags[1] && tags[0] != tags[2], "{tags:?}");
        let known = ("if-none-match", tags[0].as_str());
        assert_eq!(ask(&one, &[known]).status, 304);
        assert_eq!(ask(&other, &[known]).status, 200);
    }
    // A cache that leaves the query aside may keep segments for all.
    let playlist = server.get(&with("/demo/180p/index.m3u8", &one));
    let segment = server.get(&format!("/demo/180p/{}", uris(&playlist)[0]));
    assert_eq!(
        segment.header("cache-control"),
        Some("public, max-age=600, immutable")
    );
}

#[test]
fn where_nobody_asks_for_a_token_one_changes_nothing() {
    let server = Server::configured(SMALL_LADDER);
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let path = "/demo/180p/index.m3u8";
    until("the end of the stream", || {
        server
            .get(path)
            .text()
            .contains("#EXT-X-ENDLIST")
            .then_some(())
    });
    for path in [path, "/demo/live.m3u8"] {
        let (plain, shown) = (server.get(path), server.get(&with(path, "a.b.c")));
        assert_eq!(plain.text(), shown.text());
        for header in ["etag", "cache-control"] {
            assert_eq!(plain.header(header), shown.header(header));
        }
        assert!(uris(&plain).iter().all(|uri| !uri.contains('?')));
    }
}

fn plays(url: &str) -> Running {
    Running::start(weir().args(["play", url]))
}

#[test]
fn plain_players_play_with_a_token_and_are_told_why_not_without() {
    let server = Server::configured(&locked(SMALL_LADDER));
    let good = token(&["demo"]);
    let _publisher = publish_for_ever(&small(), &server.publish_url("demo"));
    live(&server, &good);
    let hls = format!("http://{}/demo/live.m3u8", server.http);
    let mut command = tool("ffprobe");
    command.args(["-loglevel", "warning", "-read_intervals", "%+3"]);
    command.args(["-count_frames", "-select_streams", "v:0", "-of", "csv=p=0"]);
    command.args(["-show_entries", "stream=nb_read_frames"]);
    let output = run(command.arg(with(&hls, &good)));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.is_empty(), "{said}");
    let frames = String::from_utf8_lossy(&output.stdout);
    let frames: u32 = frames
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
        .expect("a number");
    assert!(frames >= 50, "{frames}");

    let flv = format!("http://{}/stream/demo.flv", server.http);
    let rtmp = format!("rtmp://{}/stream/demo", server.rtmp);
    for url in [&hls, &flv, &rtmp] {
        let mut command = weir();
        let output = command
            .args(["play", &with(url, &good), "--seconds", "2"])
            .output();
        let output = output.expect("weir starts");
        assert_eq!(output.status.code(), Some(0), "{url}: {output:?}");
        let bad = token(&["other"]);
        for url in [url.clone(), with(url, &bad)] {
            let mut player = plays(&url);
            assert_eq!(player.ended().code(), Some(1), "{}", player.said());
            assert!(!player.said().contains(&bad), "{}", player.said());
        }
    }
    let mut player = plays(&with(&rtmp, &token(&["other"])));
    player.ended();
    assert!(
        player.said().contains("for another stream"),
        "{}",
        player.said()
    );
    server.logged(&["play refused", "the token is for another stream"]);
}

#[test]
fn players_of_the_source_are_cut_when_their_token_expires() {
    let server = Server::configured(&locked("[hls]\nenabled = false\n"));
    let mut publisher = publish_for_ever(&small(), &server.publish_url("demo"));
    until("the stream is live", || {
        (server.metric("weir_streams_live") == Some(1.0)).then_some(())
    });
    let short = token(&["demo", "--expires", "3s"]);
    let flv = format!("http://{}/stream/demo.flv", server.http);
    let rtmp = format!("rtmp://{}/stream/demo", server.rtmp);
    let mut over_http = plays(&with(&flv, &short));
    let mut over_rtmp = plays(&with(&rtmp, &short));
    let long = token(&["demo", "--expires", "1h"]);
    let mut stays = plays(&with(&flv, &long));
    // The body ends as one does; RTMP has words for it.
    assert_eq!(over_http.ended().code(), Some(0), "{}", over_http.said());
    over_rtmp.ended();
    assert!(over_rtmp.said().contains("expired"), "{}", over_rtmp.said());
    server.logged(&["play accepted"]);
    server.logged(&["the token of a player has expired"]);
    assert!(stays.is_running() && publisher.is_running());
}

#[test]
fn an_address_is_the_peers_unless_a_trusted_proxy_speaks_for_another() {
    let trusting = "[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let viewer = token(&["demo", "--addr", "203.0.113.0/24"]);
    let here = token(&["demo", "--addr", "127.0.0.1"]);
    let says = |server: &Server, token: &str, told: Option<&str>| {
        let headers: Vec<_> = told
            .map(|list| ("x-forwarded-for", list))
            .into_iter()
            .collect();
        let answer = server.ask("GET", &with("/demo/live.m3u8", token), &headers);
        // Nobody is live.
        assert!(matches!(answer.status, 403 | 404), "{}", answer.status);
        answer.status == 404
    };
    let server = Server::configured(&locked(""));
    assert!(says(&server, &here, None));
    assert!(says(&server, &here, Some("203.0.113.9")));
    assert!(!says(&server, &viewer, Some("203.0.113.9")));
    let server = Server::configured(&locked(trusting));
    assert!(says(&server, &viewer, Some("203.0.113.9")));
    assert!(says(&server, &viewer, Some("198.51.100.1, 203.0.113.9")));
    assert!(!says(&server, &viewer, Some("203.0.113.9, 198.51.100.1")));
    assert!(!says(&server, &here, Some("203.0.113.9")));
    assert!(says(&server, &here, None));
}

/// Text without what base64 has for URLs alone.
fn url64(bytes: &[u8], dir: &Path) -> String {
    let file = dir.join("bytes");
    std::fs::write(&file, bytes).expect("a file");
    let output = run(tool("openssl").args(["base64", "-A", "-in"]).arg(file));
    let text = String::from_utf8(output.stdout).expect("text");
    text.trim()
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

#[test]
fn a_token_that_openssl_signs_is_checked_with_its_public_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let openssl = |arguments: &[&str], files: &[(&str, &Path)]| -> Output {
        let mut command = tool("openssl");
        command.args(arguments);
        for (flag, file) in files {
            command.arg(flag).arg(file);
        }
        run(&mut command)
    };
    let (key, public) = (path("key.pem"), path("public.pem"));
    openssl(&["genpkey", "-algorithm", "ED25519"], &[("-out", &key)]);
    openssl(&["pkey", "-pubout"], &[("-in", &key), ("-out", &public)]);
    let sign = |claims: &str| {
        let header = url64(br#"{"alg":"EdDSA","typ":"JWT"}"#, dir.path());
        let message = format!("{header}.{}", url64(claims.as_bytes(), dir.path()));
        let (file, signed) = (path("message"), path("signature"));
        std::fs::write(&file, &message).expect("a file");
        openssl(
            &["pkeyutl", "-sign", "-rawin"],
            &[("-inkey", &key), ("-in", &file), ("-out", &signed)],
        );
        let signature = std::fs::read(&signed).expect("a signature");
        format!("{message}.{}", url64(&signature, dir.path()))
    };
    let server = Server::configured(&format!(
        "[auth]\nplay = \"token\"\nplay_public_key = {public:?}\n"
    ));
    let status = |token: &str| server.get(&with("/demo/live.m3u8", token)).status;
    assert_eq!(status(&sign(r#"{"name":"demo","exp":4102444800}"#)), 404);
    assert_eq!(status(&sign(r#"{"name":"demo","exp":1000000000}"#)), 403);
    assert_eq!(status(&sign(r#"{"name":"other","exp":4102444800}"#)), 403);
    assert_eq!(status(&token(&["demo"])), 403);
}

#[test]
fn tokens_are_in_no_log_no_metric_and_no_answer_but_playlists() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = locked(&format!("[hls]\nsegment = \"1s\"\n{SMALL_LADDER}"));
    let flags = ["--auth", "open"];
    let server = Server::launch(dir, &config, &flags, &[("RUST_LOG", "trace")]);
    let good = token(&["demo"]);
    let bad = token(&["other"]);
    let marks = [&good, &bad].map(|token| token.rsplit('.').next().expect("a signature"));
    let _publisher = publish_for_ever(&small(), &server.publish_url("demo"));
    live(&server, &good);
    for token in [&good, &bad] {
        for path in [
            "/demo",
            "/demo/live.m3u8",
            "/demo/180p/index.m3u8",
            "/demo/thumb.jpg",
            "/nothing/at/all",
            "/demo/%00",
        ] {
            let answer = server.get(&with(path, token));
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            let playlist = answer.status == 200 && path.ends_with(".m3u8");
            for mark in marks {
                assert!(playlist || !said.contains(mark), "{path}");
            }
        }
        let urls = [
            format!("rtmp://{}/stream/demo", server.rtmp),
            format!("http://{}/stream/demo.flv", server.http),
            format!("http://{}/demo/live.m3u8", server.http),
        ];
        for url in urls {
            let mut command = weir();
            command.args(["play", &with(&url, token), "--seconds", "1"]);
            let output = command.output().expect("weir starts");
            let said = format!("{output:?}");
            assert!(marks.iter().all(|mark| !said.contains(mark)), "{said}");
        }
    }
    // A request that is none, and a body that nobody asked for.
    let crooked = format!("GET /demo/live.m3u8?token={good} HTTP/9\r\n\r\n");
    let answer = http::raw(&server.http, crooked.as_bytes());
    let answer = parse(&answer).map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
    let places = [
        ("the log", server.log()),
        ("standard output", server.output()),
        ("the metrics", server.get("/metrics").text()),
        ("the API", server.get("/api/v1/streams").text()),
        ("the list of streams", server.get("/").text()),
        ("an error", answer.unwrap_or_default()),
    ];
    for (place, text) in places {
        for mark in marks {
            assert!(!text.contains(mark), "a token is in {place}");
        }
        assert!(!text.contains(SECRET), "the secret is in {place}");
    }
}

#[test]
fn a_secret_that_is_too_short_stops_the_start_and_is_not_shown() {
    for command in [&["serve"][..], &["play-token", "demo"]] {
        let mut weir = weir();
        weir.args(command).env("WEIR_AUTH_PLAY", "token");
        weir.env("WEIR_AUTH_PLAY_SECRET", "hunter2");
        let output = weir.output().expect("weir starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("auth.play_secret = (hidden)"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let output = weir().args(["play-token", "demo"]).output();
    let output = output.expect("weir starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("auth.play_secret"), "{said}");
}
