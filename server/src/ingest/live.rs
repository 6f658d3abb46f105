//! A publisher that was let in: its claim on the name, its demuxer, its ring,
//! its ladder.

use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use fanout::{Ring, Start, Writer};
use flv::Demuxer;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use media::{AccessUnit, Track};
use rtmp::{Media, MediaKind};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::app::App;
use crate::auth::publish::Admission;
use crate::hooks::{Client, Done, Fact, Sent, Watcher};
use crate::ladder::worker::{self, Failure};
use crate::ladder::{self, Hints};
use crate::live::{Broadcast, Claim, Dismissal, KEPT_FOR_READERS, Packet, Refused, StartLadder};
use crate::name::StreamName;
use crate::record::source;
use crate::relay::{Left, Wishes};

pub(super) struct Live {
    app: Arc<App>,
    claim: Claim,
    demuxer: Demuxer,
    ring: Writer<Arc<Packet>>,
    /// News beside the socket's. Lives as long as this does, so that a publisher's
    /// every message need not ask for it anew.
    news: BoxStream<'static, News>,
    /// How it goes away, if it does now.
    leaving: Left,
    /// Whose it is and since when, once hooks know of it.
    told: Option<(Client, Instant)>,
    /// What it sends, and who looks at that.
    sent: Arc<Sent>,
    watcher: Option<Watcher>,
    /// Why it goes away, once that is known.
    why: Option<String>,
    video: bool,
    anchored: bool,
    damaged: u64,
}

/// What a publisher's connection hears of others.
pub(super) enum News {
    /// The ladder failed.
    Fault(Fault),
    /// It has to go.
    Dismissed(Dismissal),
    /// Another one would like to: is this one still there?
    Asked,
}

/// Why a stream cannot go on, in words for the encoder's screen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Ladder(#[from] Failure),
    #[error(transparent)]
    Demux(#[from] flv::Error),
    #[error("no thread could be started for this stream")]
    Thread,
}

impl Live {
    /// Claims the name and starts the ladder.
    pub(super) fn start(app: &Arc<App>, admission: &Admission) -> Result<Self, Fault> {
        let name = &admission.name;
        let claim = app.directory.claim(name, app.unix_ms(), app.now())?;
        if let Some(key) = admission.key {
            claim.broadcast().publisher.showed(key);
        }
        let (ring, readers) = claim.broadcast().open_ring(fanout::Limits {
            min_span: match app.config.hls.enabled {
                true => KEPT_FOR_LADDER,
                false => KEPT_FOR_READERS,
            },
            ..fanout::Limits::default()
        });
        let (failed, failure) = oneshot::channel();
        let broadcast = claim.broadcast();
        let tap = app.recorder.as_ref().filter(|_| admission.record);
        if let Some(tap) = tap.map(|recorder| recorder.tap(name, broadcast.session())) {
            if app.config.hls.enabled {
                broadcast.record(tap);
            } else {
                let reader = readers.reader(Start::Oldest);
                source::record(Arc::clone(broadcast), reader, tap);
            }
        }
        let settings = app.ladder(broadcast, admission.top_rung.as_deref());
        if app.config.hls.enabled {
            let reader = readers.reader(Start::Oldest);
            let (ended, server) = (Arc::clone(broadcast), Arc::clone(app));
            let done = move |result: Result<_, Failure>| {
                if let Err(failure) = result {
                    if matches!(failure, Failure::Panic) {
                        server.metrics.panics.ladder.fetch_add(1, Ordering::Relaxed);
                        error!(stream = %ended.name(), "the transcoder panicked; the stream is ended");
                    }
                    // Nobody listens any more when the publisher left first.
                    let _ = failed.send(failure);
                }
                ended.end(server.now());
                info!(stream = %ended.name(), "broadcast ended");
            };
            worker::spawn(name.as_str(), settings, Arc::clone(broadcast), reader, done).map_err(
                |error| {
                    error!(stream = %name, %error, "no thread for the ladder");
                    claim.broadcast().end(app.now());
                    Fault::Thread
                },
            )?;
        } else if !settings.unlisted.is_empty() {
            broadcast.start_ladder_on_demand(on_demand(app, broadcast, settings, readers));
        }
        let news = news(failure, Arc::clone(broadcast)).boxed();
        Ok(Self {
            app: Arc::clone(app),
            claim,
            demuxer: Demuxer::new(flv::Config::default()),
            ring,
            news,
            leaving: Left::Lost,
            told: None,
            sent: Arc::default(),
            watcher: None,
            why: None,
            video: false,
            anchored: false,
            damaged: 0,
        })
    }

    pub(super) fn name(&self) -> &StreamName {
        self.claim.broadcast().name()
    }

    /// Sends the stream on to its targets.
    pub(super) fn relay(&self, wishes: Wishes) {
        let relays = &self.app.relays;
        relays.begin(&self.app, self.claim.broadcast(), wishes);
    }

    /// Tells hooks that `client` publishes it, and once it is gone how that went.
    pub(super) fn tell(&mut self, client: &Client) {
        let broadcast = self.claim.broadcast();
        self.told = Some((client.clone(), self.app.now()));
        self.app.hooks.emit(Fact::PostPublish {
            client: client.clone(),
            stream: broadcast.name().clone(),
            session: broadcast.session(),
        });
        let (name, session) = (broadcast.name(), broadcast.session());
        let sent = Arc::clone(&self.sent);
        self.watcher = Some(self.app.hooks.watch(name, session, sent));
    }

    /// From now on it is no loss when the publisher goes: it said so, or the server
    /// has done with it, because of `why`.
    pub(super) fn end(&mut self, why: &str) {
        self.leaving = Left::Ended;
        self.goes(why);
    }

    /// It goes away because of `why`, unless it was for another reason.
    pub(super) fn goes(&mut self, why: &str) {
        self.why.get_or_insert_with(|| why.to_owned());
    }

    pub(super) fn received(&self, count: usize, now: Instant) {
        self.claim.broadcast().received(count, now);
    }

    /// Takes one message; [`Self::taken`] is called behind the last of several. A
    /// damaged one is counted; what can never be carried is a fault.
    pub(super) fn media(&mut self, media: Media) -> Result<(), Fault> {
        let unit = match media.kind {
            MediaKind::Video => self.demuxer.video(media.timestamp_ms, media.body),
            MediaKind::Audio => self.demuxer.audio(media.timestamp_ms, media.body),
            MediaKind::Data => {
                if let Some(metadata) = self.demuxer.script(&media.body) {
                    let hints = Hints::from(&metadata);
                    *self
                        .claim
                        .broadcast()
                        .hints
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = hints;
                }
                return Ok(());
            }
        };
        if let Some(jump) = self.demuxer.take_jump() {
            let before = self
                .claim
                .broadcast()
                .stats
                .jumps
                .fetch_add(1, Ordering::Relaxed);
            if before.is_multiple_of(LOG_EVERY) {
                warn!(stream = %self.name(), by = %jump.by, count = before + 1, "the publisher's clock jumped; the broadcast goes on without the gap");
            }
        }
        match unit {
            Ok(Some(unit)) => self.push(unit),
            Ok(None) => self.note_tracks(),
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => self.note_damage(&error),
        }
        Ok(())
    }

    fn push(&mut self, unit: AccessUnit) {
        let broadcast = self.claim.broadcast();
        if !self.anchored {
            self.anchored = true;
            broadcast.anchor(unit.pts, self.app.unix_ms() as i64);
        }
        broadcast.stats.note_taken(unit.dts);
        self.video |= unit.track() == Track::Video;
        // Sound alone can be entered anywhere.
        let entry = unit.key && (unit.track() == Track::Video || !self.video);
        let bytes = unit.data.len();
        self.sent.unit(bytes);
        if unit.track() == Track::Video {
            self.sent.picture(unit.dts.ticks(), unit.key);
        }
        broadcast.note_track(&unit.config);
        let packet = Packet::new(unit);
        let at = packet.at();
        self.ring.add(packet, bytes, at, entry);
    }

    /// Lets the ladder and the players know of the messages that came.
    pub(super) fn taken(&self) {
        self.ring.wake();
    }

    /// A sequence header announces its track as well as words do.
    fn note_tracks(&self) {
        for track in [Track::Video, Track::Audio] {
            if let Some(config) = self.demuxer.track_config(track) {
                self.claim.broadcast().note_track(config);
            }
        }
        let has = |track| self.demuxer.track_config(track).is_some();
        let mut hints = self
            .claim
            .broadcast()
            .hints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        hints.audio |= has(Track::Audio);
        hints.video |= has(Track::Video);
    }

    fn note_damage(&mut self, error: &flv::Error) {
        self.claim
            .broadcast()
            .stats
            .damaged
            .fetch_add(1, Ordering::Relaxed);
        if self.damaged.is_multiple_of(LOG_EVERY) {
            warn!(stream = %self.name(), %error, count = self.damaged + 1, "damaged media skipped");
        }
        self.damaged += 1;
    }

    /// Resolves when there is news.
    pub(super) async fn woken(&mut self) -> News {
        match self.news.next().await {
            Some(news) => news,
            None => pending().await,
        }
    }
}

fn news(
    failure: oneshot::Receiver<Failure>,
    broadcast: Arc<Broadcast>,
) -> impl Stream<Item = News> {
    let failed = async {
        match failure.await {
            Ok(failure) => failure,
            // The ladder ended well, or there is none.
            Err(_) => pending().await,
        }
    };
    stream::unfold(
        (failed.boxed().fuse(), broadcast),
        |(mut failed, broadcast)| async move {
            let news = tokio::select! {
                failure = &mut failed => News::Fault(failure.into()),
                why = broadcast.publisher.dismissed() => News::Dismissed(why),
                () = broadcast.publisher.asked() => News::Asked,
            };
            Some((news, (failed, broadcast)))
        },
    )
}

impl Drop for Live {
    fn drop(&mut self) {
        self.watcher = None;
        let broadcast = self.claim.broadcast();
        broadcast.close_ring();
        let hold = self.app.config.relay.hold;
        self.app.relays.leave(broadcast, self.leaving, hold);
        if let Some((client, since)) = self.told.take() {
            let bytes = broadcast.publisher.bytes.load(Ordering::Relaxed);
            let why = self.why.as_deref().unwrap_or("the connection was closed");
            self.app.hooks.emit(Fact::DonePublish {
                client,
                stream: broadcast.name().clone(),
                session: broadcast.session(),
                done: Done::new(since, self.app.now(), bytes, why),
            });
        }
        // With a ladder the broadcast ends when everything in the ring was coded.
        if !self.app.config.hls.enabled {
            broadcast.leave(self.app.now());
        }
    }
}

/// Starts a ladder for those who read its rungs, wherever the publisher is by
/// then. What goes wrong with it is theirs: the publisher goes on.
fn on_demand(
    app: &Arc<App>,
    broadcast: &Arc<Broadcast>,
    settings: ladder::Settings,
    readers: Ring<Arc<Packet>>,
) -> Box<StartLadder> {
    let server = Arc::clone(app);
    // It is the broadcast that keeps this.
    let broadcast = Arc::downgrade(broadcast);
    Box::new(move || {
        let Some(sink) = broadcast.upgrade() else {
            return Ok(());
        };
        let (ended, server) = (Arc::clone(&sink), Arc::clone(&server));
        let name = ended.name().clone();
        let done = move |result: Result<_, Failure>| {
            let failed = result.err().map(|failure| {
                if matches!(failure, Failure::Panic) {
                    server.metrics.panics.ladder.fetch_add(1, Ordering::Relaxed);
                }
                error!(stream = %ended.name(), %failure, "no rung can be made of this stream");
                failure.to_string()
            });
            ended.ladder_stopped(failed, server.now());
        };
        let reader = readers.reader(Start::NewestEntry);
        let spawned = worker::spawn(name.as_str(), settings.clone(), sink, reader, done);
        spawned.map(|_| ()).inspect_err(
            |error| error!(stream = %name, %error, "no thread for the ladder of a relay"),
        )
    })
}

/// What the ring keeps at least with a ladder, in ticks of 90 kHz: that catches
/// up after half a minute of a busy machine.
const KEPT_FOR_LADDER: u64 = 30 * 90_000;

/// One line for so many faults of a kind: a broken sender must not fill the log.
const LOG_EVERY: u64 = 1000;

#[cfg(test)]
mod tests;
