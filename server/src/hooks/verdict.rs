//! What is asked before something happens, and what may be answered.

use std::fmt;

use rtmp::Url;

use super::event::{LONGEST, printable};
use crate::name::StreamName;

/// A text that nobody but its addressee may see: `Debug` hides it, and there is no
/// `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// `text` from here on is not shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a peer wants to publish.
#[derive(Clone)]
pub struct Publication {
    /// The stream, where this server knows it; `None` where the hooks are to say
    /// which it is (`auth.mode = "webhook"`).
    pub stream: Option<StreamName>,
    /// The key to be judged; only where `stream` is `None`.
    pub key: Option<Secret>,
    /// Names and values of the publish URL's query, as they came. May hold keys of
    /// other services.
    pub query: Vec<(String, String)>,
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication")
            .field("stream", &self.stream)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What a peer wants to play. The stream is live.
#[derive(Clone)]
pub struct Viewing {
    /// The stream.
    pub stream: StreamName,
    /// Names and values of the URL's query, as they came. May hold tokens.
    pub query: Vec<(String, String)>,
}

impl fmt::Debug for Viewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewing")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// What a publisher may do beside publishing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The stream it publishes. Counts only where [`Publication::stream`] is `None`,
    /// and there it must be given.
    pub name: Option<StreamName>,
    /// Where the stream is sent on to, beside the targets of the settings. At most
    /// [`Grant::MOST_TARGETS`].
    pub targets: Vec<Target>,
    /// Whether it is recorded; `None`: as the settings say.
    pub record: Option<bool>,
    /// The highest rung that is made of it; `None`: as the settings say.
    pub top_rung: Option<String>,
}

impl Grant {
    /// Targets that one publisher may be given.
    pub const MOST_TARGETS: usize = 16;

    /// What both `self` and `other` grant; `other` has the last word.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.targets.extend(other.targets);
        self.targets.truncate(Self::MOST_TARGETS);
        Self {
            name: other.name.or(self.name),
            targets: self.targets,
            record: other.record.or(self.record),
            top_rung: other.top_rung.or(self.top_rung),
        }
    }
}

/// A place that a stream is sent on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    name: String,
    url: Url,
    rung: Option<String>,
}

/// Why a target is none. Never says what the URL or the key is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTarget {
    /// The name cannot label a metric.
    #[error("the name of a target is 1 to 32 letters, digits, '-' or '_'")]
    Name,
    /// The URL leads nowhere.
    #[error("the URL of a target: {0}")]
    Url(String),
    /// The rung cannot be the name of one.
    #[error("the rung of a target is 1 to 32 letters, digits, '-' or '_'")]
    Rung,
}

impl Target {
    /// A target: `name` in metrics and in the API; `url` with the key; `rung` is that
    /// of a `[[hls.rung]]`, or `source` (or `None`) for the publisher's own pictures.
    pub fn new(name: &str, url: &str, rung: Option<&str>) -> Result<Self, InvalidTarget> {
        if !is_label(name) {
            return Err(InvalidTarget::Name);
        }
        let rung = rung.filter(|rung| *rung != "source");
        if rung.is_some_and(|rung| !is_label(rung)) {
            return Err(InvalidTarget::Rung);
        }
        Ok(Self {
            name: name.to_owned(),
            url: Url::parse(url).map_err(|error| InvalidTarget::Url(error.to_string()))?,
            rung: rung.map(str::to_owned),
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, key included, which `Debug` and `Display` hide.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The rung it gets; `None`: the publisher's own pictures.
    pub fn rung(&self) -> Option<&str> {
        self.rung.as_deref()
    }
}

/// Whether `text` may be a name in labels of metrics.
pub(super) fn is_label(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=32).contains(&text.len()) && text.bytes().all(letter)
}

/// No, and why, in words for the peer's screen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    reason: String,
}

impl Denied {
    /// A refusal because of `reason`, of which the first 200 printable characters
    /// are shown. It is logged and told to others: no key, please.
    pub fn new(reason: &str) -> Self {
        let reason = printable(reason, LONGEST);
        Self {
            reason: match reason.trim() {
                "" => "not allowed".to_owned(),
                reason => reason.to_owned(),
            },
        }
    }

    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_shows_in_debug() {
        let query = vec![("youtube".to_owned(), "hush1".to_owned())];
        let publication = Publication {
            stream: None,
            key: Some(Secret::new("hush2")),
            query: query.clone(),
        };
        let viewing = Viewing {
            stream: "demo".parse().unwrap(),
            query,
        };
        let target = Target::new("mine", "rtmp://host/app/hush3", None).unwrap();
        let shown = format!("{publication:?} {viewing:?} {target:?}");
        assert!(!shown.contains("hush"), "{shown}");
        let wrong = Target::new("mine", "http://host/hush4", None).unwrap_err();
        assert!(!format!("{wrong} {wrong:?}").contains("hush"), "{wrong}");
    }

    #[test]
    fn a_reason_is_one_short_line() {
        let denied = Denied::new(&format!("no\u{1b}[2J\r\nway {}", "x".repeat(300)));
        assert!(denied.reason().starts_with("no[2Jway x"));
        assert_eq!(denied.reason().chars().count(), LONGEST);
        assert_eq!(Denied::new(" \n").reason(), "not allowed");
    }

    #[test]
    fn targets_are_checked_at_the_door() {
        let target = |name, url, rung| Target::new(name, url, rung);
        let url = "rtmps://host/app/key";
        assert_eq!(target("a", url, Some("source")).unwrap().rung(), None);
        assert_eq!(target("a", url, Some("720p")).unwrap().rung(), Some("720p"));
        assert_eq!(target("", url, None), Err(InvalidTarget::Name));
        assert_eq!(target("a b", url, None), Err(InvalidTarget::Name));
        assert_eq!(target("a", url, Some("a/b")), Err(InvalidTarget::Rung));
        assert!(matches!(
            target("a", "rtmp://host/app", None),
            Err(InvalidTarget::Url(_))
        ));
    }

    #[test]
    fn the_second_answer_has_the_last_word() {
        let target = |name| Target::new(name, "rtmp://host/app/key", None).unwrap();
        let first = Grant {
            name: Some("a".parse().unwrap()),
            targets: vec![target("x")],
            record: Some(true),
            top_rung: None,
        };
        let second = Grant {
            name: Some("b".parse().unwrap()),
            targets: vec![target("y")],
            record: None,
            top_rung: Some("360p".to_owned()),
        };
        let both = first.and(second);
        assert_eq!(both.name.as_ref().map(StreamName::as_str), Some("b"));
        assert_eq!(both.targets.len(), 2);
        assert_eq!(both.record, Some(true));
        assert_eq!(both.top_rung.as_deref(), Some("360p"));
    }
}
