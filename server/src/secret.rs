//! Secrets that weir makes: stream keys and API tokens.
//!
//! Only a SHA-256 of each is kept, and its first characters, never the secret:
//! whoever reads the data directory cannot publish. (A plain hash is enough
//! because they are random, 190 bits long; there is nothing to guess.)

use std::fmt;
use std::hint::black_box;

use rand::RngExt;
use rand::distr::Alphanumeric;
use sha2::{Digest as _, Sha256};

/// What a secret is for, which its first three characters tell: so people and
/// secret scanners know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `wk_`: publishes a stream.
    StreamKey,
    /// `wt_`: asks the API.
    ApiToken,
}

/// A fresh secret. It can be shown once, with [`reveal`](Self::reveal); `Debug`
/// hides it and there is no `Display`.
pub struct Secret(String);

impl Kind {
    /// What a secret of this kind begins with.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::StreamKey => "wk_",
            Self::ApiToken => "wt_",
        }
    }
}

impl Secret {
    /// Characters of a secret that are kept in clear: its mark and 30 bits.
    pub const PREFIX_CHARS: usize = 8;

    /// Random characters. 32 of 62 letters and digits are 190 bits; with the
    /// prefix known 160 remain.
    const RANDOM_CHARS: usize = 32;

    /// A new one, of the system's random numbers.
    pub fn random(kind: Kind) -> Self {
        let letters = rand::rng().sample_iter(Alphanumeric);
        let letters = letters.take(Self::RANDOM_CHARS).map(char::from);
        Self(kind.mark().chars().chain(letters).collect())
    }

    /// The secret itself, for the one who asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(&self.0).into())
    }

    /// Its first characters.
    pub fn prefix(&self) -> &str {
        &self.0[..Self::PREFIX_CHARS]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// SHA-256 of a secret: what is kept, and what servers share. `Debug` hides it
/// like the secret: nobody needs it in a log.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of what a peer presents. `None`: longer than any secret, not worth hashing.
    pub fn of(presented: &str) -> Option<Self> {
        let plausible = (1..=MAX_LEN).contains(&presented.len());
        plausible.then(|| Self(Sha256::digest(presented).into()))
    }

    /// From where it is kept.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Equality that takes the same time wherever the difference is.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        black_box(pairs.fold(0, |difference, (a, b)| black_box(difference | (a ^ b)))) == 0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(hidden)")
    }
}

/// Longer texts are no secrets.
pub(crate) const MAX_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_its_mark_and_190_random_bits() {
        let secrets: Vec<Secret> = (0..50).map(|_| Secret::random(Kind::StreamKey)).collect();
        for secret in &secrets {
            let random = secret.reveal().strip_prefix("wk_").unwrap();
            assert_eq!(random.len(), 32);
            assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        let mut texts: Vec<&str> = secrets.iter().map(Secret::reveal).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 50);
    }

    #[test]
    fn debug_output_shows_neither_a_secret_nor_its_digest() {
        let secret = Secret::random(Kind::ApiToken);
        let shown = format!("{secret:?} {:?}", secret.digest());
        assert_eq!(shown, "Secret(hidden) Digest(hidden)");
    }

    #[test]
    fn digests_are_the_same_only_of_the_same_secret() {
        let secret = Secret::random(Kind::StreamKey);
        let digest = secret.digest();
        assert!(digest.same(&Digest::of(secret.reveal()).unwrap()));
        let other = format!("{}x", &secret.reveal()[..34]);
        assert!(!digest.same(&Digest::of(&other).unwrap()));
        assert!(Digest::of("").is_none() && Digest::of(&"x".repeat(129)).is_none());
    }
}
