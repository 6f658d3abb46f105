//! Runs a program and says what it took.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What a program and its children took, as GNU time tells it from `wait4`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// User and system time in seconds, all threads and waited-for children.
    pub cpu: f64,
    pub wall: f64,
    /// Largest resident size of any one process, in MB (10^6 bytes).
    pub peak: f64,
}

/// A program that runs.
pub(crate) struct Running {
    child: Child,
    what: String,
    times: std::path::PathBuf,
    log: std::path::PathBuf,
}

/// Starts `command` (program and arguments, each as they are). Its output goes
/// to `folder`/log.
pub(crate) fn start(command: &[String], folder: &Path) -> Result<Running> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let (times, log) = (folder.join("times"), folder.join("log"));
    let out = fs::File::create(&log).with_context(|| log.display().to_string())?;
    let child = Command::new("/usr/bin/time")
        .args(["--format", "%U %S %e %M", "--output"])
        .arg(&times)
        .args(command)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .context("/usr/bin/time: scripts/setup.sh compare")?;
    Ok(Running {
        child,
        what: command.join(" "),
        times,
        log,
    })
}

impl Running {
    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Result<Taken> {
        let status = self.child.wait()?;
        if !status.success() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(8)..].join("\n");
            bail!("{}: {status}\n{end}", self.what);
        }
        let text = fs::read_to_string(&self.times).context("the times of a run")?;
        let numbers: Vec<f64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("GNU time wrote {text:?}"))?;
        let [user, system, wall, kib] = numbers[..] else {
            bail!("GNU time wrote {text:?}");
        };
        Ok(Taken {
            cpu: user + system,
            wall,
            peak: kib * 1024.0 / 1e6,
        })
    }
}

/// The middle one; between the two middle ones where their number is even.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(median(vec![9.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![9.0, 1.0, 3.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }
}
