mod unlisted;

use std::sync::Arc;

use codec::video::{Backend, Cost, Encoder, EncoderConfig, Meter, open_encoder};
use media::{Colour, Picture, Preset, Rung};
use packager::Segment;
use testkit::tsprobe::Prober;

use super::*;

/// Keeps the segments of each output.
#[derive(Default)]
struct Kept(Vec<Vec<Segment>>);

impl Sink for Kept {
    fn segments(&mut self, outputs: &[Output], batch: Vec<(usize, Segment)>) {
        self.0.resize(outputs.len(), Vec::new());
        for (index, segment) in batch {
            self.0[index].push(segment);
        }
    }
}

/// Leaves out what it may: two of three pictures, and the last ones of all.
struct LeavesOut {
    encoder: Box<dyn Encoder>,
    count: u32,
}

impl Encoder for LeavesOut {
    fn encode(
        &mut self,
        picture: &Picture,
        key: bool,
        cost: Cost,
    ) -> Result<Option<AccessUnit>, codec::Error> {
        self.count += 1;
        if !key && (!self.count.is_multiple_of(3) || self.count > 96) {
            return Ok(None);
        }
        self.encoder.encode(picture, key, cost)
    }

    fn recolour(&mut self, colour: Option<Colour>) -> Result<(), codec::Error> {
        self.encoder.recolour(colour)
    }

    fn config(&self) -> &Arc<TrackConfig> {
        self.encoder.config()
    }
}

pub(crate) fn settings(rungs: Vec<Rung>) -> Settings {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    Settings {
        rungs,
        unlisted: Vec::new(),
        wants: Arc::default(),
        segment: Ticks::SECOND,
        passthrough: config::Config::default().hls.passthrough,
        wait_for_video: Ticks::from_millis(60_000),
        audio: config::Config::default().audio,
        first_number: 0,
        backend: Backend::RustyH264,
        limits: codec::Limits::default(),
        pool: Arc::new(pool.unwrap()),
        hints: Arc::default(),
        stats: Arc::default(),
        lagged: Arc::default(),
    }
}

/// `count` pictures at 25 a second, coded, every `key`th a key picture.
pub(crate) fn source(size: Size, count: u32, key: u32) -> Vec<AccessUnit> {
    coloured(size, count, key, None)
}

fn coloured(size: Size, count: u32, key: u32, colour: Option<Colour>) -> Vec<AccessUnit> {
    let mut encoder = open_encoder(&EncoderConfig {
        size,
        frame_rate: 25.0,
        video_kbps: 600,
        max_kbps: 642,
        buffer_kbits: 900,
        colour,
        preset: Preset::default(),
        threads: 1,
    })
    .unwrap();
    let at = |index| Timestamp::ZERO + Ticks::from_periods(index, 25);
    let mut meter = Meter::default();
    (0..count)
        .filter_map(|index| {
            let picture = testkit::moving_pattern(size, index, at(index.into()));
            let cost = meter.measure(&picture);
            encoder.encode(&picture, index % key == 0, cost).unwrap()
        })
        .collect()
}

#[test]
fn a_rung_that_leaves_pictures_out_keeps_its_segments_true() {
    let rung = |name, height| Rung::new(name, Size::new(160, height), 200, 214, 300).unwrap();
    let settings = settings(vec![rung("low", 48), rung("high", 96)]);
    let stats = Arc::clone(&settings.stats);
    let mut ladder = Ladder::new(settings, Kept::default());
    for (index, unit) in source(Size::new(160, 96), 110, 50).into_iter().enumerate() {
        ladder.push(unit).unwrap();
        if index == 2 {
            ladder.settle().unwrap();
            ladder.lines[0].swap_encoder(|encoder| Box::new(LeavesOut { encoder, count: 0 }));
        }
    }
    let rungs = ladder.finish().unwrap().0;
    let times = |segments: &[Segment]| -> Vec<_> {
        let times = segments.iter();
        times
            .map(|one| (one.number, one.start, one.duration))
            .collect()
    };
    assert_eq!(times(&rungs[0]), times(&rungs[1]));
    let lengths = rungs[0].iter().map(|segment| segment.duration.get());
    assert_eq!(
        lengths.collect::<Vec<_>>(),
        [90_000, 90_000, 90_000, 90_000, 36_000]
    );
    let pictures = |segments: &[Segment]| -> Vec<usize> {
        let mut prober = Prober::new();
        let probed = segments
            .iter()
            .map(|one| prober.segment(&one.data).unwrap());
        probed.map(|probed| probed.video.len()).collect()
    };
    assert_eq!(pictures(&rungs[1]), [25, 25, 25, 25, 10]);
    let few = pictures(&rungs[0]);
    assert!(
        few[1..4].iter().all(|&count| (8..=10).contains(&count)),
        "{few:?}"
    );
    assert_eq!(few[4], 1, "the key picture alone");
    let low = stats
        .rungs()
        .into_iter()
        .find(|count| count.rung == "low")
        .unwrap();
    assert_eq!(low.encoded as usize, few.iter().sum::<usize>());
    assert_eq!(low.encoded + low.skipped, 110);
}

#[test]
fn colours_that_change_on_the_way_change_on_every_rung_at_the_next_segment() {
    let size = Size::new(160, 96);
    let rung = |name, height| Rung::new(name, Size::new(160, height), 400, 428, 600).unwrap();
    let settings = settings(vec![rung("low", 48), rung("high", 96)]);
    let mut ladder = Ladder::new(settings, Kept::default());
    let film = Colour {
        full_range: false,
        primaries: 1,
        transfer: 1,
        matrix: 1,
    };
    let colours = |ladder: &mut Ladder<Kept>| {
        let mut colours = Vec::new();
        for line in &mut ladder.lines {
            line.swap_encoder(|encoder| {
                colours.push(encoder.config().h264().unwrap().colour);
                encoder
            });
        }
        colours
    };
    for unit in source(size, 60, 25) {
        ladder.push(unit).unwrap();
    }
    ladder.settle().unwrap();
    assert_eq!(colours(&mut ladder), [None, None]);
    for mut unit in coloured(size, 60, 25, Some(film)) {
        let before = Ticks::from_periods(60, 25);
        (unit.pts, unit.dts) = (unit.pts + before, unit.dts + before);
        ladder.push(unit).unwrap();
    }
    ladder.settle().unwrap();
    assert_eq!(colours(&mut ladder), [Some(film); 2]);
    for segments in ladder.finish().unwrap().0 {
        let starts: Vec<_> = segments
            .iter()
            .map(|one| one.start.ticks() / 3600)
            .collect();
        assert_eq!(starts, [0, 25, 50, 75, 100]);
        let marked: Vec<_> = segments.iter().map(|one| one.discontinuity).collect();
        assert_eq!(marked, [false, false, false, true, false]);
    }
}

/// Keeps the brightest luma of each picture that stands for the stream.
#[derive(Default)]
struct Thumbnails(Vec<u8>);

impl Sink for Thumbnails {
    fn segments(&mut self, _: &[Output], _: Vec<(usize, Segment)>) {}

    fn key_picture(&mut self, picture: &Picture) {
        let (width, height) = picture.plane_size(0);
        let rows = (0..height).flat_map(|y| &picture.planes[0].row(y)[..width]);
        self.0.push(rows.copied().max().unwrap());
    }
}

#[test]
fn a_sharpened_rung_that_rests_does_not_stand_for_the_stream_with_a_picture_of_old() {
    let size = Size::new(160, 96);
    let mut rung = Rung::new("only", size, 600, 642, 900).unwrap();
    rung.sharpen = 0.5;
    let mut settings = settings(vec![rung]);
    settings.passthrough = config::Passthrough::Auto;
    let mut ladder = Ladder::new(settings, Thumbnails::default());
    for unit in source(size, 100, 25) {
        ladder.push(unit).unwrap();
    }
    ladder.settle().unwrap();
    assert!(ladder.passthrough.is_on());
    let brightest = ladder.finish().unwrap().0;
    assert!(brightest.len() >= 3);
    assert!(brightest.iter().all(|&luma| luma > 100), "{brightest:?}");
}

#[test]
fn where_the_source_may_be_the_top_rung_more_is_to_be_expected_of_that_one() {
    let rung = |name, height| Rung::new(name, Size::new(160, height), 200, 214, 300).unwrap();
    let most = |passthrough| {
        let mut settings = settings(vec![rung("low", 48), rung("high", 96)]);
        settings.passthrough = passthrough;
        let mut ladder = Ladder::new(settings, Kept::default());
        for unit in source(Size::new(160, 96), 60, 25) {
            ladder.push(unit).unwrap();
        }
        ladder.settle().unwrap();
        let outputs = ladder.outputs.iter();
        let rungs = outputs.filter_map(|output| output.rung.as_ref());
        rungs.map(|rung| rung.max_kbps).collect::<Vec<_>>()
    };
    assert_eq!(most(config::Passthrough::Off), [214, 214]);
    assert_eq!(most(config::Passthrough::Auto), [214, 235]);
}
