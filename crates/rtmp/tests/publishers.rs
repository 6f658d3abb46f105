//! What real encoders send, in their order and with their habits.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use amf0::Value;
use rml_rtmp::messages::RtmpMessage;
use support::{
    AUDIO, COMMAND, DATA, HANDSHAKE, Server, VIDEO, chunked, command, connect, hello, message,
    object, publish,
};
use weir_rtmp::{Connects, Event, MediaKind, ServerConfig};

fn stream_app() -> ServerConfig {
    ServerConfig {
        app: Some("stream".to_owned()),
        ..ServerConfig::default()
    }
}

#[test]
fn the_wrong_app_is_refused_before_anything_is_published() {
    for app in ["live", "stream/x", "", "Stream"] {
        let mut server = Server::greeted(stream_app());
        server.push(&connect(app)).unwrap();
        assert_eq!(server.events, [Event::Closed], "{app:?}");
        assert_eq!(server.codes(), ["NetConnection.Connect.InvalidApp"]);
    }
    for app in ["stream", "stream/", "stream?token=a", "/stream"] {
        let mut server = Server::greeted(stream_app());
        server.push(&connect(app)).unwrap();
        assert_eq!(server.codes(), ["NetConnection.Connect.Success"], "{app:?}");
    }
}

fn judged() -> Server {
    let mut server = Server::greeted(ServerConfig {
        connects: Connects::Judged,
        ..stream_app()
    });
    server.push(&connect("stream?token=hush")).unwrap();
    assert!(matches!(server.events[..], [Event::Connecting(_)]));
    assert_eq!(server.codes(), [""; 0], "welcomed before the verdict");
    server
}

#[test]
fn who_is_judged_first_is_welcomed_after_the_verdict() {
    let mut server = judged();
    // Encoders that do not wait are heard when their time has come.
    let publish = publish("key");
    let (first, rest) = publish.split_at(publish.len() / 2);
    server.push(first).unwrap();
    server.push(rest).unwrap();
    server.wait(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(server.events.len(), 1);
    server.session.accept_connect(server.now).unwrap();
    server.drain();
    assert_eq!(server.request().key, "key");
    assert_eq!(
        server.codes(),
        ["NetConnection.Connect.Success", "NetStream.Publish.Start"]
    );
    // Once is enough.
    server.session.accept_connect(server.now).unwrap();
    server.session.reject_connect("too late");
    assert_eq!(server.session.poll_output(), None);
}

#[test]
fn who_is_judged_and_refused_is_told_why() {
    let mut server = judged();
    server.session.reject_connect("not from this network");
    server.drain();
    assert_eq!(server.codes(), ["NetConnection.Connect.Rejected"]);
    assert_eq!(server.events.last(), Some(&Event::Closed));
    assert!(server.push(&publish("key")).is_err());
    server.session.accept_connect(server.now).unwrap();
    assert_eq!(server.session.poll_output(), None);
}

#[test]
fn who_is_judged_cannot_fill_the_memory_meanwhile() {
    let mut server = judged();
    let error = (0..100).find_map(|_| server.push(&[0; 4096]).err());
    let error = error.unwrap().to_string();
    assert!(
        error.contains("before the connection is accepted"),
        "{error}"
    );
    // What was held is judged like anything else once it is read.
    let mut server = judged();
    server.push(&connect("stream")).unwrap();
    assert!(server.session.accept_connect(server.now).is_err());
}

#[test]
fn a_bad_key_is_refused_and_never_welcomed() {
    let mut server = Server::greeted(stream_app());
    server.accept = false;
    server.push(&connect("stream")).unwrap();
    server.push(&publish("wrong")).unwrap();
    assert_eq!(server.codes(), ["NetConnection.Connect.Success"]);
    server
        .session
        .reject_publish("NetStream.Publish.BadName", "unknown stream key");
    server.drain();
    assert_eq!(
        server.codes(),
        ["NetConnection.Connect.Success", "NetStream.Publish.BadName"]
    );
    assert_eq!(server.events.last(), Some(&Event::Closed));
    // Too late, and harmless.
    server.session.accept_publish();
    assert_eq!(server.session.poll_output(), None);
}

#[test]
fn a_fault_found_later_is_told_to_the_publisher() {
    let mut server = Server::publishing();
    // Media that is already in the queue does not follow the fault.
    let video = message(6, VIDEO, 1, 0, &[0x17]);
    server.session.handle_input(server.now, &video).unwrap();
    server.session.fail(
        "NetStream.Publish.Failed",
        "HEVC is not supported, send H.264",
    );
    server.drain();
    assert_eq!(
        server.codes().last().map(String::as_str),
        Some("NetStream.Publish.Failed")
    );
    assert_eq!(server.events, [Event::Closed]);
}

#[test]
fn obs_publishes_with_everything_on_one_chunk_stream() {
    let mut server = Server::new(stream_app());
    let hello = hello();
    server.push(&hello[..1537]).unwrap();
    // A plain hello is echoed to the bit.
    assert_eq!(server.written.len(), HANDSHAKE);
    assert_eq!(server.written[1537..], hello[1..1537]);
    // C2, Set Chunk Size and connect in one segment.
    let fields = object(&[
        ("app", "stream".into()),
        ("type", "nonprivate".into()),
        ("flashVer", "FMLE/3.0 (compatible; FMSc/1.0)".into()),
        ("swfUrl", "rtmp://host/stream".into()),
        ("tcUrl", "rtmp://host/stream".into()),
    ]);
    let mut input = hello[1537..].to_vec();
    input.extend(message(2, 1, 0, 0, &[0, 0, 0x10, 0]));
    let body = command("connect", 1.0, &[fields]);
    input.extend(chunked(4096, 3, COMMAND, 0, 0, &body));
    server.push(&input).unwrap();
    for (name, id) in [("releaseStream", 2.0), ("FCPublish", 3.0)] {
        let body = command(name, id, &[Value::Null, "hush".into()]);
        server
            .push(&chunked(4096, 3, COMMAND, 0, 0, &body))
            .unwrap();
    }
    let body = command("createStream", 4.0, &[Value::Null]);
    server
        .push(&chunked(4096, 3, COMMAND, 0, 0, &body))
        .unwrap();
    let values = [Value::Null, "hush".into(), "live".into()];
    let body = command("publish", 5.0, &values);
    server
        .push(&chunked(4096, 4, COMMAND, 1, 0, &body))
        .unwrap();
    assert_eq!(server.request().key, "hush");

    // Metadata, sound and pictures share chunk stream 4.
    let metadata = b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08\0\0\0\x14\0\0\x09";
    let mut input = chunked(4096, 4, DATA, 1, 0, metadata);
    input.extend(chunked(4096, 4, AUDIO, 1, 0, &[0xaf, 0, 0x11, 0x90]));
    input.extend(chunked(4096, 4, VIDEO, 1, 0, &[0x17, 0, 0, 0, 0, 1]));
    // fmt 1, 21 ms later, sound.
    input.extend([0x44, 0, 0, 21, 0, 0, 3, AUDIO, 0xaf, 1, 0x01]);
    // fmt 3 begins a message: the same size, type and distance.
    input.extend([0xc4, 0xaf, 1, 0x02]);
    // A picture of 5000 bytes that belongs 2 ms before: an extended delta, which
    // this version repeats on the continuation.
    let picture = [0x27; 5000];
    input.extend([0x44, 0xff, 0xff, 0xff, 0, 0x13, 0x88, VIDEO]);
    input.extend([0xff, 0xff, 0xff, 0xfe]);
    input.extend(&picture[..4096]);
    input.push(0xc4);
    input.extend([0xff, 0xff, 0xff, 0xfe]);
    input.extend(&picture[4096..]);
    // fmt 2 and the old version, which does not repeat it.
    input.extend([0x84, 0xff, 0xff, 0xff]);
    input.extend([0xff, 0xff, 0xff, 0xff]);
    input.extend(&picture[..4096]);
    input.push(0xc4);
    input.extend(&picture[4096..]);
    server.push(&input).unwrap();
    let seen: Vec<_> = server
        .media()
        .iter()
        .map(|media| (media.kind, media.timestamp_ms, media.body.len()))
        .collect();
    assert_eq!(
        seen,
        [
            (MediaKind::Data, 0, 21),
            (MediaKind::Audio, 0, 4),
            (MediaKind::Video, 0, 6),
            (MediaKind::Audio, 21, 3),
            (MediaKind::Audio, 42, 3),
            (MediaKind::Video, 40, 5000),
            (MediaKind::Video, 39, 5000),
        ]
    );

    for (name, id, value) in [
        ("FCUnpublish", 6.0, Value::from("hush")),
        ("deleteStream", 7.0, 1.0.into()),
    ] {
        let body = command(name, id, &[Value::Null, value]);
        server
            .push(&chunked(4096, 3, COMMAND, 0, 0, &body))
            .unwrap();
    }
    let ends = server.events.iter().filter(|e| **e == Event::Unpublished);
    assert_eq!(ends.count(), 1);
    assert_eq!(server.events.last(), Some(&Event::Unpublished));
}

#[test]
fn the_answer_to_connect_comes_after_the_sizes_are_told() {
    let mut server = Server::greeted(stream_app());
    server.push(&connect("stream")).unwrap();
    let said = server.said();
    assert!(matches!(
        said[..],
        [
            RtmpMessage::WindowAcknowledgement { size: 2_500_000 },
            RtmpMessage::SetPeerBandwidth {
                size: 2_500_000,
                ..
            },
            RtmpMessage::UserControl { .. },
            RtmpMessage::SetChunkSize { size: 65_536 },
            RtmpMessage::Amf0Command { .. },
        ]
    ));
}

#[test]
fn questions_are_answered_and_remarks_are_not() {
    let mut server = Server::greeted(stream_app());
    server.push(&connect("stream")).unwrap();
    let before = server.said().len();
    for (name, id) in [
        ("releaseStream", 2.0),
        ("FCPublish", 3.0),
        ("_checkbw", 4.0),
        ("getStreamLength", 5.0),
        ("setPeerInfo", 6.0),
        ("createStream", 7.0),
        ("somethingNew", 0.0),
        ("releaseStream", 0.0),
    ] {
        let body = command(name, id, &[Value::Null]);
        server.push(&message(3, COMMAND, 0, 0, &body)).unwrap();
    }
    let said = server.said();
    let answers: Vec<_> = said[before..]
        .iter()
        .map(|message| match message {
            RtmpMessage::Amf0Command {
                command_name,
                transaction_id,
                additional_arguments,
                ..
            } => {
                let number = additional_arguments[0].clone().get_number();
                (command_name.as_str(), *transaction_id, number)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        answers,
        [
            ("_result", 2.0, None),
            ("_result", 3.0, None),
            ("_result", 4.0, None),
            ("_result", 5.0, Some(0.0)),
            ("_result", 6.0, None),
            ("_result", 7.0, Some(1.0)),
        ]
    );
}

#[test]
fn flash_commands_are_amf0_behind_a_zero_byte() {
    let mut server = Server::greeted(stream_app());
    let fields = object(&[("app", "stream".into())]);
    let amf3 = |name, id, values: &[Value]| [vec![0], command(name, id, values)].concat();
    server
        .push(&message(3, 17, 0, 0, &amf3("connect", 1.0, &[fields])))
        .unwrap();
    let values = [Value::Null, "key".into(), "live".into()];
    server
        .push(&message(8, 17, 1, 0, &amf3("publish", 5.0, &values)))
        .unwrap();
    assert_eq!(server.request().key, "key");
    let metadata = b"\0\x02\0\x0aonMetaData\x05";
    server.push(&message(4, 15, 1, 0, metadata)).unwrap();
    assert_eq!(server.media()[0].body[..], metadata[1..]);
}

#[test]
fn aggregates_come_apart() {
    let mut server = Server::publishing();
    let body = b"\x08\0\0\x02\0\0\x0a\0\0\0\0\xaf\x01\0\0\0\x0d\
        \x09\0\0\x01\0\0\x1e\0\0\0\0\x17\0\0\0\x0c";
    server.push(&message(6, 22, 1, 500, body)).unwrap();
    let seen: Vec<_> = server
        .media()
        .iter()
        .map(|media| (media.kind, media.timestamp_ms))
        .collect();
    assert_eq!(seen, [(MediaKind::Audio, 500), (MediaKind::Video, 520)]);
}

#[test]
fn unknown_messages_and_user_controls_are_ignored() {
    let mut server = Server::publishing();
    let before = server.written.len();
    for kind in [0, 3, 7, 10, 16, 19, 21, 99, 255] {
        server.push(&message(5, kind, 1, 0, &[1, 2, 3])).unwrap();
    }
    for event in [3_u8, 7, 26, 31, 32, 200] {
        server
            .push(&message(3, 4, 0, 0, &[0, event, 0, 0, 0, 1]))
            .unwrap();
    }
    server.push(&message(2, 4, 0, 0, &[0])).unwrap();
    assert!(server.events.is_empty());
    assert_eq!(server.written.len(), before);
}

#[test]
fn a_ping_is_answered_with_its_own_time() {
    let mut server = Server::publishing();
    server
        .push(&message(2, 4, 0, 0, &[0, 6, 1, 2, 3, 4]))
        .unwrap();
    let said = server.said();
    let Some(RtmpMessage::UserControl {
        event_type,
        timestamp: Some(time),
        ..
    }) = said.last()
    else {
        panic!("{said:?}");
    };
    assert_eq!(
        *event_type,
        rml_rtmp::messages::UserControlEventType::PingResponse
    );
    assert_eq!(time.value, 0x0102_0304);
}

#[test]
fn acknowledgements_count_everything_since_the_handshake() {
    let mut server = Server::publishing();
    let mut sent = connect("live").len() + publish("key").len();
    let window = message(2, 5, 0, 0, &10_000_u32.to_be_bytes());
    sent += window.len();
    server.push(&window).unwrap();
    let mut totals = Vec::new();
    let video = message(6, VIDEO, 1, 0, &[0x27; 3000]);
    for _ in 0..8 {
        server.push(&video).unwrap();
        sent += video.len();
        if let Some(RtmpMessage::Acknowledgement { sequence_number }) = server.said().last()
            && totals.last() != Some(sequence_number)
        {
            assert_eq!(*sequence_number as usize, sent);
            totals.push(*sequence_number);
        }
    }
    assert_eq!(totals.len(), 2, "{totals:?}");
    assert!(totals[1] - totals[0] >= 10_000);
}

#[test]
fn a_stream_ends_once_however_it_is_ended() {
    for names in [
        &["FCUnpublish", "deleteStream", "closeStream"][..],
        &["closeStream"],
        &["deleteStream", "FCUnpublish"],
    ] {
        let mut server = Server::publishing();
        for name in names {
            let body = command(name, 6.0, &[Value::Null, 1.0.into()]);
            server.push(&message(3, COMMAND, 0, 0, &body)).unwrap();
        }
        server.push(&message(6, VIDEO, 1, 0, &[0x17])).unwrap();
        assert_eq!(server.events, [Event::Unpublished], "{names:?}");
    }
}

#[test]
fn deleting_another_stream_does_not_end_this_one() {
    let mut server = Server::greeted(ServerConfig::default());
    server.push(&connect("live")).unwrap();
    for _ in 0..2 {
        let body = command("createStream", 4.0, &[Value::Null]);
        server.push(&message(3, COMMAND, 0, 0, &body)).unwrap();
    }
    server.push(&publish("key")).unwrap();
    let body = command("deleteStream", 0.0, &[Value::Null, 2.0.into()]);
    server.push(&message(3, COMMAND, 0, 0, &body)).unwrap();
    assert_ne!(server.events.last(), Some(&Event::Unpublished));
}

#[test]
fn a_publisher_that_does_not_wait_loses_nothing() {
    let mut server = Server::greeted(ServerConfig::default());
    server.accept = false;
    server.push(&connect("live")).unwrap();
    let mut input = publish("key");
    input.extend(message(6, VIDEO, 1, 0, &[0x17, 0]));
    server.push(&input).unwrap();
    assert!(server.media().is_empty());
    server.session.accept_publish();
    server.drain();
    assert_eq!(server.media()[0].body[..], [0x17, 0]);
}

#[test]
fn a_request_withdrawn_before_the_verdict_stays_withdrawn() {
    let mut server = Server::greeted(ServerConfig::default());
    server.accept = false;
    server.push(&connect("live")).unwrap();
    server.push(&publish("key")).unwrap();
    let body = command("deleteStream", 0.0, &[Value::Null, 1.0.into()]);
    server.push(&message(3, COMMAND, 0, 0, &body)).unwrap();
    assert_eq!(server.events.last(), Some(&Event::Unpublished));
    server.session.accept_publish();
    assert_eq!(server.session.poll_output(), None);
}

#[test]
fn queries_of_app_and_stream_name_come_together() {
    let mut server = Server::greeted(stream_app());
    server.push(&connect("stream?a=1")).unwrap();
    server
        .push(&publish("key?youtube=xx-yy&facebook=FB-1"))
        .unwrap();
    let request = server.request();
    assert_eq!(
        (request.app.as_str(), request.key.as_str()),
        ("stream", "key")
    );
    let names: Vec<_> = request
        .query
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["youtube", "facebook", "a"]);
    assert_eq!(request.kind, "live");
}
