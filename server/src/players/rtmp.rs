//! RTMP players: one task, one cursor, vectored writes.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rtmp::{Event, Output, PlayRequest, ServerSession};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::{Feed, Form, Left, Part};
use crate::alarm::Alarm;
use crate::app::App;
use crate::auth::play::{Pass, Refused};
use crate::hooks::{Client, Playing, Viewing};
use crate::name::StreamName;
use crate::tls;

/// A player that was let in.
pub(crate) struct Player {
    feed: Feed,
    pass: Pass,
    playing: Box<Playing>,
    _place: OwnedSemaphorePermit,
}

/// Finds what a player asks for and a place for it, and asks whether it may have
/// it; or tells it why not.
pub(crate) async fn open(
    app: &App,
    peer: SocketAddr,
    session: &mut ServerSession,
    client: &Client,
    request: PlayRequest,
) -> Option<Player> {
    let Ok(place) = Arc::clone(&app.player_places).try_acquire_owned() else {
        session.fail(
            "NetStream.Play.Failed",
            "this server has all the players it may have",
        );
        return None;
    };
    let name: Option<StreamName> = request.name.parse().ok();
    let mut pass = Pass::FREE;
    if let Some(name) = &name {
        let shown = request.query.iter().find(|(key, _)| key == "token");
        let token = shown.map(|(_, token)| token.as_str());
        pass = match app.viewers.admit(name, token, peer.ip(), app.unix_ms()) {
            Ok(pass) => pass,
            Err(refused) => {
                info!(%peer, reason = %refused, "play refused");
                session.fail("NetStream.Play.Failed", &refused.to_string());
                return None;
            }
        };
    }
    let on_air = |name: &StreamName| app.directory.on_air(name).is_some();
    let Some(stream) = name.filter(on_air) else {
        not_found(session);
        return None;
    };
    let query = request.query;
    let viewing = Viewing { stream, query };
    if let Err(no) = app.hooks.pre_play(client, &viewing).await {
        session.fail("NetStream.Play.Failed", no.reason());
        return None;
    }
    // Looked for again: that may have taken a while.
    let broadcast = app.directory.on_air(&viewing.stream);
    let lagged = Arc::clone(&app.metrics.players_lagged.rtmp);
    let feed = broadcast.and_then(|broadcast| Feed::open(broadcast, Form::Rtmp, lagged));
    let Some(feed) = feed else {
        not_found(session);
        return None;
    };
    session.accept_play();
    Some(Player {
        feed,
        pass,
        playing: app.hooks.plays(client, &viewing.stream),
        _place: place,
    })
}

fn not_found(session: &mut ServerSession) {
    // The name may be somebody's key by mistake: it is not repeated.
    let why = "no stream of this name is live now";
    session.fail("NetStream.Play.StreamNotFound", why);
}

/// Plays until the stream ends, the player leaves, stops reading or may not watch any
/// longer, or `stop` turns true. Gives the reason.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    app: &App,
    peer: SocketAddr,
    socket: &mut S,
    session: &mut ServerSession,
    player: &mut Player,
    stop: watch::Receiver<bool>,
) -> String {
    let why = play(app, peer, socket, session, player, stop).await;
    player.playing.over(&why);
    why
}

async fn play<S: AsyncRead + AsyncWrite + Unpin>(
    app: &App,
    peer: SocketAddr,
    socket: &mut S,
    session: &mut ServerSession,
    player: &mut Player,
    mut stop: watch::Receiver<bool>,
) -> String {
    let Player {
        feed,
        pass,
        playing,
        ..
    } = player;
    let mut input = [0; READ];
    let mut out: Vec<Part> = Vec::new();
    let mut stopping = pin!(async { _ = stop.wait_for(|stop| *stop).await }.fuse());
    let mut alarm = Alarm::default();
    // Since when it wants nothing.
    let mut paused: Option<Instant> = None;
    let mut over = false;
    loop {
        while let Some(output) = session.poll_output() {
            match output {
                Output::Write(bytes) => out.push(Part::Bytes(bytes)),
                Output::Event(Event::Paused(pause)) => {
                    if paused.is_some() && !pause {
                        feed.skip();
                    }
                    paused = pause.then(|| paused.unwrap_or_else(Instant::now));
                }
                Output::Event(Event::Stopped) => return "the player stopped".to_owned(),
                Output::Event(Event::Closed) => over = true,
                Output::Event(event) => debug!(%peer, ?event, "not for a player"),
            }
        }
        let mut left = Left::Nothing;
        if !over && paused.is_none() {
            left = feed.gather(&mut out, AT_ONCE);
        }
        if !out.is_empty() {
            if let Some(stream) = session.plays_on() {
                out.iter_mut().for_each(|part| part.readdress(stream));
            }
            match write(socket, &out).await {
                Ok(count) => playing.sent(count),
                Err(why) => return why,
            }
            out.clear();
        }
        if over {
            return "closed".to_owned();
        }
        match left {
            Left::Nothing | Left::More => {}
            Left::End => {
                info!(%peer, "the stream ended for a player");
                session.end_play();
                continue;
            }
        }
        match pass.left(app.unix_ms()) {
            Some(look) => alarm.set(look.map(|time| Instant::now() + time)),
            None => {
                info!(%peer, "the token of a player has expired");
                session.fail("NetStream.Play.Failed", &Refused::Expired.to_string());
                continue;
            }
        }
        alarm.set(paused.map(|since| since + LONGEST_PAUSE));
        tokio::select! {
            biased;
            () = stopping.as_mut() => {
                session.fail("NetConnection.Connect.Closed", "the server is shutting down");
            }
            read = tls::read(socket, &mut input) => {
                let count = match read {
                    Ok(0) => return "the player closed the connection".to_owned(),
                    Err(error) => return format!("connection lost: {error}"),
                    Ok(count) => count,
                };
                if let Err(error) = session.handle_input(app.now(), &input[..count]) {
                    return error.to_string();
                }
            }
            () = feed.ready(), if paused.is_none() => {}
            () = alarm.rings() => {
                let now = Instant::now();
                if paused.is_some_and(|since| since + LONGEST_PAUSE <= now) {
                    return format!("the player paused for {LONGEST_PAUSE:?}");
                }
            }
        }
    }
}

/// Writes all of `parts`, as many at a time as the socket takes. Gives their bytes.
async fn write<S: AsyncWrite + Unpin>(socket: &mut S, parts: &[Part]) -> Result<u64, String> {
    let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(2 * parts.len());
    for part in parts {
        match part.message() {
            Ok(message) => slices.extend(message.parts().map(IoSlice::new)),
            Err(b"") => {}
            Err(bytes) => slices.push(IoSlice::new(bytes)),
        }
    }
    let bytes = slices.iter().map(|slice| slice.len() as u64).sum();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let most = rest.len().min(MOST_SLICES);
        match timeout(WRITE_DEADLINE, socket.write_vectored(&rest[..most])).await {
            Ok(Ok(0)) => return Err(io::Error::from(io::ErrorKind::WriteZero).to_string()),
            Ok(Ok(count)) => IoSlice::advance_slices(&mut rest, count),
            Ok(Err(error)) => return Err(format!("connection lost: {error}")),
            Err(_) => return Err(format!("the player read nothing for {WRITE_DEADLINE:?}")),
        }
    }
    // What TLS holds back otherwise stays until the next message.
    match timeout(WRITE_DEADLINE, socket.flush()).await {
        Ok(Ok(())) => Ok(bytes),
        Ok(Err(error)) => Err(format!("connection lost: {error}")),
        Err(_) => Err(format!("the player read nothing for {WRITE_DEADLINE:?}")),
    }
}

/// Bytes taken from the ring at a time, and so held for a player that has
/// stopped reading.
const AT_ONCE: usize = 64 << 10;
/// What Linux takes at once (`IOV_MAX`).
const MOST_SLICES: usize = 1024;
/// Players say little: an acknowledgement now and then.
const READ: usize = 256;
/// A paused player is sent nothing, so that it would not be noticed when it is gone.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A player that takes nothing for so long is let go.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
