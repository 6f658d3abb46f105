//! What every task of a running server shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Instant;

use media::{Rung, Ticks};
use tokio::sync::Semaphore;

use crate::auth::limiter::Limiter;
use crate::auth::play::Viewers;
use crate::clock;
use crate::config::{Config, StreamLimit};
use crate::database::Database;
use crate::hooks::{Bus, Hooks};
use crate::http::Metrics;
use crate::ladder;
use crate::live::{Broadcast, Directory, Playout};
use crate::record::{Others, Recorder};
use crate::relay::Relays;
use crate::tls::Connector;

/// The state of one server. See the module.
pub struct App {
    pub(crate) config: Config,
    pub(crate) directory: Directory,
    pub(crate) metrics: Metrics,
    /// Places for RTMP players: not all of `limits.connections`, so that publishers
    /// are let in however many watch.
    pub(crate) player_places: Arc<Semaphore>,
    /// Where streams are sent on to.
    pub(crate) relays: Relays,
    /// How relays connect with TLS.
    pub(crate) tls: Connector,
    /// What keeps broadcasts, if they are kept.
    pub(crate) recorder: Option<Recorder>,
    /// Streams, keys, targets and tokens.
    pub(crate) database: Database,
    /// Failed attempts to publish.
    pub(crate) failures: Limiter,
    /// Whom it asks, and tells what happens.
    pub(crate) hooks: Bus,
    /// Who may watch.
    pub(crate) viewers: Viewers,
    pool: Arc<rayon::ThreadPool>,
    /// When the server began.
    pub(crate) started: Instant,
    draining: AtomicBool,
    rtmp_port: AtomicU16,
}

impl App {
    /// The state of a server with `config`, whose streams are in `database` and whose
    /// relays trust what `tls` does; recordings that an earlier run has left are taken
    /// up. `hooks` are an embedder's. Call it in a runtime.
    #[expect(
        clippy::disallowed_methods,
        reason = "the server is where time is read"
    )]
    pub fn new(
        config: Config,
        database: Database,
        tls: Connector,
        hooks: Option<Arc<dyn Hooks>>,
    ) -> std::io::Result<Self> {
        let playout = Playout {
            segment: config.hls.segment,
            window: config.hls.window,
        };
        let recorder = match config.record.clone() {
            Some(record) => Some(Recorder::open(
                record,
                &config.data,
                config.hls.segment,
                Others::Left,
            )?),
            None => None,
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .thread_name(|index| format!("rungs {index}"))
            .build()
            .map_err(std::io::Error::other)?;
        let hooks = Bus::new(hooks, config.webhook.as_ref(), &tls);
        if let Some(recorder) = &recorder {
            recorder.tell(hooks.clone());
        }
        Ok(Self {
            directory: Directory::new(playout, config.hls.retain, config.rtmp.takeover),
            metrics: Metrics::default(),
            player_places: Arc::new(Semaphore::new(players_of(config.limits.connections))),
            relays: Relays::default(),
            tls,
            recorder,
            database,
            failures: Limiter::default(),
            hooks,
            viewers: Viewers::new(config.play.as_ref()).map_err(std::io::Error::other)?,
            pool: Arc::new(pool),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            rtmp_port: AtomicU16::new(config.rtmp.listen.port()),
            config,
        })
    }

    /// The one clock of the server.
    #[expect(
        clippy::disallowed_methods,
        reason = "the server is where time is read"
    )]
    pub(crate) fn now(&self) -> Instant {
        Instant::now()
    }

    /// Wall time in milliseconds since the Unix epoch.
    pub(crate) fn unix_ms(&self) -> u64 {
        clock::unix_ms()
    }

    /// What the ladder of `broadcast` is built from. Without `hls.enabled` no rung
    /// is listed: each is there for those alone who read it. With a `top` no listed
    /// rung is higher than that one.
    pub(crate) fn ladder(&self, broadcast: &Broadcast, top: Option<&str>) -> ladder::Settings {
        let mut hls = self.config.hls.clone();
        limit(&mut hls.rungs, top);
        let all = hls.rungs.iter().chain(&hls.unlisted);
        let (rungs, unlisted) = if hls.enabled {
            (hls.rungs.clone(), hls.unlisted.clone())
        } else {
            (Vec::new(), all.clone().cloned().collect())
        };
        ladder::Settings {
            wants: broadcast.offer_rungs(ladder::Wants::new(all)),
            rungs,
            unlisted,
            segment: self.config.hls.segment,
            passthrough: self.config.hls.passthrough,
            wait_for_video: LIVE_WAIT_FOR_VIDEO,
            audio: self.config.audio,
            first_number: broadcast.session(),
            backend: codec::video::Backend::RustyH264,
            limits: codec::Limits::default(),
            pool: Arc::clone(&self.pool),
            hints: Arc::clone(&broadcast.hints),
            stats: Arc::clone(&broadcast.stats),
            lagged: Arc::clone(&self.metrics.ladders_lagged),
        }
    }

    /// Why no new stream is taken; `None` when ready.
    pub(crate) fn not_ready(&self) -> Option<String> {
        if self.draining() {
            return Some("draining: this server is shutting down".to_owned());
        }
        match self.config.limits.streams {
            StreamLimit::AtMost(most) if self.directory.live().len() >= most => Some(format!(
                "full: {most} streams are live, as many as limits.streams allows"
            )),
            _ => None,
        }
    }

    /// From now on no publisher is welcome.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The port that publishers connect to.
    pub(crate) fn rtmp_port(&self) -> u16 {
        self.rtmp_port.load(Ordering::Relaxed)
    }

    pub(crate) fn set_rtmp_port(&self, port: u16) {
        self.rtmp_port.store(port, Ordering::Relaxed);
    }
}

/// Nine tenths, and one connection at least for publishers.
fn players_of(connections: usize) -> usize {
    connections - connections.div_ceil(10)
}

/// Leaves out the rungs above the one named `top`, if there is such a one; the lowest
/// stays in any case.
fn limit(rungs: &mut Vec<Rung>, top: Option<&str>) {
    let named = |rung: &&Rung| top.is_some_and(|top| rung.name().eq_ignore_ascii_case(top));
    if let Some(most) = rungs.iter().find(named).map(|rung| rung.bounds().height) {
        rungs.retain(|rung| rung.bounds().height <= most);
    }
}

/// A publisher that sends sound alone for so long has no camera; one that has
/// sends its first picture within a key frame interval.
const LIVE_WAIT_FOR_VIDEO: Ticks = Ticks::from_millis(2000);
