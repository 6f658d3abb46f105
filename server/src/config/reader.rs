//! Asks the layers for settings one by one and gathers what is wrong.
//!
//! A reader never stops early: a bad value is noted and its default stands in,
//! so that one start tells everything there is to mend.

use std::collections::BTreeMap;

use super::layers::{Entry, Environment, File, Flag, Given, Layers, Origin, Raw, nearest};
use super::problem::{Problem, Shown};
use super::value::Read;
use super::{Config, Invalid, Loaded};

/// The outcome of one reading.
pub(super) struct Reading {
    /// Complete even when there are problems, with defaults in their places.
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl Reading {
    pub(super) fn outcome(self) -> Result<Loaded, Invalid> {
        if !self.problems.is_empty() {
            return Err(Invalid(self.problems));
        }
        Ok(Loaded {
            config: self.config,
            warnings: self.warnings,
        })
    }
}

/// Reads and checks every setting.
pub(super) fn read(flags: &[Flag], environment: &Environment, file: Option<&File>) -> Reading {
    let mut reader = Reader::new(Layers::new(flags, environment, file));
    let config = reader.config();
    reader.problems.extend(reader.layers.unknown());
    Reading {
        config,
        problems: reader.problems,
        warnings: reader.warnings,
    }
}

/// Asks for settings by name.
pub(super) struct Reader<'a> {
    pub(super) layers: Layers<'a>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: Layers<'a>) -> Self {
        Self {
            layers,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The value of `setting`, or `default` when it is not given or bad.
    pub(super) fn get<T>(
        &mut self,
        setting: &'static str,
        read: impl Fn(&Raw) -> Read<T>,
        default: T,
    ) -> T {
        let Some(given) = self.layers.find(setting) else {
            return default;
        };
        self.check(setting, &given, read).unwrap_or(default)
    }

    /// The value of `setting`; `None` when it is not given or bad.
    pub(super) fn optional<T>(
        &mut self,
        setting: &'static str,
        read: impl Fn(&Raw) -> Read<T>,
    ) -> Option<T> {
        let given = self.layers.find(setting)?;
        self.check(setting, &given, read)
    }

    /// Checks `given`, noting a problem.
    pub(super) fn check<T>(
        &mut self,
        setting: &str,
        given: &Given,
        read: impl Fn(&Raw) -> Read<T>,
    ) -> Option<T> {
        match read(&given.raw) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.problems.push(Problem::Value {
                    setting: setting.to_owned(),
                    value: Shown::of(setting, given),
                    origin: given.origin.clone(),
                    expected,
                });
                None
            }
        }
    }

    /// A setting whose feature is not built: it may be left out or say what
    /// this build does anyway, one of `accepted`. What was given comes back.
    pub(super) fn later<T: PartialEq>(
        &mut self,
        setting: &'static str,
        read: impl Fn(&Raw) -> Read<T>,
        accepted: &[T],
        instead: &str,
    ) -> Option<T> {
        let given = self.layers.find(setting)?;
        let value = self.check(setting, &given, read)?;
        if !accepted.contains(&value) {
            self.unsupported(setting, &given, instead);
        }
        Some(value)
    }

    pub(super) fn unsupported(&mut self, setting: &str, given: &Given, instead: &str) {
        self.problems.push(Problem::Unsupported {
            setting: setting.to_owned(),
            value: Shown::of(setting, given),
            origin: given.origin.clone(),
            instead: instead.to_owned(),
        });
    }

    /// The tables of a `[[list]]` of the file; `None` when it is not given, or
    /// is no list.
    pub(super) fn items(&mut self, setting: &'static str) -> Option<Vec<Item>> {
        let given = self.layers.find(setting)?;
        let mut items = Vec::new();
        let (Raw::List(entries), Origin::File { path, .. }) = (&given.raw, &given.origin) else {
            self.not_tables(setting, &given);
            return None;
        };
        for (index, entry) in entries.iter().enumerate() {
            let origin = Origin::File {
                path: path.clone(),
                line: entry.line,
            };
            let setting = format!("{setting}[{}]", index + 1);
            match &entry.raw {
                Raw::Table(keys) => items.push(Item {
                    setting,
                    origin,
                    keys: keys.clone(),
                    asked: Vec::new(),
                }),
                raw => {
                    let raw = raw.clone();
                    self.not_tables(&setting, &Given { raw, origin });
                }
            }
        }
        Some(items)
    }

    fn not_tables(&mut self, setting: &str, given: &Given) {
        let name = setting.split('[').next().unwrap_or(setting);
        self.problems.push(Problem::Value {
            setting: setting.to_owned(),
            value: Shown::of(setting, given),
            origin: given.origin.clone(),
            expected: format!("sections [[{name}]] in a configuration file"),
        });
    }
}

/// One table of a `[[list]]`.
pub(super) struct Item {
    /// `hls.rung[2]`, counted from 1.
    pub(super) setting: String,
    pub(super) origin: Origin,
    keys: BTreeMap<String, Entry>,
    asked: Vec<&'static str>,
}

impl Item {
    /// What is given for `key`.
    pub(super) fn find(&mut self, key: &'static str) -> Option<Given> {
        self.asked.push(key);
        let entry = self.keys.get(key)?;
        let origin = match &self.origin {
            Origin::File { path, .. } => Origin::File {
                path: path.clone(),
                line: entry.line,
            },
            other => other.clone(),
        };
        Some(Given {
            raw: entry.raw.clone(),
            origin,
        })
    }

    /// The name of `key` in messages.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.setting)
    }

    /// The value of `key`; `Ok(None)` when it is not given, `Err` when it is bad.
    pub(super) fn get<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        read: impl Fn(&Raw) -> Read<T>,
    ) -> Result<Option<T>, Noted> {
        let Some(given) = self.find(key) else {
            return Ok(None);
        };
        let value = reader.check(&self.name(key), &given, read);
        value.map(Some).ok_or(Noted)
    }

    /// The value of a `key` that must be there.
    pub(super) fn need<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        read: impl Fn(&Raw) -> Read<T>,
    ) -> Result<T, Noted> {
        if let Some(value) = self.get(reader, key, &read)? {
            return Ok(value);
        }
        // No reader takes a section: its complaint says what is expected.
        let expected = read(&Raw::Table(BTreeMap::new())).err().unwrap_or_default();
        reader.problems.push(Problem::Missing {
            setting: self.setting.clone(),
            key,
            origin: self.origin.clone(),
            expected,
        });
        Err(Noted)
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for (key, entry) in &self.keys {
            if self.asked.contains(&key.as_str()) {
                continue;
            }
            let mut origin = self.origin.clone();
            if let Origin::File { line, .. } = &mut origin {
                *line = entry.line;
            }
            reader.problems.push(Problem::Unknown {
                name: self.name(key),
                origin,
                hint: nearest(key, self.asked.iter().copied()),
            });
        }
    }
}

/// A problem has been noted already.
#[derive(Debug)]
pub(super) struct Noted;
