use media::{Ticks, Timestamp};
use proptest::prelude::*;

use super::*;

const SETTINGS: Settings = Settings {
    video_kbps: 800.0,
    max_kbps: 856.0,
    buffer_kbits: 1200.0,
    frame_rate: 30.0,
    macroblocks: 920.0,
};

/// An encoder that obeys a law of its own.
struct Coder {
    control: Control,
    settings: Settings,
    /// Instants and kbits of what was kept.
    sizes: Vec<(f64, f64)>,
    left_out: usize,
    quantisers: Vec<f64>,
}

/// What a picture is like: cost and how many kbits it takes for its cost.
#[derive(Clone, Copy, Debug)]
struct Scene {
    cost: Cost,
    kbits_per_work: f64,
}

const FILM: Scene = Scene {
    cost: Cost {
        intra: 400.0,
        inter: 80.0,
    },
    kbits_per_work: 60.0,
};
const STILL: Scene = Scene {
    cost: Cost {
        intra: 400.0,
        inter: 0.0,
    },
    kbits_per_work: 60.0,
};
/// Far more bits than its cost tells, as full-range noise has.
const NOISE: Scene = Scene {
    cost: Cost {
        intra: 940.0,
        inter: 940.0,
    },
    kbits_per_work: 1000.0,
};

impl Coder {
    fn new(settings: Settings) -> Self {
        Self {
            control: Control::new(settings),
            settings,
            sizes: Vec::new(),
            left_out: 0,
            quantisers: Vec::new(),
        }
    }

    fn picture(&mut self, seconds: f64, key: bool, scene: Scene) {
        let pts = Timestamp::ZERO + Ticks::from_secs_f64(seconds);
        let Plan::Code(mut quantiser) = self.control.plan(pts, key, scene.cost) else {
            assert!(!key, "a key picture was left out");
            self.left_out += 1;
            return;
        };
        let mut key = key;
        loop {
            assert!((FINEST..=COARSEST).contains(&quantiser.qp));
            assert!(quantiser.soften <= SOFTEST);
            let cost = if key {
                scene.cost.intra
            } else {
                scene.cost.inter
            };
            let kbits = scene.kbits_per_work * cost.powf(0.7) * halvings(quantiser.steps());
            let smallest = SMALLEST * self.settings.macroblocks;
            let kbits = match quantiser.soften {
                SOFTEST => kbits.clamp(0.2, smallest),
                _ => kbits.max(0.2),
            };
            match self.control.coded((kbits * 1000.0) as usize) {
                Verdict::Keep => {
                    self.sizes.push((seconds, kbits));
                    self.quantisers.push(quantiser.steps());
                    return;
                }
                Verdict::Again(coarser) => {
                    assert!(coarser.steps() > quantiser.steps());
                    quantiser = coarser;
                    key = true;
                }
            }
        }
    }

    fn run(&mut self, from: usize, pictures: usize, scene: impl Fn(usize) -> Scene) {
        for index in from..from + pictures {
            let seconds = index as f64 / self.settings.frame_rate;
            self.picture(seconds, index % 60 == 0, scene(index));
        }
    }

    /// The most that any window holds beyond what drains in it, in buffers.
    fn fullest(&self) -> f64 {
        let (mut level, mut last, mut most) = (0.0_f64, 0.0, 0.0_f64);
        for &(at, kbits) in &self.sizes {
            level = (level - self.settings.max_kbps * (at - last)).max(0.0) + kbits;
            last = at;
            most = most.max(level);
        }
        most / self.settings.buffer_kbits
    }

    fn kbps(&self, from: f64, to: f64) -> f64 {
        let within = self
            .sizes
            .iter()
            .filter(|size| (from..to).contains(&size.0));
        within.map(|size| size.1).sum::<f64>() / (to - from)
    }
}

#[test]
fn a_steady_scene_gets_its_rate_at_a_steady_quantiser() {
    let mut coder = Coder::new(SETTINGS);
    coder.run(0, 1800, |_| FILM);
    let rate = coder.kbps(10.0, 60.0);
    assert!((760.0..=840.0).contains(&rate), "{rate}");
    let late: Vec<f64> = coder.quantisers[600..].to_vec();
    let key = |index: &usize| (600 + index).is_multiple_of(60);
    let inter = late.iter().enumerate().filter(|(index, _)| !key(index));
    let (least, most) = inter.fold((f64::MAX, f64::MIN), |(least, most), (_, &quantiser)| {
        (least.min(quantiser), most.max(quantiser))
    });
    assert!(most - least <= 2.0, "{least} to {most}");
}

#[test]
fn noise_from_the_first_picture_on_stays_within_the_buffer() {
    let mut coder = Coder::new(SETTINGS);
    coder.run(0, 900, |_| NOISE);
    assert!(coder.fullest() <= 1.0, "{}", coder.fullest());
    assert!(coder.left_out < 30, "{}", coder.left_out);
    assert!(coder.kbps(0.0, 30.0) < 900.0);
}

#[test]
fn a_still_of_ten_seconds_does_not_pay_for_an_explosion_after_it() {
    for after in [FILM, NOISE] {
        let mut coder = Coder::new(SETTINGS);
        coder.run(0, 300, |_| STILL);
        coder.run(300, 600, |_| after);
        assert!(coder.fullest() <= 1.0, "{}", coder.fullest());
        assert!(coder.left_out < 10, "{}", coder.left_out);
    }
}

#[test]
fn repeats_among_the_pictures_do_not_move_the_quantiser() {
    // Of 30 a second 24 and 15 are pictures of their own.
    for every in [5, 2] {
        let mut coder = Coder::new(SETTINGS);
        coder.run(
            0,
            1800,
            |index| if index % every == 1 { STILL } else { FILM },
        );
        let late = &coder.quantisers[600..];
        let inter = || {
            let each = late.iter().enumerate();
            each.filter(|(index, _)| index % 60 != 0).map(|(_, q)| *q)
        };
        let spread = inter().fold(0.0_f64, f64::max) - inter().fold(f64::MAX, f64::min);
        assert!(spread <= 3.0, "{spread}");
        let rate = coder.kbps(10.0, 60.0);
        assert!((740.0..=860.0).contains(&rate), "{rate}");
    }
}

#[test]
fn the_pictures_own_times_count_and_not_the_nominal_rate() {
    // Told 30 a second, 10 come.
    let mut coder = Coder::new(SETTINGS);
    for index in 0..600 {
        coder.picture(f64::from(index) / 10.0, index % 20 == 0, FILM);
    }
    let rate = coder.kbps(10.0, 60.0);
    assert!((740.0..=860.0).contains(&rate), "{rate}");
}

#[test]
fn times_that_go_back_and_forth_drain_nothing_twice() {
    let mut coder = Coder::new(SETTINGS);
    for index in 0..900 {
        // Every other picture says that it is of a second ago.
        let back = if index % 2 == 1 { 1.0 } else { 0.0 };
        let seconds = f64::from(index) / 30.0;
        coder.picture((seconds - back).max(0.0), index % 60 == 0, NOISE);
        if let Some(last) = coder.sizes.last_mut() {
            last.0 = seconds;
        }
    }
    assert!(coder.fullest() <= 1.0, "{}", coder.fullest());
}

#[test]
fn a_clock_that_begins_anew_is_followed() {
    let mut coder = Coder::new(SETTINGS);
    for index in 0..900 {
        let seconds = f64::from(index % 300) / 30.0;
        coder.picture(seconds, index % 60 == 0, FILM);
    }
    assert_eq!(coder.left_out, 0);
    let kbits: f64 = coder.sizes.iter().map(|size| size.1).sum();
    assert!((700.0..900.0).contains(&(kbits / 30.0)), "{kbits}");
}

#[test]
fn a_key_picture_is_never_left_out() {
    let mut coder = Coder::new(Settings {
        buffer_kbits: 100.0,
        ..SETTINGS
    });
    for index in 0..300 {
        coder.picture(f64::from(index) / 30.0, index % 3 == 0, NOISE);
    }
    assert!(coder.sizes.len() >= 100);
}

fn scene() -> impl Strategy<Value = (Scene, usize)> {
    let scene = (0.0..2000.0, 0.0..2000.0, 5.0..1500.0);
    let scene = scene.prop_map(|(intra, inter, kbits_per_work)| Scene {
        cost: Cost {
            intra,
            inter: f64::min(inter, intra),
        },
        kbits_per_work,
    });
    (scene, 1..90_usize)
}

/// Rates and sizes of all kinds whose buffer has room for key pictures at all.
fn settings() -> impl Strategy<Value = Settings> {
    let rates = (1.0..100_000.0_f64, 1.0..2.0_f64, 0.2..4.0_f64);
    (rates, 1.0..240.0_f64, 1.0..36_864.0_f64).prop_map(|(rates, frame_rate, macroblocks)| {
        let (video_kbps, over, buffered) = rates;
        let max_kbps = video_kbps * over;
        let buffer_kbits = max_kbps * buffered;
        Settings {
            video_kbps,
            max_kbps,
            buffer_kbits,
            frame_rate,
            macroblocks: macroblocks.min(0.25 * buffer_kbits / SMALLEST),
        }
    })
}

proptest! {
    /// Any sequence of scenes, at any rate and frame rate, keeps to the bucket.
    #[test]
    fn no_window_exceeds_the_highest_rate(
        scenes in prop::collection::vec(scene(), 1..12),
        settings in settings(),
        jitter in 0.0..0.9_f64,
    ) {
        let frame_rate = settings.frame_rate;
        let mut coder = Coder::new(settings);
        let mut index = 0_usize;
        for (scene, length) in scenes {
            for _ in 0..length {
                let wobble = jitter * ((index * 7919 % 100) as f64 / 100.0);
                let seconds = (index as f64 + wobble) / frame_rate;
                coder.picture(seconds, index.is_multiple_of((2.0 * frame_rate) as usize), scene);
                index += 1;
            }
        }
        prop_assert!(coder.fullest() <= 1.0, "{}", coder.fullest());
    }
}

/// A picture's size has nothing to do with its cost, nor with that of the same
/// picture coded again, up to where nothing coarser is left.
#[test]
fn sizes_that_nobody_could_foretell_stay_within_the_buffer() {
    let smallest = SMALLEST * SETTINGS.macroblocks;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let intervals = prop::sample::select(vec![0.001, 1.0 / 60.0, 1.0 / 30.0, 1.0 / 25.0]);
    let costs = (0.0..2000.0, prop::sample::select(vec![0.0, 1.0]));
    let picture = (intervals, costs, prop::collection::vec(-1.0..5.0_f64, 14));
    let pictures = prop::collection::vec(picture, 1..400);
    let keep = |pictures: Vec<(f64, (f64, f64), Vec<f64>)>, every: usize| {
        let mut control = Control::new(SETTINGS);
        let (mut bucket, mut now, mut last) = (0.0_f64, 0.0, 0.0);
        for (index, (interval, (intra, share), sizes)) in pictures.into_iter().enumerate() {
            now += interval;
            let pts = Timestamp::ZERO + Ticks::from_secs_f64(now);
            let inter = intra * share;
            let planned = control.plan(pts, index % every == 0, Cost { intra, inter });
            let Plan::Code(mut quantiser) = planned else {
                continue;
            };
            let mut sizes = sizes.into_iter();
            let kbits = loop {
                let kbits = 10_f64.powf(sizes.next().expect("tried again and again"));
                let kbits = match quantiser.steps() {
                    MOST.. => kbits.min(smallest),
                    _ => kbits,
                };
                match control.coded((kbits * 1000.0) as usize) {
                    Verdict::Keep => break kbits,
                    Verdict::Again(coarser) => quantiser = coarser,
                }
            };
            bucket = (bucket - SETTINGS.max_kbps * (now - last)).max(0.0) + kbits;
            last = now;
            assert!(bucket <= SETTINGS.buffer_kbits, "{bucket}");
        }
    };
    let all = (pictures, 5..90_usize);
    let outcome = runner.run(&all, |(pictures, every)| {
        keep(pictures, every);
        Ok(())
    });
    outcome.unwrap();
}
