//! Peers that mean harm, or are broken: none of them costs more than its own
//! connection.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::time::Duration;

use amf0::Value;
use proptest::prelude::*;
use support::{AUDIO, COMMAND, DATA, Server, VIDEO, command, connect, hello, message, publish};
use weir_rtmp::{Error, Event, Limits, ServerConfig};

fn fault(server: &mut Server, input: &[u8]) -> String {
    let error = server.push(input).unwrap_err();
    assert_eq!(server.push(b"more"), Err(Error::Closed));
    assert_eq!(server.session.poll_timeout(), None);
    error.to_string()
}

#[test]
fn a_hundred_kilobytes_of_nested_amf0_end_the_session_and_nothing_else() {
    let mut body = command("connect", 1.0, &[]);
    body.extend([0x0a, 0, 0, 0, 1].repeat(20_000));
    let mut server = Server::greeted(ServerConfig::default());
    let error = server.push(&message(3, COMMAND, 0, 0, &body)).unwrap_err();
    assert!(matches!(
        error,
        Error::Command {
            source: amf0::Error::Limit { max: 32, .. },
            ..
        }
    ));
}

#[test]
fn a_handshake_held_open_ends_at_its_deadline() {
    let mut server = Server::new(ServerConfig::default());
    server.push(&hello()[..1000]).unwrap();
    server.wait(Duration::from_millis(4999)).unwrap();
    server.push(&hello()[1000..1001]).unwrap();
    assert_eq!(
        server.session.poll_timeout(),
        Some(server.now + Duration::from_millis(1))
    );
    let error = server.wait(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.to_string(), "no handshake within 5s");
    assert_eq!(server.session.poll_timeout(), None);
}

#[test]
fn a_peer_that_never_publishes_ends_at_its_deadline_whatever_it_sends() {
    let mut server = Server::greeted(ServerConfig::default());
    server.push(&connect("live")).unwrap();
    for _ in 0..9 {
        server.wait(Duration::from_secs(1)).unwrap();
        server
            .push(&message(3, COMMAND, 0, 0, &command("x", 2.0, &[])))
            .unwrap();
    }
    let error = server.wait(Duration::from_secs(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no request to publish or play within 10s"
    );
}

#[test]
fn a_silent_publisher_ends_after_the_idle_time() {
    let mut server = Server::publishing();
    server.wait(Duration::from_secs(29)).unwrap();
    server.push(&[4]).unwrap();
    server.wait(Duration::from_secs(29)).unwrap();
    let error = server.wait(Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.to_string(), "no byte from the publisher within 30s");
}

#[test]
fn other_protocols_are_told_apart_at_the_first_byte() {
    let mut server = Server::new(ServerConfig::default());
    assert_eq!(
        fault(&mut server, b"\x16\x03\x01\x02\x00\x01"),
        "RTMP at byte 0: the first byte is not 3, this is not RTMP"
    );
}

#[test]
fn commands_with_too_few_values_do_nothing_worse_than_nothing() {
    for name in [
        "publish",
        "createStream",
        "deleteStream",
        "FCUnpublish",
        "releaseStream",
        "_result",
        "onStatus",
        "@setDataFrame",
    ] {
        let mut server = Server::greeted(ServerConfig::default());
        server.push(&connect("live")).unwrap();
        let mut body = Vec::new();
        amf0::write(&mut body, &name.into());
        server.push(&message(3, COMMAND, 0, 0, &body)).unwrap();
        server.push(&message(3, COMMAND, 0, 0, &[])).unwrap_err();
    }
    let mut server = Server::publishing();
    server.push(&message(4, DATA, 1, 0, &[])).unwrap();
    server
        .push(&message(4, DATA, 1, 0, b"\x02\0\x0d@setDataFrame"))
        .unwrap();
    assert_eq!(server.media().len(), 2);
}

#[test]
fn commands_out_of_order_are_refused() {
    let mut server = Server::greeted(ServerConfig::default());
    assert_eq!(
        fault(&mut server, &publish("key")),
        "RTMP at byte 45: a command before connect"
    );
    let mut server = Server::greeted(ServerConfig::default());
    server.push(&connect("live")).unwrap();
    let error = fault(&mut server, &connect("live"));
    assert!(error.ends_with("a second connect"), "{error}");
}

#[test]
fn a_second_publish_is_refused_in_words() {
    let mut server = Server::publishing();
    server.push(&publish("other")).unwrap();
    assert_eq!(server.events, [Event::Closed]);
    assert_eq!(
        server.codes().last().map(String::as_str),
        Some("NetStream.Publish.BadName")
    );
}

#[test]
fn media_nobody_agreed_to_is_dropped() {
    let mut server = Server::greeted(ServerConfig::default());
    let video = message(6, VIDEO, 1, 0, &[0x17, 0]);
    server.push(&video).unwrap();
    server.push(&connect("live")).unwrap();
    server.push(&video).unwrap();
    assert!(matches!(server.events[..], [Event::Connected(_)]));
}

#[test]
fn media_before_the_verdict_is_kept_within_bounds() {
    let config = ServerConfig {
        limits: Limits {
            held: 10_000,
            ..Limits::default()
        },
        ..ServerConfig::default()
    };
    let mut server = Server::greeted(config);
    server.accept = false;
    server.push(&connect("live")).unwrap();
    server.push(&publish("key")).unwrap();
    let video = message(6, VIDEO, 1, 0, &[0x17; 900]);
    for _ in 0..10 {
        server.push(&video).unwrap();
    }
    assert!(server.media().is_empty());
    assert_eq!(
        fault(&mut server, &video),
        "RTMP bytes of media before the stream is accepted: more than 10000"
    );
}

#[test]
fn a_tiny_acknowledgement_window_gets_one_answer_for_an_input() {
    let mut server = Server::publishing();
    server.push(&message(2, 5, 0, 0, &[0, 0, 0, 1])).unwrap();
    let before = server.written.len();
    // A thousand empty messages of one byte each behind the first.
    let mut input = message(4, AUDIO, 1, 0, &[]);
    input.extend([0xc4; 1000]);
    server.push(&input).unwrap();
    assert_eq!(server.media().len(), 1001);
    assert!(server.written.len() - before <= 16);
}

#[test]
fn answers_stay_in_proportion_to_questions() {
    // The cheapest question: a createStream that is one byte of header and its
    // body, and a ping of six bytes.
    let mut server = Server::greeted(ServerConfig::default());
    server.push(&connect("live")).unwrap();
    let before = server.written.len();
    let body = command("createStream", 4.0, &[]);
    let mut input = message(3, COMMAND, 0, 0, &body);
    let ping = [0, 6, 0, 0, 0, 1];
    input.extend(message(2, 4, 0, 0, &ping));
    for _ in 0..1000 {
        input.push(0xc3);
        input.extend(&body);
        input.push(0xc2);
        input.extend(ping);
    }
    server.push(&input).unwrap();
    let answers = server.written.len() - before;
    assert!(answers < 3 * input.len(), "{answers} for {}", input.len());
}

#[test]
fn a_peer_that_breaks_the_rules_is_told_which() {
    let mut server = Server::publishing();
    let error = server.push(&message(2, 1, 0, 0, &[0; 4])).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("a chunk size of 0, the smallest is 1")
    );
    assert_eq!(
        server.codes().last().map(String::as_str),
        Some("NetStream.Publish.Failed")
    );
    assert!(server.events.is_empty());

    let mut server = Server::greeted(ServerConfig::default());
    server.wait(Duration::from_secs(10)).unwrap_err();
    assert_eq!(server.codes(), ["NetConnection.Connect.Failed"]);
}

#[test]
fn keys_show_in_no_error_and_no_event() {
    let mut server = Server::greeted(ServerConfig::default());
    server.push(&connect("live?token=hush")).unwrap();
    server.push(&publish("hush-key?youtube=hush")).unwrap();
    let values = [Value::Null, "hush".into(), Value::StrictArray(vec![])];
    let mut body = command("FCSubscribe", 9.0, &values);
    body.push(0x7f);
    let error = server.push(&message(3, COMMAND, 0, 0, &body)).unwrap_err();
    let shown = format!("{error} {error:?} {:?} {:?}", server.events, server.session);
    assert!(!shown.contains("hush"), "{shown}");
}

/// What a publisher might send, more or less.
fn likely_messages() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![
        Just(1_u8),
        Just(2),
        Just(4),
        Just(5),
        Just(6),
        Just(8),
        Just(9),
        Just(15),
        Just(17),
        Just(18),
        Just(20),
        Just(22),
        any::<u8>()
    ];
    let names = [
        "publish",
        "deleteStream",
        "createStream",
        "connect",
        "play",
        "FCUnpublish",
        "x",
    ];
    let named = prop::sample::select(names.to_vec())
        .prop_map(|name| command(name, 3.0, &[Value::Null, 1.0.into(), "k".into()]));
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(0_u8..12, 0..40),
        named,
    ];
    let one = (2_u8..7, kind, any::<u8>(), 0..0x00ff_0000_u32, body)
        .prop_map(|(csid, kind, stream, time, body)| message(csid, kind, stream, time, &body));
    prop::collection::vec(one, 0..20).prop_map(|messages| messages.concat())
}

proptest! {
    #[test]
    fn random_bytes_after_connect_never_panic(input in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut server = Server::greeted(ServerConfig::default());
        server.push(&connect("live")).unwrap();
        let _ = server.push(&input);
    }

    #[test]
    fn random_bytes_instead_of_a_handshake_never_panic(
        input in prop::collection::vec(any::<u8>(), 3072..4000)
    ) {
        let mut server = Server::new(ServerConfig::default());
        let _ = server.push(&[&[3], &input[..]].concat());
    }

    #[test]
    fn likely_messages_give_the_same_events_in_any_pieces(
        input in likely_messages(),
        size in 1_usize..200,
    ) {
        let mut whole = Server::publishing();
        let mut pieces = Server::publishing();
        let result = whole.push(&input);
        let mut outcome = Ok(());
        for piece in input.chunks(size) {
            outcome = pieces.push(piece);
            if outcome.is_err() {
                break;
            }
        }
        // A verdict between two pieces lets through what was withdrawn otherwise.
        if !whole.events.contains(&Event::Unpublished) {
            prop_assert_eq!(&whole.events, &pieces.events);
            if whole.events.last() != Some(&Event::Closed) {
                prop_assert_eq!(result, outcome);
            }
        }
        let ends = |server: &Server| {
            server.events.iter().filter(|event| **event == Event::Unpublished).count()
        };
        let begins = |server: &Server| {
            1 + server.events.iter().filter(|event| matches!(event, Event::Publish(_))).count()
        };
        prop_assert!(ends(&whole) <= begins(&whole));
    }
}
