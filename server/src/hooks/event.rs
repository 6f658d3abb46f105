//! What happens, as facts that can be told.
//!
//! The JSON of an [`Event`] is a contract (docs/hooks.md). Neither a key nor a value
//! of a publisher's query has a field here: what is not there cannot leak.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use rand::RngExt as _;
use serde::Serialize;

use crate::name::StreamName;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Grows with every event of a server, over its restarts as well; below 2^53.
    pub id: u64,
    /// When, in Unix milliseconds.
    pub time: u64,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Fact {
    /// A peer wanted to connect, and was judged.
    PreConnect {
        /// Who.
        #[serde(flatten)]
        client: Client,
        /// What it was told.
        #[serde(flatten)]
        verdict: Verdict,
    },
    /// A peer has connected.
    PostConnect {
        /// Who.
        #[serde(flatten)]
        client: Client,
    },
    /// A peer that had connected is gone.
    DoneConnect {
        /// Who.
        #[serde(flatten)]
        client: Client,
        /// How it went.
        #[serde(flatten)]
        done: Done,
    },
    /// A peer wanted to publish, and was judged.
    PrePublish {
        /// Who.
        #[serde(flatten)]
        client: Client,
        /// What, as far as that is known.
        stream: Option<StreamName>,
        /// What it was told.
        #[serde(flatten)]
        verdict: Verdict,
    },
    /// A stream is live.
    PostPublish {
        /// Who publishes it.
        #[serde(flatten)]
        client: Client,
        /// Its name.
        stream: StreamName,
        /// The broadcast: its start in Unix milliseconds.
        session: u64,
    },
    /// A publisher is gone.
    DonePublish {
        /// Who published.
        #[serde(flatten)]
        client: Client,
        /// The name.
        stream: StreamName,
        /// The broadcast.
        session: u64,
        /// How it went; the bytes are those received.
        #[serde(flatten)]
        done: Done,
    },
    /// A player wanted a stream that is live, and was judged.
    PrePlay {
        /// Who.
        #[serde(flatten)]
        client: Client,
        /// What.
        stream: StreamName,
        /// What it was told.
        #[serde(flatten)]
        verdict: Verdict,
    },
    /// A player gets a stream.
    PostPlay {
        /// Who.
        #[serde(flatten)]
        client: Client,
        /// What.
        stream: StreamName,
    },
    /// A player is gone.
    DonePlay {
        /// Who.
        #[serde(flatten)]
        client: Client,
        /// What it played.
        stream: StreamName,
        /// How it went; the bytes are those sent.
        #[serde(flatten)]
        done: Done,
    },
    /// Something is wrong with what a publisher sends, or is well again.
    StreamHealth {
        /// The stream.
        stream: StreamName,
        /// The broadcast.
        session: u64,
        /// What.
        #[serde(flatten)]
        finding: Finding,
    },
    /// A relay does something else.
    RelayState {
        /// The stream.
        stream: StreamName,
        /// The relay's name.
        target: String,
        /// `connecting`, `live`, `holding`, `retrying`, `refused` or `stopped`.
        state: &'static str,
        /// Tries in a row.
        attempt: u32,
        /// Why, in words without a key.
        error: Option<String>,
    },
    /// A recording is complete.
    RecordingClosed {
        /// The stream.
        stream: StreamName,
        /// Its number: `/{stream}/vod-{recording}.m3u8`.
        recording: u64,
        /// Segments in the store.
        segments: u64,
        /// Of what is in the store, in milliseconds.
        duration_ms: u64,
        /// Of what is in the store.
        bytes: u64,
        /// Segments that were lost on the way.
        lost_segments: u64,
    },
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Client {
    /// The connection; the same in all its events.
    pub connection: ConnectionId,
    /// Address and port.
    pub peer: SocketAddr,
    /// How it speaks.
    pub protocol: Protocol,
    /// The application it connected to.
    pub app: String,
    /// What it calls itself: 64 printable characters at most.
    pub agent: String,
}

impl Client {
    /// A client that calls itself `agent`, over a connection that begins now.
    pub fn new(peer: SocketAddr, protocol: Protocol, app: &str, agent: &str) -> Self {
        Self {
            connection: ConnectionId::random(),
            peer,
            protocol,
            app: printable(app, AGENT),
            agent: printable(agent, AGENT),
        }
    }

    /// It has said what it wants and what it is.
    pub(crate) fn describe(&mut self, app: &str, agent: &str) {
        self.app = printable(app, AGENT);
        self.agent = printable(agent, AGENT);
    }
}

/// A connection: twelve letters and digits that no other has, on no server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct ConnectionId([u8; 12]);

impl ConnectionId {
    fn random() -> Self {
        let mut random = rand::rng();
        Self(std::array::from_fn(|_| {
            ALPHABET[random.random_range(0..ALPHABET.len())]
        }))
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|&byte| write!(f, "{}", char::from(byte)))
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ConnectionId> for String {
    fn from(id: ConnectionId) -> Self {
        id.to_string()
    }
}

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Protocol {
    /// RTMP in the clear.
    Rtmp,
    /// RTMP with TLS.
    Rtmps,
    /// HTTP-FLV.
    Http,
    /// HTTP-FLV with TLS.
    Https,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether it may.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<String>,
}

impl Verdict {
    /// It may.
    pub(crate) fn allowed() -> Self {
        Self {
            allowed: true,
            reason: None,
        }
    }

    /// It may not, because of `reason`.
    pub(crate) fn denied(reason: impl fmt::Display) -> Self {
        Self {
            allowed: false,
            reason: Some(reason.to_string()),
        }
    }
}

/// How something that took a while went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// How long it took.
    pub duration_ms: u64,
    /// What went over the connection, in the direction that matters.
    pub bytes: u64,
    /// Why it ended, in words.
    pub reason: String,
}

impl Done {
    /// Something that began at `since` and ends now.
    pub(crate) fn new(since: Instant, now: Instant, bytes: u64, reason: &str) -> Self {
        Self {
            duration_ms: now.saturating_duration_since(since).as_millis() as u64,
            bytes,
            reason: printable(reason, LONGEST),
        }
    }
}

/// Something about what a publisher sends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What is or was wrong.
    pub problem: Trouble,
    /// Whether it is so now; false: it is over.
    pub present: bool,
    /// What is measured: bit/s, seconds or pictures a second.
    pub measured: f64,
    /// What was expected, in the same unit.
    pub expected: f64,
}

/// What can be wrong with what a publisher sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Trouble {
    /// Much less comes than the stream usually has.
    BitRateStarved,
    /// Viewers wait long for a key picture.
    KeyFramesFarApart,
    /// Pictures are missing.
    FrameRateDrop,
}

/// The kinds of events, by the names that JSON and settings give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their facts are documented above")]
#[non_exhaustive]
pub enum Kind {
    PreConnect,
    PostConnect,
    DoneConnect,
    PrePublish,
    PostPublish,
    DonePublish,
    PrePlay,
    PostPlay,
    DonePlay,
    StreamHealth,
    RelayState,
    RecordingClosed,
}

impl Kind {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 12] = [
        ("preConnect", Self::PreConnect),
        ("postConnect", Self::PostConnect),
        ("doneConnect", Self::DoneConnect),
        ("prePublish", Self::PrePublish),
        ("postPublish", Self::PostPublish),
        ("donePublish", Self::DonePublish),
        ("prePlay", Self::PrePlay),
        ("postPlay", Self::PostPlay),
        ("donePlay", Self::DonePlay),
        ("streamHealth", Self::StreamHealth),
        ("relayState", Self::RelayState),
        ("recordingClosed", Self::RecordingClosed),
    ];

    /// Its name in JSON and in settings.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Whether it is a question before it is an event.
    pub fn asks(self) -> bool {
        matches!(self, Self::PreConnect | Self::PrePublish | Self::PrePlay)
    }
}

impl Fact {
    /// What kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::PreConnect { .. } => Kind::PreConnect,
            Self::PostConnect { .. } => Kind::PostConnect,
            Self::DoneConnect { .. } => Kind::DoneConnect,
            Self::PrePublish { .. } => Kind::PrePublish,
            Self::PostPublish { .. } => Kind::PostPublish,
            Self::DonePublish { .. } => Kind::DonePublish,
            Self::PrePlay { .. } => Kind::PrePlay,
            Self::PostPlay { .. } => Kind::PostPlay,
            Self::DonePlay { .. } => Kind::DonePlay,
            Self::StreamHealth { .. } => Kind::StreamHealth,
            Self::RelayState { .. } => Kind::RelayState,
            Self::RecordingClosed { .. } => Kind::RecordingClosed,
        }
    }

    /// The stream that it is about.
    pub fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::PreConnect { .. } | Self::PostConnect { .. } | Self::DoneConnect { .. } => None,
            Self::PrePublish { stream, .. } => stream.as_ref(),
            Self::PostPublish { stream, .. }
            | Self::DonePublish { stream, .. }
            | Self::PrePlay { stream, .. }
            | Self::PostPlay { stream, .. }
            | Self::DonePlay { stream, .. }
            | Self::StreamHealth { stream, .. }
            | Self::RelayState { stream, .. }
            | Self::RecordingClosed { stream, .. } => Some(stream),
        }
    }

    /// The client that it is about.
    pub fn client(&self) -> Option<&Client> {
        match self {
            Self::PreConnect { client, .. }
            | Self::PostConnect { client }
            | Self::DoneConnect { client, .. }
            | Self::PrePublish { client, .. }
            | Self::PostPublish { client, .. }
            | Self::DonePublish { client, .. }
            | Self::PrePlay { client, .. }
            | Self::PostPlay { client, .. }
            | Self::DonePlay { client, .. } => Some(client),
            Self::StreamHealth { .. } | Self::RelayState { .. } | Self::RecordingClosed { .. } => {
                None
            }
        }
    }
}

/// The first `most` characters of `text` that a screen and a log line can show:
/// none that control a terminal or turn the direction of writing.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let shows = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().filter(shows).take(most).collect()
}

/// Characters of what a client calls itself.
const AGENT: usize = 64;

/// Characters of the longest reason.
pub(super) const LONGEST: usize = 200;

/// Without the letters that are taken for digits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A connection id that tests can look for.
#[cfg(test)]
pub(super) fn known(id: &str) -> ConnectionId {
    ConnectionId(id.as_bytes().try_into().expect("twelve letters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_their_order() {
        for (index, (name, kind)) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(kind.name(), name);
        }
    }

    #[test]
    fn what_a_peer_says_of_itself_is_cut_and_cleaned() {
        let peer = "[::1]:1".parse().unwrap();
        let name = format!("OBS\u{1b}[2J\u{202e}\n{}", "x".repeat(100));
        let client = Client::new(peer, Protocol::Rtmp, "stream", &name);
        assert_eq!(client.agent, format!("OBS[2J{}", "x".repeat(58)));
    }

    #[test]
    fn no_two_connections_have_the_same_id() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| ConnectionId::random()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.to_string().len() == 12));
    }
}
