use std::collections::HashMap;

use ::media::Size;
use m3u8_rs::{MasterPlaylist, QuotedOrUnquoted, Resolution, VariantStream};

use super::VERSION;

/// One EXT-X-STREAM-INF with its playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The media playlist, relative to the multivariant one: `720p/index.m3u8`.
    pub uri: String,
    /// Peak rate of the segments in bit/s, as [`crate::rates::Meter`] has it.
    pub bandwidth: u64,
    /// Average rate of the segments in bit/s.
    pub average_bandwidth: u64,
    /// RFC 6381 names of all tracks, each once:
    /// [`media::TrackConfig::rfc6381`].
    pub codecs: Vec<String>,
    /// Size of the pictures, where there are any.
    pub resolution: Option<Size>,
    /// Pictures a second, where there are any and their rate is known.
    pub frame_rate: Option<f64>,
}

/// The multivariant playlist of `variants`, in whatever order they are given.
///
/// The variant nearest to 2000 kbit/s comes first, since players start with the
/// first one listed and Apple asks for that rate there (authoring specification
/// 1.32); the others follow by rising BANDWIDTH.
///
/// INDEPENDENT-SEGMENTS stands here and not in the media playlists: it then
/// holds for all of them, and both places should not have it (RFC 8216bis
/// §4.4.2).
pub fn multivariant(variants: &[Variant]) -> String {
    let mut order: Vec<&Variant> = variants.iter().collect();
    order.sort_by_key(|variant| variant.bandwidth);
    let first = (0..order.len()).min_by_key(|&index| order[index].bandwidth.abs_diff(FIRST));
    if let Some(first) = first {
        order[..=first].rotate_right(1);
    }
    let playlist = MasterPlaylist {
        version: Some(VERSION),
        independent_segments: true,
        variants: order.into_iter().map(stream_inf).collect(),
        ..MasterPlaylist::default()
    };
    let mut text = Vec::new();
    // Writing to memory never fails.
    let _ = playlist.write_to(&mut text);
    String::from_utf8(text).unwrap_or_default()
}

fn stream_inf(variant: &Variant) -> VariantStream {
    // m3u8-rs writes a rate without fixed decimals; as an attribute that it does
    // not know it passes the text through.
    let frame_rate = variant.frame_rate.filter(|rate| rate.is_finite());
    let other_attributes = frame_rate.map(|rate| {
        let text = QuotedOrUnquoted::Unquoted(format!("{rate:.3}"));
        HashMap::from([("FRAME-RATE".to_owned(), text)])
    });
    VariantStream {
        uri: variant.uri.clone(),
        bandwidth: variant.bandwidth,
        average_bandwidth: Some(variant.average_bandwidth),
        codecs: (!variant.codecs.is_empty()).then(|| variant.codecs.join(",")),
        resolution: variant.resolution.map(|size| Resolution {
            width: size.width.into(),
            height: size.height.into(),
        }),
        other_attributes,
        ..VariantStream::default()
    }
}

/// What the first variant's BANDWIDTH should be near to, in bit/s.
const FIRST: u64 = 2_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variants: &[Variant], expected: &str) {
        let text = multivariant(variants);
        assert_eq!(text, expected);
        let parsed = m3u8_rs::parse_master_playlist_res(text.as_bytes()).unwrap();
        assert!(parsed.independent_segments);
        assert_eq!(parsed.variants.len(), variants.len());
        for variant in &parsed.variants {
            let ours = variants.iter().find(|own| own.uri == variant.uri).unwrap();
            assert_eq!(variant.bandwidth, ours.bandwidth);
            assert_eq!(variant.average_bandwidth, Some(ours.average_bandwidth));
            assert_eq!(variant.codecs.as_deref(), Some(&*ours.codecs.join(",")));
            assert_eq!(variant.other_attributes, None);
        }
    }

    fn variant(name: &str, bandwidth: u64, size: Size, rate: f64) -> Variant {
        Variant {
            uri: format!("{name}/index.m3u8"),
            bandwidth,
            average_bandwidth: bandwidth - 100_000,
            codecs: vec!["avc1.4d401f".to_owned(), "mp4a.40.2".to_owned()],
            resolution: Some(size),
            frame_rate: Some(rate),
        }
    }

    #[test]
    fn the_middle_rung_is_where_players_start() {
        check(
            &[
                variant("720p", 3_300_000, Size::new(1280, 720), 30_000.0 / 1001.0),
                variant("480p", 1_750_000, Size::new(854, 480), 30_000.0 / 1001.0),
                variant("360p", 1_060_000, Size::new(640, 360), 30.0),
            ],
            "#EXTM3U\n\
             #EXT-X-VERSION:3\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1750000,AVERAGE-BANDWIDTH=1650000,CODECS=\"avc1.4d401f,mp4a.40.2\",RESOLUTION=854x480,FRAME-RATE=29.970\n\
             480p/index.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1060000,AVERAGE-BANDWIDTH=960000,CODECS=\"avc1.4d401f,mp4a.40.2\",RESOLUTION=640x360,FRAME-RATE=30.000\n\
             360p/index.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=3300000,AVERAGE-BANDWIDTH=3200000,CODECS=\"avc1.4d401f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970\n\
             720p/index.m3u8\n",
        );
    }

    #[test]
    fn audio_alone_has_no_resolution_and_no_frame_rate() {
        check(
            &[Variant {
                uri: "audio/index.m3u8".to_owned(),
                bandwidth: 140_000,
                average_bandwidth: 135_000,
                codecs: vec!["mp4a.40.2".to_owned()],
                resolution: None,
                frame_rate: None,
            }],
            "#EXTM3U\n\
             #EXT-X-VERSION:3\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH=140000,AVERAGE-BANDWIDTH=135000,CODECS=\"mp4a.40.2\"\n\
             audio/index.m3u8\n",
        );
    }

    #[test]
    fn no_variant_is_still_a_playlist() {
        assert_eq!(
            multivariant(&[]),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n"
        );
    }
}
