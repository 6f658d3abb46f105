//! C0 to S2, both ways: with digests (ffmpeg, Flash) and plain (librtmp, OBS).
//!
//! `rml_rtmp` does the work. What it does with a peer's 3073 bytes was read line
//! by line: offsets are reduced modulo 728 and stay inside the packet, nothing
//! else depends on a value. Which flavour a peer speaks is told by its digest,
//! and not by its version field, because YouTube sends a version and expects
//! the plain form; a plain peer gets its own packet back, bit for bit, which
//! some encoders insist on.

use rml_rtmp::handshake::{Handshake as Rml, HandshakeProcessResult, PeerType};

use crate::Error;

/// One side of a handshake.
pub(crate) struct Handshake {
    // Boxed: it holds a packet and outlives it by nothing.
    inner: Box<Rml>,
    received: u64,
}

/// Where a handshake stands after some input.
pub(crate) enum Step {
    /// More is needed.
    Going,
    /// It is done; these bytes came after it.
    Done(Vec<u8>),
}

impl Handshake {
    /// The side that answers.
    pub(crate) fn server() -> Self {
        Self {
            inner: Box::new(Rml::new(PeerType::Server)),
            received: 0,
        }
    }

    /// The side that begins, and its first bytes.
    pub(crate) fn client() -> Result<(Self, Vec<u8>), Error> {
        let mut inner = Box::new(Rml::new(PeerType::Client));
        let Ok(hello) = inner.generate_outbound_p0_and_p1() else {
            return Err(REFUSED);
        };
        Ok((Self { inner, received: 0 }, hello))
    }

    /// Takes in `input` and appends the answer to `reply`.
    pub(crate) fn push(&mut self, input: &[u8], reply: &mut Vec<u8>) -> Result<Step, Error> {
        if let (0, Some(version)) = (self.received, input.first())
            && *version != VERSION
        {
            return Err(Error::Malformed {
                offset: 0,
                what: match version {
                    6 | 8 | 9 => "an encrypted handshake (RTMPE), use RTMPS instead",
                    _ => "the first byte is not 3, this is not RTMP",
                },
            });
        }
        self.received += input.len() as u64;
        match self.inner.process_bytes(input) {
            Ok(HandshakeProcessResult::InProgress { response_bytes }) => {
                reply.extend_from_slice(&response_bytes);
                Ok(Step::Going)
            }
            Ok(HandshakeProcessResult::Completed {
                response_bytes,
                remaining_bytes,
            }) => {
                reply.extend_from_slice(&response_bytes);
                Ok(Step::Done(remaining_bytes))
            }
            Err(_) => Err(REFUSED),
        }
    }
}

/// RTMP without encryption.
const VERSION: u8 = 3;

const REFUSED: Error = Error::Malformed {
    offset: 0,
    what: "the handshake cannot be completed",
};

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn answer(hello: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut server = Handshake::server();
        assert!(matches!(server.push(hello, &mut reply), Ok(Step::Going)));
        reply
    }

    #[test]
    fn a_browser_is_told_that_this_is_not_rtmp() {
        let error = Handshake::server().push(b"GET / HTTP/1.1\r\n", &mut Vec::new());
        assert_eq!(
            error.err().map(|error| error.to_string()).as_deref(),
            Some("RTMP at byte 0: the first byte is not 3, this is not RTMP")
        );
    }

    #[test]
    fn an_encrypted_handshake_is_pointed_to_rtmps() {
        let error = Handshake::server().push(&[6], &mut Vec::new());
        assert_eq!(
            error.err().map(|error| error.to_string()).as_deref(),
            Some("RTMP at byte 0: an encrypted handshake (RTMPE), use RTMPS instead")
        );
    }

    #[test]
    fn a_plain_peer_gets_its_own_packet_back() {
        let mut hello = vec![3, 0, 0, 0, 0, 0, 0, 0, 0];
        hello.extend((0..1528_u32).map(|n| (n * 7 % 251) as u8));
        let reply = answer(&hello);
        assert_eq!(reply.len(), 1 + 1536 + 1536);
        assert_eq!(reply[0], 3);
        assert_eq!(reply[1537..], hello[1..]);
    }

    /// HMAC-SHA256 (RFC 2104), for a second opinion.
    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut block = [0; 64];
        match key.len() {
            0..=64 => block[..key.len()].copy_from_slice(key),
            _ => block[..32].copy_from_slice(&Sha256::digest(key)),
        }
        let hash = |pad: u8, parts: &[&[u8]]| -> [u8; 32] {
            let mut hash = Sha256::new_with_prefix(block.map(|byte| byte ^ pad));
            parts.iter().for_each(|part| hash.update(part));
            hash.finalize().into()
        };
        hash(0x5c, &[&hash(0x36, parts)])
    }

    #[test]
    fn a_digest_in_either_place_is_answered_with_its_signature() {
        for place in [8_usize, 772] {
            let mut packet: Vec<u8> = (0..1536_u32).map(|n| (n * 13 % 256) as u8).collect();
            packet[4..8].copy_from_slice(&[9, 0, 124, 2]);
            let sum: usize = packet[place..place + 4]
                .iter()
                .map(|b| usize::from(*b))
                .sum();
            let at = place + 4 + sum % 728;
            let digest = hmac(
                b"Genuine Adobe Flash Player 001",
                &[&packet[..at], &packet[at + 32..]],
            );
            packet[at..at + 32].copy_from_slice(&digest);
            let reply = answer(&[&[3], packet.as_slice()].concat());
            let (body, signature) = reply[1537..].split_at(1536 - 32);
            let key = [b"Genuine Adobe Flash Media Server 001", SALT].concat();
            assert_eq!(signature, hmac(&hmac(&key, &[&digest]), &[body]), "{place}");
        }
    }

    /// What every implementation appends to its key for the second packet.
    const SALT: &[u8] = &[
        0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e,
        0x57, 0x6e, 0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb,
        0x31, 0xae,
    ];

    #[test]
    fn both_sides_finish_byte_by_byte_and_keep_what_follows() {
        let (mut client, mut to_server) = Handshake::client().unwrap();
        let mut server = Handshake::server();
        let mut to_client = Vec::new();
        for byte in std::mem::take(&mut to_server) {
            assert!(matches!(
                server.push(&[byte], &mut to_client),
                Ok(Step::Going)
            ));
        }
        let mut done = false;
        for byte in to_client.drain(..) {
            done = matches!(client.push(&[byte], &mut to_server), Ok(Step::Done(_)));
        }
        assert!(done);
        to_server.extend_from_slice(b"rest");
        let Ok(Step::Done(rest)) = server.push(&to_server, &mut to_client) else {
            panic!("the server is done as well");
        };
        assert_eq!(rest, b"rest");
    }
}
