//! Decides, on the media clock alone, which pictures become key pictures and
//! which of those start a segment.
//!
//! One pace serves all rungs, so segment k starts at the same picture on every
//! rung by construction. The picture after the one in hand is always known
//! (the ladder holds one picture back), which lets a cut fall on the last
//! picture that keeps the segment within its target: 29.97 pictures a second
//! then give segments of 1.969 s for a target of 2 s rather than 2.002 s, and a
//! playlist's TARGETDURATION of 2 stays true (RFC 8216bis 4.4.3.1).
//!
//! Where the source's own units are a rung, key pictures are what the source
//! made them, and [`Pace::follow`] chooses among those.

use media::{Ticks, Timestamp};
use packager::playlist::target_seconds;

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
    /// Longest segment that keeps TARGETDURATION true: `segment` in whole
    /// seconds, rounded up.
    longest: Ticks,
    /// Key pictures in a segment: one every two seconds or a little more often
    /// (Apple HLS authoring 1.13).
    keys: i64,
    start: Option<Timestamp>,
    /// Index of the next key period within the segment.
    next_key: i64,
    /// The newest key picture.
    key: Timestamp,
}

impl Pace {
    pub(super) fn new(segment: Ticks) -> Self {
        let two_seconds = Ticks::from_secs_f64(2.0).get();
        let keys = (segment.get() + two_seconds - 1) / two_seconds;
        Self {
            segment,
            longest: longest_segment(segment),
            keys: keys.max(1),
            start: None,
            next_key: 1,
            key: Timestamp::ZERO,
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
            self.key = pts;
            return Mark::Key;
        }
        Mark::Plain
    }

    /// The mark of a picture beside the source's own: only where that is a key
    /// picture, and so knows how far off the next one is `expected`, can there be
    /// another mark than `Plain`. A segment ends at the last key picture that
    /// keeps it within its target if the next one comes as expected. `None` when
    /// it did not: the picture cannot be in the segment and cannot begin one.
    pub(super) fn follow(
        &mut self,
        pts: Timestamp,
        end: Timestamp,
        expected: Option<Ticks>,
        cut: bool,
    ) -> Option<Mark> {
        let fits = |until: Timestamp| {
            self.start
                .is_some_and(|start| until - start <= self.longest)
        };
        let Some(expected) = expected else {
            return fits(end).then_some(Mark::Plain);
        };
        let next = end.max(pts + expected);
        if cut || !fits(next) {
            return Some(self.cut(pts));
        }
        if next - self.key > KEY_PERIOD {
            self.key = pts;
            return Some(Mark::Key);
        }
        Some(Mark::Plain)
    }

    /// Where a picture that nothing follows ends, if its guessed `end` is too
    /// late for its segment.
    pub(super) fn last_end(&self, pts: Timestamp, end: Timestamp) -> Timestamp {
        let full = self.start.map(|start| start + self.segment);
        full.filter(|full| *full > pts)
            .map_or(end, |full| end.min(full))
    }

    fn cut(&mut self, pts: Timestamp) -> Mark {
        self.key = pts;
        self.start = Some(pts);
        self.next_key = 1;
        Mark::Cut
    }
}

/// The longest segment where one should last `segment`.
pub(super) fn longest_segment(segment: Ticks) -> Ticks {
    Ticks::new(target_seconds(segment) as i64 * Ticks::HZ)
}

/// Between key pictures of a coded rung, also where more of the source's come
/// (Apple HLS authoring 1.13).
const KEY_PERIOD: Ticks = Ticks::from_millis(2000);

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows pictures of 40 ms whose key pictures are at `keys` (ms), each
    /// expected as far off as `expected`; gives the marks that are not `Plain`
    /// and where following ended.
    fn follow(segment_ms: i64, keys: &[i64], expected: i64) -> (Vec<(i64, Mark)>, Option<i64>) {
        let mut pace = Pace::new(Ticks::from_millis(segment_ms));
        let mut marks = Vec::new();
        for ms in (0..20_000).step_by(40) {
            let key = keys.contains(&ms).then(|| Ticks::from_millis(expected));
            let (pts, end) = (Timestamp::from_millis(ms), Timestamp::from_millis(ms + 40));
            match pace.follow(pts, end, key, false) {
                Some(Mark::Plain) => {}
                Some(mark) => marks.push((ms, mark)),
                None => return (marks, Some(ms)),
            }
        }
        (marks, None)
    }

    #[test]
    fn a_segment_without_a_key_picture_to_end_at_is_not_followed_beyond_its_target() {
        assert_eq!(follow(6000, &[0, 2000, 4000], 2000).1, Some(6000));
        assert_eq!(follow(6000, &[0], 2000).1, Some(6000));
        // Half a second more is within TARGETDURATION.
        assert_eq!(follow(5500, &[0], 2000).1, Some(6000));
    }

    #[test]
    fn cuts_fall_on_the_last_key_picture_that_keeps_the_target() {
        let regular: Vec<_> = (0..10).map(|index| index * 2000).collect();
        let (marks, ended) = follow(6000, &regular, 2000);
        assert_eq!(ended, None);
        let expected = [Mark::Cut, Mark::Key, Mark::Key];
        for (index, (ms, mark)) in marks.iter().enumerate() {
            assert_eq!((*ms, *mark), (index as i64 * 2000, expected[index % 3]));
        }
        let (marks, _) = follow(
            6000,
            &[0, 2520, 5040, 7560, 10_080, 12_600, 15_120, 17_640],
            2520,
        );
        let cuts = marks.iter().filter(|(_, mark)| *mark == Mark::Cut);
        assert_eq!(
            cuts.map(|(ms, _)| *ms).collect::<Vec<_>>(),
            [0, 5040, 10_080, 15_120]
        );
    }

    #[test]
    fn where_the_source_has_many_key_pictures_the_rungs_have_one_in_two_seconds() {
        let many: Vec<_> = (0..500).map(|index| index * 40).collect();
        let (marks, _) = follow(6000, &many, 40);
        let keys: Vec<_> = marks.iter().map(|(ms, _)| *ms).take(5).collect();
        assert_eq!(keys, [0, 2000, 4000, 6000, 8000]);
        assert_eq!(marks[3].1, Mark::Cut);
    }

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
