//! Settings: four layers in, one checked [`Config`] out.
//!
//! Flags beat environment variables, which beat the file, which beats the
//! defaults. Everything is checked before a port is opened, all complaints are
//! told at once, and each names the setting, the value, where it was given and
//! what would be accepted. Downstream holds checked types and has nothing left
//! to validate.
//!
//! The file is walked rather than deserialised: only so can one reading find
//! every fault with its line, suggest the name that was meant, and treat the
//! three layers alike. A setting that the documentation names but this build
//! cannot honour yet stops the start instead of being ignored; such settings
//! are checked in `sections` and have no field here.

mod layers;
mod problem;
mod reader;
mod record;
mod relays;
mod sections;
#[cfg(test)]
mod tests;
mod value;
mod webhook;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use media::{Rung, Ticks};

use crate::auth::{PlayKeys, PublicKey};
use crate::hooks::{Address, Kind, Secret};
use crate::name::StreamName;
use crate::network::Network;
use crate::record::store::Settings;
use crate::tls;

pub use layers::{Environment, Flag, Origin};
pub use problem::{Invalid, Problem, Shown};
pub(crate) use value::parse_duration;

/// Every setting that this build honours, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where stream keys and `weir.ports.json` live. Relative to the working
    /// directory; created when it is missing.
    pub data: PathBuf,
    /// How log lines are written.
    pub log: LogFormat,
    /// Ingest.
    pub rtmp: Rtmp,
    /// Delivery.
    pub http: Http,
    /// The ladder and its playlists.
    pub hls: Hls,
    /// The sound of every rung.
    pub audio: Audio,
    /// Who may publish.
    pub auth: AuthMode,
    /// Keys that are there from the start.
    pub seeds: Seeds,
    /// The application that decides and hears; `None`: there is none.
    pub webhook: Option<Webhook>,
    /// Who may watch: everybody, or who has a token that is signed with one of
    /// these keys.
    pub play: Option<PlayKeys>,
    /// Where streams are sent on to.
    pub relay: Relay,
    /// How broadcasts are kept; `None`: they are not.
    pub(crate) record: Option<Record>,
    /// What the server takes on.
    pub limits: Limits,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Settings of `[rtmp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtmp {
    /// Where publishers connect. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where they connect with TLS; `None`: nowhere.
    pub tls: Option<Tls>,
    /// The application in `rtmp://host/{app}/KEY` and in `/{app}/{name}.flv`;
    /// a path element that is none of the server's own.
    pub app: String,
    /// How long a lost publisher may stay away and return to the same
    /// broadcast. Always zero: this build ends the broadcast at once.
    pub grace: Duration,
    /// Whether a second publisher of a name displaces the first.
    pub takeover: Takeover,
    /// How long messages for players of the source (RTMP and HTTP-FLV) are gathered
    /// before they are written together, up to 2 s: what players have buffered at
    /// the least. Zero writes each as it comes.
    pub merge: Duration,
}

/// The settings `rtmp.tls_…` or `http.tls_…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where peers connect. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// What the server shows them. Relative to the working directory.
    pub files: tls::Files,
}

/// What happens when a name that is being published is published again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// The second publisher wins only when the first has gone silent.
    Stale,
    /// The second publisher wins.
    Always,
    /// The second publisher is refused.
    Never,
}

/// Settings of `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where viewers connect. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where they connect with TLS; `None`: nowhere.
    pub tls: Option<Tls>,
    /// Which pages may read media.
    pub cors_origins: CorsOrigins,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

/// The web origins whose pages may read playlists and segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// All (`*`).
    Any,
    /// These, in lower case without a path, as browsers send them. May be
    /// empty: no page of another origin.
    Only(Vec<String>),
}

/// Settings of `[hls]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hls {
    /// Whether streams are transcoded and packaged at all.
    pub enabled: bool,
    /// Length of a segment, 1 to 10 s. Under 1 s a playlist would be fetched
    /// more often than media; over 10 s a viewer would be half a minute behind.
    pub segment: Ticks,
    /// Segments listed, 3 to 900. A live playlist may not be shorter than three
    /// target durations (RFC 8216, 6.2.2); 900 is a quarter of an hour of the
    /// shortest segments.
    pub window: usize,
    /// How long an ended stream stays playable, up to a day.
    pub retain: Duration,
    /// Whether the source's own units may be the top rung.
    pub passthrough: Passthrough,
    /// The ladder, in the order of the file: with `unlisted`, 1 to 8 rungs with names of their
    /// own; may be empty only when `enabled` is not set.
    pub rungs: Vec<Rung>,
    /// Those of them that no playlist has (`listed = false`): encoded only while
    /// a relay asks for one.
    pub unlisted: Vec<Rung>,
}

/// Whether the source's own access units may be the top rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passthrough {
    /// Every rung is encoded.
    Off,
    /// They are while they keep to the rung's size and rate, and their key
    /// pictures come often enough.
    Auto,
}

/// Settings of `[audio]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Whether sound is copied or encoded.
    pub mode: AudioMode,
    /// Rate of encoded sound in kbit/s, 32 to 320.
    pub kbps: u32,
    /// Samples a second of encoded sound: 44100 or 48000.
    pub sample_rate: u32,
}

/// Whether sound is copied or encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioMode {
    /// Copied when the source is what every player takes, encoded otherwise.
    Auto,
    /// Copied, whatever AAC it is.
    Copy,
    /// Encoded.
    Encode,
}

/// Who may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Whoever holds a key of [`crate::database`].
    Keys,
    /// Everybody; the key in the URL is the stream's name.
    Open,
    /// Whom the application lets in, which says also what the stream is named.
    Webhook,
}

/// Settings `auth.webhook…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where questions and events are posted to.
    pub url: Address,
    /// What they are signed with: 16 characters at least.
    pub secret: Secret,
    /// Time for an answer, 100 ms to 10 s.
    pub timeout: Duration,
    /// What stands for an answer that does not come or is none.
    pub on_timeout: OnTimeout,
    /// The questions that are asked and the events that are told.
    pub events: Vec<Kind>,
}

/// What stands for an answer that does not come or is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    /// No.
    Deny,
    /// Yes, wherever the server can go on by itself: not where the application
    /// has to name the stream.
    Allow,
}

/// Keys that the settings bring: a stream's name and its key each. `Debug` hides
/// them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Seeds(pub(crate) Vec<(StreamName, String)>);

impl Seeds {
    /// Each of them.
    pub(crate) fn each(&self) -> &[(StreamName, String)] {
        &self.0
    }
}

impl fmt::Debug for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seeds({})", self.0.len())
    }
}

/// Settings of `[relay]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Whether targets may be in networks that are not public: loopback,
    /// link-local and private addresses.
    pub allow_private: bool,
    /// How long targets are held when a publisher is lost, up to an hour.
    pub hold: Duration,
    /// CAs that are trusted for `rtmps://` beside the system's: a PEM file,
    /// relative to the working directory.
    pub ca: Option<PathBuf>,
    /// What publishers may ask for by name, each with a key of their own.
    pub presets: Vec<RelayPreset>,
    /// The operator's own, at most 1000.
    pub targets: Vec<RelayTarget>,
}

/// A service that publishers name in their URL: `?youtube=KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayPreset {
    /// Name in the URL, in metrics and in the API.
    pub name: String,
    /// The RTMP URL without a key; good.
    pub server: String,
    /// The rung it gets; `None`: the publisher's own units.
    pub rung: Option<String>,
}

/// A target that streams are sent to without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayTarget {
    /// Name in metrics and in the API: 1 to 32 letters, digits, `-` or `_`.
    pub name: String,
    /// Where to, key included, which `Debug` and `Display` hide.
    pub url: rtmp::Url,
    /// Which stream; `None`: all.
    pub stream: Option<StreamName>,
    /// The rung it gets; `None`: the publisher's own units.
    pub rung: Option<String>,
}

/// Settings of `[record]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where recordings go.
    pub(crate) store: Settings,
    /// How long after its last segment a recording may be continued, up to a day.
    pub(crate) merge: Duration,
    /// Bytes of segments that wait on this server's disk, at least 64 MiB.
    pub(crate) spool_limit: u64,
    /// How many days recordings are kept; 0: for ever.
    pub(crate) keep_days: u32,
}

/// Settings of `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// RTMP connections open at once, 1 to 100,000.
    pub connections: usize,
    /// Streams live at once.
    pub streams: StreamLimit,
}

/// How many streams may be live at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamLimit {
    /// As many as the server finds it can carry.
    Auto,
    /// At most this many, 1 to 10,000.
    AtMost(usize),
}

/// A good configuration and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// One line each, to be logged at the start.
    pub warnings: Vec<String>,
}

/// The file of all defaults, commented: what `weir config default` prints.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

impl Config {
    /// Reads all layers. Without `file`, the variable `WEIR_CONFIG` may name one.
    pub fn load(
        flags: &[Flag],
        file: Option<&Path>,
        environment: &Environment,
    ) -> Result<Loaded, Invalid> {
        let named = environment.value(layers::CONFIG_VARIABLE);
        let path = file.or_else(|| named.as_deref().map(Path::new));
        let Some(path) = path else {
            return reader::read(flags, environment, None).outcome();
        };
        let text = std::fs::read_to_string(path).map_err(|source| {
            let path = path.to_owned();
            Invalid(vec![match source.kind() {
                std::io::ErrorKind::InvalidData => Problem::NotText { path },
                _ => Problem::Unreadable { path, source },
            }])
        })?;
        Self::from_text(flags, environment, path, &text)
    }

    /// Checks one file alone, without environment or flags.
    pub fn check_file(path: &Path) -> Result<Loaded, Invalid> {
        let loaded = Self::load(&[], Some(path), &Environment::default())?;
        loaded.config.check_named_files()?;
        Ok(loaded)
    }

    /// Reads the files that settings name, as a start does. Apart from
    /// [`Config::load`]: commands that serve nothing need not be able to.
    pub fn check_named_files(&self) -> Result<(), Invalid> {
        let mut problems = Vec::new();
        for tls in [&self.rtmp.tls, &self.http.tls].into_iter().flatten() {
            if let Err(error) = tls.files.read() {
                problems.push(Problem::Certificate(error));
            }
        }
        let key = self.play.as_ref().and_then(|keys| keys.public_key.as_ref());
        if let Some(Err(error)) = key.map(PublicKey::read) {
            problems.push(Problem::PublicKey(error));
        }
        if let Err(error) = tls::Connector::new(self.relay.ca.as_deref()) {
            problems.push(Problem::Authorities(error));
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Invalid(problems)),
        }
    }

    fn from_text(
        flags: &[Flag],
        environment: &Environment,
        path: &Path,
        text: &str,
    ) -> Result<Loaded, Invalid> {
        let file = layers::File::parse(path, text).map_err(Invalid)?;
        reader::read(flags, environment, Some(&file)).outcome()
    }
}

impl Default for Config {
    /// What a start without any setting uses.
    fn default() -> Self {
        reader::read(&[], &Environment::default(), None).config
    }
}
