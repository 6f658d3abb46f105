//! What can be wrong with a configuration, each in one line that points.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use super::layers::{Given, Origin, Raw};
use crate::auth::KeyFault;
use crate::tls::{CaError, PairError};

/// One thing wrong. Its text is a single line: the setting, its value, where it
/// was given, and what would be right. Secret values are never shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file as it was named.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is none that a person wrote.
    #[error("{}: this is not a text file; expected TOML, as `weir config default` prints it", path.display())]
    NotText {
        /// The file as it was named.
        path: PathBuf,
    },
    /// The file is not TOML.
    #[error("{origin}: {what}")]
    Syntax {
        /// Where it stops being TOML.
        origin: Origin,
        /// What the parser says.
        what: String,
    },
    /// A value outside of what a setting takes.
    #[error("{setting} = {value} ({origin}): expected {expected}")]
    Value {
        /// The setting, like `hls.segment`.
        setting: String,
        /// The value, quoted and shortened for display.
        value: Shown,
        /// Where it was given.
        origin: Origin,
        /// What would be accepted.
        expected: String,
    },
    /// A list item lacks a key.
    #[error("{setting} ({origin}): {key} is missing; expected {expected}")]
    Missing {
        /// The item, like `hls.rung[2]`.
        setting: String,
        /// The key that lacks.
        key: &'static str,
        /// Where the item begins.
        origin: Origin,
        /// What would be accepted.
        expected: String,
    },
    /// A good value for something this build cannot do.
    #[error("{setting} = {value} ({origin}): this build does not support it yet; {instead}")]
    Unsupported {
        /// The setting.
        setting: String,
        /// The value, quoted and shortened for display.
        value: Shown,
        /// Where it was given.
        origin: Origin,
        /// What to write instead.
        instead: String,
    },
    /// Settings that are good one by one and not together.
    #[error("{0}")]
    Contradiction(String),
    /// The files of a certificate are of no use.
    #[error(transparent)]
    Certificate(#[from] PairError),
    /// The file of a public key is of no use.
    #[error(transparent)]
    PublicKey(#[from] KeyFault),
    /// The file of CAs for relays is of no use.
    #[error("relay.ca: {0}")]
    Authorities(#[from] CaError),
    /// A key of the file that names no setting.
    #[error("{name} ({origin}): there is no such setting{}", did_you_mean(.hint))]
    Unknown {
        /// The key with its section.
        name: String,
        /// Its line.
        origin: Origin,
        /// The setting most like it.
        hint: Option<String>,
    },
    /// A variable with weir's prefix that names no setting.
    #[error("environment {name}: there is no such setting{}", did_you_mean(.hint))]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The variable most like it.
        hint: Option<String>,
    },
    /// A section's name with a value.
    #[error("{section} ({origin}): expected a section, written [{section}] on a line of its own")]
    NotASection {
        /// The section.
        section: String,
        /// Its line.
        origin: Origin,
    },
}

fn did_you_mean(hint: &Option<String>) -> String {
    match hint {
        Some(name) => format!("; did you mean {name}?"),
        None => "; `weir config default` prints all there are".to_owned(),
    }
}

/// All that is wrong, one line each. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

/// A value fit for a message: one short line, control characters escaped,
/// secrets hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// More of a value than this says nothing more.
    const MAX_CHARS: usize = 60;

    pub(super) fn of(setting: &str, given: &Given) -> Self {
        if setting == "auth.webhook" || SECRET.iter().any(|prefix| setting.starts_with(prefix)) {
            return Self("(hidden)".to_owned());
        }
        let full = match &given.raw {
            Raw::Text(text) => format!("{:?}", without_user(text)),
            Raw::Number(text) | Raw::Date(text) => text.clone(),
            Raw::Switch(on) => on.to_string(),
            Raw::List(items) => format!("(a list of {})", items.len()),
            Raw::Table(_) => "(a section)".to_owned(),
        };
        match full.char_indices().nth(Self::MAX_CHARS) {
            Some((end, _)) => Self(format!("{}…", &full[..end])),
            None => Self(full),
        }
    }
}

/// A URL without the name and the password in it. A password may have slashes: up to the
/// last '@', whatever that is part of.
fn without_user(text: &str) -> Cow<'_, str> {
    let after_scheme = text
        .split_once("://")
        .filter(|(scheme, _)| *scheme != "file");
    match after_scheme.and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (_, host))) => format!("{scheme}://(hidden)@{host}").into(),
        None => text.into(),
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Beginnings of settings whose values hold passwords or keys, in whole or in
/// part: a registry's URL its password, a target's URL its stream key. The path of
/// `auth.webhook` is one as well.
const SECRET: [&str; 5] = [
    "auth.keys",
    "auth.play_secret",
    "auth.webhook_secret",
    "registry.url",
    "relay.target",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for (text, shown) in [
            ("http://user:pass@host:9000", "http://(hidden)@host:9000"),
            (
                "s3://AKIA:with/slash@bucket/prefix",
                "s3://(hidden)@bucket/prefix",
            ),
            ("https://host/path", "https://host/path"),
            ("file:///srv/a@b", "file:///srv/a@b"),
            ("me@home", "me@home"),
        ] {
            assert_eq!(without_user(text), shown);
        }
    }
}
