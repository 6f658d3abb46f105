//! TLS towards those who connect: one certificate, read again when its files
//! change.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use super::{HANDSHAKE, Stream, failure, late};

/// Does the server's side of handshakes.
pub(crate) struct Acceptor {
    tls: TlsAcceptor,
    files: Files,
    shown: Arc<Shown>,
    /// Of the files that `shown` was read from first.
    first: Stamps,
}

/// The files that two settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// What the settings are called.
    pub settings: Settings,
    /// PEM: the server's certificate and those between it and a CA.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// What the settings of a certificate's files are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of the certificate, as `rtmp.tls_cert`.
    pub cert: &'static str,
    /// Of its key.
    pub key: &'static str,
}

/// Why the files of a certificate are of no use. Nothing of a key is in it.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file cannot be read.
    #[error("{setting}: {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is in a file is not what should be.
    #[error("{setting}: {}: {what}", path.display())]
    Unfit {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is expected.
        what: String,
    },
    /// Certificate and key are of different pairs.
    #[error("{}: {} is not the key of the first certificate in {} ({})", settings.key, key.display(), cert.display(), settings.cert)]
    Apart {
        /// The settings that name them.
        settings: Settings,
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl Acceptor {
    /// Reads the certificate; not for an async worker. What is spoken inside TLS
    /// has one of the names in `protocols` (ALPN), or none.
    pub(crate) fn open(files: &Files, protocols: &[&[u8]]) -> Result<Self, PairError> {
        let first = files.stamps();
        let shown = Arc::new(Shown(RwLock::new(Arc::new(files.read()?))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as _);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(config)),
            files: files.clone(),
            shown,
            first,
        })
    }

    /// Does the handshake on `socket` within 10 s. An error of the kind
    /// [`io::ErrorKind::UnexpectedEof`] may be no more than a look at the port.
    pub(crate) async fn accept<S: Stream>(&self, socket: S) -> io::Result<TlsStream<S>> {
        match timeout(HANDSHAKE, self.tls.accept(socket)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failure(&error, "the peer")),
            Err(_) => Err(late("the peer")),
        }
    }

    /// Looks after the files for as long as it is polled. Connections that are
    /// open are not touched; a pair that is of no use is told once and the one
    /// before it stays.
    pub(crate) async fn renew(&self) {
        let (mut tried, mut seen) = (self.first, self.first);
        loop {
            tokio::time::sleep(LOOK).await;
            let files = self.files.clone();
            let Ok(stamps) = tokio::task::spawn_blocking(move || files.stamps()).await else {
                continue;
            };
            // Two files are not changed at once: they are read when they have
            // stood still from one look to the next.
            let still = std::mem::replace(&mut seen, stamps) == stamps;
            if stamps == tried || !still {
                continue;
            }
            tried = stamps;
            let files = self.files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || files.read()).await else {
                continue;
            };
            match read {
                Ok(pair) => {
                    self.shown.set(pair);
                    info!(cert = %self.files.cert.display(), "the TLS certificate was read again: new connections see it");
                }
                Err(error) => {
                    warn!(%error, "the changed TLS certificate is of no use; the one before it is still shown");
                }
            }
        }
    }
}

impl Files {
    /// Reads the pair and finds out whether it is one.
    pub(crate) fn read(&self) -> Result<CertifiedKey, PairError> {
        let chain = self.chain()?;
        let key = self.key()?;
        let pair = CertifiedKey::from_der(chain, key, &ring::default_provider());
        pair.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => PairError::Apart {
                settings: self.settings,
                cert: self.cert.clone(),
                key: self.key.clone(),
            },
            rustls::Error::InvalidCertificate(_) => {
                unfit(self.settings.cert, &self.cert, "the first certificate is damaged")
            }
            // Not rustls' own words: they might hold something of the key.
            _ => unfit(
                self.settings.key,
                &self.key,
                "a damaged key or one of a kind that is not supported; RSA from 2048 bits, ECDSA on P-256 or P-384 and Ed25519 are",
            ),
        })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, PairError> {
        let text = read(self.settings.cert, &self.cert)?;
        let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Ok(chain),
            Ok(_) => Err(unfit(
                self.settings.cert,
                &self.cert,
                "no certificate in it; expected PEM, which begins with -----BEGIN CERTIFICATE-----",
            )),
            Err(_) => Err(unfit(
                self.settings.cert,
                &self.cert,
                "not whole; expected PEM",
            )),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, PairError> {
        let text = read(self.settings.key, &self.key)?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
            let says = |words: &[u8]| text.windows(words.len()).any(|window| window == words);
            let what = match error {
                pem::Error::NoItemsFound if says(b"BEGIN ENCRYPTED PRIVATE KEY") => {
                    "the key is encrypted; `openssl pkey -in FILE` takes the passphrase off"
                }
                pem::Error::NoItemsFound => {
                    "no private key in it; expected PEM, which begins with -----BEGIN PRIVATE KEY-----"
                }
                _ => "not whole; expected PEM",
            };
            unfit(self.settings.key, &self.key, what)
        })
    }

    fn stamps(&self) -> Stamps {
        [&self.cert, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        })
    }
}

/// What tells a changed file from the one before: when it was written, its
/// length, its inode. `None` for one that is away.
type Stamps = [Option<(SystemTime, u64, u64)>; 2];

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, PairError> {
    std::fs::read(path).map_err(|source| PairError::Unreadable {
        setting,
        path: path.to_owned(),
        source,
    })
}

fn unfit(setting: &'static str, path: &Path, what: &str) -> PairError {
    PairError::Unfit {
        setting,
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

/// The certificate that new connections see.
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn set(&self, pair: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
    }
}

impl ResolvesServerCert for Shown {
    /// One for all names: which are right is the client's to judge.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

/// From one look at the files to the next. Certificates live for weeks and are
/// renewed days before their end.
const LOOK: Duration = Duration::from_secs(3);
