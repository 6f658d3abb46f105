//! Cuts a rung's access units into MPEG-TS segments.
//!
//! Where to cut is told, not found: the ladder cuts all rungs before the same
//! picture (RFC 8216bis §6.2.4). Here units are sorted around the cut, waited
//! for and written. A unit goes into exactly one segment, and a finished
//! [`Segment`] is a value.

use std::collections::VecDeque;

use media::{AccessUnit, Ticks, Timestamp, Track};

use crate::ts::{Content, Muxer, Unit};
use crate::{Error, Segment};

/// The tracks of a stream: what its PMT lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracks {
    /// H.264.
    pub video: bool,
    /// AAC.
    pub audio: bool,
}

/// How a [`Segmenter`] numbers, stamps and waits.
#[derive(Clone, Copy, Debug)]
pub struct SegmenterConfig {
    /// Number of the first segment.
    pub first_number: u64,
    /// Added to every pts, dts and PCR before they wrap at 2^33. Default 10 s:
    /// neither the clock's lead nor a first dts below zero comes below zero.
    pub ts_offset: Ticks,
    /// How far pictures may run ahead past a cut while its sound is missing;
    /// then the segment is closed without, and sound that still comes goes into
    /// the next one. Default 1 s.
    pub max_wait: Ticks,
    /// The tracks to expect. `None`: those seen by the time the first segment
    /// is complete, which without sound takes `max_wait` longer.
    pub tracks: Option<Tracks>,
    /// Most bytes held in unfinished segments, 256 for each unit counted in.
    /// Default 64 MiB: 10 s at 50 Mbit/s. A stream that is never cut, or has no
    /// key pictures to cut at, ends there with [`Error::Limit`].
    pub max_bytes: usize,
}

impl Default for SegmenterConfig {
    fn default() -> Self {
        Self {
            first_number: 0,
            ts_offset: Ticks::from_millis(10_000),
            max_wait: Ticks::SECOND,
            tracks: None,
            max_bytes: 64 << 20,
        }
    }
}

/// Turns the access units of one rung into segments.
///
/// Continuity counters and timestamps run on from segment to segment. The
/// tracks stay the same until [`Segmenter::cut_discontinuity`], since a change
/// of tracks must be a discontinuity (RFC 8216bis §4.4.4.3): the PMT then has a
/// new version.
///
/// ```text
/// cut(at); push(key picture at `at`); …; while let Some(segment) = poll() { … }
/// ```
#[derive(Debug)]
pub struct Segmenter {
    config: SegmenterConfig,
    muxer: Muxer,
    /// The tracks of the present timeline.
    tracks: Option<Tracks>,
    /// What was said about tracks last; `None`: they are taken as they come.
    announced: Option<Tracks>,
    /// A segment of the present timeline was written, so its PMT is out.
    written: bool,
    /// Unfinished segments, oldest first: never empty, and all but the last one
    /// have an end and wait for sound only.
    open: VecDeque<Open>,
    ready: VecDeque<Segment>,
    next_number: u64,
    bytes: usize,
    last_video: Option<Timestamp>,
    last_audio: Option<Timestamp>,
    closed: bool,
}

/// A segment being filled.
#[derive(Debug, Default)]
struct Open {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    discontinuity: bool,
    video: Vec<Unit>,
    audio: Vec<Unit>,
    bytes: usize,
}

impl Open {
    fn starting(at: Timestamp, discontinuity: bool) -> Self {
        Self {
            start: Some(at),
            discontinuity,
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.video.is_empty() && self.audio.is_empty()
    }

    /// Whether it is of no use as a segment that ends at `at`.
    fn holds_nothing_before(&self, at: Timestamp) -> bool {
        self.video.is_empty() && self.audio.iter().all(|unit| unit.pts >= at)
    }

    /// Ends it at `at` and begins the next one, with the sound from there on that
    /// came before its picture.
    fn split(&mut self, at: Timestamp) -> Self {
        let audio = match self.audio.iter().position(|unit| unit.pts >= at) {
            Some(index) => self.audio.split_off(index),
            None => Vec::new(),
        };
        let bytes = audio.iter().map(cost).sum();
        self.bytes -= bytes;
        self.end = Some(at);
        Self {
            audio,
            bytes,
            ..Self::starting(at, false)
        }
    }

    /// Where it starts: at its cut, or with its first picture, or its first
    /// sound.
    fn start(&self) -> Option<Timestamp> {
        let first = self.video.first().or_else(|| self.audio.first());
        self.start.or_else(|| first.map(|unit| unit.pts))
    }
}

impl Segmenter {
    /// A segmenter whose first segment starts with the first unit pushed.
    pub fn new(config: SegmenterConfig) -> Self {
        Self {
            muxer: Muxer::new(config.ts_offset),
            tracks: config.tracks,
            announced: config.tracks,
            written: false,
            open: VecDeque::from([Open::default()]),
            ready: VecDeque::new(),
            next_number: config.first_number,
            bytes: 0,
            last_video: None,
            last_audio: None,
            closed: false,
            config,
        }
    }

    /// Says which tracks the stream has: at once while no segment was written
    /// since the start or the last discontinuity, with those already seen added;
    /// otherwise from the next discontinuity on. For a discontinuity announce
    /// after [`Segmenter::cut_discontinuity`]: that always means the new timeline.
    pub fn announce(&mut self, tracks: Tracks) {
        self.announced = Some(tracks);
        if !self.written {
            let seen = self.seen();
            self.tracks = Some(Tracks {
                video: tracks.video || seen.video,
                audio: tracks.audio || seen.audio,
            });
        }
    }

    /// Adds a unit. A video unit goes into the segment of the last cut, an audio
    /// unit into the one its pts falls in, or the oldest unfinished one.
    ///
    /// The first picture of a segment must be a key picture: the playlists
    /// promise independent segments.
    ///
    /// On an error the unit was not taken and nothing else changed: `Malformed`
    /// and `Bitstream` are the unit's own, after `Limit` the stream cannot go on
    /// without a cut.
    pub fn push(&mut self, unit: AccessUnit) -> Result<(), Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        let unit = self.checked(&unit)?;
        let size = cost(&unit);
        if self.bytes + size > self.config.max_bytes {
            return Err(Error::Limit {
                what: "bytes in unfinished segments",
                max: self.config.max_bytes as u64,
            });
        }
        match unit.track {
            Track::Video => self.place_picture(unit)?,
            Track::Audio => self.place_sound(unit),
        }
        self.bytes += size;
        while self.oldest_is_complete() {
            self.close_oldest()?;
        }
        Ok(())
    }

    /// The next video unit pushed, a key unit with this pts, starts a new
    /// segment; so does, in a stream without video, audio from `at` on.
    ///
    /// Not needed for the first segment. A cut at or before the start of the
    /// present segment is none: no segment can be empty or last no time.
    pub fn cut(&mut self, at: Timestamp) {
        let count = self.open.len();
        let pictures_to_come = self.tracks.is_some_and(|tracks| tracks.video);
        let Some(last) = self.open.back_mut() else {
            return;
        };
        // Sound that comes before the first picture of all belongs to its segment.
        let waits_for_picture =
            count == 1 && pictures_to_come && last.start.is_none() && last.video.is_empty();
        if last.holds_nothing_before(at) || waits_for_picture {
            last.start = Some(at);
            if let Some(before) = count
                .checked_sub(2)
                .and_then(|index| self.open.get_mut(index))
            {
                before.end = Some(at);
            }
            return;
        }
        if last.start().is_some_and(|start| at <= start) {
            return;
        }
        let next = last.split(at);
        self.open.push_back(next);
    }

    /// A cut after which a new timeline begins: other tracks, or a jump.
    /// `old_end` is where the old one truly ends, `at` the pts of the next key
    /// unit.
    ///
    /// Everything pushed before is finished without waiting; everything pushed
    /// afterwards belongs to the new timeline, whatever its timestamps. Its
    /// tracks are those announced last, or seen anew where none ever were.
    pub fn cut_discontinuity(&mut self, old_end: Timestamp, at: Timestamp) -> Result<(), Error> {
        self.close_all(old_end)?;
        self.muxer.discontinuity();
        self.tracks = self.announced;
        self.written = false;
        self.last_video = None;
        self.last_audio = None;
        let discontinuity = self.next_number != self.config.first_number;
        self.open.push_back(Open::starting(at, discontinuity));
        Ok(())
    }

    /// The stream ends at `end`: the unfinished segments are finished, and
    /// [`Segmenter::poll`] has them.
    pub fn finish(&mut self, end: Timestamp) -> Result<(), Error> {
        self.closed = true;
        self.close_all(end)
    }

    /// The next finished segment.
    pub fn poll(&mut self) -> Option<Segment> {
        self.ready.pop_front()
    }

    /// The tracks of the present timeline, once they are known.
    pub fn tracks(&self) -> Option<Tracks> {
        self.tracks
    }

    /// `unit`, rewritten, when it can go on from what was pushed before.
    fn checked(&self, unit: &AccessUnit) -> Result<Unit, Error> {
        let track = unit.track();
        let malformed = |what| {
            let dts = unit.dts;
            Err(Error::Malformed { track, dts, what })
        };
        let (last, expected) = match track {
            Track::Video => (self.last_video, self.tracks.is_none_or(|own| own.video)),
            Track::Audio => (self.last_audio, self.tracks.is_none_or(|own| own.audio)),
        };
        if !expected {
            return Err(Error::Unsupported {
                what: "a track the PMT does not list; it can begin at a discontinuity",
            });
        }
        if unit.pts < unit.dts {
            return malformed("presented before it is decoded");
        }
        if last.is_some_and(|last| unit.dts <= last) {
            return malformed("dts does not rise above the one before");
        }
        Unit::new(unit)
    }

    /// Puts `unit` into the newest segment. The first picture says when that
    /// starts, and the one before ends, should the cut have been told otherwise.
    fn place_picture(&mut self, unit: Unit) -> Result<(), Error> {
        let mut newest = self.open.iter_mut().rev();
        let (Some(open), before) = (newest.next(), newest.next()) else {
            return Ok(());
        };
        if open.video.is_empty() {
            if !unit.key {
                return Err(Error::Malformed {
                    track: unit.track,
                    dts: unit.dts,
                    what: "first of its segment, but not a key picture",
                });
            }
            open.start = Some(unit.pts);
            if let Some(before) = before.filter(|before| before.start() < Some(unit.pts)) {
                before.end = Some(unit.pts);
            }
        }
        self.last_video = Some(unit.dts);
        open.bytes += cost(&unit);
        open.video.push(unit);
        Ok(())
    }

    /// Puts `unit` into the oldest segment that ends after it, but never behind
    /// the sound before it.
    fn place_sound(&mut self, unit: Unit) {
        self.last_audio = Some(unit.dts);
        let last = self.open.len().saturating_sub(1);
        let before_end = |open: &Open| open.end.is_none_or(|end| unit.pts < end);
        let fits = self.open.iter().position(before_end).unwrap_or(last);
        let heard = self.open.iter().rposition(|open| !open.audio.is_empty());
        if let Some(open) = self.open.get_mut(fits.max(heard.unwrap_or(0))) {
            open.bytes += cost(&unit);
            open.audio.push(unit);
        }
    }

    /// Whether nothing more is to be expected for the oldest segment: all its
    /// pictures were there when it was cut, so this is about sound, up to the
    /// time when waiting ends.
    fn oldest_is_complete(&self) -> bool {
        let (Some(oldest), Some(next)) = (self.open.front(), self.open.get(1)) else {
            return false;
        };
        let Some(end) = oldest.end else {
            return false;
        };
        let reached = |last: Option<Timestamp>, at| last.is_some_and(|last| last >= at);
        let late = end + self.config.max_wait;
        if reached(self.last_video, late) || reached(self.last_audio, late) {
            return true;
        }
        // Its clock runs on until the first unit of the next one.
        let next_begun = if oldest.video.is_empty() {
            !next.is_empty()
        } else {
            !next.video.is_empty()
        };
        let silent = self.tracks.is_some_and(|tracks| !tracks.audio);
        next_begun && (silent || reached(self.last_audio, end))
    }

    fn close_all(&mut self, end: Timestamp) -> Result<(), Error> {
        if let Some(last) = self.open.back_mut() {
            last.end = Some(end);
        }
        while !self.open.is_empty() {
            self.close_oldest()?;
        }
        Ok(())
    }

    fn close_oldest(&mut self) -> Result<(), Error> {
        let tracks = self.tracks.unwrap_or_else(|| self.seen());
        let Some(open) = self.open.pop_front() else {
            return Ok(());
        };
        self.bytes -= open.bytes;
        let (Some(start), Some(end)) = (open.start(), open.end) else {
            return Ok(());
        };
        if open.is_empty() {
            return Ok(());
        }
        self.tracks = Some(tracks);
        self.written = true;
        let next = self.open.front().and_then(|next| {
            let clocked = if tracks.video {
                &next.video
            } else {
                &next.audio
            };
            clocked.first().map(|unit| unit.dts)
        });
        let content = Content {
            video: &open.video,
            audio: &open.audio,
            next,
        };
        let data = self.muxer.segment(tracks, &content)?;
        self.ready.push_back(Segment {
            number: self.next_number,
            start,
            duration: (end - start).max(Ticks::new(1)),
            discontinuity: open.discontinuity,
            data,
            has_video: !open.video.is_empty(),
            has_audio: !open.audio.is_empty(),
        });
        self.next_number += 1;
        Ok(())
    }

    /// The tracks of which anything is held.
    fn seen(&self) -> Tracks {
        Tracks {
            video: self.open.iter().any(|open| !open.video.is_empty()),
            audio: self.open.iter().any(|open| !open.audio.is_empty()),
        }
    }
}

/// What a unit counts for the bound on bytes held.
fn cost(unit: &Unit) -> usize {
    unit.data.len() + UNIT_COST
}

/// What a unit costs beside its bytes, so that empty ones are bounded as well.
const UNIT_COST: usize = 256;
