//! Rungs that no playlist has: coded while somebody wants them, and to nobody's
//! cost.

use std::collections::BTreeMap;

use bytes::Bytes;
use media::SampleClock;

use super::*;

type Told = (u64, Timestamp, Ticks, bool, Bytes);

/// Keeps what each output gave, by its name.
#[derive(Default)]
struct Seen {
    segments: BTreeMap<String, Vec<Told>>,
    units: BTreeMap<String, Vec<AccessUnit>>,
    stands_for: BTreeMap<String, Vec<String>>,
}

impl Sink for Seen {
    fn segments(&mut self, outputs: &[Output], batch: Vec<(usize, Segment)>) {
        for (index, one) in batch {
            let name = outputs[index].name.clone();
            let told = (
                one.number,
                one.start,
                one.duration,
                one.discontinuity,
                one.data,
            );
            self.segments.entry(name).or_default().push(told);
        }
    }

    fn unit(&mut self, output: &Output, unit: &AccessUnit) {
        let (name, others) = (output.name.clone(), output.stands_for.clone());
        self.stands_for.insert(name.clone(), others);
        self.units.entry(name).or_default().push(unit.clone());
    }
}

impl Seen {
    fn video(&self, name: &str) -> Vec<&AccessUnit> {
        let units = self.units.get(name).into_iter().flatten();
        units.filter(|unit| unit.track() == Track::Video).collect()
    }
}

fn rung(name: &str, width: u32, height: u32) -> Rung {
    Rung::new(name, Size::new(width, height), 400, 428, 600).unwrap()
}

/// Settings with rungs that are not listed, none of them wanted.
fn offering(rungs: Vec<Rung>, unlisted: Vec<Rung>) -> Settings {
    let mut settings = settings(rungs);
    settings.wants = Arc::new(Wants::new(settings.rungs.iter().chain(&unlisted)));
    settings.unlisted = unlisted;
    *settings.hints.lock().unwrap() = Hints {
        audio: true,
        video: true,
        frame_rate: None,
        audio_kbps: Some(128.0),
    };
    settings
}

/// Frames of sound beside pictures that begin at `from`, as a sender interleaves
/// them.
fn with_sound(video: Vec<AccessUnit>) -> Vec<AccessUnit> {
    let config = bitstream::asc::low_complexity(48_000, 2).unwrap();
    let config = Arc::new(TrackConfig::Aac(config));
    let mut clock = SampleClock::new(48_000, Ticks::SECOND);
    let mut units = Vec::new();
    let mut next = Timestamp::ZERO;
    for unit in video {
        while next <= unit.pts {
            let (pts, _) = clock.stamp(next, 1024);
            next = clock.next().unwrap();
            units.push(AccessUnit {
                pts,
                dts: pts,
                key: true,
                data: Bytes::from_static(&[0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c]),
                config: Arc::clone(&config),
            });
        }
        units.push(unit);
    }
    units
}

/// Takes `units` through a ladder in which `name` is wanted at first as `wanted`
/// says, and otherwise from each picture of `turns` on. All that came before is
/// coded by then.
fn run(
    settings: Settings,
    units: &[AccessUnit],
    name: &str,
    wanted: bool,
    turns: &[usize],
) -> Seen {
    let wants = Arc::clone(&settings.wants);
    let place = wants.find(name);
    let mark = |wanted| place.into_iter().for_each(|at| wants.mark(at, wanted));
    mark(wanted);
    let mut now = wanted;
    let mut ladder = Ladder::new(settings, Seen::default());
    let mut pictures = 0;
    for unit in units {
        if unit.track() == Track::Video {
            if turns.contains(&pictures) {
                ladder.settle().unwrap();
                now = !now;
                mark(now);
            }
            pictures += 1;
        }
        ladder.push(unit.clone()).unwrap();
    }
    ladder.finish().unwrap()
}

fn encoded(stats: &Stats, name: &str) -> u64 {
    let rungs = stats.rungs().into_iter();
    let of = rungs.filter(|count| count.rung == name);
    of.map(|count| count.encoded + count.skipped).sum()
}

#[test]
fn what_viewers_get_is_the_same_bytes_whether_or_not_somebody_wants_another_rung() {
    let size = Size::new(320, 192);
    let units = with_sound(source(size, 110, 25));
    for passthrough in [config::Passthrough::Off, config::Passthrough::Auto] {
        let listed = || vec![rung("low", 320, 64), rung("high", 320, 192)];
        let mut alone = offering(listed(), Vec::new());
        alone.passthrough = passthrough;
        let alone = run(alone, &units, "", false, &[]);
        assert_eq!(alone.segments["low"].len(), 5);
        // One that the low rung could be made of, and one as large as the source.
        for height in [128, 192] {
            for (wanted, turns) in [(false, &[][..]), (true, &[]), (false, &[33, 61, 70])] {
                let mut beside = offering(listed(), vec![rung("other", 320, height)]);
                beside.passthrough = passthrough;
                let stats = Arc::clone(&beside.stats);
                let beside = run(beside, &units, "other", wanted, turns);
                assert!(alone.segments == beside.segments, "{height} {turns:?}");
                for name in ["low", "high"] {
                    let bytes = |seen: &Seen| -> Vec<_> {
                        let units = seen.units[name].iter();
                        units
                            .map(|unit| (unit.pts, unit.dts, unit.key, unit.data.clone()))
                            .collect()
                    };
                    assert!(bytes(&alone) == bytes(&beside), "{name} {height} {turns:?}");
                }
                let expected = match (wanted, turns) {
                    (true, _) => 110,
                    (false, []) => 0,
                    // The picture in hand is still to be coded when the wish comes and goes.
                    _ => (61 - 33) + (110 - 70 + 1),
                };
                assert_eq!(encoded(&stats, "other"), expected, "{height} {turns:?}");
                assert_eq!(beside.video("other").len() as u64, expected);
            }
        }
    }
}

#[test]
fn a_rung_that_is_wanted_on_the_way_begins_at_once_with_a_key_picture() {
    let size = Size::new(160, 96);
    let units = source(size, 100, 50);
    let settings = offering(vec![rung("low", 160, 48)], vec![rung("other", 160, 96)]);
    let seen = run(settings, &units, "other", false, &[36, 61]);
    let other = seen.video("other");
    let at = |unit: &AccessUnit| unit.pts.ticks() / 3600;
    // The picture before is held back until the next is there.
    assert_eq!(at(other[0]), 35);
    let keys = other.iter().filter(|unit| unit.key);
    // That of its own, and those of all rungs.
    assert_eq!(keys.map(|unit| at(unit)).collect::<Vec<_>>(), [35, 50]);
    assert_eq!(at(other[other.len() - 1]), 59);
    let low = seen.video("low").into_iter().filter(|unit| unit.key);
    assert_eq!(low.map(at).collect::<Vec<_>>(), [0, 25, 50, 75]);
    assert!(!seen.segments.contains_key("other"));
}

#[test]
fn the_units_of_a_rung_are_those_of_its_segments() {
    let size = Size::new(160, 96);
    let units = with_sound(source(size, 110, 25));
    for passthrough in [config::Passthrough::Off, config::Passthrough::Auto] {
        let mut settings = offering(vec![rung("low", 160, 48), rung("high", 160, 96)], vec![]);
        settings.passthrough = passthrough;
        let seen = run(settings, &units, "", false, &[]);
        for name in ["low", "high"] {
            let mut prober = Prober::new();
            let (mut video, mut audio) = (Vec::new(), 0);
            for (.., data) in &seen.segments[name] {
                let probed = prober.segment(data).unwrap();
                video.extend(probed.video.iter().map(|unit| unit.pts));
                audio += probed.audio.len();
            }
            let origin = video[0];
            let stamps: Vec<_> = video.iter().map(|pts| pts - origin).collect();
            let units = seen.video(name);
            let given: Vec<_> = units.iter().map(|unit| unit.pts.ticks()).collect();
            assert_eq!(given, stamps, "{name}");
            assert_eq!(seen.units[name].len() - units.len(), audio);
            let dts = units.windows(2).all(|pair| pair[0].dts < pair[1].dts);
            assert!(dts, "{name}");
        }
        if passthrough == config::Passthrough::Auto {
            let first = seen.video("high")[0];
            let own = units.iter().find(|unit| unit.track() == Track::Video);
            assert_eq!(first.data, own.unwrap().data);
        }
    }
}

#[test]
fn a_source_that_is_too_small_for_a_rung_has_the_one_that_shows_as_much() {
    let rungs = ["360p", "480p", "720p"].map(|name| {
        let height: u32 = name[..3].parse().unwrap();
        rung(name, height * 16 / 9 / 2 * 2, height)
    });
    let twitch = rung("twitch", 1280, 720);
    let settings = offering(rungs.to_vec(), vec![twitch]);
    let seen = run(
        settings,
        &source(Size::new(320, 180), 30, 25),
        "twitch",
        true,
        &[],
    );
    assert_eq!(seen.stands_for["360p"], ["480p", "720p"]);
    // It is what was asked for, and nothing is enlarged for it.
    assert!(seen.stands_for["twitch"].is_empty());
    let first = seen.video("twitch")[0];
    assert_eq!(first.config.h264().unwrap().size, Size::new(320, 180));
}

#[test]
fn a_source_that_changes_its_size_wakes_nobody_and_marks_nothing_for_what_is_not_listed() {
    let (small, large) = (Size::new(160, 96), Size::new(320, 192));
    let mut units = source(large, 60, 25);
    for mut unit in source(small, 60, 25) {
        let before = Ticks::from_periods(60, 25);
        (unit.pts, unit.dts) = (unit.pts + before, unit.dts + before);
        units.push(unit);
    }
    for wanted in [false, true] {
        let settings = offering(vec![rung("low", 160, 96)], vec![rung("other", 320, 192)]);
        let stats = Arc::clone(&settings.stats);
        let seen = run(settings, &units, "other", wanted, &[]);
        assert!(seen.segments["low"].iter().all(|one| !one.3));
        assert_eq!(encoded(&stats, "other"), if wanted { 120 } else { 0 });
        let sizes: Vec<_> = seen
            .video("other")
            .iter()
            .filter(|unit| unit.key)
            .map(|unit| unit.config.h264().unwrap().size)
            .collect();
        assert_eq!(sizes.contains(&small), wanted);
        assert!(!wanted || sizes[0] == large);
    }
}

#[test]
fn without_a_listed_rung_there_are_units_and_no_segments() {
    let size = Size::new(160, 96);
    let units = with_sound(source(size, 80, 25));
    let mut settings = offering(vec![], vec![rung("low", 160, 48), rung("high", 160, 96)]);
    settings.passthrough = config::Passthrough::Auto;
    let stats = Arc::clone(&settings.stats);
    let seen = run(settings, &units, "low", true, &[]);
    assert!(seen.segments.is_empty());
    assert_eq!(seen.video("low").len(), 80);
    assert_eq!((encoded(&stats, "low"), encoded(&stats, "high")), (80, 0));
    assert!(seen.units["low"].len() > 200 && seen.video("high").is_empty());
}

#[test]
fn sound_alone_stands_for_every_rung() {
    let video = source(Size::new(160, 96), 80, 25);
    let mut units = with_sound(video);
    units.retain(|unit| unit.track() == Track::Audio);
    for listed in [true, false] {
        let rungs = if listed {
            vec![rung("low", 160, 48)]
        } else {
            vec![]
        };
        let mut settings = offering(rungs, vec![rung("high", 160, 96)]);
        settings.hints.lock().unwrap().video = false;
        settings.wait_for_video = Ticks::SECOND;
        let seen = run(settings, &units, "high", true, &[]);
        let last = &seen.stands_for["audio"];
        assert!(last.contains(&"high".to_owned()) && last.contains(&"low".to_owned()) == listed);
        assert_eq!(seen.units["audio"].len(), units.len());
        assert_eq!(seen.segments.contains_key("audio"), listed);
    }
}
