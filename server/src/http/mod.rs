//! The HTTP surface: playlists, segments, thumbnails, pages, health, metrics.
//!
//! One function answers every request, from a parsed [`Route`]: names are
//! simple enough that a router would only hide which headers an answer gets.

mod api;
mod body;
mod lasting;
mod lent;
mod metrics;
mod pages;
mod recordings;
mod route;
mod serve;
mod socket;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

pub(crate) use self::body::Rendered;
use self::body::{insert, respond_immutable, segment_tag, sentence};
pub use self::metrics::Metrics;
use self::route::Route;
pub(crate) use self::serve::{MAX_CONNECTIONS, serve};
use self::token::Cache;
use crate::app::App;
use crate::auth::play::{Pass, Refused};
use crate::config::CorsOrigins;
use crate::hooks::{Client, Protocol, Viewing};
use crate::name::StreamName;
use crate::network::client;
use crate::players::http::Flow;

/// What follows the head of an answer.
enum Content {
    /// All that there is.
    Whole(Body),
    /// A stream, as long as it lasts.
    Lasting(Flow),
}

/// Answers one request of `peer`.
async fn answer(app: Arc<App>, peer: SocketAddr, request: Request<Body>) -> Response<Content> {
    let started = app.now();
    let route = Route::parse(request.uri().path());
    let method = request.method();
    let without_range;
    let headers = if method == Method::HEAD {
        // Range is defined for GET alone (RFC 9110 14.2).
        let mut headers = request.headers().clone();
        headers.remove(header::RANGE);
        without_range = headers;
        &without_range
    } else {
        request.headers()
    };
    let shown = token::in_query(request.uri().query());
    let mut response = match *method {
        Method::GET | Method::HEAD => match (admit(&app, peer, &route, headers, shown), &route) {
            (Err(refused), _) => {
                sentence(StatusCode::FORBIDDEN, refused.to_string()).map(Content::Whole)
            }
            (Ok(_), Route::Api(question)) => {
                let version = request.version();
                api::answer(&app, question, peer.ip(), version, headers).map(Content::Whole)
            }
            (Ok(pass), Route::Flv { app: of, name }) => {
                let agent = headers.get(header::USER_AGENT);
                let agent = agent.and_then(|agent| agent.to_str().ok());
                let query = request.uri().query().unwrap_or_default();
                // Who asks for the head alone plays nothing.
                let client = (method == Method::GET)
                    .then(|| Client::new(peer, Protocol::Http, of, agent.unwrap_or_default()));
                flv(&app, (of, name), pass, client, query).await
            }
            (Ok(_), route) => {
                // Without tokens a query is nobody's business.
                let carried = shown.filter(|_| app.viewers.need_tokens());
                let asked = Asked {
                    method,
                    headers,
                    token: carried,
                };
                get(&app, asked, route).await.map(Content::Whole)
            }
        },
        Method::OPTIONS => options().map(Content::Whole),
        _ => not_allowed().map(Content::Whole),
    };
    if route.is_media() {
        cors(
            response.headers_mut(),
            headers,
            &app.config.http.cors_origins,
        );
    }
    harden(response.headers_mut());
    if shown.is_some() {
        // The address of this answer is not for others.
        let never = HeaderValue::from_static("no-referrer");
        response
            .headers_mut()
            .insert(header::REFERRER_POLICY, never);
    }
    app.metrics.count(
        route.kind(),
        response.status().as_u16(),
        app.now() - started,
    );
    if method == Method::HEAD {
        *response.body_mut() = Content::Whole(Body::empty());
    }
    response
}

/// Whether who asks may watch what `route` leads to, if it leads to a stream.
fn admit(
    app: &App,
    peer: SocketAddr,
    route: &Route<'_>,
    headers: &HeaderMap,
    token: Option<&str>,
) -> Result<Pass, Refused> {
    let Some(name) = route.watched() else {
        return Ok(Pass::FREE);
    };
    let from = client(peer.ip(), headers, &app.config.http.trusted_proxies);
    app.viewers.admit(name, token, from, app.unix_ms())
}

/// A request that may be answered.
#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    /// What the URIs of playlists are to carry.
    token: Option<&'a str>,
}

async fn get(app: &Arc<App>, asked: Asked<'_>, route: &Route<'_>) -> Response<Body> {
    let Asked { headers, .. } = asked;
    match route {
        Route::Home => pages::home(app, headers),
        Route::Player(name) => pages::player(name, headers),
        Route::Asset(file) => pages::asset(file, headers),
        Route::Multivariant(name) => match app
            .directory
            .find(name)
            .and_then(|broadcast| broadcast.multivariant())
        {
            Some((playlist, settled)) => {
                let cache = if settled { Cache::Minute } else { Cache::Ask };
                token::playlist(&playlist, asked, cache).await
            }
            None => not_live(name),
        },
        Route::MediaPlaylist { name, rung } => match app.directory.find(name) {
            Some(broadcast) => match broadcast.playlist(rung) {
                Some(playlist) => token::playlist(&playlist, asked, Cache::Ask).await,
                None => sentence(
                    StatusCode::NOT_FOUND,
                    format!("{name} has no such rung; {name}/live.m3u8 lists them"),
                ),
            },
            None => not_live(name),
        },
        Route::Segment { name, rung, number } => match app.directory.segment(name, rung, *number) {
            Some(segment) => {
                let tag = segment_tag(*number, segment.data.len() as u64);
                respond_immutable(
                    headers,
                    "video/mp2t",
                    "public, max-age=600, immutable",
                    &tag,
                    &segment.data,
                )
            }
            None if app.recorder.is_some() => {
                recordings::segment(app, (asked.method, headers), name, rung, *number).await
            }
            None if app.directory.find(name).is_some() => sentence(
                StatusCode::NOT_FOUND,
                format!("segment {number} of {name} is not here: it is too old or not made yet"),
            ),
            None => not_live(name),
        },
        Route::Thumbnail(name) => thumbnail(app, name, headers).await,
        Route::Vod { name, id } => recordings::playlist(app, asked, name, *id).await,
        Route::VodMultivariant { name, id } => recordings::master(app, asked, name, *id).await,
        Route::Recordings(name) => recordings::list(app, name).await,
        Route::Health => sentence(StatusCode::OK, "healthy".to_owned()),
        Route::Ready => match app.not_ready() {
            None => sentence(StatusCode::OK, "ready".to_owned()),
            Some(reason) => sentence(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        Route::Metrics => metrics::page(app),
        Route::Api(_) | Route::Flv { .. } | Route::Unknown { .. } => sentence(
            StatusCode::NOT_FOUND,
            "nothing is at this address".to_owned(),
        ),
    }
}

async fn thumbnail(app: &Arc<App>, name: &StreamName, headers: &HeaderMap) -> Response<Body> {
    let Some(broadcast) = app.directory.find(name) else {
        return not_live(name);
    };
    let jpeg = tokio::task::spawn_blocking(move || broadcast.thumbnail()).await;
    match jpeg {
        Ok(Some(jpeg)) => {
            let tag = format!("\"{:x}\"", fingerprint(&jpeg));
            respond_immutable(headers, "image/jpeg", "max-age=5", &tag, &jpeg)
        }
        Ok(None) => sentence(StatusCode::NOT_FOUND, format!("{name} has no picture yet")),
        Err(_) => {
            app.metrics.panics.http.fetch_add(1, Ordering::Relaxed);
            sentence(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the thumbnail could not be made".to_owned(),
            )
        }
    }
}

async fn flv(
    app: &App,
    (of, name): (&str, &StreamName),
    pass: Pass,
    client: Option<Client>,
    query: &str,
) -> Response<Content> {
    let on_air = || {
        let found = app.directory.on_air(name);
        found.filter(|_| of == app.config.rtmp.app)
    };
    if on_air().is_none() {
        return not_live(name).map(Content::Whole);
    }
    if let Some(client) = &client {
        let viewing = Viewing {
            stream: name.clone(),
            query: pairs(query),
        };
        if let Err(no) = app.hooks.pre_play(client, &viewing).await {
            return sentence(StatusCode::FORBIDDEN, no.reason().to_owned()).map(Content::Whole);
        }
    }
    // Looked for again: that may have taken a while.
    let lagged = Arc::clone(&app.metrics.players_lagged.flv);
    let Some(mut flow) = on_air().and_then(|broadcast| Flow::open(broadcast, lagged, pass)) else {
        return not_live(name).map(Content::Whole);
    };
    if let Some(client) = &client {
        flow = flow.told(app.hooks.plays(client, name));
    }
    let mut response = Response::new(Content::Lasting(flow));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("video/x-flv"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Names and values of a query, as they came.
fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .take(MOST_PAIRS)
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// As many as are read over RTMP.
const MOST_PAIRS: usize = 64;

/// The first eight bytes of a digest: enough to tell two pictures apart.
fn fingerprint(bytes: &[u8]) -> u64 {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// The words are the original system's: applications match on them.
fn not_live(name: &StreamName) -> Response<Body> {
    sentence(
        StatusCode::NOT_FOUND,
        format!("{name} is not streaming live now"),
    )
}

fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, METHODS);
    response
}

fn not_allowed() -> Response<Body> {
    let mut response = sentence(
        StatusCode::METHOD_NOT_ALLOWED,
        "only GET, HEAD and OPTIONS are served here".to_owned(),
    );
    response.headers_mut().insert(header::ALLOW, METHODS);
    response
}

fn cors(headers: &mut HeaderMap, request: &HeaderMap, origins: &CorsOrigins) {
    match origins {
        CorsOrigins::Any => {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                HeaderValue::from_static("*"),
            );
        }
        CorsOrigins::Only(allowed) => {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
            let origin = request
                .get(header::ORIGIN)
                .and_then(|origin| origin.to_str().ok());
            let Some(origin) =
                origin.filter(|origin| allowed.iter().any(|one| one.eq_ignore_ascii_case(origin)))
            else {
                return;
            };
            insert(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("DNT,User-Agent,X-Requested-With,If-Modified-Since,If-None-Match,Cache-Control,Content-Type,Range"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Content-Length,Content-Range,Date,Age,ETag"),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("1728000"),
    );
    headers.insert(
        "Cross-Origin-Resource-Policy",
        HeaderValue::from_static("cross-origin"),
    );
}

fn harden(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const PLAYLIST: &str = "application/vnd.apple.mpegurl";
