//! Reads playlists by the letter of RFC 8216bis, for what these tests ask.

/// A multivariant playlist.
#[derive(Clone, Debug)]
pub(crate) struct Multivariant {
    pub(crate) variants: Vec<Variant>,
}

#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) uri: String,
    pub(crate) bandwidth: u64,
    pub(crate) average_bandwidth: u64,
    pub(crate) codecs: String,
    pub(crate) resolution: Option<(u64, u64)>,
    pub(crate) frame_rate: Option<String>,
}

/// A media playlist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Media {
    pub(crate) version: u64,
    pub(crate) target: u64,
    pub(crate) sequence: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) ended: bool,
    pub(crate) kind: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) uri: String,
    pub(crate) duration: f64,
    pub(crate) discontinuity: bool,
    pub(crate) date: Option<String>,
    /// There is nothing at its URI.
    pub(crate) gap: bool,
}

impl Variant {
    /// `720p` of `720p/index.m3u8`.
    pub(crate) fn rung(&self) -> &str {
        self.uri
            .strip_suffix("/index.m3u8")
            .unwrap_or_else(|| panic!("variant {}", self.uri))
    }
}

#[track_caller]
pub(crate) fn multivariant(text: &str) -> Multivariant {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("#EXTM3U"));
    assert!(text.contains("#EXT-X-INDEPENDENT-SEGMENTS\n"), "{text}");
    let mut variants = Vec::new();
    while let Some(line) = lines.next() {
        let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") else {
            continue;
        };
        let uri = lines.next().expect("a URI after STREAM-INF");
        let attribute = |name: &str| {
            attributes(list)
                .find(|(one, _)| *one == name)
                .map(|(_, value)| value)
        };
        let number = |name: &str| {
            attribute(name)
                .and_then(|value| value.parse().ok())
                .unwrap_or_else(|| panic!("{name} in {list}"))
        };
        let side = |text: &str| text.parse::<u64>().expect("a side");
        variants.push(Variant {
            uri: uri.to_owned(),
            bandwidth: number("BANDWIDTH"),
            average_bandwidth: number("AVERAGE-BANDWIDTH"),
            codecs: attribute("CODECS")
                .expect("CODECS")
                .trim_matches('"')
                .to_owned(),
            resolution: attribute("RESOLUTION").map(|text| {
                let (width, height) = text.split_once('x').expect("a size");
                (side(width), side(height))
            }),
            frame_rate: attribute("FRAME-RATE").map(str::to_owned),
        });
    }
    Multivariant { variants }
}

#[track_caller]
pub(crate) fn media(text: &str) -> Media {
    let mut playlist = Media::default();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("#EXTM3U"));
    assert!(
        text.contains("#EXT-X-MEDIA-SEQUENCE:") && text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:"),
        "{text}"
    );
    let (mut duration, mut discontinuity, mut date, mut gap) = (None, false, None, false);
    for line in lines {
        assert!(!playlist.ended, "{line} after ENDLIST");
        let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
        match line
            .split_once(':')
            .map_or((line, ""), |(tag, value)| (tag, value))
        {
            ("#EXT-X-VERSION", value) => playlist.version = number(value),
            ("#EXT-X-TARGETDURATION", value) => playlist.target = number(value),
            ("#EXT-X-MEDIA-SEQUENCE", value) => playlist.sequence = number(value),
            ("#EXT-X-DISCONTINUITY-SEQUENCE", value) => {
                playlist.discontinuity_sequence = number(value)
            }
            ("#EXT-X-PLAYLIST-TYPE", value) => playlist.kind = Some(value.to_owned()),
            ("#EXT-X-DISCONTINUITY", _) => discontinuity = true,
            ("#EXT-X-GAP", _) => gap = true,
            ("#EXT-X-PROGRAM-DATE-TIME", value) => date = Some(value.to_owned()),
            ("#EXT-X-ENDLIST", _) => playlist.ended = true,
            ("#EXTINF", value) => {
                duration = Some(value.trim_end_matches(',').parse().expect("a duration"))
            }
            _ if line.starts_with('#') || line.is_empty() => {}
            _ => playlist.entries.push(Entry {
                uri: line.to_owned(),
                duration: duration
                    .take()
                    .unwrap_or_else(|| panic!("{line} has no EXTINF")),
                discontinuity: std::mem::take(&mut discontinuity),
                date: date.take(),
                gap: std::mem::take(&mut gap),
            }),
        }
    }
    playlist
}

/// Attribute list, with commas inside quotes left alone.
fn attributes(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut quoted = false;
    let pieces = list.split(move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    pieces.filter_map(|piece| piece.trim().split_once('='))
}
