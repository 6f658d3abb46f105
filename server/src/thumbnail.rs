//! A picture as a small JPEG.

use bytes::Bytes;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use media::Picture;

/// Encodes `picture` at its own size; `None` when it is empty or the encoder
/// refuses it.
///
/// Samples are taken as BT.709 with limited range, which is what HD sources
/// are and what players assume of the unmarked ones.
pub(crate) fn jpeg(picture: &Picture) -> Option<Bytes> {
    let (width, height) = picture.plane_size(0);
    let [luma, cb, cr] = &picture.planes;
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let (luma, cb, cr) = (luma.row(y), cb.row(y / 2), cr.row(y / 2));
        for x in 0..width {
            rgb.extend(bt709(luma[x], cb[x / 2], cr[x / 2]));
        }
    }
    let mut out = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut out, QUALITY);
    encoder
        .encode(&rgb, width as u32, height as u32, ExtendedColorType::Rgb8)
        .ok()?;
    Some(Bytes::from(out))
}

/// A thumbnail is looked at small: 75 is where JPEG's blocks stop showing.
const QUALITY: u8 = 75;

/// ITU-R BT.709, limited range, in 16-bit fixed point.
fn bt709(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let y = (i32::from(y) - 16) * 76_309;
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    let channel = |value: i32| ((value + 32_768) >> 16).clamp(0, 255) as u8;
    [
        channel(y + 117_489 * cr),
        channel(y - 13_975 * cb - 34_925 * cr),
        channel(y + 138_438 * cb),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::{Size, Timestamp};

    #[test]
    fn black_white_and_red_come_out_as_such() {
        assert_eq!(bt709(16, 128, 128), [0, 0, 0]);
        assert_eq!(bt709(235, 128, 128), [255, 255, 255]);
        let [red, green, blue] = bt709(63, 102, 240);
        assert!(red > 250 && green < 5 && blue < 5, "{red} {green} {blue}");
    }

    #[test]
    fn a_picture_becomes_a_jpeg_of_its_size() {
        let jpeg = jpeg(&Picture::black(Size::new(202, 360), Timestamp::ZERO)).unwrap();
        assert_eq!(&jpeg[..2], [0xff, 0xd8]);
        let read = image::load_from_memory(&jpeg).unwrap();
        assert_eq!((read.width(), read.height()), (202, 360));
    }
}
