//! Tells pictures of a screen, with windows and text, from pictures of the world.
//!
//! openh264 has tools for screens (it finds scrolled and repeated places by
//! their hash): 14 VMAF points at 360p on a terminal and an editor, for half the
//! bits that x264 veryfast takes at 720p. On film they only cost, twice the time
//! among other things. So they are used where they help.

use media::Picture;

/// Decides at key pictures, where a change costs nothing.
#[derive(Debug, Default)]
pub(super) struct Detector {
    on_screen: bool,
    /// Key pictures in a row that said otherwise; `None` before the first one.
    otherwise: Option<u8>,
}

impl Detector {
    /// Whether the stream shows a screen, now that this key picture came. The
    /// first picture decides by itself, later ones in pairs: a title card does
    /// not make a film a screen.
    pub(super) fn at_key(&mut self, picture: &Picture) -> bool {
        let agrees = is_of_a_screen(picture) == self.on_screen;
        let otherwise = match self.otherwise {
            _ if agrees => 0,
            None => PERSISTENCE,
            Some(before) => before + 1,
        };
        if otherwise >= PERSISTENCE {
            self.on_screen = !self.on_screen;
            self.otherwise = Some(0);
        } else {
            self.otherwise = Some(otherwise);
        }
        self.on_screen
    }
}

/// Interfaces are made of even areas and hard edges. Of the neighbours in a row,
/// film, cameras and cartoons have at most 2 % that differ by more than
/// [`EDGE`]; text has 5 to 16 %, and noise, which has more, has no two alike.
fn is_of_a_screen(picture: &Picture) -> bool {
    let (width, height) = picture.plane_size(0);
    let (mut alike, mut edges, mut pairs) = (0, 0, 0);
    for y in (0..height).step_by(ROW_STEP) {
        let row = &picture.planes[0].row(y)[..width];
        for (left, right) in row.iter().zip(&row[1..]) {
            let difference = left.abs_diff(*right);
            alike += usize::from(difference == 0);
            edges += usize::from(difference > EDGE);
        }
        pairs += width - 1;
    }
    alike * 100 >= pairs * LEAST_ALIKE && edges * 1000 >= pairs * LEAST_EDGES
}

/// Every so many rows are enough.
const ROW_STEP: usize = 4;
/// Of 255.
const EDGE: u8 = 48;
/// In percent.
const LEAST_ALIKE: usize = 35;
/// In thousandths.
const LEAST_EDGES: usize = 32;
const PERSISTENCE: u8 = 2;

#[cfg(test)]
mod tests {
    use media::{Size, Timestamp};

    use super::*;

    fn text() -> Picture {
        let mut picture = Picture::black(Size::new(320, 180), Timestamp::ZERO);
        for y in (0..180).filter(|y| y % 12 < 8) {
            for (x, sample) in picture.planes[0].row_mut(y)[..320].iter_mut().enumerate() {
                // Letters of two strokes, eight samples apart.
                *sample = if matches!(x % 8, 1 | 2 | 5) { 220 } else { 16 };
            }
        }
        picture
    }

    #[test]
    fn text_is_a_screen_and_nothing_else_is() {
        let size = Size::new(320, 180);
        assert!(is_of_a_screen(&text()));
        for other in [
            testkit::noise(size, 1, Timestamp::ZERO),
            testkit::moving_pattern(size, 1, Timestamp::ZERO),
            testkit::flash(size, Timestamp::ZERO),
            Picture::black(size, Timestamp::ZERO),
            Picture::black(Size::new(2, 2), Timestamp::ZERO),
        ] {
            assert!(!is_of_a_screen(&other));
        }
    }

    #[test]
    fn one_picture_decides_at_the_start_and_two_later() {
        let film = testkit::moving_pattern(Size::new(320, 180), 1, Timestamp::ZERO);
        let mut detector = Detector::default();
        assert!(detector.at_key(&text()));
        assert!(detector.at_key(&film));
        assert!(detector.at_key(&text()));
        assert!(detector.at_key(&film));
        assert!(!detector.at_key(&film));
        assert!(!detector.at_key(&text()));
        assert!(detector.at_key(&text()));
    }
}
