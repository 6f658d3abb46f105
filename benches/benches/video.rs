//! Decoders, in pictures a second on one thread.
//!
//! The 1080p stream is made by ffmpeg once per run: 6 Mbit/s, High profile, two
//! B-frames, a moving test picture under film grain.

use std::process::Command;
use std::sync::Arc;

use bitstream::{avcc, nal};
use bytes::Bytes;
use codec::Limits;
use codec::video::{Backend, open_decoder};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use media::{AccessUnit, Picture, Ticks, Timestamp, TrackConfig};

fn at(index: usize) -> Timestamp {
    Timestamp::ZERO + Ticks::from_periods(index as i64, 30)
}

/// Access units in decoding order, as ffmpeg makes them.
fn source() -> Vec<AccessUnit> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i"])
        .arg("testsrc2=s=1920x1080:r=30,noise=alls=8:allf=t")
        .args(["-frames:v", "60", "-pix_fmt", "yuv420p", "-c:v", "libx264"])
        .args(["-profile:v", "high", "-preset", "veryfast", "-bf", "2"])
        .args(["-b:v", "6M", "-maxrate", "6M", "-bufsize", "6M"])
        .args(["-bsf:v", "h264_metadata=aud=insert", "-f", "h264", "-"])
        .output()
        .expect("ffmpeg is installed");
    let nals: Vec<&[u8]> = nal::annex_b(&output.stdout).collect();
    let own = |kind: u8| -> Vec<Bytes> {
        let first = nals.iter().find(|nal| nal[0] & 31 == kind);
        first
            .map(|nal| Bytes::copy_from_slice(nal))
            .into_iter()
            .collect()
    };
    let config = avcc::from_parameter_sets(&own(7), &own(8), 4).expect("x264's own sets");
    let config = Arc::new(TrackConfig::H264(config));
    let units = nals.split(|nal| nal[0] & 31 == 9);
    units
        .filter(|nals| !nals.is_empty())
        .enumerate()
        .map(|(index, nals)| {
            let mut data = Vec::new();
            for nal in nals {
                nal::push_length_prefixed(&mut data, nal);
            }
            AccessUnit {
                pts: at(index),
                dts: at(index),
                key: nals.iter().any(|nal| nal[0] & 31 == 5),
                data: data.into(),
                config: Arc::clone(&config),
            }
        })
        .collect()
}

fn decode(backend: Backend, units: &[AccessUnit]) -> Vec<Arc<Picture>> {
    let config = units[0].config.h264().expect("a video track");
    let mut decoder = open_decoder(backend, config, &Limits::default()).expect("4:2:0, 8 bits");
    let mut pictures = Vec::new();
    for unit in units {
        decoder
            .decode(unit, &mut pictures)
            .expect("an undamaged stream");
    }
    pictures
}

fn benches(criterion: &mut Criterion) {
    let units = source();
    let mut group = criterion.benchmark_group("decode 1080p 6 Mbit/s");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(units.len() as u64));
    for backend in [Backend::RustyH264, Backend::OpenH264] {
        group.bench_function(format!("{backend:?}"), |bencher| {
            bencher.iter(|| decode(backend, &units).len());
        });
    }
    group.finish();
}

criterion_group!(video, benches);
criterion_main!(video);
