//! `http.tls_listen`: what `http.listen` answers, with TLS around it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;

use crate::harness::certificates::{Authority, Pair};
use crate::harness::http::{Answer, parse};
use crate::harness::server::{Server, weir};
use crate::harness::sources::{bundled_clip, small};
use crate::harness::tools::{Running, ffmpeg, packets, publish, publish_for_ever, tool};
use crate::harness::{PATIENCE, SMALL_LADDER, until};

/// A server whose certificate is for localhost, and the CA that signed it.
fn secured(more: &str) -> (Server, Authority, Pair) {
    let authority = Authority::new("a CA of tests");
    let pair = authority.issue("server", &["localhost", "127.0.0.1"]);
    let server = Server::configured(&format!("{}{more}", pair.settings_of("http")));
    (server, authority, pair)
}

fn url(server: &Server, path: &str) -> String {
    format!("https://{}{path}", server.https)
}

/// What curl gets, which trusts `ca` alone; and what it says.
fn curl(server: &Server, ca: &Path, path: &str) -> Output {
    let mut command = tool("curl");
    command.args(["--silent", "--show-error", "--verbose", "--include"]);
    command.arg("--cacert").arg(ca).arg(url(server, path));
    command.output().expect("it starts")
}

#[track_caller]
fn get(server: &Server, ca: &Path, path: &str) -> Answer {
    let output = curl(server, ca, path);
    parse(&output.stdout).unwrap_or_else(|| panic!("{path}: {output:?}"))
}

/// A connection to the TLS port that has said `hello`.
fn half_open(server: &Server, hello: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(&server.https).expect("a connection");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    let _ = socket.write_all(hello);
    socket
}

#[test]
fn peers_that_never_shake_hands_hold_up_nobody_and_end() {
    let (server, authority, _) = secured("");
    let ca = authority.file();
    // Nothing, half a record's header, a record that never ends.
    let hellos: [&[u8]; 3] = [&[], &[22, 3], &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]];
    let held: Vec<_> = (0..60)
        .map(|index| half_open(&server, hellos[index % 3]))
        .collect();
    assert_eq!(get(&server, &ca, "/healthz").status, 200);
    assert_eq!(server.get("/healthz").status, 200);
    for mut socket in held {
        assert!(socket.read_to_end(&mut Vec::new()).is_ok(), "still open");
    }
    // Plain HTTP, and a record of the greatest length that is none.
    let record = [&[22, 3, 1, 0xff, 0xff][..], &[0; 1 << 16]].concat();
    for bytes in [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), record] {
        let mut socket = half_open(&server, &bytes);
        let mut said = Vec::new();
        if let Err(error) = socket.read_to_end(&mut said) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
        }
        assert!(said.len() <= 7, "an alert and nothing more: {said:?}");
    }
    assert_eq!(get(&server, &ca, "/healthz").status, 200);
    let log = server.log();
    assert!(!log.contains("WARN no TLS"), "anybody could fill it: {log}");
    assert_eq!(
        server.metric("weir_panics_total{where=\"http\"}"),
        Some(0.0)
    );
}

#[test]
fn a_stream_is_the_same_with_tls_and_without() {
    let (server, authority, _) = secured(SMALL_LADDER);
    let ca = authority.file();
    let mut publisher = publish(&bundled_clip(), &server.publish_url("demo"));
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    until("the end of the stream", || {
        let playlist = server.get("/demo/180p/index.m3u8");
        playlist.text().contains("#EXT-X-ENDLIST").then_some(())
    });
    let playlist = server.get("/demo/180p/index.m3u8").text();
    let segments = playlist.lines().filter(|line| !line.starts_with('#'));
    let segments = segments.map(|uri| format!("/demo/180p/{uri}"));
    let pages = ["/", "/demo", "/demo/live.m3u8", "/demo/180p/index.m3u8"];
    let pages = pages.into_iter().map(str::to_owned);
    for path in pages.chain(segments) {
        let (plain, tls) = (server.get(&path), get(&server, &ca, &path));
        assert_eq!(tls.status, 200, "{path}");
        assert!(tls.body == plain.body, "{path}");
        for header in ["etag", "cache-control", "access-control-allow-origin"] {
            assert_eq!(tls.header(header), plain.header(header), "{path}");
        }
    }
    // The peer is this machine, as it is without TLS.
    assert_eq!(get(&server, &ca, "/api/v1/streams").status, 200);
    let mut player = Running::start(
        weir()
            .args(["play", &url(&server, "/demo/live.m3u8"), "--ca"])
            .arg(&ca),
    );
    assert_eq!(player.ended().code(), Some(0), "{}", player.said());
}

#[test]
fn http_1_1_is_agreed_upon_by_name() {
    let (server, authority, _) = secured("");
    let output = curl(&server, &authority.file(), "/healthz");
    let said = String::from_utf8_lossy(&output.stderr);
    // Older ones say "server accepted to use".
    let agreed = said.lines().any(|line| {
        line.contains("ALPN") && line.contains("accepted") && line.ends_with("http/1.1")
    });
    assert!(agreed, "{said}");
    assert!(said.contains("SSL certificate verify ok"), "{said}");
}

#[test]
fn http_flv_is_bit_for_bit_what_was_published() {
    let (server, authority, _) = secured("[hls]\nenabled = false\n");
    let ca = authority.file();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("played.flv");
    let mut publisher = publish(&bundled_clip(), &server.publish_url("demo"));
    until("the stream is live", || {
        (server.metric("weir_streams_live") == Some(1.0)).then_some(())
    });
    let flv = url(&server, "/stream/demo.flv");
    let mut ours = Running::start(weir().args(["play", &flv, "--ca"]).arg(&ca));
    let mut play = ffmpeg();
    play.args(["-tls_verify", "1", "-ca_file"]).arg(&ca);
    play.args(["-i", &flv, "-c", "copy"]);
    let mut theirs = Running::start(play.arg(&file));
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    assert_eq!(ours.ended().code(), Some(0), "{}", ours.said());
    assert_eq!(theirs.ended().code(), Some(0), "{}", theirs.said());
    let source = packets(&bundled_clip());
    for (stream, packets) in packets(&file) {
        assert!(packets.len() > 20, "{stream}: {}", packets.len());
        assert!(
            source.values().any(|all| all.ends_with(&packets)),
            "stream {stream} is not the end of the source"
        );
    }
}

#[test]
fn a_renewed_certificate_is_shown_to_newcomers_and_who_is_there_stays() {
    let (server, first, pair) = secured("[hls]\nenabled = false\n");
    let _publisher = publish_for_ever(&small(), &server.publish_url("demo"));
    until("the stream is live", || {
        (server.metric("weir_streams_live") == Some(1.0)).then_some(())
    });
    let flv = url(&server, "/stream/demo.flv");
    let mut player = Running::start(weir().args(["play", &flv, "--ca"]).arg(first.file()));
    let players = "weir_http_requests_total{kind=\"flv\",status=\"200\"}";
    until("it plays", || {
        (server.metric(players) == Some(1.0)).then_some(())
    });

    let second = Authority::new("the CA after it");
    pair.replace_by(&second.issue("renewed", &["localhost", "127.0.0.1"]));
    let trusts = |authority: &Authority| {
        let output = curl(&server, &authority.file(), "/healthz");
        output.status.success()
    };
    until("the new certificate", || trusts(&second).then_some(()));
    assert!(!trusts(&first));
    server.logged(&["INFO", "the TLS certificate was read again"]);
    assert!(player.is_running(), "{}", player.said());
}

#[test]
fn health_is_asked_with_tls() {
    let (server, authority, _) = secured("");
    let ask = |ca: Option<&Path>| {
        let mut command = weir();
        command.args(["health", &url(&server, "")]);
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        command.output().expect("weir starts")
    };
    assert_eq!(ask(Some(&authority.file())).status.code(), Some(0));
    let refused = ask(None);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("not signed by a CA"), "{said}");
}

#[test]
fn a_certificate_that_cannot_be_shown_is_complained_of_by_its_own_setting() {
    let authority = Authority::new("a CA of tests");
    let good = authority.issue("good", &["localhost"]);
    let other = authority.issue("other", &["localhost"]);
    let dir = tempfile::tempdir().expect("a directory");
    let nowhere = dir.path().join("nowhere.pem");
    let cases = [
        (&nowhere, &good.key, "http.tls_cert: "),
        (&good.cert, &nowhere, "http.tls_key: "),
        (&good.cert, &other.key, "(http.tls_cert)"),
    ];
    for (cert, key, words) in cases {
        let (cert, key) = (cert.clone(), key.clone());
        let config = dir.path().join("weir.toml");
        std::fs::write(&config, Pair { cert, key }.settings_of("http")).expect("a file");
        let mut command = weir();
        command.args(["serve", "--config"]).arg(&config);
        let output = command
            .current_dir(dir.path())
            .output()
            .expect("weir starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{words:?} in {said}");
        assert!(!said.contains("rtmp"), "{said}");
    }
}

#[test]
fn a_first_start_tells_of_both_ways_to_watch() {
    let authority = Authority::new("a CA of tests");
    let pair = authority.issue("server", &["localhost"]);
    let server = Server::start(&pair.settings_of("http"), &[]);
    let port = server.https.rsplit(':').next().expect("a port");
    until("the welcome", || {
        server.output().contains("The key is shown").then_some(())
    });
    let said = server.output();
    assert!(
        said.contains(&format!("https://HOST:{port}/live")),
        "{said}"
    );
    assert!(said.contains("Watch it at http://127.0.0.1:"), "{said}");
    server.logged(&["weir is listening", &format!("https={}", server.https)]);
}
