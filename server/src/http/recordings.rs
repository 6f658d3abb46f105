//! Answers about recordings.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use serde::Serialize;

use super::body::{Immutable, respond, segment_tag, sentence};
use super::lent::Lent;
use super::token::{self, Cache};
use super::{Asked, not_live};
use crate::app::App;
use crate::name::StreamName;
use crate::record::store::Fault;
use crate::record::{Recorder, Watched};

/// The recordings of a stream, the newest first.
#[derive(Serialize)]
struct Recordings {
    recordings: Vec<Recording>,
}

#[derive(Serialize)]
struct Recording {
    /// Its start in Unix milliseconds.
    id: u64,
    /// Relative to the stream: `vod-{id}-master.m3u8`.
    url: String,
    duration_ms: u64,
    bytes: u64,
    /// Segments that were lost.
    gaps: u64,
    /// Whether it will not grow any more.
    closed: bool,
}

pub(super) async fn playlist(
    app: &App,
    asked: Asked<'_>,
    name: &StreamName,
    id: u64,
) -> Response<Body> {
    let Some(recorder) = &app.recorder else {
        return none(name, id);
    };
    let playlist = recorder.playlist(name, id).await;
    watched(recorder, asked, (name, id), playlist).await
}

pub(super) async fn master(
    app: &App,
    asked: Asked<'_>,
    name: &StreamName,
    id: u64,
) -> Response<Body> {
    let Some(recorder) = &app.recorder else {
        return none(name, id);
    };
    let master = recorder.master(name, id).await;
    watched(recorder, asked, (name, id), master).await
}

async fn watched(
    recorder: &Recorder,
    asked: Asked<'_>,
    (name, id): (&StreamName, u64),
    watched: Result<Option<Watched>, Fault>,
) -> Response<Body> {
    match watched {
        Ok(Some(Watched { playlist, closed })) => {
            let cache = if closed { Cache::Hour } else { Cache::Ask };
            token::playlist(&playlist, asked, cache).await
        }
        Ok(None) => none(name, id),
        Err(fault) => out_of_reach(recorder, &fault),
    }
}

pub(super) async fn segment(
    app: &App,
    (method, headers): (&Method, &HeaderMap),
    name: &StreamName,
    rung: &str,
    number: u64,
) -> Response<Body> {
    let Some(recorder) = &app.recorder else {
        return not_live(name);
    };
    let live = app.directory.on_air(name).map(|live| live.session());
    let found = match recorder.segment(name, rung, number, live).await {
        Ok(Some(found)) => found,
        Ok(None) => return no_segment(name, number),
        Err(fault) => return out_of_reach(recorder, &fault),
    };
    let file = Immutable {
        content_type: "video/mp2t",
        cache: "public, max-age=31536000, immutable",
        tag: &segment_tag(number, found.size),
        length: found.size,
    };
    let wanted = file.wanted(headers);
    let range = file.range(&wanted);
    if method == Method::HEAD || range.is_empty() {
        return file.respond(&wanted, Body::empty());
    }
    match recorder.read(&found, range).await {
        Ok(Some(held)) => file.respond(&wanted, Body::new(Lent::new(held))),
        Ok(None) => no_segment(name, number),
        Err(fault) => out_of_reach(recorder, &fault),
    }
}

fn no_segment(name: &StreamName, number: u64) -> Response<Body> {
    sentence(
        StatusCode::NOT_FOUND,
        format!("segment {number} of {name} is not here: it is neither live nor recorded"),
    )
}

pub(super) async fn list(app: &App, name: &StreamName) -> Response<Body> {
    let list = match &app.recorder {
        Some(recorder) => match recorder.list(name).await {
            Ok(list) => list,
            Err(fault) => return out_of_reach(recorder, &fault),
        },
        None => Vec::new(),
    };
    let recordings = list.iter().map(|one| Recording {
        id: one.id,
        url: format!("vod-{}-master.m3u8", one.id),
        duration_ms: one.sum.duration_ms,
        bytes: one.sum.bytes,
        gaps: one.sum.gaps,
        closed: one.sum.closed,
    });
    let recordings = Recordings {
        recordings: recordings.collect(),
    };
    // Structs of texts and numbers can always be written.
    let body = serde_json::to_vec(&recordings).unwrap_or_default();
    respond(
        StatusCode::OK,
        "application/json",
        "no-cache",
        Bytes::from(body),
    )
}

fn none(name: &StreamName, id: u64) -> Response<Body> {
    sentence(
        StatusCode::NOT_FOUND,
        format!("{name} has no recording {id}"),
    )
}

/// Why the store did not answer is the operator's business.
fn out_of_reach(recorder: &Recorder, fault: &Fault) -> Response<Body> {
    recorder.unserved(fault);
    let mut response = sentence(
        StatusCode::SERVICE_UNAVAILABLE,
        "the store of recordings does not answer; try again in a while".to_owned(),
    );
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(AGAIN));
    response
}

/// Seconds after which a player may ask again.
const AGAIN: u64 = 5;
