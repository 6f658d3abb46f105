//! Drives one RTMP session over one socket, in the clear or with TLS.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rtmp::{
    ConnectInfo, Connects, Event, Media, Output, PlayRequest, PublishRequest, ServerConfig,
    ServerSession,
};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::live::{Fault, Live, News};
use super::socket::Connected;
use crate::alarm::Alarm;
use crate::app::App;
use crate::auth::limiter::Manner;
use crate::auth::publish::{self, Denied};
use crate::hooks::{Client, Done, Fact, Protocol};
use crate::live::Dismissal;
use crate::name::StreamName;
use crate::players;
use crate::relay::Wishes;
use crate::tls::{self, Stream};

/// Serves a peer until it leaves, breaks a rule, or `stop` turns true.
pub(super) async fn run<S: Connected>(
    app: &Arc<App>,
    socket: S,
    peer: SocketAddr,
    protocol: Protocol,
    stop: watch::Receiver<bool>,
) {
    let config = ServerConfig {
        app: Some(app.config.rtmp.app.clone()),
        connects: match app.hooks.judges_connects() {
            true => Connects::Judged,
            false => Connects::Welcomed,
        },
        // What it sent may have been gathering for so long when it is read.
        idle_timeout: SILENCE + app.config.rtmp.merge,
        ..ServerConfig::default()
    };
    let session = ServerSession::new(config, app.now());
    let mut connection = Connection {
        app,
        client: Client::new(peer, protocol, "", ""),
        known: None,
        received: 0,
        peer,
        session,
        live: None,
        wants: None,
        closing: false,
        curt: false,
    };
    let why = connection.drive(socket, stop).await;
    connection.leave(&why);
    connection.gone(&why);
    debug!(%peer, reason = %why, "connection closed");
}

struct Connection<'a> {
    app: &'a Arc<App>,
    peer: SocketAddr,
    /// As hooks see it.
    client: Client,
    /// Since when hooks know of it.
    known: Option<std::time::Instant>,
    /// Bytes that came from it.
    received: u64,
    session: ServerSession,
    live: Option<Box<Live>>,
    /// What it has just asked to play.
    wants: Option<PlayRequest>,
    /// The session said its last word: close once it is written.
    closing: bool,
    /// Its last word need not arrive.
    curt: bool,
}

/// How a connection ended, for the log.
type Reason = String;

/// What woke the connection.
enum Wake {
    Input(std::io::Result<usize>),
    Deadline,
    News(News),
    Stop,
}

impl Connection<'_> {
    async fn drive<S: Connected>(&mut self, mut socket: S, stop: watch::Receiver<bool>) -> Reason {
        let mut input = vec![0; READ_BEFORE];
        let mut output = Vec::new();
        // What is waited for with every message is asked for once: a publisher
        // sends a hundred a second.
        let mut told = stop.clone();
        let mut stopping = pin!(async { _ = told.wait_for(|stop| *stop).await }.fuse());
        let mut alarm = Alarm::default();
        loop {
            while let Some(next) = self.session.poll_output() {
                match next {
                    Output::Write(bytes) => output.extend_from_slice(&bytes),
                    Output::Event(Event::Media(media)) => self.media(media),
                    Output::Event(event) => self.event(event).await,
                }
            }
            if let Some(live) = &self.live {
                live.taken();
                if input.len() < READ {
                    input = vec![0; READ];
                    let merge = self.app.config.rtmp.merge;
                    let epoch = self.app.started.into();
                    if let Err(error) = socket.socket().gather(merge, epoch) {
                        return format!("connection lost: {error}");
                    }
                }
            }
            if !output.is_empty() {
                match timeout(WRITE_DEADLINE, write(&mut socket, &output)).await {
                    Ok(Ok(())) => output.clear(),
                    Ok(Err(error)) => return format!("connection lost: {error}"),
                    Err(_) => return "the peer stopped reading".to_owned(),
                }
            }
            if self.closing {
                self.leave("closed");
                if self.curt {
                    return "closed".to_owned();
                }
                hang_up(&mut socket, &mut input).await;
                return "closed".to_owned();
            }
            if let Some(request) = self.wants.take() {
                let name = request.name.clone();
                let (app, client) = (self.app, &self.client);
                let asked = players::rtmp::open(app, self.peer, &mut self.session, client, request);
                let Some(mut player) = Box::pin(asked).await else {
                    continue;
                };
                info!(stream = %name, peer = %self.peer, player = %self.client.agent, "play accepted");
                let session = &mut self.session;
                let (app, peer) = (self.app, self.peer);
                // A player says little, and what there was to say first is said.
                input = vec![0; LEAST];
                drop(output);
                let play = players::rtmp::run(app, peer, &mut socket, session, &mut player, stop);
                // Publishers' tasks need not have room for it.
                let why = Box::pin(play).await;
                drop(player);
                hang_up(&mut socket, &mut input).await;
                return why;
            }
            alarm.set(self.session.poll_timeout().map(Instant::from_std));
            let wake = tokio::select! {
                biased;
                () = stopping.as_mut() => Wake::Stop,
                news = woken(&mut self.live) => Wake::News(news),
                read = tls::read(&mut socket, &mut input) => Wake::Input(read),
                () = alarm.rings() => Wake::Deadline,
            };
            let now = self.app.now();
            let result = match wake {
                Wake::Input(Ok(0)) => return "the peer closed the connection".to_owned(),
                Wake::Input(Err(error)) => return format!("connection lost: {error}"),
                Wake::Input(Ok(count)) => {
                    self.received += count as u64;
                    if let Some(live) = &self.live {
                        live.received(count, now);
                    }
                    self.session.handle_input(now, &input[..count])
                }
                Wake::Deadline => self.session.handle_timeout(now),
                Wake::News(News::Asked) => {
                    socket.socket().hurry();
                    Ok(())
                }
                Wake::News(News::Fault(fault)) => {
                    self.fail(&fault);
                    Ok(())
                }
                Wake::News(News::Dismissed(why)) => {
                    self.dismiss(why);
                    Ok(())
                }
                Wake::Stop => {
                    let why = "the server is shutting down";
                    self.live.iter_mut().for_each(|live| live.end(why));
                    self.session.fail("NetConnection.Connect.Closed", why);
                    Ok(())
                }
            };
            if let Err(error) = result {
                // What the session still wants said comes first.
                while let Some(next) = self.session.poll_output() {
                    if let Output::Write(bytes) = next {
                        output.extend_from_slice(&bytes);
                    }
                }
                warn!(peer = %self.peer, error = %chain(&error), "connection refused");
                self.leave(&error.to_string());
                let _ = timeout(LINGER, socket.write_all(&output)).await;
                hang_up(&mut socket, &mut input).await;
                return error.to_string();
            }
        }
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Connected(info) => {
                self.client.describe(&info.app, &info.flash_ver);
                self.app.hooks.welcomed(&self.client);
                self.connected();
            }
            Event::Connecting(info) => self.connect(&info).await,
            Event::Publish(request) => self.publish(request).await,
            Event::Media(media) => self.media(media),
            Event::Unpublished => {
                if let Some(mut live) = self.live.take() {
                    info!(stream = %live.name(), peer = %self.peer, "unpublished");
                    live.end("unpublished");
                }
            }
            Event::Play(request) => self.wants = Some(request),
            Event::Stopped => self.wants = None,
            Event::Closed => self.closing = true,
            // The key may be in anything else a peer says about itself.
            _ => {}
        }
    }

    fn media(&mut self, media: Media) {
        let Some(live) = &mut self.live else { return };
        if let Err(fault) = live.media(media) {
            self.fail(&fault);
        }
    }

    /// The verdict comes before the welcome: an encoder that was told "Start"
    /// and is then dropped tries again for ever.
    async fn publish(&mut self, request: PublishRequest) {
        let admission = match Box::pin(publish::admit(self.app, &self.client, &request)).await {
            Ok(admission) => admission,
            Err(denied) => return self.deny(&denied),
        };
        let name = &admission.name;
        if let Some(other) = self.app.directory.on_air(name) {
            // Encoders return as soon as they have left, which may not be read yet.
            other.publisher.look().await;
        }
        match Live::start(self.app, &admission) {
            Ok(mut live) => {
                info!(stream = %name, peer = %self.peer, encoder = %printable(&request.flash_ver), "publish accepted");
                live.relay(Wishes {
                    query: request.query,
                    own: admission.targets,
                    granted: admission.granted,
                });
                live.tell(&self.client);
                self.live = Some(Box::new(live));
                self.session.accept_publish();
                publish::note_use(self.app, admission.key);
            }
            Err(fault) => {
                self.app.metrics.refused(match fault {
                    Fault::Refused(_) => "live",
                    _ => "failed",
                });
                self.refuse(Some(name), &format!("{name}: {fault}"));
            }
        }
    }

    /// Refuses a publisher that may not; one that has tried often already with few
    /// words.
    fn deny(&mut self, denied: &Denied) {
        self.app.metrics.refused(denied.kind());
        let manner = match denied.is_guess() {
            true => self.app.failures.failed(self.peer.ip(), self.app.now()),
            false => Manner::Told,
        };
        let why = denied.to_string();
        match manner {
            Manner::Told => return self.refuse(denied.stream(), &why),
            Manner::Last => {
                self.app.hooks.refused(&self.client, denied.stream(), &why);
                warn!(peer = %self.peer, reason = %why, "publish refused; further attempts of this address are not mentioned for a minute");
            }
            Manner::Curt => self.curt = true,
        }
        self.session
            .reject_publish("NetStream.Publish.BadName", &why);
    }

    /// Ends a live session that may not go on.
    fn dismiss(&mut self, why: Dismissal) {
        let told = match why {
            Dismissal::Displaced => "another publisher took over this stream",
            Dismissal::Key => {
                "the stream key is no longer good: it was replaced, disabled or removed"
            }
            Dismissal::Disabled => "this stream was disabled",
        };
        if let Some(live) = &mut self.live {
            warn!(stream = %live.name(), peer = %self.peer, reason = told, "the publisher has to go");
            match why {
                Dismissal::Displaced => live.goes(told),
                Dismissal::Key | Dismissal::Disabled => live.end(told),
            }
        }
        self.session.fail("NetStream.Publish.BadName", told);
    }

    /// Gives the name back and ends the broadcast, before any polite waiting.
    fn leave(&mut self, why: &str) {
        if let Some(mut live) = self.live.take() {
            live.goes(why);
            info!(stream = %live.name(), peer = %self.peer, reason = %why, "publisher gone");
        }
    }

    async fn connect(&mut self, info: &ConnectInfo) {
        self.client.describe(&info.app, &info.flash_ver);
        let asked = self.app.hooks.pre_connect(&self.client);
        if let Err(no) = Box::pin(asked).await {
            warn!(peer = %self.peer, reason = %no, "connection refused");
            return self.session.reject_connect(no.reason());
        }
        self.connected();
        if let Err(error) = self.session.accept_connect(self.app.now()) {
            warn!(peer = %self.peer, error = %chain(&error), "connection refused");
            self.closing = true;
        }
    }

    /// Hooks know of it from here on.
    fn connected(&mut self) {
        self.known = Some(self.app.now());
        let client = self.client.clone();
        self.app.hooks.emit(Fact::PostConnect { client });
    }

    /// The connection has ended.
    fn gone(&mut self, why: &str) {
        let Some(since) = self.known.take() else {
            return;
        };
        self.app.hooks.emit(Fact::DoneConnect {
            client: self.client.clone(),
            done: Done::new(since, self.app.now(), self.received, why),
        });
    }

    fn refuse(&mut self, name: Option<&StreamName>, why: &str) {
        warn!(peer = %self.peer, reason = %why, "publish refused");
        self.app.hooks.refused(&self.client, name, why);
        self.session
            .reject_publish("NetStream.Publish.BadName", why);
    }

    /// Ends a live session with the reason on the publisher's screen.
    fn fail(&mut self, fault: &Fault) {
        if let Some(live) = &mut self.live {
            warn!(stream = %live.name(), peer = %self.peer, reason = %fault, "stream ended: it cannot be carried");
            live.end(&fault.to_string());
        }
        self.session
            .fail("NetStream.Publish.Rejected", &fault.to_string());
    }
}

/// Resolves when something other than the socket has news for the session.
async fn woken(live: &mut Option<Box<Live>>) -> News {
    match live {
        Some(live) => live.woken().await,
        None => pending().await,
    }
}

async fn write<S: Stream>(socket: &mut S, output: &[u8]) -> std::io::Result<()> {
    socket.write_all(output).await?;
    socket.flush().await
}

/// Closes so that the last words arrive: half closed, and the peer's own input
/// read and forgotten for a while. Input left unread would make the kernel
/// reset the connection, and a reset takes the words back.
async fn hang_up<S: Connected>(socket: &mut S, input: &mut [u8]) {
    socket.socket().hurry();
    let forget = async {
        // With TLS there may be something left to write.
        let _ = socket.shutdown().await;
        while tls::read(socket, input).await.is_ok_and(|count| count > 0) {}
    };
    let _ = timeout(LINGER, forget).await;
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A peer's words, fit for a log line.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(64)
        .collect()
}

/// Read at a time: a turn of the loop handles at most this much, which keeps a
/// 50 Mbit/s publisher from holding a worker for longer than its share.
const READ: usize = 64 << 10;
/// Read at a time before a peer publishes: a handshake, some commands.
const READ_BEFORE: usize = 4 << 10;
/// Of a player that is to go.
const LEAST: usize = 256;

/// A publisher that sends nothing for so long is gone: its viewers look at a
/// frozen playlist meanwhile.
const SILENCE: Duration = Duration::from_secs(10);

/// A peer that does not read its acknowledgements for so long is gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Time for a peer to read why it was turned away.
const LINGER: Duration = Duration::from_secs(2);
