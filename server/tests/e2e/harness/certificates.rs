//! Certificates of a CA that nobody else knows.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A CA with its files in a directory of its own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

/// A server's certificate and key, as files.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).expect("a certificate");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("a file");
        Self {
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    /// Its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for `hosts`, in files that begin with `name`.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> Pair {
        self.issue_until(name, hosts, 2100)
    }

    /// As [`Authority::issue`], one that ends with the year before `year`.
    pub(crate) fn issue_until(&self, name: &str, hosts: &[&str], year: i32) -> Pair {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |kind: &str, text: String| {
            let path = self.dir.path().join(format!("{name}-{kind}.pem"));
            std::fs::write(&path, text).expect("a file");
            path
        };
        Pair {
            cert: file("cert", certificate.pem()),
            key: file("key", key.serialize_pem()),
        }
    }
}

impl Pair {
    /// The settings of a server that shows it to publishers.
    pub(crate) fn settings(&self) -> String {
        self.settings_of("rtmp")
    }

    /// The same in `section`, `rtmp` or `http`.
    pub(crate) fn settings_of(&self, section: &str) -> String {
        format!(
            "[{section}]\ntls_listen = \"127.0.0.1:0\"\ntls_cert = {:?}\ntls_key = {:?}\n",
            self.cert, self.key
        )
    }

    /// Puts `other` into its files, as a renewal does.
    pub(crate) fn replace_by(&self, other: &Self) {
        std::fs::copy(&other.cert, &self.cert).expect("a file");
        std::fs::copy(&other.key, &self.key).expect("a file");
    }
}
