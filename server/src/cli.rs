//! The command line: what can be said, and the commands that need no server.
//!
//! A flag that a file or a variable may set as well is an `Option` of unchecked
//! text: a default here would silently overrule the file, and a check here
//! would word its complaint unlike the other layers.

mod play_token;
mod secrets;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, DEFAULT_FILE, Environment, Flag, Invalid, Loaded};
use crate::name::StreamName;
use crate::recordings::{Choice, Task};

pub use play_token::{PlayTokenArgs, StreamOrAll, run_play_token};
pub use secrets::{
    DataArgs, KeyArgs, KeysCommand, RotateArgs, StreamArgs, TokenArgs, TokenCommand,
};
pub use secrets::{run_keys, run_token};

/// The whole command line. No `Debug`: URLs on it may hold stream keys.
#[derive(Parser)]
#[command(
    name = "weir",
    version,
    about = "Live-streaming server: takes in RTMP, serves adaptive HLS",
    after_help = "Settings come from flags, then WEIR_<SECTION>_<KEY> variables, then the file of --config, \
                  then defaults; `weir config default` prints them all.\n\
                  Exit codes: 0 done, 1 failed while running, 2 bad settings or usage."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the media server: take in RTMP, transcode, serve HLS
    Serve(ServeArgs),
    /// Turn an .flv file into an HLS ladder on disk, without a server
    Transcode(TranscodeArgs),
    /// Publish an .flv file in real time to an RTMP server
    Publish(PublishArgs),
    /// Play a stream over RTMP, HTTP-FLV or HLS and count what comes; a load tool
    Play(PlayArgs),
    /// Manage stream keys; a running server heeds it at once
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Manage the tokens that the API asks for
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make a token with which a stream can be watched, for where auth.play is "token"
    PlayToken(PlayTokenArgs),
    /// Look after recordings in a store
    #[command(subcommand)]
    Recordings(RecordingsCommand),
    /// Check a configuration file, or print the default one
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a server whether it takes new streams (exit code 0 when /readyz answers 200)
    Health(HealthArgs),
}

/// Flags of `weir serve`.
#[derive(Args, Default)]
pub struct ServeArgs {
    /// Where publishers connect, like 0.0.0.0:1935; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    pub rtmp: Option<String>,
    /// Where viewers connect, like 0.0.0.0:8000; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Directory for stream keys and weir.ports.json [default: weir-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Who may publish: "keys" (holders of a key) or "open" (anybody; the key is the name)
    #[arg(long, value_name = "MODE")]
    pub auth: Option<String>,
    /// Length of a segment, 1 to 10
    #[arg(long, value_name = "SECONDS")]
    pub segment: Option<String>,
    /// Where recordings go: "none", `file:///DIR` or `s3://BUCKET[/PREFIX]`
    #[arg(long, value_name = "STORE")]
    pub record: Option<String>,
    /// What tells other servers who is live; this build knows "memory" alone
    #[arg(long, value_name = "URL")]
    pub registry: Option<String>,
    /// Address under which other servers reach this one; this build knows "auto" alone
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Form of log lines: "text" or "json"
    #[arg(long, value_name = "FORM")]
    pub log: Option<String>,
    /// Configuration file (TOML) [env: WEIR_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What to do with recordings.
#[derive(Subcommand)]
pub enum RecordingsCommand {
    /// Tell what there is
    List(RecordingsArgs),
    /// See that every segment that is listed is there and as large as it was (exit code 1
    /// when anything is wrong)
    Check {
        /// Read every segment, and see that it lasts as long as is said
        #[arg(long)]
        deep: bool,
        /// Which, and where.
        #[command(flatten)]
        args: RecordingsArgs,
    },
    /// Bring what the spool still has to the store, finish what nobody finished, and
    /// mark what is missing; the server of the data directory must not be running
    Repair(RecordingsArgs),
}

/// Which recordings, and where they are.
#[derive(Args)]
pub struct RecordingsArgs {
    /// Those of this stream
    #[arg(value_name = "NAME")]
    pub name: Option<StreamName>,
    /// This one
    #[arg(value_name = "RECORDING", requires = "name")]
    pub id: Option<u64>,
    /// Where they are: `file:///DIR` or `s3://BUCKET[/PREFIX]`
    #[arg(long, value_name = "STORE")]
    pub record: Option<String>,
    /// Data directory with the spool [default: weir-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Configuration file (TOML) [env: WEIR_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `weir transcode`.
#[derive(Args)]
pub struct TranscodeArgs {
    /// An .flv file, or - for standard input
    #[arg(value_name = "INPUT")]
    pub input: PathBuf,
    /// Directory for master.m3u8 and the rungs
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Configuration file (TOML) [env: WEIR_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `weir publish`.
#[derive(Args)]
pub struct PublishArgs {
    /// An .flv file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to, key included, like `rtmp://127.0.0.1:1935/stream/KEY`
    #[arg(value_name = "URL")]
    pub url: String,
    /// Start again at the end of the file; timestamps go on rising
    #[arg(long = "loop")]
    pub repeat: bool,
    /// Publish this many times at once; -1, -2, … is added to the key
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub copies: u32,
    /// For rtmps://: a PEM file of CA certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Arguments of `weir play`.
#[derive(Args)]
pub struct PlayArgs {
    /// What to play: rtmp://…/stream/NAME, http://…/stream/NAME.flv, http://…/NAME/live.m3u8, or the same with TLS (rtmps, https)
    #[arg(value_name = "URL")]
    pub url: String,
    /// Play this many times at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub copies: u32,
    /// Stop after so many seconds; otherwise when the stream ends
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// For rtmps:// and https://: a PEM file of CA certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Arguments of `weir health`.
#[derive(Args)]
pub struct HealthArgs {
    /// The server, like http://127.0.0.1:8000
    #[arg(value_name = "URL")]
    pub url: String,
    /// For https://: a PEM file of CA certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// `weir config …`
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Tell all that is wrong with a configuration file, one line each
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print a file of all settings with their defaults
    Default,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Success,
    /// 1: failed while running.
    Failure,
    /// 2: bad settings or usage (as clap's own).
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
        })
    }
}

impl ServeArgs {
    /// The settings of this start.
    pub fn load(&self, environment: &Environment) -> Result<Loaded, Invalid> {
        let loaded = Config::load(&self.flags(), self.config.as_deref(), environment)?;
        loaded.config.check_named_files()?;
        Ok(loaded)
    }

    fn flags(&self) -> Vec<Flag> {
        let pairs = [
            ("rtmp.listen", "--rtmp", &self.rtmp),
            ("http.listen", "--http", &self.http),
            ("data", "--data", &self.data),
            ("auth.mode", "--auth", &self.auth),
            ("hls.segment", "--segment", &self.segment),
            ("record.store", "--record", &self.record),
            ("registry.url", "--registry", &self.registry),
            ("registry.advertise", "--advertise", &self.advertise),
            ("log", "--log", &self.log),
        ];
        given(pairs)
    }
}

impl TranscodeArgs {
    /// The settings of this run.
    pub fn load(&self, environment: &Environment) -> Result<Loaded, Invalid> {
        Config::load(&[], self.config.as_deref(), environment)
    }
}

impl RecordingsCommand {
    /// What is to be done.
    pub fn task(&self) -> Task {
        match self {
            Self::List(_) => Task::List,
            Self::Check { deep, .. } => Task::Check { deep: *deep },
            Self::Repair(_) => Task::Repair,
        }
    }

    /// With what.
    pub fn args(&self) -> &RecordingsArgs {
        match self {
            Self::List(args) | Self::Check { args, .. } | Self::Repair(args) => args,
        }
    }
}

impl RecordingsArgs {
    /// The settings of this run.
    pub fn load(&self, environment: &Environment) -> Result<Loaded, Invalid> {
        let flags = given([
            ("record.store", "--record", &self.record),
            ("data", "--data", &self.data),
        ]);
        Config::load(&flags, self.config.as_deref(), environment)
    }

    /// Which are chosen.
    pub fn choice(&self) -> Choice {
        Choice {
            name: self.name.clone(),
            id: self.id,
        }
    }
}

fn given<'a>(
    pairs: impl IntoIterator<Item = (&'static str, &'static str, &'a Option<String>)>,
) -> Vec<Flag> {
    let flag = |(setting, flag, value): (_, _, &Option<String>)| {
        let value = value.clone()?;
        Some(Flag {
            setting,
            flag,
            value,
        })
    };
    pairs.into_iter().filter_map(flag).collect()
}

/// Tells on `err` what is wrong with the settings, one line each.
pub fn report(invalid: &Invalid, err: &mut dyn Write) -> Exit {
    told(writeln!(err, "{invalid}"), Exit::Usage)
}

/// Runs `weir config`.
pub fn run_config(command: &ConfigCommand, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    match command {
        ConfigCommand::Check { file } => match Config::check_file(file) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    let _ = writeln!(err, "warning: {warning}");
                }
                told(writeln!(out, "{}: ok", file.display()), Exit::Success)
            }
            Err(invalid) => report(&invalid, err),
        },
        ConfigCommand::Default => told(out.write_all(DEFAULT_FILE.as_bytes()), Exit::Success),
    }
}

/// Output that nobody reads (a closed pipe) changes nothing about the outcome,
/// but output that is lost to a full disk does: the key is on it.
fn told(written: io::Result<()>, exit: Exit) -> Exit {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failure,
        _ => exit,
    }
}

#[cfg(test)]
mod tests;
