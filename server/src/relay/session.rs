//! One connection to a target, from the handshake to the goodbye.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use fanout::Start;
use rtmp::{ClientConfig, ClientEvent, ClientOutput, ClientSession};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use super::feed::Feed;
use super::sending::Sending;
use super::status::Status;
use super::{Failure, Source, Target};
use crate::live::NoRung;
use crate::tls::Stream;

/// What a session works with.
pub(super) struct Context<'a> {
    pub(super) target: &'a Target,
    pub(super) status: &'a Status,
    pub(super) source: &'a mut watch::Receiver<Source>,
    /// The session of the last broadcast that the target has had units of, if any.
    pub(super) served: &'a mut Option<u64>,
    /// Whether missing acknowledgements end a connection: once, so that a destination
    /// with a strange notion of them is not connected to again and again.
    pub(super) heeds_acks: &'a mut bool,
}

/// How a connection ended.
pub(super) struct Ended {
    /// Why, unless the stream has ended.
    pub(super) failure: Option<Failure>,
    /// How long the destination had it live.
    pub(super) live: Duration,
}

/// Publishes over `socket` until the stream ends or the connection does.
pub(super) async fn run(context: Context<'_>, url: rtmp::Url, socket: Box<dyn Stream>) -> Ended {
    let now = Instant::now();
    let config = ClientConfig {
        acknowledge_every: ACKNOWLEDGE_EVERY,
        ..ClientConfig::new(url)
    };
    let session = match ClientSession::new(config, now.into_std()) {
        Ok(session) => session,
        Err(error) => {
            return Ended {
                failure: Some(Failure::passing(error.to_string())),
                live: Duration::ZERO,
            };
        }
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut session = Session {
        context,
        session,
        wire: Wire {
            socket,
            out: Vec::new(),
            written: 0,
            unflushed: false,
            busy_since: None,
            progress: 0,
        },
        heard: Heard::new(now),
        sending: Sending::default(),
        feed: None,
        ended: None,
        behind_since: None,
        live_since: None,
        sent_at: now,
        said: 0,
        tick,
    };
    let failure = session.drive().await.err();
    Ended {
        failure,
        live: session
            .live_since
            .map_or(Duration::ZERO, |since| since.elapsed()),
    }
}

struct Session<'a> {
    context: Context<'a>,
    session: ClientSession,
    wire: Wire,
    /// What the destination says it has.
    heard: Heard,
    sending: Sending,
    /// What is sent, once the destination has consented.
    feed: Option<Feed>,
    /// The session of the broadcast that was sent to its end.
    ended: Option<u64>,
    /// Since when it has been far behind.
    behind_since: Option<Instant>,
    live_since: Option<Instant>,
    /// When the last unit was.
    sent_at: Instant,
    /// Bytes that the destination has sent since the last look.
    said: usize,
    /// A look at what no event tells.
    tick: Interval,
}

/// What woke the session.
enum Wake {
    Source,
    Wire(io::Result<Moved>),
    Feed(Result<(), NoRung>),
    Tick,
}

impl Session<'_> {
    /// `Ok` when the stream has ended and the destination was told.
    async fn drive(&mut self) -> Result<(), Failure> {
        let mut over_since: Option<Instant> = None;
        loop {
            self.outputs()?;
            let source = self.context.source.borrow_and_update().clone();
            self.follow(&source)?;
            if self.wire.is_idle() {
                self.fill()?;
            }
            // After the last look at the feed: nothing wakes up who has read all.
            if source.over(Instant::now()) {
                let since = *over_since.get_or_insert_with(Instant::now);
                let drained = self.feed.as_ref().is_none_or(Feed::over) && self.wire.is_idle();
                if self.live_since.is_none() || drained || since.elapsed() >= LONGEST_DRAIN {
                    return self.goodbye().await;
                }
            } else {
                over_since = None;
            }
            let wake = tokio::select! {
                biased;
                _ = self.context.source.changed() => Wake::Source,
                moved = self.wire.moves() => Wake::Wire(moved),
                ready = worth_a_try(&mut self.feed), if self.wire.is_idle() => Wake::Feed(ready),
                _ = self.tick.tick() => Wake::Tick,
            };
            match wake {
                Wake::Source => {}
                Wake::Wire(moved) => self.moved(moved)?,
                Wake::Feed(ready) => ready.map_err(|why| no_rung(&why))?,
                Wake::Tick => self.look()?,
            }
        }
    }

    /// Takes what the session wants written and has to say.
    fn outputs(&mut self) -> Result<(), Failure> {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Write(bytes) => self.wire.write(&bytes),
                ClientOutput::Event(ClientEvent::Ready) => {
                    let now = Instant::now();
                    self.live_since = Some(now);
                    self.context.status.live(now.into_std());
                }
                ClientOutput::Event(ClientEvent::Rejected { code, description }) => {
                    return Err(rejected(&code, &description));
                }
                ClientOutput::Event(ClientEvent::Closed) => {
                    return Err(Failure::passing("the destination closed the session"));
                }
                ClientOutput::Event(_) => {}
            }
        }
        if let Some(total) = self.session.acknowledged() {
            let more = self.heard.note(total, Instant::now());
            self.context.status.acknowledged(more);
        }
        Ok(())
    }

    /// Opens the feed of what is published now, and holds while nothing is.
    fn follow(&mut self, source: &Source) -> Result<(), Failure> {
        if self.live_since.is_none() || self.feed.as_ref().is_some_and(|feed| !feed.over()) {
            // What is left of a broadcast is sent first.
            return Ok(());
        }
        if let Some(feed) = self.feed.take() {
            // It may be forgotten, with all its segments.
            self.ended = Some(feed.session());
        }
        match source {
            Source::Live(broadcast) => {
                let session = broadcast.session();
                if self.ended == Some(session) {
                    // Its ring has closed; word of how it goes on is under way.
                    return Ok(());
                }
                if self.ended.is_some() {
                    self.sending.resume(self.sent_at.elapsed());
                }
                // At its first connection a target gets the broadcast from the
                // beginning, later what there is now.
                let start = match self.context.served.replace(session) {
                    Some(served) if served == session => Start::NewestEntry,
                    _ => Start::Oldest,
                };
                self.sent_at = Instant::now();
                self.context.status.live(self.sent_at.into_std());
                let rung = self.context.target.rung.as_deref();
                let feed = Feed::open(Arc::clone(broadcast), rung, start);
                self.feed = Some(feed.map_err(|why| no_rung(&why))?);
            }
            Source::Away(_) => self.context.status.holding(true),
            Source::Over | Source::Done => {}
        }
        Ok(())
    }

    /// Takes units that are there, up to a write's worth.
    fn fill(&mut self) -> Result<(), Failure> {
        let Some(feed) = &mut self.feed else {
            return Ok(());
        };
        let now = Instant::now();
        // A publisher that was stuck sends all at once: that is soon done with.
        self.behind_since = (feed.behind() > MOST_BEHIND).then(|| self.behind_since.unwrap_or(now));
        if self
            .behind_since
            .is_some_and(|since| now >= since + PATIENCE)
        {
            feed.skip();
            self.behind_since = None;
        }
        while self.wire.out.len() < AT_ONCE {
            let Some(packet) = feed.try_next().map_err(|why| no_rung(&why))? else {
                break;
            };
            let tracks = feed.tracks(&packet.unit.config);
            self.sending
                .unit(&mut self.session, &packet.unit, tracks)
                .map_err(|error| Failure::passing(error.to_string()))?;
            self.sent_at = now;
            self.context.status.live(now.into_std());
            while let Some(output) = self.session.poll_output() {
                if let ClientOutput::Write(bytes) = output {
                    self.wire.write(&bytes);
                }
            }
        }
        let missed = feed.take_missed();
        if missed > 0 {
            self.context.status.missed(missed);
        }
        Ok(())
    }

    fn moved(&mut self, moved: io::Result<Moved>) -> Result<(), Failure> {
        match moved {
            Ok(Moved::Read(input)) if input.is_empty() => {
                Err(Failure::passing("the destination closed the connection"))
            }
            Ok(Moved::Read(input)) => {
                self.said += input.len();
                if self.said > MOST_SAID {
                    // Reading comes before writing and before the clock, and some
                    // of it wants an answer: it would never end.
                    return Err(Failure::passing(
                        "the destination sends more than it has to say",
                    ));
                }
                let now = Instant::now().into_std();
                let taken = self.session.handle_input(now, &input);
                taken.map_err(|error| Failure::passing(error.to_string()))
            }
            Ok(Moved::Wrote(count)) => {
                self.context.status.sent(count);
                self.heard.sent += count as u64;
                Ok(())
            }
            Ok(Moved::Flushed) => Ok(()),
            Err(error) => Err(Failure::passing(format!("connection lost: {error}"))),
        }
    }

    /// Looks at the clock.
    fn look(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        self.said = 0;
        let asked = self.session.handle_timeout(now.into_std());
        asked.map_err(|error| Failure::passing(format!("the destination gave {error}")))?;
        if let Some(progress) = self.wire.stalled(now) {
            return Err(Failure::passing(format!(
                "the destination does not take the stream: {progress} bytes within {STALL:?}"
            )));
        }
        if *self.context.heeds_acks && self.heard.stopped(now) {
            *self.context.heeds_acks = false;
            return Err(Failure::passing(format!(
                "the destination acknowledges nothing any more: {} bytes within {DEAF:?}",
                self.heard.sent - self.heard.total
            )));
        }
        let behind = self.feed.as_mut().map_or(0, Feed::behind);
        self.context.status.lag(Duration::from_millis(
            behind / (media::Ticks::HZ as u64 / 1000),
        ));
        let idle = now.duration_since(self.sent_at);
        if self.feed.is_some() && idle >= QUIET {
            self.context.status.waiting(format!(
                "nothing to send for {} s: the publisher sends nothing, or no key picture to begin with",
                idle.as_secs()
            ));
        } else if self.context.status.live_for(now.into_std()) >= HEALTHY {
            self.context.status.healthy();
        }
        Ok(())
    }

    /// Ends the stream at the destination in good order, within bounds.
    async fn goodbye(&mut self) -> Result<(), Failure> {
        self.session.finish();
        while let Some(output) = self.session.poll_output() {
            if let ClientOutput::Write(bytes) = output {
                self.wire.write(&bytes);
            }
        }
        let last_words = async {
            while !self.wire.is_idle() {
                if let Moved::Read(input) = self.wire.moves().await?
                    && input.is_empty()
                {
                    break;
                }
            }
            self.wire.socket.shutdown().await?;
            // Closing with input unread would take the words back.
            while !matches!(self.wire.moves().await?, Moved::Read(input) if input.is_empty()) {}
            io::Result::Ok(())
        };
        // Nothing is left to be done about a destination that does not listen.
        let _ = timeout(GOODBYE, last_words).await;
        Ok(())
    }
}

async fn worth_a_try(feed: &mut Option<Feed>) -> Result<(), NoRung> {
    match feed {
        Some(feed) => feed.ready().await,
        None => std::future::pending().await,
    }
}

fn no_rung(why: &NoRung) -> Failure {
    match why {
        NoRung::Thread => Failure::passing(why.to_string()),
        _ => Failure::refused(why.to_string()),
    }
}

/// What a destination says. Some codes mean trouble of its own.
fn rejected(code: &str, description: &str) -> Failure {
    let text = match (description, code) {
        ("", "") => "the destination refused the stream without a word".to_owned(),
        ("", code) => format!("the destination refused the stream: {code}"),
        (words, "") => format!("the destination refused the stream: {words}"),
        (words, code) => format!("the destination refused the stream: {words} ({code})"),
    };
    let troubled = ["Closed", "AppShutdown", "InsufficientBW", "Failed"];
    match code.rsplit('.').next() {
        Some(last) if troubled.contains(&last) => Failure::passing(text),
        _ => Failure::refused(text),
    }
}

/// What a destination acknowledges in RTMP, which a hung one does not, though its
/// kernel or a proxy before it may take megabytes.
#[derive(Debug)]
struct Heard {
    sent: u64,
    total: u64,
    at: Instant,
    /// Acknowledgements in a row that came after about as many bytes each.
    regular: u32,
    /// Bytes between the last two.
    step: u64,
}

impl Heard {
    fn new(now: Instant) -> Self {
        Self {
            sent: 0,
            total: 0,
            at: now,
            regular: 0,
            step: 0,
        }
    }

    /// Notes a total; gives how much of it is new.
    fn note(&mut self, total: u64, now: Instant) -> u64 {
        // A destination may say anything.
        let more = total.min(self.sent).saturating_sub(self.total);
        if more > 0 {
            self.total += more;
            self.at = now;
            let alike = more <= 2 * self.step && self.step <= 2 * more;
            self.regular = if alike { self.regular + 1 } else { 0 };
            self.step = more;
        }
        more
    }

    /// Whether one that acknowledged in a rhythm of its own does so no more, for
    /// long and by much.
    fn stopped(&self, now: Instant) -> bool {
        self.regular >= A_RHYTHM && now >= self.at + DEAF && self.sent - self.total > 2 * self.step
    }
}

/// The socket and what is on its way into it.
struct Wire {
    socket: Box<dyn Stream>,
    out: Vec<u8>,
    /// How much of `out` the socket has taken.
    written: usize,
    unflushed: bool,
    /// Since when there is something to write, or was progress enough.
    busy_since: Option<Instant>,
    /// Bytes that the socket has taken since then.
    progress: usize,
}

enum Moved {
    /// Input; empty at its end.
    Read(Vec<u8>),
    Wrote(usize),
    Flushed,
}

impl Wire {
    fn write(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        if self.busy_since.is_none() {
            self.busy_since = Some(Instant::now());
            self.progress = 0;
        }
    }

    /// How little the socket has taken, if it is too little.
    fn stalled(&mut self, now: Instant) -> Option<usize> {
        let since = self.busy_since?;
        if now < since + STALL {
            return None;
        }
        if self.progress < PROGRESS {
            return Some(self.progress);
        }
        self.busy_since = Some(now);
        self.progress = 0;
        None
    }

    fn is_idle(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Reads, writes or flushes once, whatever can be done first. Cancel safe.
    async fn moves(&mut self) -> io::Result<Moved> {
        poll_fn(|context| {
            let mut block = [0; READ];
            let mut input = ReadBuf::new(&mut block);
            match Pin::new(&mut self.socket).poll_read(context, &mut input) {
                Poll::Ready(Ok(())) => {
                    return Poll::Ready(Ok(Moved::Read(input.filled().to_vec())));
                }
                // A close without TLS's own goodbye.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(Moved::Read(Vec::new())));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            if let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
                let count = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += count;
                self.progress += count;
                if self.written == self.out.len() {
                    self.out.clear();
                    self.out.shrink_to(MOST_KEPT);
                    self.written = 0;
                    self.unflushed = true;
                }
                return Poll::Ready(Ok(Moved::Wrote(count)));
            }
            if self.unflushed {
                ready!(Pin::new(&mut self.socket).poll_flush(context))?;
                self.unflushed = false;
                self.busy_since = None;
                return Poll::Ready(Ok(Moved::Flushed));
            }
            Poll::Pending
        })
        .await
    }
}

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(500);

/// What was handed to a destination has to be gone after this, or a good part of it.
const STALL: Duration = Duration::from_secs(4);
const PROGRESS: usize = 64 << 10;

/// Without anything to send for so long it is not live, whatever it says.
const QUIET: Duration = Duration::from_secs(6);

/// Time without an acknowledgement from one that sent them regularly.
const DEAF: Duration = Duration::from_secs(8);
/// Bytes between two of them: half a second of most streams.
const ACKNOWLEDGE_EVERY: u32 = 64 << 10;
/// Acknowledgements that make a rhythm.
const A_RHYTHM: u32 = 4;

/// Further behind than this, in ticks of 90 kHz, the present is worth more than
/// the past.
const MOST_BEHIND: u64 = 4 * 90_000;

/// If it lasts for so long.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection that lives for so long is a good one.
pub(super) const HEALTHY: Duration = Duration::from_secs(60);

/// Time to send what is left of a stream that has ended.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);

/// Time for the last words.
const GOODBYE: Duration = Duration::from_secs(2);

/// Bytes taken from the ring at a time, or one unit more.
const AT_ONCE: usize = 64 << 10;

/// Capacity kept from one write to the next.
const MOST_KEPT: usize = 128 << 10;

/// Destinations say little.
const READ: usize = 2048;

/// Bytes of a destination between two looks at the clock: a thousand times what
/// the busiest say.
const MOST_SAID: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_stops_acknowledging_is_told_from_one_that_never_began() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut never = Heard::new(start);
        never.sent = 1 << 30;
        assert!(!never.stopped(at(1000)));
        let mut heard = Heard::new(start);
        for second in 1..=6 {
            heard.sent += 100_000;
            // The fourth claims more than there was.
            let total = if second == 4 {
                u64::MAX
            } else {
                100_000 * second
            };
            assert_eq!(heard.note(total, at(second)), 100_000);
        }
        // Nothing is sent: nothing can be acknowledged.
        assert!(!heard.stopped(at(60)));
        heard.sent += 200_000;
        assert!(!heard.stopped(at(60)));
        heard.sent += 1;
        assert!(heard.stopped(at(60)) && !heard.stopped(at(13)));
        assert_eq!(heard.note(700_000, at(61)), 100_000);
        assert!(!heard.stopped(at(68)));
        // Another rhythm begins.
        heard.note(710_000, at(69));
        assert!(!heard.stopped(at(100)));
    }
}
