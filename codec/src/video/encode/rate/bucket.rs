//! The decoder's buffer as a leaky bucket.

/// Fills by what is coded, drains at the highest rate, never below empty. As
/// long as it does not run over, any window of T seconds holds at most
/// `max_kbps * T + size` (C.1 of H.264 says the same of the decoder's side).
#[derive(Debug)]
pub(super) struct Bucket {
    kbps: f64,
    size: f64,
    level: f64,
}

impl Bucket {
    pub(super) fn new(max_kbps: f64, buffer_kbits: f64) -> Self {
        Self {
            kbps: max_kbps,
            size: buffer_kbits,
            level: 0.0,
        }
    }

    pub(super) fn drain(&mut self, seconds: f64) {
        self.level = (self.level - self.kbps * seconds).max(0.0);
    }

    pub(super) fn fill(&mut self, kbits: f64) {
        self.level += kbits;
    }

    /// In kbit.
    pub(super) fn level(&self) -> f64 {
        self.level
    }

    /// What still fits, in kbit.
    pub(super) fn room(&self) -> f64 {
        (self.size - self.level).max(0.0)
    }
}
