//! One rung's way from picture to access unit: scale, then encode.

use std::sync::Arc;

use codec::video::{Changes, Cost, Encoder, EncoderConfig, Scaler, open_encoder};
use media::{AccessUnit, Colour, Picture, Rung, Size, Ticks, Timestamp};

use super::ahead::Shown;
use super::pace::Mark;
use super::stats::{Stage, Stats};

/// What comes in: as much of it as rungs are set up by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Source {
    pub(super) size: Size,
    /// Shape of a sample.
    pub(super) aspect: (u32, u32),
    /// Pictures a second, nominally.
    pub(super) frame_rate: f64,
    pub(super) colour: Option<Colour>,
}

pub(super) struct Line {
    rung: Rung,
    size: Size,
    /// Its place among the wants, for a rung that is coded only while it has
    /// one; `None`: it is listed.
    wish: Option<usize>,
    /// The size of what comes in.
    from: Size,
    scaler: Option<Scaler>,
    scaled: Picture,
    /// Number of the samples that `scaled` was made of, and their way.
    content: Option<u64>,
    way: u64,
    /// Index of the rung that it is scaled from; `None`: from the source.
    of: Option<usize>,
    /// Whether the picture in hand is coded here.
    wanted: bool,
    /// Whether it is scaled here: to be coded, or for a smaller rung.
    needed: bool,
    /// Whether it is coded as a key picture.
    key: bool,
    /// The encoder was opened for a wish and has coded nothing yet.
    fresh: bool,
    /// The cost of the picture in hand after the last one coded here.
    cost: Cost,
    /// A unit came of the picture before.
    made: bool,
    settings: EncoderConfig,
    /// None while the source's own units take the place of coded ones, or nobody
    /// wants any.
    encoder: Option<Box<dyn Encoder>>,
    /// When the next picture is due, for a rung slower than its source.
    due: Option<Timestamp>,
    /// What came of the last picture, until it is taken.
    coded: Result<Option<AccessUnit>, codec::Error>,
}

/// Codes a picture on all lines, on as many threads of the pool as are free.
///
/// A rung is scaled from the next larger one where that can be: the smaller the
/// picture it is made of, the less work it is. The last line, the dearest by the
/// order of [`choose`], is scaled and begins to be coded at once; the others are
/// there to be taken meanwhile, and whoever is free takes the next dearest.
pub(super) fn code_all(lines: &mut [Line], shown: &Shown, mark: Mark, stats: &Stats) {
    for line in &mut *lines {
        line.decide(shown, mark, stats);
    }
    find_bases(lines);
    let source = Base {
        index: None,
        picture: &shown.picture,
        content: shown.content,
        changes: shown.changes.clone(),
        way: 0,
        before: None,
    };
    code_each(lines, &source, stats);
}

/// Finds what each rung is scaled from: the smallest that can stand in for the
/// source, whether it is coded itself or not, so that this does not change from
/// picture to picture. One that is coded on a wish never does: what viewers see
/// would change with it.
fn find_bases(lines: &mut [Line]) {
    for index in 0..lines.len() {
        let Some((line, larger)) = lines[index..].split_first_mut() else {
            return;
        };
        let able = (index + 1..)
            .zip(larger)
            .filter(|(_, other)| other.wish.is_none() && other.stands_in(line.size));
        let base = able.min_by_key(|(_, other)| other.size.area());
        line.of = base.as_ref().map(|(of, _)| *of);
        if let Some((_, base)) = base.filter(|_| line.needed) {
            base.needed = true;
        }
    }
}

/// What a rung may be scaled from.
struct Base<'a> {
    /// Index of its rung; `None`: it is the source.
    index: Option<usize>,
    picture: &'a Picture,
    /// As [`Shown`] has them: what is made of the same is the same.
    content: u64,
    changes: Option<Arc<Changes>>,
    /// The rungs that it was scaled by, one bit each: a ladder has few.
    way: u64,
    /// The one made before it.
    before: Option<&'a Self>,
}

impl Base<'_> {
    fn find(&self, index: Option<usize>) -> &Self {
        match self.before {
            Some(before) if self.index != index => before.find(index),
            _ => self,
        }
    }
}

fn code_each(lines: &mut [Line], last: &Base<'_>, stats: &Stats) {
    let Some((dearest, others)) = lines.split_last_mut() else {
        return;
    };
    if !dearest.needed {
        return code_each(others, last, stats);
    }
    let base = last.find(dearest.of);
    let changes = dearest.scale(base, stats);
    let Line {
        rung,
        scaler,
        scaled,
        encoder,
        wanted,
        key,
        cost,
        made: came,
        coded,
        ..
    } = dearest;
    let (picture, way) = if scaler.is_some() {
        (&*scaled, base.way | 1 << others.len())
    } else {
        (base.picture, base.way)
    };
    let made = Base {
        index: Some(others.len()),
        picture,
        content: base.content,
        changes,
        way,
        before: Some(last),
    };
    rayon::join(
        || {
            if let Some(encoder) = encoder.as_mut().filter(|_| *wanted) {
                *coded = code(&mut **encoder, picture, *cost, rung.name(), *key, stats);
                *came = matches!(coded, Ok(Some(_)));
            }
        },
        || code_each(others, &made, stats),
    );
}

fn code(
    encoder: &mut dyn Encoder,
    picture: &Picture,
    cost: Cost,
    name: &str,
    key: bool,
    stats: &Stats,
) -> Result<Option<AccessUnit>, codec::Error> {
    let coded = stats.timed(Stage::Encode, || encoder.encode(picture, key, cost));
    stats.count(name, |count| match &coded {
        Ok(Some(_)) => count.encoded += 1,
        Ok(None) => {
            count.skipped += 1;
            count.crowded_out += 1;
        }
        Err(_) => count.failed += 1,
    });
    coded
}

impl Line {
    /// Opens a rung for pictures of `source`. It codes
    /// nothing until [`Line::wake`].
    pub(super) fn open(rung: Rung, source: &Source) -> Result<Self, codec::Error> {
        let mut rung = rung;
        rung.max_fps = Some(most_fps(&rung));
        let size = source.size.fit(source.aspect, rung.bounds());
        let frame_rate = source.frame_rate;
        let frame_rate = rung.max_fps.map_or(frame_rate, |max| max.min(frame_rate));
        let settings = EncoderConfig {
            size,
            frame_rate,
            video_kbps: rung.video_kbps,
            max_kbps: rung.max_kbps,
            buffer_kbits: rung.buffer_kbits,
            colour: source.colour,
            preset: rung.preset,
            threads: 1,
        };
        Ok(Self {
            scaler: scaler(source.size, size, &rung),
            rung,
            size,
            wish: None,
            from: source.size,
            scaled: Picture::black(size, Timestamp::ZERO),
            content: None,
            way: 0,
            of: None,
            wanted: false,
            needed: false,
            key: false,
            fresh: false,
            cost: Cost::default(),
            made: false,
            settings,
            encoder: None,
            due: None,
            coded: Ok(None),
        })
    }

    /// Lets it be coded only while the wish at `place` is there.
    pub(super) fn on_wish(mut self, place: usize) -> Self {
        self.wish = Some(place);
        self.sleep();
        self
    }

    /// Its place among the wants; `None`: it is listed.
    pub(super) fn wish(&self) -> Option<usize> {
        self.wish
    }

    /// Opens the encoder, if it is not open. A rung that slept begins with the
    /// next picture, a key picture.
    pub(super) fn wake(&mut self) -> Result<(), codec::Error> {
        if self.encoder.is_some() {
            return Ok(());
        }
        self.encoder = Some(open_encoder(&self.settings)?);
        if self.wish.is_some() {
            self.scaler = scaler(self.from, self.size, &self.rung);
            self.scaled = Picture::black(self.size, Timestamp::ZERO);
            (self.content, self.due, self.cost) = (None, None, Cost::default());
            (self.made, self.fresh) = (false, true);
        }
        Ok(())
    }

    /// Gives back all that coding needs, until [`Line::wake`].
    pub(super) fn sleep(&mut self) {
        self.encoder = None;
        if self.scaled.size != NOTHING {
            self.scaler = None;
            self.scaled = Picture::black(NOTHING, Timestamp::ZERO);
        }
    }

    /// Closes the encoder: pictures are left out until [`Line::wake`].
    pub(super) fn rest(&mut self) {
        self.encoder = None;
    }

    /// Turns to pictures of another size. Gives back whether the rung's own
    /// size changed, which a playlist must mark as a discontinuity.
    pub(super) fn retarget(&mut self, source: &Source) -> Result<bool, codec::Error> {
        let size = source.size.fit(source.aspect, self.rung.bounds());
        let awake = self.encoder.is_some();
        if size == self.size && (awake || self.wish.is_none()) {
            self.from = source.size;
            self.scaler = scaler(source.size, size, &self.rung);
            self.content = None;
            return Ok(false);
        }
        let wish = self.wish;
        *self = Self::open(self.rung.clone(), source)?;
        let Some(wish) = wish else {
            self.wake()?;
            return Ok(true);
        };
        // No playlist has it.
        self.wish = Some(wish);
        if awake {
            self.wake()?;
        } else {
            self.sleep();
        }
        Ok(false)
    }

    /// What came of the last picture; `None` when this rung left it out.
    pub(super) fn take_coded(&mut self) -> Result<Option<AccessUnit>, codec::Error> {
        std::mem::replace(&mut self.coded, Ok(None))
    }

    /// Says from the next picture on, a key picture, what its samples mean. Gives
    /// back whether that is something else than before.
    pub(super) fn recolour(&mut self, colour: Option<Colour>) -> Result<bool, codec::Error> {
        if self.settings.colour == colour {
            return Ok(false);
        }
        self.settings.colour = colour;
        if let Some(encoder) = &mut self.encoder {
            encoder.recolour(colour)?;
        }
        Ok(true)
    }

    /// Decides whether the picture is coded here.
    fn decide(&mut self, shown: &Shown, mark: Mark, stats: &Stats) {
        let pts = shown.pts();
        self.cost = match std::mem::replace(&mut self.made, false) {
            true => shown.cost,
            false => shown.cost.after(self.cost),
        };
        self.key = std::mem::take(&mut self.fresh) || mark != Mark::Plain;
        self.wanted = self.encoder.is_some() && (self.key || self.is_due(pts));
        self.needed = self.wanted;
        if self.wanted {
            self.advance(pts);
        } else if self.encoder.is_some() {
            stats.count(self.rung.name(), |count| count.skipped += 1);
        }
    }

    /// Whether a picture of `size` may be made of this rung's.
    fn stands_in(&self, size: Size) -> bool {
        let covers = |own: u32, other: u32| own == other || own >= other + other / LEAST_STEP;
        let covered = covers(self.size.width, size.width) && covers(self.size.height, size.height);
        covered && self.rung.sharpen == 0.0 && self.encoder.is_some()
    }

    /// Makes this rung's picture, and says what of it may differ from the one
    /// with the number before.
    fn scale(&mut self, base: &Base<'_>, stats: &Stats) -> Option<Arc<Changes>> {
        let Some(scaler) = &mut self.scaler else {
            return base.changes.clone();
        };
        // By another way it becomes another picture.
        let before = self.content.filter(|_| self.way == base.way);
        let behind = before.map(|content| base.content - content);
        stats.timed(Stage::Scale, || match (behind, &base.changes) {
            (Some(0), _) => self.scaled.pts = base.picture.pts,
            (Some(1), Some(changes)) => {
                scaler.scale_changes(base.picture, changes, &mut self.scaled);
            }
            _ => scaler.scale(base.picture, &mut self.scaled),
        });
        (self.content, self.way) = (Some(base.content), base.way);
        let changes = base.changes.as_ref()?;
        // Of a picture made anew, all may differ from what was made of the one before.
        before?;
        Some(Arc::new(scaler.carry(changes)))
    }

    /// Lets an encoder take the place of the one that is open.
    #[cfg(test)]
    pub(super) fn swap_encoder(
        &mut self,
        other: impl FnOnce(Box<dyn Encoder>) -> Box<dyn Encoder>,
    ) {
        self.encoder = self.encoder.take().map(other);
    }

    pub(super) fn rung(&self) -> &Rung {
        &self.rung
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// The picture last coded, at this rung's size, unless the source has just
    /// that size and nothing was scaled or sharpened, or the rung rests.
    pub(super) fn scaled(&self) -> Option<&Picture> {
        let awake = self.scaler.as_ref().filter(|_| self.encoder.is_some());
        awake.map(|_| &self.scaled)
    }

    fn interval(&self) -> Option<Ticks> {
        self.rung
            .max_fps
            .map(|fps| Ticks::from_secs_f64(1.0 / fps.max(0.1)))
    }

    fn is_due(&self, pts: Timestamp) -> bool {
        // Senders round to milliseconds and jitter: a quarter of the way is no
        // reason to skip, and what is early now is late the next time.
        let early = self
            .interval()
            .map_or(Ticks::ZERO, |interval| Ticks::new(interval.get() / 4));
        self.due.is_none_or(|due| pts + early >= due)
    }

    fn advance(&mut self, pts: Timestamp) {
        let Some(interval) = self.interval() else {
            return;
        };
        let on_grid = self.due.map_or(pts, |due| due.max(pts - interval));
        self.due = Some(on_grid + interval);
    }
}

/// The index of the highest of rungs in the order of [`choose`].
pub(super) fn top<'a>(chosen: impl Iterator<Item = (usize, &'a Rung)>) -> Option<usize> {
    let height = |rung: &Rung| (rung.bounds().area(), rung.max_kbps);
    let highest = chosen.max_by_key(|(_, rung)| height(rung));
    highest.map(|(index, _)| index)
}

/// The most pictures a second that a rung has.
pub(super) fn most_fps(rung: &Rung) -> f64 {
    rung.max_fps.map_or(MOST_FPS, |max| max.min(MOST_FPS))
}

/// The rungs that a source of this size gets: those whose box shows more of it
/// than a smaller box already does, and at least one.
pub(super) fn choose(rungs: &[Rung], source: Size, aspect: (u32, u32)) -> Vec<Rung> {
    let mut ascending: Vec<&Rung> = rungs.iter().collect();
    ascending.sort_by_key(|rung| rung.bounds().area());
    let mut chosen: Vec<Rung> = Vec::new();
    for rung in ascending {
        let size = source.fit(aspect, rung.bounds());
        // Two rungs with one box differ by their rates: both are wanted.
        let repeats = chosen.iter().any(|other| {
            other.bounds() != rung.bounds() && source.fit(aspect, other.bounds()) == size
        });
        if !repeats {
            chosen.push(rung.clone());
        }
    }
    chosen
}

/// The most that HLS allows (Apple authoring 1.19).
const MOST_FPS: f64 = 60.0;

/// A rung stands in for the source where it is larger by one part in this many:
/// a quarter. Every step softens a little, one to nearly the same size the most.
const LEAST_STEP: u32 = 4;

/// The smallest picture, of a rung that sleeps.
const NOTHING: Size = Size::new(16, 16);

/// `None` if pictures are to stay as they are.
fn scaler(from: Size, to: Size, rung: &Rung) -> Option<Scaler> {
    (from != to || rung.sharpen > 0.0).then(|| Scaler::new(from, to).sharpened(rung.sharpen))
}

#[cfg(test)]
mod tests;
