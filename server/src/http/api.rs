//! The JSON API: what streams there are, and what their relays are doing.
//!
//! It tells more than viewers should know, so it answers this machine alone: a
//! peer on loopback that speaks for itself and not for a page or a proxy.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, Version, header};
use bytes::Bytes;
use serde::Serialize;

use super::body::respond;
use crate::app::App;
use crate::live::Broadcast;
use crate::name::StreamName;
use crate::record::{self, Amount, Recorder};
use crate::relay::{Snapshot, Target};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Streams,
    Stream(StreamName),
    Recordings,
    /// Nothing lives at this path of the API.
    Unknown,
}

impl Question {
    /// Reads what follows `/api/v1/`.
    pub(super) fn parse(path: &str) -> Self {
        if path == "recordings" {
            return Self::Recordings;
        }
        match path.strip_prefix("streams") {
            Some("") => Self::Streams,
            Some(rest) => match rest.strip_prefix('/').map(str::parse) {
                Some(Ok(name)) => Self::Stream(name),
                _ => Self::Unknown,
            },
            None => Self::Unknown,
        }
    }
}

#[derive(Serialize)]
struct Streams {
    streams: Vec<Stream>,
}

/// A stream that is live, or was until recently.
#[derive(Serialize)]
struct Stream {
    name: StreamName,
    /// Whether it has a publisher.
    live: bool,
    /// Start of the broadcast in Unix milliseconds.
    session: Option<u64>,
    ingest_bytes: u64,
    ingest_bitrate_bps: u64,
    relays: Vec<Relay>,
    recordings: Vec<Recording>,
}

#[derive(Serialize)]
struct Recordings {
    /// Bytes of segments on this server's disk.
    spooled_bytes: u64,
    recordings: Vec<Recording>,
}

/// A recording that this server works on, or did until lately.
#[derive(Serialize)]
struct Recording {
    stream: StreamName,
    /// Start of its first broadcast in Unix milliseconds.
    id: u64,
    /// Relative to the stream.
    url: String,
    state: &'static str,
    error: Option<String>,
    duration_ms: u64,
    bytes: u64,
    backlog_segments: u64,
    backlog_ms: u64,
    backlog_bytes: u64,
    gaps: u64,
    gaps_ms: u64,
}

#[derive(Serialize)]
struct Relay {
    target: String,
    /// With the key masked; empty when there is none.
    url: String,
    rung: String,
    state: &'static str,
    error: Option<String>,
    attempt: u32,
    next_try_ms: Option<u64>,
    uptime_ms: Option<u64>,
    bytes: u64,
    bytes_acknowledged: u64,
    bitrate_bps: u64,
    lag_ms: u64,
    missed_units: u64,
    retries: u64,
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

pub(super) fn answer(
    app: &App,
    question: &Question,
    peer: IpAddr,
    version: Version,
    headers: &HeaderMap,
) -> Response<Body> {
    if !is_this_machine(peer, version, headers) {
        let error = "the API answers only the machine that weir runs on, asked by its loopback address and not through a proxy";
        return json(StatusCode::FORBIDDEN, &Problem { error });
    }
    match question {
        Question::Streams => {
            let streams = streams(app);
            json(StatusCode::OK, &Streams { streams })
        }
        Question::Stream(name) => match streams(app).into_iter().find(|one| one.name == *name) {
            Some(stream) => json(StatusCode::OK, &stream),
            None => {
                let error = &format!("{name} is not streaming live now");
                json(StatusCode::NOT_FOUND, &Problem { error })
            }
        },
        Question::Recordings => {
            let recorder = app.recorder.as_ref();
            let recordings = Recordings {
                spooled_bytes: recorder.map_or(0, Recorder::spooled_bytes),
                recordings: recordings(app),
            };
            json(StatusCode::OK, &recordings)
        }
        Question::Unknown => {
            let error = "nothing is at this address; there are /api/v1/streams, /api/v1/streams/NAME and /api/v1/recordings";
            json(StatusCode::NOT_FOUND, &Problem { error })
        }
    }
}

/// Whether somebody on this machine asks in person. A page that a browser here
/// shows may reach this address under a name of its own, and has an origin; a
/// proxy here leaves traces: nginx, as it comes, asks in HTTP/1.0. One that leaves
/// none is to keep `/api/` to itself.
fn is_this_machine(peer: IpAddr, version: Version, headers: &HeaderMap) -> bool {
    let traces = [
        "forwarded",
        "x-forwarded-",
        "x-real-ip",
        "via",
        "cf-",
        "sec-fetch-",
        "true-client-ip",
    ];
    let traced = |name: &str| traces.iter().any(|trace| name.starts_with(trace));
    let host = headers.get(header::HOST).map(|host| host.to_str());
    let named = match host {
        Some(Ok(host)) => is_loopback(host),
        Some(Err(_)) => false,
        None => true,
    };
    peer.to_canonical().is_loopback()
        && named
        && !headers.contains_key(header::ORIGIN)
        && version >= Version::HTTP_11
        && !headers.keys().any(|name| traced(name.as_str()))
}

/// Whether a Host header names this machine to itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn streams(app: &App) -> Vec<Stream> {
    let mut all: BTreeMap<String, (Option<Arc<Broadcast>>, Vec<Relay>)> = BTreeMap::new();
    for broadcast in app.directory.all() {
        let name = broadcast.name().to_string();
        all.entry(name).or_default().0 = Some(broadcast);
    }
    for (name, relays) in app.relays.all(app.now()) {
        all.entry(name.to_string()).or_default().1 = relays
            .iter()
            .map(|(target, snapshot)| relay(target, snapshot))
            .collect();
    }
    let mut recorded = recordings(app);
    let stream = |(name, (broadcast, relays)): (String, (Option<Arc<Broadcast>>, Vec<Relay>))| {
        let broadcast = broadcast.as_deref();
        let publisher = broadcast.map(|broadcast| &broadcast.publisher);
        let name: StreamName = name.parse().ok()?;
        let recordings = recorded.extract_if(.., |one| one.stream == name).collect();
        Some(Stream {
            name,
            live: publisher.is_some_and(|publisher| publisher.present()),
            session: broadcast.map(Broadcast::session),
            ingest_bytes: publisher.map_or(0, |publisher| publisher.received()),
            ingest_bitrate_bps: publisher
                .map_or(0, |publisher| publisher.bit_rate(app.now()).round() as u64),
            relays,
            recordings,
        })
    };
    all.into_iter().filter_map(stream).collect()
}

fn recordings(app: &App) -> Vec<Recording> {
    let all = app.recorder.as_ref().map(Recorder::all).unwrap_or_default();
    let ms = |amount: Amount| (amount.duration.get().max(0) / 90) as u64;
    let recording = |one: record::Snapshot| Recording {
        url: format!("vod-{}-master.m3u8", one.id),
        stream: one.name,
        id: one.id,
        state: one.state.name(),
        error: one.error,
        duration_ms: ms(one.stored) + ms(one.backlog) + ms(one.gaps),
        bytes: one.stored.bytes + one.backlog.bytes,
        backlog_segments: one.backlog.segments,
        backlog_ms: ms(one.backlog),
        backlog_bytes: one.backlog.bytes,
        gaps: one.gaps.segments,
        gaps_ms: ms(one.gaps),
    };
    all.into_iter().map(recording).collect()
}

fn relay(target: &Target, snapshot: &Snapshot) -> Relay {
    Relay {
        target: target.name.clone(),
        url: target.shown(),
        rung: target.rung.clone().unwrap_or_else(|| "source".to_owned()),
        state: snapshot.state.name(),
        error: snapshot.error.clone(),
        attempt: snapshot.attempt,
        next_try_ms: snapshot.next_try.map(|wait| wait.as_millis() as u64),
        uptime_ms: snapshot.up.map(|up| up.as_millis() as u64),
        bytes: snapshot.sent,
        bytes_acknowledged: snapshot.acknowledged,
        bitrate_bps: snapshot.bit_rate.round() as u64,
        lag_ms: snapshot.lag.as_millis() as u64,
        missed_units: snapshot.missed,
        retries: snapshot.retries,
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // Structs of texts and numbers can always be written.
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    respond(status, "application/json", "no-store", Bytes::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_itself_is_answered() {
        let asks = |peer: &str, headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            is_this_machine(peer.parse().unwrap(), Version::HTTP_11, &map)
        };
        assert!(asks("127.0.0.1", &[]));
        assert!(asks("127.0.0.1", &[("host", "localhost:8000")]));
        assert!(asks("::1", &[("host", "[::1]:8000")]));
        assert!(asks("::ffff:127.0.0.1", &[("host", "127.0.0.1")]));
        assert!(!asks("10.0.0.1", &[("host", "127.0.0.1:8000")]));
        assert!(!asks("::ffff:10.0.0.1", &[]));
        for header in [
            ("host", "evil.example:8000"),
            ("host", "127.0.0.1.evil.example"),
            ("origin", "http://127.0.0.1:8000"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "a.example"),
            ("cf-connecting-ip", "1.1.1.1"),
            ("sec-fetch-site", "cross-site"),
            ("forwarded", "for=127.0.0.1"),
        ] {
            assert!(!asks("127.0.0.1", &[header]), "{header:?}");
        }
        let none = HeaderMap::new();
        assert!(!is_this_machine(
            "127.0.0.1".parse().unwrap(),
            Version::HTTP_10,
            &none
        ));
    }
}
