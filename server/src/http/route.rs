//! What a request path asks for. Pure, so that every odd path is a test.
//!
//! Names hold only letters, digits, `-` and `_`, so nothing is percent-decoded:
//! an escaped slash or dot can only ever be "not found".

use super::api::Question;
use crate::name::StreamName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'p> {
    Home,
    Player(StreamName),
    Multivariant(StreamName),
    MediaPlaylist {
        name: StreamName,
        rung: &'p str,
    },
    Segment {
        name: StreamName,
        rung: &'p str,
        number: u64,
    },
    Thumbnail(StreamName),
    /// A recording's playlist.
    Vod {
        name: StreamName,
        id: u64,
    },
    /// The multivariant playlist that has it.
    VodMultivariant {
        name: StreamName,
        id: u64,
    },
    /// The list of a stream's recordings.
    Recordings(StreamName),
    /// HTTP-FLV of an application's stream.
    Flv {
        app: &'p str,
        name: StreamName,
    },
    Asset(&'p str),
    Health,
    Ready,
    Metrics,
    Api(Question),
    /// Nothing lives at this path. `media` says whether a player asked: the
    /// answer then carries CORS headers like any media answer.
    Unknown {
        media: bool,
    },
}

impl<'p> Route<'p> {
    pub(super) fn parse(path: &'p str) -> Self {
        let unknown = Self::Unknown {
            media: is_media(path),
        };
        let Some(path) = path.strip_prefix('/') else {
            return unknown;
        };
        match path {
            "" => return Self::Home,
            "healthz" | "healthcheck" => return Self::Health,
            "readyz" => return Self::Ready,
            "metrics" => return Self::Metrics,
            _ => {}
        }
        if let Some(question) = path.strip_prefix("api/v1/") {
            return Self::Api(Question::parse(question));
        }
        if let Some(file) = path.strip_prefix("assets/") {
            return Self::Asset(file);
        }
        if let Some((app, file)) = path.split_once('/')
            && let Some(name) = file.strip_suffix(".flv")
        {
            return match name.parse() {
                Ok(name) => Self::Flv { app, name },
                Err(_) => unknown,
            };
        }
        let mut parts = path.split('/');
        let Some(Ok(name)) = parts.next().map(str::parse::<StreamName>) else {
            return unknown;
        };
        match (parts.next(), parts.next(), parts.next()) {
            (None, None, None) => Self::Player(name),
            (Some("live.m3u8"), None, None) => Self::Multivariant(name),
            (Some("thumb.jpg"), None, None) => Self::Thumbnail(name),
            (Some("recordings.json"), None, None) => Self::Recordings(name),
            (Some(file), None, None) => match vod(file) {
                Some((id, false)) => Self::Vod { name, id },
                Some((id, true)) => Self::VodMultivariant { name, id },
                None => unknown,
            },
            (Some(rung), Some("index.m3u8"), None) => Self::MediaPlaylist { name, rung },
            (Some(rung), Some(file), None) => match file.strip_suffix(".ts").and_then(number) {
                Some(number) => Self::Segment { name, rung, number },
                None => unknown,
            },
            _ => unknown,
        }
    }

    /// The `kind` label of request metrics: a fixed set, never a peer's words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Home | Self::Player(_) | Self::Asset(_) => "page",
            Self::Multivariant(_) => "multivariant",
            Self::MediaPlaylist { .. } => "playlist",
            Self::Segment { .. } => "segment",
            Self::Thumbnail(_) => "thumbnail",
            Self::Vod { .. } | Self::VodMultivariant { .. } => "vod",
            Self::Recordings(_) => "recordings",
            Self::Flv { .. } => "flv",
            Self::Health | Self::Ready => "health",
            Self::Metrics => "metrics",
            Self::Api(_) => "api",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The stream that whoever asks for this watches.
    pub(super) fn watched(&self) -> Option<&StreamName> {
        match self {
            Self::Multivariant(name)
            | Self::MediaPlaylist { name, .. }
            | Self::Segment { name, .. }
            | Self::Thumbnail(name)
            | Self::Vod { name, .. }
            | Self::VodMultivariant { name, .. }
            | Self::Recordings(name)
            | Self::Flv { name, .. } => Some(name),
            Self::Home
            | Self::Player(_)
            | Self::Asset(_)
            | Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::Api(_)
            | Self::Unknown { .. } => None,
        }
    }

    /// Whether players on other sites fetch this, so that CORS applies.
    pub(super) fn is_media(&self) -> bool {
        match self {
            Self::Multivariant(_)
            | Self::MediaPlaylist { .. }
            | Self::Segment { .. }
            | Self::Thumbnail(_)
            | Self::Vod { .. }
            | Self::VodMultivariant { .. }
            | Self::Recordings(_)
            | Self::Flv { .. } => true,
            Self::Unknown { media } => *media,
            Self::Home
            | Self::Player(_)
            | Self::Asset(_)
            | Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::Api(_) => false,
        }
    }
}

/// A recording's id in `vod-{id}.m3u8`, or in the name of its multivariant
/// playlist, and which of the two it is.
fn vod(file: &str) -> Option<(u64, bool)> {
    let of = file.strip_prefix("vod-")?.strip_suffix(".m3u8")?;
    match of.strip_suffix("-master") {
        Some(id) => Some((number(id)?, true)),
        None => Some((number(of)?, false)),
    }
}

/// Decimal digits without sign or leading zeros, so that one segment has one URL.
fn number(digits: &str) -> Option<u64> {
    let canonical = digits == "0" || !digits.starts_with('0');
    if !canonical || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn is_media(path: &str) -> bool {
    [".m3u8", ".ts", ".jpg", ".flv", "/recordings.json"]
        .iter()
        .any(|end| path.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_climbs_out_or_hides() {
        for path in [
            "",
            "*",
            "//",
            "/..",
            "/../etc",
            "/%2e%2e/live.m3u8",
            "/a%2fb/live.m3u8",
            "/a/b/c/d.ts",
            "/demo/",
            "/demo/720p/",
            "/demo/720p/1.ts/",
            "/demo//index.m3u8x",
            "/demo/vod-.m3u8",
            "/demo/vod-01.m3u8",
            "/demo/vod-00123.m3u8",
            "/demo/vod-18446744073709551616.m3u8",
            "/demo/vod-1\0.m3u8",
            "/demo/vod-1%2em3u8",
            "/demo/vod--1.m3u8",
            "/demo/vod-1.m3u8/",
            "/demo/vod-1-master-master.m3u8",
            "/demo/vod-99999999999999999999.m3u8",
            "/demo/720p/+1.ts",
            "/demo/720p/01.ts",
            "/demo/720p/-1.ts",
            "/demo/720p/99999999999999999999.ts",
            "/demo/720p/1.TS",
            "/a b",
            "/api",
            "/vod",
            "/api/live.m3u8",
            "/\u{e9}",
        ] {
            assert!(
                matches!(Route::parse(path), Route::Unknown { .. }),
                "{path}"
            );
        }
    }

    #[test]
    fn the_table_of_urls() {
        assert_eq!(Route::parse("/"), Route::Home);
        assert_eq!(Route::parse("/demo"), Route::Player(name("demo")));
        assert_eq!(
            Route::parse("/demo/live.m3u8"),
            Route::Multivariant(name("demo"))
        );
        assert_eq!(
            Route::parse("/demo/720p/index.m3u8"),
            Route::MediaPlaylist {
                name: name("demo"),
                rung: "720p"
            }
        );
        let segment = Route::Segment {
            name: name("demo"),
            rung: "720p",
            number: 1_591_000_000_126,
        };
        assert_eq!(Route::parse("/demo/720p/1591000000126.ts"), segment);
        assert_eq!(
            Route::parse("/demo/thumb.jpg"),
            Route::Thumbnail(name("demo"))
        );
        let (name, id) = (name("demo"), 17);
        let vod = Route::Vod {
            name: name.clone(),
            id,
        };
        assert_eq!(Route::parse("/demo/vod-17.m3u8"), vod);
        let master = Route::VodMultivariant {
            name: name.clone(),
            id,
        };
        assert_eq!(Route::parse("/demo/vod-17-master.m3u8"), master);
        let list = Route::Recordings(name);
        assert_eq!(Route::parse("/demo/recordings.json"), list);
        assert_eq!(Route::parse("/healthcheck"), Route::Health);
        assert_eq!(Route::parse("/assets/hls.js"), Route::Asset("hls.js"));
    }

    #[test]
    fn a_missing_media_file_is_still_a_media_answer() {
        assert!(Route::parse("/bad name/live.m3u8").is_media());
        assert!(!Route::parse("/bad name").is_media());
    }
}
