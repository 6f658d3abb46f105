//! `weir play-token`: tokens for tests and for the curious. An application signs its
//! own.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Exit, report, told};
use crate::auth::play;
use crate::clock;
use crate::config::{Config, Environment, parse_duration};
use crate::name::{InvalidName, StreamName};
use crate::network::{InvalidNetwork, Network};

/// Arguments of `weir play-token`.
#[derive(Args)]
pub struct PlayTokenArgs {
    /// Which stream; "*" is every stream
    #[arg(value_name = "NAME", value_parser = stream_or_all)]
    pub name: StreamOrAll,
    /// How long it is good for, like 30m or 12h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    pub expires: Duration,
    /// Only for viewers at this address, or in this network, like 203.0.113.7 or 203.0.113.0/24
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub addr: Option<String>,
    /// Configuration file (TOML) with auth.play_secret [env: WEIR_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A stream, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamOrAll {
    /// This one.
    Stream(StreamName),
    /// All that there are and will be.
    All,
}

fn stream_or_all(text: &str) -> Result<StreamOrAll, InvalidName> {
    match text {
        "*" => Ok(StreamOrAll::All),
        name => name.parse().map(StreamOrAll::Stream),
    }
}

fn lifetime(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text)
        .filter(|time| (SHORTEST_LIFE..=LONGEST_LIFE).contains(time))
        .ok_or("expected a duration from 1s to 3650d")
}

fn address(text: &str) -> Result<String, InvalidNetwork> {
    text.parse().map(|_: Network| text.to_owned())
}

/// Runs `weir play-token`.
pub fn run_play_token(
    args: &PlayTokenArgs,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let config = match Config::load(&[], args.config.as_deref(), environment) {
        Ok(loaded) => loaded.config,
        Err(invalid) => return report(&invalid, err),
    };
    let Some(secret) = config.play.and_then(|keys| keys.secret) else {
        let why = "no secret to sign with: expected auth.play = \"token\" and auth.play_secret in the file of --config or the environment";
        return told(writeln!(err, "{why}"), Exit::Usage);
    };
    let wish = play::Wish {
        name: match &args.name {
            StreamOrAll::Stream(name) => Some(name.clone()),
            StreamOrAll::All => None,
        },
        lifetime: args.expires,
        addr: args.addr.clone(),
    };
    match play::sign(&secret, &wish, clock::unix_ms()) {
        Ok(token) => told(writeln!(out, "{token}"), Exit::Success),
        Err(error) => told(writeln!(err, "{error}"), Exit::Failure),
    }
}

/// Of a token.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// Ten years.
const LONGEST_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
