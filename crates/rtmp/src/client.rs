//! The side that publishes or plays: relays, `weir publish`, `weir play`.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use amf0::Value;
use bytes::Bytes;

use crate::command::{Command, object};
use crate::handshake::{Handshake, Step};
use crate::link::{COMMAND_CSID, Link};
use crate::message::{self, Message};
use crate::{Error, Limits, Media, MediaKind, Url};

/// How a [`ClientSession`] presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Where to publish or what to play.
    pub url: Url,
    /// Which of the two.
    pub intent: Intent,
    /// What it calls itself. Default `FMLE/3.0 (compatible; weir)`: some servers
    /// look for the first word.
    pub flash_ver: String,
    /// Bytes in a chunk that is sent, 1 to 2^31 - 1. Default 4096, what OBS
    /// sends: every destination is known to take it.
    pub chunk_size: u32,
    /// Bytes after which the server is asked to acknowledge them, at least 1, where it
    /// proposes more. Default 256 KiB: a second or so of most streams, where servers
    /// propose megabytes.
    pub acknowledge_every: u32,
    /// Time from the first byte to the server's consent. Default 10 s.
    pub ready_timeout: Duration,
    /// How much the server may take.
    pub limits: Limits,
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// To send a stream.
    Publish,
    /// To receive one.
    Play,
}

impl ClientConfig {
    /// A configuration for playing `url`.
    pub fn play(url: Url) -> Self {
        Self {
            intent: Intent::Play,
            ..Self::new(url)
        }
    }

    /// A configuration for publishing to `url`.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            intent: Intent::Publish,
            flash_ver: "FMLE/3.0 (compatible; weir)".to_owned(),
            chunk_size: 4096,
            acknowledge_every: 256 << 10,
            ready_timeout: Duration::from_secs(10),
            limits: Limits::default(),
        }
    }
}

/// What [`ClientSession::poll_output`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// Bytes for the server, in this order.
    Write(Bytes),
    /// Something to know.
    Event(ClientEvent),
}

/// What a server does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// It has accepted the stream: media can be sent, or will come.
    Ready,
    /// Media of the stream that is played.
    Media(Media),
    /// It refused the stream, or ended it with an error.
    Rejected {
        /// Such as `NetStream.Publish.BadName`; at most 256 characters.
        code: String,
        /// Its own words, at most 256 characters, the key masked.
        description: String,
    },
    /// The session is over: write what there is to write and close the
    /// connection. Nothing follows.
    Closed,
}

/// One connection to a server, for publishing or playing one stream.
///
/// Used like [`ServerSession`](crate::ServerSession); poll the outputs once
/// right after it is made, because the client speaks first.
pub struct ClientSession {
    config: ClientConfig,
    state: State,
    link: Link,
    events: VecDeque<ClientEvent>,
    started: Instant,
    /// For the questions that come up on the way.
    next_transaction: f64,
}

enum State {
    Handshake(Handshake),
    /// `connect` is out.
    Connecting,
    /// `createStream` is out.
    Creating,
    /// `publish` or `play` is out, on this message stream.
    Asking(u32),
    Ready(u32),
    Closed,
}

impl ClientSession {
    /// A session over a connection that was made at `now`.
    pub fn new(config: ClientConfig, now: Instant) -> Result<Self, Error> {
        let (handshake, hello) = Handshake::client()?;
        let mut link = Link::new(&config.limits);
        link.limit_window(config.acknowledge_every);
        link.raw().extend_from_slice(&hello);
        Ok(Self {
            config,
            state: State::Handshake(handshake),
            link,
            events: VecDeque::new(),
            started: now,
            next_transaction: DELETE_STREAM + 1.0,
        })
    }

    /// Takes in bytes of the server.
    pub fn handle_input(&mut self, _now: Instant, input: &[u8]) -> Result<(), Error> {
        let result = self.input(input);
        if result.is_err() {
            self.state = State::Closed;
        }
        result
    }

    /// To be called when the time of [`poll_timeout`](Self::poll_timeout) has
    /// come; before that it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let what = match self.state {
            State::Handshake(_) => "no handshake from the server",
            State::Connecting => "no answer to connect",
            State::Creating => "no answer to createStream",
            State::Asking(_) => match self.config.intent {
                Intent::Publish => "no answer to publish",
                Intent::Play => "no answer to play",
            },
            State::Ready(_) => return Ok(()),
            State::Closed => return Err(Error::Closed),
        };
        let after = self.config.ready_timeout;
        if now < self.started + after {
            return Ok(());
        }
        self.state = State::Closed;
        Err(Error::Timeout { what, after })
    }

    /// When the server must have accepted the stream; `None` once it has.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Ready(_) | State::Closed => None,
            _ => Some(self.started + self.config.ready_timeout),
        }
    }

    /// Bytes that the server has acknowledged (message type 3), of those written
    /// since the connection began; `None` as long as it has acknowledged nothing.
    /// Many never do, most of the others every few megabytes.
    pub fn acknowledged(&self) -> Option<u64> {
        self.link.heard()
    }

    /// The next thing to write or to know.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        if let Some(bytes) = self.link.take_output() {
            return Some(ClientOutput::Write(bytes));
        }
        self.events.pop_front().map(ClientOutput::Event)
    }

    /// Sends the body of an FLV tag. Metadata gets the `@setDataFrame` that asks
    /// the server to keep it. Times are those of the sender, modulo 2^32.
    ///
    /// Nothing is queued here beyond what [`poll_output`](Self::poll_output) has
    /// not fetched yet; how much may wait for a slow server is for the caller to
    /// say.
    pub fn send(&mut self, kind: MediaKind, timestamp_ms: u32, body: &Bytes) -> Result<(), Error> {
        let stream = match self.state {
            State::Ready(stream) => stream,
            State::Closed => return Err(Error::Closed),
            _ => return Err(Error::NotReady),
        };
        let header = (kind.type_id(), stream, timestamp_ms);
        match kind {
            MediaKind::Audio => self.link.send(AUDIO_CSID, header, body),
            MediaKind::Video => self.link.send(VIDEO_CSID, header, body),
            MediaKind::Data if body.starts_with(message::SET_DATA_FRAME) => {
                self.link.send(AUDIO_CSID, header, body)
            }
            MediaKind::Data => {
                let framed = [message::SET_DATA_FRAME, body].concat();
                self.link.send(AUDIO_CSID, header, &framed)
            }
        }
    }

    /// Ends the stream in good order, as far as it has come.
    pub fn finish(&mut self) {
        if let State::Ready(stream) | State::Asking(stream) = self.state {
            // Commands of this size are always written.
            let _ = self.unpublish(stream);
        }
        self.close();
    }

    fn unpublish(&mut self, stream: u32) -> Result<(), Error> {
        if self.config.intent == Intent::Publish {
            self.stream_command("FCUnpublish", FC_UNPUBLISH)?;
        }
        let values = vec![Value::Null, f64::from(stream).into()];
        let delete = Command::new("deleteStream", DELETE_STREAM, values);
        self.link.command(COMMAND_CSID, 0, &delete)
    }

    fn input(&mut self, input: &[u8]) -> Result<(), Error> {
        let rest = match &mut self.state {
            State::Closed => return Err(Error::Closed),
            State::Handshake(handshake) => match handshake.push(input, self.link.raw())? {
                Step::Going => return Ok(()),
                Step::Done(rest) => {
                    self.connect()?;
                    Some(rest)
                }
            },
            _ => None,
        };
        let mut input = rest.as_deref().unwrap_or(input);
        while let Some(message) = self.link.message(&mut input)? {
            self.message(&message)?;
            if matches!(self.state, State::Closed) {
                return Ok(());
            }
        }
        self.link.acknowledge()
    }

    fn connect(&mut self) -> Result<(), Error> {
        let url = &self.config.url;
        let object = object([
            ("app", url.app().into()),
            ("type", "nonprivate".into()),
            ("flashVer", self.config.flash_ver.as_str().into()),
            ("tcUrl", url.tc_url().into()),
        ]);
        let connect = Command::new("connect", CONNECT, vec![object]);
        self.link.command(COMMAND_CSID, 0, &connect)?;
        self.state = State::Connecting;
        Ok(())
    }

    fn message(&mut self, message: &Message) -> Result<(), Error> {
        let Some(command) = self.link.read_command(message)? else {
            if self.config.intent == Intent::Play && matches!(self.state, State::Ready(_)) {
                let media = message::media(message.clone(), self.link.offset())?;
                self.events
                    .extend(media.into_iter().map(ClientEvent::Media));
            }
            return Ok(());
        };
        match command.name.as_str() {
            "_result" => self.result(&command),
            "_error" => {
                // releaseStream, FCPublish and _checkbw are courtesies: servers
                // that do not know them say so and go on.
                let asked = [CONNECT, CREATE_STREAM, PUBLISH, 0.0];
                if asked.contains(&command.transaction) && !matches!(self.state, State::Ready(_)) {
                    self.rejected(&command);
                }
                Ok(())
            }
            "onStatus" => {
                self.status(&command);
                Ok(())
            }
            "onBWDone" => {
                let check = Command::new("_checkbw", self.next_transaction, vec![Value::Null]);
                self.next_transaction += 1.0;
                self.link.command(COMMAND_CSID, 0, &check)
            }
            "close" => {
                self.close();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn result(&mut self, command: &Command) -> Result<(), Error> {
        // nginx-rtmp and SRS put 0 where the question's number should be.
        let answers = |transaction| [transaction, 0.0].contains(&command.transaction);
        match self.state {
            State::Connecting if answers(CONNECT) => {
                self.link.set_chunk_size(self.config.chunk_size)?;
                if self.config.intent == Intent::Publish {
                    self.stream_command("releaseStream", RELEASE_STREAM)?;
                    self.stream_command("FCPublish", FC_PUBLISH)?;
                }
                let create = Command::new("createStream", CREATE_STREAM, vec![Value::Null]);
                self.link.command(COMMAND_CSID, 0, &create)?;
                self.state = State::Creating;
            }
            State::Creating if answers(CREATE_STREAM) => {
                // A late answer to a courtesy has no number.
                let Some(id) = command.argument(0).as_number() else {
                    return Ok(());
                };
                // Saturates; a server's nonsense comes back to it.
                let stream = id as u32;
                let (name, last) = match self.config.intent {
                    Intent::Publish => ("publish", "live".into()),
                    // Live or nothing.
                    Intent::Play => ("play", (-1000.0).into()),
                };
                let values = vec![Value::Null, self.config.url.key().into(), last];
                let ask = Command::new(name, PUBLISH, values);
                self.link.command(PUBLISH_CSID, stream, &ask)?;
                self.state = State::Asking(stream);
            }
            _ => {}
        }
        Ok(())
    }

    fn status(&mut self, command: &Command) {
        // The object stands first, or second behind a null.
        let info = [command.argument(0), command.object()]
            .into_iter()
            .find(|value| value.fields().is_some());
        let text = |name| {
            info.and_then(|info| info.field(name))
                .and_then(Value::as_str)
        };
        if text("level") == Some("error") {
            return self.rejected(command);
        }
        let begun = match self.config.intent {
            Intent::Publish => "NetStream.Publish.Start",
            Intent::Play => "NetStream.Play.Start",
        };
        match (&self.state, text("code")) {
            (State::Asking(stream), Some(code)) if code == begun => {
                self.state = State::Ready(*stream);
                if self.config.intent == Intent::Play {
                    self.link.allow_media();
                }
                self.events.push_back(ClientEvent::Ready);
            }
            // Some servers keep the connection for the next publisher.
            (State::Ready(_), Some("NetStream.Play.UnpublishNotify" | "NetStream.Play.Stop"))
                if self.config.intent == Intent::Play =>
            {
                self.close();
            }
            _ => {}
        }
    }

    fn rejected(&mut self, command: &Command) {
        let find = |name| {
            let values = command.values.iter();
            let mut fields = values.filter_map(|value| value.field(name)?.as_str());
            fields.next().unwrap_or("").to_owned()
        };
        self.events.push_back(ClientEvent::Rejected {
            code: self.presentable(&find("code")),
            description: self.presentable(&find("description")),
        });
        self.close();
    }

    /// Text of a server, fit for a log: servers repeat keys in their complaints.
    fn presentable(&self, text: &str) -> String {
        // Before the key is looked for: it would be whole again without them.
        let text = text.chars().filter(|c| !is_invisible(*c)).collect();
        let (key, app) = (self.config.url.key(), self.config.url.app());
        let (name, query) = key.split_once('?').unwrap_or((key, ""));
        let (_, app_query) = app.split_once('?').unwrap_or((app, ""));
        let values = [query, app_query].into_iter().flat_map(|query| {
            let pairs = query.split('&');
            // A "1" says nothing.
            let values = pairs.filter_map(|pair| Some(pair.split_once('=')?.1));
            values.filter(|value| value.len() >= MIN_SECRET)
        });
        let whole = [key, app_query, query, name].into_iter().chain(values);
        let text = whole.fold(text, masked);
        text.chars().take(MAX_TEXT).collect()
    }

    /// Sends a command that names the stream.
    fn stream_command(&mut self, name: &str, transaction: f64) -> Result<(), Error> {
        let values = vec![Value::Null, self.config.url.key().into()];
        let command = Command::new(name, transaction, values);
        self.link.command(COMMAND_CSID, 0, &command)
    }

    fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.events.push_back(ClientEvent::Closed);
        }
    }
}

/// Control characters, and those that break or turn round a line.
fn is_invisible(c: char) -> bool {
    let breaks = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    c.is_control() || breaks
}

/// `text` without `secret`: wherever it stands, or, when it is so short that other
/// words may contain it, where it is a word.
fn masked(text: String, secret: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let stands = |at: usize| {
        secret.len() >= MIN_SECRET
            || !text[..at].ends_with(word) && !text[at + secret.len()..].starts_with(word)
    };
    if secret.is_empty() || !text.contains(secret) {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in text.match_indices(secret).filter(|(at, _)| stands(*at)) {
        shown.push_str(&text[from..at]);
        shown.push_str("***");
        from = at + secret.len();
    }
    shown.push_str(&text[from..]);
    shown
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Handshake(_) => "handshake",
            State::Connecting => "connecting",
            State::Creating => "creating",
            State::Asking(_) => "asking",
            State::Ready(_) => "ready",
            State::Closed => "closed",
        };
        f.debug_struct("ClientSession")
            .field("state", &state)
            .field("url", &self.config.url)
            .finish_non_exhaustive()
    }
}

// The numbers ffmpeg gives its questions.
const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const PUBLISH: f64 = 5.0;
const FC_UNPUBLISH: f64 = 6.0;
const DELETE_STREAM: f64 = 7.0;

// The chunk streams ffmpeg uses; metadata shares that of sound.
const AUDIO_CSID: u8 = 4;
const VIDEO_CSID: u8 = 6;
const PUBLISH_CSID: u8 = 8;

/// A secret shorter than this may be a part of any word.
const MIN_SECRET: usize = 8;
/// Characters kept of what a server says.
const MAX_TEXT: usize = 256;
