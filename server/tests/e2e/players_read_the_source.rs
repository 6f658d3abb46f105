//! RTMP play and HTTP-FLV: the publisher's own stream, by players of others.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use bytes::Bytes;
use flv::file::{Limits, Reader, Tag, TagKind};
use rtmp::MediaKind;

use crate::harness::peer::{Publisher, Raw, chunks};
use crate::harness::server::{Server, weir};
use crate::harness::sources::{bundled_clip, clip, test_picture};
use crate::harness::tools::{Running, ffmpeg, packets, run, tool};
use crate::harness::{http, until};

/// A server that does nothing but hand streams on.
fn relay_only() -> Server {
    Server::configured("[hls]\nenabled = false\n")
}

fn publish(server: &Server, file: &Path, flags: &[&str]) -> Running {
    let mut command = weir();
    command.arg("publish").arg(file);
    command.arg(server.publish_url("demo")).args(flags);
    let publisher = Running::start(&mut command);
    until("the stream is live", || {
        (server.metric("weir_streams_live") == Some(1.0)).then_some(())
    });
    publisher
}

fn rtmp_url(server: &Server) -> String {
    format!("rtmp://{}/stream/demo", server.rtmp)
}

fn flv_url(server: &Server) -> String {
    format!("http://{}/stream/demo.flv", server.http)
}

#[test]
fn what_players_record_is_what_was_published_bit_for_bit() {
    for merge in ["0s", "100ms", "2s"] {
        recorded_bit_for_bit(merge);
    }
}

fn recorded_bit_for_bit(merge: &str) {
    let config = format!("[hls]\nenabled = false\n[rtmp]\nmerge = \"{merge}\"\n");
    let server = Server::configured(&config);
    let source = packets(&bundled_clip());
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    let dir = tempfile::tempdir().expect("a directory");
    let (rtmp, flv) = (dir.path().join("rtmp.flv"), dir.path().join("http.flv"));
    let record = |from: String, to: &Path| {
        Running::start(ffmpeg().args(["-i", &from, "-c", "copy"]).arg(to))
    };
    let mut players = [
        record(format!("{}?token=x", rtmp_url(&server)), &rtmp),
        record(flv_url(&server), &flv),
    ];
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    for (player, file) in players.iter_mut().zip([&rtmp, &flv]) {
        assert_eq!(player.ended().code(), Some(0), "{}", player.said());
        is_the_end_of(&source, file);
    }
}

/// What was recorded from some point on to the end.
#[track_caller]
fn is_the_end_of(source: &BTreeMap<String, Vec<String>>, file: &Path) {
    let recorded = packets(file);
    assert_eq!(recorded.len(), source.len());
    for (stream, packets) in recorded {
        assert!(packets.len() > 20, "{stream}: {}", packets.len());
        assert!(
            source.values().any(|all| all.ends_with(&packets)),
            "stream {stream} of {} is not the end of the source",
            file.display()
        );
    }
}

#[test]
fn gstreamer_plays() {
    let server = relay_only();
    let publisher = publish(&server, &bundled_clip(), &["--loop"]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("gst.flv");
    let mut command = tool("gst-launch-1.0");
    command.args(["-q", "rtmp2src", "num-buffers=150"]);
    command.arg(format!("location={}", rtmp_url(&server)));
    command
        .args(["!", "filesink"])
        .arg(format!("location={}", file.display()));
    run(&mut command);
    drop(publisher);
    let tags = tags(&std::fs::read(file).expect("a recording"));
    assert!(tags.iter().filter(|tag| tag.kind == TagKind::Video).count() > 30);
}

#[test]
fn rtmpdump_records_to_the_end() {
    let server = relay_only();
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("dump.flv");
    let mut command = tool("rtmpdump");
    command.args(["--live", "-r", &rtmp_url(&server), "-o"]);
    let mut player = Running::start(command.arg(&file));
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    assert_eq!(player.ended().code(), Some(0), "{}", player.said());
    assert!(player.said().contains("Download complete"));
    is_the_end_of(&packets(&bundled_clip()), &file);
}

#[test]
fn mpv_plays_without_complaint() {
    let server = relay_only();
    let _publisher = publish(&server, &bundled_clip(), &["--loop"]);
    for url in [rtmp_url(&server), flv_url(&server)] {
        let mut command = tool("mpv");
        command.args(["--no-config", "--vo=null", "--ao=null", "--frames=75"]);
        command.args(["--msg-level=all=warn", "--network-timeout=30", &url]);
        let output = run(&mut command);
        let said = [output.stdout, output.stderr].concat();
        assert!(said.is_empty(), "{url}: {}", String::from_utf8_lossy(&said));
    }
}

/// The whole tags at the beginning of a recording.
fn tags(data: &[u8]) -> Vec<Tag> {
    let mut reader = Reader::new(Limits::default());
    reader.push(data);
    std::iter::from_fn(|| reader.next_tag().expect("FLV")).collect()
}

fn is_key(tag: &Tag) -> bool {
    tag.kind == TagKind::Video && tag.body.starts_with(&[0x17, 1])
}

#[test]
fn flv_begins_with_what_decoders_need_and_tells_no_track_that_is_not_there() {
    let silent = clip(
        "silent",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x180:r=25:d=3",
            "-c:v",
            "libx264",
            "-g",
            "25",
            "-pix_fmt",
            "yuv420p",
        ],
    );
    let both = test_picture("320x180", "25", 3);
    for (file, flags) in [(silent, 1), (both, 5)] {
        let server = relay_only();
        let _publisher = publish(&server, &file, &[]);
        let body = undone(&http_raw(&server, "/stream/demo.flv"));
        assert_eq!(
            body[..5],
            [b'F', b'L', b'V', 1, flags],
            "{}",
            file.display()
        );
        let tags = tags(&body);
        assert_eq!((tags[0].kind, tags[0].timestamp_ms), (TagKind::Script, 0));
        let first_picture = tags
            .iter()
            .position(|tag| tag.kind == TagKind::Video && tag.body[1] == 1);
        let first_picture = first_picture.expect("pictures");
        assert!(is_key(&tags[first_picture]));
        let header = &tags[first_picture - 1];
        assert_eq!(
            header.body[..2],
            [0x17, 0],
            "the sequence header is in front"
        );
        for kind in [TagKind::Video, TagKind::Audio] {
            let times = tags
                .iter()
                .filter(|tag| tag.kind == kind)
                .map(|tag| tag.timestamp_ms);
            assert!(times.is_sorted(), "{kind:?}");
        }
    }
}

/// What the server answers until it closes.
fn http_raw(server: &Server, path: &str) -> Vec<u8> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    http::raw(&server.http, request.as_bytes())
}

/// The body of an answer in chunks, as far as it has come.
fn undone(answer: &[u8]) -> Bytes {
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("an answer");
    let mut rest = &answer[end + 4..];
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&rest[..line]).expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length in hexadecimal");
        let Some(data) = rest.get(line + 2..line + 2 + length) else {
            break;
        };
        body.extend_from_slice(data);
        rest = rest.get(line + 2 + length + 2..).unwrap_or_default();
        if length == 0 {
            break;
        }
    }
    body.into()
}

#[test]
fn whoever_knows_no_chunks_gets_none() {
    let server = relay_only();
    let _publisher = publish(&server, &bundled_clip(), &[]);
    let request = b"GET /stream/demo.flv HTTP/1.0\r\n\r\n";
    let answer = http::parse(&http::raw(&server.http, request)).expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.header("content-type"), Some("video/x-flv"));
    let tags = tags(&answer.body);
    assert!(tags.iter().filter(|tag| tag.kind == TagKind::Video).count() > 20);
}

#[test]
fn a_connection_that_was_used_before_plays_to_the_end() {
    let server = relay_only();
    let _publisher = publish(&server, &bundled_clip(), &[]);
    // And what is asked for behind a stream is never heard.
    let requests = ["/health", "/stream/demo.flv", "/health"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let answers = http::raw(&server.http, requests.concat().as_bytes());
    let second = answers
        .windows(9)
        .rposition(|nine| nine == b"HTTP/1.1 ")
        .expect("answers");
    assert!(answers.starts_with(b"HTTP/1.1 200") && second > 0);
    let stream = &answers[second..];
    let answer = http::parse(stream).expect("an answer");
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(
        answer
            .header("date")
            .is_some_and(|date| date.ends_with(" GMT"))
    );
    assert!(stream.ends_with(b"\r\n0\r\n\r\n"), "the end is told");
    assert!(tags(&undone(stream)).len() > 50);
}

#[test]
fn what_is_not_live_is_answered_in_words() {
    let server = relay_only();
    for path in ["/stream/nobody.flv", "/other/demo.flv"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.text().ends_with(" is not streaming live now"),
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    let _publisher = publish(&server, &bundled_clip(), &["--loop"]);
    assert_eq!(server.get("/other/demo.flv").status, 404);
    let head = http::raw(
        &server.http,
        b"HEAD /stream/demo.flv HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    let head = String::from_utf8(head).expect("a head alone");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("video/x-flv"),
        "{head}"
    );
    assert!(
        head.contains("no-store") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    // And over RTMP: nothing of what was asked for is repeated, it may be a key.
    let mut player = play(&format!("rtmp://{}/stream/a-key-of-mine", server.rtmp), &[]);
    assert_eq!(player.ended().code(), Some(1));
    assert!(
        player.said().contains("no stream of this name is live now"),
        "{}",
        player.said()
    );
    assert!(!server.log().contains("a-key-of-mine"), "{}", server.log());
}

fn play(url: &str, flags: &[&str]) -> Running {
    Running::start(weir().args(["play", url]).args(flags))
}

#[test]
fn weir_plays_in_all_three_ways_and_finds_no_gap() {
    let server = Server::configured(crate::harness::SMALL_LADDER);
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    until("the playlist is there", || {
        (server.get("/demo/live.m3u8").status == 200).then_some(())
    });
    let mut players = [
        play(&rtmp_url(&server), &["--copies", "3"]),
        play(&flv_url(&server), &["--copies", "3"]),
        play(&format!("http://{}/demo/live.m3u8", server.http), &[]),
    ];
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
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
fn players_leave_places_for_publishers() {
    let server = Server::configured("[limits]\nconnections = 20\n[hls]\nenabled = false\n");
    let _publisher = publish(&server, &bundled_clip(), &["--loop"]);
    let url = rtmp_url(&server);
    let crowd = play(&url, &["--copies", "18"]);
    until("all of them play", || {
        (server.log().matches("play accepted").count() == 18).then_some(())
    });
    let mut late = play(&url, &[]);
    assert_eq!(late.ended().code(), Some(1));
    let said = late.said();
    assert!(said.contains("all the players it may have"), "{said}");
    let second = Publisher::start(&server, "second");
    assert!(second.is_ok(), "{:?}", second.err());
    drop(crowd);
}

/// Sends a loud clip as fast as it goes, again and again, until `done`.
fn flood(publisher: &mut Publisher, loud: &Path, mut done: impl FnMut() -> bool) {
    let mut at = 0;
    while !done() {
        at = publisher.play(loud, at, |tag| tag.kind != TagKind::Script) + 40;
    }
}

fn loud() -> std::path::PathBuf {
    clip(
        "loud",
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
    )
}

#[test]
fn a_player_that_stops_reading_goes_on_at_a_key_picture_and_nobody_else_notices() {
    let server = relay_only();
    let mut publisher = Publisher::start(&server, "demo").unwrap_or_else(|_| panic!("welcome"));
    publisher.play(&loud(), 0, |_| true);
    let mut stopped = TcpStream::connect(&server.http).expect("a connection");
    stopped
        .write_all(b"GET /stream/demo.flv HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("a request");
    let mut bystander = play(&rtmp_url(&server), &[]);
    let lagged = || {
        let page = server.get("/metrics").text();
        let line = page
            .lines()
            .find(|line| line.starts_with("weir_reader_lagged_total{kind=\"flv\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    // Reads a little when it is far behind, so that the server finds out.
    let mut answer = vec![0; 1 << 20];
    let mut length = 0;
    stopped.set_nonblocking(true).expect("a socket option");
    flood(&mut publisher, &loud(), || {
        answer.resize(length + (1 << 16), 0);
        if let Ok(count) = stopped.read(&mut answer[length..]) {
            length += count;
        }
        lagged() > 0
    });
    publisher.finish();
    stopped.set_nonblocking(false).expect("a socket option");
    answer.truncate(length);
    stopped.read_to_end(&mut answer).expect("the rest");
    let tags = tags(&undone(&answer));
    let pictures: Vec<_> = tags
        .iter()
        .filter(|tag| tag.kind == TagKind::Video && tag.body[1] == 1)
        .collect();
    let holes = pictures
        .windows(2)
        .filter(|pair| pair[1].timestamp_ms - pair[0].timestamp_ms > 80);
    let holes: Vec<_> = holes.collect();
    assert!(
        !holes.is_empty(),
        "of {} pictures none was left out",
        pictures.len()
    );
    assert!(holes.iter().all(|pair| is_key(pair[1])));
    assert_eq!(bystander.ended().code(), Some(0), "{}", bystander.said());
}

#[test]
fn fifty_players_that_stop_reading_hold_no_memory() {
    let server = relay_only();
    let mut publisher = Publisher::start(&server, "demo").unwrap_or_else(|_| panic!("welcome"));
    let size = std::fs::metadata(loud()).expect("a clip").len();
    let mut at = 0;
    let mut fill = |publisher: &mut Publisher, bytes: u64| {
        for _ in 0..bytes.div_ceil(size) {
            at = publisher.play(&loud(), at, |tag| tag.kind != TagKind::Script) + 40;
        }
    };
    // More than the ring may hold.
    fill(&mut publisher, 20 << 20);
    let copies = ["--copies", "25"];
    let crowds = [
        play(&rtmp_url(&server), &copies),
        play(&flv_url(&server), &copies),
    ];
    until("all of them play", || {
        let rtmp = server.log().matches("play accepted").count();
        let flv = server.metric("weir_http_requests_total{kind=\"flv\",status=\"200\"}");
        (rtmp == 25 && flv == Some(25.0)).then_some(())
    });
    let before = server.resident();
    crowds.iter().for_each(|crowd| crowd.signal("STOP"));
    fill(&mut publisher, 60 << 20);
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 20 << 20, "{grown} bytes");
}

#[test]
fn large_pictures_are_not_held_once_more_for_each_player_that_stops_reading() {
    let server = relay_only();
    let mut publisher = Publisher::start(&server, "demo").unwrap_or_else(|_| panic!("welcome"));
    let mut at = publisher.play(&loud(), 0, |tag| tag.kind != TagKind::Script);
    let mut show = |publisher: &mut Publisher, pictures: u32| {
        for _ in 0..pictures {
            at += 40;
            publisher.send(MediaKind::Video, at, large_picture());
        }
    };
    // More than the ring may hold.
    show(&mut publisher, 40);
    let before = server.resident();
    let stopped: Vec<_> = (0..100).map(|_| stopped_player(&server)).collect();
    show(&mut publisher, 40);
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 50 << 20, "{grown} bytes");
    drop(stopped);
}

/// A key picture of a megabyte.
fn large_picture() -> Vec<u8> {
    let mut body = vec![0x17, 1, 0, 0, 0];
    body.extend_from_slice(&(1_u32 << 20).to_be_bytes());
    body.push(0x65);
    body.resize(9 + (1 << 20), 0x80);
    body
}

/// A player over HTTP that has read where its answer begins, and reads nothing else.
fn stopped_player(server: &Server) -> socket2::Socket {
    let mut socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    let address: std::net::SocketAddr = server.http.parse().expect("an address");
    socket.connect(&address.into()).expect("a connection");
    socket
        .write_all(b"GET /stream/demo.flv HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("a request");
    let mut begin = [0; 12];
    socket.read_exact(&mut begin).expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 200");
    socket
}

#[test]
fn a_player_that_breaks_the_rules_costs_itself_alone() {
    let server = relay_only();
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    let mut bystander = play(&rtmp_url(&server), &[]);
    let mut rogue = Raw::connected(&server);
    let ask = [
        crate::harness::peer::text("play"),
        crate::harness::peer::number(3.0),
        vec![5],
        crate::harness::peer::text("demo"),
    ]
    .concat();
    rogue.message(8, 20, &ask);
    // Twice in one segment: the second ends it, and nobody waits for it.
    let mut twice = Raw::connected(&server);
    let both = [chunks(8, 20, &ask), chunks(8, 20, &ask)].concat();
    twice.send(&both);
    assert!(twice.until_closed().is_some());
    // A message of a size that only publishers may send.
    rogue.send(&crate::harness::peer::header(6, 9, 1 << 20));
    rogue.send(&vec![0; 1 << 19]);
    rogue.until_closed();
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    assert_eq!(bystander.ended().code(), Some(0), "{}", bystander.said());
    assert!(bystander.said().contains(" 0 gaps"), "{}", bystander.said());
}
