//! The scaler: per rung and CPU path, the whole ladder per kernel, sharpening,
//! and the same ladder through a crate that scales anything.
//!
//! One picture is all of its planes. Sources take turns, so that they come from
//! where a decoder would have left them and not from the nearest cache.

use std::hint::black_box;

use codec::video::{CpuPath, Kernel, Scaler};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use media::{Picture, Size, Timestamp};

const SOURCES: [Size; 2] = [Size::new(1920, 1080), Size::new(1280, 720)];
const RUNGS: [Size; 3] = [
    Size::new(1280, 720),
    Size::new(854, 480),
    Size::new(640, 360),
];

fn benches(criterion: &mut Criterion) {
    for from in SOURCES {
        let rungs: Vec<Size> = RUNGS.into_iter().filter(|&rung| rung != from).collect();
        let pictures: Vec<Picture> = (0..4)
            .map(|index| testkit::moving_pattern(from, index, Timestamp::ZERO))
            .collect();
        ladder(criterion, &pictures, &rungs);
        each_rung(criterion, &pictures, &rungs);
    }
}

/// All rungs of a picture: each from the next larger one, or from the source.
fn ladder(criterion: &mut Criterion, pictures: &[Picture], rungs: &[Size]) {
    let from = pictures[0].size;
    let mut group = criterion.benchmark_group(format!("scale ladder {}p", from.height));
    group.sample_size(40).throughput(Throughput::Elements(1));
    let black = |&size: &Size| Picture::black(size, Timestamp::ZERO);
    let mut outs: Vec<Picture> = rungs.iter().map(black).collect();
    let mut sources = pictures.iter().cycle();
    let mut next = || black_box(sources.next().expect("they go round"));

    group.bench_function("weir", |bencher| {
        let mut scalers: Vec<Scaler> = steps(from, rungs).map(in_step).collect();
        bencher.iter(|| scale_in_steps(&mut scalers, next(), &mut outs));
    });
    group.bench_function("weir, each from the source", |bencher| {
        let mut scalers: Vec<Scaler> = rungs.iter().map(|&to| Scaler::new(from, to)).collect();
        bencher.iter(|| scale_all(&mut scalers, next(), &mut outs));
    });
    for filter in [FilterType::CatmullRom, FilterType::Lanczos3] {
        group.bench_function(format!("fast_image_resize {filter:?}"), |bencher| {
            let mut resizer = Resizer::new();
            bencher.iter(|| resize_in_steps(&mut resizer, filter, next(), &mut outs));
        });
    }
    for path in CpuPath::ALL {
        for kernel in Kernel::ALL {
            let scaler = |step| in_step(step).with_kernel(kernel).on(path);
            let scalers: Option<Vec<Scaler>> = steps(from, rungs).map(scaler).collect();
            let Some(mut scalers) = scalers else {
                continue;
            };
            group.bench_function(format!("{path:?} {kernel:?}"), |bencher| {
                bencher.iter(|| scale_in_steps(&mut scalers, next(), &mut outs));
            });
        }
    }
    group.finish();
}

/// One rung of a picture, with the default kernel.
fn each_rung(criterion: &mut Criterion, pictures: &[Picture], rungs: &[Size]) {
    let from = pictures[0].size;
    let mut group = criterion.benchmark_group(format!("scale from {}p", from.height));
    group.sample_size(40).throughput(Throughput::Elements(1));
    let mut sources = pictures.iter().cycle();
    let mut next = || black_box(sources.next().expect("they go round"));
    for &to in rungs {
        let mut out = Picture::black(to, Timestamp::ZERO);
        for path in CpuPath::ALL {
            let Some(mut scaler) = Scaler::new(from, to).on(path) else {
                continue;
            };
            group.bench_function(format!("{to} {path:?}"), |bencher| {
                bencher.iter(|| scaler.scale(next(), &mut out));
            });
        }
        let mut scaler = Scaler::new(from, to).sharpened(0.4);
        group.bench_function(format!("{to} sharpened"), |bencher| {
            bencher.iter(|| scaler.scale(next(), &mut out));
        });
    }
    group.finish();
}

/// From the source to the largest rung, from there to the next.
fn steps(from: Size, rungs: &[Size]) -> impl Iterator<Item = (Size, Size)> {
    std::iter::once(from)
        .chain(rungs.iter().copied())
        .zip(rungs.iter().copied())
}

fn in_step((from, to): (Size, Size)) -> Scaler {
    Scaler::new(from, to)
}

fn scale_in_steps(scalers: &mut [Scaler], source: &Picture, outs: &mut [Picture]) {
    let mut larger = source;
    for (scaler, out) in scalers.iter_mut().zip(outs) {
        scaler.scale(larger, out);
        larger = out;
    }
}

fn scale_all(scalers: &mut [Scaler], source: &Picture, outs: &mut [Picture]) {
    for (scaler, out) in scalers.iter_mut().zip(outs) {
        scaler.scale(source, out);
    }
}

fn resize_in_steps(
    resizer: &mut Resizer,
    filter: FilterType,
    source: &Picture,
    outs: &mut [Picture],
) {
    let mut larger = source;
    for out in outs {
        resize(resizer, filter, larger, out);
        larger = out;
    }
}

/// A plane is an image of one channel to a crate that knows no others.
fn resize(resizer: &mut Resizer, filter: FilterType, source: &Picture, out: &mut Picture) {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    for index in 0..3 {
        let (from, to) = (source.plane_size(index), out.plane_size(index));
        let data = &source.planes[index].data;
        let from = ImageRef::new(from.0 as u32, from.1 as u32, data, PixelType::U8)
            .expect("rows without padding");
        let data = &mut out.planes[index].data;
        let mut to = Image::from_slice_u8(to.0 as u32, to.1 as u32, data, PixelType::U8)
            .expect("rows without padding");
        resizer
            .resize(&from, &mut to, &options)
            .expect("two images of one kind");
    }
}

criterion_group!(scale, benches);
criterion_main!(scale);
