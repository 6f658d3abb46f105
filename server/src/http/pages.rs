//! The two pages and their assets, built into the binary.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::body::{Rendered, sentence};
use crate::app::App;
use crate::config::AuthMode;
use crate::name::StreamName;

pub(super) fn home(app: &Arc<App>, headers: &HeaderMap) -> Response<Body> {
    let live = app.directory.live();
    let cards = live.iter().filter(|broadcast| broadcast.playable());
    let cards: String = cards
        .map(|broadcast| CARD.replace("{{NAME}}", broadcast.name().as_str()))
        .collect();
    let hint = match app.config.auth {
        AuthMode::Open => "any name you like: it becomes the stream's name",
        AuthMode::Webhook => "the key that the application behind this server has given you",
        AuthMode::Keys => {
            "a key from <code>weir keys add NAME</code>; the first one was printed when the server first started"
        }
    };
    let text = INDEX
        .replace("<!--STREAMS-->", &cards)
        .replace("{{RTMP_PORT}}", &app.rtmp_port().to_string())
        .replace("{{APP}}", &app.config.rtmp.app)
        .replace("{{KEY_HINT}}", hint);
    page(text, headers)
}

pub(super) fn player(name: &StreamName, headers: &HeaderMap) -> Response<Body> {
    // A name holds nothing that HTML would read as markup.
    page(PLAYER.replace("{{NAME}}", name.as_str()), headers)
}

pub(super) fn asset(file: &str, headers: &HeaderMap) -> Response<Body> {
    let Some((_, content_type, rendered)) = ASSETS.iter().find(|(name, ..)| *name == file) else {
        return sentence(StatusCode::NOT_FOUND, "no such asset".to_owned());
    };
    // The pages name assets with a digest of their contents in the query.
    rendered.respond(headers, content_type, "public, max-age=31536000, immutable")
}

fn page(text: String, headers: &HeaderMap) -> Response<Body> {
    let mut response = Rendered::new(text).respond(headers, "text/html; charset=utf-8", "no-cache");
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CSP),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

/// Scripts and styles of our own only; hls.js plays from blobs and may work in
/// a worker made from one.
const CSP: &str = "default-src 'none'; script-src 'self'; worker-src blob:; style-src 'self'; img-src 'self' data:; \
     media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'";

const INDEX: &str = include_str!(concat!(env!("OUT_DIR"), "/index.html"));
const PLAYER: &str = include_str!(concat!(env!("OUT_DIR"), "/player.html"));
const CARD: &str = include_str!("../../web/card.html");

type Asset = (&'static str, &'static str, Rendered);

static ASSETS: LazyLock<[Asset; 8]> = LazyLock::new(|| {
    let asset =
        |name, content_type, text: &str| (name, content_type, Rendered::new(text.to_owned()));
    [
        asset(
            "hls.js",
            JAVASCRIPT,
            include_str!(concat!(env!("OUT_DIR"), "/hls.js")),
        ),
        asset("player.js", JAVASCRIPT, include_str!("../../web/player.js")),
        asset(
            "recordings.js",
            JAVASCRIPT,
            include_str!("../../web/recordings.js"),
        ),
        asset("live.js", JAVASCRIPT, include_str!("../../web/live.js")),
        asset("vod.js", JAVASCRIPT, include_str!("../../web/vod.js")),
        asset("list.js", JAVASCRIPT, include_str!("../../web/list.js")),
        asset(
            "style.css",
            "text/css; charset=utf-8",
            include_str!("../../web/style.css"),
        ),
        asset(
            "icon.svg",
            "image/svg+xml",
            include_str!("../../web/icon.svg"),
        ),
    ]
});

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
