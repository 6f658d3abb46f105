//! Sound through the ladder: resample and encode, per second of sound.

use codec::audio::{Decoder, Encoder, Resampler};
use criterion::{Criterion, criterion_group, criterion_main};
use media::Samples;

/// A second of sound in pieces as AAC frames give them.
fn second(rate: u32, channels: u8) -> Vec<Samples> {
    (0..u64::from(rate) / 1024)
        .map(|index| testkit::sine(rate, channels, 440.0, index * 1024, 1024))
        .collect()
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one second of sound");
    for (name, pieces) in [
        ("44.1 kHz stereo to 48 kHz", second(44_100, 2)),
        ("48 kHz 5.1 to stereo", second(48_000, 6)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut resampler = Resampler::new(48_000);
                let mut out = Vec::new();
                for piece in &pieces {
                    resampler.process(piece, &mut out).expect("sound samples");
                }
                out.len()
            });
        });
    }
    let pieces = second(48_000, 2);
    group.bench_function("encode 128 kbit/s", |bencher| {
        bencher.iter(|| {
            let mut encoder = Encoder::open(48_000, 2, 128).expect("usual settings");
            let mut out = Vec::new();
            for piece in &pieces {
                encoder
                    .encode(piece, &mut out)
                    .expect("samples of its rate");
            }
            out.len()
        });
    });
    let mut encoder = Encoder::open(48_000, 2, 128).expect("usual settings");
    let mut units = Vec::new();
    for piece in &pieces {
        encoder
            .encode(piece, &mut units)
            .expect("samples of its rate");
    }
    let config = encoder.config().aac().expect("an audio track").clone();
    group.bench_function("decode stereo", |bencher| {
        bencher.iter(|| {
            let mut decoder = Decoder::open(&config).expect("the encoder's own track");
            let frames = units.iter();
            frames
                .filter_map(|unit| decoder.decode(unit, unit.pts).expect("whole frames"))
                .map(|samples| samples.frames())
                .sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(audio, benches);
criterion_main!(audio);
