//! Tokens of viewers: in the query of what they ask for, and carried into the URIs
//! of playlists, so that plain players show them with everything they fetch.
//!
//! A playlist is rendered once for all viewers and differs from one to the next only
//! by what stands behind each URI. That is put in as it is sent: a live playlist
//! whole, the one of a long recording piece by piece.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Frame, SizeHint};
use sha2::{Digest as _, Sha256};

use super::body::{Form, Rendered, sentence};
use super::{Asked, PLAYLIST};

/// The token of a request.
pub(super) fn in_query(query: Option<&str>) -> Option<&str> {
    let pairs = query?.split('&');
    pairs.filter_map(|pair| pair.strip_prefix("token=")).next()
}

/// How long a playlist may be kept.
#[derive(Clone, Copy)]
pub(super) enum Cache {
    /// Not without asking whether it has changed.
    Ask,
    Minute,
    Hour,
}

impl Cache {
    fn rule(self, private: bool) -> &'static str {
        match (self, private) {
            (Self::Ask, false) => "no-cache",
            (Self::Minute, false) => "max-age=60",
            (Self::Hour, false) => "max-age=3600",
            (Self::Ask, true) => "private, no-cache",
            (Self::Minute, true) => "private, max-age=60",
            (Self::Hour, true) => "private, max-age=3600",
        }
    }
}

/// The answer with `playlist`, which carries the token of the request.
pub(super) async fn playlist(
    playlist: &Arc<Rendered>,
    asked: Asked<'_>,
    cache: Cache,
) -> Response<Body> {
    let cache = cache.rule(asked.token.is_some());
    let Some(token) = asked.token else {
        return playlist.respond(asked.headers, PLAYLIST, cache);
    };
    let digest = Sha256::digest(token.as_bytes());
    let tag: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
    let form = Form::of(playlist, &format!("-{tag}"), asked.headers);
    if form.not_modified {
        return form.respond(PLAYLIST, cache, (0, Body::empty()));
    }
    let text = Carrying::new(playlist.text().clone(), token);
    let length = text.length;
    if !form.gzip {
        let body = match length <= AT_ONCE {
            true => Body::from(text.whole()),
            false => Body::new(text),
        };
        return form.respond(PLAYLIST, cache, (length as u64, body));
    }
    let packed = match length <= AT_ONCE {
        true => text.packed(),
        // Milliseconds: not for an async worker.
        false => tokio::task::spawn_blocking(|| text.packed())
            .await
            .unwrap_or_default(),
    };
    if packed.is_empty() {
        let what = "the playlist could not be packed".to_owned();
        return sentence(StatusCode::INTERNAL_SERVER_ERROR, what);
    }
    form.respond(PLAYLIST, cache, (packed.len() as u64, Body::from(packed)))
}

/// A playlist whose URIs carry a token.
struct Carrying {
    /// What is still to come of the playlist without it.
    rest: Bytes,
    /// What stands behind each URI.
    query: Box<str>,
    /// Bytes of the whole.
    length: usize,
}

impl Carrying {
    fn new(playlist: Bytes, token: &str) -> Self {
        let query = format!("?token={token}").into_boxed_str();
        let uris = lines(&playlist).filter(|line| is_uri(line)).count();
        Self {
            length: playlist.len() + uris * query.len(),
            rest: playlist,
            query,
        }
    }

    /// The next lines: about `most` bytes.
    fn next(&mut self, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut taken = 0;
        for line in lines(&self.rest) {
            if out.len() >= most {
                break;
            }
            taken += line.len();
            if is_uri(line) {
                let end = line.len() - usize::from(line.ends_with(b"\n"));
                out.extend_from_slice(&line[..end]);
                out.extend_from_slice(self.query.as_bytes());
                out.extend_from_slice(&line[end..]);
            } else {
                out.extend_from_slice(line);
            }
        }
        self.rest = self.rest.slice(taken..);
        out
    }

    fn whole(mut self) -> Vec<u8> {
        self.next(usize::MAX)
    }

    /// The whole as gzip; empty when that fails.
    fn packed(mut self) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        while !self.rest.is_empty() {
            let piece = self.next(AT_ONCE);
            // Writing to a Vec cannot fail.
            if encoder.write_all(&piece).is_err() {
                return Vec::new();
            }
        }
        encoder.finish().unwrap_or_default()
    }
}

impl hyper::body::Body for Carrying {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.next(AT_ONCE);
        if piece.is_empty() {
            return Poll::Ready(None);
        }
        self.length = self.length.saturating_sub(piece.len());
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}

/// Lines with their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

/// weir writes no URI but on a line of its own.
fn is_uri(line: &[u8]) -> bool {
    !matches!(line.first(), None | Some(b'#' | b'\n'))
}

/// Bytes of a playlist that are made at once. A live one with a token of the usual
/// length is a tenth of that.
const AT_ONCE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_of_a_query_counts_and_nothing_like_it() {
        let check = |query: &str, found| assert_eq!(in_query(Some(query)), found, "{query}");
        check("token=a.b.c", Some("a.b.c"));
        check("t=1&token=a&token=b", Some("a"));
        check("token=", Some(""));
        check("Token=a&tokens=b&xtoken=c", None);
        check("", None);
        assert_eq!(in_query(None), None);
    }

    #[test]
    fn every_uri_carries_the_token_and_nothing_else_does() {
        let check = |text: &str, expected: &str| {
            let carrying = Carrying::new(Bytes::from(text.to_owned()), "a.b.c");
            let length = carrying.length;
            let whole = String::from_utf8(carrying.whole()).unwrap();
            assert_eq!(whole, expected);
            assert_eq!(length, whole.len());
        };
        check(
            "#EXTM3U\n#EXTINF:2,\n1.ts\n\n#EXTINF:2,\n2.ts",
            "#EXTM3U\n#EXTINF:2,\n1.ts?token=a.b.c\n\n#EXTINF:2,\n2.ts?token=a.b.c",
        );
        check("", "");
        check("#EXTM3U\n", "#EXTM3U\n");
    }

    #[test]
    fn pieces_are_bounded_and_make_up_the_whole() {
        let text: String = (0..20_000)
            .map(|n| format!("#EXTINF:6,\n{n}.ts\n"))
            .collect();
        let text = Bytes::from(text);
        let token = "x".repeat(4000);
        let mut carrying = Carrying::new(text.clone(), &token);
        let length = carrying.length;
        let (mut whole, mut pieces) = (Vec::new(), 0);
        while !carrying.rest.is_empty() {
            let piece = carrying.next(AT_ONCE);
            assert!(piece.len() < AT_ONCE + 5000, "{}", piece.len());
            whole.extend(piece);
            pieces += 1;
        }
        assert!(pieces > 1000, "{pieces}");
        assert_eq!(whole.len(), length);
        assert!(whole == Carrying::new(text, &token).whole());
    }
}
