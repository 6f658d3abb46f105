use std::fmt;

/// Width and height in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Samples across.
    pub width: u32,
    /// Samples down.
    pub height: u32,
}

impl Size {
    /// A size of `width` by `height`.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Both sides rounded down to even numbers, as 4:2:0 needs.
    pub const fn even(self) -> Self {
        Self {
            width: self.width & !1,
            height: self.height & !1,
        }
    }

    /// Samples in all.
    pub const fn area(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// The largest even size that shows `self` inside `bounds` with its aspect
    /// kept (to the nearest even sample) and never enlarged. `sample_aspect` is
    /// the shape of a sample of `self`; the answer has square samples.
    ///
    /// Never smaller than 16 x 16, one macroblock.
    pub fn fit(self, sample_aspect: (u32, u32), bounds: Self) -> Self {
        let (num, den) = sample_aspect;
        let shape = if num == 0 || den == 0 {
            1.0
        } else {
            f64::from(num) / f64::from(den)
        };
        // Widening a row of samples would enlarge; the other side shrinks instead.
        let (width, height) = if shape >= 1.0 {
            (f64::from(self.width), f64::from(self.height) / shape)
        } else {
            (f64::from(self.width) * shape, f64::from(self.height))
        };
        let scale = (f64::from(bounds.width) / width)
            .min(f64::from(bounds.height) / height)
            .min(1.0);
        let side = |length: f64, limit: u32, own: u32| {
            let even = ((length * scale / 2.0).round() as u32) * 2;
            even.min(limit & !1).min(own & !1).max(16)
        };
        Self {
            width: side(width, bounds.width, self.width),
            height: side(height, bounds.height, self.height),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// One step of the ladder: a bounding box and a rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    name: String,
    bounds: Size,
    /// Average video rate, in kbit/s.
    pub video_kbps: u32,
    /// Highest video rate over the buffer, in kbit/s.
    pub max_kbps: u32,
    /// Decoder buffer (VBV), in kbit.
    pub buffer_kbits: u32,
    /// Most pictures a second; `None` follows the source.
    pub max_fps: Option<f64>,
    /// What its encoder spends.
    pub preset: Preset,
    /// How much its pictures are sharpened after scaling: 0 not at all, the
    /// default, to 1.
    pub sharpen: f64,
}

/// How much CPU time an encoder spends on a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// The least.
    Fast,
    /// Where more time stops paying.
    #[default]
    Balanced,
    /// The best picture that still is live.
    Quality,
}

/// Why a rung cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRung {
    /// The name would not do as a path element.
    #[error("name {0:?} is not 1 to 32 letters, digits, '-' or '_'")]
    Name(String),
    /// The box is too small or too large.
    #[error("{0} is outside 16x16 to 4096x4096")]
    Bounds(Size),
    /// The rates contradict each other.
    #[error("rates must hold 0 < video_kbps <= max_kbps <= 100000 and buffer_kbits > 0")]
    Rates,
}

impl Rung {
    /// A rung, checked.
    pub fn new(
        name: &str,
        bounds: Size,
        video_kbps: u32,
        max_kbps: u32,
        buffer_kbits: u32,
    ) -> Result<Self, InvalidRung> {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 32 || !name.chars().all(letters) {
            return Err(InvalidRung::Name(name.to_owned()));
        }
        let sides = 16..=4096;
        if !sides.contains(&bounds.width) || !sides.contains(&bounds.height) {
            return Err(InvalidRung::Bounds(bounds));
        }
        if video_kbps == 0 || video_kbps > max_kbps || max_kbps > 100_000 || buffer_kbits == 0 {
            return Err(InvalidRung::Rates);
        }
        Ok(Self {
            name: name.to_owned(),
            bounds,
            video_kbps,
            max_kbps,
            buffer_kbits,
            max_fps: None,
            preset: Preset::default(),
            sharpen: 0.0,
        })
    }

    /// What URLs and metrics call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The box its pictures must fit.
    pub fn bounds(&self) -> Size {
        self.bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOXES: [Size; 3] = [
        Size::new(640, 360),
        Size::new(854, 480),
        Size::new(1280, 720),
    ];

    fn fit(width: u32, height: u32) -> [(u32, u32); 3] {
        BOXES.map(|bounds| {
            let size = Size::new(width, height).fit((1, 1), bounds);
            (size.width, size.height)
        })
    }

    #[test]
    fn odd_sources_fit_with_even_sides() {
        assert_eq!(fit(1920, 1080), [(640, 360), (854, 480), (1280, 720)]);
        assert_eq!(fit(1080, 1920), [(202, 360), (270, 480), (406, 720)]);
        assert_eq!(fit(1366, 768), [(640, 360), (854, 480), (1280, 720)]);
        assert_eq!(fit(2560, 1080), [(640, 270), (854, 360), (1280, 540)]);
    }

    #[test]
    fn nothing_is_enlarged() {
        assert_eq!(fit(640, 272), [(640, 272); 3]);
        assert_eq!(fit(320, 240), [(320, 240); 3]);
        assert_eq!(fit(321, 241), [(320, 240); 3]);
    }

    #[test]
    fn anamorphic_samples_become_square() {
        // PAL 16:9: 720x576 with samples of 64:45.
        let size = Size::new(720, 576).fit((64, 45), Size::new(1280, 720));
        assert_eq!((size.width, size.height), (720, 406));
    }

    #[test]
    fn a_bad_rung_says_why() {
        let check = |name: &str, bounds, video, max| {
            Rung::new(name, bounds, video, max, 1000)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            check("../x", BOXES[0], 1, 1),
            "name \"../x\" is not 1 to 32 letters, digits, '-' or '_'"
        );
        assert_eq!(
            check("x", Size::new(8, 8), 1, 1),
            "8x8 is outside 16x16 to 4096x4096"
        );
        assert_eq!(
            check("x", BOXES[0], 900, 800),
            "rates must hold 0 < video_kbps <= max_kbps <= 100000 and buffer_kbits > 0"
        );
    }
}
