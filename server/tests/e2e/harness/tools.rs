//! Programs that were written by others.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use super::server::listen;
use super::{pause, until};

/// A program of the test group, or a failure that says how to get it.
#[track_caller]
pub(crate) fn tool(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    assert!(here, "{name} is not installed: run scripts/setup.sh test");
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

/// ffmpeg that speaks of warnings and errors only.
pub(crate) fn ffmpeg() -> Command {
    let mut command = tool("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-y", "-loglevel", "warning"]);
    command
}

/// Runs to the end; the test fails when the program does.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}",
        output.status
    );
    output
}

pub(crate) fn signal(process: u32, name: &str) {
    run(tool("kill").args([&format!("-{name}"), &process.to_string()]));
}

/// What ffprobe says of a file: the sections asked for, as JSON. A warning
/// fails the test.
#[track_caller]
pub(crate) fn ffprobe(file: &Path, sections: &[&str]) -> serde_json::Value {
    let mut command = tool("ffprobe");
    command
        .args(["-hide_banner", "-loglevel", "warning", "-of", "json"])
        .args(sections)
        .arg(file);
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.is_empty(), "ffprobe on {}: {said}", file.display());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Decodes a file with ffmpeg; the slightest complaint fails the test.
#[track_caller]
pub(crate) fn decodes(file: &Path) {
    let output = run(ffmpeg().arg("-i").arg(file).args(["-f", "null", "-"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.is_empty(),
        "ffmpeg decoding {}: {said}",
        file.display()
    );
}

/// A digest of each picture that ffmpeg decodes from a file.
#[track_caller]
pub(crate) fn pictures(file: &Path) -> Vec<String> {
    let mut command = ffmpeg();
    command.arg("-i").arg(file);
    let output = run(command.args([
        "-map",
        "0:v",
        "-vsync",
        "passthrough",
        "-f",
        "framemd5",
        "-",
    ]));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digest = |line: &str| {
        line.rsplit(',')
            .next()
            .map(|digest| digest.trim().to_owned())
    };
    lines.filter_map(digest).collect()
}

/// Digests of the packets of each stream, as ffmpeg reads them.
#[track_caller]
pub(crate) fn packets(file: &Path) -> BTreeMap<String, Vec<String>> {
    let mut command = ffmpeg();
    command
        .arg("-i")
        .arg(file)
        .args(["-c", "copy", "-f", "framehash", "-hash", "md5", "-"]);
    let output = run(command.stdout(Stdio::piped()));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        found
            .entry(fields[0].to_owned())
            .or_default()
            .push(fields[5].to_owned());
    }
    found
}

/// Every file below `dir`, by its path there.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(dir).expect("below it").to_string_lossy();
            found.insert(name.into_owned(), std::fs::read(&path).expect("a file"));
        }
    }
    found
}

/// A program that runs beside the test, killed when dropped.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let said = listen(child.stderr.take().expect("a pipe"));
        Self { child, said }
    }

    /// What it said on standard error.
    pub(crate) fn said(&self) -> String {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for its end, and for its last words.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = until("a program to end", || {
            self.child.try_wait().expect("a child")
        });
        // Who listens lets go at the end of the pipe, which a child of the program's
        // own may hold open.
        for _ in 0..100 {
            if Arc::strong_count(&self.said) == 1 {
                break;
            }
            pause();
        }
        status
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Asks it to end and gives it a second. No failure is reported.
    pub(crate) fn terminate(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        for _ in 0..50 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            pause();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the publisher said\n{}----", self.said());
        }
    }
}

/// ffmpeg publishing a file as it is, in real time.
pub(crate) fn publish(file: &Path, url: &str) -> Running {
    Running::start(
        ffmpeg()
            .arg("-re")
            .arg("-i")
            .arg(file)
            .args(["-c", "copy", "-f", "flv", url]),
    )
}

/// As [`publish`], again and again.
pub(crate) fn publish_for_ever(file: &Path, url: &str) -> Running {
    let mut command = ffmpeg();
    command
        .args(["-re", "-stream_loop", "-1", "-i"])
        .arg(file)
        .args(["-c", "copy", "-f", "flv", url]);
    Running::start(&mut command)
}
