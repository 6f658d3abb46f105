//! `weir recordings`: looks after what is in a store.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::config::{Config, Record};
use crate::name::StreamName;
use crate::record::catalogue::{self, Findings, Patience, Which};
use crate::record::store::{Fault, Store};
use crate::record::{Others, Recorder, Snapshot, State};
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
            Task::List => work.list().await,
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

    async fn list(&self) -> Result<bool> {
        let all = self.chosen().await?;
        if all.is_empty() {
            return Ok(self.choice.id.is_none());
        }
        let sums = catalogue::sums(&self.store, all).await;
        let widest = sums.iter().map(|(which, _)| which.name.as_str().len());
        let widest = widest.max();
        let width = widest.unwrap_or(0).max("STREAM".len());
        say(&format!(
            "{:width$}  {:13}  {:20}  {:>9}  {:>9}  {:>4}  STATE",
            "STREAM", "RECORDING", "STARTED", "DURATION", "SIZE", "GAPS"
        ));
        let mut good = true;
        for (which, sum) in &sums {
            let sum = match sum {
                Ok(sum) => sum,
                Err(fault) => {
                    good = false;
                    tell_fault(which, &fault.why);
                    continue;
                }
            };
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
        Ok(good)
    }

    async fn check(&self, deep: bool) -> Result<bool> {
        let look = async |which: &Which| {
            let Some(found) = catalogue::check(&self.store, which, deep).await? else {
                return Ok(Report::nothing());
            };
            Ok(Report::of(which, &found))
        };
        self.each(look).await
    }

    /// Does `task` with each recording, whatever becomes of the others, and gives back
    /// whether all are good.
    async fn each(&self, task: impl AsyncFn(&Which) -> Result<Report, Fault>) -> Result<bool> {
        let all = self.chosen().await?;
        let bar = bar(all.len());
        // What was asked for by its number has to be there.
        let mut good = self.choice.id.is_none() || !all.is_empty();
        let mut patience = Patience::default();
        for which in all {
            bar.set_message(format!("{} {}", which.name, which.id));
            let done = task(&which).await;
            bar.inc(1);
            let fault = match done {
                Ok(report) => {
                    patience.is_over(None);
                    good &= report.good;
                    bar.suspend(|| report.lines.iter().for_each(|line| say(line)));
                    continue;
                }
                Err(fault) => fault,
            };
            good = false;
            bar.suspend(|| tell_fault(&which, &fault.why));
            if patience.is_over(Some(&fault)) {
                bar.finish_and_clear();
                bail!("the store does not answer: {}", fault.why);
            }
        }
        bar.finish_and_clear();
        Ok(good)
    }

    async fn repair(&self, config: &Config, record: Record) -> Result<bool> {
        let finished = self.finish(config, record).await?;
        let mend = async |which: &Which| {
            let Some(mut found) = catalogue::check(&self.store, which, false).await? else {
                return Ok(Report::nothing());
            };
            let mut gone = 0;
            // What the spool still has is not gone.
            let stuck = finished.stuck.contains(&(which.name.to_string(), which.id));
            if !stuck
                && !found.missing.is_empty()
                && catalogue::mark_missing(&self.store, which, &found).await?
            {
                gone = std::mem::take(&mut found.missing).len();
                found.sum.gaps += gone as u64;
            }
            // What is left is nothing that can be mended from here.
            let mut report = Report::of(which, &found);
            if gone > 0 {
                report.lines.push(format!(
                    "  {gone} segments are gone for good; its playlist says so now"
                ));
            }
            Ok(report)
        };
        Ok(self.each(mend).await? && finished.good)
    }

    /// Does what a start of the server would do with what earlier ones left.
    async fn finish(&self, config: &Config, mut record: Record) -> Result<Finished> {
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
        let mut good = self.resend(&data).await?;
        // Nobody will continue what is repaired.
        record.merge = Duration::ZERO;
        record.keep_days = 0;
        let recorder = Recorder::open(record, &data, config.hls.segment, Others::TakenUp)?;
        let stuck = bring(&recorder).await;
        good &= stuck.is_empty();
        if let Err(fault) = recorder.sweep().await {
            say(&format!(
                "Not everything that was left open could be closed: {}",
                fault.why
            ));
            good = false;
        }
        for one in recorder.all().iter().filter(|one| is_closed(one)) {
            say(&format!(
                "{} {}: finished, {} segments in the store, {} lost",
                one.name, one.id, one.stored.segments, one.gaps.segments
            ));
        }
        drop(throwaway);
        Ok(Finished { good, stuck })
    }

    async fn resend(&self, data: &Path) -> Result<bool> {
        let mut good = true;
        let resent = catalogue::resend(&self.store, data).await;
        for (which, resent) in resent.context("the spool cannot be read")? {
            match resent {
                Ok(0) => {}
                Ok(count) => say(&format!(
                    "{} {}: {count} segments were sent again: the store did not have them as they were",
                    which.name, which.id
                )),
                Err(fault) => {
                    tell_fault(&which, &fault.why);
                    good = false;
                }
            }
        }
        Ok(good)
    }
}

/// What became of recordings that nobody had finished.
struct Finished {
    good: bool,
    /// Those of which the spool still has something.
    stuck: BTreeSet<(String, u64)>,
}

/// Waits until all that is in the spool is in the store, but for recordings that get no
/// further, which it gives back.
async fn bring(recorder: &Recorder) -> BTreeSet<(String, u64)> {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let progress = bar(0);
    let mut stalls = Stalls::default();
    loop {
        tick.tick().await;
        let all = recorder.all();
        let bytes: u64 = all.iter().map(|one| one.backlog.bytes).sum();
        progress.set_message(format!("{} to be brought to the store", size(bytes)));
        for (one, why) in stalls.look(&all, Instant::now()) {
            progress.suspend(|| say(&format!("{} {}: {why}", one.name, one.id)));
        }
        let left = |one: &Snapshot| !is_closed(one) && !stalls.given_up.contains(&key(one));
        if !all.iter().any(left) {
            progress.finish_and_clear();
            return stalls.given_up;
        }
    }
}

/// Recordings that get no further.
#[derive(Default)]
struct Stalls {
    /// Since when, with what was left then.
    since: BTreeMap<(String, u64), (Instant, u64)>,
    given_up: BTreeSet<(String, u64)>,
}

impl Stalls {
    /// Gives back those that are given up now, and why.
    fn look<'a>(&mut self, all: &'a [Snapshot], now: Instant) -> Vec<(&'a Snapshot, &'a str)> {
        let mut over = Vec::new();
        for one in all {
            let key = key(one);
            let Some(why) = one.error.as_deref().filter(|_| !is_closed(one)) else {
                self.since.remove(&key);
                self.given_up.remove(&key);
                continue;
            };
            let left = one.backlog.segments;
            let since = self.since.entry(key.clone()).or_insert((now, left));
            if left < since.1 {
                *since = (now, left);
            } else if now.duration_since(since.0) >= STALLED && self.given_up.insert(key) {
                over.push((one, why));
            }
        }
        over
    }
}

fn key(one: &Snapshot) -> (String, u64) {
    (one.name.to_string(), one.id)
}

fn is_closed(one: &Snapshot) -> bool {
    one.state == State::Closed
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

fn tell_fault(which: &Which, why: &str) {
    say(&format!("{} {}: {why}", which.name, which.id));
}

/// What is told of a recording.
struct Report {
    good: bool,
    lines: Vec<String>,
}

impl Report {
    /// Of a recording that is gone by now.
    fn nothing() -> Self {
        Self {
            good: true,
            lines: Vec::new(),
        }
    }

    fn of(which: &Which, found: &Findings) -> Self {
        let (sum, faults) = (&found.sum, found.faults());
        let state = match (faults.len(), sum.closed) {
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
        let mut lines = vec![format!(
            "{} {}: {state}; {}, {} segments, {}{gaps}",
            which.name,
            which.id,
            duration(sum.duration_ms),
            found.segments,
            size(sum.bytes),
        )];
        lines.extend(faults.iter().take(MOST_TOLD).map(|one| format!("  {one}")));
        if faults.len() > MOST_TOLD {
            lines.push(format!("  and {} more", faults.len() - MOST_TOLD));
        }
        Self {
            good: faults.is_empty(),
            lines,
        }
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

/// How long a recording may fail to get any further before the others go on without
/// it: some three tries.
const STALLED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Amount;

    fn one(id: u64, segments: u64, error: Option<&str>) -> Snapshot {
        Snapshot {
            name: "demo".parse().unwrap(),
            id,
            state: State::Stalled,
            error: error.map(str::to_owned),
            backlog: Amount {
                segments,
                ..Amount::default()
            },
            stored: Amount::default(),
            gaps: Amount::default(),
        }
    }

    #[tokio::test]
    async fn only_what_gets_no_further_is_given_up() {
        let start = Instant::now();
        let mut stalls = Stalls::default();
        let mut look = |seconds: u64, all: &[Snapshot]| {
            let over = stalls.look(all, start + Duration::from_secs(seconds));
            let over: Vec<_> = over.iter().map(|(one, _)| one.id).collect();
            (over, stalls.given_up.len())
        };
        let stuck = || one(1, 3, Some("no"));
        assert_eq!(look(0, &[stuck(), one(2, 9, Some("slow"))]), (vec![], 0));
        assert_eq!(look(9, &[stuck(), one(2, 8, Some("slow"))]), (vec![], 0));
        assert_eq!(look(10, &[stuck(), one(2, 8, Some("slow"))]), (vec![1], 1));
        assert_eq!(look(11, &[stuck(), one(2, 8, None)]), (vec![], 1));
        assert_eq!(look(30, &[stuck(), one(2, 8, Some("slow"))]), (vec![], 1));
        assert_eq!(look(31, &[one(1, 2, None)]), (vec![], 0), "it came back");
    }
}
