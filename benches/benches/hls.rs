//! What viewers are given: access units to transport stream, segments to
//! playlists.
//!
//! Muxing is in bytes a second of what goes in; a playlist is rendered once a
//! segment and rung, so its time counts only beside thousands of streams.

mod clip;

use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use media::{AccessUnit, Size, Ticks, Timestamp};
use packager::playlist::{Variant, media, multivariant, vod};
use packager::{ProgramClock, Segment, Segmenter, SegmenterConfig, Tracks, Window, WindowConfig};

fn mux(units: &[AccessUnit]) -> usize {
    let mut segmenter = Segmenter::new(SegmenterConfig {
        tracks: Some(Tracks {
            video: true,
            audio: true,
        }),
        ..SegmenterConfig::default()
    });
    for unit in units {
        segmenter.push(unit.clone()).expect("units in order");
    }
    let end = units.last().map_or(Timestamp::ZERO, |unit| unit.pts);
    segmenter
        .finish(end + Ticks::SECOND)
        .expect("a whole segment");
    let segments = std::iter::from_fn(|| segmenter.poll());
    segments.map(|segment| segment.data.len()).sum()
}

fn segment(number: u64) -> Segment {
    Segment {
        number,
        start: Timestamp::ZERO + Ticks::from_millis(number as i64 * 6000),
        duration: Ticks::from_millis(6000),
        discontinuity: false,
        data: Bytes::new(),
        has_video: true,
        has_audio: true,
    }
}

fn benches(criterion: &mut Criterion) {
    let units = clip::units(&clip::tags(clip::FLV));
    let bytes: usize = units.iter().map(|unit| unit.data.len()).sum();
    let mut group = criterion.benchmark_group("transport stream");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("5 s of 1.5 Mbit/s", |bencher| bencher.iter(|| mux(&units)));
    group.finish();

    let mut group = criterion.benchmark_group("playlist");
    group.throughput(Throughput::Elements(1));
    for capacity in [10, 900] {
        let mut window = Window::new(WindowConfig {
            first_number: 0,
            capacity,
            target: Ticks::from_millis(6000),
            clock: ProgramClock {
                at: Timestamp::ZERO,
                unix_ms: 1_591_000_000_123,
            },
        });
        for number in 0..capacity as u64 + 5 {
            window.push(Arc::new(segment(number))).expect("in sequence");
        }
        group.bench_function(format!("live, {capacity} segments"), |bencher| {
            bencher.iter(|| media(&window).len());
        });
    }
    let entries: Vec<_> = (0..600).map(|number| segment(number).entry(None)).collect();
    group.bench_function("an hour on demand", |bencher| {
        bencher.iter(|| vod(&entries, "").len());
    });
    let variants: Vec<Variant> = [(640, 360), (854, 480), (1280, 720)]
        .into_iter()
        .map(|(width, height)| Variant {
            uri: format!("{height}p/index.m3u8"),
            bandwidth: u64::from(width * height) * 3,
            average_bandwidth: u64::from(width * height) * 2,
            codecs: vec!["avc1.4d401f".to_owned(), "mp4a.40.2".to_owned()],
            resolution: Some(Size::new(width, height)),
            frame_rate: Some(30.0),
        })
        .collect();
    group.bench_function("multivariant, 3 rungs", |bencher| {
        bencher.iter(|| multivariant(&variants).len());
    });
    group.finish();
}

criterion_group!(hls, benches);
criterion_main!(hls);
