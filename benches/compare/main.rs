//! weir and ffmpeg side by side on the same clips; `scripts/compare.sh` starts
//! it and says what there is to ask for.
//!
//! Everything measured is a program of its own: this one links none of weir's
//! codecs, starts the contestants in turn, and reads what they leave behind as
//! any player would.

mod clip;
mod contestant;
mod cost;
mod equal;
mod ladder;
mod measure;
mod output;
mod quality;
mod rates;
mod report;
mod rounds;
mod ts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::contestant::Contestant;
use crate::report::Report;

/// What the script and the user ask for, from the environment.
pub(crate) struct Options {
    /// The program under test.
    pub weir: PathBuf,
    /// Another build of it, for the contestant `weir-other`.
    pub weir_other: Option<PathBuf>,
    /// ffmpeg with libx264; where it has libopenh264 and libvmaf, so much the better.
    pub ffmpeg: PathBuf,
    /// Where the clips are kept.
    pub clips: PathBuf,
    /// Where ladders are written; emptied as needed.
    pub work: PathBuf,
    /// Names of the clips asked for; empty for all.
    pub clip_names: Vec<String>,
    /// The contestants asked for; empty for those that say most.
    pub contestants: Vec<Contestant>,
    /// Rounds in which every contestant has its turn.
    pub runs: usize,
    /// Whether quality is judged: by far the longest part.
    pub vmaf: bool,
    /// Seconds of each measurement of a live server.
    pub live_seconds: u64,
    /// What the script found out itself, for the report.
    pub note: Option<String>,
    /// The section of docs/performance.md to write the report to.
    pub section: Option<String>,
}

impl Options {
    fn from_environment() -> Result<Self> {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        let needed = |name: &str| {
            path(name).with_context(|| format!("{name} is not set: start scripts/compare.sh"))
        };
        let number = |name: &str, default: u64| -> Result<u64> {
            let Some(value) = text(name) else {
                return Ok(default);
            };
            let number = value.parse().ok().filter(|number| *number > 0);
            number.with_context(|| format!("{name}={value}: expected a number above 0"))
        };
        let mut contestants = Vec::new();
        for name in text("CONTESTANTS").unwrap_or_default().split_whitespace() {
            contestants.push(Contestant::named(name)?);
        }
        let mut clip_names = Vec::new();
        for name in text("CLIPS").unwrap_or_default().split_whitespace() {
            clip_names.push(name.to_owned());
        }
        Ok(Self {
            weir: needed("WEIR")?,
            weir_other: path("COMPARE_OTHER"),
            ffmpeg: needed("COMPARE_FFMPEG")?,
            clips: needed("COMPARE_CLIPS")?,
            work: needed("COMPARE_WORK")?,
            clip_names,
            contestants,
            runs: number("RUNS", 3)? as usize,
            vmaf: text("VMAF").is_none_or(|value| value != "0"),
            live_seconds: number("SECONDS_LIVE", 30)?,
            note: text("COMPARE_NOTE"),
            section: text("COMPARE_SECTION"),
        })
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::from_environment()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut report = Report::new();
    match words[..] {
        ["run"] => rounds::run(&options, &mut report)?,
        ["cost"] => cost::run(&options, &mut report)?,
        ["equal"] => equal::run(&options, &mut report)?,
        ["rates", folder] => rates::run(&options, Path::new(folder), None, &mut report)?,
        ["rates", folder, config] => rates::run(
            &options,
            Path::new(folder),
            Some(Path::new(config)),
            &mut report,
        )?,
        _ => bail!("start scripts/compare.sh, which explains itself"),
    }
    let place = options.work.with_file_name("REPORT.md");
    report.save(&place)?;
    match &options.section {
        Some(section) => report.publish(Path::new("docs/performance.md"), section),
        None => Ok(()),
    }
}
