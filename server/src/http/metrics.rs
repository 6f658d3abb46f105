//! The Prometheus page.
//!
//! Most figures are read from the broadcasts when the page is asked for; only
//! what belongs to no broadcast is counted here. Labels are stream and rung
//! names and fixed words, never anything else that a peer can choose.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bytes::Bytes;

use super::body::respond;
use crate::app::App;
use crate::ladder::STAGES;
use crate::record;
use crate::relay::{Snapshot, State};

/// Counters of the server as a whole.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    latency: Histogram,
    /// RTMP connections open now.
    pub rtmp_connections: AtomicU64,
    /// Units lost to ladders that were overtaken by their stream.
    pub ladders_lagged: Arc<AtomicU64>,
    /// Units that players missed because they read too slowly.
    pub players_lagged: PlayersLagged,
    /// Publishers that were turned away, by why.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// Panics that were contained.
    pub panics: Panics,
}

/// Units missed by players, by how they read.
#[derive(Debug, Default)]
pub struct PlayersLagged {
    /// Over RTMP.
    pub rtmp: Arc<AtomicU64>,
    /// Over HTTP-FLV.
    pub flv: Arc<AtomicU64>,
}

/// Contained panics by where they happened.
#[derive(Debug, Default)]
pub struct Panics {
    /// In a ladder's thread.
    pub ladder: AtomicU64,
    /// In an RTMP connection's task.
    pub rtmp: AtomicU64,
    /// While answering HTTP.
    pub http: AtomicU64,
    /// In a relay's task.
    pub relay: AtomicU64,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum_ns: AtomicU64,
}

/// Upper bounds in seconds: an answer from memory takes well under the first,
/// one that waits for a core takes the last.
const BOUNDS: [f64; 8] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0];

impl Metrics {
    /// Counts a publisher that was turned away.
    pub(crate) fn refused(&self, why: &'static str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(why).or_default() += 1;
    }

    pub(super) fn count(&self, kind: &'static str, status: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((kind, status)).or_default() += 1;
        drop(requests);
        let seconds = took.as_secs_f64();
        for (bound, bucket) in BOUNDS.iter().zip(&self.latency.buckets) {
            if seconds <= *bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.latency.count.fetch_add(1, Ordering::Relaxed);
        self.latency
            .sum_ns
            .fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }
}

pub(super) fn page(app: &Arc<App>) -> Response<Body> {
    let text = render(app);
    respond(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        "no-store",
        Bytes::from(text),
    )
}

fn render(app: &App) -> String {
    let mut page = Page(String::with_capacity(4096));
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let live = app.directory.live();
    let open = app.directory.open();

    page.family("weir_build_info", "gauge", "The version that runs.");
    page.sample(
        "weir_build_info",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1,
    );
    page.family("weir_streams_live", "gauge", "Streams with a publisher.");
    page.sample("weir_streams_live", &[], live.len());
    page.family("weir_rtmp_connections", "gauge", "RTMP connections open.");
    page.sample(
        "weir_rtmp_connections",
        &[],
        load(&app.metrics.rtmp_connections),
    );

    page.family(
        "weir_ingest_bytes_total",
        "counter",
        "Bytes received from a stream's publisher.",
    );
    for one in &open {
        page.sample(
            "weir_ingest_bytes_total",
            &[("stream", one.name().as_str())],
            load(&one.publisher.bytes),
        );
    }
    page.family(
        "weir_ingest_bitrate_bps",
        "gauge",
        "Bit rate of a stream's publisher since the last look at it.",
    );
    for one in &open {
        let rate = one.publisher.bit_rate(app.now());
        page.sample(
            "weir_ingest_bitrate_bps",
            &[("stream", one.name().as_str())],
            rate.round(),
        );
    }
    page.family(
        "weir_ladder_frames_total",
        "counter",
        "Pictures by rung and what became of them.",
    );
    for one in &open {
        for count in one.stats.rungs() {
            let results = [
                ("encoded", count.encoded),
                ("skipped", count.skipped),
                ("failed", count.failed),
            ];
            for (result, value) in results {
                let labels = [
                    ("stream", one.name().as_str()),
                    ("rung", &count.rung),
                    ("result", result),
                ];
                page.sample("weir_ladder_frames_total", &labels, value);
            }
        }
    }
    page.family(
        "weir_ladder_damaged_units_total",
        "counter",
        "Access units of the source that could not be decoded.",
    );
    for one in &open {
        page.sample(
            "weir_ladder_damaged_units_total",
            &[("stream", one.name().as_str())],
            load(&one.stats.damaged),
        );
    }
    page.family(
        "weir_ladder_decoder_info",
        "gauge",
        "1 for the library that decodes a stream.",
    );
    for one in &live {
        if let Some(backend) = one.stats.decoder() {
            let labels = [("stream", one.name().as_str()), ("decoder", backend.name())];
            page.sample("weir_ladder_decoder_info", &labels, 1);
        }
    }
    page.family(
        "weir_ingest_clock_jumps_total",
        "counter",
        "Jumps of a publisher's clock that were taken out.",
    );
    for one in &open {
        let labels = [("stream", one.name().as_str())];
        page.sample(
            "weir_ingest_clock_jumps_total",
            &labels,
            load(&one.stats.jumps),
        );
    }
    page.family(
        "weir_ladder_cpu_seconds_total",
        "counter",
        "CPU time by stage of the ladder.",
    );
    for one in &open {
        for (stage, name) in STAGES {
            let labels = [("stream", one.name().as_str()), ("stage", name)];
            page.sample(
                "weir_ladder_cpu_seconds_total",
                &labels,
                one.stats.cpu(stage).as_secs_f64(),
            );
        }
    }
    page.family(
        "weir_ladder_lag_seconds",
        "gauge",
        "Media time from the newest unit received to the newest picture coded.",
    );
    for one in &live {
        page.sample(
            "weir_ladder_lag_seconds",
            &[("stream", one.name().as_str())],
            one.stats.lag().as_secs_f64(),
        );
    }
    page.family(
        "weir_segment_bytes",
        "gauge",
        "Bytes of segments held for viewers, all rungs.",
    );
    for one in app.directory.all() {
        page.sample(
            "weir_segment_bytes",
            &[("stream", one.name().as_str())],
            one.bytes(),
        );
    }
    relays(app, &mut page);
    recordings(app, &mut page);
    webhook(app, &mut page);
    page.family(
        "weir_reader_lagged_total",
        "counter",
        "Units lost to readers that were overtaken by their stream.",
    );
    let lagged = load(&app.metrics.ladders_lagged);
    page.sample("weir_reader_lagged_total", &[("kind", "ladder")], lagged);
    let players = &app.metrics.players_lagged;
    for (kind, missed) in [("rtmp", &players.rtmp), ("flv", &players.flv)] {
        page.sample("weir_reader_lagged_total", &[("kind", kind)], load(missed));
    }

    page.family(
        "weir_http_requests_total",
        "counter",
        "HTTP requests by what was asked for.",
    );
    let requests = app
        .metrics
        .requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    for ((kind, status), count) in requests {
        page.sample(
            "weir_http_requests_total",
            &[("kind", kind), ("status", &status.to_string())],
            count,
        );
    }
    page.family(
        "weir_http_request_seconds",
        "histogram",
        "Time to make an answer, sending not included.",
    );
    for (bound, bucket) in BOUNDS.iter().zip(&app.metrics.latency.buckets) {
        page.sample(
            "weir_http_request_seconds_bucket",
            &[("le", &bound.to_string())],
            load(bucket),
        );
    }
    let count = load(&app.metrics.latency.count);
    page.sample("weir_http_request_seconds_bucket", &[("le", "+Inf")], count);
    page.sample(
        "weir_http_request_seconds_sum",
        &[],
        load(&app.metrics.latency.sum_ns) as f64 / 1e9,
    );
    page.sample("weir_http_request_seconds_count", &[], count);

    page.family(
        "weir_publish_refused_total",
        "counter",
        "Publishers that were turned away, by why.",
    );
    let refused = app.metrics.refused.lock();
    for (why, count) in refused.unwrap_or_else(PoisonError::into_inner).iter() {
        page.sample(
            "weir_publish_refused_total",
            &[("reason", why)],
            *count as f64,
        );
    }

    page.family(
        "weir_panics_total",
        "counter",
        "Panics that were contained.",
    );
    let panics = &app.metrics.panics;
    for (place, count) in [
        ("ladder", &panics.ladder),
        ("rtmp", &panics.rtmp),
        ("http", &panics.http),
        ("relay", &panics.relay),
    ] {
        page.sample("weir_panics_total", &[("where", place)], load(count));
    }
    page.0
}

fn webhook(app: &App, page: &mut Page) {
    let Some((counts, waiting)) = app.hooks.webhook() else {
        return;
    };
    page.family(
        "weir_webhook_questions_total",
        "counter",
        "Questions to the webhook by its answer.",
    );
    for (answer, count) in [
        ("allowed", &counts.allowed),
        ("denied", &counts.denied),
        ("none", &counts.unanswered),
    ] {
        let count = count.load(Ordering::Relaxed);
        page.sample("weir_webhook_questions_total", &[("answer", answer)], count);
    }
    page.family(
        "weir_webhook_events_total",
        "counter",
        "Events for the webhook by what became of them.",
    );
    for (result, count) in [
        ("told", &counts.told),
        ("lost", &counts.lost),
        ("coalesced", &counts.coalesced),
    ] {
        let count = count.load(Ordering::Relaxed);
        page.sample("weir_webhook_events_total", &[("result", result)], count);
    }
    page.family(
        "weir_webhook_waiting",
        "gauge",
        "Events that the webhook is to be told.",
    );
    page.sample("weir_webhook_waiting", &[], waiting);
}

/// Where streams are sent on to. Names of targets are checked or the server's own.
fn relays(app: &App, page: &mut Page) {
    let all = app.relays.all(app.now());
    let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Snapshot) -> f64| {
        page.family(name, kind, help);
        for (stream, relays) in &all {
            for (target, relay) in relays {
                let labels = [("stream", stream.as_str()), ("target", &target.name)];
                page.sample(name, &labels, value(relay));
            }
        }
    };
    family(
        "weir_relay_up",
        "gauge",
        "1 while a target takes the stream.",
        &|relay| f64::from(u8::from(relay.state == State::Live)),
    );
    family(
        "weir_relay_bytes_total",
        "counter",
        "Bytes that a target took.",
        &|relay| relay.sent as f64,
    );
    family(
        "weir_relay_acknowledged_bytes_total",
        "counter",
        "Bytes that a target has acknowledged; many never do.",
        &|relay| relay.acknowledged as f64,
    );
    family(
        "weir_relay_bitrate_bps",
        "gauge",
        "Bit rate that a target takes, since the last look at it.",
        &|relay| relay.bit_rate.round(),
    );
    family(
        "weir_relay_retries_total",
        "counter",
        "Connections to a target after the first.",
        &|relay| relay.retries as f64,
    );
    family(
        "weir_relay_missed_units_total",
        "counter",
        "Units left out because a target lagged.",
        &|relay| relay.missed as f64,
    );
    family(
        "weir_relay_lag_seconds",
        "gauge",
        "How far a target is behind the publisher.",
        &|relay| relay.lag.as_secs_f64(),
    );
    family(
        "weir_relay_uptime_seconds",
        "gauge",
        "How long a target has been live in one go.",
        &|relay| relay.up.unwrap_or_default().as_secs_f64(),
    );
    let name = "weir_relay_state";
    page.family(name, "gauge", "1 for what a target is doing.");
    for (stream, relays) in &all {
        for (target, relay) in relays {
            for state in State::ALL {
                let labels = [
                    ("stream", stream.as_str()),
                    ("target", &target.name),
                    ("state", state.name()),
                ];
                page.sample(name, &labels, u8::from(relay.state == state));
            }
        }
    }
}

/// How recordings fare. Without `record.store` there is nothing to say.
fn recordings(app: &App, page: &mut Page) {
    let Some(recorder) = &app.recorder else {
        return;
    };
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = recorder.counters();
    page.family(
        "weir_record_segments_total",
        "counter",
        "Segments of recordings by what became of them.",
    );
    for (result, count) in [
        ("stored", &counters.segments_stored),
        ("lost", &counters.segments_lost),
    ] {
        let labels = [("result", result)];
        page.sample("weir_record_segments_total", &labels, load(count));
    }
    let puts = &counters.puts;
    let kinds = [
        ("segment", &puts.segments),
        ("playlist", &puts.playlists),
        ("marker", &puts.markers),
    ];
    let families = [
        (
            "weir_record_puts_total",
            "Objects sent to the store, tries that failed included.",
        ),
        (
            "weir_record_put_bytes_total",
            "Bytes of objects sent to the store, tries that failed included.",
        ),
    ];
    for (index, (name, help)) in families.into_iter().enumerate() {
        page.family(name, "counter", help);
        for (kind, (requests, bytes)) in kinds {
            let value = [requests, bytes][index];
            page.sample(name, &[("kind", kind)], load(value));
        }
    }
    let all = recorder.all();
    page.family(
        "weir_record_backlog_bytes",
        "gauge",
        "Bytes of recordings that are not in the store yet.",
    );
    let backlog: u64 = all.iter().map(|one| one.backlog.bytes).sum();
    page.sample("weir_record_backlog_bytes", &[], backlog);
    page.family(
        "weir_record_spool_bytes",
        "gauge",
        "Bytes of segments on this server's disk.",
    );
    page.sample("weir_record_spool_bytes", &[], recorder.spooled_bytes());
    // Samples for each stream: a label for each recording that ever was would grow
    // without end. Of several that are open none is hidden by the newest.
    let mut backlogs: BTreeMap<_, f64> = BTreeMap::new();
    for one in &all {
        *backlogs.entry(one.name.as_str()).or_default() += one.backlog.duration.as_secs_f64();
    }
    let newest: BTreeMap<_, _> = all.iter().map(|one| (one.name.as_str(), one)).collect();
    let name = "weir_record_backlog_seconds";
    page.family(
        name,
        "gauge",
        "Media time of a stream's recordings that is not in the store yet, their sum.",
    );
    for (stream, backlog) in &backlogs {
        page.sample(name, &[("stream", stream)], backlog);
    }
    let name = "weir_record_state";
    page.family(
        name,
        "gauge",
        "1 for what a stream's newest recording is doing.",
    );
    for (stream, one) in &newest {
        for state in record::State::ALL {
            let labels = [("stream", *stream), ("state", state.name())];
            page.sample(name, &labels, u8::from(one.state == state));
        }
    }
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(
                self.0,
                "{}{label}=\"{text}\"",
                if index == 0 { '{' } else { ',' }
            );
        }
        let _ = writeln!(
            self.0,
            "{} {value}",
            if labels.is_empty() { "" } else { "}" }
        );
    }
}
