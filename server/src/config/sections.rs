//! Every setting there is: its name, its bounds, its default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use media::{Preset, Rung, Size, Ticks};

use super::layers::Raw;
use super::problem::Problem;
use super::reader::{Item, Noted, Reader};
use super::value::{self, Read};
use super::{
    Audio, AudioMode, AuthMode, Config, CorsOrigins, Hls, Http, Limits, LogFormat, Passthrough,
    Rtmp, Seeds, StreamLimit, Takeover, Tls,
};
use crate::auth::PlayKeys;
use crate::name::StreamName;
use crate::secret;
use crate::tls;

impl Reader<'_> {
    /// Reads every section, those included whose features are still to come.
    pub(super) fn config(&mut self) -> Config {
        let auth = self.auth();
        let config = Config {
            data: self.data(),
            log: self.get("log", value::word(LOG_FORMATS), LogFormat::Text),
            rtmp: self.rtmp(),
            http: self.http(),
            hls: self.hls(),
            audio: self.audio(),
            auth,
            seeds: self.seeds(),
            webhook: self.webhook(auth),
            play: self.play(),
            relay: self.relay(),
            record: self.record(),
            limits: self.limits(),
        };
        self.registry();
        self.drain();
        self.listeners_apart(&config);
        self.rungs_of_relays(&config);
        config
    }

    fn data(&mut self) -> PathBuf {
        let given = self.layers.find_named("data", Some("MEDIA_ROOT"));
        given
            .and_then(|given| self.check("data", &given, value::path))
            .unwrap_or_else(|| PathBuf::from("weir-data"))
    }

    fn rtmp(&mut self) -> Rtmp {
        let rtmp = Rtmp {
            listen: self.get("rtmp.listen", value::listen, any_address(1935)),
            tls: self.tls("RTMPS", &RTMP_TLS),
            app: self.get("rtmp.app", value::path_element, "stream".to_owned()),
            grace: self.grace(),
            takeover: self.get("rtmp.takeover", value::word(TAKEOVERS), Takeover::Stale),
            merge: self.get(
                "rtmp.merge",
                value::duration(Duration::ZERO..=Duration::from_secs(2)),
                Duration::from_millis(100),
            ),
        };
        let proxies = value::list(value::network);
        self.later(
            "rtmp.proxy_protocol_from",
            proxies,
            &[vec![]],
            "leave it at []",
        );
        rtmp
    }

    /// All three settings or none: a server that was meant to be encrypted and
    /// is not should not start.
    fn tls(&mut self, what: &str, all: &[&'static str; 3]) -> Option<Tls> {
        let (given, lacking): (Vec<_>, Vec<_>) = all
            .iter()
            .copied()
            .partition(|setting| self.layers.find(setting).is_some());
        if !given.is_empty() && !lacking.is_empty() {
            self.problems.push(Problem::Contradiction(format!(
                "{} without {}: {what} takes all of {}",
                given.join(" and "),
                lacking.join(" and "),
                all.join(", "),
            )));
        }
        let [listen, cert, key] = *all;
        let settings = tls::Settings { cert, key };
        let listen = self.optional(listen, value::listen);
        let cert = self.optional(cert, value::path);
        let key = self.optional(key, value::path);
        Some(Tls {
            listen: listen?,
            files: tls::Files {
                settings,
                cert: cert?,
                key: key?,
            },
        })
    }

    /// Publishers cannot come back to a broadcast yet. The documented default
    /// is let through with a warning, so that a file made from the
    /// documentation starts.
    fn grace(&mut self) -> Duration {
        let documented = Duration::from_secs(30);
        let given = self.later(
            "rtmp.grace",
            value::duration(Duration::ZERO..=HOUR),
            &[Duration::ZERO, documented],
            "leave it at \"0s\"",
        );
        if given == Some(documented) {
            self.warnings.push(
                "rtmp.grace = \"30s\" is taken as \"0s\": this build ends a broadcast when its publisher is lost"
                    .to_owned(),
            );
        }
        Duration::ZERO
    }

    fn http(&mut self) -> Http {
        let any = vec!["*".to_owned()];
        let origins = value::list(value::web_origin);
        let listen = self.get("http.listen", value::listen, any_address(8000));
        let origins = self.get("http.cors_origins", origins, any);
        let cors_origins = if origins.iter().any(|origin| origin == "*") {
            CorsOrigins::Any
        } else {
            CorsOrigins::Only(origins)
        };
        let proxies = value::list(value::network);
        Http {
            listen,
            trusted_proxies: self.get("http.trusted_proxies", proxies, Vec::new()),
            tls: self.tls("HTTPS", &HTTP_TLS),
            cors_origins,
        }
    }

    fn hls(&mut self) -> Hls {
        let enabled = self.get("hls.enabled", value::switch, true);
        let segment = value::duration(Duration::from_secs(1)..=Duration::from_secs(10));
        let segment = self.get("hls.segment", segment, Duration::from_secs(6));
        let window = self.get("hls.window", value::count(3..=900), 10);
        let retain = value::duration(Duration::ZERO..=24 * HOUR);
        let retain = self.get("hls.retain", retain, Duration::from_secs(120));
        let passthrough = value::word(PASSTHROUGHS);
        let passthrough = self.get("hls.passthrough", passthrough, Passthrough::Off);
        let (rungs, unlisted) = self.rungs(enabled);

        if window < 6 {
            self.warnings.push(format!(
                "hls.window = {window}: Apple's players ask for at least 6 segments in a live playlist"
            ));
        }
        let listed = segment * window;
        if retain < listed {
            self.warnings.push(format!(
                "hls.retain = {:?} is shorter than the playlist ({:?}): the last viewers of an ended stream lose its end",
                value::show_duration(retain),
                value::show_duration(listed),
            ));
        }
        Hls {
            enabled,
            segment: Ticks::from_millis(segment.as_millis() as i64),
            window: window as usize,
            retain,
            passthrough,
            rungs,
            unlisted,
        }
    }

    /// The rungs that are listed, and those that are not.
    fn rungs(&mut self, enabled: bool) -> (Vec<Rung>, Vec<Rung>) {
        let Some(items) = self.items("hls.rung") else {
            return (default_ladder(), Vec::new());
        };
        let given = items.len();
        if given > MAX_RUNGS || (given == 0 && enabled) {
            self.problems.push(Problem::Contradiction(format!(
                "hls.rung: there are {given} rungs; expected 1 to {MAX_RUNGS}, or hls.enabled = false"
            )));
        }
        let (mut rungs, mut unlisted): (Vec<Rung>, Vec<Rung>) = Default::default();
        let mut sound = true;
        for mut item in items {
            // What is wrong with a rung has been noted; the others are read on.
            let Ok((rung, listed)) = self.rung(&mut item) else {
                sound = false;
                item.finish(self);
                continue;
            };
            let twin = |other: &Rung| other.name().eq_ignore_ascii_case(rung.name());
            if rungs.iter().chain(&unlisted).any(twin) {
                self.problems.push(Problem::Contradiction(format!(
                    "{} ({}): another rung is named {:?} already",
                    item.setting,
                    item.origin,
                    rung.name(),
                )));
            }
            item.finish(self);
            if listed {
                rungs.push(rung);
            } else {
                unlisted.push(rung);
            }
        }
        if enabled && sound && rungs.is_empty() && !unlisted.is_empty() {
            self.problems.push(Problem::Contradiction(
                "hls.rung: no rung is listed; expected at least one, or hls.enabled = false"
                    .to_owned(),
            ));
        }
        (rungs, unlisted)
    }

    /// A rung, and whether playlists have it.
    fn rung(&mut self, item: &mut Item) -> Result<(Rung, bool), Noted> {
        let name = item.need(self, "name", value::any_text);
        let width = item.need(self, "width", value::count(16..=4096));
        let height = item.need(self, "height", value::count(16..=4096));
        let video_kbps = item.need(self, "video_kbps", value::count(1..=100_000_u32));
        let max_kbps = item.get(self, "max_kbps", value::count(1..=100_000));
        let buffer_kbits = item.get(self, "buffer_kbits", value::count(1..=1_000_000));
        let max_fps = item.get(self, "fps", value::decimal(1.0..=120.0));
        let preset = item.get(self, "preset", value::word(PRESETS));
        let sharpen = item.get(self, "sharpen", value::decimal(0.0..=1.0));
        let listed = item.get(self, "listed", value::switch);

        let name = name?;
        let bounds = Size::new(width?, height?);
        let video_kbps = video_kbps?;
        let max_kbps = max_kbps?.unwrap_or_else(|| (video_kbps * 107 / 100).min(100_000));
        let buffer_kbits = buffer_kbits?.unwrap_or(video_kbps * 3 / 2);
        let built = Rung::new(&name, bounds, video_kbps, max_kbps, buffer_kbits);
        let why = match built {
            // "source" is what a relay target calls the publisher's own pictures,
            // "audio" the rung of a broadcast without any.
            Ok(_)
                if ["source", "audio"]
                    .iter()
                    .any(|reserved| name.eq_ignore_ascii_case(reserved)) =>
            {
                format!("name {name:?} is reserved")
            }
            Ok(mut rung) => {
                if u64::from(buffer_kbits) * 3 < u64::from(video_kbps) {
                    self.warnings.push(format!(
                        "{} = {buffer_kbits}: under a third of a second of video_kbps, key pictures are coarse and the average is not reached",
                        item.name("buffer_kbits"),
                    ));
                }
                rung.max_fps = max_fps?;
                rung.preset = preset?.unwrap_or_default();
                rung.sharpen = sharpen?.unwrap_or(0.0);
                return Ok((rung, listed?.unwrap_or(true)));
            }
            Err(why) => why.to_string(),
        };
        let place = format!("{} ({})", item.setting, item.origin);
        self.problems
            .push(Problem::Contradiction(format!("{place}: {why}")));
        Err(Noted)
    }

    fn audio(&mut self) -> Audio {
        Audio {
            mode: self.get("audio.mode", value::word(AUDIO_MODES), AudioMode::Auto),
            kbps: self.get("audio.kbps", value::count(32..=320), 128),
            sample_rate: self.get("audio.sample_rate", sample_rate, 48_000),
        }
    }

    fn auth(&mut self) -> AuthMode {
        self.get("auth.mode", value::word(AUTH_MODES), AuthMode::Keys)
    }

    fn seeds(&mut self) -> Seeds {
        let seeds = self.get("auth.keys", value::list(seed), Vec::new());
        if seeds.len() > MAX_SEEDS {
            self.problems.push(Problem::Contradiction(format!(
                "auth.keys: {} keys; at most {MAX_SEEDS} can be given so",
                seeds.len()
            )));
        }
        Seeds(seeds)
    }

    /// What tokens of viewers are signed with, where they need one.
    fn play(&mut self) -> Option<PlayKeys> {
        let play = self.get("auth.play", value::word(PLAYS), Play::Open);
        let keys = [
            self.layers.find("auth.play_secret"),
            self.layers.find("auth.play_public_key"),
        ];
        let given = keys.iter().any(Option::is_some);
        let keys = PlayKeys {
            secret: self.optional("auth.play_secret", value::play_secret),
            public_key: self.optional("auth.play_public_key", value::play_public_key),
        };
        match play {
            Play::Token if !given => {
                self.problems.push(Problem::Contradiction(
                    "auth.play = \"token\" without a key: it takes auth.play_secret, auth.play_public_key or both"
                        .to_owned(),
                ));
                None
            }
            Play::Token => Some(keys),
            Play::Open => {
                if given {
                    self.warnings.push(
                        "there are keys for play tokens, but auth.play is \"open\": everybody may watch"
                            .to_owned(),
                    );
                }
                None
            }
        }
    }

    fn limits(&mut self) -> Limits {
        Limits {
            connections: self.get("limits.connections", value::count(1..=100_000), 1000),
            streams: self.get("limits.streams", stream_limit, StreamLimit::Auto),
        }
    }

    fn registry(&mut self) {
        let memory = [Registry::Memory];
        let off = "leave it at \"memory\"";
        if self
            .later("registry.url", registry_url, &memory, off)
            .is_none()
        {
            self.inherited(
                "CACHE_DOMAIN",
                "a shared registry is not built yet, this server works alone",
            );
        }
        let alone = "leave it out";
        let auto = [Advertise::Auto];
        self.later("registry.advertise", advertise, &auto, alone);
        let lease = value::duration(Duration::from_secs(3)..=HOUR);
        self.later("registry.lease", lease, &[Duration::from_secs(15)], alone);
        let accept = [OnOutage::Accept];
        self.later(
            "registry.on_outage",
            value::word(ON_OUTAGES),
            &accept,
            alone,
        );
    }

    /// Without a shared registry a drain has nobody to hand streams to.
    fn drain(&mut self) {
        let max = value::duration(Duration::ZERO..=HOUR);
        let defaults = [Duration::ZERO, Duration::from_secs(100)];
        self.later("drain.max", max, &defaults, "leave it out");
    }

    /// A variable of the system that weir replaces, for something that is not
    /// built: a task definition carries it, so it must not stop the start.
    fn inherited(&mut self, name: &str, what: &str) {
        if self.layers.environment().value(name).is_some() {
            self.warnings
                .push(format!("environment {name} is set: {what}"));
        }
    }

    fn listeners_apart(&mut self, config: &Config) {
        let rtmps = config.rtmp.tls.as_ref();
        let https = config.http.tls.as_ref();
        let listeners = [
            Some(("rtmp.listen", config.rtmp.listen)),
            rtmps.map(|tls| ("rtmp.tls_listen", tls.listen)),
            Some(("http.listen", config.http.listen)),
            https.map(|tls| ("http.tls_listen", tls.listen)),
        ];
        let listeners: Vec<_> = listeners.into_iter().flatten().collect();
        for (index, (first, a)) in listeners.iter().enumerate() {
            for (second, b) in &listeners[index + 1..] {
                // `[::]` takes the port for IPv4 as well on Linux.
                let same_host =
                    a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
                if a.port() != 0 && a.port() == b.port() && same_host {
                    self.problems.push(Problem::Contradiction(format!(
                        "{first} and {second} both take port {}: each needs its own",
                        a.port(),
                    )));
                }
            }
        }
    }
}

const RTMP_TLS: [&str; 3] = ["rtmp.tls_listen", "rtmp.tls_cert", "rtmp.tls_key"];
const HTTP_TLS: [&str; 3] = ["http.tls_listen", "http.tls_cert", "http.tls_key"];

/// All IPv4 interfaces: what containers and port mappings expect.
fn any_address(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// The original system's ladder, with a 480p box that holds 16:9.
fn default_ladder() -> Vec<Rung> {
    [
        ("360p", Size::new(640, 360), 800, 856, 1200),
        ("480p", Size::new(854, 480), 1400, 1498, 2100),
        ("720p", Size::new(1280, 720), 2800, 2996, 4200),
    ]
    .into_iter()
    .map(|(name, bounds, video, max, buffer)| {
        Rung::new(name, bounds, video, max, buffer).expect("the default ladder is sound")
    })
    .collect()
}

/// Rungs in the longest ladder: each costs an encoder, and no player gains from
/// more steps.
const MAX_RUNGS: usize = 8;

const HOUR: Duration = Duration::from_secs(3600);

const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

const PRESETS: &[(&str, Preset)] = &[
    ("fast", Preset::Fast),
    ("balanced", Preset::Balanced),
    ("quality", Preset::Quality),
];
const TAKEOVERS: &[(&str, Takeover)] = &[
    ("stale", Takeover::Stale),
    ("always", Takeover::Always),
    ("never", Takeover::Never),
];

const AUDIO_MODES: &[(&str, AudioMode)] = &[
    ("auto", AudioMode::Auto),
    ("copy", AudioMode::Copy),
    ("encode", AudioMode::Encode),
];

const PASSTHROUGHS: &[(&str, Passthrough)] =
    &[("off", Passthrough::Off), ("auto", Passthrough::Auto)];

const AUTH_MODES: &[(&str, AuthMode)] = &[
    ("keys", AuthMode::Keys),
    ("open", AuthMode::Open),
    ("webhook", AuthMode::Webhook),
];

#[derive(Clone, Copy)]
enum Play {
    Open,
    Token,
}

const PLAYS: &[(&str, Play)] = &[("open", Play::Open), ("token", Play::Token)];

#[derive(Clone, Copy, PartialEq)]
enum OnOutage {
    Accept,
    Refuse,
}

const ON_OUTAGES: &[(&str, OnOutage)] =
    &[("accept", OnOutage::Accept), ("refuse", OnOutage::Refuse)];

/// `name:key`. The key must come whole through an encoder's settings, a URL and a
/// list with commas, and must not be guessed.
fn seed(raw: &Raw) -> Read<(StreamName, String)> {
    let expected =
        "NAME:KEY, with a stream's name and a key of 20 to 128 letters, digits or any of - _ . ~";
    let text = value::any_text(raw).unwrap_or_default();
    let seed = text.split_once(':').and_then(|(name, key)| {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
        let sound = (20..=secret::MAX_LEN).contains(&key.len()) && key.chars().all(good);
        let name = name.parse().ok().filter(|_| sound)?;
        Some((name, key.to_owned()))
    });
    seed.ok_or_else(|| expected.to_owned())
}

/// Keys that settings may bring: an environment holds no more.
const MAX_SEEDS: usize = 1000;

/// The two rates of AAC that every player and relay destination takes.
fn sample_rate(raw: &Raw) -> Read<u32> {
    let read = value::count(44_100..=48_000)(raw);
    let known = read.ok().filter(|rate| matches!(rate, 44_100 | 48_000));
    known.ok_or_else(|| "44100 or 48000".to_owned())
}

fn stream_limit(raw: &Raw) -> Read<StreamLimit> {
    if matches!(raw, Raw::Text(text) if text == "auto") {
        return Ok(StreamLimit::Auto);
    }
    let count = value::count(1..=10_000)(raw);
    count
        .map(StreamLimit::AtMost)
        .map_err(|expected| format!("\"auto\" or {expected}"))
}

#[derive(PartialEq)]
enum Registry {
    Memory,
    Shared,
}

fn registry_url(raw: &Raw) -> Read<Registry> {
    let Raw::Text(text) = raw else {
        return Err(REGISTRY_URL.to_owned());
    };
    let host = text
        .strip_prefix("redis://")
        .or_else(|| text.strip_prefix("rediss://"));
    match host {
        _ if text == "memory" => Ok(Registry::Memory),
        Some(host) if !host.is_empty() => Ok(Registry::Shared),
        _ => Err(REGISTRY_URL.to_owned()),
    }
}

const REGISTRY_URL: &str = "\"memory\", \"redis://HOST[:PORT][/DB]\" or \"rediss://…\"";

#[derive(PartialEq)]
enum Advertise {
    Auto,
    Address,
}

fn advertise(raw: &Raw) -> Read<Advertise> {
    let Raw::Text(text) = raw else {
        return Err("\"auto\" or HOST:PORT".to_owned());
    };
    let port = text
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse::<u16>()));
    match port {
        _ if text == "auto" => Ok(Advertise::Auto),
        Some((host, Ok(1..))) if !host.is_empty() => Ok(Advertise::Address),
        _ => Err("\"auto\" or HOST:PORT".to_owned()),
    }
}
