//! The names of objects.

use std::fmt;
use std::str::FromStr;

/// The name of an object: `live/720p/1795441399200.ts`.
///
/// Elements of letters, digits, '-', '_' and '.', with slashes between them;
/// none is empty, "." or "..". So a key is a path that stays below whatever it is
/// appended to, and the same text as a path, as an S3 key and in a URL. Keys
/// are in the order of their bytes, which is S3's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(String);

/// Why a text is no [`Key`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no key: {why}; expected one like live/720p/1795441399200.ts")]
pub(crate) struct InvalidKey {
    /// The text, its beginning if it is long.
    text: String,
    why: &'static str,
}

impl Key {
    pub(crate) fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        let why = if text.len() > LONGEST {
            Some("longer than 400 bytes")
        } else if reserved(&text) {
            Some("the folder store keeps its own files there")
        } else {
            text.split('/').find_map(fault)
        };
        match why {
            None => Ok(Self(text)),
            Some(why) => Err(InvalidKey {
                text: text.chars().take(80).collect(),
                why,
            }),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::new(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text`, an element of a path, can be one of a key.
pub(super) fn element(text: &str) -> bool {
    fault(text).is_none()
}

/// Whether `path` is or lies in a folder that a folder store keeps for itself.
pub(super) fn reserved(path: &str) -> bool {
    [FACTS, TEMPORARY].iter().any(|own| {
        path.strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn fault(element: &str) -> Option<&'static str> {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match element {
        "" => Some("an element is empty"),
        "." | ".." => Some("an element is \".\" or \"..\""),
        _ if element.len() > LONGEST_ELEMENT => Some("an element is longer than 200 bytes"),
        _ if !element.bytes().all(fit) => {
            Some("an element has something else than letters, digits, '-', '_' and '.'")
        }
        _ => None,
    }
}

/// Folder at the top of a store for what is weir's own business.
pub(super) const OWN: &str = ".weir";

/// Where a folder store keeps the facts of its objects.
pub(super) const FACTS: &str = ".weir/facts";

/// Where a folder store writes what is not whole yet.
pub(super) const TEMPORARY: &str = ".weir/tmp";

/// Bytes of a key. S3 takes 1024 with the prefix of the store, which has as many.
pub(super) const LONGEST: usize = 400;

/// Bytes of an element: file systems take 255, and the facts' file adds a few.
const LONGEST_ELEMENT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_leaves_the_store_is_a_key() {
        for text in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../live",
            "live/../../etc",
            "live/./1.ts",
            "live//1.ts",
            "live/",
            "live\\1.ts",
            "live/1.ts\0",
            "live/1 .ts",
            "live/%2e%2e/1.ts",
            "live/1.ts?x=y",
            "live/1~.ts",
            "l\u{ef}ve/1.ts",
            ".weir/tmp",
            ".weir/tmp/1",
            ".weir/facts/live/1.ts",
        ] {
            assert!(Key::new(text).is_err(), "{text:?}");
        }
        assert!(Key::new("a".repeat(201)).is_err());
        assert!(Key::new(["a"; 201].join("/")).is_err());
    }

    #[test]
    fn what_recordings_are_called_is_a_key() {
        for text in [
            "live/720p/1795441399200.ts",
            "live/vod-1795441399200.m3u8",
            ".weir/open/live/1795441399200.json",
            ".weir/facts-of-old/1",
            "...",
            "_-/A.b",
        ] {
            assert_eq!(Key::new(text).unwrap().as_str(), text);
        }
        assert!(Key::new("a".repeat(200)).is_ok());
        assert!(Key::new(["a"; 200].join("/")).is_ok());
    }

    #[test]
    fn a_refused_key_is_told_with_what_is_wrong() {
        assert_eq!(
            Key::new("live/../x").unwrap_err().to_string(),
            "\"live/../x\" is no key: an element is \".\" or \"..\"; expected one like live/720p/1795441399200.ts"
        );
        assert!(Key::new("x".repeat(9000)).unwrap_err().to_string().len() < 250);
    }
}
