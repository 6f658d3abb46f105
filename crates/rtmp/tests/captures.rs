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

#[test]
fn pieces_of_any_size_give_the_same_session() {
    let capture = include_bytes!("../../../testdata/ffmpeg-5.1_h264_aac_publish.bin");
    let whole = played(capture, 1448);
    for piece in [1, 2, 127, 129, 4096] {
        assert_eq!(played(capture, piece).events, whole.events, "{piece}");
    }
}
