//! One rung's way from picture to access unit: scale, then encode.

use codec::video::{Encoder, EncoderConfig, Scaler, open_encoder};
use media::{AccessUnit, Picture, Rung, Size, Ticks, Timestamp};

use super::ahead::Shown;
use super::pace::Mark;
use super::stats::{Stage, Stats};

pub(super) struct Line {
    rung: Rung,
    size: Size,
    scaler: Option<Scaler>,
    scaled: Picture,
    /// Number of the samples that `scaled` was made of.
    content: Option<u64>,
    settings: EncoderConfig,
    /// None while the source's own units take the place of coded ones.
    encoder: Option<Box<dyn Encoder>>,
    /// When the next picture is due, for a rung slower than its source.
    due: Option<Timestamp>,
    /// What came of the last picture, until it is taken.
    coded: Result<Option<AccessUnit>, codec::Error>,
}

/// Codes a picture on all lines, on as many threads of the pool as are free.
///
/// The last line, the dearest by the order of [`choose`], begins at once and the
/// others are there to be taken: whoever is free takes the next dearest.
pub(super) fn code_all(lines: &mut [Line], shown: &Shown, mark: Mark, stats: &Stats) {
    let Some((dearest, others)) = lines.split_last_mut() else {
        return;
    };
    rayon::join(
        || dearest.coded = dearest.code(shown, mark, stats),
        || code_all(others, shown, mark, stats),
    );
}

impl Line {
    /// Opens a rung for pictures of `source`; `frame_rate` is nominal. It codes
    /// nothing until [`Line::wake`].
    pub(super) fn open(
        rung: Rung,
        source: Size,
        aspect: (u32, u32),
        frame_rate: f64,
    ) -> Result<Self, codec::Error> {
        let mut rung = rung;
        rung.max_fps = Some(most_fps(&rung));
        let size = source.fit(aspect, rung.bounds());
        let frame_rate = rung.max_fps.map_or(frame_rate, |max| max.min(frame_rate));
        let settings = EncoderConfig {
            size,
            frame_rate,
            video_kbps: rung.video_kbps,
            max_kbps: rung.max_kbps,
            buffer_kbits: rung.buffer_kbits,
            preset: rung.preset,
            threads: 1,
        };
        Ok(Self {
            scaler: scaler(source, size, &rung),
            rung,
            size,
            scaled: Picture::black(size, Timestamp::ZERO),
            content: None,
            settings,
            encoder: None,
            due: None,
            coded: Ok(None),
        })
    }

    /// Opens the encoder, if it is not open.
    pub(super) fn wake(&mut self) -> Result<(), codec::Error> {
        if self.encoder.is_none() {
            self.encoder = Some(open_encoder(&self.settings)?);
        }
        Ok(())
    }

    /// Closes the encoder: pictures are left out until [`Line::wake`].
    pub(super) fn rest(&mut self) {
        self.encoder = None;
    }

    /// Turns to pictures of another size. Gives back whether the rung's own
    /// size changed, which a playlist must mark as a discontinuity.
    pub(super) fn retarget(
        &mut self,
        source: Size,
        aspect: (u32, u32),
        frame_rate: f64,
    ) -> Result<bool, codec::Error> {
        let size = source.fit(aspect, self.rung.bounds());
        if size == self.size {
            self.scaler = scaler(source, size, &self.rung);
            self.content = None;
            return Ok(false);
        }
        *self = Self::open(self.rung.clone(), source, aspect, frame_rate)?;
        self.wake()?;
        Ok(true)
    }

    /// What came of the last picture; `None` when this rung left it out.
    pub(super) fn take_coded(&mut self) -> Result<Option<AccessUnit>, codec::Error> {
        std::mem::replace(&mut self.coded, Ok(None))
    }

    fn code(
        &mut self,
        shown: &Shown,
        mark: Mark,
        stats: &Stats,
    ) -> Result<Option<AccessUnit>, codec::Error> {
        if self.encoder.is_none() {
            return Ok(None);
        }
        let picture = &*shown.picture;
        if mark == Mark::Plain && !self.is_due(picture.pts) {
            stats.count(self.rung.name(), |count| count.skipped += 1);
            return Ok(None);
        }
        self.advance(picture.pts);
        let picture = match &mut self.scaler {
            Some(scaler) => {
                let behind = self.content.map(|content| shown.content - content);
                stats.timed(Stage::Scale, || match (behind, &shown.changes) {
                    (Some(0), _) => self.scaled.pts = picture.pts,
                    (Some(1), Some(changes)) => {
                        scaler.scale_changes(picture, changes, &mut self.scaled);
                    }
                    _ => scaler.scale(picture, &mut self.scaled),
                });
                self.content = Some(shown.content);
                &self.scaled
            }
            None => picture,
        };
        let Some(encoder) = &mut self.encoder else {
            return Ok(None);
        };
        let coded = stats.timed(Stage::Encode, || {
            encoder.encode(picture, mark != Mark::Plain)
        });
        stats.count(self.rung.name(), |count| match &coded {
            Ok(Some(_)) => count.encoded += 1,
            Ok(None) => count.skipped += 1,
            Err(_) => count.failed += 1,
        });
        coded
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
pub(super) fn top<'a>(chosen: impl Iterator<Item = &'a Rung>) -> Option<usize> {
    let height = |rung: &Rung| (rung.bounds().area(), rung.max_kbps);
    let highest = chosen.enumerate().max_by_key(|(_, rung)| height(rung));
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

/// `None` if pictures are to stay as they are.
fn scaler(from: Size, to: Size, rung: &Rung) -> Option<Scaler> {
    (from != to || rung.sharpen > 0.0).then(|| Scaler::new(from, to).sharpened(rung.sharpen))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    /// Codes pictures at 30 a second on a rung and says, for each, what came out
    /// of the scaler and the encoder. `known` lets the line know what changed.
    fn coded(rung: Rung, pictures: &[Picture], known: bool) -> Vec<(Vec<u8>, Option<Bytes>)> {
        let mut line = Line::open(rung, pictures[0].size, (1, 1), 30.0).unwrap();
        line.wake().unwrap();
        let config = Arc::clone(line.encoder.as_ref().unwrap().config());
        let planes = line.scaled.planes[0].data.as_ptr();
        let (mut before, mut out) = (None, Vec::new());
        for (index, picture) in pictures.iter().enumerate() {
            let mut picture = picture.clone();
            picture.pts = Timestamp::ZERO + Ticks::from_periods(index as i64, 30);
            let mut shown = Shown::after(before.take(), Arc::new(picture), Arc::clone(&config));
            before = Some(shown.clone());
            if !known {
                (shown.content, shown.changes) = (2 * index as u64, None);
            }
            let mark = match index % 16 {
                0 => Mark::Key,
                _ => Mark::Plain,
            };
            let unit = line.code(&shown, mark, &Stats::default()).unwrap();
            let scaled = line.scaled().map_or(Vec::new(), |scaled| {
                assert!(unit.is_none() || scaled.pts == shown.pts());
                scaled
                    .planes
                    .iter()
                    .flat_map(|plane| plane.data.clone())
                    .collect()
            });
            out.push((scaled, unit.map(|unit| unit.data)));
        }
        assert_eq!(
            line.scaled.planes[0].data.as_ptr(),
            planes,
            "planes are used again"
        );
        out
    }

    #[test]
    fn a_still_and_its_refinements_give_the_bytes_of_pictures_scaled_whole() {
        let size = Size::new(320, 180);
        let mut pictures = Vec::new();
        for index in 0..8 {
            let mut picture = testkit::moving_pattern(size, index, Timestamp::ZERO);
            for refined in 0..6 {
                pictures.push(picture.clone());
                pictures.push(picture.clone());
                let plane = &mut picture.planes[refined % 3];
                plane.row_mut(refined * 15)[refined] ^= 0x55;
            }
        }
        for (max_fps, sharpen, height) in [
            (None, 0.0, 90),
            (None, 0.4, 90),
            (Some(10.0), 0.0, 90),
            (Some(15.0), 0.0, 90),
            (None, 0.0, 180),
            (None, 0.4, 180),
        ] {
            let bounds = Size::new(320, height);
            let mut rung = Rung::new("rung", bounds, 400, 428, 600).unwrap();
            (rung.max_fps, rung.sharpen) = (max_fps, sharpen);
            let case = format!("{max_fps:?} {sharpen} {height}");
            let (known, unknown) = (
                coded(rung.clone(), &pictures, true),
                coded(rung, &pictures, false),
            );
            assert!(known == unknown, "{case}");
        }
    }

    fn names(width: u32, height: u32) -> Vec<String> {
        let rung = |name, width, height| {
            Rung::new(name, Size::new(width, height), 800, 856, 1200).unwrap()
        };
        let ladder = [
            rung("720p", 1280, 720),
            rung("360p", 640, 360),
            rung("480p", 854, 480),
        ];
        choose(&ladder, Size::new(width, height), (1, 1))
            .iter()
            .map(|rung| rung.name().to_owned())
            .collect()
    }

    #[test]
    fn a_small_source_gets_one_rung_and_a_middling_one_its_own_size() {
        assert_eq!(names(320, 240), ["360p"]);
        assert_eq!(names(640, 272), ["360p"]);
        assert_eq!(names(854, 480), ["360p", "480p"]);
        assert_eq!(names(1024, 576), ["360p", "480p", "720p"]);
        assert_eq!(names(1080, 1920), ["360p", "480p", "720p"]);
    }

    #[test]
    fn rungs_of_one_box_are_all_kept() {
        let rung = |name, kbps| Rung::new(name, Size::new(640, 360), kbps, kbps, 1200).unwrap();
        assert_eq!(
            choose(
                &[rung("low", 400), rung("high", 900)],
                Size::new(1280, 720),
                (1, 1)
            )
            .len(),
            2
        );
    }
}
