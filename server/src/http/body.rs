//! Bytes that are served often: rendered once, tagged once, compressed once.

use std::io::Write as _;
use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// A text with its entity tag and its gzip form, made when the text changes
/// and shared by every request for it.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    plain: Bytes,
    gzip: Bytes,
    tag: String,
}

impl Rendered {
    pub(crate) fn new(text: String) -> Self {
        let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 3), Compression::fast());
        // Writing to a Vec cannot fail.
        let gzip = encoder
            .write_all(text.as_bytes())
            .and_then(|()| encoder.finish())
            .unwrap_or_default();
        let digest = Sha256::digest(text.as_bytes());
        let tag = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            plain: Bytes::from(text),
            gzip: Bytes::from(gzip),
            tag,
        }
    }

    pub(crate) fn text(&self) -> &Bytes {
        &self.plain
    }

    /// The answer to a GET, in the encoding the client takes.
    pub(super) fn respond(
        &self,
        request: &HeaderMap,
        content_type: &'static str,
        cache: &'static str,
    ) -> Response<Body> {
        let form = Form::of(self, "", request);
        let body = match (form.not_modified, form.gzip) {
            (true, _) => Bytes::new(),
            (false, true) => self.gzip.clone(),
            (false, false) => self.plain.clone(),
        };
        let length = body.len() as u64;
        form.respond(content_type, cache, (length, Body::from(body)))
    }
}

/// In which form a text answers a request.
pub(super) struct Form {
    pub(super) gzip: bool,
    /// The client has it.
    pub(super) not_modified: bool,
    tag: String,
}

impl Form {
    /// The form of `text` for `request`; `version` tells what is made of it for some
    /// clients from what is made for others.
    pub(super) fn of(text: &Rendered, version: &str, request: &HeaderMap) -> Self {
        let gzip = !text.gzip.is_empty() && accepts_gzip(request);
        // Two encodings are two entities: RFC 9110 8.8.3.3 wants two tags.
        let encoding = if gzip { "-gz" } else { "" };
        let tag = format!("\"{}{version}{encoding}\"", text.tag);
        Self {
            gzip,
            not_modified: matches_tag(request, &tag),
            tag,
        }
    }

    /// The answer with a body in this form, and its length.
    pub(super) fn respond(
        &self,
        content_type: &'static str,
        cache: &'static str,
        body: (u64, Body),
    ) -> Response<Body> {
        let status = match self.not_modified {
            true => StatusCode::NOT_MODIFIED,
            false => StatusCode::OK,
        };
        let mut response = respond_with(status, content_type, cache, body);
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        insert(headers, header::ETAG, &self.tag);
        if self.not_modified {
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::CONTENT_TYPE);
        } else if self.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// An answer with its length, type and cache rule.
pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    cache: &'static str,
    body: Bytes,
) -> Response<Body> {
    let length = body.len() as u64;
    respond_with(status, content_type, cache, (length, Body::from(body)))
}

fn respond_with(
    status: StatusCode,
    content_type: &'static str,
    cache: &'static str,
    (length, body): (u64, Body),
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

/// Bytes that never change, with Range (RFC 9110 14) and entity tag: wherever they
/// are, so that what is answered is known before they are read.
#[derive(Debug)]
pub(super) struct Immutable<'a> {
    pub(super) content_type: &'static str,
    pub(super) cache: &'static str,
    pub(super) tag: &'a str,
    /// Bytes of the whole.
    pub(super) length: u64,
}

/// What of it a request is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The client has it.
    NotModified,
    Whole,
    /// From the first byte up to, not including, the last.
    Part {
        from: u64,
        to: u64,
    },
    Unsatisfiable,
}

impl Immutable<'_> {
    pub(super) fn wanted(&self, request: &HeaderMap) -> Wanted {
        match matches_tag(request, self.tag) {
            true => Wanted::NotModified,
            false => range(request, self.tag, self.length),
        }
    }

    /// The bytes that go into the answer.
    pub(super) fn range(&self, wanted: &Wanted) -> Range<u64> {
        match *wanted {
            Wanted::NotModified | Wanted::Unsatisfiable => 0..0,
            Wanted::Whole => 0..self.length,
            Wanted::Part { from, to } => from..to,
        }
    }

    /// The answer with `body`, which is what [`Immutable::range`] says; one to HEAD
    /// has none.
    pub(super) fn respond(&self, wanted: &Wanted, body: Body) -> Response<Body> {
        let range = self.range(wanted);
        let body = (range.end - range.start, body);
        let (content_type, cache) = (self.content_type, self.cache);
        let mut response = match wanted {
            Wanted::NotModified => {
                let status = StatusCode::NOT_MODIFIED;
                let mut response = respond_with(status, content_type, cache, body);
                response.headers_mut().remove(header::CONTENT_LENGTH);
                response.headers_mut().remove(header::CONTENT_TYPE);
                response
            }
            Wanted::Whole => respond_with(StatusCode::OK, content_type, cache, body),
            Wanted::Part { from, to } => {
                let status = StatusCode::PARTIAL_CONTENT;
                let mut response = respond_with(status, content_type, cache, body);
                let range = format!("bytes {from}-{}/{}", to - 1, self.length);
                insert(response.headers_mut(), header::CONTENT_RANGE, &range);
                response
            }
            Wanted::Unsatisfiable => {
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                let mut response = respond_with(status, TEXT, "no-store", body);
                let range = format!("bytes */{}", self.length);
                insert(response.headers_mut(), header::CONTENT_RANGE, &range);
                return response;
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        insert(headers, header::ETAG, self.tag);
        response
    }
}

/// Bytes in memory that never change.
pub(super) fn respond_immutable(
    request: &HeaderMap,
    content_type: &'static str,
    cache: &'static str,
    tag: &str,
    body: &Bytes,
) -> Response<Body> {
    let whole = Immutable {
        content_type,
        cache,
        tag,
        length: body.len() as u64,
    };
    let wanted = whole.wanted(request);
    let range = whole.range(&wanted);
    let part = body.slice(range.start as usize..range.end as usize);
    whole.respond(&wanted, Body::from(part))
}

/// The entity tag of a segment, the same whether it is live or recorded, wherever it
/// is read from.
pub(super) fn segment_tag(number: u64, length: u64) -> String {
    format!("\"{number:x}-{length:x}\"")
}

/// A plain sentence for people, with no cache.
pub(super) fn sentence(status: StatusCode, text: String) -> Response<Body> {
    respond(status, TEXT, "no-store", Bytes::from(text))
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

pub(super) fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A single range is honoured; several, another unit or a malformed one give
/// the whole body, as RFC 9110 14.2 allows.
fn range(request: &HeaderMap, tag: &str, len: u64) -> Wanted {
    let if_range = request.get(header::IF_RANGE);
    if if_range.is_some_and(|wanted| wanted.as_bytes() != tag.as_bytes()) {
        return Wanted::Whole;
    }
    let text = request
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    let Some(spec) = text.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Wanted::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let number = |digits: &str| -> Option<u64> {
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        // A number too large for us is past the end all the same.
        Some(digits.parse().unwrap_or(u64::MAX))
    };
    let (from, to) = match (number(first), number(last)) {
        (Some(from), Some(last)) if last >= from => (from, last.saturating_add(1).min(len)),
        (Some(from), None) if last.is_empty() => (from, len),
        (None, Some(suffix)) if first.is_empty() => {
            if suffix == 0 {
                return Wanted::Unsatisfiable;
            }
            (len.saturating_sub(suffix), len)
        }
        _ => return Wanted::Whole,
    };
    if from >= len {
        Wanted::Unsatisfiable
    } else {
        Wanted::Part { from, to }
    }
}

fn matches_tag(request: &HeaderMap, tag: &str) -> bool {
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| {
            list.split(',')
                .map(str::trim)
                .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
        })
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    let lists = request
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut any = None;
    for one in lists.flat_map(|list| list.split(',')) {
        let mut parts = one.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let quality = parts
            .find_map(|part| part.strip_prefix("q="))
            .and_then(|q| q.parse::<f32>().ok());
        let wanted = quality.unwrap_or(1.0) > 0.0;
        if coding.eq_ignore_ascii_case("gzip") {
            return wanted;
        }
        if coding == "*" {
            any = Some(wanted);
        }
    }
    any.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn ranges() {
        let check = |value: &str, expected| {
            assert_eq!(
                range(&headers(header::RANGE, value), "t", 10),
                expected,
                "{value}"
            )
        };
        check("bytes=0-0", Wanted::Part { from: 0, to: 1 });
        check("bytes=2-", Wanted::Part { from: 2, to: 10 });
        check(
            "bytes=2-99999999999999999999999",
            Wanted::Part { from: 2, to: 10 },
        );
        check("bytes=-3", Wanted::Part { from: 7, to: 10 });
        check("bytes=-99", Wanted::Part { from: 0, to: 10 });
        check("bytes=10-", Wanted::Unsatisfiable);
        check("bytes=99999999999999999999999-", Wanted::Unsatisfiable);
        check("bytes=-0", Wanted::Unsatisfiable);
        for odd in [
            "bytes=5-2",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=",
            "bytes=-",
            "bytes=1",
        ] {
            check(odd, Wanted::Whole);
        }
    }

    #[test]
    fn a_range_of_another_version_gets_the_whole() {
        let mut request = headers(header::RANGE, "bytes=0-1");
        request.insert(header::IF_RANGE, HeaderValue::from_static("\"old\""));
        assert_eq!(range(&request, "\"new\"", 10), Wanted::Whole);
    }

    #[test]
    fn gzip_is_negotiated() {
        let check = |value: &str, expected| {
            assert_eq!(
                accepts_gzip(&headers(header::ACCEPT_ENCODING, value)),
                expected,
                "{value}"
            )
        };
        check("gzip", true);
        check("deflate, GZIP;q=0.5", true);
        check("gzip;q=0", false);
        check("*", true);
        check("*;q=0", false);
        check("br", false);
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn encodings_have_tags_of_their_own_and_match_only_themselves() {
        let rendered = Rendered::new("#EXTM3U\n".repeat(50));
        let plain = rendered.respond(&HeaderMap::new(), "a/b", "no-cache");
        let gzip = rendered.respond(&headers(header::ACCEPT_ENCODING, "gzip"), "a/b", "no-cache");
        let tag = |response: &Response<Body>| {
            response.headers()[header::ETAG]
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_ne!(tag(&plain), tag(&gzip));
        let again = rendered.respond(
            &headers(header::IF_NONE_MATCH, &tag(&plain)),
            "a/b",
            "no-cache",
        );
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = rendered.respond(
            &headers(header::IF_NONE_MATCH, &tag(&gzip)),
            "a/b",
            "no-cache",
        );
        assert_eq!(other.status(), StatusCode::OK);
    }
}
