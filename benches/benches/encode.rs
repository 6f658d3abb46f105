//! A rung's encoder, per rung and preset: pictures a second on one thread.
//!
//! The pictures are the clip's own, scaled beforehand; a new encoder each time,
//! so its first key picture is part of it, as in a broadcast's first seconds.

mod clip;

use codec::video::{EncoderConfig, Meter, Scaler, open_encoder};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use media::{Picture, Preset, Size};

/// The default ladder: box, average, most, buffer.
const RUNGS: [(Size, u32, u32, u32); 3] = [
    (Size::new(640, 360), 800, 856, 1200),
    (Size::new(854, 480), 1400, 1498, 2100),
    (Size::new(1280, 720), 2800, 2996, 4200),
];

fn benches(criterion: &mut Criterion) {
    let pictures = clip::pictures(clip::FLV);
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(10);
    for (size, video_kbps, max_kbps, buffer_kbits) in RUNGS {
        let scaled: Vec<Picture> = pictures
            .iter()
            .map(|picture| {
                let mut out = Picture::black(size, picture.pts);
                Scaler::new(picture.size, size).scale(picture, &mut out);
                out
            })
            .collect();
        group.throughput(Throughput::Elements(scaled.len() as u64));
        let mut meter = Meter::default();
        let costs: Vec<_> = scaled.iter().map(|one| meter.measure(one)).collect();
        for preset in [Preset::Fast, Preset::Balanced, Preset::Quality] {
            let config = EncoderConfig {
                size,
                frame_rate: 25.0,
                video_kbps,
                max_kbps,
                buffer_kbits,
                colour: None,
                preset,
                threads: 1,
            };
            group.bench_function(format!("{size} {preset:?}"), |bencher| {
                bencher.iter(|| {
                    let mut encoder = open_encoder(&config).expect("a rung of the ladder");
                    let bytes = scaled.iter().zip(&costs).map(|(picture, cost)| {
                        let unit = encoder
                            .encode(picture, false, *cost)
                            .expect("a picture of its size");
                        unit.map_or(0, |unit| unit.data.len())
                    });
                    bytes.sum::<usize>()
                });
            });
        }
    }
    group.throughput(Throughput::Elements(pictures.len() as u64));
    group.bench_function("look at a picture", |bencher| {
        bencher.iter(|| {
            let mut meter = Meter::default();
            for picture in &pictures {
                std::hint::black_box(meter.measure(picture));
            }
        });
    });
    group.finish();
}

criterion_group!(encode, benches);
criterion_main!(encode);
