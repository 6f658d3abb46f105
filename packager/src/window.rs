//! The segments of one rung that viewers may ask for.
//!
//! A live playlist lists the newest few and forgets from its head. A segment
//! that left the list stays for a while, because a player may have read the list
//! just before (RFC 8216bis §6.2.2). Nothing else about a published segment
//! changes, and the two sequence numbers only rise.

use std::collections::VecDeque;
use std::sync::Arc;

use media::{Ticks, Timestamp};

use crate::playlist::{Entry, target_seconds};
use crate::{Error, Segment};

/// Which wall time an instant of the media timeline had, for
/// EXT-X-PROGRAM-DATE-TIME.
///
/// One anchor for all rungs of a broadcast: their mappings must agree
/// (RFC 8216bis §6.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramClock {
    /// The instant.
    pub at: Timestamp,
    /// Its wall time, in milliseconds of Unix time.
    pub unix_ms: i64,
}

impl ProgramClock {
    /// The wall time of `instant`, to the nearest millisecond.
    pub fn unix_ms(&self, instant: Timestamp) -> i64 {
        let ticks = (instant - self.at).get();
        self.unix_ms
            .saturating_add(ticks.saturating_add(45).div_euclid(90))
    }
}

/// What a [`Window`] keeps and says.
#[derive(Clone, Copy, Debug)]
pub struct WindowConfig {
    /// Number of the first segment: what EXT-X-MEDIA-SEQUENCE says before there
    /// is one. The segmenter's, so that a number is never reused.
    pub first_number: u64,
    /// Segments listed; at least 1. Apple asks for 6 (8.11). More are listed
    /// while so many do not last three target durations.
    pub capacity: usize,
    /// Longest segment to be expected. Rounded up to whole seconds it is
    /// EXT-X-TARGETDURATION, which never changes and is the same on all rungs.
    pub target: Ticks,
    /// The mapping to wall time.
    pub clock: ProgramClock,
}

/// The segments of one rung that are listed, and those that were until lately.
#[derive(Debug)]
pub struct Window {
    config: WindowConfig,
    listed: VecDeque<Listed>,
    listed_duration: Ticks,
    longest: Ticks,
    removed: VecDeque<Removed>,
    media_sequence: u64,
    discontinuity_sequence: u64,
    overruns: u64,
    ended: bool,
}

#[derive(Debug)]
struct Listed {
    segment: Arc<Segment>,
    /// Fixed when listed: a later clock must not move what was said.
    unix_ms: i64,
}

#[derive(Debug)]
struct Removed {
    segment: Arc<Segment>,
    /// Media time that has still to pass before it may go.
    left: Ticks,
}

impl Window {
    /// An empty window.
    pub fn new(config: WindowConfig) -> Self {
        Self {
            media_sequence: config.first_number,
            config: WindowConfig {
                capacity: config.capacity.max(1),
                ..config
            },
            listed: VecDeque::new(),
            listed_duration: Ticks::ZERO,
            longest: Ticks::ZERO,
            removed: VecDeque::new(),
            discontinuity_sequence: 0,
            overruns: 0,
            ended: false,
        }
    }

    /// Lists `segment`, and takes segments off the head of the list that exceed
    /// the capacity.
    ///
    /// Refuses a number that does not continue the list, and anything after
    /// [`Window::end`]: both would break what was published.
    pub fn push(&mut self, segment: impl Into<Arc<Segment>>) -> Result<(), Error> {
        let segment = segment.into();
        if self.ended {
            return Err(Error::Closed);
        }
        let next = self.media_sequence + self.listed.len() as u64;
        if segment.number != next {
            return Err(Error::OutOfSequence {
                last: next.wrapping_sub(1),
                found: segment.number,
            });
        }
        if target_seconds(segment.duration) > self.target_seconds() {
            self.overruns += 1;
        }
        self.age(segment.duration);
        self.listed_duration += segment.duration;
        self.listed.push_back(Listed {
            unix_ms: self.config.clock.unix_ms(segment.start),
            segment,
        });
        while self.head_may_go() {
            self.remove_head();
        }
        self.longest = self.longest.max(self.listed_duration);
        Ok(())
    }

    /// Maps the segments pushed from now on to wall time by `clock`; for a media
    /// timeline that jumped against the wall.
    pub fn anchor(&mut self, clock: ProgramClock) {
        self.config.clock = clock;
    }

    /// No segment will follow: the playlist gets its ENDLIST.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether [`Window::end`] was called.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Segment `number`, while it is listed or may still be asked for.
    pub fn segment(&self, number: u64) -> Option<&Arc<Segment>> {
        let segments = self.removed.front().map_or_else(
            || self.listed.front().map(|listed| &listed.segment),
            |removed| Some(&removed.segment),
        );
        let index = usize::try_from(number.checked_sub(segments?.number)?).ok()?;
        match self.removed.get(index) {
            Some(removed) => Some(&removed.segment),
            None => self
                .listed
                .get(index - self.removed.len())
                .map(|listed| &listed.segment),
        }
    }

    /// The listed segments, oldest first.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &Arc<Segment>> {
        self.listed.iter().map(|listed| &listed.segment)
    }

    /// The newest segment.
    pub fn last(&self) -> Option<&Arc<Segment>> {
        self.listed.back().map(|listed| &listed.segment)
    }

    /// What the playlist says about each listed segment.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry> {
        self.listed
            .iter()
            .map(|listed| listed.segment.entry(Some(listed.unix_ms)))
    }

    /// Segments listed.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether none is listed. Only before the first one: the list never runs
    /// empty again, and a playlist is valid from the first segment on.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// How long the listed segments last together.
    pub fn duration(&self) -> Ticks {
        self.listed_duration
    }

    /// Bytes of all segments held, listed or not.
    pub fn bytes(&self) -> usize {
        let listed = self.listed.iter().map(|listed| &listed.segment);
        let removed = self.removed.iter().map(|removed| &removed.segment);
        listed
            .chain(removed)
            .map(|segment| segment.data.len())
            .sum()
    }

    /// EXT-X-MEDIA-SEQUENCE: number of the first segment listed, or to be listed.
    pub fn media_sequence(&self) -> u64 {
        self.media_sequence
    }

    /// EXT-X-DISCONTINUITY-SEQUENCE: discontinuities that left the list.
    pub fn discontinuity_sequence(&self) -> u64 {
        self.discontinuity_sequence
    }

    /// EXT-X-TARGETDURATION, in seconds.
    pub fn target_seconds(&self) -> u64 {
        target_seconds(self.config.target)
    }

    /// Segments so far that were longer than the target duration, which the
    /// playlist may not say any more (RFC 8216bis §4.4.3.1). Players mostly
    /// cope; an operator should know.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// A list must not shrink below three target durations (RFC 8216bis
    /// §6.2.2), so that segments much shorter than the target make a longer
    /// list; the bound holds whatever comes.
    fn head_may_go(&self) -> bool {
        let Some(head) = self.listed.front() else {
            return false;
        };
        let rest = self.listed_duration - head.segment.duration;
        let shortest = Ticks::new(3 * Ticks::HZ * self.target_seconds() as i64);
        self.listed.len() > self.config.capacity
            && (rest >= shortest || self.listed.len() > self.config.capacity + MAX_EXTRA)
    }

    fn remove_head(&mut self) {
        let Some(head) = self.listed.pop_front() else {
            return;
        };
        self.media_sequence += 1;
        self.discontinuity_sequence += u64::from(head.segment.discontinuity);
        self.listed_duration -= head.segment.duration;
        let stay = head.segment.duration
            + self.longest
            + Ticks::new(Ticks::HZ * self.target_seconds() as i64);
        self.removed.push_back(Removed {
            segment: head.segment,
            left: stay,
        });
        if self.removed.len() > 2 * (self.config.capacity + MAX_EXTRA) {
            self.removed.pop_front();
        }
    }

    /// Lets `duration` of media time pass for the segments off the list.
    ///
    /// Media time stands in for wall time, which is not known here: the two
    /// differ by the burst of segments after a stall, and [`Removed::left`] has
    /// a target duration to spare for that. While nothing is pushed nothing
    /// goes.
    fn age(&mut self, duration: Ticks) {
        for removed in &mut self.removed {
            removed.left -= duration;
        }
        while self
            .removed
            .front()
            .is_some_and(|removed| removed.left <= Ticks::ZERO)
        {
            self.removed.pop_front();
        }
    }
}

/// Segments listed beyond the capacity at most, to reach three target durations
/// with short segments: 100 of 180 ms last three times 6 s.
const MAX_EXTRA: usize = 100;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::playlist;

    fn segment(number: u64, start: Timestamp, duration: Ticks, discontinuity: bool) -> Segment {
        Segment {
            number,
            start,
            duration,
            discontinuity,
            data: Bytes::from_static(b"x"),
            has_video: true,
            has_audio: true,
        }
    }

    fn window(capacity: usize) -> Window {
        Window::new(WindowConfig {
            first_number: 7,
            capacity,
            target: Ticks::SECOND,
            clock: ProgramClock {
                at: Timestamp::ZERO,
                unix_ms: 0,
            },
        })
    }

    fn push(window: &mut Window, number: u64, duration: Ticks) {
        let start = Timestamp::from_ticks(number as i64 * Ticks::HZ);
        window
            .push(segment(number, start, duration, false))
            .unwrap();
    }

    #[test]
    fn a_number_out_of_sequence_is_refused() {
        let mut window = window(3);
        let refused = |window: &mut Window, number| {
            let segment = segment(number, Timestamp::ZERO, Ticks::SECOND, false);
            window.push(segment).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&mut window, 8),
            "segment 8 follows 6; segment numbers rise by 1"
        );
        push(&mut window, 7, Ticks::SECOND);
        assert_eq!(
            refused(&mut window, 7),
            "segment 7 follows 7; segment numbers rise by 1"
        );
        window.end();
        assert_eq!(refused(&mut window, 8), "the stream has ended");
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn a_flood_of_tiny_segments_stays_bounded() {
        let mut window = window(3);
        for number in 7..5_000 {
            push(&mut window, number, Ticks::new(1));
        }
        assert_eq!(window.len(), 3 + MAX_EXTRA);
        assert_eq!(window.bytes(), window.len() + 2 * (3 + MAX_EXTRA));
    }

    #[test]
    fn a_segment_longer_than_the_target_is_counted() {
        let mut window = window(3);
        push(&mut window, 7, Ticks::SECOND);
        push(&mut window, 8, Ticks::new(90_001));
        assert_eq!(window.overruns(), 1);
        assert_eq!(window.target_seconds(), 1);
    }

    #[test]
    fn a_segment_off_the_list_stays_for_its_own_and_the_playlists_duration() {
        let mut window = window(4);
        for number in 7..12 {
            push(&mut window, number, Ticks::SECOND);
        }
        assert_eq!(window.media_sequence(), 8);
        // Removed when 11 came: 1 s of its own and 4 s of playlist later it may go.
        for number in 12..17 {
            assert!(window.segment(7).is_some(), "before {number}");
            push(&mut window, number, Ticks::SECOND);
        }
        assert_eq!(window.segment(7).map(|segment| segment.number), Some(7));
        push(&mut window, 17, Ticks::SECOND);
        assert!(window.segment(7).is_none());
        assert!(window.segment(6).is_none());
        assert!(window.segment(18).is_none());
        assert!(window.segment(u64::MAX).is_none());
    }

    #[test]
    fn a_new_anchor_leaves_what_was_said() {
        let mut window = window(4);
        push(&mut window, 7, Ticks::SECOND);
        window.anchor(ProgramClock {
            at: Timestamp::ZERO,
            unix_ms: 1_000_000,
        });
        push(&mut window, 8, Ticks::SECOND);
        let times: Vec<_> = window.entries().map(|entry| entry.unix_ms).collect();
        assert_eq!(times, [Some(7_000), Some(1_008_000)]);
    }

    proptest! {
        /// RFC 8216bis §6.2.1: between two versions of a playlist lines are only
        /// taken from the head and added at the end, and both sequence numbers
        /// count what was taken.
        #[test]
        fn every_version_continues_the_one_before(
            capacity in 1_usize..8,
            pushes in prop::collection::vec((1_i64..90_000, prop::bool::weighted(0.2)), 1..80),
        ) {
            let mut window = window(capacity);
            let mut start = Timestamp::ZERO;
            let mut before: Option<m3u8_rs::MediaPlaylist> = None;
            for (number, (ticks, discontinuity)) in (7..).zip(pushes) {
                let duration = Ticks::new(ticks);
                window.push(segment(number, start, duration, discontinuity)).unwrap();
                start += duration;
                let text = playlist::media(&window);
                let now = m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap();
                if let Some(before) = &before {
                    let gone = usize::try_from(now.media_sequence - before.media_sequence).unwrap();
                    let (gone, kept) = before.segments.split_at(gone);
                    prop_assert_eq!(kept, &now.segments[..kept.len()]);
                    prop_assert_eq!(now.segments.len(), kept.len() + 1);
                    let discontinuities = gone.iter().filter(|gone| gone.discontinuity).count();
                    prop_assert_eq!(
                        now.discontinuity_sequence,
                        before.discontinuity_sequence + discontinuities as u64
                    );
                    prop_assert_eq!(now.target_duration, before.target_duration);
                    // Nothing leaves that the three target durations still need.
                    prop_assert!(gone.is_empty() || window.duration() >= Ticks::new(3 * Ticks::HZ));
                }
                for segment in window.segments() {
                    prop_assert_eq!(window.segment(segment.number).unwrap().number, segment.number);
                }
                before = Some(now);
            }
        }
    }
}
