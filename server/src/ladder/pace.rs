//! Decides, on the media clock alone, which pictures become key pictures and
//! which of those start a segment.
//!
//! One pace serves all rungs, so segment k starts at the same picture on every
//! rung by construction. The picture after the one in hand is always known
//! (the ladder holds one picture back), which lets a cut fall on the last
//! picture that keeps the segment within its target: 29.97 pictures a second
//! then give segments of 1.969 s for a target of 2 s rather than 2.002 s, and a
//! playlist's TARGETDURATION of 2 stays true (RFC 8216bis 4.4.3.1).

use media::{Ticks, Timestamp};

/// What becomes of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Coded as the encoder likes.
    Plain,
    /// Coded as an IDR picture inside a segment.
    Key,
    /// An IDR picture that starts a segment.
    Cut,
}

#[derive(Debug)]
pub(super) struct Pace {
    segment: Ticks,
    /// Key pictures in a segment: one every two seconds or a little more often
    /// (Apple HLS authoring 1.13).
    keys: i64,
    start: Option<Timestamp>,
    /// Index of the next key period within the segment.
    next_key: i64,
}

impl Pace {
    pub(super) fn new(segment: Ticks) -> Self {
        let two_seconds = Ticks::from_secs_f64(2.0).get();
        let keys = (segment.get() + two_seconds - 1) / two_seconds;
        Self {
            segment,
            keys: keys.max(1),
            start: None,
            next_key: 1,
        }
    }

    /// The mark of the picture from `pts` to `end`, where the next one begins.
    /// `cut` asks for a segment start whatever the clock says.
    pub(super) fn mark(&mut self, pts: Timestamp, end: Timestamp, cut: bool) -> Mark {
        let Some(start) = self.start else {
            return self.cut(pts);
        };
        if cut {
            return self.cut(pts);
        }
        if end - start > self.segment {
            return self.cut(pts);
        }
        let period = Ticks::new(self.segment.get() * self.next_key / self.keys);
        if self.next_key < self.keys && end - start > period {
            self.next_key += 1;
            return Mark::Key;
        }
        Mark::Plain
    }

    fn cut(&mut self, pts: Timestamp) -> Mark {
        self.start = Some(pts);
        self.next_key = 1;
        Mark::Cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs pictures stamped in whole milliseconds, as RTMP brings them, and
    /// gives the start of each segment and the longest key period, in ms.
    fn run(segment_ms: i64, stamps: impl Iterator<Item = i64>) -> (Vec<i64>, i64) {
        let stamps: Vec<_> = stamps.collect();
        let mut pace = Pace::new(Ticks::from_millis(segment_ms));
        let (mut cuts, mut longest, mut key) = (Vec::new(), 0, 0);
        for (index, ms) in stamps.iter().enumerate() {
            let next = Timestamp::from_millis(stamps.get(index + 1).map_or(*ms, |next| *next));
            let mark = pace.mark(Timestamp::from_millis(*ms), next, false);
            if mark != Mark::Plain {
                longest = longest.max(ms - key);
                key = *ms;
            }
            if mark == Mark::Cut {
                cuts.push(*ms);
            }
        }
        (cuts, longest)
    }

    fn at_fps(num: i64, den: i64) -> impl Iterator<Item = i64> {
        (0..num * 20 / den).map(move |index| (index * 1000 * den + num / 2) / num)
    }

    #[test]
    fn no_segment_exceeds_its_target_at_any_common_rate() {
        for (num, den) in [
            (24, 1),
            (25, 1),
            (30, 1),
            (50, 1),
            (60, 1),
            (24_000, 1001),
            (30_000, 1001),
            (60_000, 1001),
        ] {
            for target in [1000, 2000, 4000, 6000] {
                let (cuts, longest_key) = run(target, at_fps(num, den));
                assert!(
                    cuts.len() as i64 >= 20_000 / target - 1,
                    "{num}/{den} {target}"
                );
                for pair in cuts.windows(2) {
                    assert!(
                        pair[1] - pair[0] <= target,
                        "{num}/{den}: {pair:?} for {target}"
                    );
                    assert!(pair[1] - pair[0] >= target - 1000 * den / num - 1);
                }
                // Each key period ends on the last picture within its place on the
                // grid, so two of them may be a picture more than 2 s apart.
                assert!(longest_key <= 2000 + 1000 * den / num + 1);
            }
        }
    }

    #[test]
    fn whole_rates_cut_exactly_at_the_target() {
        let (cuts, _) = run(2000, at_fps(30, 1));
        assert_eq!(cuts, (0..10).map(|k| k * 2000).collect::<Vec<_>>());
    }

    #[test]
    fn six_second_segments_hold_three_key_periods() {
        let mut pace = Pace::new(Ticks::from_secs_f64(6.0));
        let frame = |index: i64| Timestamp::from_millis(index * 40);
        let marks: Vec<_> = (0..301)
            .map(|index| pace.mark(frame(index), frame(index + 1), false))
            .collect();
        let at = |mark| {
            marks
                .iter()
                .enumerate()
                .filter(|(_, m)| **m == mark)
                .map(|(i, _)| i)
                .collect::<Vec<_>>()
        };
        assert_eq!(at(Mark::Cut), [0, 150, 300]);
        assert_eq!(at(Mark::Key), [50, 100, 200, 250]);
    }

    #[test]
    fn a_forced_cut_restarts_the_key_grid() {
        let mut pace = Pace::new(Ticks::from_secs_f64(6.0));
        let frame = |index: i64| Timestamp::from_millis(index * 40);
        pace.mark(frame(0), frame(1), false);
        assert_eq!(pace.mark(frame(49), frame(50), true), Mark::Cut);
        assert_eq!(pace.mark(frame(50), frame(51), false), Mark::Plain);
        assert_eq!(pace.mark(frame(99), frame(100), false), Mark::Key);
    }
}
