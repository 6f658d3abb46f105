//! A stranger on the RTMP port. The first byte picks how far the script has come
//! before the input takes over, the second in which pieces it arrives; whatever
//! the pieces, the events are the same, unless the verdict on a request falls
//! between them.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use rtmp::{
    ClientConfig, ClientOutput, ClientSession, Event, Output, ServerConfig, ServerSession, Url,
};

fuzz_target!(|data: &[u8]| {
    let [stage, size, input @ ..] = data else {
        return;
    };
    let now = Instant::now();
    if *stage & 0x80 != 0 {
        client(now, stage & 1 == 0, usize::from(*size) + 1, input);
        return;
    }
    let whole = server(now, *stage, input.len().max(1), input);
    let pieces = server(now, *stage, usize::from(*size) + 1, input);
    let verdict_between =
        *stage & 4 == 0 && (*stage & 3 < 3 || whole.0.contains(&Event::Unpublished));
    if !verdict_between {
        assert_eq!(whole, pieces);
    }
});

/// The events of a session, and whether it ended with an error.
fn server(now: Instant, stage: u8, size: usize, input: &[u8]) -> (Vec<Event>, bool) {
    let mut session = ServerSession::new(ServerConfig::default(), now);
    let mut events = Vec::new();
    let script = script();
    let script = match stage & 3 {
        0 => &[][..],
        1 => &script[..PLAIN_HANDSHAKE],
        2 => &script[..PLAIN_HANDSHAKE + CONNECT.len()],
        _ => &script[..],
    };
    let mut failed = session.handle_input(now, script).is_err();
    // The verdict comes at once, or never.
    let verdict = stage & 4 == 0;
    drain(&mut session, verdict, &mut events);
    for piece in input.chunks(size) {
        if failed {
            break;
        }
        failed = session.handle_input(now, piece).is_err();
        drain(&mut session, verdict, &mut events);
    }
    let _ = session.handle_timeout(now + Duration::from_secs(3600));
    drain(&mut session, verdict, &mut events);
    // Where media waits, an error takes along what it would have been.
    let closed = events.last() == Some(&Event::Closed);
    (events, failed && !closed)
}

fn drain(session: &mut ServerSession, verdict: bool, events: &mut Vec<Event>) {
    while let Some(output) = session.poll_output() {
        let Output::Event(event) = output else {
            continue;
        };
        if verdict && matches!(event, Event::Publish(_)) {
            session.accept_publish();
        }
        events.push(event);
    }
}

fn client(now: Instant, handshake: bool, size: usize, input: &[u8]) {
    let Ok(url) = Url::parse("rtmp://host/app/key") else {
        return;
    };
    let Ok(mut session) = ClientSession::new(ClientConfig::new(url), now) else {
        return;
    };
    if handshake {
        // An echo-style server: version, its packet, and anything.
        let _ = session.handle_input(now, &[3].into_iter().chain([7; 3072]).collect::<Vec<u8>>());
    }
    for piece in input.chunks(size) {
        if session.handle_input(now, piece).is_err() {
            break;
        }
        while let Some(output) = session.poll_output() {
            if output == ClientOutput::Event(rtmp::ClientEvent::Closed) {
                return;
            }
        }
    }
}

const PLAIN_HANDSHAKE: usize = 1 + 1536 + 1536;

/// A plain handshake, connect and publish.
fn script() -> Vec<u8> {
    let mut script = vec![3];
    script.resize(PLAIN_HANDSHAKE, 0);
    script.extend(CONNECT);
    script.extend(PUBLISH);
    script
}

const CONNECT: &[u8] = b"\x03\0\0\0\0\0\x20\x14\0\0\0\0\
    \x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0\x03\0\x03app\x02\0\x01a\0\0\x09";
const PUBLISH: &[u8] = b"\x08\0\0\0\0\0\x1f\x14\x01\0\0\0\
    \x02\0\x07publish\0\x40\x14\0\0\0\0\0\0\x05\x02\0\x01k\x02\0\x04live";
