//! The side that receives publishers and players.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use amf0::Value;
use bytes::Bytes;

use crate::command::{Command, info, object};
use crate::handshake::{Handshake, Step};
use crate::link::{COMMAND_CSID, Link};
use crate::message::{self, Message};
use crate::{ConnectInfo, Error, Limits, Media, PlayRequest, PublishRequest, shared};

/// How a [`ServerSession`] treats its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The only application accepted, without slashes around it; `None` accepts
    /// all of them. A query behind it does not count.
    pub app: Option<String>,
    /// Who is welcome. Default [`Connects::Welcomed`].
    pub connects: Connects,
    /// Bytes in a chunk that is sent, 1 to 2^31 - 1. Default [`CHUNK_SIZE`], which
    /// players get in any case: ffmpeg sends with the size its server announces,
    /// and large chunks cost it least.
    ///
    /// [`CHUNK_SIZE`]: crate::CHUNK_SIZE
    pub chunk_size: u32,
    /// Bytes after which the peer shall acknowledge, and may send ahead of an
    /// acknowledgement. Default 2 500 000, as the Flash servers had it.
    pub window: u32,
    /// Time for the handshake. Default 5 s.
    pub handshake_timeout: Duration,
    /// Time from the handshake to the request to publish or play. Default 10 s.
    pub publish_timeout: Duration,
    /// Longest silence of a publisher. Default 30 s.
    pub idle_timeout: Duration,
    /// How much it may take.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            app: None,
            connects: Connects::Welcomed,
            chunk_size: shared::CHUNK_SIZE,
            window: 2_500_000,
            handshake_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

/// What becomes of a peer that connects to the right application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connects {
    /// It is welcomed at once.
    Welcomed,
    /// It waits for a verdict, [`Event::Connecting`].
    Judged,
}

/// What [`ServerSession::poll_output`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes for the peer, in this order.
    Write(Bytes),
    /// Something to know or to decide.
    Event(Event),
}

/// What a publisher or a player does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It has connected to the application. Nothing has to be decided.
    Connected(ConnectInfo),
    /// It asks to connect, and waits for [`ServerSession::accept_connect`] or
    /// [`ServerSession::reject_connect`]; instead of [`Event::Connected`] where
    /// connections are [`Connects::Judged`].
    Connecting(ConnectInfo),
    /// It asks to publish, and waits for [`ServerSession::accept_publish`] or
    /// [`ServerSession::reject_publish`].
    Publish(PublishRequest),
    /// It sent media; only after it was accepted.
    Media(Media),
    /// It ended the stream in good order, or withdrew its request. Once for each
    /// [`Event::Publish`] at most.
    Unpublished,
    /// It asks to play, and waits for [`ServerSession::accept_play`] or
    /// [`ServerSession::fail`].
    Play(PlayRequest),
    /// A player wants nothing for a while, or something again.
    Paused(bool),
    /// It stopped playing in good order, or withdrew its request.
    Stopped,
    /// This side has ended the session: write what there is to write and close
    /// the connection. Nothing follows.
    Closed,
}

/// One connection of a publisher or a player, from its first byte.
///
/// After each call that takes `now` or decides something, poll the outputs to
/// the end. When a call gives an error, write the outputs that are left (they
/// tell the peer why) and close the connection; every further call gives
/// [`Error::Closed`]. A connection that ends without [`Event::Unpublished`] is a
/// publisher that was lost, and may come back.
///
/// The work of one call, and the size of its outputs, grow with its input alone:
/// pass what one read of a socket gives, 64 KiB at most.
pub struct ServerSession {
    config: ServerConfig,
    state: State,
    link: Link,
    peer: ConnectInfo,
    /// Message streams created; their ids count from 1.
    streams: u32,
    events: VecDeque<Event>,
    /// Media that came before the verdict, and its bytes.
    held: Vec<Media>,
    held_bytes: usize,
    /// Input behind a `connect` that waits for its verdict.
    ahead: Vec<u8>,
    /// When the present wait began.
    since: Instant,
}

enum State {
    Handshake(Handshake),
    /// The handshake is done.
    Open,
    /// The verdict on `connect`, under this transaction number, is out.
    Asking(f64),
    /// `connect` was answered.
    Connected,
    /// The verdict on a publish request for this message stream is out.
    Pending(u32),
    Publishing(u32),
    /// The verdict on a request to play is out.
    Wanting(u32),
    Playing(u32),
    Closed,
}

impl ServerSession {
    /// A session for a connection that was accepted at `now`.
    pub fn new(config: ServerConfig, now: Instant) -> Self {
        Self {
            link: Link::new(&config.limits),
            config,
            state: State::Handshake(Handshake::server()),
            peer: ConnectInfo::default(),
            streams: 0,
            events: VecDeque::new(),
            held: Vec::new(),
            held_bytes: 0,
            ahead: Vec::new(),
            since: now,
        }
    }

    /// Takes in bytes of the peer.
    pub fn handle_input(&mut self, now: Instant, input: &[u8]) -> Result<(), Error> {
        let result = self.input(now, input);
        if let Err(error) = &result {
            self.tell(error);
        }
        result
    }

    /// To be called when the time of [`poll_timeout`](Self::poll_timeout) has
    /// come; before that it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let Some((what, after)) = self.wait() else {
            return match self.state {
                State::Closed => Err(Error::Closed),
                _ => Ok(()),
            };
        };
        if now < self.since + after {
            return Ok(());
        }
        let error = Error::Timeout { what, after };
        self.tell(&error);
        Err(error)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; input may move it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wait().map(|(_, after)| self.since + after)
    }

    /// The next thing to write or to know; `None` until there is new input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(bytes) = self.link.take_output() {
            return Some(Output::Write(bytes));
        }
        self.events.pop_front().map(Output::Event)
    }

    /// Tells the peer that it is connected, and takes in what it has sent meanwhile:
    /// as [`handle_input`](Self::handle_input). Does nothing when no `connect` waits.
    pub fn accept_connect(&mut self, now: Instant) -> Result<(), Error> {
        let State::Asking(transaction) = self.state else {
            return Ok(());
        };
        let ahead = std::mem::take(&mut self.ahead);
        self.since = now;
        let welcomed = self.welcome(transaction);
        let result = welcomed.and_then(|()| self.input(now, &ahead));
        if let Err(error) = &result {
            self.tell(error);
        }
        result
    }

    /// Refuses the connection because of `description`, which encoders show, and
    /// ends the session. Does nothing when no `connect` waits.
    pub fn reject_connect(&mut self, description: &str) {
        if let State::Asking(transaction) = self.state {
            let code = "NetConnection.Connect.Rejected";
            // Too long to be written, it is left out: the session ends anyway.
            let _ = self.refuse_connect(transaction, code, description);
        }
    }

    /// Tells the peer that it may publish what it asked to. Does nothing when no
    /// request waits, because the peer may have left in the meantime.
    pub fn accept_publish(&mut self) {
        let State::Pending(stream) = self.state else {
            return;
        };
        self.state = State::Publishing(stream);
        let held = self.held.drain(..).map(Event::Media);
        self.events.extend(held);
        self.held_bytes = 0;
        let start = info(
            "status",
            "NetStream.Publish.Start",
            "the stream is being published",
        );
        let begun = self.link.control(message::stream_begin(stream));
        let told = begun.and_then(|()| self.status(stream, start));
        if told.is_err() {
            self.close();
        }
    }

    /// Refuses what the peer asked to publish and ends the session. Encoders
    /// show `code` (`NetStream.Publish.BadName`) or `description`. Does nothing
    /// when no request waits.
    pub fn reject_publish(&mut self, code: &str, description: &str) {
        if matches!(self.state, State::Pending(_)) {
            self.fail(code, description);
        }
    }

    /// Tells the peer that what it asked to play begins: media may be written to
    /// it from here on, each message for [`Self::plays_on`]. Does nothing when
    /// no request waits.
    pub fn accept_play(&mut self) {
        let State::Wanting(stream) = self.state else {
            return;
        };
        self.state = State::Playing(stream);
        if self.begin_play(stream).is_err() {
            self.close();
        }
    }

    fn begin_play(&mut self, stream: u32) -> Result<(), Error> {
        if self.config.chunk_size != shared::CHUNK_SIZE {
            self.link.set_chunk_size(shared::CHUNK_SIZE)?;
        }
        self.link.control(message::stream_begin(stream))?;
        for (code, description) in [
            ("NetStream.Play.Reset", "what was played before is left"),
            ("NetStream.Play.Start", "the stream begins"),
        ] {
            self.status(stream, info("status", code, description))?;
        }
        // Flash asked for it, and players built on it wait for it.
        let mut access = Vec::new();
        for value in ["|RtmpSampleAccess".into(), true.into(), true.into()] {
            amf0::write(&mut access, &value);
        }
        self.link
            .send(STATUS_CSID, (message::DATA, stream, 0), &access)
    }

    /// The message stream that a player plays on, for
    /// [`Framed::readdressed`](crate::Framed::readdressed). `None` for who does not
    /// play.
    pub fn plays_on(&self) -> Option<u32> {
        match self.state {
            State::Playing(stream) => Some(stream),
            _ => None,
        }
    }

    /// Tells a player that its stream has ended, and ends the session.
    pub fn end_play(&mut self) {
        let State::Playing(stream) = self.state else {
            return;
        };
        let ended = info(
            "status",
            "NetStream.Play.UnpublishNotify",
            "the stream has ended",
        );
        // Commands of this size are always written.
        let _ = self.status(stream, ended);
        let _ = self.link.control(message::stream_eof(stream));
        self.close();
    }

    /// Tells the peer why it cannot go on, whatever it is doing, and ends the
    /// session. Events not polled yet are dropped: only [`Event::Closed`]
    /// follows.
    pub fn fail(&mut self, code: &str, description: &str) {
        if !matches!(self.state, State::Closed) {
            self.events.clear();
            self.refuse(code, description);
        }
    }

    fn refuse(&mut self, code: &str, description: &str) {
        let stream = match self.state {
            State::Closed => return,
            // A peer without a handshake cannot be told anything.
            State::Handshake(_) => return self.close(),
            State::Open | State::Asking(_) | State::Connected => 0,
            State::Pending(stream)
            | State::Publishing(stream)
            | State::Wanting(stream)
            | State::Playing(stream) => stream,
        };
        // Too long to be written, it is left out: the session ends anyway.
        let _ = self.status(stream, info("error", code, description));
        self.close();
    }

    /// Ends the session because of `error`, which the peer hears about if it can.
    fn tell(&mut self, error: &Error) {
        let code = match self.state {
            State::Closed => return,
            State::Pending(_) | State::Publishing(_) => "NetStream.Publish.Failed",
            State::Wanting(_) | State::Playing(_) => "NetStream.Play.Failed",
            _ => "NetConnection.Connect.Failed",
        };
        self.refuse(code, &error.to_string());
        // The caller has the error and needs no event.
        self.events.pop_back();
    }

    fn input(&mut self, now: Instant, input: &[u8]) -> Result<(), Error> {
        if matches!(self.state, State::Pending(_) | State::Publishing(_)) && !input.is_empty() {
            self.since = now;
        }
        let rest = match &mut self.state {
            State::Closed => return Err(Error::Closed),
            State::Handshake(handshake) => match handshake.push(input, self.link.raw())? {
                Step::Going => return Ok(()),
                Step::Done(rest) => {
                    self.state = State::Open;
                    self.since = now;
                    Some(rest)
                }
            },
            _ => None,
        };
        let mut input = rest.as_deref().unwrap_or(input);
        if matches!(self.state, State::Asking(_)) {
            return self.keep(input);
        }
        while let Some(message) = self.link.message(&mut input)? {
            self.message(now, message)?;
            match self.state {
                State::Closed => return Ok(()),
                State::Asking(_) => return self.keep(input),
                _ => {}
            }
        }
        self.link.acknowledge()
    }

    /// Keeps what a peer says that does not wait for its welcome.
    fn keep(&mut self, input: &[u8]) -> Result<(), Error> {
        if self.ahead.len() + input.len() > AHEAD {
            return Err(Error::Limit {
                what: "bytes before the connection is accepted",
                max: AHEAD,
            });
        }
        self.ahead.extend_from_slice(input);
        Ok(())
    }

    fn message(&mut self, now: Instant, message: Message) -> Result<(), Error> {
        if let Some(command) = self.link.read_command(&message)? {
            return self.command(now, message.stream, &command);
        }
        match self.state {
            State::Publishing(_) => {
                let media = message::media(message, self.link.offset())?;
                self.events.extend(media.into_iter().map(Event::Media));
                Ok(())
            }
            State::Pending(_) => self.hold(message),
            // Encoders that were never asked to send it have nowhere to send it.
            _ => Ok(()),
        }
    }

    /// Keeps media of an encoder that does not wait for the verdict: its
    /// sequence headers come only once.
    fn hold(&mut self, message: Message) -> Result<(), Error> {
        for media in message::media(message, self.link.offset())? {
            self.held_bytes += media.body.len() + size_of::<Media>();
            if self.held_bytes > self.config.limits.held {
                return Err(Error::Limit {
                    what: "bytes of media before the stream is accepted",
                    max: self.config.limits.held,
                });
            }
            self.held.push(media);
        }
        Ok(())
    }

    fn command(&mut self, now: Instant, stream: u32, command: &Command) -> Result<(), Error> {
        let name = command.name.as_str();
        if matches!(self.state, State::Open) {
            return match name {
                "connect" => self.connect(command),
                _ => Err(self.link.malformed("a command before connect")),
            };
        }
        match name {
            "connect" => Err(self.link.malformed("a second connect")),
            "createStream" => {
                self.streams = self.streams.wrapping_add(1).max(1);
                self.result(command, Value::from(f64::from(self.streams)))
            }
            "publish" => {
                self.publish(now, stream, command);
                Ok(())
            }
            "play" | "play2" => {
                self.play(stream, command);
                Ok(())
            }
            "pause" | "pauseRaw" => self.pause(command),
            "FCUnpublish" | "closeStream" => {
                self.leave(now);
                self.result(command, Value::Null)
            }
            "deleteStream" => {
                // Another stream that was created may go; a number that means
                // nothing is taken for the stream there is.
                let id = command.argument(0).as_number();
                let other = |id: f64| id >= 1.0 && id <= f64::from(self.streams);
                if self.stream().map(f64::from) == id || !id.is_some_and(other) {
                    self.leave(now);
                }
                Ok(())
            }
            "getStreamLength" => self.result(command, Value::from(0.0)),
            // Answers, and what needs none.
            "_result" | "_error" | "onStatus" => Ok(()),
            // releaseStream, FCPublish, _checkbw and whatever else is asked.
            _ => self.result(command, Value::Null),
        }
    }

    fn connect(&mut self, command: &Command) -> Result<(), Error> {
        let peer = ConnectInfo::from_object(command.object());
        if let Some(app) = &self.config.app
            && *app != peer.app
        {
            let description = format!(
                "unknown app: the server's URL must end in /{app}, and the key stands apart"
            );
            let code = "NetConnection.Connect.InvalidApp";
            return self.refuse_connect(command.transaction, code, &description);
        }
        self.peer = peer.clone();
        if self.config.connects == Connects::Judged {
            self.state = State::Asking(command.transaction);
            self.events.push_back(Event::Connecting(peer));
            return Ok(());
        }
        self.welcome(command.transaction)?;
        self.events.push_back(Event::Connected(peer));
        Ok(())
    }

    fn refuse_connect(
        &mut self,
        transaction: f64,
        code: &str,
        description: &str,
    ) -> Result<(), Error> {
        let values = vec![Value::Null, info("error", code, description)];
        let refusal = Command::new("_error", transaction, values);
        let told = self.link.command(COMMAND_CSID, 0, &refusal);
        self.close();
        told
    }

    /// Answers `connect`.
    fn welcome(&mut self, transaction: f64) -> Result<(), Error> {
        self.link.announce_window(self.config.window)?;
        self.link
            .control(message::peer_bandwidth(self.config.window))?;
        self.link.control(message::stream_begin(0))?;
        self.link.set_chunk_size(self.config.chunk_size)?;
        let properties = object([
            ("fmsVer", "FMS/3,5,7,7009".into()),
            ("capabilities", 31.0.into()),
            ("mode", 1.0.into()),
        ]);
        let info = object([
            ("level", "status".into()),
            ("code", "NetConnection.Connect.Success".into()),
            ("description", "Connection succeeded.".into()),
            ("objectEncoding", 0.0.into()),
        ]);
        let result = Command::new("_result", transaction, vec![properties, info]);
        self.link.command(COMMAND_CSID, 0, &result)?;
        self.state = State::Connected;
        Ok(())
    }

    fn publish(&mut self, now: Instant, stream: u32, command: &Command) {
        if self.stream().is_some() {
            let code = "NetStream.Publish.BadName";
            return self.refuse(code, "this connection publishes or plays already");
        }
        let text = |index| command.argument(index).as_str().unwrap_or("");
        let request = self.peer.publish(text(0), text(1));
        self.state = State::Pending(stream);
        self.since = now;
        self.link.allow_media();
        self.events.push_back(Event::Publish(request));
    }

    fn play(&mut self, stream: u32, command: &Command) {
        if self.stream().is_some() {
            let code = "NetStream.Play.Failed";
            return self.refuse(code, "this connection publishes or plays already");
        }
        let request = self.peer.play(command.argument(0).as_str().unwrap_or(""));
        self.state = State::Wanting(stream);
        self.events.push_back(Event::Play(request));
    }

    fn pause(&mut self, command: &Command) -> Result<(), Error> {
        let State::Playing(stream) = self.state else {
            return self.result(command, Value::Null);
        };
        let paused = command.argument(0).as_bool().unwrap_or(true);
        self.events.push_back(Event::Paused(paused));
        let (code, description) = match paused {
            true => ("NetStream.Pause.Notify", "paused"),
            false => ("NetStream.Unpause.Notify", "goes on with the present"),
        };
        self.status(stream, info("status", code, description))
    }

    /// The peer gives up what it publishes or plays.
    fn leave(&mut self, now: Instant) {
        let event = match self.state {
            State::Pending(_) | State::Publishing(_) => Event::Unpublished,
            State::Wanting(_) | State::Playing(_) => Event::Stopped,
            _ => return,
        };
        self.held.clear();
        self.held_bytes = 0;
        self.state = State::Connected;
        self.since = now;
        self.events.push_back(event);
    }

    /// The message stream that is, or shall be, published or played.
    fn stream(&self) -> Option<u32> {
        match self.state {
            State::Pending(stream)
            | State::Publishing(stream)
            | State::Wanting(stream)
            | State::Playing(stream) => Some(stream),
            _ => None,
        }
    }

    /// What the peer owes, and the time it has for it.
    fn wait(&self) -> Option<(&'static str, Duration)> {
        match self.state {
            State::Handshake(_) => Some(("no handshake", self.config.handshake_timeout)),
            State::Open | State::Connected => {
                Some(("no request to publish or play", self.config.publish_timeout))
            }
            State::Pending(_) | State::Publishing(_) => {
                Some(("no byte from the publisher", self.config.idle_timeout))
            }
            // A player may be silent for ever; that it reads is seen by writing.
            State::Wanting(_) | State::Playing(_) | State::Closed => None,
            // The verdict is this side's.
            State::Asking(_) => None,
        }
    }

    /// Answers `command`, if it wants an answer.
    fn result(&mut self, command: &Command, value: Value) -> Result<(), Error> {
        if command.transaction == 0.0 {
            return Ok(());
        }
        let values = vec![Value::Null, value];
        let result = Command::new("_result", command.transaction, values);
        self.link.command(COMMAND_CSID, 0, &result)
    }

    fn status(&mut self, stream: u32, info: Value) -> Result<(), Error> {
        self.link
            .command(STATUS_CSID, stream, &Command::on_status(info))
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.held.clear();
        self.ahead.clear();
        self.events.push_back(Event::Closed);
    }
}

impl fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Handshake(_) => "handshake",
            State::Open => "open",
            State::Asking(_) => "asking",
            State::Connected => "connected",
            State::Pending(_) => "pending",
            State::Publishing(_) => "publishing",
            State::Wanting(_) => "wanting",
            State::Playing(_) => "playing",
            State::Closed => "closed",
        };
        f.debug_struct("ServerSession")
            .field("state", &state)
            .field("peer", &self.peer)
            .field("received", &self.link.offset())
            .finish_non_exhaustive()
    }
}

/// What a peer may send behind a `connect` that is not answered: one read.
const AHEAD: usize = 64 << 10;

/// Chunk stream of `onStatus`.
const STATUS_CSID: u8 = 5;
