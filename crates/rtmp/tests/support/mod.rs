//! A publisher written by hand: chunks, commands, and a server to talk to, all
//! in one thread with a clock that only moves when told.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::{Duration, Instant};

use amf0::Value;
use rml_rtmp::chunk_io::ChunkDeserializer;
use rml_rtmp::messages::RtmpMessage;
use weir_rtmp::{Error, Event, Media, Output, PublishRequest, ServerConfig, ServerSession};

pub(crate) const AUDIO: u8 = 8;
pub(crate) const VIDEO: u8 = 9;
pub(crate) const DATA: u8 = 18;
pub(crate) const COMMAND: u8 = 20;
pub(crate) const HANDSHAKE: usize = 1 + 1536 + 1536;

/// Some instant; tests only add to it.
pub(crate) fn start() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "the origin of the tests' own clock"
    )]
    Instant::now()
}

/// A server session, what it said and what it told.
pub(crate) struct Server {
    pub(crate) session: ServerSession,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
    pub(crate) written: Vec<u8>,
    /// Whether requests to publish are accepted as they come.
    pub(crate) accept: bool,
}

impl Server {
    pub(crate) fn new(config: ServerConfig) -> Self {
        let now = start();
        Self {
            session: ServerSession::new(config, now),
            now,
            events: Vec::new(),
            written: Vec::new(),
            accept: true,
        }
    }

    /// A server whose peer has done a plain handshake.
    pub(crate) fn greeted(config: ServerConfig) -> Self {
        let mut server = Self::new(config);
        server.push(&hello()).unwrap();
        server
    }

    /// A server that receives from a publisher of key `key`.
    pub(crate) fn publishing() -> Self {
        let mut server = Self::greeted(ServerConfig::default());
        server.push(&connect("live")).unwrap();
        server.push(&publish("key")).unwrap();
        assert!(matches!(
            server.events[..],
            [Event::Connected(_), Event::Publish(_)]
        ));
        server.events.clear();
        server
    }

    pub(crate) fn push(&mut self, input: &[u8]) -> Result<(), Error> {
        let result = self.session.handle_input(self.now, input);
        self.drain();
        result
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Write(bytes) => self.written.extend_from_slice(&bytes),
                Output::Event(event) => {
                    if self.accept && matches!(event, Event::Publish(_)) {
                        self.session.accept_publish();
                    }
                    self.events.push(event);
                }
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, span: Duration) -> Result<(), Error> {
        self.now += span;
        let result = self.session.handle_timeout(self.now);
        self.drain();
        result
    }

    pub(crate) fn request(&self) -> &PublishRequest {
        self.events
            .iter()
            .find_map(|event| match event {
                Event::Publish(request) => Some(request),
                _ => None,
            })
            .expect("a request to publish")
    }

    pub(crate) fn media(&self) -> Vec<&Media> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Media(media) => Some(media),
                _ => None,
            })
            .collect()
    }

    /// Everything it said after the handshake, read by another implementation.
    pub(crate) fn said(&self) -> Vec<RtmpMessage> {
        read_by_rml(&self.written[HANDSHAKE..])
    }

    /// The `code` of every `onStatus`, `_result` and `_error` it sent.
    pub(crate) fn codes(&self) -> Vec<String> {
        self.said().iter().filter_map(code).collect()
    }
}

/// What `rml_rtmp` makes of `bytes`.
pub(crate) fn read_by_rml(bytes: &[u8]) -> Vec<RtmpMessage> {
    let mut reader = ChunkDeserializer::new();
    let mut messages = Vec::new();
    let mut input = bytes;
    while let Some(payload) = reader.get_next_message(input).unwrap() {
        input = &[];
        let message = payload.to_rtmp_message().unwrap();
        if let RtmpMessage::SetChunkSize { size } = message {
            reader.set_max_chunk_size(size as usize).unwrap();
        }
        messages.push(message);
    }
    messages
}

fn code(message: &RtmpMessage) -> Option<String> {
    let RtmpMessage::Amf0Command {
        additional_arguments,
        ..
    } = message
    else {
        return None;
    };
    let fields = additional_arguments
        .first()?
        .clone()
        .get_object_properties()?;
    fields.get("code")?.clone().get_string()
}

/// C0, C1 and C2 of a plain handshake.
pub(crate) fn hello() -> Vec<u8> {
    let mut hello = vec![3];
    hello.extend((0..2 * 1536_u32).map(|n| (n * 31 % 251) as u8));
    hello[5..9].fill(0);
    hello
}

/// A message with a full header, in chunks of 128 bytes.
pub(crate) fn message(csid: u8, kind: u8, stream: u8, time: u32, body: &[u8]) -> Vec<u8> {
    chunked(128, csid, kind, stream, time, body)
}

/// A message with a full header, in chunks of `size` bytes.
pub(crate) fn chunked(
    size: usize,
    csid: u8,
    kind: u8,
    stream: u8,
    time: u32,
    body: &[u8],
) -> Vec<u8> {
    let mut out = vec![csid];
    out.extend(&time.to_be_bytes()[1..]);
    out.extend(&(body.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, stream, 0, 0, 0]);
    for (index, part) in body.chunks(size).enumerate() {
        if index > 0 {
            out.push(0xc0 | csid);
        }
        out.extend(part);
    }
    out
}

/// The body of a command.
pub(crate) fn command(name: &str, transaction: f64, values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    amf0::write(&mut body, &name.into());
    amf0::write(&mut body, &transaction.into());
    for value in values {
        amf0::write(&mut body, value);
    }
    body
}

pub(crate) fn object(fields: &[(&str, Value)]) -> Value {
    let fields = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    Value::Object(fields.collect())
}

/// A `connect` to `app`, in chunks of 128 bytes.
pub(crate) fn connect(app: &str) -> Vec<u8> {
    let fields = object(&[
        ("app", app.into()),
        ("type", "nonprivate".into()),
        ("flashVer", "FMLE/3.0 (compatible; test)".into()),
        ("tcUrl", format!("rtmp://localhost/{app}").into()),
    ]);
    message(3, COMMAND, 0, 0, &command("connect", 1.0, &[fields]))
}

/// A `publish` of `key` on message stream 1.
pub(crate) fn publish(key: &str) -> Vec<u8> {
    let values = [Value::Null, key.into(), "live".into()];
    message(8, COMMAND, 1, 0, &command("publish", 5.0, &values))
}
