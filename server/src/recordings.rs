//! `weir recordings`: looks after what is in a store.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::{Config, Record};
use crate::name::StreamName;
use crate::record::catalogue::{self, Which};
use crate::record::store::{Fault, Store};
use crate::record::{Others, Recorder, Snapshot, Sum};
use crate::serve;

/// What is to be done, with the recordings of one stream or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Tell what there is.
    List,
    /// Look at every segment; `deep`: into every segment.
    Check {
        /// Whether the media themselves are read.
        deep: bool,
    },
    /// Bring what the spool has to the store, finish what nobody finished, and mark
    /// what is missing.
    Repair,
}

/// Which recordings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Those of this stream.
    pub name: Option<StreamName>,
    /// This one.
    pub id: Option<u64>,
}

/// Runs `weir recordings`. `Ok(false)`: something is wrong with a recording.
pub fn run(config: &Config, task: Task, choice: &Choice) -> Result<bool> {
    let record = config.record.clone().context(
        "record.store is \"none\": say where the recordings are with --record file:///DIR or s3://BUCKET[/PREFIX], or with --config FILE",
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let url = record.store.url.to_string();
        let work = Work {
            store: open(&record).await?,
            url,
            choice,
        };
        match task {
            Task::List => work.list().await.map(|()| true),
            Task::Check { deep } => work.check(deep).await,
            Task::Repair => work.repair(config, record).await,
        }
    })
}

async fn open(record: &Record) -> Result<Store> {
    // Nothing is made where nothing is: a folder that is spelled wrongly stays away.
    if let Some(folder) = record.store.url.folder()
        && !folder.is_dir()
    {
        bail!("{} is no folder", folder.display());
    }
    told(Store::open(&record.store).await)
}

struct Work<'a> {
    store: Store,
    url: String,
    choice: &'a Choice,
}

impl Work<'_> {
    async fn chosen(&self) -> Result<Vec<Which>> {
        let mut all = told(catalogue::all(&self.store, self.choice.name.as_ref()).await)?;
        all.retain(|which| self.choice.id.is_none_or(|id| id == which.id));
        if all.is_empty() {
            let what = match (&self.choice.name, self.choice.id) {
                (Some(name), Some(id)) => format!("is no recording {id} of {name}"),
                (Some(name), None) => format!("are no recordings of {name}"),
                (None, _) => "are no recordings".to_owned(),
            };
            say(&format!("There {what} in {}.", self.url));
        }
        Ok(all)
    }

    async fn list(&self) -> Result<()> {
        let all = self.chosen().await?;
        if all.is_empty() {
            return Ok(());
        }
        let sums = told(catalogue::sums(&self.store, all).await)?;
        let widest = sums.keys().map(|which| which.name.as_str().len()).max();
        let width = widest.unwrap_or(0).max("STREAM".len());
        say(&format!(
            "{:width$}  {:13}  {:20}  {:>9}  {:>9}  {:>4}  STATE",
            "STREAM", "RECORDING", "STARTED", "DURATION", "SIZE", "GAPS"
        ));
        for (which, sum) in &sums {
            let started = packager::playlist::iso8601(i64::try_from(which.id).unwrap_or(i64::MAX));
            let started = started.split('.').next().unwrap_or_default();
            let state = if sum.closed { "closed" } else { "open" };
            say(&format!(
                "{:width$}  {:13}  {started:19}Z  {:>9}  {:>9}  {:>4}  {state}",
                which.name.as_str(),
                which.id,
                duration(sum.duration_ms),
                size(sum.bytes),
                sum.gaps,
            ));
        }
        Ok(())
    }

    async fn check(&self, deep: bool) -> Result<bool> {
        let all = self.chosen().await?;
        let bar = bar(all.len());
        let mut good = true;
        for which in all {
            bar.set_message(format!("{} {}", which.name, which.id));
            let found = told(catalogue::check(&self.store, &which, deep).await)?;
            bar.inc(1);
            let Some(found) = found else { continue };
            good &= found.flaws.is_empty();
            bar.suspend(|| tell(&which, &found.sum, found.segments, &found.flaws));
        }
        bar.finish_and_clear();
        Ok(good)
    }

    async fn repair(&self, config: &Config, record: Record) -> Result<bool> {
        let mut good = self.finish(config, record).await?;
        for which in self.chosen().await? {
            let found = told(catalogue::check(&self.store, &which, false).await)?;
            let Some(found) = found else { continue };
            if !found.missing.is_empty() {
                told(catalogue::mark_missing(&self.store, &which, &found.missing).await)?;
                say(&format!(
                    "{} {}: {} segments are gone for good; its playlist says so now",
                    which.name,
                    which.id,
                    found.missing.len()
                ));
            }
            // What is left is nothing that can be mended from here.
            let left = found.flaws.len() - found.missing.len().min(found.flaws.len());
            good &= left == 0;
            if left > 0 || found.missing.is_empty() {
                let others = found.flaws.iter();
                let others: Vec<_> = others
                    .filter(|flaw| !flaw.ends_with("is listed and not there"))
                    .cloned()
                    .collect();
                tell(&which, &found.sum, found.segments, &others);
            }
        }
        Ok(good)
    }

    /// Does what a start of the server would do with what earlier ones left.
    async fn finish(&self, config: &Config, mut record: Record) -> Result<bool> {
        // A folder that is spelled wrongly is told rather than made.
        let (data, _lock, throwaway) = match config.data.is_dir() {
            true => (config.data.clone(), Some(serve::lock(&config.data)?), None),
            false => {
                say(&format!(
                    "There is no data directory {}: what the store has is all there is.",
                    config.data.display()
                ));
                let throwaway = Throwaway::new()?;
                (throwaway.0.clone(), None, Some(throwaway))
            }
        };
        // Nobody will continue what is repaired.
        record.merge = Duration::ZERO;
        record.keep_days = 0;
        let recorder = Recorder::open(record, &data, config.hls.segment, Others::TakenUp)?;
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        let progress = bar(0);
        let open = |one: &Snapshot| one.state != crate::record::State::Closed;
        loop {
            tick.tick().await;
            let all = recorder.all();
            let left = all.iter().filter(|one| open(one));
            let stalled = all.iter().find_map(|one| one.error.clone());
            if let Some(why) = stalled {
                progress.finish_and_clear();
                return Err(anyhow!("{why}"));
            }
            let bytes: u64 = all.iter().map(|one| one.backlog.bytes).sum();
            progress.set_message(format!("{} to be brought to the store", size(bytes)));
            if left.count() == 0 {
                break;
            }
        }
        progress.finish_and_clear();
        told(recorder.sweep().await)?;
        let all = recorder.all();
        for one in &all {
            say(&format!(
                "{} {}: finished, {} segments in the store, {} lost",
                one.name, one.id, one.stored.segments, one.gaps.segments
            ));
        }
        drop(throwaway);
        Ok(true)
    }
}

/// A data directory for the time of a repair.
struct Throwaway(PathBuf);

impl Throwaway {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("weir-repair-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tell(which: &Which, sum: &Sum, segments: u64, flaws: &[String]) {
    let state = match (flaws.len(), sum.closed) {
        (0, true) => "ok".to_owned(),
        (0, false) => "ok, not closed yet".to_owned(),
        (1, _) => "1 fault".to_owned(),
        (count, _) => format!("{count} faults"),
    };
    let gaps = match sum.gaps {
        0 => String::new(),
        1 => ", 1 gap".to_owned(),
        gaps => format!(", {gaps} gaps"),
    };
    say(&format!(
        "{} {}: {state}; {}, {segments} segments, {}{gaps}",
        which.name,
        which.id,
        duration(sum.duration_ms),
        size(sum.bytes),
    ));
    for flaw in flaws.iter().take(MOST_TOLD) {
        say(&format!("  {flaw}"));
    }
    if flaws.len() > MOST_TOLD {
        say(&format!("  and {} more", flaws.len() - MOST_TOLD));
    }
}

/// A bar on a terminal, nothing elsewhere.
fn bar(length: usize) -> ProgressBar {
    let bar = match length {
        0 => ProgressBar::new_spinner(),
        length => ProgressBar::new(length as u64),
    };
    let style = match length {
        0 => ProgressStyle::with_template("{spinner} {msg}"),
        _ => ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}"),
    };
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Nobody needs what a closed pipe does not take.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn told<T>(done: Result<T, Fault>) -> Result<T> {
    done.map_err(|fault| anyhow!("{}", fault.why))
}

/// `h:mm:ss`.
fn duration(ms: u64) -> String {
    let seconds = (ms + 500) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours}:{minutes:02}:{seconds:02}")
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// Faults of a recording that are told one by one.
const MOST_TOLD: usize = 20;
