use std::fmt::Write as _;

use super::{Entry, VERSION, date::iso8601, target_seconds};
use crate::Window;

/// The live media playlist of `window`: no PLAYLIST-TYPE, ENDLIST once ended.
///
/// EXT-X-DISCONTINUITY-SEQUENCE is always there: a stream that may ever have a
/// discontinuity must carry it from the start (RFC 8216bis §6.2.2).
pub fn media(window: &Window) -> String {
    let mut text = String::with_capacity(256 + window.len() * 96);
    head(&mut text, VERSION, window.target_seconds());
    let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{}", window.media_sequence());
    let _ = writeln!(
        text,
        "#EXT-X-DISCONTINUITY-SEQUENCE:{}",
        window.discontinuity_sequence()
    );
    for entry in window.entries() {
        segment(&mut text, &entry, ("", ""), false);
    }
    if window.ended() {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

/// A finished recording of `entries`, complete. Segments are found at
/// `{prefix}{number}.ts`.
///
/// TARGETDURATION is that of the longest segment.
pub fn vod(entries: &[Entry], prefix: &str) -> String {
    let target = entries.iter().map(|entry| target_seconds(entry.duration));
    let mut text = String::with_capacity(256 + entries.len() * 96);
    head(&mut text, VERSION, target.max().unwrap_or(1));
    text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n");
    let first = entries.first().map_or(0, |entry| entry.number);
    let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{first}");
    text.push_str("#EXT-X-DISCONTINUITY-SEQUENCE:0\n");
    for entry in entries {
        segment(&mut text, entry, (prefix, ""), false);
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

pub(super) fn head(text: &mut String, version: usize, target_seconds: u64) {
    // `fmt::Write` for a String never fails, here and below.
    let _ = writeln!(
        text,
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target_seconds}"
    );
}

/// The lines of one segment, found behind the two parts of its prefix.
pub(super) fn segment(text: &mut String, entry: &Entry, prefix: (&str, &str), missing: bool) {
    if entry.discontinuity {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if let Some(unix_ms) = entry.unix_ms {
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", iso8601(unix_ms));
    }
    if missing {
        text.push_str("#EXT-X-GAP\n");
    }
    let micros = entry.micros();
    let _ = writeln!(
        text,
        "#EXTINF:{}.{:06},\n{}{}{}.ts",
        micros / 1_000_000,
        micros % 1_000_000,
        prefix.0,
        prefix.1,
        entry.number
    );
}

#[cfg(test)]
mod tests {
    use ::media::{Ticks, Timestamp};
    use bytes::Bytes;

    use super::*;
    use crate::{ProgramClock, Segment, WindowConfig};

    fn check(actual: &str, expected: &str) {
        assert_eq!(actual, expected);
        m3u8_rs::parse_media_playlist_res(actual.as_bytes()).unwrap();
    }

    /// Segments of `frames` pictures at 29.97 fps each.
    fn window(capacity: usize, frames: &[(i64, bool)]) -> Window {
        let mut window = Window::new(WindowConfig {
            first_number: 1_000,
            capacity,
            target: Ticks::from_millis(2_002),
            clock: ProgramClock {
                at: Timestamp::ZERO,
                unix_ms: 1_795_353_155_123,
            },
        });
        let mut start = Timestamp::ZERO;
        for (number, &(frames, discontinuity)) in (1_000..).zip(frames) {
            let duration = Ticks::new(frames * 3003);
            let segment = Segment {
                number,
                start,
                duration,
                discontinuity,
                data: Bytes::new(),
                has_video: true,
                has_audio: true,
            };
            window.push(segment).unwrap();
            start += duration;
        }
        window
    }

    #[test]
    fn an_empty_window_is_a_playlist_without_segments() {
        check(
            &media(&window(3, &[])),
            "#EXTM3U\n\
             #EXT-X-VERSION:3\n\
             #EXT-X-TARGETDURATION:3\n\
             #EXT-X-MEDIA-SEQUENCE:1000\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:0\n",
        );
    }

    #[test]
    fn a_live_playlist_says_all_there_is_to_say() {
        let mut window = window(
            6,
            &[
                (60, false),
                (60, false),
                (60, true),
                (60, false),
                (60, false),
                (60, true),
                (60, false),
                (60, false),
                (20, false),
            ],
        );
        window.end();
        check(
            &media(&window),
            "#EXTM3U\n\
             #EXT-X-VERSION:3\n\
             #EXT-X-TARGETDURATION:3\n\
             #EXT-X-MEDIA-SEQUENCE:1003\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:1\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:12:41.129Z\n\
             #EXTINF:2.002000,\n1003.ts\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:12:43.131Z\n\
             #EXTINF:2.002000,\n1004.ts\n\
             #EXT-X-DISCONTINUITY\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:12:45.133Z\n\
             #EXTINF:2.002000,\n1005.ts\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:12:47.135Z\n\
             #EXTINF:2.002000,\n1006.ts\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:12:49.137Z\n\
             #EXTINF:2.002000,\n1007.ts\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:12:51.139Z\n\
             #EXTINF:0.667333,\n1008.ts\n\
             #EXT-X-ENDLIST\n",
        );
    }

    #[test]
    fn a_recording_is_whole_and_typed() {
        let entry = |number, start, frames: i64, discontinuity| Entry {
            number,
            start: Timestamp::from_ticks(start),
            duration: Ticks::new(frames * 3600),
            discontinuity,
            unix_ms: None,
        };
        check(
            &vod(
                &[entry(0, 0, 150, false), entry(1, 540_000, 151, true)],
                "720p/",
            ),
            "#EXTM3U\n\
             #EXT-X-VERSION:3\n\
             #EXT-X-TARGETDURATION:7\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:0\n\
             #EXTINF:6.000000,\n720p/0.ts\n\
             #EXT-X-DISCONTINUITY\n\
             #EXTINF:6.040000,\n720p/1.ts\n\
             #EXT-X-ENDLIST\n",
        );
    }

    #[test]
    fn written_durations_of_a_long_run_add_up_to_the_microsecond() {
        let mut start = Timestamp::from_ticks(7);
        let mut sum = 0;
        for number in 0..100_000 {
            let duration = Ticks::new(90_001 + (number as i64 * 7919) % 3003);
            let entry = Entry {
                number,
                start,
                duration,
                discontinuity: false,
                unix_ms: None,
            };
            sum += entry.micros();
            start += duration;
        }
        let truth = (start - Timestamp::from_ticks(7)).as_secs_f64() * 1e6;
        assert!((sum as f64 - truth).abs() < 1.5, "{sum} against {truth}");
    }
}
