use m3u8_rs::{MediaPlaylist, MediaPlaylistType};

/// What a media playlist says, whoever wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// EXT-X-TARGETDURATION, in seconds.
    pub target_seconds: u64,
    /// EXT-X-MEDIA-SEQUENCE.
    pub media_sequence: u64,
    /// EXT-X-PLAYLIST-TYPE: whether it only grows, or stays as it is.
    pub kind: Option<Kind>,
    /// EXT-X-ENDLIST is there.
    pub ended: bool,
    /// The segments, in their order.
    pub segments: Vec<ListedSegment>,
}

/// What EXT-X-PLAYLIST-TYPE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lines are only added.
    Event,
    /// It does not change.
    Vod,
}

/// A segment of a [`Listing`].
#[derive(Clone, Debug, PartialEq)]
pub struct ListedSegment {
    /// As it stands there.
    pub uri: String,
    /// EXTINF, to seven digits.
    pub seconds: f64,
    /// EXT-X-DISCONTINUITY stands in front of it.
    pub discontinuity: bool,
    /// EXT-X-GAP stands in front of it.
    pub gap: bool,
    /// EXT-X-PROGRAM-DATE-TIME, in milliseconds of Unix time.
    pub unix_ms: Option<i64>,
}

/// Reads a media playlist. `None`: it is none.
pub fn read(text: &[u8]) -> Option<Listing> {
    let read: MediaPlaylist = m3u8_rs::parse_media_playlist_res(text).ok()?;
    let kind = read.playlist_type.and_then(|kind| match kind {
        MediaPlaylistType::Event => Some(Kind::Event),
        MediaPlaylistType::Vod => Some(Kind::Vod),
        MediaPlaylistType::Other(_) => None,
    });
    let segments = read.segments.into_iter().map(|one| ListedSegment {
        seconds: f64::from(one.duration),
        discontinuity: one.discontinuity,
        gap: one.unknown_tags.iter().any(|tag| tag.tag == "X-GAP"),
        unix_ms: one.program_date_time.map(|at| at.timestamp_millis()),
        uri: one.uri,
    });
    Some(Listing {
        target_seconds: read.target_duration,
        media_sequence: read.media_sequence,
        kind,
        ended: read.end_list,
        segments: segments.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weir_writes_is_read_as_it_was_meant() {
        let text = "#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n\
            #EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:12:35.123Z\n#EXTINF:2.000000,\n720p/7.ts\n\
            #EXT-X-DISCONTINUITY\n#EXT-X-GAP\n#EXTINF:1.500000,\n720p/8.ts\n#EXT-X-ENDLIST\n";
        let read = read(text.as_bytes()).unwrap();
        assert_eq!((read.target_seconds, read.media_sequence), (2, 7));
        assert_eq!((read.kind, read.ended), (Some(Kind::Vod), true));
        let [first, second] = &read.segments[..] else {
            panic!("{read:?}");
        };
        assert_eq!(first.unix_ms, Some(1_795_353_155_123));
        assert_eq!((first.gap, first.discontinuity), (false, false));
        assert_eq!((second.gap, second.discontinuity), (true, true));
        assert_eq!((&*second.uri, second.seconds), ("720p/8.ts", 1.5));
    }

    #[test]
    fn what_is_no_playlist_is_none() {
        for text in [&b""[..], b"720p/7.ts\n", b"<html></html>", b"\xff\xfe"] {
            assert_eq!(read(text), None);
        }
    }
}
