use std::f64::consts::TAU;

use media::Timestamp;
use proptest::prelude::*;

use super::*;

fn scale(from: &Picture, to: Size) -> Picture {
    scaled(&mut Scaler::new(from.size, to), from)
}

fn scaled(scaler: &mut Scaler, from: &Picture) -> Picture {
    let mut out = Picture::black(Size::new(2, 2), Timestamp::ZERO);
    scaler.scale(from, &mut out);
    out
}

/// The same filter in floating point, both ways at once.
fn reference(kernel: Kernel, from: &Picture, to: Size, index: usize) -> Vec<u8> {
    let (source_width, source_height) = from.plane_size(index);
    let (width, height) = Picture::black(to, Timestamp::ZERO).plane_size(index);
    let taps = |from: usize, to: usize, at: usize, left: bool| -> Vec<(usize, f64)> {
        let ratio = from as f64 / to as f64;
        let stretch = ratio.max(1.0);
        let offset = if left { 0.25 } else { 0.5 } * (ratio - 1.0);
        let centre = at as f64 * ratio + offset;
        let reach = kernel.reach() * stretch;
        let taps: Vec<_> = ((centre - reach).ceil() as i64..=(centre + reach).floor() as i64)
            .map(|tap| {
                let weight = kernel.at((tap as f64 - centre) / stretch);
                (tap.clamp(0, from as i64 - 1) as usize, weight)
            })
            .collect();
        let total: f64 = taps.iter().map(|tap| tap.1).sum();
        taps.into_iter().map(|tap| (tap.0, tap.1 / total)).collect()
    };
    let columns: Vec<_> = (0..width)
        .map(|x| taps(source_width, width, x, index > 0))
        .collect();
    let mut samples = Vec::new();
    for y in 0..height {
        let rows = taps(source_height, height, y, false);
        for columns in &columns {
            let mut sum = 0.0;
            for (row, weight) in &rows {
                let row = from.planes[index].row(*row);
                let across: f64 = columns
                    .iter()
                    .map(|tap| f64::from(row[tap.0]) * tap.1)
                    .sum();
                sum += across * weight;
            }
            samples.push(sum.round().clamp(0.0, 255.0) as u8);
        }
    }
    samples
}

fn check(kernel: Kernel, from: &Picture, to: Size) {
    let scaled = scaled(&mut Scaler::new(from.size, to).with_kernel(kernel), from);
    assert_eq!(scaled.size, to);
    for index in 0..3 {
        let (width, _) = scaled.plane_size(index);
        let expected = reference(kernel, from, to, index);
        for (y, expected) in expected.chunks(width).enumerate() {
            let row = &scaled.planes[index].row(y)[..width];
            for (x, (a, b)) in row.iter().zip(expected).enumerate() {
                let size = from.size;
                assert!(
                    a.abs_diff(*b) <= 1,
                    "{kernel:?}, {size} to {to}, plane {index} at {x},{y}: {a}, {b}"
                );
            }
        }
    }
}

/// A picture of nothing but the lowest and the highest value, in rows that are
/// `padding` longer than their samples.
fn extremes(size: Size, padding: usize, seed: u32) -> Picture {
    let mut picture = testkit::noise(size, seed, Timestamp::ZERO);
    for index in 0..3 {
        let (width, height) = picture.plane_size(index);
        let mut plane = Plane::filled(width + padding, height, 77);
        for y in 0..height {
            let noise = &picture.planes[index].row(y)[..width];
            for (out, sample) in plane.row_mut(y).iter_mut().zip(noise) {
                *out = if sample & 1 == 0 { 0 } else { 255 };
            }
        }
        picture.planes[index] = plane;
    }
    picture
}

/// Every path that this CPU has gives the bytes of the plain loops.
fn check_twins(kernel: Kernel, from: &Picture, to: Size) {
    let scaler = || Scaler::new(from.size, to).with_kernel(kernel);
    let mut plain = scaler().on(CpuPath::Scalar).unwrap();
    let expected = scaled(&mut plain, from);
    for path in CpuPath::ALL {
        let Some(mut scaler) = scaler().on(path) else {
            continue;
        };
        assert_eq!(scaler.path(), path);
        let found = scaled(&mut scaler, from);
        let same = found.planes == expected.planes;
        assert!(same, "{path:?}, {kernel:?}, {} to {to}", from.size);
    }
}

fn sides(most: u32) -> impl Strategy<Value = Size> {
    (1..=most / 2, 1..=72_u32).prop_map(|(width, height)| Size::new(width * 2, height * 2))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_path_gives_the_same_bytes(
        from in sides(700),
        to in sides(500),
        kernel in prop::sample::select(Kernel::ALL.to_vec()),
        padding in 0..70_usize,
        seed in any::<u32>(),
        extreme in any::<bool>(),
    ) {
        let picture = if extreme {
            extremes(from, padding, seed)
        } else {
            testkit::noise(from, seed, Timestamp::ZERO)
        };
        check_twins(kernel, &picture, to);
    }
}

/// A copy of `picture` with these samples of each plane changed, counted as if
/// its rows were one.
fn touched(picture: &Picture, samples: &[usize]) -> Picture {
    let mut picture = picture.clone();
    for index in 0..3 {
        let (width, height) = picture.plane_size(index);
        for sample in samples {
            let sample = sample % (width * height);
            picture.planes[index].row_mut(sample / width)[sample % width] ^= 0x80;
        }
    }
    picture
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn scaling_what_changed_gives_the_bytes_of_scaling_all(
        from in sides(300),
        to in sides(300),
        third in sides(300),
        samples in prop::collection::vec(any::<usize>(), 0..4),
        padding in 0..9_usize,
        sharpen in prop::sample::select(vec![0.0, 0.4]),
        path in prop::sample::select(CpuPath::ALL.to_vec()),
    ) {
        let scaler = || Scaler::new(from, to).sharpened(sharpen).on(path);
        prop_assume!(path.is_available());
        let before = extremes(from, padding, 5);
        let now = touched(&before, &samples);
        let changes = Changes::between(&before, &now).unwrap();
        prop_assert_eq!(changes.is_empty(), before.planes == now.planes);
        let mut out = scaled(&mut scaler().unwrap(), &before);
        let mut next = Scaler::new(to, third).on(path).unwrap();
        let mut last = scaled(&mut next, &out);
        scaler().unwrap().scale_changes(&now, &changes, &mut out);
        let whole = scaled(&mut scaler().unwrap(), &now);
        prop_assert_eq!(&out.planes, &whole.planes);
        // And from there on.
        next.scale_changes(&out, &scaler().unwrap().carry(&changes), &mut last);
        prop_assert_eq!(last.planes, scaled(&mut next, &whole).planes);
    }
}

#[test]
fn rows_that_did_not_change_are_left_alone() {
    let from = testkit::noise(Size::new(64, 320), 1, Timestamp::ZERO);
    let mut scaler = Scaler::new(from.size, Size::new(32, 160));
    let mut out = scaled(&mut scaler, &from);
    for plane in &mut out.planes {
        plane.data.fill(77);
    }
    let now = touched(&from, &[0]);
    scaler.scale_changes(&now, &Changes::between(&from, &now).unwrap(), &mut out);
    for plane in &out.planes {
        let (changed, same) = plane.data.split_at(plane.stride * 16);
        assert!(changed.iter().any(|&sample| sample != 77));
        assert!(same.iter().all(|&sample| sample == 77));
    }
}

#[test]
fn pictures_of_two_sizes_have_nothing_in_common() {
    let picture = |height| Picture::black(Size::new(16, height), Timestamp::ZERO);
    assert_eq!(Changes::between(&picture(16), &picture(18)), None);
    assert!(
        Changes::between(&picture(16), &picture(16))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn every_path_gives_the_same_bytes_at_the_ladders_sizes() {
    for from in [(1920, 1080), (1280, 720), (1918, 34), (66, 1080), (2, 2)] {
        let from = testkit::noise(Size::new(from.0, from.1), 9, Timestamp::ZERO);
        for to in [(1280, 720), (854, 480), (640, 360), (16, 16), (2, 2)] {
            check_twins(Kernel::default(), &from, Size::new(to.0, to.1));
        }
    }
}

#[test]
fn extremes_scale_as_in_floating_point_and_do_not_wrap() {
    for kernel in Kernel::ALL {
        let from = extremes(Size::new(202, 98), 3, 4);
        for (width, height) in [(134, 66), (90, 44), (66, 32), (404, 196), (16, 16)] {
            check(kernel, &from, Size::new(width, height));
        }
    }
}

#[test]
fn noise_scales_as_in_floating_point() {
    for (width, height) in [(320, 180), (66, 50), (1920, 34)] {
        let from = testkit::noise(Size::new(width, height), 1, Timestamp::ZERO);
        for (width, height) in [
            (106, 60),
            (202, 34),
            (64, 180),
            (16, 16),
            (322, 182),
            (400, 26),
        ] {
            check(Kernel::default(), &from, Size::new(width, height));
        }
    }
}

#[test]
fn equal_sizes_are_copied() {
    let from = testkit::moving_pattern(Size::new(202, 130), 5, Timestamp::from_millis(7));
    let to = scale(&from, from.size);
    assert_eq!(to.planes, from.planes);
    assert_eq!(to.pts, from.pts);
}

#[test]
fn flat_areas_keep_their_value_exactly() {
    for value in [0, 1, 16, 127, 128, 235, 254, 255] {
        let mut from = Picture::black(Size::new(640, 358), Timestamp::ZERO);
        for plane in &mut from.planes {
            plane.data.fill(value);
        }
        for (width, height) in [(214, 120), (426, 238), (90, 52), (800, 448)] {
            for plane in scale(&from, Size::new(width, height)).planes {
                assert!(
                    plane.data.iter().all(|&sample| sample == value),
                    "{value} {width}"
                );
            }
        }
    }
}

#[test]
fn rows_with_padding_are_read_and_written_without_it() {
    let plain = testkit::moving_pattern(Size::new(128, 96), 3, Timestamp::ZERO);
    let mut padded = plain.clone();
    for index in 0..3 {
        let (width, height) = plain.plane_size(index);
        let mut plane = Plane::filled(width + 13, height, 99);
        for y in 0..height {
            plane.row_mut(y)[..width].copy_from_slice(&plain.planes[index].row(y)[..width]);
        }
        padded.planes[index] = plane;
    }
    let to = Size::new(64, 48);
    assert_eq!(scale(&padded, to).planes, scale(&plain, to).planes);
    assert_eq!(scale(&padded, plain.size).planes, plain.planes);
}

#[test]
fn a_source_that_changes_its_size_is_scaled_from_its_new_one() {
    let mut scaler = Scaler::new(Size::new(128, 96), Size::new(64, 48));
    let mut out = Picture::black(Size::new(64, 48), Timestamp::ZERO);
    let other = testkit::moving_pattern(Size::new(320, 180), 3, Timestamp::ZERO);
    scaler.scale(&other, &mut out);
    assert_eq!(out.planes, scale(&other, Size::new(64, 48)).planes);
}

#[test]
fn a_picture_without_samples_is_no_reason_to_panic() {
    let whole = testkit::noise(Size::new(64, 48), 1, Timestamp::ZERO);
    let empty = Picture::black(Size::new(0, 0), Timestamp::ZERO);
    assert_eq!(scale(&whole, empty.size).size, empty.size);
    let black = Picture::black(whole.size, Timestamp::ZERO);
    assert_eq!(scale(&empty, whole.size).planes, black.planes);
}

#[test]
fn sharpening_by_nothing_changes_nothing() {
    let from = testkit::noise(Size::new(128, 96), 2, Timestamp::ZERO);
    for to in [Size::new(64, 48), from.size] {
        let plain = scaled(&mut Scaler::new(from.size, to), &from);
        let sharpened = scaled(&mut Scaler::new(from.size, to).sharpened(0.0), &from);
        assert_eq!(plain.planes, sharpened.planes);
    }
}

#[test]
fn sharpening_adds_what_a_blur_takes() {
    for size in [(2, 2), (64, 48), (34, 18)] {
        let from = extremes(Size::new(size.0, size.1), 5, 2);
        let (width, height) = from.plane_size(0);
        for strength in [0.1, 0.4, 1.0] {
            let out = scaled(
                &mut Scaler::new(from.size, from.size).sharpened(strength),
                &from,
            );
            let at = |x: i64, y: i64| {
                let x = x.clamp(0, width as i64 - 1) as usize;
                f64::from(from.planes[0].row(y.clamp(0, height as i64 - 1) as usize)[x])
            };
            for y in 0..height as i64 {
                for x in 0..width as i64 {
                    let across = |y| at(x - 1, y) + 2.0 * at(x, y) + at(x + 1, y);
                    let blur = (across(y - 1) + 2.0 * across(y) + across(y + 1)) / 16.0;
                    let expected = (at(x, y) + strength * (at(x, y) - blur)).clamp(0.0, 255.0);
                    let found = f64::from(out.planes[0].row(y as usize)[x as usize]);
                    assert!((found - expected).abs() < 0.6, "{strength} at {x},{y}");
                }
            }
            let copied = scaled(&mut Scaler::new(from.size, from.size), &from);
            assert_eq!(out.planes[1..], copied.planes[1..]);
        }
    }
}

/// Waves of 2.5 samples of `target`, across and down, as a picture of `side`.
fn waves(side: u32, target: u32) -> Picture {
    let mut picture = Picture::black(Size::new(side, side), Timestamp::ZERO);
    let at = |place: usize| {
        let place = (place as f64 + 0.5) * f64::from(target) / f64::from(side);
        (TAU * place / 2.5).sin()
    };
    for y in 0..side as usize {
        for x in 0..side as usize {
            picture.planes[0].row_mut(y)[x] = (128.0 + 45.0 * (at(x) + at(y))).round() as u8;
        }
    }
    picture
}

/// What the ladder's shortest step rests on.
#[test]
fn a_step_to_nearly_the_same_size_softens_and_one_of_a_quarter_hardly() {
    let error = |sides: &[u32]| {
        let target = sides[sides.len() - 1];
        let mut picture = waves(sides[0], target);
        for &side in &sides[1..] {
            picture = scale(&picture, Size::new(side, side));
        }
        let ideal = waves(target, target);
        let inner = 16..target as usize - 16;
        let squares = inner.clone().flat_map(|y| {
            let rows = [&picture, &ideal].map(|picture| picture.planes[0].row(y));
            let inner = inner.clone();
            inner.map(move |x| (f64::from(rows[0][x]) - f64::from(rows[1][x])).powi(2))
        });
        squares.sum::<f64>().sqrt() / inner.len() as f64
    };
    let at_once = error(&[640, 256]);
    let by_quarters = error(&[640, 400, 320, 256]);
    let by_short_steps = error(&[640, 264, 260, 256]);
    assert!(by_quarters < 1.25 * at_once, "{by_quarters} {at_once}");
    assert!(by_short_steps > 2.0 * at_once, "{by_short_steps} {at_once}");
}
