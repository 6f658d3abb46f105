use media::{Picture, Size, Timestamp};

/// Picture `index` of a moving pattern: a diagonal gradient that drifts, fine
/// texture that stands still, and a bright square that crosses the picture.
/// Compresses about like film.
pub fn moving_pattern(size: Size, index: u32, pts: Timestamp) -> Picture {
    let mut picture = Picture::black(size, pts);
    let (width, height) = picture.plane_size(0);
    let shift = index as usize * 3;
    let square = (height / 4).max(2);
    let (left, top) = (
        (index as usize * 5) % (width - square / 2),
        (index as usize * 2) % (height - square / 2),
    );
    for y in 0..height {
        let row = picture.planes[0].row_mut(y);
        for (x, sample) in row.iter_mut().enumerate() {
            let texture = (hash(x as u32 / 2, y as u32 / 2, 0) & 15) as usize;
            let inside = (left..left + square).contains(&x) && (top..top + square).contains(&y);
            let gradient = triangle(x + y + shift, 320) / 2;
            *sample = if inside { 200 } else { 40 + gradient + texture } as u8;
        }
    }
    let (width, height) = picture.plane_size(1);
    for y in 0..height {
        for x in 0..width {
            picture.planes[1].row_mut(y)[x] = 64 + (triangle(x + shift, 256) / 2) as u8;
            picture.planes[2].row_mut(y)[x] = 64 + (triangle(y + shift, 256) / 2) as u8;
        }
    }
    picture
}

/// Picture `index` of independent noise: the worst an encoder can meet.
pub fn noise(size: Size, index: u32, pts: Timestamp) -> Picture {
    let mut picture = Picture::black(size, pts);
    for (plane_index, plane) in picture.planes.iter_mut().enumerate() {
        for (at, sample) in plane.data.iter_mut().enumerate() {
            *sample = hash(at as u32, index, plane_index as u32) as u8;
        }
    }
    picture
}

/// A white picture.
pub fn flash(size: Size, pts: Timestamp) -> Picture {
    let mut picture = Picture::black(size, pts);
    picture.planes[0].data.fill(235);
    picture
}

/// Whether a picture is nearer to [`flash`] than to black.
pub fn is_flash(picture: &Picture) -> bool {
    let (width, height) = picture.plane_size(0);
    let sum: u64 = (0..height)
        .flat_map(|y| &picture.planes[0].row(y)[..width])
        .map(|&sample| u64::from(sample))
        .sum();
    sum > 128 * (width * height) as u64
}

/// A wave of straight lines with values from 0 to 255.
fn triangle(at: usize, period: usize) -> usize {
    let at = at % period;
    let half = period / 2;
    (if at < half { at } else { period - at }) * 255 / half
}

fn hash(a: u32, b: u32, c: u32) -> u32 {
    let mut value = a
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add(b.wrapping_mul(0x85eb_ca77))
        .wrapping_add(c.wrapping_mul(0xc2b2_ae3d));
    value ^= value >> 15;
    value = value.wrapping_mul(0x2c1b_3c6d);
    value ^= value >> 12;
    value = value.wrapping_mul(0x297a_2d39);
    value ^ value >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flash_is_told_from_the_pattern_and_from_black() {
        let size = Size::new(64, 48);
        assert!(is_flash(&flash(size, Timestamp::ZERO)));
        assert!(!is_flash(&Picture::black(size, Timestamp::ZERO)));
    }

    #[test]
    fn the_pattern_moves_and_repeats_itself_exactly() {
        let at = |index| moving_pattern(Size::new(320, 180), index, Timestamp::ZERO).planes;
        assert_eq!(at(3), at(3));
        assert_ne!(at(3), at(4));
    }
}
