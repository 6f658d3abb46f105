//! Every attack is made while another stream is live, whose segments must keep
//! coming without a continuity error.

use std::io::Write as _;

use rtmp::MediaKind;

use crate::harness::peer::{Publisher, Raw, header, number, text};
use crate::harness::server::Server;
use crate::harness::show::Show;
use crate::harness::sources::small;
use crate::harness::tools::{Running, publish_for_ever};
use crate::harness::{SMALL_LADDER, until};

/// A server with an innocent stream.
struct Bystander {
    server: Server,
    show: Show,
    publisher: Running,
}

impl Bystander {
    fn new() -> Self {
        let server = Server::configured(SMALL_LADDER);
        let publisher = publish_for_ever(&small(), &server.publish_url("bystander"));
        let show = Show::begin(&server, "bystander");
        Self {
            server,
            show,
            publisher,
        }
    }

    /// Two more segments, as if nothing had happened; the viewer checks each.
    #[track_caller]
    fn is_unharmed(&mut self) {
        let count = self.show.rungs[0].segments.len();
        self.show
            .until_segment(&self.server, "bystander", count + 2);
        for rung in &self.show.rungs {
            assert_eq!(rung.discontinuities(), 0, "{}", rung.name);
            rung.durations_are_true();
        }
        assert!(self.publisher.is_running(), "{}", self.publisher.said());
        for place in ["ladder", "rtmp", "http"] {
            assert_eq!(
                self.server
                    .metric(&format!("weir_panics_total{{where=\"{place}\"}}")),
                Some(0.0)
            );
        }
    }

    /// Log lines about connections that were not the bystander's.
    #[track_caller]
    fn logged_once(&self, words: &[&str]) {
        self.server.logged(words);
        let count = self
            .server
            .log()
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count();
        assert_eq!(count, 1, "one line with {words:?}");
    }
}

#[test]
fn noise_instead_of_chunks_ends_the_connection() {
    let mut bystander = Bystander::new();
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut after_handshake = Raw::greeted(&bystander.server);
    after_handshake.send(&noise);
    assert!(
        after_handshake.until_closed().is_some(),
        "noise after the handshake"
    );
    let mut after_connect = Raw::connected(&bystander.server);
    after_connect.send(&noise);
    assert!(
        after_connect.until_closed().is_some(),
        "noise after connect"
    );
    let mut instead = Raw::silent(&bystander.server);
    instead.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    instead.send(&noise);
    assert!(instead.until_closed().is_some(), "another protocol");
    bystander.server.logged(&["connection refused", "error="]);
    bystander.is_unharmed();
}

#[test]
fn a_half_handshake_is_closed_at_its_deadline() {
    let mut bystander = Bystander::new();
    let silent = Raw::silent(&bystander.server);
    let mut half = Raw::silent(&bystander.server);
    half.send(&[3]);
    half.send(&[0; 700]);
    let idle = Raw::greeted(&bystander.server);
    for (peer, what) in [
        (silent, "nothing"),
        (half, "half a handshake"),
        (idle, "a handshake and nothing more"),
    ] {
        assert!(
            peer.until_closed().is_some(),
            "{what} holds a connection for ever"
        );
    }
    bystander
        .server
        .logged(&["connection refused", "handshake"]);
    bystander.is_unharmed();
}

#[test]
fn nested_amf0_is_refused_by_its_depth() {
    let mut bystander = Bystander::new();
    let mut peer = Raw::greeted(&bystander.server);
    let mut nested = [text("connect"), number(1.0)].concat();
    // Strict arrays of one value each, 20,000 deep.
    for _ in 0..20_000 {
        nested.extend_from_slice(&[0x0a, 0, 0, 0, 1]);
    }
    nested.push(5);
    assert!(nested.len() > 100_000);
    peer.message(3, 20, &nested);
    assert!(peer.until_closed().is_some());
    bystander.logged_once(&["connection refused", "error="]);
    bystander.is_unharmed();
}

#[test]
fn chunk_size_0_is_refused() {
    let mut bystander = Bystander::new();
    let mut peer = Raw::connected(&bystander.server);
    peer.message(2, 1, &[0, 0, 0, 0]);
    assert!(peer.until_closed().is_some());
    bystander.logged_once(&["connection refused", "chunk size"]);
    bystander.is_unharmed();
}

#[test]
fn the_largest_chunk_size_is_legal_and_takes_no_memory() {
    let mut bystander = Bystander::new();
    let before = bystander.server.resident();
    let peers: Vec<_> = (0..50)
        .map(|_| {
            let mut peer = Raw::connected(&bystander.server);
            peer.message(2, 1, &[0x7f, 0xff, 0xff, 0xff]);
            // A command in one chunk is understood.
            let create = [text("createStream"), number(2.0), vec![5]].concat();
            let mut chunk = header(3, 20, create.len());
            chunk.extend_from_slice(&create);
            peer.send(&chunk);
            peer
        })
        .collect();
    bystander.is_unharmed();
    let grown = bystander.server.resident().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes for 50 peers");
    assert_eq!(
        bystander.server.metric("weir_rtmp_connections"),
        Some(51.0),
        "all are still welcome"
    );
    drop(peers);
}

#[test]
fn messages_begun_on_a_thousand_chunk_streams_end_at_a_limit() {
    let mut bystander = Bystander::new();
    let before = bystander.server.resident();
    let mut peer = Raw::connected(&bystander.server);
    for csid in 64..1064_u32 {
        // A chunk stream id of three bytes, and 16 MiB declared on it.
        let id = csid - 64;
        let mut begun = vec![1, id as u8, (id >> 8) as u8];
        begun.extend_from_slice(&header(0, 9, (16 << 20) - 1)[1..]);
        begun.extend_from_slice(&[0; 128]);
        peer.send(&begun);
    }
    assert!(peer.until_closed().is_some());
    bystander.logged_once(&["connection refused", "error="]);
    bystander.is_unharmed();
    let grown = bystander.server.resident().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes");
}

/// An AVC sequence header whose SPS announces `width` by `height`.
fn sequence_header(width: u32, height: u32) -> Vec<u8> {
    let mut bits = Bits::default();
    // Baseline, level 5.1, sps 0, 4-bit frame_num, POC type 2, one reference.
    bits.bytes(&[66, 0xc0, 51]);
    for value in [0, 0, 2, 1] {
        bits.ue(value);
    }
    bits.bit(0);
    bits.ue(width / 16 - 1);
    bits.ue(height / 16 - 1);
    // Frames only, direct_8x8, no cropping, no VUI, stop.
    for bit in [1, 1, 0, 0, 1] {
        bits.bit(bit);
    }
    let sps = [&[0x67][..], &bits.done()].concat();
    let pps = [0x68, 0xce, 0x3c, 0x80];
    let mut body = vec![0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    body.extend_from_slice(&(sps.len() as u16).to_be_bytes());
    body.extend_from_slice(&sps);
    body.push(1);
    body.extend_from_slice(&(pps.len() as u16).to_be_bytes());
    body.extend_from_slice(&pps);
    body
}

#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn bit(&mut self, bit: u32) {
        self.0.push(bit == 1);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            (0..8)
                .rev()
                .for_each(|at| self.bit(u32::from(byte >> at & 1)));
        }
    }

    fn ue(&mut self, value: u32) {
        let value = value + 1;
        let len = value.ilog2();
        (0..len).for_each(|_| self.bit(0));
        (0..=len).rev().for_each(|at| self.bit(value >> at & 1));
    }

    /// With emulation prevention.
    fn done(self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            bits.iter()
                .enumerate()
                .fold(0, |sum, (at, bit)| sum | u8::from(*bit) << (7 - at))
        };
        let mut out: Vec<u8> = Vec::new();
        for byte in self.0.chunks(8).map(byte) {
            if byte <= 3 && out.ends_with(&[0, 0]) {
                out.push(3);
            }
            out.push(byte);
        }
        out
    }
}

/// A video tag body with one NAL unit.
fn picture(key: bool, nal: &[u8]) -> Vec<u8> {
    let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    body.extend_from_slice(&(nal.len() as u32).to_be_bytes());
    body.extend_from_slice(nal);
    body
}

#[track_caller]
fn let_in(server: &Server, key: &str) -> Publisher {
    Publisher::start(server, key).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

#[test]
fn a_picture_of_16384_by_16384_is_refused_with_its_size() {
    let mut bystander = Bystander::new();
    let before = bystander.server.resident();
    let mut peer = let_in(&bystander.server, "giant");
    peer.send(MediaKind::Video, 0, sequence_header(16_384, 16_384));
    for index in 0..10 {
        peer.send(
            MediaKind::Video,
            index * 40,
            picture(true, &[0x65, 0x88, 0x84, 0, 0x33, 0xff]),
        );
    }
    let refusal = peer.refused();
    assert!(refusal.description.contains("16384"), "{refusal:?}");
    bystander.logged_once(&["giant", "WARN", "16384"]);
    bystander.is_unharmed();
    let grown = bystander.server.resident().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes");
    assert_eq!(bystander.server.get("/giant/live.m3u8").status, 404);
}

#[test]
fn truncated_access_units_are_counted_and_skipped() {
    let mut bystander = Bystander::new();
    let mut peer = let_in(&bystander.server, "torn");
    peer.send(MediaKind::Video, 0, sequence_header(320, 176));
    let whole = picture(true, &[0x65, 0x88, 0x84, 0, 0x33, 0xff, 1, 2, 3, 4]);
    for index in 0..200_u32 {
        // Cut anywhere: in the length, in the NAL unit, in the tag's own header.
        let len = 1 + index as usize % whole.len();
        peer.send(MediaKind::Video, index * 40, whole[..len].to_vec());
        peer.send(
            MediaKind::Audio,
            index * 40,
            vec![0xaf, (index % 2) as u8][..1 + index as usize % 2].to_vec(),
        );
    }
    peer.finish();
    bystander.server.logged(&["torn", "damaged media skipped"]);
    bystander.is_unharmed();
    let lines = bystander
        .server
        .log()
        .lines()
        .filter(|line| line.contains("torn"))
        .count();
    assert!(lines < 20, "{lines} lines about one bad sender");
}

#[test]
fn codecs_that_cannot_be_carried_are_named_to_the_sender_and_in_the_log() {
    let mut bystander = Bystander::new();
    let hevc_config = [&[0x1c, 0, 0, 0, 0][..], &[1; 40]].concat();
    let hvc1 = [&[0x90][..], b"hvc1", &[1; 40]].concat();
    let av01 = [&[0x90][..], b"av01", &[0x81, 0, 0, 0]].concat();
    let mp3 = [&[0x2f][..], &[0xff, 0xfb, 0x90, 0x64], &[0; 200]].concat();
    let speex = [&[0xb2][..], &[0; 40]].concat();
    let h263 = [&[0x12][..], &[0; 40]].concat();
    let cases = [
        ("legacy-hevc", MediaKind::Video, hevc_config, "HEVC"),
        ("e-rtmp-hevc", MediaKind::Video, hvc1, "HEVC"),
        ("e-rtmp-av1", MediaKind::Video, av01, "AV1"),
        ("mp3", MediaKind::Audio, mp3, "MP3"),
        ("speex", MediaKind::Audio, speex, "Speex"),
        ("h263", MediaKind::Video, h263, "H.263"),
    ];
    for (name, kind, body, codec) in cases {
        let mut peer = let_in(&bystander.server, name);
        peer.send(kind, 0, body);
        let refusal = peer.refused();
        assert!(refusal.description.contains(codec), "{name}: {refusal:?}");
        bystander.logged_once(&[name, "WARN", codec]);
    }
    bystander.is_unharmed();
}

#[test]
fn metadata_that_make_no_sense_are_survived() {
    let mut bystander = Bystander::new();
    let mut peer = let_in(&bystander.server, "odd-metadata");
    let name = text("onMetaData");
    let endless = [
        &name[..],
        &[8, 0xff, 0xff, 0xff, 0xff],
        &[0, 1, b'a', 2, 0xff, 0xff],
    ]
    .concat();
    let deep = [&name[..], &[0x0a, 0, 0, 0, 1].repeat(5000)].concat();
    let infinite = [
        &name[..],
        &[3, 0, 9],
        b"framerate",
        &number(f64::INFINITY),
        &[0, 9],
        b"audiodata",
        &number(f64::NAN),
        &[0, 0, 9],
    ]
    .concat();
    for body in [
        Vec::new(),
        vec![2],
        name.clone(),
        number(1.0),
        endless,
        deep,
        infinite,
    ] {
        peer.send(MediaKind::Data, 0, body);
    }
    // Good media after it are carried.
    peer.play(&small(), 0, |_| true);
    peer.finish();
    let show =
        Show::begin(&bystander.server, "odd-metadata").until_end(&bystander.server, "odd-metadata");
    assert_eq!(show.rung("180p").pictures(), 250);
    bystander.is_unharmed();
}

#[test]
fn connections_beyond_the_limit_are_turned_away_and_places_come_back() {
    let server = Server::configured(&format!("[limits]\nconnections = 3\n{SMALL_LADDER}"));
    let held: Vec<_> = (0..3).map(|_| Raw::connected(&server)).collect();
    until("three connections", || {
        (server.metric("weir_rtmp_connections") == Some(3.0)).then_some(())
    });
    let turned_away = Raw::silent(&server);
    assert_eq!(turned_away.until_closed(), Some(Vec::new()));
    server.logged(&["limits.connections"]);
    drop(held);
    until("the places to be free", || {
        (server.metric("weir_rtmp_connections") == Some(0.0)).then_some(())
    });
    let_in(&server, "demo").finish();
}

#[test]
fn requests_that_never_end_are_cut_off_and_hold_up_nobody() {
    let mut bystander = Bystander::new();
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let mut socket =
                std::net::TcpStream::connect(&bystander.server.http).expect("a connection");
            socket
                .write_all(b"GET /bystander/live.m3u8 HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                .expect("half a request");
            socket
        })
        .collect();
    bystander.is_unharmed();
    drop(slow);
}
