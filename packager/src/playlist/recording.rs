use std::fmt::Write as _;

use super::media::{head, segment};
use super::{Entry, VERSION, VERSION_WITH_GAPS, target_seconds};

/// What the playlist of a recording says about one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// Its number, times and discontinuity. `unix_ms` is written in front of the
    /// first segment and behind discontinuities alone: in between it follows.
    pub entry: Entry,
    /// It is found at `{rung}/{number}.ts`.
    pub rung: &'a str,
    /// It was lost: EXT-X-GAP stands in front of it.
    pub missing: bool,
}

/// Whether segments are still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// They are, none longer than so many seconds; a longer one that is here
    /// counts. An EVENT playlist: lines are only ever added.
    Growing {
        /// EXT-X-TARGETDURATION, which must not change (RFC 8216bis §4.4.3.1).
        target_seconds: u64,
    },
    /// They are not. A VOD playlist with the TARGETDURATION of the longest.
    Complete,
}

/// The playlist of a recording of `segments`.
///
/// Dates stand where they are news, at the start and behind discontinuities: one
/// for every segment would double the length of a playlist that is written again
/// and again.
pub fn recording<'a, I>(segments: I, growth: Growth) -> String
where
    I: IntoIterator<Item = Recorded<'a>, IntoIter: Clone + ExactSizeIterator>,
{
    let segments = segments.into_iter();
    let longest = segments
        .clone()
        .map(|segment| target_seconds(segment.entry.duration))
        .max();
    let longest = longest.unwrap_or(1);
    let (target, kind) = match growth {
        Growth::Growing { target_seconds } => (longest.max(target_seconds), "EVENT"),
        Growth::Complete => (longest, "VOD"),
    };
    let mut text = String::with_capacity(256 + segments.len() * 48);
    let version = match segments.clone().any(|segment| segment.missing) {
        true => VERSION_WITH_GAPS,
        false => VERSION,
    };
    head(&mut text, version, target);
    let first = segments.clone().next().map_or(0, |one| one.entry.number);
    // `fmt::Write` for a String never fails.
    let _ = writeln!(
        text,
        "#EXT-X-PLAYLIST-TYPE:{kind}\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:0"
    );
    for (index, mut one) in segments.enumerate() {
        // There is nothing that the first could be discontinuous with.
        one.entry.discontinuity &= index > 0;
        if index > 0 && !one.entry.discontinuity {
            one.entry.unix_ms = None;
        }
        segment(&mut text, &one.entry, (one.rung, "/"), one.missing);
    }
    if growth == Growth::Complete {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use ::media::{Ticks, Timestamp};

    use super::*;

    fn one(number: u64, ms: i64, duration_ms: i64) -> Recorded<'static> {
        Recorded {
            entry: Entry {
                number,
                start: Timestamp::from_ticks(ms * 90),
                duration: Ticks::from_millis(duration_ms),
                discontinuity: false,
                unix_ms: Some(1_795_353_155_123 + ms),
            },
            rung: "720p",
            missing: false,
        }
    }

    #[test]
    fn a_growing_recording_only_gains_lines() {
        let segments = [one(7, 0, 2000), one(8, 2000, 2000), one(9, 4000, 1000)];
        let growth = Growth::Growing { target_seconds: 6 };
        let mut before = recording([], growth);
        m3u8_rs::parse_media_playlist_res(before.as_bytes()).unwrap();
        before = before.replace("SEQUENCE:0\n#EXT-X-DIS", "SEQUENCE:7\n#EXT-X-DIS");
        for count in 1..=3 {
            let now = recording(segments[..count].iter().copied(), growth);
            assert!(now.starts_with(&before), "{before}\n{now}");
            let parsed = m3u8_rs::parse_media_playlist_res(now.as_bytes()).unwrap();
            assert_eq!(parsed.target_duration, 6);
            assert_eq!(parsed.segments.len(), count);
            assert!(!parsed.end_list);
            before = now;
        }
    }

    #[test]
    fn a_finished_recording_says_all_there_is_to_say() {
        let mut later = one(1_000_000, 500, 1500);
        later.entry.discontinuity = true;
        later.rung = "360p";
        let mut lost = one(8, 2000, 2000);
        lost.missing = true;
        let mut first = one(7, 0, 2000);
        first.entry.discontinuity = true;
        let text = recording([first, lost, later], Growth::Complete);
        assert_eq!(
            text,
            "#EXTM3U\n\
             #EXT-X-VERSION:8\n\
             #EXT-X-TARGETDURATION:2\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXT-X-MEDIA-SEQUENCE:7\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:0\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:12:35.123Z\n\
             #EXTINF:2.000000,\n720p/7.ts\n\
             #EXT-X-GAP\n\
             #EXTINF:2.000000,\n720p/8.ts\n\
             #EXT-X-DISCONTINUITY\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:12:35.623Z\n\
             #EXTINF:1.500000,\n360p/1000000.ts\n\
             #EXT-X-ENDLIST\n"
        );
        m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_segment_longer_than_it_should_be_raises_the_target() {
        let text = recording([one(1, 0, 2001)], Growth::Growing { target_seconds: 2 });
        assert!(text.contains("TARGETDURATION:3\n"), "{text}");
    }
}
