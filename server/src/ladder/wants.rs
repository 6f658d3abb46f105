//! Which rungs somebody reads beside the playlists.
//!
//! A rung that is not listed is coded only while it is wanted. Whoever reads
//! rungs sets the marks and the ladder looks at them once a picture, so a mark
//! is one bit of an atomic and the look is one load.

use std::sync::atomic::{AtomicU32, Ordering};

use media::Rung;

/// The rungs on offer, and which of them are wanted. See the module.
#[derive(Debug, Default)]
pub struct Wants {
    /// At most 32, one bit each; a configuration has at most eight.
    names: Vec<String>,
    marks: AtomicU32,
}

impl Wants {
    /// Nobody wants any of `rungs`. Those beyond the 32nd are not on offer.
    pub fn new<'a>(rungs: impl IntoIterator<Item = &'a Rung>) -> Self {
        let names = rungs.into_iter().take(u32::BITS as usize);
        Self {
            names: names.map(|rung| rung.name().to_owned()).collect(),
            marks: AtomicU32::new(0),
        }
    }

    /// The place of a rung that is on offer.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// What the rung at `place` is called.
    pub(crate) fn name(&self, place: usize) -> &str {
        self.names.get(place).map_or("", String::as_str)
    }

    /// All names, in the order of their places.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Says whether the rung at `place` is wanted from now on.
    pub fn mark(&self, place: usize, wanted: bool) {
        let bit = bit(place);
        if wanted {
            self.marks.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.marks.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether the rung at `place` is wanted.
    pub fn has(&self, place: usize) -> bool {
        self.marks.load(Ordering::Relaxed) & bit(place) != 0
    }

    /// Whether any rung is.
    pub fn any(&self) -> bool {
        self.marks.load(Ordering::Relaxed) != 0
    }
}

/// No bit for a place that there cannot be.
fn bit(place: usize) -> u32 {
    1_u32.checked_shl(place as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::Size;

    #[test]
    fn one_wish_more_or_less_leaves_the_others() {
        let rung = |name| Rung::new(name, Size::new(160, 96), 200, 214, 300).unwrap();
        let wants = Wants::new(&[rung("low"), rung("high")]);
        let (low, high) = (wants.find("low").unwrap(), wants.find("high").unwrap());
        assert_eq!(wants.find("other"), None);
        assert!(!wants.any());
        wants.mark(low, true);
        wants.mark(high, true);
        wants.mark(low, false);
        assert!(!wants.has(low) && wants.has(high) && wants.any());
        wants.mark(40, true);
        assert!(!wants.has(40));
    }
}
