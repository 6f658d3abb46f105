//! The whole ladder as weir runs it: access units in, segments of all rungs
//! out, in source pictures a second. Decoding, scaling, three encoders, sound,
//! segments; no sockets and no files.
//!
//! With one thread the time is the CPU time of a stream. With two it is the
//! wall time on two CPUs, and the ratio of the two says what the overlap is worth.

mod clip;

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use media::{AccessUnit, Ticks, Track};
use packager::Segment;
use server::config::Config;
use server::ladder::{Hints, Ladder, Output, Settings, Sink};

/// Counts what comes out.
#[derive(Default)]
struct Count(usize);

impl Sink for Count {
    fn segments(&mut self, _outputs: &[Output], batch: Vec<(usize, Segment)>) {
        let bytes = batch.iter().map(|(_, segment)| segment.data.len());
        self.0 += bytes.sum::<usize>();
    }
}

fn run(units: &[AccessUnit], pool: &Arc<rayon::ThreadPool>) -> usize {
    let config = Config::default();
    let settings = Settings {
        rungs: config.hls.rungs,
        unlisted: Vec::new(),
        wants: Arc::default(),
        segment: config.hls.segment,
        passthrough: config.hls.passthrough,
        wait_for_video: Ticks::from_millis(60_000),
        audio: config.audio,
        first_number: 0,
        backend: codec::video::Backend::RustyH264,
        limits: codec::Limits::default(),
        pool: Arc::clone(pool),
        hints: Arc::default(),
        stats: Arc::default(),
        lagged: Arc::default(),
    };
    *settings.hints.lock().expect("nobody else has it") = Hints {
        audio: true,
        video: true,
        ..Hints::default()
    };
    let mut ladder = Ladder::new(settings, Count::default());
    for unit in units {
        ladder.push(unit.clone()).expect("an undamaged stream");
    }
    ladder.finish().expect("a whole stream").0
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ladder of 3 rungs");
    group.sample_size(10);
    let mut sources = vec![("720p25", clip::FLV.to_vec())];
    sources.extend(clip::enlarged().map(|file| ("1080p30", file)));
    sources.extend(clip::still().map(|file| ("1080p30, a still", file)));
    for (name, file) in sources {
        let units = clip::units(&clip::tags(&file));
        let pictures = units.iter().filter(|unit| unit.track() == Track::Video);
        group.throughput(Throughput::Elements(pictures.count() as u64));
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = Arc::new(pool.expect("two threads"));
            let id = BenchmarkId::new(format!("{name}, threads"), threads);
            group.bench_function(id, |bencher| bencher.iter(|| run(&units, &pool)));
        }
    }
    group.finish();
}

criterion_group!(ladder, benches);
criterion_main!(ladder);
