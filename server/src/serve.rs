//! `weir serve`: start-up in order, and the way down.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::App;
use crate::auth::guard;
use crate::config::{AuthMode, Config, StreamLimit, Tls};
use crate::database::Database;
use crate::hooks::Hooks;
use crate::name::StreamName;
use crate::secret::Secret;
use crate::tls::{Acceptor, Connector, Listeners};
use crate::{http, ingest};

/// Runs the server until a signal ends it.
pub fn run(config: Config) -> Result<()> {
    run_with(config, None)
}

/// As [`run`], with the hooks of a program that embeds the server.
pub fn run_with(config: Config, hooks: Option<Arc<dyn Hooks>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(serve(config, hooks))
}

async fn serve(config: Config, hooks: Option<Arc<dyn Hooks>>) -> Result<()> {
    raise_file_limit(config.limits.connections + http::MAX_CONNECTIONS);
    let data = config.data.clone();
    if data.exists() && !data.is_dir() {
        bail!("data: {} is a file; expected a directory", data.display());
    }
    std::fs::create_dir_all(&data)
        .with_context(|| format!("data directory {} cannot be made", data.display()))?;
    let _lock = lock(&data)?;
    let ports = PortsFile::new(&data)?;
    let database = Database::open(&data)?;
    database.seed(config.seeds.each())?;
    let first = match config.auth {
        AuthMode::Keys => database.ensure_first_key()?,
        AuthMode::Open | AuthMode::Webhook => None,
    };
    let rtmp = Listeners {
        plain: bind("rtmp.listen", "--rtmp ADDR", config.rtmp.listen).await?,
        tls: secured("rtmp.tls_listen", config.rtmp.tls.as_ref(), &[]).await?,
    };
    let http = Listeners {
        plain: bind("http.listen", "--http ADDR", config.http.listen).await?,
        tls: secured("http.tls_listen", config.http.tls.as_ref(), &[b"http/1.1"]).await?,
    };
    let with_tls = |listeners: &Listeners| {
        let tls = listeners.tls.as_ref();
        tls.map(|(listener, _)| listener.local_addr()).transpose()
    };
    let open = Addresses {
        rtmp: rtmp.plain.local_addr()?,
        rtmps: with_tls(&rtmp)?,
        http: http.plain.local_addr()?,
        https: with_tls(&http)?,
    };

    let tls = Connector::new(config.relay.ca.as_deref()).context("relay.ca")?;
    let app = Arc::new(App::new(config, database, tls, hooks)?);
    app.set_rtmp_port(open.rtmp.port());
    info!(
        rtmp = %open.rtmp,
        rtmps = open.rtmps.map(tracing::field::display),
        http = %open.http,
        https = open.https.map(tracing::field::display),
        version = env!("CARGO_PKG_VERSION"),
        "weir is listening"
    );
    warn_about(&app.config);
    let welcome = Welcome {
        open,
        app: &app.config.rtmp.app,
    };
    welcome.print(first.as_ref());

    let (stop_rtmp, rtmp_stopped) = watch::channel(false);
    let (stop_http, http_stopped) = watch::channel(false);
    let acceptors = [&rtmp.tls, &http.tls].into_iter().flatten();
    let renewals: Vec<_> = acceptors
        .map(|(_, acceptor)| {
            let acceptor = Arc::clone(acceptor);
            tokio::spawn(async move { acceptor.renew().await })
        })
        .collect();
    let ingest = tokio::spawn(ingest::serve(Arc::clone(&app), rtmp, rtmp_stopped));
    let viewers = tokio::spawn(http::serve(Arc::clone(&app), http, http_stopped));
    let sweeper = tokio::spawn(sweep(Arc::clone(&app)));
    let guard = tokio::spawn(guard::run(Arc::clone(&app)));
    // Whoever has seen the file may send a signal.
    let mut signals = Signals::new()?;
    ports.write(open)?;

    let signal = signals.next().await;
    info!(
        signal,
        "shutting down: streams end now; a second signal exits at once"
    );
    let down = async {
        app.drain();
        let mut target = Duration::ZERO;
        for broadcast in app.directory.open() {
            target = target.max(broadcast.target());
        }
        let _ = stop_rtmp.send(true);
        let _ = ingest.await;
        app.relays.drain().await;
        while !app.directory.open().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(recorder) = &app.recorder {
            recorder.drain().await;
        }
        app.hooks.drain().await;
        // Players poll once a target duration: the ENDLIST is there for all of them to see.
        tokio::time::sleep(target).await;
        let _ = stop_http.send(true);
        let _ = viewers.await;
    };
    tokio::select! {
        () = down => {}
        () = tokio::time::sleep(LONGEST_SHUTDOWN) => warn!("shutdown took too long and is cut short"),
        signal = signals.next() => warn!(signal, "exiting at once"),
    }
    sweeper.abort();
    guard.abort();
    renewals.iter().for_each(|renewal| renewal.abort());
    ports.remove();
    Ok(())
}

/// Asks for as many open files as the limits on connections promise. The usual
/// soft limit of 1024 would be used up by viewers, and publishers shut out.
fn raise_file_limit(connections: usize) {
    let wanted = (connections + OTHER_FILES) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
    let _ = setrlimit(Resource::Nofile, limit);
    let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if granted < wanted {
        warn!(
            granted,
            wanted,
            "the limit on open files is below the limits on connections; raise it (ulimit -n)"
        );
    }
}

/// Holds the data directory for this server: a second one would remove the
/// first one's ports file, and later its recordings.
pub(crate) fn lock(data: &Path) -> Result<File> {
    let path = data.join("weir.lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "{} is in use by another weir; give this one a --data of its own",
                data.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

async fn bind(setting: &str, choice: &str, addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| {
        format!("{setting}: {addr} cannot be listened on; {choice} chooses another address")
    })
}

/// A listener with TLS and its certificate, when the settings have them; what is
/// spoken there has one of the names in `protocols`.
async fn secured(
    setting: &str,
    tls: Option<&Tls>,
    protocols: &[&[u8]],
) -> Result<Option<(TcpListener, Arc<Acceptor>)>> {
    let Some(tls) = tls else {
        return Ok(None);
    };
    let acceptor = Arc::new(Acceptor::open(&tls.files, protocols)?);
    let variable = format!("WEIR_{}=ADDR", setting.replace('.', "_").to_uppercase());
    let listener = bind(setting, &variable, tls.listen).await?;
    Ok(Some((listener, acceptor)))
}

/// Where the server listens.
#[derive(Clone, Copy)]
struct Addresses {
    rtmp: SocketAddr,
    rtmps: Option<SocketAddr>,
    http: SocketAddr,
    https: Option<SocketAddr>,
}

/// Forgets ended broadcasts when their time is over.
async fn sweep(app: Arc<App>) {
    let mut every = tokio::time::interval(Duration::from_millis(500));
    loop {
        every.tick().await;
        for name in app.directory.sweep(app.now()) {
            info!(stream = %name, "ended broadcast is no longer kept");
        }
        app.relays.sweep(|name| app.directory.knows(name));
    }
}

fn warn_about(config: &Config) {
    if config.auth == AuthMode::Open {
        let tls = config.rtmp.tls.as_ref().map(|tls| tls.listen);
        let exposed = [Some(config.rtmp.listen), tls]
            .into_iter()
            .flatten()
            .find(|addr| !addr.ip().is_loopback());
        match exposed {
            None => warn!(
                "auth.mode is \"open\": whoever reaches the RTMP port may publish under any name"
            ),
            Some(listen) => warn!(
                %listen,
                "ANYBODY on the network may publish under any name: auth.mode is \"open\" and the RTMP port is not on loopback"
            ),
        }
    }
    if let StreamLimit::Auto = config.limits.streams {
        info!(
            "limits.streams is \"auto\": admission by measured load is not built yet, streams are not limited"
        );
    }
    if !codec::WITH_ASSEMBLY {
        warn!(
            "this binary was built without nasm: encoding takes about three times the CPU; install nasm and build again"
        );
    }
}

/// What a first start tells the person in front of it.
struct Welcome<'a> {
    open: Addresses,
    app: &'a str,
}

impl Welcome<'_> {
    /// Standard output, not the log: logs are shipped and kept, this is the one
    /// time that a key is shown.
    fn print(&self, first: Option<&(StreamName, Secret)>) {
        let Some((name, key)) = first else { return };
        let host = |addr: SocketAddr| match addr.ip() {
            ip if ip.is_unspecified() => format!("localhost:{}", addr.port()),
            _ => addr.to_string(),
        };
        let with_tls = self.open.rtmps.map_or_else(String::new, |addr| {
            let (port, app) = (addr.port(), self.app);
            format!("  with TLS:    rtmps://HOST:{port}/{app}, HOST as in the certificate\n")
        });
        let watched_with_tls = self.open.https.map_or_else(String::new, |addr| {
            let port = addr.port();
            format!("  with TLS:    https://HOST:{port}/{name}, HOST as in the certificate\n")
        });
        let mut out = std::io::stdout().lock();
        let _ = writeln!(
            out,
            "\nWelcome to weir. A stream named \"{name}\" was made for you.\n\n\
             In OBS under Settings > Stream > Custom, or in any RTMP encoder:\n\n\
             \x20 Server:      rtmp://{}/{}\n\
             {with_tls}\
             \x20 Stream key:  {}\n\n\
             Watch it at http://{}/{name}\n\
             {watched_with_tls}\n\
             The key is shown this once. `weir keys rotate {name}` makes a new one.\n",
            host(self.open.rtmp),
            self.app,
            key.reveal(),
            host(self.open.http),
        );
        let _ = out.flush();
    }
}

/// `weir.ports.json`, for those who asked for port 0.
struct PortsFile(PathBuf);

impl PortsFile {
    /// Removes what an earlier run left.
    fn new(data: &Path) -> Result<Self> {
        let path = data.join("weir.ports.json");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", path.display()))
            }
            _ => Ok(Self(path)),
        }
    }

    /// The file appears whole: written beside its place, then renamed.
    fn write(&self, open: Addresses) -> Result<()> {
        let reachable = |addr: SocketAddr| match addr.ip() {
            ip if ip.is_unspecified() && addr.is_ipv4() => format!("127.0.0.1:{}", addr.port()),
            ip if ip.is_unspecified() => format!("[::1]:{}", addr.port()),
            _ => addr.to_string(),
        };
        let mut ports = serde_json::json!({
            "rtmp": reachable(open.rtmp),
            "http": reachable(open.http),
        });
        for (name, addr) in [("rtmps", open.rtmps), ("https", open.https)] {
            if let Some(addr) = addr {
                ports[name] = reachable(addr).into();
            }
        }
        let text = ports.to_string();
        let beside = self.0.with_extension("json.new");
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &self.0))
            .with_context(|| format!("{} cannot be written", self.0.display()))
    }

    fn remove(&self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
        let interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
        Ok(Self {
            terminate,
            interrupt,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Files beside connections: listeners, the log, keys, the runtime's own, and
/// relays to some hundred targets.
const OTHER_FILES: usize = 1024;

/// Bound on an orderly end: a ladder codes what its ring holds in less.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(60);
