//! The name of a stream: what viewers see in every URL.
//!
//! A name becomes a path element, a store key, a metric label and a registry
//! key, so it is checked once, here, and everything downstream holds a
//! [`StreamName`]. A stream *key* is something else: it is secret, and
//! [`crate::database`] knows whose it is.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A stream's name: `[A-Za-z0-9][A-Za-z0-9_-]{0,63}` and none of
/// [`StreamName::RESERVED`]. Clones share one allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(Arc<str>);

/// Why a text cannot name a stream.
///
/// The text comes from the network: a message shows one character of it,
/// escaped, or a reserved word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// There is no text at all.
    #[error("stream name is empty")]
    Empty,
    /// Longer than [`StreamName::MAX_LEN`].
    #[error("stream name has {len} bytes, more than {}", StreamName::MAX_LEN)]
    TooLong {
        /// Bytes found.
        len: usize,
    },
    /// A character outside the alphabet, or '-' or '_' in front.
    #[error(
        "stream name has {found:?} at position {at}; letters A-Z a-z and digits may stand anywhere, '-' and '_' after the first"
    )]
    Character {
        /// The offending character.
        found: char,
        /// Its position in characters, counted from 1.
        at: usize,
    },
    /// A path of the server's own.
    #[error("stream name {0:?} is reserved for the server's own pages")]
    Reserved(&'static str),
}

impl StreamName {
    /// Bytes in the longest name: long enough for a UUID with a prefix, short
    /// enough for any file system, log line or URL.
    pub const MAX_LEN: usize = 64;

    /// First path elements that the HTTP server keeps for itself. Neither a
    /// stream nor the RTMP application (`rtmp.app`, which is a path element of
    /// HTTP-FLV) may take one.
    pub const RESERVED: [&str; 7] = [
        "api",
        "assets",
        "healthcheck",
        "healthz",
        "metrics",
        "readyz",
        "vod",
    ];

    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(InvalidName::TooLong { len: text.len() });
        }
        let allowed = |index: usize, c: char| {
            c.is_ascii_alphanumeric() || (index > 0 && matches!(c, '-' | '_'))
        };
        let bad = text.chars().enumerate().find(|&(i, c)| !allowed(i, c));
        if let Some((index, found)) = bad {
            return Err(InvalidName::Character {
                found,
                at: index + 1,
            });
        }
        if let Some(word) = Self::RESERVED.into_iter().find(|&word| word == text) {
            return Err(InvalidName::Reserved(word));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl TryFrom<String> for StreamName {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.as_str().to_owned()
    }
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for StreamName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        StreamName::new(text).unwrap_err().to_string()
    }

    #[test]
    fn a_path_out_of_the_tree_is_no_name() {
        for text in ["..", ".", "a/b", "a\\b", "a%2fb", "../x", "a.b", "a b"] {
            assert!(StreamName::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_why_in_one_escaped_line() {
        assert_eq!(refused(""), "stream name is empty");
        assert_eq!(
            refused(&"a".repeat(65)),
            "stream name has 65 bytes, more than 64"
        );
        assert_eq!(
            refused("ab\nc"),
            "stream name has '\\n' at position 3; letters A-Z a-z and digits may stand anywhere, '-' and '_' after the first"
        );
        assert!(refused("\u{1b}[2J").contains("'\\u{1b}' at position 1"));
        assert!(refused("-a").contains("'-' at position 1"));
        assert!(refused("_a").contains("'_' at position 1"));
        assert!(refused("é").contains("'é' at position 1"));
    }

    #[test]
    fn the_servers_own_paths_are_reserved() {
        for word in StreamName::RESERVED {
            assert_eq!(
                refused(word),
                format!("stream name \"{word}\" is reserved for the server's own pages")
            );
        }
        assert!(StreamName::new("apis").is_ok());
    }

    #[test]
    fn every_allowed_length_and_letter_passes() {
        for text in ["a", "0", "a-_9", "Live-2_b", &"z".repeat(64)] {
            assert_eq!(StreamName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_stored_name_is_checked_again_when_read() {
        assert!(serde_json::from_str::<StreamName>("\"live\"").is_ok());
        assert!(serde_json::from_str::<StreamName>("\"../live\"").is_err());
    }
}
