//! A running `weir serve`.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::http::{self, Answer};
use super::until;

/// The binary under test, apart from the environment of whoever runs the tests.
pub(crate) fn weir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("WEIR_") || name.starts_with("AWS_"))
    {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// A server on ports and in a directory of its own, killed when dropped.
pub(crate) struct Server {
    child: Child,
    dir: tempfile::TempDir,
    said: [Arc<Mutex<String>>; 2],
    pub(crate) rtmp: String,
    /// Empty when it is not configured.
    pub(crate) rtmps: String,
    pub(crate) http: String,
    /// Empty when it is not configured.
    pub(crate) https: String,
}

impl Server {
    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Anybody may publish; segments of two seconds; the default ladder.
    pub(crate) fn open() -> Self {
        Self::start("", &["--auth", "open", "--segment", "2"])
    }

    /// Anybody may publish; segments of a second; `config` is the file.
    pub(crate) fn configured(config: &str) -> Self {
        Self::start(config, &["--auth", "open", "--segment", "1"])
    }

    /// Starts with `config` as the file and `flags`, and waits until it listens.
    pub(crate) fn start(config: &str, flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), config, flags)
    }

    /// As [`Server::configured`], with everything in the log that can be.
    pub(crate) fn talkative(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::launch(dir, config, &["--auth", "open"], &[("RUST_LOG", "trace")])
    }

    /// As [`Server::start`], with the data an earlier server left.
    pub(crate) fn start_in(dir: tempfile::TempDir, config: &str, flags: &[&str]) -> Self {
        Self::launch(dir, config, flags, &[])
    }

    /// As [`Server::start_in`], with variables of the environment.
    pub(crate) fn launch(
        dir: tempfile::TempDir,
        config: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let file = dir.path().join("weir.toml");
        let left = std::fs::read_to_string(dir.path().join("data/weir.ports.json")).ok();
        std::fs::write(&file, config).expect("a configuration file");
        let mut command = weir();
        command
            .args([
                "serve",
                "--rtmp",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(dir.path().join("data"));
        command.arg("--config").arg(file).args(flags);
        command.envs(environment.iter().copied());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("weir starts");
        let said = [
            listen(child.stdout.take().expect("a pipe")),
            listen(child.stderr.take().expect("a pipe")),
        ];
        let mut server = Self {
            child,
            dir,
            said,
            rtmp: String::new(),
            rtmps: String::new(),
            http: String::new(),
            https: String::new(),
        };
        let ports = until("weir.ports.json", || {
            let ended = server.child.try_wait().expect("a child");
            assert!(ended.is_none(), "weir ended: {ended:?}");
            let ports = std::fs::read_to_string(server.ports_file()).ok();
            ports.filter(|ports| left.as_ref() != Some(ports))
        });
        let ports: serde_json::Value =
            serde_json::from_str(&ports).expect("the ports file appears whole");
        let port = |name: &str| {
            ports[name]
                .as_str()
                .unwrap_or_else(|| panic!("{name} in {ports}"))
                .to_owned()
        };
        (server.rtmp, server.http) = (port("rtmp"), port("http"));
        for (name, field) in [("rtmps", &mut server.rtmps), ("https", &mut server.https)] {
            if !ports[name].is_null() {
                *field = port(name);
            }
        }
        server
    }

    pub(crate) fn ports_file(&self) -> PathBuf {
        self.data().join("weir.ports.json")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Everything below the data directory, file by file.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    walk(&path, found)
                } else {
                    found.push(path)
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.data(), &mut found);
        found.sort();
        found
    }

    /// The files in a folder of the data directory, which need not be there.
    pub(crate) fn files_below(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = self.files();
        files.retain(|file| file.starts_with(self.data().join(folder)));
        files
    }

    /// Where `key` publishes to.
    pub(crate) fn publish_url(&self, key: &str) -> String {
        format!("rtmp://{}/stream/{key}", self.rtmp)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        http::get(&self.http, path)
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        http::ask(&self.http, method, path, headers)
    }

    /// A sample of `/metrics`, by its name with labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics").text();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    /// Log lines so far.
    pub(crate) fn log(&self) -> String {
        self.said[1]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Standard output so far.
    pub(crate) fn output(&self) -> String {
        self.said[0]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for a log line with all of `words` and gives it back.
    #[track_caller]
    pub(crate) fn logged(&self, words: &[&str]) -> String {
        until(&format!("a log line with {words:?}"), || {
            self.log()
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)))
                .map(str::to_owned)
        })
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process()));
        let status = status.expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("VmRSS") << 10
    }

    pub(crate) fn signal(&self, name: &str) {
        super::tools::signal(self.child.id(), name);
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("weir to end", || self.has_ended())
    }

    /// Kills it, which it does not notice, and keeps its directory.
    pub(crate) fn into_dir(mut self) -> tempfile::TempDir {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a directory"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- log of weir\n{}----", self.log());
        }
    }
}

/// Collects what a pipe says, in a thread of its own so that it never fills.
pub(crate) fn listen(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let heard = Arc::new(Mutex::new(String::new()));
    let ours = Arc::clone(&heard);
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            ours.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    heard
}
