//! Answers about recordings.

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use tracing::warn;

use super::body::{respond, respond_immutable, sentence};
use super::{PLAYLIST, not_live};
use crate::app::App;
use crate::name::StreamName;
use crate::record::Watched;
use crate::record::store::Fault;

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
    headers: &HeaderMap,
    name: &StreamName,
    id: u64,
) -> Response<Body> {
    let Some(recorder) = &app.recorder else {
        return none(name, id);
    };
    watched(headers, (name, id), recorder.playlist(name, id).await)
}

pub(super) async fn master(
    app: &App,
    headers: &HeaderMap,
    name: &StreamName,
    id: u64,
) -> Response<Body> {
    let Some(recorder) = &app.recorder else {
        return none(name, id);
    };
    watched(headers, (name, id), recorder.master(name, id).await)
}

fn watched(
    headers: &HeaderMap,
    (name, id): (&StreamName, u64),
    watched: Result<Option<Watched>, Fault>,
) -> Response<Body> {
    match watched {
        Ok(Some(Watched { playlist, closed })) => {
            let cache = if closed { "max-age=3600" } else { "no-cache" };
            playlist.respond(headers, PLAYLIST, cache)
        }
        Ok(None) => none(name, id),
        Err(fault) => out_of_reach(&fault),
    }
}

pub(super) async fn segment(
    app: &App,
    headers: &HeaderMap,
    name: &StreamName,
    rung: &str,
    number: u64,
) -> Response<Body> {
    let Some(recorder) = &app.recorder else {
        return not_live(name);
    };
    match recorder.segment(name, rung, number).await {
        Ok(Some(bytes)) => {
            let tag = format!("\"{number:x}-{:x}\"", bytes.len());
            let cache = "public, max-age=31536000, immutable";
            respond_immutable(headers, "video/mp2t", cache, &tag, &bytes)
        }
        Ok(None) => sentence(
            StatusCode::NOT_FOUND,
            format!("segment {number} of {name} is not here: it is neither live nor recorded"),
        ),
        Err(fault) => out_of_reach(&fault),
    }
}

pub(super) async fn list(app: &App, name: &StreamName) -> Response<Body> {
    let list = match &app.recorder {
        Some(recorder) => recorder.list(name).await,
        None => Ok(Vec::new()),
    };
    let list = match list {
        Ok(list) => list,
        Err(fault) => return out_of_reach(&fault),
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
fn out_of_reach(fault: &Fault) -> Response<Body> {
    warn!(reason = %fault.why, "a recording cannot be read");
    sentence(
        StatusCode::SERVICE_UNAVAILABLE,
        "the store of recordings does not answer; try again in a while".to_owned(),
    )
}
