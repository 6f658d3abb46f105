use crate::{Size, Timestamp};

/// One decoded picture: planar 4:2:0 with 8 bits, BT.601 or BT.709 range and
/// matrix as the source had them.
#[derive(Clone, Debug)]
pub struct Picture {
    /// When it is presented.
    pub pts: Timestamp,
    /// Luma samples across and down; both even.
    pub size: Size,
    /// Y, Cb, Cr. The chroma planes are half as wide and half as high.
    pub planes: [Plane; 3],
}

/// Rows of 8-bit samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plane {
    /// At least `stride * rows` bytes.
    pub data: Vec<u8>,
    /// Bytes from one row to the next; at least the row's samples.
    pub stride: usize,
}

impl Plane {
    /// A plane of `width * height` samples of value `fill`, without padding.
    pub fn filled(width: usize, height: usize, fill: u8) -> Self {
        Self {
            data: vec![fill; width * height],
            stride: width,
        }
    }

    /// Row `y`, from its first sample to the end of its stride.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.data[y * self.stride..(y + 1) * self.stride]
    }

    /// Row `y`, writable.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.data[y * self.stride..(y + 1) * self.stride]
    }
}

impl Picture {
    /// A black picture of `size`, both sides rounded down to even.
    pub fn black(size: Size, pts: Timestamp) -> Self {
        let size = size.even();
        let (width, height) = (size.width as usize, size.height as usize);
        Self {
            pts,
            size,
            planes: [
                Plane::filled(width, height, 16),
                Plane::filled(width / 2, height / 2, 128),
                Plane::filled(width / 2, height / 2, 128),
            ],
        }
    }

    /// Samples across and down of plane `index` (0 luma, 1 and 2 chroma).
    pub fn plane_size(&self, index: usize) -> (usize, usize) {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        if index == 0 {
            (width, height)
        } else {
            (width / 2, height / 2)
        }
    }
}

/// Decoded sound: interleaved samples in [-1, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// When the first sample is heard.
    pub pts: Timestamp,
    /// Samples a second and channel.
    pub rate: u32,
    /// Channels, in the order of the AAC default layouts (C, L, R, Ls, Rs, LFE
    /// for 5.1 is *not* used here: WAV order L, R, C, LFE, Ls, Rs).
    pub channels: u8,
    /// `channels` values for each instant.
    pub data: Vec<f32>,
}

impl Samples {
    /// Instants held: values divided by channels.
    pub fn frames(&self) -> usize {
        self.data.len() / usize::from(self.channels.max(1))
    }
}
