//! Where a setting's value comes from: flag, environment, file, in that order.
//!
//! A [`Given`] keeps the value as the operator wrote it together with its
//! origin, so that a complaint can point. Every setting is asked for by its
//! name, and what nobody asked for is by definition unknown: there is no second
//! list of names to keep in step.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// A value before it is checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// Any value of a flag or the environment; a string of the file.
    Text(String),
    /// A number of the file, in decimal.
    Number(String),
    /// `true` or `false` of the file.
    Switch(bool),
    /// An array of the file.
    List(Vec<Entry>),
    /// A section of the file.
    Table(BTreeMap<String, Entry>),
    /// A date of the file, which no setting takes.
    Date(String),
}

/// A value of the file and the line it stands on, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) raw: Raw,
    pub(super) line: usize,
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command-line flag, with its dashes.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// A line of the configuration file, counted from 1.
    File {
        /// The file as it was named on the command line.
        path: Arc<Path>,
        /// The line.
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// What an operator gave for a setting.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// A flag that stands for a setting: the setting, the flag, the value.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The setting, like `hls.segment`.
    pub setting: &'static str,
    /// The flag, like `--segment`.
    pub flag: &'static str,
    /// The value, unchecked.
    pub value: String,
}

/// Environment variables, copied once: nothing reads the process environment
/// after the start, and tests bring their own.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The environment of this process. Names that are not UTF-8 cannot be
    /// weir's and are left out.
    pub fn of_process() -> Self {
        let utf8 = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Self(std::env::vars_os().filter_map(utf8).collect())
    }

    /// The value of `name`. An empty one counts as unset, because that is what
    /// `${NAME:-}` of a compose file or a task definition leaves behind.
    pub(super) fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        let value = self.0.get(name).filter(|value| !value.is_empty())?;
        Some(value.to_string_lossy())
    }

    /// Variables with weir's prefix that are set.
    pub(super) fn own_names(&self) -> impl Iterator<Item = &str> {
        let own = |(name, value): &(&String, &OsString)| {
            name.starts_with(PREFIX) && !value.is_empty() && !is_service_link(name)
        };
        self.0.iter().filter(own).map(|(name, _)| name.as_str())
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let pairs = variables.into_iter();
        Self(pairs.map(|(n, v)| (n.into(), v.into())).collect())
    }
}

/// What every environment name of weir's begins with.
const PREFIX: &str = "WEIR_";

/// The file to read when no `--config` is given.
pub(super) const CONFIG_VARIABLE: &str = "WEIR_CONFIG";

/// The environment name of a setting: `hls.segment` is `WEIR_HLS_SEGMENT`.
pub(super) fn variable(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "_").to_uppercase())
}

/// Kubernetes (and `docker --link`) put `WEIR_PORT`, `WEIR_PORT_1935_TCP_ADDR`,
/// `WEIR_SERVICE_HOST`, … into every container beside a service named "weir".
fn is_service_link(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    rest == "NAME"
        || rest == "PORT"
        || rest.starts_with("SERVICE_HOST")
        || rest.starts_with("SERVICE_PORT")
        || rest
            .strip_prefix("PORT_")
            .is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()))
}

/// A configuration file, parsed but not checked.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: Arc<Path>,
    pub(super) root: BTreeMap<String, Entry>,
}

impl File {
    /// Parses `text`; all syntax errors are told at once.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let path: Arc<Path> = path.into();
        // Editors on Windows begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = Lines::of(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let root = entries(table.get_ref(), &lines);
            return Ok(Self { path, root });
        }
        let problems = errors.into_iter().map(|error| Problem::Syntax {
            origin: Origin::File {
                path: Arc::clone(&path),
                line: error.span().map_or(1, |span| lines.line(span.start)),
            },
            what: error.message().replace('\n', ", "),
        });
        Err(problems.collect())
    }

    /// The entry of `setting` ("section.key", or "key" at the top).
    fn entry(&self, setting: &str) -> Option<&Entry> {
        let Some((section, key)) = setting.split_once('.') else {
            return self.root.get(setting);
        };
        match &self.root.get(section)?.raw {
            Raw::Table(keys) => keys.get(key),
            _ => None,
        }
    }

    fn origin(&self, line: usize) -> Origin {
        Origin::File {
            path: Arc::clone(&self.path),
            line,
        }
    }

    /// Every key of the file, in the order of its lines; an empty section stands
    /// for itself.
    fn settings(&self) -> Vec<(String, &Entry)> {
        let mut settings = Vec::new();
        for (name, entry) in &self.root {
            match &entry.raw {
                Raw::Table(keys) if !keys.is_empty() => {
                    let full = |key| format!("{name}.{key}");
                    settings.extend(keys.iter().map(|(key, entry)| (full(key), entry)));
                }
                _ => settings.push((name.clone(), entry)),
            }
        }
        settings.sort_by_key(|(_, entry)| entry.line);
        settings
    }
}

/// The three layers above the defaults.
pub(super) struct Layers<'a> {
    flags: &'a [Flag],
    environment: &'a Environment,
    file: Option<&'a File>,
    asked: Vec<&'static str>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(
        flags: &'a [Flag],
        environment: &'a Environment,
        file: Option<&'a File>,
    ) -> Self {
        Self {
            flags,
            environment,
            file,
            asked: Vec::new(),
        }
    }

    /// What the highest layer says about `setting`.
    pub(super) fn find(&mut self, setting: &'static str) -> Option<Given> {
        self.find_named(setting, None)
    }

    /// As [`find`](Self::find), with an `inherited` environment name of the
    /// system that weir replaces, below weir's own name and above the file.
    pub(super) fn find_named(
        &mut self,
        setting: &'static str,
        inherited: Option<&'static str>,
    ) -> Option<Given> {
        self.asked.push(setting);
        if let Some(flag) = self.flags.iter().find(|flag| flag.setting == setting) {
            return Some(Given {
                raw: Raw::Text(flag.value.clone()),
                origin: Origin::Flag(flag.flag),
            });
        }
        let own = variable(setting);
        for name in [Some(own.as_str()), inherited].into_iter().flatten() {
            if let Some(value) = self.environment.value(name) {
                return Some(Given {
                    raw: Raw::Text(value.into_owned()),
                    origin: Origin::Environment(name.to_owned()),
                });
            }
        }
        self.find_in_file(setting)
    }

    fn find_in_file(&self, setting: &str) -> Option<Given> {
        let file = self.file?;
        let entry = file.entry(setting)?;
        Some(Given {
            raw: entry.raw.clone(),
            origin: file.origin(entry.line),
        })
    }

    pub(super) fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// Settings asked for so far.
    #[cfg(test)]
    pub(super) fn asked(&self) -> &[&'static str] {
        &self.asked
    }

    /// Names in the file or the environment that nobody asked for. To be called
    /// last.
    pub(super) fn unknown(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(file) = self.file {
            let settings = file.settings().into_iter();
            problems
                .extend(settings.filter_map(|(name, entry)| self.unknown_key(file, name, entry)));
        }
        let variables: Vec<String> = self.asked.iter().map(|known| variable(known)).collect();
        let known = || {
            variables
                .iter()
                .map(String::as_str)
                .chain([CONFIG_VARIABLE])
        };
        let names = self.environment.own_names();
        let unknown = names.filter(|name| known().all(|known| known != *name));
        problems.extend(unknown.map(|name| Problem::UnknownVariable {
            name: name.to_owned(),
            hint: nearest(name, known()),
        }));
        problems
    }

    fn unknown_key(&self, file: &File, name: String, entry: &Entry) -> Option<Problem> {
        if self.asked.contains(&name.as_str()) {
            return None;
        }
        let origin = file.origin(entry.line);
        let in_section = |known: &&str| known.split_once('.').is_some_and(|(s, _)| s == name);
        if !self.asked.iter().any(in_section) {
            let hint = nearest(&name, self.asked.iter().copied());
            return Some(Problem::Unknown { name, origin, hint });
        }
        let section = matches!(entry.raw, Raw::Table(_));
        (!section).then_some(Problem::NotASection {
            section: name,
            origin,
        })
    }
}

/// The known name most like `name`, if one is near enough to be meant.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    let near = |known: &'k str| (distance(name, known), known);
    let (distance, found) = known.map(near).min()?;
    // A third of the letters wrong is still a slip of the fingers.
    (distance <= name.chars().count().div_ceil(3)).then(|| found.to_owned())
}

/// Letters to insert, delete or replace to make `b` out of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn entries(table: &DeTable<'_>, lines: &Lines) -> BTreeMap<String, Entry> {
    let entry = |value: &DeValue<'_>, at: usize| Entry {
        raw: raw(value, lines),
        line: lines.line(at),
    };
    table
        .iter()
        .map(|(key, value)| {
            let name = key.get_ref().as_ref().to_owned();
            (name, entry(value.get_ref(), key.span().start))
        })
        .collect()
}

/// Recursion is bounded by the parser, which refuses deep nesting.
fn raw(value: &DeValue<'_>, lines: &Lines) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.as_ref().to_owned()),
        DeValue::Integer(number) => {
            let digits = number.as_str();
            match i128::from_str_radix(digits, number.radix()) {
                Ok(value) => Raw::Number(value.to_string()),
                Err(_) => Raw::Number(digits.to_owned()),
            }
        }
        DeValue::Float(number) => Raw::Number(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Raw::Switch(*switch),
        DeValue::Datetime(date) => Raw::Date(date.to_string()),
        DeValue::Array(values) => Raw::List(
            values
                .iter()
                .map(|value| Entry {
                    raw: raw(value.get_ref(), lines),
                    line: lines.line(value.span().start),
                })
                .collect(),
        ),
        DeValue::Table(table) => Raw::Table(entries(table, lines)),
    }
}

/// Byte positions at which lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    /// The line that holds byte `at`, counted from 1.
    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|&start| start <= at)
    }
}
