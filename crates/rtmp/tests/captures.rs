//! Sessions of real encoders, played into a server session.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use support::Server;
use weir_rtmp::{Event, MediaKind, ServerConfig};

fn played(capture: &[u8], piece: usize) -> Server {
    let mut server = Server::new(ServerConfig {
        app: Some("stream".to_owned()),
        ..ServerConfig::default()
    });
    for piece in capture.chunks(piece) {
        server.push(piece).unwrap();
    }
    server
}

#[test]
fn ffmpeg_5_1_publishes_two_seconds_of_picture_and_sound() {
    let capture = include_bytes!("../../../testdata/ffmpeg-5.1_h264_aac_publish.bin");
    let server = played(capture, 1448);
    let request = server.request();
    assert_eq!(request.key, "demo");
    assert_eq!(request.kind, "live");
    assert_eq!(request.flash_ver, "FMLE/3.0 (compatible; Lavf59.27.100)");
    assert_eq!(request.query, [("youtube".to_owned(), "test".to_owned())]);

    let media = server.media();
    let of = |kind| media.iter().filter(move |media| media.kind == kind);
    // Two headers and an end of sequence beside 50 pictures and 95 frames of
    // sound.
    assert_eq!(of(MediaKind::Video).count(), 52);
    assert_eq!(of(MediaKind::Audio).count(), 96);
    let metadata = of(MediaKind::Data).next().unwrap();
    assert!(metadata.body.starts_with(b"\x02\0\x0aonMetaData\x08"));
    let pictures: Vec<_> = of(MediaKind::Video).collect();
    assert_eq!(pictures[0].body[..2], [0x17, 0]);
    assert_eq!(pictures[1].body[..2], [0x17, 1]);
    assert_eq!(pictures[51].body[..2], [0x17, 2]);
    for (index, picture) in pictures[1..51].iter().enumerate() {
        assert_eq!(picture.timestamp_ms as usize, index * 40);
    }
    assert_eq!(server.events.last(), Some(&Event::Unpublished));
}

/// Pictures and frames of sound of the two captures of GStreamer's pipeline,
/// sequence headers and ends included.
fn gstreamer(server: &Server) -> (usize, usize) {
    assert_eq!(server.request().key, "demo");
    assert_eq!(server.events.last(), Some(&Event::Unpublished));
    let media = server.media();
    let count = |kind| media.iter().filter(|media| media.kind == kind).count();
    let pictures = media.iter().filter(|media| media.kind == MediaKind::Video);
    let times: Vec<_> = pictures.map(|media| media.timestamp_ms).collect();
    assert!(times.is_sorted());
    // The last picture, and the end of the sequence behind all sound.
    assert_eq!(times[50..], [1960, 2066]);
    (count(MediaKind::Video), count(MediaKind::Audio))
}

#[test]
fn gstreamer_1_22_publishes_through_rtmp2sink() {
    let capture = include_bytes!("../../../testdata/gstreamer-1.22_rtmp2sink_publish.bin");
    let server = played(capture, 1448);
    assert_eq!(gstreamer(&server), (52, 91));
    assert_eq!(server.request().flash_ver, "LNX 10,0,32,18");
}

#[test]
fn librtmp_2_4_publishes_after_a_plain_handshake() {
    let capture = include_bytes!("../../../testdata/librtmp-2.4_publish.bin");
    let server = played(capture, 1448);
    assert_eq!(gstreamer(&server), (52, 91));
    assert_eq!(server.request().flash_ver, "");
    assert_eq!(server.request().query, [("a".to_owned(), "b".to_owned())]);
    // Its C1 comes back as S2.
    assert_eq!(server.written[1537..3073], capture[1..1537]);
}

#[test]
fn pieces_of_any_size_give_the_same_session() {
    let capture = include_bytes!("../../../testdata/ffmpeg-5.1_h264_aac_publish.bin");
    let whole = played(capture, 1448);
    for piece in [1, 2, 127, 129, 4096] {
        assert_eq!(played(capture, piece).events, whole.events, "{piece}");
    }
}
