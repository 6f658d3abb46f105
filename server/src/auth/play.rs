//! Who may watch: everybody, or who has a token for the stream.
//!
//! The application that runs weir signs tokens (JWT, RFC 7519) and hands them to its
//! viewers; nobody is asked when one is shown. The algorithm is the key's: a token
//! that names another, or none, is not looked at any further.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::jwt;
use crate::name::StreamName;
use crate::network::Network;

/// What tokens are signed with; at least one of the two is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayKeys {
    /// HS256: shared with whoever signs.
    pub secret: Option<PlaySecret>,
    /// EdDSA (Ed25519): the other half of the signer's.
    pub public_key: Option<PublicKey>,
}

/// A secret of 32 bytes or more, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PlaySecret(Box<str>);

impl PlaySecret {
    /// `None` for one that could be guessed.
    pub(crate) fn new(text: &str) -> Option<Self> {
        (text.len() >= SHORTEST_SECRET).then(|| Self(text.into()))
    }
}

impl fmt::Debug for PlaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaySecret")
    }
}

/// A public key as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// The key itself.
    Bytes([u8; 32]),
    /// A PEM file. Relative to the working directory.
    File(PathBuf),
}

/// Why a file of a public key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// It cannot be read.
    #[error("auth.play_public_key: {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no Ed25519 key in it.
    #[error("auth.play_public_key: {}: no Ed25519 public key in it; expected PEM, which begins with -----BEGIN PUBLIC KEY-----", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
    },
}

impl PublicKey {
    /// A key in base64, bare or as SubjectPublicKeyInfo; any other text is a path.
    pub(crate) fn new(text: &str) -> Self {
        let url: String = text
            .trim_end_matches('=')
            .chars()
            .map(|c| match c {
                '+' => '-',
                '/' => '_',
                c => c,
            })
            .collect();
        let decoded = DecodingKey::from_ed_components(&url).ok();
        let bytes = decoded.as_ref().and_then(|key| key.try_get_as_bytes().ok());
        let key = bytes.and_then(|bytes| bytes.try_into().ok().or_else(|| of_der(bytes)));
        key.map_or_else(|| Self::File(text.into()), Self::Bytes)
    }

    /// The key, out of its file where it has one.
    pub(crate) fn read(&self) -> Result<[u8; 32], KeyFault> {
        match self {
            Self::Bytes(bytes) => Ok(*bytes),
            Self::File(path) => read(path),
        }
    }
}

fn read(path: &Path) -> Result<[u8; 32], KeyFault> {
    let text = std::fs::read(path).map_err(|source| KeyFault::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let der = SubjectPublicKeyInfoDer::from_pem_slice(&text).ok();
    der.and_then(|der| of_der(&der))
        .ok_or_else(|| KeyFault::Unfit {
            path: path.to_owned(),
        })
}

/// The key in a SubjectPublicKeyInfo, which has one form for Ed25519 (RFC 8410 4).
fn of_der(der: &[u8]) -> Option<[u8; 32]> {
    const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    der.strip_prefix(&PREFIX)?.try_into().ok()
}

/// Lets viewers in.
pub(crate) struct Viewers(Option<Verifier>);

struct Verifier {
    secret: Option<Check>,
    public_key: Option<Check>,
    known: Mutex<Known>,
}

/// A key, and the one algorithm that it is for.
struct Check {
    key: DecodingKey,
    validation: Validation,
}

impl Check {
    fn new(key: DecodingKey, algorithm: Algorithm) -> Self {
        let mut validation = Validation::new(algorithm);
        // Times are looked at whenever a token is shown, also one that is known.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        // Whoever signs tokens for others with the same key says so.
        validation.set_audience(&[AUDIENCE]);
        Self { key, validation }
    }
}

/// How long a viewer may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Unix milliseconds; `None`: as long as there is something.
    until: Option<u64>,
}

impl Pass {
    /// For what needs none.
    pub(crate) const FREE: Self = Self { until: None };

    /// Whether it is still good at `unix_ms`, and then when to look again: a clock
    /// that is set must not matter for long.
    pub(crate) fn left(self, unix_ms: u64) -> Option<Option<Duration>> {
        let Some(until) = self.until else {
            return Some(None);
        };
        match until.saturating_sub(unix_ms) {
            0 => None,
            ms => Some(Some(Duration::from_millis(ms).min(LOOK))),
        }
    }
}

/// Why a viewer is not let in: fit for its screen, nothing of the token in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("this stream is watched with a token (?token=...), and there is none")]
    Missing,
    #[error("the token is longer than {LONGEST_TOKEN} bytes")]
    TooLong,
    #[error("the token is not one that this server takes")]
    Unfit,
    #[error("the token has no time at which it expires")]
    Endless,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("the token is for another stream")]
    Stream,
    #[error("the token is for another address")]
    Address,
}

impl Viewers {
    /// Whoever comes, or with `keys` who has a token that is signed with one of them.
    pub(crate) fn new(keys: Option<&PlayKeys>) -> Result<Self, KeyFault> {
        let Some(keys) = keys else {
            return Ok(Self(None));
        };
        jwt::ready();
        let public_key = keys.public_key.as_ref().map(PublicKey::read).transpose()?;
        Ok(Self(Some(Verifier {
            secret: keys.secret.as_ref().map(|secret| {
                let key = DecodingKey::from_secret(secret.0.as_bytes());
                Check::new(key, Algorithm::HS256)
            }),
            public_key: public_key
                .map(|key| Check::new(DecodingKey::from_ed_der(&key), Algorithm::EdDSA)),
            known: Mutex::default(),
        })))
    }

    /// Whether tokens are asked for.
    pub(crate) fn need_tokens(&self) -> bool {
        self.0.is_some()
    }

    /// Whether who shows `token` at `unix_ms` from the address `from` may watch `name`.
    pub(crate) fn admit(
        &self,
        name: &StreamName,
        token: Option<&str>,
        from: IpAddr,
        unix_ms: u64,
    ) -> Result<Pass, Refused> {
        let Some(verifier) = &self.0 else {
            return Ok(Pass::FREE);
        };
        let token = token.filter(|token| !token.is_empty());
        let grant = verifier.grant(token.ok_or(Refused::Missing)?)?;
        grant.admit(name, from, unix_ms)
    }
}

impl Verifier {
    /// What `token` grants, once it is known to be genuine.
    fn grant(&self, token: &str) -> Result<Arc<Grant>, Refused> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refused::TooLong);
        }
        let digest = Sha256::digest(token.as_bytes()).into();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grant) = known().find(&digest) {
            return Ok(grant);
        }
        let grant = Arc::new(self.check(token)?);
        known().keep(digest, Arc::clone(&grant));
        Ok(grant)
    }

    fn check(&self, token: &str) -> Result<Grant, Refused> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Unfit)?;
        let check = match header.alg {
            Algorithm::HS256 => &self.secret,
            Algorithm::EdDSA => &self.public_key,
            _ => &None,
        };
        let check = check.as_ref().ok_or(Refused::Unfit)?;
        if header.crit.is_some() {
            // What is critical is none of what is understood here (RFC 7515 4.1.11).
            return Err(Refused::Unfit);
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &check.key, &check.validation);
        decoded.map_err(|_| Refused::Unfit)?.claims.try_into()
    }
}

/// What is in a token. Times are seconds, and may have a fraction (RFC 7519 2).
#[derive(Deserialize)]
struct Claims {
    name: String,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    addr: Option<String>,
}

/// What a genuine token allows.
#[derive(Debug, PartialEq, Eq)]
struct Grant {
    /// `None`: every stream.
    name: Option<StreamName>,
    /// From then on, in Unix milliseconds.
    from: u64,
    /// Before then.
    until: u64,
    network: Option<Network>,
}

impl TryFrom<Claims> for Grant {
    type Error = Refused;

    fn try_from(claims: Claims) -> Result<Self, Refused> {
        let ms = |seconds: f64| (seconds * 1000.0) as u64;
        let from = [claims.nbf, claims.iat].into_iter().flatten().map(ms).max();
        let network = claims.addr.map(|addr| addr.parse());
        Ok(Self {
            name: match claims.name.as_str() {
                "*" => None,
                name => Some(name.parse().map_err(|_| Refused::Stream)?),
            },
            from: from.unwrap_or(0),
            until: claims.exp.map(ms).ok_or(Refused::Endless)?,
            network: network.transpose().map_err(|_| Refused::Address)?,
        })
    }
}

impl Grant {
    fn admit(&self, name: &StreamName, from: IpAddr, unix_ms: u64) -> Result<Pass, Refused> {
        if self.name.as_ref().is_some_and(|granted| granted != name) {
            return Err(Refused::Stream);
        }
        if self.until <= unix_ms {
            return Err(Refused::Expired);
        }
        if self.from > unix_ms + LEEWAY_MS {
            return Err(Refused::Early);
        }
        if self.network.is_some_and(|network| !network.contains(from)) {
            return Err(Refused::Address);
        }
        Ok(Pass {
            until: Some(self.until),
        })
    }
}

/// Tokens that were found genuine, by their digests. A viewer shows one with every
/// segment, and a signature costs as much as the rest of the answer.
///
/// There are two generations: when the younger one is full, the older one goes.
#[derive(Default)]
struct Known {
    young: HashMap<[u8; 32], Arc<Grant>>,
    old: HashMap<[u8; 32], Arc<Grant>>,
}

impl Known {
    fn find(&mut self, digest: &[u8; 32]) -> Option<Arc<Grant>> {
        if let Some(grant) = self.young.get(digest) {
            return Some(Arc::clone(grant));
        }
        let grant = self.old.remove(digest)?;
        self.keep(*digest, Arc::clone(&grant));
        Some(grant)
    }

    fn keep(&mut self, digest: [u8; 32], grant: Arc<Grant>) {
        if self.young.len() >= MOST_KNOWN {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, grant);
    }
}

/// What is wanted in a new token.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// `None`: every stream.
    pub(crate) name: Option<StreamName>,
    pub(crate) lifetime: Duration,
    /// An address or a network, of the viewer.
    pub(crate) addr: Option<String>,
}

/// A token that is good from `unix_ms` on.
pub(crate) fn sign(
    secret: &PlaySecret,
    wish: &Wish,
    unix_ms: u64,
) -> Result<String, jsonwebtoken::errors::Error> {
    jwt::ready();
    let now = unix_ms / 1000;
    let name = wish.name.as_ref().map_or("*", StreamName::as_str);
    let mut claims = serde_json::json!({
        "name": name,
        "iat": now,
        "exp": now + wish.lifetime.as_secs(),
    });
    if let Some(addr) = &wish.addr {
        claims["addr"] = addr.as_str().into();
    }
    let key = EncodingKey::from_secret(secret.0.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
}

/// Bytes of the shortest secret: as many as HMAC-SHA256 gives (RFC 7518 3.2).
pub(crate) const SHORTEST_SECRET: usize = 32;

/// Bytes of a token. It stands in every line of a playlist.
const LONGEST_TOKEN: usize = 4096;

/// What a token's `aud`, if it has one, has to name.
const AUDIENCE: &str = "weir";

/// How far the signer's clock may be ahead. An expiry is meant as it is written.
const LEEWAY_MS: u64 = 5000;

/// The longest time until an expiry is looked at again.
const LOOK: Duration = Duration::from_secs(600);

/// Tokens in a generation: some 150 bytes each.
const MOST_KNOWN: usize = 10_000;

#[cfg(test)]
mod tests;
