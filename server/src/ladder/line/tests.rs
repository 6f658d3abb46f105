use bytes::Bytes;
use codec::video::Meter;

use super::*;

fn of_size(size: Size) -> Source {
    Source {
        size,
        aspect: (1, 1),
        frame_rate: 30.0,
        colour: None,
    }
}

/// What came out of a scaler and an encoder.
type Made = (Vec<u8>, Option<Bytes>);

/// Codes pictures at 30 a second on rungs and says, for each picture, what
/// came of it on each. `known` lets the lines know what changed.
fn coded(rungs: &[Rung], pictures: &[Picture], known: bool) -> Vec<Vec<Made>> {
    let open = |rung: &Rung| Line::open(rung.clone(), &of_size(pictures[0].size)).unwrap();
    let mut lines: Vec<Line> = rungs.iter().map(open).collect();
    for line in &mut lines {
        line.wake().unwrap();
    }
    let config = Arc::clone(lines[0].encoder.as_ref().unwrap().config());
    let planes = |lines: &[Line]| -> Vec<*const u8> {
        let planes = lines.iter().map(|line| &line.scaled.planes[0]);
        planes.map(|plane| plane.data.as_ptr()).collect()
    };
    let at_first = planes(&lines);
    let (mut before, mut out, mut meter) = (None, Vec::new(), Meter::default());
    for (index, picture) in pictures.iter().enumerate() {
        let mut picture = picture.clone();
        picture.pts = Timestamp::ZERO + Ticks::from_millis(index as i64 * 100 / 3);
        let mut shown = Shown::after(
            before.take(),
            Arc::new(picture),
            Arc::clone(&config),
            &mut meter,
        );
        before = Some(shown.clone());
        if !known {
            (shown.content, shown.changes) = (2 * index as u64, None);
        }
        let mark = match index % 16 {
            0 => Mark::Key,
            _ => Mark::Plain,
        };
        code_all(&mut lines, &shown, mark, &Stats::default());
        let made = lines.iter_mut().map(|line| {
            let unit = line.take_coded().unwrap();
            let scaled = line.scaled().filter(|_| unit.is_some());
            let samples = scaled.map_or(Vec::new(), |scaled| {
                assert_eq!(scaled.pts, shown.pts());
                let planes = scaled.planes.iter();
                planes.flat_map(|plane| plane.data.clone()).collect()
            });
            (samples, unit.map(|unit| unit.data))
        });
        out.push(made.collect());
    }
    assert_eq!(planes(&lines), at_first, "planes are used again");
    out
}

fn rung(height: u32, max_fps: Option<f64>, sharpen: f64) -> Rung {
    let mut rung = Rung::new("rung", Size::new(320, height), 400, 428, 600).unwrap();
    (rung.max_fps, rung.sharpen) = (max_fps, sharpen);
    rung
}

/// Stills, each of them refined here and there.
fn stills(size: Size) -> Vec<Picture> {
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
    pictures
}

#[test]
fn a_still_and_its_refinements_give_the_bytes_of_pictures_scaled_whole() {
    let pictures = stills(Size::new(320, 180));
    for rungs in [
        vec![rung(90, None, 0.0)],
        vec![rung(90, None, 0.4)],
        vec![rung(90, Some(10.0), 0.0)],
        vec![rung(90, Some(15.0), 0.0)],
        vec![rung(180, None, 0.0)],
        vec![rung(180, None, 0.4)],
        vec![
            rung(64, None, 0.0),
            rung(90, None, 0.0),
            rung(120, None, 0.0),
        ],
        vec![
            rung(64, None, 0.4),
            rung(90, Some(10.0), 0.0),
            rung(120, Some(15.0), 0.0),
        ],
        vec![
            rung(64, Some(15.0), 0.0),
            rung(90, None, 0.4),
            rung(120, None, 0.0),
        ],
        vec![
            rung(90, Some(15.0), 0.0),
            rung(90, None, 0.0),
            rung(180, None, 0.0),
        ],
    ] {
        let known = coded(&rungs, &pictures, true);
        assert!(known == coded(&rungs, &pictures, false), "{rungs:?}");
    }
}

#[test]
fn a_rung_is_made_of_the_next_larger_one_however_seldom_that_is_coded() {
    let pictures = stills(Size::new(320, 180));
    let of_low = |rungs: &[Rung]| -> Vec<Made> {
        let made = coded(rungs, &pictures, true);
        made.into_iter()
            .map(|mut made| made.swap_remove(0))
            .collect()
    };
    let low = rung(64, None, 0.0);
    let alone = of_low(std::slice::from_ref(&low));
    let below = of_low(&[low.clone(), rung(120, None, 0.0)]);
    assert!(alone != below);
    let below_a_slow_one = of_low(&[low.clone(), rung(120, Some(10.0), 0.0)]);
    assert!(below == below_a_slow_one);
    let below_a_sharp_one = of_low(&[low.clone(), rung(120, None, 0.4)]);
    assert!(alone == below_a_sharp_one);
    // A wide box of more area may hold a smaller picture.
    let wide = Rung::new("wide", Size::new(4000, 36), 400, 428, 600).unwrap();
    assert!(alone == of_low(&[low.clone(), wide.clone()]));
    assert!(below == of_low(&[low.clone(), wide, rung(120, None, 0.0)]));
    // A step that is too short is not made, one to the same size is none.
    assert!(alone == of_low(&[low.clone(), rung(66, None, 0.0)]));
    let chain = [low.clone(), rung(66, None, 0.0), rung(120, None, 0.0)];
    assert!(below == of_low(&chain));
    let twice = [low.clone(), rung(120, None, 0.0), rung(120, None, 0.0)];
    assert!(below == of_low(&twice));
}

#[test]
fn what_nobody_needs_is_not_scaled() {
    let pictures = stills(Size::new(320, 180));
    let scaled_at = |rungs: &[Rung]| -> Vec<usize> {
        let stats = Stats::default();
        let mut lines: Vec<Line> = rungs
            .iter()
            .map(|rung| Line::open(rung.clone(), &of_size(pictures[0].size)).unwrap())
            .collect();
        lines.iter_mut().for_each(|line| line.wake().unwrap());
        let config = Arc::clone(lines[0].encoder.as_ref().unwrap().config());
        let mut counts = vec![0; rungs.len()];
        for index in 0..12_u32 {
            let mut picture = pictures[12 * index as usize % pictures.len()].clone();
            picture.pts = Timestamp::ZERO + Ticks::from_millis(i64::from(index) * 100 / 3);
            let shown = Shown {
                picture: Arc::new(picture),
                config: Arc::clone(&config),
                content: u64::from(index),
                changes: None,
                cost: Cost::default(),
            };
            code_all(&mut lines, &shown, Mark::Plain, &stats);
            for (line, count) in lines.iter().zip(&mut counts) {
                *count += usize::from(line.content == Some(u64::from(index)));
            }
        }
        counts
    };
    // Every third picture is due; the others only for who is made of them.
    let slow = rung(120, Some(10.0), 0.0);
    assert_eq!(scaled_at(&[rung(64, None, 0.0), slow.clone()]), [12, 12]);
    assert_eq!(
        scaled_at(&[rung(64, Some(10.0), 0.0), slow.clone()]),
        [4, 4]
    );
    assert_eq!(scaled_at(&[rung(110, None, 0.0), slow.clone()]), [12, 4]);
    let sharp = rung(120, Some(10.0), 0.4);
    assert_eq!(scaled_at(&[rung(64, None, 0.0), sharp]), [12, 4]);
    let nearer = rung(90, None, 0.0);
    assert_eq!(
        scaled_at(&[rung(64, None, 0.0), nearer, slow]),
        [12, 12, 12]
    );
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % most
    }
}

/// What any ladder makes of stills, cuts, repeats, changes of size, and of
/// rungs that rest and wake.
fn adventure(seed: u64, known: bool, pool: &rayon::ThreadPool) -> Vec<Vec<Made>> {
    const SIZES: [(u32, u32); 6] = [
        (320, 180),
        (180, 320),
        (321, 179),
        (160, 90),
        (16, 48),
        (40, 200),
    ];
    let mut dice = Dice(seed);
    let source = |dice: &mut Dice| {
        let (width, height) = SIZES[dice.below(SIZES.len())];
        Size::new(width, height)
    };
    let mut size = source(&mut dice);
    let rungs: Vec<Rung> = (0..1 + dice.below(8))
        .map(|index| {
            let side = |dice: &mut Dice| 16 + 8 * dice.below(40) as u32;
            let bounds = Size::new(side(&mut dice), side(&mut dice));
            let mut rung = Rung::new(&format!("r{index}"), bounds, 400, 428, 600).unwrap();
            rung.max_fps = [None, None, Some(7.0), Some(15.0)][dice.below(4)];
            rung.sharpen = [0.0, 0.0, 0.0, 0.4][dice.below(4)];
            rung
        })
        .collect();
    let open = |rung: Rung| Line::open(rung, &of_size(size)).unwrap();
    let mut lines: Vec<Line> = choose(&rungs, size, (1, 1)).into_iter().map(open).collect();
    lines.iter_mut().for_each(|line| line.wake().unwrap());
    let config = Arc::clone(lines[0].encoder.as_ref().unwrap().config());
    let mut picture = testkit::moving_pattern(size, 0, Timestamp::ZERO);
    let (mut before, mut out, mut meter) = (None, Vec::new(), Meter::default());
    for index in 0..40 {
        match dice.below(12) {
            0..3 => {}
            3..8 => {
                let of = dice.below(3);
                let (width, height) = picture.plane_size(of);
                let (x, y) = (dice.below(width), dice.below(height));
                picture.planes[of].row_mut(y)[x] ^= 0x55;
            }
            8..10 => picture = testkit::moving_pattern(size, index, Timestamp::ZERO),
            10 => {
                size = source(&mut dice);
                picture = testkit::moving_pattern(size, index, Timestamp::ZERO);
                for line in &mut lines {
                    line.retarget(&of_size(size)).unwrap();
                }
            }
            _ => {
                let line = dice.below(lines.len());
                match lines[line].encoder {
                    Some(_) => lines[line].rest(),
                    None => lines[line].wake().unwrap(),
                }
            }
        }
        picture.pts = Timestamp::ZERO + Ticks::from_millis(i64::from(index) * 100 / 3);
        let at_hand = Arc::new(picture.clone());
        let mut shown = Shown::after(before.take(), at_hand, Arc::clone(&config), &mut meter);
        before = Some(shown.clone());
        if !known {
            (shown.content, shown.changes) = (2 * u64::from(index), None);
        }
        let mark = match dice.below(10) {
            0 => Mark::Key,
            _ => Mark::Plain,
        };
        let stats = Stats::default();
        pool.install(|| code_all(&mut lines, &shown, mark, &stats));
        let made = lines.iter_mut().map(|line| {
            let unit = line.take_coded().unwrap();
            assert!(unit.as_ref().is_none_or(|unit| unit.pts == shown.pts()));
            let scaled = line.scaled().filter(|_| unit.is_some());
            let planes = scaled.into_iter().flat_map(|scaled| &scaled.planes);
            let samples = planes.flat_map(|plane| plane.data.clone()).collect();
            (samples, unit.map(|unit| unit.data))
        });
        out.push(made.collect());
    }
    out
}

#[test]
fn no_ladder_and_no_source_gives_other_bytes_than_pictures_scaled_whole() {
    let pool = |threads| {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        builder.build().unwrap()
    };
    let (one, four) = (pool(1), pool(4));
    for seed in 0..24 {
        let known = adventure(seed, true, &four);
        assert!(known == adventure(seed, false, &one), "{seed}");
    }
}

/// Notes what it is told and codes what it may.
struct Told {
    encoder: Box<dyn Encoder>,
    costs: Arc<std::sync::Mutex<Vec<Cost>>>,
    refuses: u64,
}

impl Encoder for Told {
    fn encode(
        &mut self,
        picture: &Picture,
        key: bool,
        cost: Cost,
    ) -> Result<Option<AccessUnit>, codec::Error> {
        let mut costs = self.costs.lock().unwrap();
        costs.push(cost);
        if costs.len() as u64 == self.refuses {
            return Ok(None);
        }
        self.encoder.encode(picture, key, cost)
    }

    fn recolour(&mut self, colour: Option<Colour>) -> Result<(), codec::Error> {
        self.encoder.recolour(colour)
    }

    fn config(&self) -> &Arc<media::TrackConfig> {
        self.encoder.config()
    }
}

#[test]
fn what_a_rung_leaves_out_counts_with_the_next_picture_it_codes() {
    let size = Size::new(320, 180);
    let mut rung = Rung::new("slow", Size::new(160, 90), 100, 107, 150).unwrap();
    rung.max_fps = Some(15.0);
    let mut lines = vec![Line::open(rung, &of_size(size)).unwrap()];
    lines[0].wake().unwrap();
    let config = Arc::clone(lines[0].encoder.as_ref().unwrap().config());
    let costs = Arc::new(std::sync::Mutex::new(Vec::new()));
    lines[0].swap_encoder(|encoder| {
        Box::new(Told {
            encoder,
            costs: Arc::clone(&costs),
            refuses: 3,
        })
    });
    let mut meter = Meter::default();
    let (mut before, mut shown_costs) = (None, Vec::new());
    for index in 0..8 {
        let pts = Timestamp::ZERO + Ticks::from_periods(index, 30);
        let picture = testkit::moving_pattern(size, index as u32 * 7, pts);
        let config = Arc::clone(&config);
        let shown = Shown::after(before.take(), Arc::new(picture), config, &mut meter);
        shown_costs.push(shown.cost);
        code_all(&mut lines, &shown, Mark::Plain, &Stats::default());
        lines[0].take_coded().unwrap();
        before = Some(shown);
    }
    let of = &shown_costs;
    assert_ne!(of[2].after(of[1]), of[2]);
    // Every other picture is due, and the third of those finds no room.
    let expected = [
        of[0],
        of[2].after(of[1]),
        of[4].after(of[3]),
        of[6].after(of[5].after(of[4].after(of[3]))),
    ];
    assert_eq!(*costs.lock().unwrap(), expected);
}

fn names(width: u32, height: u32) -> Vec<String> {
    let named =
        |name, width, height| Rung::new(name, Size::new(width, height), 800, 856, 1200).unwrap();
    let ladder = [
        named("720p", 1280, 720),
        named("360p", 640, 360),
        named("480p", 854, 480),
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
