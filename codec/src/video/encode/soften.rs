//! Takes detail out of a picture that the coarsest quantiser cannot make small
//! enough: a blurred picture in time is better than a sharp one now and then.

use media::{Picture, Plane};

/// Replaces `picture` in `out` by means over squares of 2 to the power of
/// `level` samples a side, luma and chroma alike. The squares lie on the grid
/// of the encoder's transform, so that each is a flat block to it.
pub(super) fn soften(picture: &Picture, level: u8, out: &mut Picture) {
    let side = 1_usize << level.min(4);
    out.size = picture.size;
    out.pts = picture.pts;
    for index in 0..3 {
        let (width, height) = picture.plane_size(index);
        let plane = &mut out.planes[index];
        if plane.stride < width || plane.data.len() < plane.stride * height {
            *plane = Plane::filled(width, height, 0);
        }
        for top in (0..height).step_by(side) {
            let rows = top..(top + side).min(height);
            for left in (0..width).step_by(side) {
                let columns = left..(left + side).min(width);
                let mut sum = 0;
                for y in rows.clone() {
                    let samples = &picture.planes[index].row(y)[columns.clone()];
                    sum += samples.iter().map(|&sample| u32::from(sample)).sum::<u32>();
                }
                let mean = (sum / (rows.len() * columns.len()) as u32) as u8;
                for y in rows.clone() {
                    plane.row_mut(y)[columns.clone()].fill(mean);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use media::{Size, Timestamp};

    use super::*;

    #[test]
    fn squares_become_flat_also_at_odd_edges() {
        let picture = testkit::noise(Size::new(50, 30), 1, Timestamp::from_millis(5));
        let mut out = Picture::black(Size::new(2, 2), Timestamp::ZERO);
        soften(&picture, 2, &mut out);
        assert_eq!((out.size, out.pts), (picture.size, picture.pts));
        for index in 0..3 {
            let (width, height) = out.plane_size(index);
            for y in 0..height {
                for x in 0..width {
                    let corner = out.planes[index].row(y / 4 * 4)[x / 4 * 4];
                    assert_eq!(out.planes[index].row(y)[x], corner);
                }
            }
        }
    }
}
