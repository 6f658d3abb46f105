//! Signatures: who received something knows that it came from here, and when.

use ring::hmac;

/// Signs with a shared secret.
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// `v1=` and the HMAC-SHA256 of `timestamp.body`, in hexadecimal: for receivers
    /// that look at the time.
    pub(super) fn timed(&self, timestamp: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{timestamp}.").as_bytes());
        context.update(body);
        format!("v1={}", hex(context.sign().as_ref()))
    }

    /// `sha256=` and the HMAC-SHA256 of the body alone, as GitHub has made usual.
    pub(super) fn plain(&self, body: &[u8]) -> String {
        format!("sha256={}", hex(hmac::sign(&self.0, body).as_ref()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_other_implementations() {
        // RFC 4231, test case 2.
        let signer = Signer::new("Jefe");
        assert_eq!(
            signer.plain(b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let signer = Signer::new("0123456789abcdef");
        assert_eq!(
            signer.timed(1_700_000_000, b"{\"a\":1}"),
            "v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
        );
    }
}
