//! Every row of the HTTP table, with its type, its cache rule and its headers
//! for other sites.

use crate::harness::SMALL_LADDER;
use crate::harness::http::{Answer, parse, raw};
use crate::harness::playlist;
use crate::harness::server::{Server, weir};
use crate::harness::show::Show;
use crate::harness::sources::{X264, clip, small};
use crate::harness::tools::{Running, publish_for_ever};
use crate::harness::until;

const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");

/// A server with a stream `demo` that has shown three segments.
struct OnAir {
    server: Server,
    show: Show,
    _publisher: Running,
}

impl OnAir {
    fn new() -> Self {
        let server = Server::configured(SMALL_LADDER);
        let publisher = publish_for_ever(&small(), &server.publish_url("demo"));
        let mut show = Show::begin(&server, "demo");
        show.until_segment(&server, "demo", 3);
        Self {
            server,
            show,
            _publisher: publisher,
        }
    }

    fn segment(&self) -> String {
        format!(
            "/demo/180p/{}",
            self.show.rung("180p").segments[0].entry.uri
        )
    }
}

#[track_caller]
fn has_cors(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let allowed = answer
        .header("access-control-allow-headers")
        .expect("allowed headers");
    assert!(allowed.contains("Range"), "{allowed}");
    let exposed = answer
        .header("access-control-expose-headers")
        .expect("exposed headers");
    assert!(
        ["Content-Length", "Date", "Age"]
            .iter()
            .all(|name| exposed.contains(name)),
        "{exposed}"
    );
}

#[track_caller]
fn is(answer: &Answer, status: u16, content_type: &str, cache: &str) {
    assert_eq!(answer.status, status);
    assert_eq!(answer.header("content-type"), Some(content_type));
    assert_eq!(answer.header("cache-control"), Some(cache));
}

const PLAYLIST: &str = "application/vnd.apple.mpegurl";

#[test]
fn playlists_have_their_type_their_cache_rule_an_etag_and_gzip() {
    let on_air = OnAir::new();
    let server = &on_air.server;
    for path in ["/demo/live.m3u8", "/demo/180p/index.m3u8"] {
        let plain = server.get(path);
        is(&plain, 200, PLAYLIST, "no-cache");
        has_cors(&plain);
        assert!(plain.header("content-encoding").is_none());
        assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
        assert!(plain.header("etag").is_some() && plain.text().starts_with("#EXTM3U\n"));

        let gzip = server.ask("GET", path, &[GZIP]);
        is(&gzip, 200, PLAYLIST, "no-cache");
        has_cors(&gzip);
        assert_eq!(gzip.header("vary"), Some("Accept-Encoding"));
        assert!(gzip.gunzipped().starts_with("#EXTM3U\n"));
        assert_ne!(
            gzip.header("etag"),
            plain.header("etag"),
            "two encodings are two entities"
        );

        let refused = server.ask("GET", path, &[("Accept-Encoding", "gzip;q=0, br")]);
        assert!(refused.header("content-encoding").is_none());

        let head = server.ask("HEAD", path, &[]);
        is(&head, 200, PLAYLIST, "no-cache");
        has_cors(&head);
    }
    // The multivariant playlist stays the same for a while; a media playlist may
    // change between the two questions, so it is asked until it has not.
    for path in ["/demo/live.m3u8", "/demo/180p/index.m3u8"] {
        let unchanged = until("304", || {
            let tag = server.get(path).header("etag").expect("an ETag").to_owned();
            Some(server.ask("GET", path, &[("If-None-Match", &tag)]))
                .filter(|answer| answer.status == 304)
        });
        has_cors(&unchanged);
        assert!(unchanged.body.is_empty() && unchanged.header("etag").is_some());
        assert_eq!(unchanged.header("cache-control"), Some("no-cache"));
        assert_eq!(unchanged.header("vary"), Some("Accept-Encoding"));
        let other = server.ask("GET", path, &[("If-None-Match", "\"another\"")]);
        assert_eq!(other.status, 200);
    }
}

#[test]
fn the_multivariant_playlist_may_be_cached_once_its_rates_are_measured() {
    // Three segments of a second are a whole window.
    let server = Server::configured(&format!("[hls]\nwindow = 3\n{SMALL_LADDER}"));
    let _publisher = publish_for_ever(&small(), &server.publish_url("demo"));
    let first = until("the playlist", || {
        Some(server.get("/demo/live.m3u8")).filter(|answer| answer.status == 200)
    });
    assert_eq!(
        first.header("cache-control"),
        Some("no-cache"),
        "rates are estimates"
    );
    let settled = until("max-age=60", || {
        Some(server.get("/demo/live.m3u8"))
            .filter(|answer| answer.header("cache-control") == Some("max-age=60"))
    });
    let variants = playlist::multivariant(&settled.text()).variants;
    let show = Show::begin(&server, "demo");
    for (variant, rung) in variants.iter().zip(&show.rungs) {
        let bits: usize = rung.segments.iter().map(|seen| seen.data.len() * 8).sum();
        let average = bits as f64 / rung.duration();
        // Apple HLS authoring 1.28, 1.29.
        assert!(
            average < 1.1 * variant.average_bandwidth as f64,
            "{average} {variant:?}"
        );
        let peak = rung
            .segments
            .iter()
            .map(|seen| seen.data.len() as f64 * 8.0 / seen.entry.duration)
            .fold(0.0, f64::max);
        assert!(peak < 1.25 * variant.bandwidth as f64, "{peak} {variant:?}");
    }
}

#[test]
fn segments_are_immutable_and_come_whole_in_part_or_by_head() {
    let on_air = OnAir::new();
    let (server, path) = (&on_air.server, on_air.segment());
    let cache = "public, max-age=600, immutable";
    let whole = server.get(&path);
    is(&whole, 200, "video/mp2t", cache);
    has_cors(&whole);
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let len = whole.body.len();
    let tag = whole.header("etag").expect("an ETag").to_owned();

    let zipped = server.ask("GET", &path, &[GZIP]);
    assert!(
        zipped.header("content-encoding").is_none() && zipped.body == whole.body,
        "segments are never gzipped"
    );

    let head = server.ask("HEAD", &path, &[]);
    is(&head, 200, "video/mp2t", cache);
    has_cors(&head);
    assert_eq!(
        head.header("content-length"),
        Some(len.to_string().as_str())
    );

    let part = |range: &str| server.ask("GET", &path, &[("Range", range)]);
    let last = len - 1;
    for (range, from, to) in [
        ("bytes=0-187", 0, 187),
        ("bytes=188-188", 188, 188),
        (&format!("bytes={}-", len - 10), len - 10, last),
        ("bytes=-188", len - 188, last),
        (&format!("bytes=0-{}", len * 2), 0, last),
        ("bytes=-99999999", 0, last),
    ] {
        let answer = part(range);
        is(&answer, 206, "video/mp2t", cache);
        has_cors(&answer);
        assert_eq!(
            answer.header("content-range"),
            Some(format!("bytes {from}-{to}/{len}").as_str()),
            "{range}"
        );
        assert_eq!(answer.body, whole.body[from..=to], "{range}");
    }
    for range in [
        format!("bytes={len}-"),
        "bytes=-0".to_owned(),
        "bytes=999999999999999999999999-".to_owned(),
    ] {
        let answer = part(&range);
        assert_eq!(answer.status, 416, "{range}");
        assert_eq!(
            answer.header("content-range"),
            Some(format!("bytes */{len}").as_str())
        );
        has_cors(&answer);
    }
    for range in [
        "bytes=5-2",
        "lines=1-2",
        "bytes=",
        "bytes=0-1,4-5",
        "nonsense",
    ] {
        let answer = part(range);
        assert!(
            matches!(answer.status, 200 | 206),
            "{range}: {}",
            answer.status
        );
        assert_eq!(answer.body, whole.body, "{range}");
    }

    let same = server.ask("GET", &path, &[("Range", "bytes=0-9"), ("If-Range", &tag)]);
    assert_eq!((same.status, same.body.len()), (206, 10));
    let another = server.ask(
        "GET",
        &path,
        &[("Range", "bytes=0-9"), ("If-Range", "\"another\"")],
    );
    assert_eq!((another.status, another.body.len()), (200, len));

    let unchanged = server.ask("GET", &path, &[("If-None-Match", &tag)]);
    assert_eq!(unchanged.status, 304);
    assert_eq!(unchanged.header("cache-control"), Some(cache));
    has_cors(&unchanged);
    assert_eq!(
        server.ask("HEAD", &path, &[("If-None-Match", &tag)]).status,
        304
    );
}

#[test]
fn a_thumbnail_is_a_jpeg_of_the_source_and_is_cached_for_five_seconds() {
    let on_air = OnAir::new();
    let answer = until("a thumbnail", || {
        Some(on_air.server.get("/demo/thumb.jpg")).filter(|answer| answer.status == 200)
    });
    is(&answer, 200, "image/jpeg", "max-age=5");
    has_cors(&answer);
    let picture = image::load_from_memory_with_format(&answer.body, image::ImageFormat::Jpeg)
        .expect("a JPEG");
    let aspect = f64::from(picture.width()) / f64::from(picture.height());
    assert!(
        (aspect - 16.0 / 9.0).abs() < 0.05,
        "{}x{}",
        picture.width(),
        picture.height()
    );
}

#[test]
fn a_thumbnail_follows_the_stream() {
    // A red second, then blue for good.
    let colours = [
        "-f",
        "lavfi",
        "-i",
        "color=red:size=320x180:rate=25:duration=2",
        "-f",
        "lavfi",
        "-i",
        "color=blue:size=320x180:rate=25:duration=12",
    ];
    let joined = ["-filter_complex", "[0][1]concat=n=2"];
    let source = clip("red-then-blue", &[&colours[..], &joined, X264].concat());
    let server = Server::configured(SMALL_LADDER);
    let _publisher = publish_for_ever(&source, &server.publish_url("demo"));
    let mut seen = Vec::new();
    until("red, then blue", || {
        let answer = server.get("/demo/thumb.jpg");
        if answer.status != 200 {
            return None;
        }
        let picture = image::load_from_memory(&answer.body)
            .expect("a JPEG")
            .to_rgb8();
        let [red, _, blue] = picture
            .get_pixel(picture.width() / 2, picture.height() / 2)
            .0;
        let colour = if red > blue { "red" } else { "blue" };
        if seen.last() != Some(&colour) {
            seen.push(colour);
        }
        seen.contains(&"blue").then_some(())
    });
}

#[test]
fn what_is_not_there_is_404_with_words_and_cors() {
    let on_air = OnAir::new();
    let server = &on_air.server;
    for path in [
        "/nobody/live.m3u8",
        "/nobody/180p/index.m3u8",
        "/nobody/180p/0.ts",
        "/nobody/thumb.jpg",
    ] {
        for method in ["GET", "HEAD"] {
            let answer = server.ask(method, path, &[("Origin", "https://www.example.com")]);
            assert_eq!(answer.status, 404, "{path}");
            has_cors(&answer);
            assert!(
                answer
                    .header("cache-control")
                    .is_some_and(|rule| rule.contains("no-store")),
                "{path}"
            );
        }
        assert_eq!(server.get(path).text(), "nobody is not streaming live now");
    }
    let future = on_air.show.rung("180p").segments[0].number + 100_000;
    for path in [
        "/demo/999p/index.m3u8".to_owned(),
        "/demo/180p/0.ts".to_owned(),
        format!("/demo/180p/{future}.ts"),
    ] {
        let answer = server.get(&path);
        assert_eq!(answer.status, 404, "{path}");
        has_cors(&answer);
        assert!(
            answer
                .header("cache-control")
                .is_some_and(|rule| rule.contains("no-store")),
            "{path}"
        );
    }
}

#[test]
fn preflights_and_other_methods_are_answered_with_cors() {
    let on_air = OnAir::new();
    let segment = on_air.segment();
    for path in [
        "/demo/live.m3u8",
        "/demo/180p/index.m3u8",
        &segment,
        "/demo/thumb.jpg",
        "/nobody/live.m3u8",
    ] {
        let preflight = on_air.server.ask(
            "OPTIONS",
            path,
            &[
                ("Origin", "https://www.example.com"),
                ("Access-Control-Request-Method", "GET"),
                ("Access-Control-Request-Headers", "range"),
            ],
        );
        assert!(
            matches!(preflight.status, 200 | 204),
            "{path}: {}",
            preflight.status
        );
        has_cors(&preflight);
        let methods = preflight
            .header("access-control-allow-methods")
            .expect("methods");
        assert!(
            methods.contains("GET") && methods.contains("HEAD"),
            "{methods}"
        );
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = on_air.server.ask(method, path, &[]);
            assert_eq!(answer.status, 405, "{method} {path}");
            has_cors(&answer);
            assert!(
                answer
                    .header("allow")
                    .is_some_and(|allow| allow.contains("GET"))
            );
        }
    }
}

#[test]
fn only_listed_origins_may_read_when_there_is_a_list() {
    let server = Server::configured("[http]\ncors_origins = [\"https://www.example.com\"]\n");
    let asked_by = |origin| server.ask("GET", "/nobody/live.m3u8", &[("Origin", origin)]);
    let friend = asked_by("https://www.example.com");
    assert_eq!(
        friend.header("access-control-allow-origin"),
        Some("https://www.example.com")
    );
    let stranger = asked_by("https://evil.example");
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    for answer in [friend, stranger] {
        assert!(
            answer
                .header("vary")
                .is_some_and(|vary| vary.contains("Origin")),
            "caches must tell them apart"
        );
    }
}

#[test]
fn pages_are_html_without_cors_and_without_other_peoples_scripts() {
    let on_air = OnAir::new();
    for path in ["/", "/demo", "/nobody-yet"] {
        let answer = on_air.server.get(path);
        is(&answer, 200, "text/html; charset=utf-8", "no-cache");
        assert!(answer.header("access-control-allow-origin").is_none());
        assert!(
            answer
                .header("content-security-policy")
                .is_some_and(|policy| policy.contains("script-src 'self'"))
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(
            on_air
                .server
                .ask("GET", path, &[GZIP])
                .gunzipped()
                .contains("<html")
        );
    }
    assert!(
        on_air.server.get("/").text().contains("/demo"),
        "the list names who is live"
    );
    assert!(!on_air.server.get("/").text().contains("nobody-yet"));
}

#[test]
fn what_the_pages_refer_to_is_there() {
    let server = Server::configured("");
    for page in ["/", "/demo"] {
        let text = server.get(page).text();
        let assets: Vec<_> = text
            .split('"')
            .filter(|piece| piece.starts_with("/assets/"))
            .collect();
        assert!(!assets.is_empty(), "{page}");
        for asset in assets {
            let answer = server.get(asset);
            assert_eq!(answer.status, 200, "{asset}");
            assert!(
                answer
                    .header("cache-control")
                    .is_some_and(|rule| rule.contains("immutable")),
                "{asset}"
            );
        }
    }
    assert_eq!(server.get("/assets/nothing.js").status, 404);
    assert_eq!(server.get("/assets/../weir.toml").status, 404);
}

#[test]
fn health_and_readiness_are_answered() {
    let server = Server::configured("");
    for path in ["/healthz", "/healthcheck"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (200, "healthy"));
        assert_eq!(server.ask("HEAD", path, &[]).status, 200);
    }
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn weir_health_tells_readiness_by_its_exit_code() {
    let mut server = Server::configured("");
    let url = format!("http://{}", server.http);
    let health = || weir().args(["health", &url]).output().expect("weir starts");
    assert_eq!(health().status.code(), Some(0));
    server.signal("TERM");
    server.ended();
    let gone = health();
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&gone.stderr).contains(&server.http),
        "{gone:?}"
    );
}

#[test]
fn a_full_server_is_not_ready_and_says_why() {
    let server = Server::configured(&format!("[limits]\nstreams = 1\n{SMALL_LADDER}"));
    let _publisher = publish_for_ever(&small(), &server.publish_url("demo"));
    let answer = until("503", || {
        Some(server.get("/readyz")).filter(|answer| answer.status == 503)
    });
    assert!(
        answer.text().contains("limits.streams"),
        "{}",
        answer.text()
    );
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn metrics_are_prometheus_text_about_the_stream() {
    let on_air = OnAir::new();
    let server = &on_air.server;
    let answer = server.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4"))
    );
    for line in answer.text().lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        assert!(
            name.starts_with("weir_") && value.parse::<f64>().is_ok(),
            "{line}"
        );
    }
    assert_eq!(server.metric("weir_streams_live"), Some(1.0));
    assert_eq!(server.metric("weir_rtmp_connections"), Some(1.0));
    let positive = |name: &str| server.metric(name).is_some_and(|value| value > 0.0);
    assert!(positive("weir_ingest_bytes_total{stream=\"demo\"}"));
    assert!(positive(
        "weir_ladder_frames_total{stream=\"demo\",rung=\"180p\",result=\"encoded\"}"
    ));
    assert!(positive(
        "weir_ladder_decoder_info{stream=\"demo\",decoder=\"rusty_h264\"}"
    ));
    assert!(positive(
        "weir_http_requests_total{kind=\"segment\",status=\"200\"}"
    ));
    for place in ["ladder", "rtmp", "http"] {
        assert_eq!(
            server.metric(&format!("weir_panics_total{{where=\"{place}\"}}")),
            Some(0.0)
        );
    }
}

#[test]
fn odd_and_reserved_paths_lead_nowhere() {
    let server = Server::configured("");
    for path in [
        "/api",
        "/vod",
        "/assets",
        "/api/live.m3u8",
        "/vod/180p/index.m3u8",
        "/..",
        "/../weir.toml",
        "/demo/../../weir.toml",
        "//",
        "/demo/",
        "/demo/180p/",
        "/%2e%2e/weir.toml",
        "/demo/%2e%2e/live.m3u8",
        "/demo%2flive.m3u8",
        "/a%00b/live.m3u8",
        "/demo/180p/01.ts",
        "/demo/180p/+1.ts",
        "/demo/180p/-1.ts",
        "/demo/180p/1.ts/",
        "/demo/180p/99999999999999999999999.ts",
        "/demo/180p/1.mp4",
        "/-demo/live.m3u8",
        "/_demo/live.m3u8",
        "/demo.flv",
        "/stream/demo.flv",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    let long = format!("/{}/live.m3u8", "a".repeat(65));
    assert_eq!(server.get(&long).status, 404);
}

#[test]
fn requests_that_are_no_http_are_refused_and_cost_nothing() {
    let server = Server::configured("");
    let huge = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000));
    let many: String = (0..500).map(|index| format!("X-{index}: y\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    for request in [
        "\0\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        &huge,
        &many,
    ] {
        let status =
            parse(&raw(&server.http, request.as_bytes())).map_or(0, |answer| answer.status);
        assert!(status == 0 || (400..=505).contains(&status), "{status}");
        assert_eq!(server.get("/healthz").status, 200);
    }
}
