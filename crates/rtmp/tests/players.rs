//! Players: what they ask, what they are told, what they get.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use amf0::Value;
use rml_rtmp::messages::RtmpMessage;
use support::{COMMAND, Server, VIDEO, command, connect, message, publish};
use weir_rtmp::{Error, Event, Framed, MediaKind, ServerConfig};

/// A server that was asked to play `name` on message stream `stream`.
fn asked(name: &str, stream: u8) -> Server {
    let mut server = Server::greeted(ServerConfig::default());
    server.push(&connect("live?token=hush")).unwrap();
    server.push(&play(name, stream)).unwrap();
    server
}

fn play(name: &str, stream: u8) -> Vec<u8> {
    let play = command("play", 5.0, &[Value::Null, name.into(), (-2000.0).into()]);
    message(8, COMMAND, stream, 0, &play)
}

#[test]
fn who_asks_for_nothing_that_is_there_is_told_so_and_let_go() {
    let mut server = asked("nobody", 1);
    let code = "NetStream.Play.StreamNotFound";
    server.session.fail(code, "no such stream");
    server.drain();
    assert_eq!(server.codes().last().map(String::as_str), Some(code));
    assert_eq!(server.events.last(), Some(&Event::Closed));
    // Too late, and harmless.
    server.session.accept_play();
    assert_eq!(server.session.poll_output(), None);
}

#[test]
fn a_request_comes_with_the_queries_of_the_app_and_of_the_name() {
    let server = asked("demo?quality=low", 1);
    let Some(Event::Play(request)) = server.events.last() else {
        panic!("{:?}", server.events);
    };
    assert_eq!((&*request.app, &*request.name), ("live", "demo"));
    let names: Vec<_> = request.query.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["quality", "token"]);
    let shown = format!("{request:?}");
    assert!(
        !shown.contains("hush") && !shown.contains("demo"),
        "{shown}"
    );
}

#[test]
fn media_follows_the_start_on_the_stream_that_was_asked_on() {
    let body = vec![7; 100_000].into();
    let shared = Framed::new(MediaKind::Video, 40, &[], body).unwrap();
    for stream in [1, 2] {
        let mut server = asked("demo", stream);
        assert_eq!(server.session.plays_on(), None, "not yet");
        server.session.accept_play();
        server.drain();
        let codes = server.codes();
        let last: Vec<_> = codes.iter().rev().take(2).map(String::as_str).collect();
        assert_eq!(last, ["NetStream.Play.Start", "NetStream.Play.Reset"]);
        let plays_on = server.session.plays_on().unwrap();
        let other = shared.readdressed(plays_on);
        assert_eq!(other.is_none(), stream == 1);
        for part in other.as_ref().unwrap_or(&shared).parts() {
            server.written.extend_from_slice(part);
        }
        server.session.end_play();
        server.drain();
        let said = server.said();
        let media = said.iter().filter_map(|message| match message {
            RtmpMessage::VideoData { data } => Some(data.len()),
            _ => None,
        });
        assert_eq!(media.collect::<Vec<_>>(), [100_000]);
        assert_eq!(
            server.codes().last().map(String::as_str),
            Some("NetStream.Play.UnpublishNotify")
        );
        assert_eq!(server.events.last(), Some(&Event::Closed));
    }
}

#[test]
fn players_pause_and_stop() {
    let mut server = asked("demo", 1);
    server.session.accept_play();
    server.drain();
    server.events.clear();
    for pause in [true, false] {
        let ask = command("pause", 0.0, &[Value::Null, pause.into(), 0.0.into()]);
        server.push(&message(8, COMMAND, 1, 0, &ask)).unwrap();
    }
    let delete = command("deleteStream", 0.0, &[Value::Null, 1.0.into()]);
    server.push(&message(3, COMMAND, 0, 0, &delete)).unwrap();
    let expected = [Event::Paused(true), Event::Paused(false), Event::Stopped];
    assert_eq!(server.events, expected);
}

#[test]
fn a_player_may_be_silent_but_sends_no_media_and_asks_once() {
    let mut server = asked("demo", 1);
    server.session.accept_play();
    server.drain();
    server.events.clear();
    server.wait(std::time::Duration::from_secs(3600)).unwrap();
    server.push(&message(6, VIDEO, 1, 0, &[0x17])).unwrap();
    assert_eq!(server.events, []);
    // Nor is it allowed the large messages of publishers.
    let large = vec![0; 1 << 20];
    let error = server.push(&message(6, VIDEO, 1, 0, &large)).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    for again in [play("other", 1), publish("key")] {
        let mut server = asked("demo", 1);
        server.session.accept_play();
        server.push(&again).unwrap();
        assert_eq!(server.events.last(), Some(&Event::Closed));
        assert!(server.codes().last().unwrap().starts_with("NetStream."));
    }
}
