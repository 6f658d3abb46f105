//! `rtmp.tls_listen`: publishers and players of others over TLS, and peers that
//! mean no good.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::certificates::{Authority, Pair};
use crate::harness::peer::{Publisher, Raw};
use crate::harness::server::{Server, weir};
use crate::harness::sources::{bundled_clip, clip};
use crate::harness::tools::{Running, ffmpeg, packets, run, tool};
use crate::harness::{PATIENCE, until};

const NO_LADDER: &str = "[hls]\nenabled = false\n";

/// A server whose certificate is for localhost, and the CA that signed it.
fn secured(more: &str) -> (Server, Authority, Pair) {
    let authority = Authority::new("a CA of tests");
    let pair = authority.issue("server", &["localhost", "127.0.0.1"]);
    let server = Server::configured(&format!("{}{NO_LADDER}{more}", pair.settings()));
    (server, authority, pair)
}

fn url(server: &Server, name: &str) -> String {
    format!("rtmps://{}/stream/{name}", server.rtmps)
}

fn weir_publishes(server: &Server, name: &str, ca: &Path) -> Running {
    let mut command = weir();
    command.arg("publish").arg(bundled_clip());
    Running::start(command.arg(url(server, name)).arg("--ca").arg(ca))
}

fn weir_plays(server: &Server, name: &str, ca: &Path) -> Running {
    Running::start(weir().args(["play", &url(server, name), "--ca"]).arg(ca))
}

fn live(server: &Server, count: f64) {
    until("the streams are live", || {
        (server.metric("weir_streams_live") == Some(count)).then_some(())
    });
}

fn connections(server: &Server, count: f64) {
    until("the connections are counted", || {
        (server.metric("weir_rtmp_connections") == Some(count)).then_some(())
    });
}

/// A connection to the TLS port that has said `hello`.
fn half_open(server: &Server, hello: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(&server.rtmps).expect("a connection");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    let _ = socket.write_all(hello);
    socket
}

/// What OpenSSL makes of the server, with nothing said after the handshake.
fn openssl(server: &Server, ca: &Path, flags: &[&str]) -> Output {
    let mut command = tool("openssl");
    command.args([
        "s_client",
        "-connect",
        &server.rtmps,
        "-verify_return_error",
    ]);
    command.args(["-verify_hostname", "localhost", "-CAfile"]);
    command.arg(ca).args(flags);
    command.output().expect("it starts")
}

#[test]
fn garbage_and_plain_rtmp_are_turned_away_and_hurt_nobody() {
    let (server, authority, _) = secured("");
    let mut publisher = weir_publishes(&server, "demo", &authority.file());
    live(&server, 1.0);
    let plain = [&[3_u8][..], &[7; 1536]].concat();
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    // A record of the greatest length that is none, and half a ClientHello.
    let record = [&[22, 3, 1, 0xff, 0xff][..], &[0; 1 << 16]].concat();
    let nonsense: Vec<u8> = (0..100_000_u32)
        .map(|i| (i.wrapping_mul(i) >> 3) as u8)
        .collect();
    for bytes in [plain, http, record, nonsense] {
        let mut socket = half_open(&server, &bytes);
        let mut said = Vec::new();
        // Reset or closed, but not left open.
        if let Err(error) = socket.read_to_end(&mut said) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
        }
        assert!(said.len() <= 7, "an alert and nothing more: {said:?}");
    }
    server.logged(&["no TLS handshake", "the peer does not speak TLS"]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    assert!(server.log().contains("publish accepted"));
    connections(&server, 0.0);
}

#[test]
fn half_open_handshakes_hold_up_nobody_and_end() {
    let (server, authority, _) = secured("");
    // Nothing, half a record's header, a record that never ends.
    let hellos: [&[u8]; 3] = [&[], &[22, 3], &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]];
    let held: Vec<_> = (0..60)
        .map(|index| half_open(&server, hellos[index % 3]))
        .collect();
    connections(&server, 60.0);
    let mut publisher = weir_publishes(&server, "demo", &authority.file());
    live(&server, 1.0);
    let mut player = weir_plays(&server, "demo", &authority.file());
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    assert_eq!(player.ended().code(), Some(0), "{}", player.said());
    for mut socket in held {
        assert!(socket.read_to_end(&mut Vec::new()).is_ok(), "still open");
    }
    connections(&server, 0.0);
}

#[test]
fn both_ports_share_the_places_of_limits_connections() {
    let (server, authority, _) = secured("[limits]\nconnections = 6\n");
    let plain: Vec<_> = (0..3).map(|_| Raw::connected(&server)).collect();
    let tls: Vec<_> = (0..3).map(|_| half_open(&server, &[])).collect();
    connections(&server, 6.0);
    for _ in 0..50 {
        let mut socket = half_open(&server, &[]);
        assert_eq!(socket.read_to_end(&mut Vec::new()).ok(), Some(0));
        assert_eq!(Raw::silent(&server).until_closed(), Some(Vec::new()));
    }
    assert_eq!(server.metric("weir_rtmp_connections"), Some(6.0));
    server.logged(&["limits.connections"]);
    drop((plain, tls));
    connections(&server, 0.0);
    let mut publisher = weir_publishes(&server, "demo", &authority.file());
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
}

#[test]
fn a_player_that_stops_reading_is_let_go() {
    let (server, authority, _) = secured("");
    let mut publisher = Publisher::start(&server, "demo").unwrap_or_else(|_| panic!("welcome"));
    let loud = clip(
        "loud-for-tls",
        &[
            "-f",
            "lavfi",
            "-i",
            "color=gray:s=320x180:r=25:d=2,noise=alls=100:allf=t",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-qp",
            "2",
            "-g",
            "10",
            "-pix_fmt",
            "yuv420p",
        ],
    );
    let mut at = publisher.play(&loud, 0, |_| true) + 40;
    let stopped = weir_plays(&server, "demo", &authority.file());
    connections(&server, 2.0);
    until("it plays", || {
        server.log().contains("play accepted").then_some(())
    });
    stopped.signal("STOP");
    until("its place to be free", || {
        at = publisher.play(&loud, at, |_| true) + 40;
        (server.metric("weir_rtmp_connections") == Some(1.0)).then_some(())
    });
    publisher.finish();
    connections(&server, 0.0);
}

#[test]
fn openssl_finds_nothing_to_complain_of() {
    let (server, authority, _) = secured("");
    for version in ["-tls1_2", "-tls1_3"] {
        let output = openssl(&server, &authority.file(), &[version]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{version}: {said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    // It would speak TLS 1.1 itself if it were let.
    let old = ["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"];
    let old = openssl(&server, &authority.file(), &old);
    let said = String::from_utf8_lossy(&old.stderr);
    assert!(said.contains("SSL alert"), "{said}");
    server.logged(&["speaks no TLS that is spoken here"]);
    // Looks at the port are no trouble worth a warning.
    drop(half_open(&server, &[]));
    connections(&server, 0.0);
    assert!(!server.log().contains("peer closed"), "{}", server.log());
}

#[test]
fn keys_are_taken_in_every_form_that_openssl_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let openssl_runs = |arguments: &[&str]| {
        run(tool("openssl").args(arguments));
    };
    let (rsa, rsa_old) = (path("rsa.pem"), path("rsa-old.pem"));
    let (ec, ec_old) = (path("ec.pem"), path("ec-old.pem"));
    let ed = path("ed25519.pem");
    openssl_runs(&["genpkey", "-algorithm", "RSA", "-out", &rsa]);
    openssl_runs(&["rsa", "-in", &rsa, "-traditional", "-out", &rsa_old]);
    openssl_runs(&["ecparam", "-name", "secp384r1", "-genkey", "-out", &ec_old]);
    openssl_runs(&["pkey", "-in", &ec_old, "-out", &ec]);
    openssl_runs(&["genpkey", "-algorithm", "ED25519", "-out", &ed]);
    for key in [rsa, rsa_old, ec_old, ec, ed] {
        let cert = path("cert.pem");
        openssl_runs(&[
            "req",
            "-x509",
            "-key",
            &key,
            "-days",
            "2",
            "-subj",
            "/CN=weir",
            "-addext",
            "subjectAltName = DNS:localhost",
            "-addext",
            "basicConstraints = critical,CA:FALSE",
            "-out",
            &cert,
        ]);
        let pair = Pair {
            cert: cert.clone().into(),
            key: key.clone().into(),
        };
        let server = Server::configured(&format!("{}{NO_LADDER}", pair.settings()));
        let output = openssl(&server, Path::new(&cert), &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("Verify return code: 0 (ok)"), "{key}: {said}");
        assert!(output.status.success(), "{key}");
    }
}

#[test]
fn ffmpeg_publishes_and_records_bit_for_bit() {
    let (server, authority, _) = secured("");
    let ca = authority.file();
    let checked = |command: &mut Command| {
        command.args(["-tls_verify", "1", "-ca_file"]).arg(&ca);
    };
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("played.flv");
    let mut publish = ffmpeg();
    publish.arg("-re").arg("-i").arg(bundled_clip());
    publish.args(["-c", "copy", "-f", "flv"]);
    checked(&mut publish);
    let mut publisher = Running::start(publish.arg(url(&server, "demo")));
    live(&server, 1.0);
    let mut play = ffmpeg();
    checked(&mut play);
    play.args(["-i", &url(&server, "demo"), "-c", "copy"]);
    let mut player = Running::start(play.arg(&file));
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    assert_eq!(player.ended().code(), Some(0), "{}", player.said());
    let source = packets(&bundled_clip());
    for (stream, packets) in packets(&file) {
        assert!(packets.len() > 20, "{stream}: {}", packets.len());
        assert!(
            source.values().any(|all| all.ends_with(&packets)),
            "stream {stream} is not the end of the source"
        );
    }
}

/// Whether a newcomer who trusts `authority` alone is content.
fn trusts(server: &Server, authority: &Authority) -> bool {
    openssl(server, &authority.file(), &[]).status.success()
}

#[test]
fn a_renewed_certificate_is_shown_to_newcomers_and_who_is_there_stays() {
    let (server, first, pair) = secured("");
    let ca = first.file();
    let mut command = weir();
    command.args(["publish", "--loop"]).arg(bundled_clip());
    let mut publisher = Running::start(command.arg(url(&server, "demo")).arg("--ca").arg(&ca));
    live(&server, 1.0);
    let mut player = weir_plays(&server, "demo", &ca);
    until("it plays", || {
        server.log().contains("play accepted").then_some(())
    });
    assert!(trusts(&server, &first));

    let second = Authority::new("the CA after it");
    let renewed = second.issue("renewed", &["localhost", "127.0.0.1"]);
    pair.replace_by(&renewed);
    until("the new certificate", || {
        trusts(&server, &second).then_some(())
    });
    assert!(!trusts(&server, &first));
    server.logged(&["INFO", "the TLS certificate was read again"]);

    // A key of another pair: told once, and what was good stays.
    std::fs::copy(second.issue("stray", &["localhost"]).key, &pair.key).expect("a file");
    server.logged(&[
        "WARN",
        "of no use",
        "is not the key of the first certificate",
    ]);
    std::fs::remove_file(&pair.key).expect("a file");
    server.logged(&["WARN", "of no use", "cannot be read"]);
    assert!(trusts(&server, &second));
    pair.replace_by(&first.issue("again", &["localhost"]));
    until("the first CA's again", || {
        trusts(&server, &first).then_some(())
    });
    assert_eq!(
        server.log().matches("of no use").count(),
        2,
        "{}",
        server.log()
    );

    assert!(publisher.is_running() && player.is_running());
    publisher.signal("INT");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    assert_eq!(player.ended().code(), Some(0), "{}", player.said());
    assert!(player.said().contains(" 0 gaps"), "{}", player.said());
}

#[test]
fn a_certificate_that_cannot_be_shown_stops_the_start_with_one_line() {
    let authority = Authority::new("a CA of tests");
    let [good, other] = ["good", "other"].map(|name| authority.issue(name, &["localhost"]));
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let key = std::fs::read_to_string(&good.key).expect("a key");
    let secret = key.lines().nth(1).expect("base64").to_owned();
    let damaged = file("damaged.pem", &key.replacen(&secret[..8], "AAAAAAAA", 1));
    let cases = [
        (
            dir.path().join("nowhere.pem"),
            good.key.clone(),
            "tls_cert",
            "nowhere.pem cannot be read",
        ),
        (
            dir.path().to_owned(),
            good.key.clone(),
            "tls_cert",
            "cannot be read",
        ),
        (
            good.cert.clone(),
            dir.path().join("nowhere.pem"),
            "tls_key",
            "nowhere.pem cannot be read",
        ),
        (
            file("words.pem", "mine"),
            good.key.clone(),
            "tls_cert",
            "words.pem: no certificate",
        ),
        (
            good.key.clone(),
            good.key.clone(),
            "tls_cert",
            "no certificate",
        ),
        (
            good.cert.clone(),
            good.cert.clone(),
            "tls_key",
            "no private key",
        ),
        (
            good.cert.clone(),
            file("locked.pem", encrypted),
            "tls_key",
            "the key is encrypted",
        ),
        (
            good.cert.clone(),
            damaged,
            "tls_key",
            "damaged.pem: a damaged key",
        ),
        (
            good.cert.clone(),
            other.key.clone(),
            "tls_key",
            "is not the key of the first certificate",
        ),
    ];
    for (cert, key, setting, words) in cases {
        let config = file("weir.toml", &Pair { cert, key }.settings())
            .display()
            .to_string();
        for command in [
            &["serve", "--config", &config][..],
            &["config", "check", &config],
        ] {
            let mut weir = weir();
            weir.current_dir(dir.path())
                .args(command)
                .stdout(Stdio::null());
            let output = weir.output().expect("weir starts");
            let said = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            for word in [words, &format!("rtmp.{setting}")] {
                assert!(said.contains(word), "{word:?} in {said}");
            }
            assert!(
                !said.contains(&secret[8..]),
                "the key is on the screen: {said}"
            );
        }
    }
}

#[test]
fn a_first_start_tells_of_both_ways_in() {
    let authority = Authority::new("a CA of tests");
    let pair = authority.issue("server", &["localhost"]);
    let server = Server::start(&pair.settings(), &[]);
    let port = server.rtmps.rsplit(':').next().expect("a port");
    until("the welcome", || {
        server.output().contains("Watch it at").then_some(())
    });
    let said = server.output();
    assert!(
        said.contains(&format!("rtmps://HOST:{port}/stream")),
        "{said}"
    );
    assert!(said.contains("rtmp://127.0.0.1:"), "{said}");
    server.logged(&["weir is listening", &format!("rtmps={}", server.rtmps)]);
}
