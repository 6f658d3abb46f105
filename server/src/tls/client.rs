//! TLS towards a server: whose certificate is believed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{HANDSHAKE, failure, late, wrong};

/// Connects with TLS to servers whose certificate is signed by a CA of the
/// system or of a file, and is for the host that was meant. Cheap to clone.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    /// Roots beside the system's.
    extra: Vec<CertificateDer<'static>>,
    /// Made at the first connection: most servers never make one.
    config: OnceCell<Arc<ClientConfig>>,
}

/// Why a file of CA certificates is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file as it was named.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing to trust in it.
    #[error("{} holds no certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----", path.display())]
    Empty {
        /// The file as it was named.
        path: PathBuf,
    },
    /// Something in it is no certificate.
    #[error("{}: certificate {number} is damaged", path.display())]
    Damaged {
        /// The file as it was named.
        path: PathBuf,
        /// Which one, counted from 1.
        number: usize,
    },
}

impl Connector {
    /// A connector that trusts the system's CAs and those in `extra_ca`, a PEM
    /// file, which is read and checked now.
    pub fn new(extra_ca: Option<&Path>) -> Result<Self, CaError> {
        Ok(Self(Arc::new(Inner {
            extra: extra_ca.map(read).transpose()?.unwrap_or_default(),
            config: OnceCell::new(),
        })))
    }

    /// Does the handshake on `socket` with `host`, a name or an address without
    /// brackets, within 10 s. Errors are fit for a screen; those of the kind
    /// [`io::ErrorKind::InvalidData`] would come again at the next attempt.
    pub async fn connect(&self, host: &str, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        // A name may be written with the dot of the root; certificates have none.
        let host = host.strip_suffix('.').unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| wrong(format!("{host}: neither a host name nor an address")))?;
        let config = self.0.config.get_or_try_init(|| self.config()).await?;
        let connector = TlsConnector::from(Arc::clone(config));
        match timeout(HANDSHAKE, connector.connect(name, socket)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failure(&error, host)),
            Err(_) => Err(late(host)),
        }
    }

    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let inner = Arc::clone(&self.0);
        let made = tokio::task::spawn_blocking(move || {
            let mut roots = system_roots().clone();
            for certificate in &inner.extra {
                // Each was added once before, when the file was read.
                let _ = roots.add(certificate.clone());
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?;
            let config = builder.with_root_certificates(roots).with_no_client_auth();
            Ok(Arc::new(config))
        });
        made.await.map_err(io::Error::other)?
    }
}

/// The CAs that this system trusts, read once: some hundred files on some
/// systems. A container of one static binary has none; Mozilla's list as of the
/// build then stands in.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let (added, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        roots
    })
}

/// The certificates of a PEM file, each fit to be a root.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let named = || path.to_owned();
    let text = std::fs::read(path).map_err(|source| CaError::Unreadable {
        path: named(),
        source,
    })?;
    let mut certificates = Vec::new();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let fit = certificate
            .ok()
            .filter(|certificate| roots.add(certificate.clone()).is_ok());
        certificates.push(fit.ok_or_else(|| CaError::Damaged {
            path: named(),
            number: certificates.len() + 1,
        })?);
    }
    match certificates.is_empty() {
        true => Err(CaError::Empty { path: named() }),
        false => Ok(certificates),
    }
}
