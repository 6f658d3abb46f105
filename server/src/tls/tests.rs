//! The client against a rustls server; against others' it is in the e2e tests.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Connector, name};

/// A CA of this test alone.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A server that shows a certificate for `names`, changed by `change`, and
    /// echoes what it is told.
    async fn server(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> SocketAddr {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        serve(move |socket| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(socket).await?;
                let mut word = [0; 5];
                stream.read_exact(&mut word).await?;
                stream.write_all(&word).await?;
                stream.shutdown().await
            }
        })
        .await
    }
}

/// A server that does as `with` says.
async fn serve<F>(with: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = io::Result<()>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = with(socket).await;
        }
    });
    addr
}

async fn talk(addr: SocketAddr, host: &str, ca: Option<&Path>) -> io::Result<()> {
    let socket = TcpStream::connect(addr).await?;
    let mut stream = Connector::new(ca).unwrap().connect(host, socket).await?;
    stream.write_all(b"hello").await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    assert_eq!(answer, b"hello");
    Ok(())
}

#[track_caller]
fn told(result: io::Result<()>, words: &[&str]) {
    let error = result.expect_err("an error");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} in {text:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_nobody_known_for_another_host_or_out_of_time_is_told_as_that() {
    let ca = Authority::new();
    let file = ca.file();
    let file = Some(file.as_path());

    let good = ca.server(&["localhost"], |_| {}).await;
    told(
        talk(good, "localhost", None).await,
        &["localhost", "not signed by a CA"],
    );
    // Of the same name with another key.
    let namesake = Authority::new();
    let other = namesake.file();
    told(
        talk(good, "localhost", Some(&other)).await,
        &["not signed with its key"],
    );
    told(
        talk(good, "127.0.0.1", file).await,
        &["for localhost, not for 127.0.0.1"],
    );

    let many = ca
        .server(
            &["a.example", "*.b.example", "c.example", "d.example"],
            |_| {},
        )
        .await;
    told(
        talk(many, "live.example", file).await,
        &["for a.example, *.b.example, c.example and others, not for live.example"],
    );
    let nameless = ca.server(&[], |_| {}).await;
    told(
        talk(nameless, "live.example", file).await,
        &["names no host"],
    );

    let old = ca.server(&["localhost"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 2, 3);
    });
    told(
        talk(old.await, "localhost", file).await,
        &["expired on 2021-02-03"],
    );
    let early = ca.server(&["localhost"], |params| {
        params.not_before = date_time_ymd(2190, 4, 5);
        params.not_after = date_time_ymd(2191, 1, 1);
    });
    told(
        talk(early.await, "localhost", file).await,
        &["not valid before 2190-04-05", "clock"],
    );
    let authority = ca.server(&["localhost"], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    told(talk(authority.await, "localhost", file).await, &["CA:TRUE"]);
}

#[tokio::test]
async fn names_and_addresses_of_a_certificate_are_believed() {
    let ca = Authority::new();
    let file = ca.file();
    let server = ca.server(
        &["live.example", "*.wild.example", "127.0.0.1", "::1"],
        |_| {},
    );
    let addr = server.await;
    for host in [
        "live.example",
        "LIVE.example",
        "live.example.",
        "a.wild.example",
        "127.0.0.1",
        "::1",
    ] {
        talk(addr, host, Some(&file))
            .await
            .unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    told(
        talk(addr, "a.b.wild.example", Some(&file)).await,
        &["not for a.b.wild.example"],
    );
    told(
        talk(addr, "no host", Some(&file)).await,
        &["neither a host name"],
    );
}

#[tokio::test]
async fn any_of_several_cas_of_a_file_is_enough() {
    let [first, second] = [Authority::new(), Authority::new()];
    let both = [&first, &second].map(|ca| std::fs::read_to_string(ca.file()).unwrap());
    std::fs::write(first.file(), both.concat()).unwrap();
    let addr = second.server(&["localhost"], |_| {}).await;
    talk(addr, "localhost", Some(&first.file())).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_called_that() {
    let http = serve(|mut socket| async move {
        socket
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await?;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.map(drop)
    });
    told(
        talk(http.await, "localhost", None).await,
        &["localhost does not speak TLS on this port"],
    );
    // One of RTMP closes at the first byte.
    let mute = serve(|mut socket| async move {
        let mut hello = [0; 64];
        socket.read_exact(&mut hello).await?;
        socket.shutdown().await?;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.map(drop)
    });
    let error = talk(mute.await, "localhost", None).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(
        error
            .to_string()
            .contains("does it speak TLS on this port?"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let error = talk(addr, "localhost", None).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("within 10s"), "{error}");
}

#[test]
fn a_ca_file_that_is_of_no_use_is_named_with_the_reason() {
    let ca = Authority::new();
    let pem = std::fs::read_to_string(ca.file()).unwrap();
    let path = ca.dir.path().join("other.pem");
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let error = Connector::new(Some(&path))
            .err()
            .expect("no use")
            .to_string();
        assert!(error.contains("other.pem"), "{error}");
        error
    };
    assert!(refused("").contains("holds no certificate"));
    assert!(refused("words").contains("-----BEGIN CERTIFICATE-----"));
    assert!(refused(&KeyPair::generate().unwrap().serialize_pem()).contains("no certificate"));
    let damaged = pem.replacen("MII", "MIM", 1).replacen("MIB", "MIM", 1);
    assert_ne!(damaged, pem);
    assert!(refused(&format!("{pem}{damaged}")).contains("certificate 2 is damaged"));
    let cut = &pem[..pem.len() / 2];
    assert!(refused(&format!("{pem}{cut}")).contains("certificate 2 is damaged"));
    let missing = Connector::new(Some(Path::new("/nowhere/ca.pem")))
        .err()
        .unwrap();
    assert!(
        missing
            .to_string()
            .contains("/nowhere/ca.pem cannot be read")
    );
}

#[test]
fn names_out_of_certificates_are_fit_for_a_screen() {
    assert_eq!(name("DnsName(\"a.example\")"), "a.example");
    assert_eq!(name("IpAddress(127.0.0.1)"), "127.0.0.1");
    assert_eq!(name("DnsName(\"a\u{1b}[31m\n\u{7f}\")"), "a[31m");
    assert_eq!(name(&"x".repeat(4000)).len(), 253);
}
