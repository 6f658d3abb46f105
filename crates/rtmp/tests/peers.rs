//! Two peers in one thread: our own against each other, and each of ours against
//! `rml_rtmp`, which neither of them was written from.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession as RmlClient, ClientSessionConfig, ClientSessionEvent, ClientSessionResult,
    PublishRequestType, ServerSession as RmlServer, ServerSessionConfig, ServerSessionEvent,
    ServerSessionResult, StreamMetadata,
};
use rml_rtmp::time::RtmpTimestamp;
use support::{Server, command, message, start};
use weir_rtmp::{
    ClientConfig, ClientEvent, ClientOutput, ClientSession, Error, Event, MediaKind, ServerConfig,
    Url,
};

/// A client session, what it wrote and what it told.
struct Client {
    session: ClientSession,
    now: std::time::Instant,
    written: Vec<u8>,
    events: Vec<ClientEvent>,
}

impl Client {
    fn new(url: &str) -> Self {
        let now = start();
        let config = ClientConfig::new(Url::parse(url).unwrap());
        let mut client = Self {
            session: ClientSession::new(config, now).unwrap(),
            now,
            written: Vec::new(),
            events: Vec::new(),
        };
        client.drain();
        client
    }

    /// A client whose `connect` is out, to a server that echoes handshakes.
    fn connecting() -> Self {
        let mut client = Self::new("rtmp://host/app/secret-key?a=b");
        let mut hello = vec![3];
        hello.extend(&client.written[1..]);
        hello.extend(&client.written[1..]);
        client.push(&hello).unwrap();
        client.written.clear();
        client
    }

    fn push(&mut self, input: &[u8]) -> Result<(), Error> {
        let result = self.session.handle_input(self.now, input);
        self.drain();
        result
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Write(bytes) => self.written.extend_from_slice(&bytes),
                ClientOutput::Event(event) => self.events.push(event),
            }
        }
    }

    /// A command of the server, as it comes.
    fn told(&mut self, name: &str, transaction: f64, values: &[amf0::Value]) {
        let body = command(name, transaction, values);
        self.push(&message(3, 20, 0, 0, &body)).unwrap();
    }
}

/// Carries bytes both ways in pieces of `size` until nothing moves.
fn run(client: &mut Client, server: &mut Server, size: usize, carried: &mut usize) {
    loop {
        let up = std::mem::take(&mut client.written);
        for piece in up.chunks(size) {
            server.push(piece).unwrap();
        }
        let down = server.written[*carried..].to_vec();
        *carried = server.written.len();
        for piece in down.chunks(size) {
            client.push(piece).unwrap();
        }
        if up.is_empty() && down.is_empty() {
            return;
        }
    }
}

#[test]
fn our_client_publishes_to_our_server_in_any_pieces() {
    for size in [1, 7, 128, 65_536] {
        let mut server = Server::new(ServerConfig {
            app: Some("a/b".to_owned()),
            ..ServerConfig::default()
        });
        let mut client = Client::new("rtmp://localhost/a/b/key?token=x");
        let mut carried = 0;
        run(&mut client, &mut server, size, &mut carried);
        assert_eq!(client.events, [ClientEvent::Ready]);
        assert_eq!(client.session.poll_timeout(), None);
        assert_eq!(server.request().key, "key");
        assert_eq!(server.request().kind, "live");

        let big = Bytes::from((0..100_000_u32).map(|n| n as u8).collect::<Vec<_>>());
        let small = Bytes::from_static(&[0xaf, 1, 2]);
        let sent = [
            (
                MediaKind::Data,
                0,
                Bytes::from_static(b"\x02\0\x0aonMetaData\x05"),
            ),
            (MediaKind::Video, 0, big.clone()),
            (MediaKind::Audio, 0, small.clone()),
            (MediaKind::Audio, 21, small.clone()),
            (MediaKind::Audio, 43, Bytes::new()),
            (MediaKind::Video, 40, big.clone()),
            (MediaKind::Video, 0x0100_0000, big.clone()),
            (MediaKind::Video, 0x0100_0028, small.clone()),
            (MediaKind::Video, u32::MAX, big.clone()),
            (MediaKind::Video, 39, big),
        ];
        for (kind, time, body) in &sent {
            client.session.send(*kind, *time, body).unwrap();
            client.drain();
        }
        run(&mut client, &mut server, size, &mut carried);
        let media: Vec<_> = server
            .media()
            .into_iter()
            .map(|media| (media.kind, media.timestamp_ms, media.body.clone()))
            .collect();
        assert!(media == sent, "in pieces of {size}");

        client.session.finish();
        client.drain();
        assert_eq!(client.events.last(), Some(&ClientEvent::Closed));
        let last = std::mem::take(&mut client.written);
        server.push(&last).unwrap();
        assert_eq!(server.events.last(), Some(&Event::Unpublished));
        assert_eq!(
            client.session.send(MediaKind::Audio, 0, &small),
            Err(Error::Closed)
        );
    }
}

#[test]
fn a_refusal_reaches_our_client_in_words() {
    let mut server = Server::new(ServerConfig {
        app: Some("stream".to_owned()),
        ..ServerConfig::default()
    });
    server.accept = false;
    let mut client = Client::new("rtmp://localhost/stream/hush");
    let mut carried = 0;
    run(&mut client, &mut server, 1000, &mut carried);
    server
        .session
        .reject_publish("NetStream.Publish.BadName", "unknown stream key");
    server.drain();
    client.push(&server.written[carried..]).unwrap();
    assert_eq!(
        client.events,
        [
            ClientEvent::Rejected {
                code: "NetStream.Publish.BadName".to_owned(),
                description: "unknown stream key".to_owned(),
            },
            ClientEvent::Closed,
        ]
    );

    let mut server = Server::new(ServerConfig {
        app: Some("stream".to_owned()),
        ..ServerConfig::default()
    });
    let mut client = Client::new("rtmp://localhost/live/key");
    run(&mut client, &mut server, 1000, &mut 0);
    let ClientEvent::Rejected { code, .. } = &client.events[0] else {
        panic!("{:?}", client.events);
    };
    assert_eq!(code, "NetConnection.Connect.InvalidApp");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let mut client = Client::connecting();
    let at = client.session.poll_timeout().unwrap();
    client
        .session
        .handle_timeout(at - Duration::from_millis(1))
        .unwrap();
    let error = client.session.handle_timeout(at).unwrap_err();
    assert_eq!(error.to_string(), "no answer to connect within 10s");
    assert_eq!(client.push(&[2]), Err(Error::Closed));
}

#[test]
fn nothing_is_sent_before_the_server_agrees() {
    let mut client = Client::connecting();
    let early = client
        .session
        .send(MediaKind::Video, 0, &Bytes::from_static(&[0x17]));
    assert_eq!(early, Err(Error::NotReady));
}

#[test]
fn a_refusal_never_repeats_the_key() {
    for (name, transaction) in [("_error", 1.0), ("_error", 0.0), ("onStatus", 0.0)] {
        let mut client = Client::connecting();
        let info = support::object(&[
            ("level", "error".into()),
            ("code", "NetStream.Publish.Denied".into()),
            (
                "description",
                "secret-key?a=b is in use,\r\nsecret-key too".into(),
            ),
        ]);
        client.told(name, transaction, &[amf0::Value::Null, info]);
        assert_eq!(
            client.events,
            [
                ClientEvent::Rejected {
                    code: "NetStream.Publish.Denied".to_owned(),
                    description: "*** is in use,*** too".to_owned(),
                },
                ClientEvent::Closed,
            ],
            "{name}"
        );
    }
}

#[test]
fn no_part_of_the_url_that_is_secret_is_repeated() {
    let cases = [
        (
            "live?pass=hush-hush/kk-1?t=shh&on=1",
            "no kk-1 at live?pass=hush-hush: t=shh&on=1; 1 hush-hush",
            "no *** at live?***: ***; 1 ***",
        ),
        (
            "live/kk-1",
            "kk-10 and kk-1, but kk-1: kk\u{1}-1\u{202e}",
            "kk-10 and ***, but ***: ***",
        ),
        ("live/long-secret", "xlong-secretx", "x***x"),
        ("live/on", "only one on", "only one ***"),
    ];
    for (path, words, shown) in cases {
        let mut client = Client::new(&format!("rtmp://host/{path}"));
        let mut hello = vec![3];
        hello.extend(&client.written[1..]);
        hello.extend(&client.written[1..]);
        client.push(&hello).unwrap();
        let info = support::object(&[("description", words.into())]);
        client.told("_error", 1.0, &[amf0::Value::Null, info]);
        let [ClientEvent::Rejected { description, .. }, _] = &client.events[..] else {
            panic!("{:?}", client.events);
        };
        assert_eq!(description, shown);
    }
}

#[test]
fn answers_with_transaction_zero_and_refused_courtesies_are_understood() {
    // nginx-rtmp and SRS, more or less.
    let mut client = Client::connecting();
    let null = amf0::Value::Null;
    client.told("_result", 0.0, &[null.clone(), null.clone()]);
    client.told("_error", 2.0, std::slice::from_ref(&null));
    client.told("_result", 3.0, &[null.clone(), amf0::Value::Undefined]);
    // Its answer is _checkbw, number 8.
    client.told("onBWDone", 0.0, std::slice::from_ref(&null));
    client.told("_error", 8.0, std::slice::from_ref(&null));
    client.told("_result", 0.0, &[null.clone(), 1.0.into()]);
    let start = support::object(&[
        ("level", "status".into()),
        ("code", "NetStream.Publish.Start".into()),
    ]);
    client.told("onStatus", 0.0, &[null, start]);
    assert_eq!(client.events, [ClientEvent::Ready]);
}

#[test]
fn acknowledgements_count_on_where_the_number_wraps() {
    let mut client = Client::connecting();
    assert_eq!(client.session.acknowledged(), None);
    // The fourth goes back, which says nothing.
    let totals = [0_u32, 0x7000_0000, 0xe000_0000, 0xd000_0000, 0x2000_0000];
    let counted = totals.map(|total| {
        let ack = message(2, 3, 0, 0, &total.to_be_bytes());
        client.push(&ack).unwrap();
        client.session.acknowledged()
    });
    let known = [0, 0x7000_0000, 0xe000_0000, 0xe000_0000, 0x1_2000_0000];
    assert_eq!(counted, known.map(Some));
}

#[test]
fn a_server_that_proposes_a_large_window_is_asked_for_a_smaller_one() {
    for (proposed, agreed) in [(5_000_000_u32, 262_144), (1000, 1000)] {
        let mut client = Client::connecting();
        let mut bandwidth = proposed.to_be_bytes().to_vec();
        bandwidth.push(2);
        client.push(&message(2, 6, 0, 0, &bandwidth)).unwrap();
        let said = support::read_by_rml(&client.written);
        let window = rml_rtmp::messages::RtmpMessage::WindowAcknowledgement { size: agreed };
        assert_eq!(said, [window]);
    }
}

#[test]
fn our_client_says_what_ffmpeg_says_in_its_order() {
    let mut client = Client::connecting();
    let null = amf0::Value::Null;
    client.told("_result", 1.0, &[null.clone(), null.clone()]);
    client.told("_result", 4.0, &[null, 1.0.into()]);
    // `connecting` has thrown the connect away with the handshake.
    let mut whole = Client::new("rtmp://host/app/secret-key?a=b");
    let mut hello = vec![3];
    hello.extend(&whole.written[1..]);
    hello.extend(&whole.written[1..]);
    whole.written.clear();
    whole.push(&hello).unwrap();
    let connect = whole.written.split_off(1536);
    assert_eq!(connect[0], 3, "chunk stream 3, full header");
    let mut said = Vec::new();
    for message in support::read_by_rml(&[connect, client.written].concat()) {
        said.push(match message {
            rml_rtmp::messages::RtmpMessage::Amf0Command {
                command_name,
                transaction_id,
                command_object,
                additional_arguments,
            } => {
                let text = |value: rml_rtmp::rml_amf0::Amf0Value| value.get_string();
                let mut words = vec![command_name, transaction_id.to_string()];
                words.extend(additional_arguments.into_iter().filter_map(text));
                if let Some(mut fields) = command_object.get_object_properties() {
                    for name in ["app", "type", "flashVer", "tcUrl"] {
                        words.extend(fields.remove(name).and_then(text));
                    }
                }
                words.join(" ")
            }
            other => format!("{other:?}"),
        });
    }
    assert_eq!(
        said,
        [
            "connect 1 app nonprivate FMLE/3.0 (compatible; weir) rtmp://host/app",
            "SetChunkSize { size: 4096 }",
            "releaseStream 2 secret-key?a=b",
            "FCPublish 3 secret-key?a=b",
            "createStream 4",
            "publish 5 secret-key?a=b live",
        ]
    );
}

/// Does the handshake of an `rml_rtmp` client with our server; gives what
/// follows its C2.
fn greet(server: &mut Server) {
    let mut handshake = Handshake::new(PeerType::Client);
    let hello = handshake.generate_outbound_p0_and_p1().unwrap();
    server.push(&hello).unwrap();
    let Ok(HandshakeProcessResult::Completed { response_bytes, .. }) =
        handshake.process_bytes(&server.written)
    else {
        panic!("the answer is complete");
    };
    server.push(&response_bytes).unwrap();
}

#[test]
fn the_client_of_rml_rtmp_publishes_to_our_server() {
    let mut server = Server::new(ServerConfig::default());
    greet(&mut server);
    let (mut client, first) = RmlClient::new(ClientSessionConfig::new()).unwrap();
    let mut todo = first;
    todo.push(client.request_connection("live".to_owned()).unwrap());
    let mut carried = support::HANDSHAKE;
    let mut accepted = false;
    let payload = Bytes::from((0..9000_u32).map(|n| n as u8).collect::<Vec<_>>());
    while !todo.is_empty() {
        for result in std::mem::take(&mut todo) {
            match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    server.push(&packet.bytes).unwrap();
                }
                ClientSessionResult::RaisedEvent(ClientSessionEvent::ConnectionRequestAccepted) => {
                    let kind = PublishRequestType::Live;
                    todo.push(client.request_publishing("key".to_owned(), kind).unwrap());
                }
                ClientSessionResult::RaisedEvent(ClientSessionEvent::PublishRequestAccepted) => {
                    accepted = true;
                    todo.push(client.publish_metadata(&StreamMetadata::new()).unwrap());
                    for time in [0, 40, 80, 120, 121, 0x0100_0000, 0x0100_0028] {
                        let time = RtmpTimestamp::new(time);
                        let video = client.publish_video_data(payload.clone(), time, false);
                        todo.push(video.unwrap());
                        let sound = payload.slice(..300);
                        todo.push(client.publish_audio_data(sound, time, false).unwrap());
                    }
                    todo.extend(client.stop_publishing().unwrap());
                }
                _ => {}
            }
        }
        let down = server.written[carried..].to_vec();
        carried = server.written.len();
        todo.extend(client.handle_input(&down).unwrap());
    }
    assert!(accepted);
    let times: Vec<_> = server
        .media()
        .iter()
        .filter(|media| media.kind == MediaKind::Video)
        .map(|media| {
            assert_eq!(media.body, payload);
            media.timestamp_ms
        })
        .collect();
    assert_eq!(times, [0, 40, 80, 120, 121, 0x0100_0000, 0x0100_0028]);
    let sounds = server.media();
    let sounds = sounds.iter().filter(|media| media.kind == MediaKind::Audio);
    assert!(sounds.clone().all(|media| media.body == payload[..300]));
    assert_eq!(sounds.count(), 7);
    assert_eq!(server.events.last(), Some(&Event::Unpublished));
}

#[test]
fn our_client_publishes_to_the_server_of_rml_rtmp() {
    let mut client = Client::new("rtmp://localhost/live/key");
    let mut handshake = Handshake::new(PeerType::Server);
    let Ok(HandshakeProcessResult::InProgress { response_bytes }) =
        handshake.process_bytes(&client.written)
    else {
        panic!("C2 is missing");
    };
    client.written.clear();
    client.push(&response_bytes).unwrap();
    let Ok(HandshakeProcessResult::Completed {
        remaining_bytes, ..
    }) = handshake.process_bytes(&client.written)
    else {
        panic!("C2 was sent");
    };
    client.written = remaining_bytes;

    let (mut server, first) = RmlServer::new(ServerSessionConfig::new()).unwrap();
    let mut todo = first;
    let body = Bytes::from((0..9000_u32).map(|n| n as u8).collect::<Vec<_>>());
    let mut received = Vec::new();
    let mut asked = Vec::new();
    let mut sent = false;
    while !todo.is_empty() || !client.written.is_empty() {
        for result in std::mem::take(&mut todo) {
            match result {
                ServerSessionResult::OutboundResponse(packet) => {
                    client.push(&packet.bytes).unwrap();
                }
                ServerSessionResult::RaisedEvent(event) => match event {
                    ServerSessionEvent::ConnectionRequested {
                        request_id,
                        app_name,
                    } => {
                        asked.push(app_name);
                        todo.extend(server.accept_request(request_id).unwrap());
                    }
                    ServerSessionEvent::PublishStreamRequested {
                        request_id,
                        stream_key,
                        ..
                    } => {
                        asked.push(stream_key);
                        todo.extend(server.accept_request(request_id).unwrap());
                    }
                    ServerSessionEvent::VideoDataReceived {
                        data, timestamp, ..
                    }
                    | ServerSessionEvent::AudioDataReceived {
                        data, timestamp, ..
                    } => received.push((timestamp.value, data)),
                    ServerSessionEvent::PublishStreamFinished { .. } => {
                        asked.push("finished".to_owned());
                    }
                    _ => {}
                },
                ServerSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        if !sent && client.events == [ClientEvent::Ready] {
            sent = true;
            for time in [0, 40, 80, 0x0100_0000, 0x0100_0028] {
                let kind = MediaKind::Video;
                client.session.send(kind, time, &body).unwrap();
                let kind = MediaKind::Audio;
                client.session.send(kind, time, &body.slice(..3)).unwrap();
            }
            client.session.finish();
            client.drain();
        }
        let up = std::mem::take(&mut client.written);
        todo.extend(server.handle_input(&up).unwrap());
    }
    assert_eq!(asked, ["live", "key", "finished"]);
    let mut expected = Vec::new();
    for time in [0, 40, 80, 0x0100_0000, 0x0100_0028] {
        expected.push((time, body.clone()));
        expected.push((time, body.slice(..3)));
    }
    assert!(received == expected);
}

proptest! {
    #[test]
    fn random_bytes_of_a_server_never_panic(
        input in prop::collection::vec(prop_oneof![0_u8..10, any::<u8>()], 0..2000),
        size in 1_usize..300,
    ) {
        let mut client = Client::connecting();
        for piece in input.chunks(size) {
            if client.push(piece).is_err() {
                break;
            }
        }
        prop_assert!(!client.events.contains(&ClientEvent::Ready));
    }
}
