//! What a store keeps beside the bytes of an object.

use std::collections::BTreeMap;

/// What is told of an object when it is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its media type: what a bucket answers when it is asked directly. A folder
    /// does not keep it.
    pub(crate) content_type: &'static str,
    /// How long caches may keep it; like the media type.
    pub(crate) cache_control: &'static str,
    /// What comes back with the object.
    pub(crate) meta: Meta,
}

/// Names and values that an object carries, at most 1 KiB of them: S3 takes 2 KB.
///
/// A name is 1 to 32 lower-case letters, digits and '-'; a value is visible ASCII
/// without spaces. Both travel as HTTP headers, and more than that does not
/// survive every server and proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta(BTreeMap<String, String>);

/// Why [`Meta`] does not take a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidMeta {
    #[error("the name of a fact is 1 to 32 lower-case letters, digits and '-'")]
    Name,
    #[error("the value of a fact is ASCII that can be seen, without spaces")]
    Value,
    #[error("the facts of an object are longer than 1 KiB")]
    TooMuch,
}

impl Meta {
    /// Sets `name` to `value`, whatever it was.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) -> Result<(), InvalidMeta> {
        let value = value.into();
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(letter) {
            return Err(InvalidMeta::Name);
        }
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidMeta::Value);
        }
        let others: usize = self
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if others + name.len() + value.len() > MOST {
            return Err(InvalidMeta::TooMuch);
        }
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// What of `pairs` can be facts: others may have written to the store as well.
    pub(super) fn of<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let mut meta = Self::default();
        for (name, value) in pairs {
            // What is none of weir's is nothing that weir asks for.
            let _ = meta.set(name, value);
        }
        meta
    }
}

/// Bytes of all names and values together.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_header_carries_is_no_fact() {
        let mut meta = Meta::default();
        for name in ["", "Start", "a_b", "a b", "a:", "\u{e9}", &"a".repeat(33)] {
            assert_eq!(meta.set(name, "1"), Err(InvalidMeta::Name), "{name:?}");
        }
        for value in ["", "a b", "a\r\nb", "\u{e9}", "\t"] {
            assert_eq!(meta.set("a", value), Err(InvalidMeta::Value), "{value:?}");
        }
        assert!(meta.is_empty());
    }

    #[test]
    fn facts_stop_at_one_kibibyte() {
        let mut meta = Meta::default();
        meta.set("a", "x".repeat(600)).unwrap();
        meta.set("b", "x".repeat(422)).unwrap();
        assert_eq!(meta.set("c", "x"), Err(InvalidMeta::TooMuch));
        assert_eq!(meta.set("b", "x".repeat(423)), Err(InvalidMeta::TooMuch));
        // What takes the place of another does not count beside it.
        meta.set("a", "x".repeat(600)).unwrap();
        assert_eq!(meta.value("b").map(str::len), Some(422));
    }
}
