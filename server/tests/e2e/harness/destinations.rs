//! Places that streams are sent to, written by others, and what stands in the
//! way to them.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use super::certificates::Pair;
use super::tools::{Running, ffmpeg, tool};
use super::until;

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

/// nginx with its RTMP module, which records what is published to it.
pub(crate) struct Nginx {
    port: u16,
    running: Option<Running>,
    dir: tempfile::TempDir,
}

impl Nginx {
    pub(crate) fn new() -> Self {
        let mut nginx = Self {
            port: free_port(),
            running: None,
            dir: tempfile::tempdir().expect("a directory"),
        };
        nginx.start();
        nginx
    }

    /// The server's URL, without a key.
    pub(crate) fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    pub(crate) fn start(&mut self) {
        let (dir, port) = (self.dir.path().display(), self.port);
        // Root's worker would become nobody, who may not write here.
        let user = match is_root() {
            true => "user root;",
            false => "",
        };
        let config = format!(
            "load_module {MODULE};
            {user}
            daemon off;
            worker_processes 1;
            pid {dir}/nginx.pid;
            error_log {dir}/nginx.log warn;
            events {{ worker_connections 64; }}
            rtmp {{
                access_log off;
                server {{
                    listen 127.0.0.1:{port};
                    application live {{
                        live on;
                        record all;
                        record_path {dir};
                        record_unique on;
                    }}
                }}
            }}"
        );
        let file = self.dir.path().join("nginx.conf");
        std::fs::write(&file, config).expect("a file");
        assert!(Path::new(MODULE).exists(), "libnginx-mod-rtmp is missing");
        let mut command = tool("nginx");
        command.arg("-p").arg(self.dir.path()).arg("-c").arg(file);
        command.arg("-e").arg(self.dir.path().join("nginx.log"));
        self.running = Some(Running::start(&mut command));
        listens(self.port, "nginx");
    }

    /// Ends it, and with it the connections.
    pub(crate) fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // Killed, its worker would go on without it, and with the port.
            running.terminate();
        }
    }

    /// What was recorded, oldest first.
    pub(crate) fn recordings(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut found: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|end| end == "flv"))
            .collect();
        found.sort_by_key(|path| {
            let times = std::fs::metadata(path).and_then(|data| data.created());
            times.expect("a file system that keeps times")
        });
        found
    }

    /// Bytes in a recording; none before it is begun.
    pub(crate) fn recorded(&self, index: usize) -> u64 {
        let file = self.recordings().into_iter().nth(index);
        let data = file.and_then(|file| std::fs::metadata(file).ok());
        data.map_or(0, |data| data.len())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}

/// ffmpeg as a server for one publisher, writing what comes to a file.
pub(crate) struct FfmpegListens {
    port: u16,
    pub(crate) running: Running,
    dir: tempfile::TempDir,
}

impl FfmpegListens {
    pub(crate) fn new(key: &str) -> Self {
        let port = free_port();
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("rtmp://127.0.0.1:{port}/live/{key}");
        let mut command = ffmpeg();
        command.args(["-listen", "1", "-i", &url, "-c", "copy"]);
        let running = Running::start(command.arg(dir.path().join("got.flv")));
        // It takes one connection, so that none can be tried: its port is looked up.
        let listening = format!("{port:04X}");
        until("ffmpeg to listen", || {
            let sockets = std::fs::read_to_string("/proc/net/tcp").ok()?;
            sockets.lines().find_map(|line| {
                let mut fields = line.split_whitespace().skip(1);
                let (_, port) = fields.next()?.split_once(':')?;
                (port == listening && fields.nth(1) == Some("0A")).then_some(())
            })
        });
        Self { port, running, dir }
    }

    pub(crate) fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    pub(crate) fn recording(&self) -> PathBuf {
        self.dir.path().join("got.flv")
    }
}

/// stunnel in front of a server; more of its configuration may follow.
pub(crate) struct Stunnel {
    pub(crate) port: u16,
    _running: Running,
    _dir: tempfile::TempDir,
}

impl Stunnel {
    pub(crate) fn start(to: &str, pair: &Pair, more: &str) -> Self {
        Self::with("", to, pair, more)
    }

    /// One that holds next to nothing that its server does not take.
    pub(crate) fn tight(to: &str, pair: &Pair) -> Self {
        let small = "socket = a:SO_RCVBUF=4096\nsocket = r:SO_SNDBUF=4096\n";
        Self::with(small, to, pair, "")
    }

    fn with(settings: &str, to: &str, pair: &Pair, more: &str) -> Self {
        let port = free_port();
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("stunnel.conf");
        let (cert, key) = (pair.cert.display(), pair.key.display());
        let config = format!(
            "foreground = yes\npid =\n{settings}[front]\naccept = 127.0.0.1:{port}\nconnect = {to}\ncert = {cert}\nkey = {key}\n{more}"
        );
        std::fs::write(&file, config).expect("a file");
        let running = Running::start(tool("stunnel").arg(&file));
        listens(port, "stunnel");
        Self {
            port,
            _running: running,
            _dir: dir,
        }
    }
}

fn listens(port: u16, what: &str) {
    until(&format!("{what} to listen"), || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
}

/// Nothing that is sent to a port arrives, and nobody is told.
pub(crate) struct BlackHole {
    table: String,
}

impl BlackHole {
    /// `None`, and a word on standard error, where none may be made.
    pub(crate) fn at(port: u16) -> Option<Self> {
        let table = format!("weir_test_{}_{port}", std::process::id());
        let rules = format!(
            "table inet {table} {{
                chain input {{
                    type filter hook input priority 0
                    tcp dport {port} drop
                }}
            }}"
        );
        // Made first, so that what was begun is taken away as well.
        let hole = Self { table };
        let output = tool("nft").arg(rules).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("Operation not permitted") {
            eprintln!("SKIPPED: the rules of this machine's network may not be changed: {said}");
            return None;
        }
        assert!(output.status.success(), "nft: {said}");
        Some(hole)
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        // Where it could not be made, it is not there either.
        let _ = tool("nft")
            .args(["delete", "table", "inet", &self.table])
            .output();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where Debian's libnginx-mod-rtmp puts it.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
