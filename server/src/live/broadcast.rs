//! One broadcast as viewers see it: playlists, segments, a thumbnail.
//!
//! The ladder's thread writes it once a segment, HTTP reads it many times; what
//! is served was rendered when it changed, not when it is asked for.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanout::{Reader, Ring, Start, Writer};
use media::{AccessUnit, Picture, Ticks, Timestamp, Track, TrackConfig};
use packager::playlist::{Variant, media as render_media, multivariant};
use packager::rates::{Estimate, Meter};
use packager::{ProgramClock, Segment, Window, WindowConfig};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::info;

use super::Packet;
use super::rungs::{NoRung, RungReader, Rungs, StartLadder};
use crate::database::KeyId;
use crate::http::Rendered;
use crate::ladder::{self, Hints, Output, Stats, Unfit, Wants};
use crate::name::StreamName;
use crate::rate::Rate;
use crate::record::Tap;
use crate::thumbnail;

/// How a broadcast is laid out for viewers.
#[derive(Clone, Copy, Debug)]
pub struct Playout {
    /// Longest segment.
    pub segment: Ticks,
    /// Segments listed.
    pub window: usize,
}

/// One broadcast. See the module.
#[derive(Debug)]
pub struct Broadcast {
    name: StreamName,
    session: u64,
    opened: Instant,
    playout: Playout,
    clock: OnceLock<ProgramClock>,
    stage: RwLock<Stage>,
    thumbnail: Mutex<Thumbnail>,
    /// The publisher's side.
    pub publisher: Publisher,
    /// What its ladder counts.
    pub stats: Arc<Stats>,
    /// What its publisher announced.
    pub hints: Arc<Mutex<Hints>>,
    /// The publisher's recent units, until it has gone.
    ring: Mutex<Option<Ring<Arc<Packet>>>>,
    /// The coded units of its rungs, for those who read them.
    rungs: Arc<Rungs>,
    tracks: Mutex<Tracks>,
    /// Where its segments are kept, if they are.
    tap: OnceLock<Tap>,
}

/// The configurations of a publisher's tracks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tracks {
    video: Option<Arc<TrackConfig>>,
    audio: Option<Arc<TrackConfig>>,
}

impl Tracks {
    pub(crate) fn get(&self, track: Track) -> Option<&Arc<TrackConfig>> {
        match track {
            Track::Video => self.video.as_ref(),
            Track::Audio => self.audio.as_ref(),
        }
    }

    /// Whether `config` is what stands here for its track.
    pub(crate) fn is(&self, config: &Arc<TrackConfig>) -> bool {
        self.get(config.track())
            .is_some_and(|known| Arc::ptr_eq(known, config) || known == config)
    }

    pub(crate) fn set(&mut self, config: &Arc<TrackConfig>) {
        let place = match config.track() {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        };
        if !place
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, config))
        {
            *place = Some(Arc::clone(config));
        }
    }
}

/// The publisher of a broadcast, as others see it.
#[derive(Debug)]
pub struct Publisher {
    /// Bytes received from it.
    pub bytes: AtomicU64,
    /// Milliseconds from the broadcast's opening to its last byte.
    last_byte: AtomicU64,
    present: AtomicBool,
    /// Why it has to go, if it has to.
    dismissal: Mutex<Option<Dismissal>>,
    dismissed: Notify,
    /// The key it showed.
    key: OnceLock<KeyId>,
    asked: Notify,
    gone: Notify,
    rate: Mutex<Rate>,
}

#[derive(Debug, Default)]
struct Stage {
    rungs: Vec<Rung>,
    multivariant: Option<Arc<Rendered>>,
    /// The rates in the multivariant playlist rest on a whole window.
    settled: bool,
    ended: Option<Instant>,
}

#[derive(Debug)]
struct Rung {
    output: Output,
    window: Window,
    meter: Option<Meter>,
    playlist: Arc<Rendered>,
}

#[derive(Debug, Default)]
struct Thumbnail {
    picture: Option<Arc<Picture>>,
    jpeg: Option<(Timestamp, Bytes)>,
}

impl Broadcast {
    /// A broadcast that nobody has sent anything to. `session` is its start in
    /// Unix milliseconds and the number of its first segment.
    pub fn new(name: StreamName, session: u64, playout: Playout, now: Instant) -> Self {
        Self {
            name,
            session,
            opened: now,
            playout,
            clock: OnceLock::new(),
            stage: RwLock::default(),
            thumbnail: Mutex::default(),
            publisher: Publisher {
                bytes: AtomicU64::new(0),
                last_byte: AtomicU64::new(0),
                present: AtomicBool::new(true),
                dismissal: Mutex::default(),
                dismissed: Notify::new(),
                key: OnceLock::new(),
                asked: Notify::new(),
                gone: Notify::new(),
                rate: Mutex::new(Rate::new(now)),
            },
            stats: Arc::default(),
            hints: Arc::default(),
            ring: Mutex::new(None),
            rungs: Arc::default(),
            tracks: Mutex::default(),
            tap: OnceLock::new(),
        }
    }

    /// Has its segments recorded from now on. The first call counts.
    pub(crate) fn record(&self, tap: Tap) {
        let _ = self.tap.set(tap);
    }

    /// Opens the ring: the publisher's end, and where readers begin.
    pub(crate) fn open_ring(
        &self,
        limits: fanout::Limits,
    ) -> (Writer<Arc<Packet>>, Ring<Arc<Packet>>) {
        let (writer, ring) = fanout::ring(limits);
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) = Some(ring.clone());
        (writer, ring)
    }

    /// Closes the ring for those who come; who reads goes on to its end.
    pub(crate) fn close_ring(&self) {
        self.ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// A cursor in the ring; `None` when the publisher has gone.
    pub(crate) fn reader(&self, start: Start) -> Option<Reader<Arc<Packet>>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.as_ref().map(|ring| ring.reader(start))
    }

    /// A cursor in the coded units of the rung called `rung`, listed or not. The
    /// rung is wanted, and so coded, as long as the reader is held. Where the
    /// source is too small for it, the units are those of the rung that shows as
    /// much; of a stream without pictures, those of the sound.
    pub(crate) fn rung_reader(&self, rung: &str, start: Start) -> Result<RungReader, NoRung> {
        self.rungs.reader(rung, start)
    }

    /// Puts rungs on offer to [`Broadcast::rung_reader`]. The first offer counts.
    pub(crate) fn offer_rungs(&self, wants: Wants) -> Arc<Wants> {
        self.rungs.offer(wants)
    }

    /// Lets `start` be called whenever somebody wants a rung and no ladder runs.
    /// That ladder calls [`Broadcast::ladder_stopped`] at its end.
    pub(crate) fn start_ladder_on_demand(&self, start: Box<StartLadder>) {
        self.stats.rest();
        self.rungs.start_on_demand(start);
    }

    /// A ladder that was started on demand has stopped; `failed` says why, if it
    /// could not go on.
    pub(crate) fn ladder_stopped(&self, failed: Option<String>, now: Instant) {
        self.stats.rest();
        if self.rungs.stopped(failed) {
            self.end(now);
        }
    }

    /// The publisher of a broadcast whose ladder runs on demand has left: it ends
    /// now, or when its ladder has.
    pub(crate) fn leave(&self, now: Instant) {
        if !self.rungs.leave() {
            self.end(now);
        }
    }

    /// What the publisher's tracks are now.
    pub(crate) fn tracks(&self) -> Tracks {
        self.tracks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes the configuration of a track.
    pub(crate) fn note_track(&self, config: &Arc<TrackConfig>) {
        self.tracks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set(config);
    }

    /// What viewers call it.
    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// Start of the session in Unix milliseconds.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// When it began.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Ties media time to wall time; the first call counts.
    pub fn anchor(&self, at: Timestamp, unix_ms: i64) {
        self.clock.get_or_init(|| ProgramClock { at, unix_ms });
    }

    /// How media time is tied to wall time.
    pub(crate) fn clock(&self) -> ProgramClock {
        *self.clock.get_or_init(|| ProgramClock {
            at: Timestamp::ZERO,
            unix_ms: self.session as i64,
        })
    }

    /// Notes `count` bytes from the publisher.
    pub fn received(&self, count: usize, now: Instant) {
        self.publisher
            .bytes
            .fetch_add(count as u64, Ordering::Relaxed);
        let since = now.saturating_duration_since(self.opened).as_millis() as u64;
        self.publisher.last_byte.store(since, Ordering::Relaxed);
    }

    /// How long the publisher has been silent.
    pub fn silent_for(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.publisher.last_byte.load(Ordering::Relaxed));
        now.saturating_duration_since(self.opened)
            .saturating_sub(last)
    }

    /// Whether viewers can start: every listed rung has a segment.
    pub fn playable(&self) -> bool {
        self.read(|stage| stage.multivariant.is_some())
    }

    /// The multivariant playlist, and whether its rates are final enough to be
    /// cached. `None` until every listed rung has a segment.
    pub(crate) fn multivariant(&self) -> Option<(Arc<Rendered>, bool)> {
        self.read(|stage| {
            stage
                .multivariant
                .clone()
                .map(|playlist| (playlist, stage.settled))
        })
    }

    /// A rung's media playlist. `None` before its first segment.
    pub(crate) fn playlist(&self, rung: &str) -> Option<Arc<Rendered>> {
        self.read(|stage| stage.rung(rung).map(|rung| Arc::clone(&rung.playlist)))
    }

    /// A segment that is listed, or was recently.
    pub fn segment(&self, rung: &str, number: u64) -> Option<Arc<Segment>> {
        self.read(|stage| stage.rung(rung)?.window.segment(number).map(Arc::clone))
    }

    /// The number after the last segment of any rung.
    pub fn next_number(&self) -> u64 {
        self.read(|stage| {
            let last = stage
                .rungs
                .iter()
                .filter_map(|rung| rung.window.last())
                .map(|segment| segment.number + 1)
                .max();
            last.unwrap_or(self.session)
        })
    }

    /// The thumbnail as JPEG, made when asked for and kept until the next key
    /// picture. Takes milliseconds: not for an async worker.
    pub fn thumbnail(&self) -> Option<Bytes> {
        let (picture, cached) = {
            let state = self
                .thumbnail
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            (state.picture.clone()?, state.jpeg.clone())
        };
        if let Some((pts, jpeg)) = cached
            && pts == picture.pts
        {
            return Some(jpeg);
        }
        let jpeg = thumbnail::jpeg(&picture)?;
        let mut state = self
            .thumbnail
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.jpeg = Some((picture.pts, jpeg.clone()));
        Some(jpeg)
    }

    /// Closes the playlists, and the rungs for those who read them: no segment
    /// and no unit will follow.
    pub fn end(&self, now: Instant) {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        if stage.ended.is_some() {
            return;
        }
        stage.ended = Some(now);
        for rung in &mut stage.rungs {
            rung.window.end();
            rung.playlist = Arc::new(Rendered::new(render_media(&rung.window)));
        }
        drop(stage);
        if let Some(tap) = self.tap.get() {
            tap.end();
        }
        // Whoever reads to the end finds the broadcast ended.
        self.rungs.close();
    }

    /// When the playlists were closed.
    pub fn ended(&self) -> Option<Instant> {
        self.read(|stage| stage.ended)
    }

    /// Segment bytes held, of all rungs.
    pub fn bytes(&self) -> usize {
        self.read(|stage| stage.rungs.iter().map(|rung| rung.window.bytes()).sum())
    }

    /// TARGETDURATION, as a time.
    pub fn target(&self) -> Duration {
        Duration::from_secs_f64(self.playout.segment.as_secs_f64().ceil())
    }

    fn read<T>(&self, look: impl FnOnce(&Stage) -> T) -> T {
        look(&self.stage.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a publisher has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dismissal {
    /// Another publisher took its place.
    Displaced,
    /// Its key is no longer good.
    Key,
    /// Its stream was disabled.
    Disabled,
}

impl Publisher {
    /// Whether a publisher holds the broadcast.
    pub fn present(&self) -> bool {
        self.present.load(Ordering::Relaxed)
    }

    pub(super) fn leave(&self) {
        self.present.store(false, Ordering::Relaxed);
        self.gone.notify_waiters();
    }

    /// Tells the publisher's connection that it has to go. The first reason stands.
    pub(crate) fn dismiss(&self, why: Dismissal) {
        let mut dismissal = self
            .dismissal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if dismissal.is_none() {
            *dismissal = Some(why);
            self.dismissed.notify_one();
        }
    }

    /// Resolves, once, when the publisher has to go.
    pub(crate) async fn dismissed(&self) -> Dismissal {
        self.dismissed.notified().await;
        let dismissal = self
            .dismissal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        dismissal.unwrap_or(Dismissal::Displaced)
    }

    /// Keeps which key it showed.
    pub(crate) fn showed(&self, key: KeyId) {
        let _ = self.key.set(key);
    }

    /// The key it showed; `None` where publishers need none.
    pub(crate) fn key(&self) -> Option<KeyId> {
        self.key.get().copied()
    }

    /// Has the publisher's connection look at what it was sent, which may be the end,
    /// and gives it a moment for that.
    pub(crate) async fn look(&self) {
        let mut gone = pin!(self.gone.notified());
        gone.as_mut().enable();
        self.asked.notify_one();
        if self.present() {
            let _ = timeout(LOOK, gone).await;
        }
    }

    /// Resolves when somebody has to know whether the publisher is still there.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Bytes received from it.
    pub(crate) fn received(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bit rate since the last look at least a second ago, in bit/s.
    pub fn bit_rate(&self, now: Instant) -> f64 {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.look(self.bytes.load(Ordering::Relaxed), now)
    }
}

impl Stage {
    fn rung(&self, name: &str) -> Option<&Rung> {
        self.rungs.iter().find(|rung| rung.output.name == name)
    }

    /// Renders the multivariant playlist once all listed rungs can be played.
    fn render(&mut self, outputs: &[Output]) {
        let mut variants = Vec::new();
        let mut settled = true;
        for output in outputs.iter().filter(|output| output.listed) {
            let Some(rung) = self.rung(&output.name) else {
                return;
            };
            let Some(meter) = &rung.meter else { return };
            let bandwidth = meter.bandwidth();
            settled &= bandwidth.settled;
            let configs = [&output.video, &output.audio];
            variants.push(Variant {
                uri: format!("{}/index.m3u8", output.name),
                bandwidth: bandwidth.peak,
                average_bandwidth: bandwidth.average,
                codecs: configs
                    .into_iter()
                    .flatten()
                    .map(|config| config.rfc6381())
                    .collect(),
                resolution: output.size,
                frame_rate: output.frame_rate,
            });
        }
        self.settled = settled;
        if variants.is_empty() {
            return;
        }
        let text = multivariant(&variants);
        if self
            .multivariant
            .as_ref()
            .is_none_or(|rendered| rendered.text() != text.as_bytes())
        {
            self.multivariant = Some(Arc::new(Rendered::new(text)));
        }
    }
}

impl ladder::Sink for Arc<Broadcast> {
    fn segments(&mut self, outputs: &[Output], batch: Vec<(usize, Segment)>) {
        let clock = self.clock();
        let batch: Vec<(usize, Arc<Segment>)> = batch
            .into_iter()
            .map(|(index, segment)| (index, Arc::new(segment)))
            .collect();
        if let Some(tap) = self.tap.get() {
            tap.push_best(outputs, &batch, clock);
        }
        // Rendering is done under the lock: a viewer sees segment k on all rungs or on none.
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        let mut touched = Vec::new();
        for (index, segment) in batch {
            let Some(output) = outputs.get(index) else {
                continue;
            };
            let at = stage
                .rungs
                .iter()
                .position(|rung| rung.output.name == output.name);
            let at = at.unwrap_or_else(|| {
                stage
                    .rungs
                    .push(Rung::new(output, &segment, self.playout, clock));
                stage.rungs.len() - 1
            });
            stage.rungs[at].push(output, segment, self.playout);
            touched.push(at);
        }
        touched.dedup();
        for at in touched {
            let rung = &mut stage.rungs[at];
            rung.playlist = Arc::new(Rendered::new(render_media(&rung.window)));
        }
        stage.render(outputs);
    }

    fn unit(&mut self, output: &Output, unit: &AccessUnit) {
        self.rungs.push(output, unit);
    }

    fn passing(&mut self, rung: &str, now: Result<(), Unfit>) {
        match now {
            Ok(()) => info!(stream = %self.name, rung, "the rung is the source's own pictures"),
            Err(why) => {
                info!(stream = %self.name, rung, %why, "the rung is encoded: the source is none");
            }
        }
    }

    fn key_picture(&mut self, picture: &Picture) {
        let mut state = self
            .thumbnail
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.picture = Some(Arc::new(picture.clone()));
    }
}

impl Rung {
    fn new(output: &Output, first: &Segment, playout: Playout, clock: ProgramClock) -> Self {
        let window = Window::new(WindowConfig {
            first_number: first.number,
            capacity: playout.window,
            target: playout.segment,
            clock,
        });
        let playlist = Arc::new(Rendered::new(render_media(&window)));
        Self {
            output: output.clone(),
            window,
            meter: None,
            playlist,
        }
    }

    fn push(&mut self, output: &Output, segment: Arc<Segment>, playout: Playout) {
        self.output = output.clone();
        let meter = self.meter.get_or_insert_with(|| {
            let audio_kbps = if output.audio.is_some() {
                output.audio_kbps
            } else {
                0
            };
            let fps = output.frame_rate.unwrap_or(30.0);
            let estimate = match &output.rung {
                Some(rung) => Estimate::of_rung(rung, audio_kbps, fps),
                None => Estimate::of_rates(0, 0, audio_kbps, 0.0),
            };
            let whole_window = Ticks::new(playout.segment.get() * playout.window as i64);
            Meter::new(playout.segment, whole_window, estimate)
        });
        meter.push(segment.data.len(), segment.duration);
        // Numbers come from the ladder in order; a refused one would be a bug
        // there, and the playlist stays as it is.
        let pushed = self.window.push(segment);
        debug_assert!(pushed.is_ok(), "{pushed:?}");
    }
}

/// Time for a publisher's connection to find that it has ended: some reads, on a
/// busy machine.
const LOOK: Duration = Duration::from_millis(200);
