//! `weir keys` and `weir token`: the data directory's secrets.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Exit, given, report, told};
use crate::config::{Config, Environment, Invalid, Loaded, parse_duration};
use crate::database::{Database, Error, KeyRecord, TokenRecord, now};
use crate::name::StreamName;
use crate::secret::Secret;

/// `weir keys …`
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make one more key for a stream; prints it, this once, on the last line
    Add(StreamArgs),
    /// List the keys: stream, beginning of the key, age, last use, state
    List(DataArgs),
    /// Make a new key for a stream and remove the old ones; prints it on the last line
    Rotate(RotateArgs),
    /// Refuse a stream's keys from now on, but keep them listed
    Disable(KeyArgs),
    /// Remove a stream's keys
    Remove(KeyArgs),
}

/// `weir token …`
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token for the API; prints it, this once, on the last line
    Add(TokenArgs),
    /// List the tokens: name, beginning, age, last use
    List(DataArgs),
    /// Remove a token
    Remove(TokenArgs),
}

/// Whose secrets: the data directory.
#[derive(Args)]
pub struct DataArgs {
    /// Data directory of the server [default: weir-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Configuration file (TOML) [env: WEIR_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A stream.
#[derive(Args)]
pub struct StreamArgs {
    /// The stream's name: what viewers see in the URL
    #[arg(value_name = "NAME")]
    pub name: StreamName,
    /// Whose keys.
    #[command(flatten)]
    pub data: DataArgs,
}

/// A stream whose key is replaced.
#[derive(Args)]
pub struct RotateArgs {
    /// For how long the old keys stay good, like 10m or 2d; otherwise they are refused at once
    #[arg(long, value_name = "DURATION", value_parser = grace)]
    pub grace: Option<Duration>,
    /// Which stream.
    #[command(flatten)]
    pub stream: StreamArgs,
}

/// A stream and perhaps one of its keys.
#[derive(Args)]
pub struct KeyArgs {
    /// Only the key that begins so, as `weir keys list` shows it
    #[arg(long = "key", value_name = "BEGINNING")]
    pub prefix: Option<String>,
    /// Which stream.
    #[command(flatten)]
    pub stream: StreamArgs,
}

/// A token.
#[derive(Args)]
pub struct TokenArgs {
    /// What it is called: who or what holds it
    #[arg(value_name = "NAME", value_parser = token_name)]
    pub name: String,
    /// Where it is.
    #[command(flatten)]
    pub data: DataArgs,
}

fn grace(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(365 * 24 * 3600);
    parse_duration(text)
        .filter(|grace| *grace <= most)
        .ok_or_else(|| "expected a duration of a year at most, like 90s, 10m, 12h or 7d".to_owned())
}

fn token_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.@ ".contains(c);
    match text.trim() == text && (1..=64).contains(&text.len()) && text.chars().all(good) {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 64 letters, digits, spaces, or any of - _ . @".to_owned()),
    }
}

impl DataArgs {
    fn load(&self, environment: &Environment) -> Result<Loaded, Invalid> {
        let flags = given([("data", "--data", &self.data)]);
        Config::load(&flags, self.config.as_deref(), environment)
    }
}

/// Runs `weir keys`.
pub fn run_keys(
    command: &KeysCommand,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let data = match command {
        KeysCommand::List(data) => data,
        KeysCommand::Add(stream) => &stream.data,
        KeysCommand::Rotate(rotate) => &rotate.stream.data,
        KeysCommand::Disable(key) | KeysCommand::Remove(key) => &key.stream.data,
    };
    run(data, environment, out, err, |config| keys(command, config))
}

/// Runs `weir token`.
pub fn run_token(
    command: &TokenCommand,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let data = match command {
        TokenCommand::List(data) => data,
        TokenCommand::Add(token) | TokenCommand::Remove(token) => &token.data,
    };
    run(data, environment, out, err, |config| token(command, config))
}

fn run(
    data: &DataArgs,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
    command: impl FnOnce(&Config) -> Result<String, Error>,
) -> Exit {
    let config = match data.load(environment) {
        Ok(loaded) => loaded.config,
        Err(invalid) => return report(&invalid, err),
    };
    match command(&config) {
        Ok(text) => told(out.write_all(text.as_bytes()), Exit::Success),
        Err(error) => told(writeln!(err, "{error}"), Exit::Failure),
    }
}

fn keys(command: &KeysCommand, config: &Config) -> Result<String, Error> {
    let data = &config.data;
    Ok(match command {
        KeysCommand::Add(StreamArgs { name, .. }) => {
            let (_, key) = Database::open(data)?.add_key(name)?;
            format!("New key for stream {name}.\n{}", show_once(&key, config))
        }
        KeysCommand::Rotate(RotateArgs { grace, stream }) => {
            let name = &stream.name;
            let (_, key) = existing(data, name)?.rotate_key(name, grace.unwrap_or_default())?;
            let old = match grace.filter(|grace| !grace.is_zero()) {
                None => "the old ones are gone, and a broadcast that uses one ends".to_owned(),
                Some(grace) => format!(
                    "the old ones are good until {}",
                    UtcTime(now() + grace.as_secs())
                ),
            };
            format!(
                "New key for stream {name}; {old}.\n{}",
                show_once(&key, config)
            )
        }
        KeysCommand::List(_) => {
            let database = Database::open_existing(data)?;
            let keys = database.map(|database| database.keys(None)).transpose()?;
            key_table(&keys.unwrap_or_default(), data)
        }
        KeysCommand::Disable(KeyArgs { prefix, stream }) => {
            let name = &stream.name;
            let count = existing(data, name)?.disable_keys(name, prefix.as_deref())?;
            format!("Disabled {} of stream {name}.\n", count_keys(count))
        }
        KeysCommand::Remove(KeyArgs { prefix, stream }) => {
            let name = &stream.name;
            let count = existing(data, name)?.remove_keys(name, prefix.as_deref())?;
            format!("Removed {} of stream {name}.\n", count_keys(count))
        }
    })
}

/// The database, where there is one: a directory that was mistyped is not made.
fn existing(data: &Path, name: &StreamName) -> Result<Database, Error> {
    Database::open_existing(data)?.ok_or_else(|| Error::NoKey {
        stream: name.clone(),
        prefix: None,
    })
}

fn token(command: &TokenCommand, config: &Config) -> Result<String, Error> {
    let data = &config.data;
    Ok(match command {
        TokenCommand::Add(TokenArgs { name, .. }) => {
            let (_, token) = Database::open(data)?.add_token(name)?;
            format!(
                "New API token {name:?}. The API now answers from anywhere to \
                 those who send it: Authorization: Bearer TOKEN (shown only this once):\n{}\n",
                token.reveal()
            )
        }
        TokenCommand::List(_) => {
            let database = Database::open_existing(data)?;
            let tokens = database.map(|database| database.tokens()).transpose()?;
            token_table(&tokens.unwrap_or_default(), data)
        }
        TokenCommand::Remove(TokenArgs { name, .. }) => {
            let database = Database::open_existing(data)?;
            let database = database.ok_or_else(|| Error::NoToken(name.clone()))?;
            database.remove_token(name)?;
            format!("Removed API token {name:?}.\n")
        }
    })
}

fn count_keys(count: usize) -> String {
    match count {
        1 => "1 key".to_owned(),
        _ => format!("{count} keys"),
    }
}

/// What an encoder asks for; the key alone on the last line, for scripts.
fn show_once(key: &Secret, config: &Config) -> String {
    format!(
        "Encoder settings: server rtmp://HOST:{}/{}, and as the stream key (shown only this once):\n{}\n",
        config.rtmp.listen.port(),
        config.rtmp.app,
        key.reveal(),
    )
}

fn key_table(keys: &[KeyRecord], directory: &Path) -> String {
    if keys.is_empty() {
        return format!("There are no keys in {}.\n", directory.display());
    }
    let now = now();
    let state = |key: &KeyRecord| match key.expires {
        _ if key.disabled => "disabled".to_owned(),
        Some(expires) if expires <= now => "expired".to_owned(),
        Some(expires) => format!("until {}", UtcTime(expires)),
        None => "enabled".to_owned(),
    };
    let row = |key: &KeyRecord| {
        [
            key.stream.to_string(),
            format!("{}…", key.prefix),
            UtcTime(key.created).to_string(),
            used(key.used),
            state(key),
        ]
    };
    let head = ["STREAM", "KEY", "CREATED", "LAST USED", "STATE"];
    table(head, keys.iter().map(row))
}

fn token_table(tokens: &[TokenRecord], directory: &Path) -> String {
    if tokens.is_empty() {
        return format!(
            "There are no API tokens in {}: the API answers this machine alone.\n",
            directory.display()
        );
    }
    let row = |token: &TokenRecord| {
        [
            token.name.clone(),
            format!("{}…", token.prefix),
            UtcTime(token.created).to_string(),
            used(token.used),
        ]
    };
    let head = ["NAME", "TOKEN", "CREATED", "LAST USED"];
    table(head, tokens.iter().map(row))
}

fn used(used: Option<u64>) -> String {
    used.map_or_else(|| "never".to_owned(), |at| UtcTime(at).to_string())
}

/// Rows below `head`, in columns.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows);
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Seconds since 1970 as RFC 3339 shows them.
pub(super) struct UtcTime(pub(super) u64);

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        let text = packager::playlist::iso8601(ms);
        write!(f, "{}Z", text.split('.').next().unwrap_or(&text))
    }
}
