use crate::{Ticks, Timestamp};

/// Audio timestamps from a count of samples and an anchor, rounded once.
///
/// 44.1 kHz does not divide 90 kHz, and RTMP rounds every frame to a
/// millisecond: adding up either error drifts. Frames are counted instead, and
/// the sender's own timestamps only correct the anchor, when they have moved
/// away by more than `tolerance`.
#[derive(Clone, Debug)]
pub struct SampleClock {
    rate: u32,
    tolerance: Ticks,
    anchor: Option<Timestamp>,
    samples: i64,
}

impl SampleClock {
    /// A clock of `rate` samples a second (not zero).
    pub fn new(rate: u32, tolerance: Ticks) -> Self {
        Self {
            rate: rate.max(1),
            tolerance,
            anchor: None,
            samples: 0,
        }
    }

    /// The pts of the next `samples` samples, which their sender stamped
    /// `stamped`; and whether the clock had to jump to follow it.
    pub fn stamp(&mut self, stamped: Timestamp, samples: u32) -> (Timestamp, bool) {
        let mut jumped = false;
        let anchor = match self.anchor {
            Some(anchor) => {
                let expected = anchor + Ticks::from_periods(self.samples, self.rate);
                if (stamped - expected).abs() > self.tolerance {
                    jumped = true;
                    self.samples = 0;
                    stamped
                } else {
                    anchor
                }
            }
            None => stamped,
        };
        self.anchor = Some(anchor);
        let pts = anchor + Ticks::from_periods(self.samples, self.rate);
        self.samples += i64::from(samples);
        (pts, jumped)
    }

    /// Where the next sample is expected, once the clock has begun.
    pub fn next(&self) -> Option<Timestamp> {
        self.anchor
            .map(|anchor| anchor + Ticks::from_periods(self.samples, self.rate))
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millisecond_rounding_of_the_sender_never_shows() {
        let mut clock = SampleClock::new(44_100, Ticks::from_millis(40));
        for frame in 0..100_000_i64 {
            let exact_ms = frame * 1024 * 1000 / 44_100;
            let (pts, jumped) = clock.stamp(Timestamp::from_millis(exact_ms), 1024);
            assert!(!jumped);
            assert_eq!(
                pts,
                Timestamp::ZERO + Ticks::from_periods(frame * 1024, 44_100)
            );
        }
    }

    #[test]
    fn a_gap_moves_the_anchor() {
        let mut clock = SampleClock::new(48_000, Ticks::from_millis(40));
        clock.stamp(Timestamp::ZERO, 1024);
        let (pts, jumped) = clock.stamp(Timestamp::from_millis(500), 1024);
        assert!(jumped);
        assert_eq!(pts, Timestamp::from_millis(500));
        assert_eq!(
            clock.next(),
            Some(Timestamp::from_millis(500) + Ticks::new(1920))
        );
    }
}
