//! `weir play`: reads a stream and counts what comes; a load tool.
//!
//! Nothing is decoded, so that hundreds of copies cost less than the server they
//! are there to measure.

mod count;
mod hls;
mod http;
mod rtmp;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::count::{Count, Totals};
use crate::tls::Connector;

/// Plays `url` `copies` times at once until it ends, `seconds` have passed or
/// SIGINT comes. Fails when a copy did not get anything, or was cut off. `ca` is
/// a file of CAs that are trusted beside the system's where TLS is spoken.
pub fn run(url: &str, copies: u32, seconds: Option<u64>, ca: Option<&Path>) -> Result<()> {
    let source = Source::parse(url)?;
    let connector = Connector::new(ca)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let counts: Vec<Arc<Count>> = (0..copies).map(|_| Arc::default()).collect();
        let mut players = JoinSet::new();
        for count in &counts {
            let (source, count, mut stopped) = (source.clone(), Arc::clone(count), stopped.clone());
            let connector = connector.clone();
            players.spawn(async move {
                tokio::select! {
                    result = source.play(&connector, &count) => result,
                    _ = stopped.wait_for(|stop| *stop) => Ok(()),
                }
            });
        }
        let watch = Watch::new(&counts);
        let (mut failed, mut why) = (0, None);
        let deadline = seconds.map(|seconds| watch.started + Duration::from_secs(seconds));
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = players.join_next() => match ended {
                    Some(ended) => if let Err(error) = ended.context("a player panicked")? {
                        failed += 1;
                        why.get_or_insert(error);
                    },
                    None => break,
                },
                _ = tick.tick() => watch.progress(players.len()),
                () = at(deadline) => { let _ = stop.send(true); },
                _ = tokio::signal::ctrl_c() => { let _ = stop.send(true); },
            }
        }
        watch.summary();
        match why {
            Some(error) => Err(error)
                .with_context(|| format!("{failed} of {copies} players failed; the first")),
            None => Ok(()),
        }
    })
}

/// What is played and how.
#[derive(Clone)]
enum Source {
    Rtmp(::rtmp::Url),
    Flv(http::Address),
    Hls(http::Address),
}

impl Source {
    fn parse(url: &str) -> Result<Self> {
        if url.starts_with("http://") || url.starts_with("https://") {
            let address = http::Address::parse(url)?;
            return match address.path().split('?').next() {
                Some(path) if path.ends_with(".m3u8") => Ok(Self::Hls(address)),
                Some(path) if path.ends_with(".flv") => Ok(Self::Flv(address)),
                _ => bail!("{address}: what is played over HTTP ends in .flv or .m3u8"),
            };
        }
        let url = ::rtmp::Url::parse(url).context(
            "what is played is an rtmp:// or rtmps:// URL, or one of http:// or https:// that ends in .flv or .m3u8",
        )?;
        Ok(Self::Rtmp(url))
    }

    async fn play(self, connector: &Connector, count: &Count) -> Result<()> {
        match self {
            Self::Rtmp(url) => rtmp::play(url, connector, count).await,
            Self::Flv(address) => http::play_flv(&address, connector, count).await,
            Self::Hls(address) => hls::play(&address, connector, count).await,
        }
    }
}

struct Watch<'a> {
    counts: &'a [Arc<Count>],
    started: Instant,
    terminal: bool,
}

impl<'a> Watch<'a> {
    fn new(counts: &'a [Arc<Count>]) -> Self {
        Self {
            counts,
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn progress(&self, playing: usize) {
        let passed = self.started.elapsed().as_secs();
        // A log need not have a line for every second.
        if !self.terminal && !passed.is_multiple_of(10) {
            return;
        }
        let (back, end) = if self.terminal {
            ("\r\x1b[K", "")
        } else {
            ("", "\n")
        };
        let totals = Totals::of(self.counts);
        let mut out = std::io::stderr().lock();
        let _ = write!(out, "{back}{passed} s: {playing} playing, {totals}{end}");
        let _ = out.flush();
    }

    fn summary(&self) {
        if self.terminal {
            eprintln!();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        println!(
            "{} players, {seconds:.1} s: {}",
            self.counts.len(),
            Totals::of(self.counts)
        );
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Time for each answer.
const PATIENCE: Duration = Duration::from_secs(10);
