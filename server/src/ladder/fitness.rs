//! Whether a source's own access units would do as the top rung.
//!
//! Looks at units alone, in decoding order: their configuration, how many bits
//! they take, how far apart their key pictures are. Knows nothing of segments or
//! of what becomes of its verdict.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use media::{AccessUnit, H264Config, Rung, Ticks, Timestamp, TrackConfig};

use super::line;

/// Why the source's own units will not do, in words for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Not a format that every player of the rung plays, or not its size.
    Format,
    /// Another format than it was.
    Changed,
    /// More bits than the rung may have.
    Rate,
    /// More pictures a second than the rung may have.
    FrameRate,
    /// No key picture where a segment has to end.
    KeyDistance,
    /// Units that cannot be decoded, or not in their order.
    Damage,
    /// Units were lost on the way.
    Loss,
    /// A hole in the video that the other rungs fill with repeats.
    Hole,
    /// Sound of another format, which has to begin with a new timeline.
    Sound,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "its format or size is not the rung's",
            Self::Changed => "its format changed",
            Self::Rate => "its bit rate is above the rung's",
            Self::FrameRate => "its frame rate is above the rung's",
            Self::KeyDistance => "its key pictures are too far apart for a segment",
            Self::Damage => "it is damaged",
            Self::Loss => "units were lost",
            Self::Hole => "its pictures pause",
            Self::Sound => "its sound changed",
        })
    }
}

/// Follows the units of a video track.
#[derive(Clone)]
pub(super) struct Watch {
    rungs: Vec<Rung>,
    /// Longest segment: no two key pictures may be further apart.
    longest_segment: Ticks,
    config: Option<Arc<TrackConfig>>,
    /// `None` while the configuration will not do.
    bounds: Option<Bounds>,
    /// The distances between the last key pictures, newest last.
    distances: VecDeque<Ticks>,
    /// The newest key picture, and pictures from there on.
    key: Option<Timestamp>,
    pictures: u32,
    /// The key picture from which on all was well.
    well_since: Option<Timestamp>,
}

/// What the rung allows, and how much of it is used.
#[derive(Clone)]
struct Bounds {
    max_fps: f64,
    /// Bits a second that flow out of the bucket.
    rate: i64,
    /// Bits that the bucket holds.
    size: i64,
    level: i64,
    at: Option<Timestamp>,
}

impl Watch {
    /// A watch for a source of a ladder of `rungs`.
    pub(super) fn new(rungs: &[Rung], longest_segment: Ticks) -> Self {
        Self {
            rungs: rungs.to_vec(),
            longest_segment,
            config: None,
            bounds: None,
            distances: VecDeque::new(),
            key: None,
            pictures: 0,
            well_since: None,
        }
    }

    /// Looks at the next unit.
    pub(super) fn take(&mut self, unit: &AccessUnit) -> Result<(), Unfit> {
        let verdict = self.judge(unit);
        if verdict.is_err() {
            self.well_since = None;
        }
        verdict
    }

    /// Something else than a unit went wrong: what is watched begins anew.
    pub(super) fn spoil(&mut self) {
        self.key = None;
        self.well_since = None;
    }

    /// How long all has been well, at a unit of time `now`.
    pub(super) fn well_for(&self, now: Timestamp) -> Option<Ticks> {
        self.well_since.map(|since| now - since)
    }

    /// How far behind a key picture the next one is to be expected at the most.
    pub(super) fn expected(&self) -> Ticks {
        let Some(longest) = self.distances.iter().copied().max() else {
            return USUAL_DISTANCE;
        };
        // Those that no scene cut made short: where they differ, they may differ a
        // little more the next time.
        let whole = |distance: &Ticks| distance.get() > longest.get() - longest.get() / 10;
        let whole = self.distances.iter().copied().filter(whole).min();
        let jitter = whole.map_or(Ticks::ZERO, |least| longest - least);
        let expected = longest + jitter.min(JITTER);
        if self.distances.len() < KNOWN_AFTER {
            return expected.max(USUAL_DISTANCE);
        }
        expected
    }

    fn judge(&mut self, unit: &AccessUnit) -> Result<(), Unfit> {
        let known = self.config.as_ref();
        if known.is_none_or(|known| !super::same(known, &unit.config)) {
            let changed = known.is_some();
            self.adopt(&unit.config);
            if changed {
                return Err(Unfit::Changed);
            }
        }
        let Some(bounds) = &mut self.bounds else {
            return Err(Unfit::Format);
        };
        let room = bounds.pour(unit);
        if unit.key {
            let (before, pictures) = (self.key.replace(unit.pts), self.pictures);
            self.pictures = 0;
            if let Some(before) = before {
                let distance = unit.pts - before;
                self.distances.push_back(distance);
                if self.distances.len() > REMEMBERED {
                    self.distances.pop_front();
                }
                if distance > self.longest_segment {
                    return Err(Unfit::KeyDistance);
                }
                if f64::from(pictures) > bounds.max_fps * distance.as_secs_f64() * FPS_SLACK {
                    return Err(Unfit::FrameRate);
                }
            }
            self.well_since.get_or_insert(unit.pts);
        }
        self.pictures = self.pictures.saturating_add(1);
        if room { Ok(()) } else { Err(Unfit::Rate) }
    }

    fn adopt(&mut self, config: &Arc<TrackConfig>) {
        self.config = Some(Arc::clone(config));
        self.distances.clear();
        self.spoil();
        let rung = config
            .h264()
            .and_then(|config| rung_of(&self.rungs, config));
        self.bounds = rung.map(|rung| Bounds::of(&rung));
    }
}

impl Bounds {
    fn of(rung: &Rung) -> Self {
        Self {
            max_fps: line::most_fps(rung),
            rate: i64::from(allowed(rung).max_kbps) * 1000,
            size: i64::from(rung.buffer_kbits) * 1000,
            level: 0,
            at: None,
        }
    }

    /// Adds a unit; false when the bucket runs over.
    fn pour(&mut self, unit: &AccessUnit) -> bool {
        let since = self
            .at
            .replace(unit.dts)
            .map_or(0, |at| (unit.dts - at).get());
        let drained = self.rate * since.clamp(0, LONGEST_LOOK.get()) / Ticks::HZ;
        let bits = unit.data.len() as i64 * 8;
        let level = (self.level - drained).max(0) + bits;
        // What ran over is gone: the bucket is full, and empties from there.
        self.level = level.min(self.size);
        level <= self.size
    }
}

/// What a source that stands in for the rung may take: a tenth more than its
/// highest rate.
pub(super) fn allowed(rung: &Rung) -> Rung {
    let mut allowed = rung.clone();
    allowed.max_kbps = rung.max_kbps * 11 / 10;
    allowed
}

/// The rung that a source of this configuration can stand in for: the highest
/// that it gets, if it has just its size.
///
/// Constrained Baseline, Main and High: what every HLS player has decoded for a
/// decade. Not Baseline proper, whose slice groups few decoders know. One SPS, so
/// that what is known of the track holds for all of it.
fn rung_of(rungs: &[Rung], config: &H264Config) -> Option<Rung> {
    let constrained = config.constraints & 0x40 != 0;
    let profile = match config.profile {
        MAIN | HIGH => true,
        BASELINE => constrained,
        _ => false,
    };
    if !profile || config.interlaced || config.high_fidelity || config.sps.len() != 1 {
        return None;
    }
    let mut chosen = line::choose(rungs, config.size, config.sample_aspect);
    let rung = chosen.swap_remove(line::top(chosen.iter().enumerate())?);
    let fitted = config.size.fit(config.sample_aspect, rung.bounds());
    (fitted == config.size).then_some(rung)
}

const BASELINE: u8 = 66;
const MAIN: u8 = 77;
const HIGH: u8 = 100;

/// Distances between key pictures that are remembered: an encoder that also
/// makes them at scene cuts reaches its longest within so many.
const REMEMBERED: usize = 64;

/// Before so many distances are known, [`USUAL_DISTANCE`] is expected: what
/// services ask of encoders, also where the first ones were scene cuts.
const KNOWN_AFTER: usize = 4;
const USUAL_DISTANCE: Ticks = Ticks::from_millis(2000);

/// What jitter may add to a distance, where there is any.
const JITTER: Ticks = Ticks::from_millis(50);

/// A key picture more or less, and timestamps of whole milliseconds.
const FPS_SLACK: f64 = 1.05;

/// A pause counts for the bucket as far as the demuxer's longest step.
const LONGEST_LOOK: Ticks = Ticks::from_millis(10_000);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media::Size;
    use packager::rates::{Estimate, Meter};

    use super::*;

    fn ladder() -> Vec<Rung> {
        [("360p", 640, 360, 800), ("720p", 1280, 720, 2800)]
            .map(|(name, width, height, kbps)| {
                let max = kbps * 107 / 100;
                Rung::new(name, Size::new(width, height), kbps, max, kbps * 3 / 2).unwrap()
            })
            .to_vec()
    }

    fn config(profile: u8, constraints: u8, size: Size) -> H264Config {
        H264Config {
            nal_length_size: 4,
            sps: vec![Bytes::from_static(&[0x67])],
            pps: vec![Bytes::from_static(&[0x68])],
            profile,
            constraints,
            level: 31,
            size,
            sample_aspect: (1, 1),
            frame_rate: None,
            colour: None,
            interlaced: false,
            high_fidelity: false,
        }
    }

    const HD: Size = Size::new(1280, 720);

    /// Units at `fps`, a key unit where `key` says so, of `kbps` each second;
    /// gives the first time, in ms, at which something was wrong.
    fn watch(
        seconds: i64,
        fps: i64,
        key: impl Fn(i64) -> bool,
        kbps: impl Fn(i64) -> i64,
    ) -> (Watch, Option<(i64, Unfit)>) {
        let config = Arc::new(TrackConfig::H264(config(HIGH, 0, HD)));
        let mut watch = Watch::new(&ladder(), Ticks::from_millis(2000));
        let mut first = None;
        for index in 0..seconds * fps {
            let ms = index * 1000 / fps;
            let pts = Timestamp::from_millis(ms);
            let unit = AccessUnit {
                pts,
                dts: pts,
                key: key(index),
                data: vec![0; (kbps(ms) * 125 / fps) as usize].into(),
                config: Arc::clone(&config),
            };
            if let Err(why) = watch.take(&unit) {
                first.get_or_insert((ms, why));
            }
        }
        (watch, first)
    }

    #[test]
    fn only_what_every_player_decodes_stands_in_for_a_rung_of_its_very_size() {
        let stands_in =
            |config: &H264Config| rung_of(&ladder(), config).map(|rung| rung.name().to_owned());
        for (profile, constraints) in [(66, 0xc0), (66, 0x40), (77, 0), (77, 0x40), (100, 0)] {
            let fits = stands_in(&config(profile, constraints, HD));
            assert_eq!(fits.as_deref(), Some("720p"), "{profile}");
        }
        let small = config(HIGH, 0, Size::new(640, 360));
        assert_eq!(stands_in(&small).as_deref(), Some("360p"));
        for (profile, constraints) in [(66, 0), (66, 0x80), (88, 0), (110, 0), (122, 0), (244, 0)] {
            assert_eq!(
                stands_in(&config(profile, constraints, HD)),
                None,
                "{profile}"
            );
        }
        for size in [
            Size::new(1920, 1080),
            Size::new(1280, 722),
            Size::new(1279, 720),
        ] {
            assert_eq!(stands_in(&config(HIGH, 0, size)), None, "{size}");
        }
        let good = config(HIGH, 0, HD);
        for bad in [
            H264Config {
                interlaced: true,
                ..good.clone()
            },
            H264Config {
                high_fidelity: true,
                ..good.clone()
            },
            H264Config {
                sample_aspect: (4, 3),
                ..good.clone()
            },
            H264Config {
                sps: vec![Bytes::from_static(&[0x67]); 2],
                ..good
            },
        ] {
            assert_eq!(stands_in(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_rate_above_the_rungs_is_found_when_its_buffer_is_used_up() {
        let every_second = |index| index % 30 == 0;
        assert_eq!(watch(60, 30, every_second, |_| 3200).1, None);
        // 4000 kbit/s are 704 above what drains: 4200 kbit last six seconds.
        let (_, first) = watch(
            60,
            30,
            every_second,
            |ms| if ms < 20_000 { 2500 } else { 4000 },
        );
        let (ms, why) = first.unwrap();
        assert_eq!(why, Unfit::Rate);
        assert!((25_000..27_000).contains(&ms), "{ms}");
    }

    #[test]
    fn a_segment_as_full_as_the_bucket_allows_is_within_the_playlists_limit() {
        let rung = ladder().swap_remove(1);
        for seconds in [1, 2, 4, 6, 10] {
            let target = Ticks::new(seconds * Ticks::HZ);
            let estimate = Estimate::of_rung(&allowed(&rung), 128, 30.0);
            let mut meter = Meter::new(target, target, estimate);
            meter.push(1, target);
            assert!(meter.bandwidth().settled);
            let bounds = Bounds::of(&rung);
            let most = (bounds.rate + 128_000) * seconds + bounds.size;
            let rate = most as f64 / seconds as f64 * 188.0 / 184.0;
            assert!(rate <= meter.bandwidth().peak as f64 * 1.25, "{seconds}");
        }
    }

    #[test]
    fn a_key_picture_of_the_whole_buffer_is_no_breach() {
        let first_is_large = |ms| if ms == 0 { 4100 * 30 } else { 1000 };
        assert_eq!(
            watch(10, 30, |index| index % 60 == 0, first_is_large).1,
            None
        );
    }

    #[test]
    fn key_pictures_may_be_as_far_apart_as_a_segment_is_long_and_no_further() {
        assert_eq!(watch(20, 30, |index| index % 60 == 0, |_| 1000).1, None);
        let (_, first) = watch(20, 30, |index| index % 61 == 0, |_| 1000);
        assert_eq!(first, Some((2033, Unfit::KeyDistance)));
    }

    #[test]
    fn more_pictures_than_players_show_are_found_with_the_second_key_picture() {
        assert_eq!(watch(5, 60, |index| index % 60 == 0, |_| 1000).1, None);
        let (_, first) = watch(5, 120, |index| index % 120 == 0, |_| 1000);
        assert_eq!(first, Some((1000, Unfit::FrameRate)));
    }

    #[test]
    fn what_is_expected_is_the_longest_of_late_with_its_jitter() {
        let regular = watch(20, 30, |index| index % 30 == 0, |_| 1000).0;
        assert_eq!(regular.expected(), Ticks::SECOND);
        let young = watch(3, 30, |index| index % 30 == 0, |_| 1000).0;
        assert_eq!(young.expected(), USUAL_DISTANCE);
        let scenes = |index| index % 60 == 0 || index % 100 == 0;
        let scenes = watch(20, 30, scenes, |_| 1000).0;
        assert_eq!(scenes.expected(), Ticks::from_millis(2000));
        // 2000 ms, then 1966 ms, and so on.
        let uneven = watch(20, 30, |index| matches!(index % 119, 0 | 60), |_| 1000).0;
        assert_eq!(uneven.expected(), Ticks::from_millis(2034));
    }

    #[test]
    fn well_being_counts_from_the_first_key_picture_after_trouble() {
        let (watch, _) = watch(
            30,
            30,
            |index| index % 30 == 0,
            |ms| {
                if (5_000..10_000).contains(&ms) {
                    9000
                } else {
                    1000
                }
            },
        );
        let now = Timestamp::from_millis(30_000);
        assert_eq!(watch.well_for(now), Some(Ticks::from_millis(20_000)));
    }
}
