//! RTMP messages out of chunks, and what commands say. Read apart from the crate
//! `rtmp`, so that a mistake there cannot hide itself.

use std::collections::HashMap;

use bytes::{Buf as _, Bytes, BytesMut};

use super::peer::pair;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its type.
    pub(crate) kind: u8,
    pub(crate) timestamp: u32,
    pub(crate) body: Bytes,
}

/// Reads what a publisher sends after the handshake.
pub(crate) struct Chunks {
    input: BytesMut,
    /// Bytes in a chunk, as the peer has set it.
    size: usize,
    streams: HashMap<u32, Partial>,
    /// Bytes of chunks so far.
    pub(crate) received: u64,
}

impl Message {
    pub(crate) fn is_header(&self) -> bool {
        match self.kind {
            VIDEO => self.body.first().is_some_and(|first| first & 15 == 7) && self.body[1] == 0,
            AUDIO => self.body.first().is_some_and(|first| first >> 4 == 10) && self.body[1] == 0,
            _ => false,
        }
    }

    /// The number that it begins with.
    pub(crate) fn u32(&self) -> u32 {
        u32_at(&self.body, 0)
    }

    /// An access unit: neither a header nor the end of a sequence.
    pub(crate) fn is_unit(&self) -> bool {
        matches!(self.kind, AUDIO | VIDEO) && self.body.get(1) == Some(&1)
    }

    pub(crate) fn is_key(&self) -> bool {
        self.kind == VIDEO && self.body.starts_with(&[0x17, 1])
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            input: BytesMut::new(),
            size: 128,
            streams: HashMap::new(),
            received: 0,
        }
    }
}

/// A message on its way over a chunk stream, and the header of the one before.
#[derive(Clone, Debug, Default)]
struct Partial {
    timestamp: u32,
    delta: u32,
    is_extended: bool,
    len: usize,
    kind: u8,
    body: Vec<u8>,
}

impl Chunks {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The first bytes, when there are as many: they are no chunks.
    pub(crate) fn raw(&mut self, count: usize) -> Option<BytesMut> {
        (self.input.len() >= count).then(|| self.input.split_to(count))
    }

    /// The next whole message.
    pub(crate) fn message(&mut self) -> Option<Message> {
        loop {
            let (used, whole) = self.chunk()?;
            self.input.advance(used);
            self.received += used as u64;
            match whole {
                Some(message) if message.kind == SET_CHUNK_SIZE => {
                    self.size = message.u32() as usize;
                }
                Some(message) => return Some(message),
                None => {}
            }
        }
    }

    /// The length of the next chunk, and the message that it completes (RTMP 1.0
    /// section 5.3.1).
    fn chunk(&mut self) -> Option<(usize, Option<Message>)> {
        let input = &self.input[..];
        let first = *input.first()?;
        let (id, mut at) = match first & 63 {
            0 => (64 + u32::from(*input.get(1)?), 2),
            1 => (
                64 + u32::from(*input.get(1)?) + 256 * u32::from(*input.get(2)?),
                3,
            ),
            id => (u32::from(id), 1),
        };
        let format = first >> 6;
        let length = [11, 7, 3, 0][usize::from(format)];
        let header = input.get(at..at + length)?;
        at += length;
        let mut partial = self.streams.get(&id).cloned().unwrap_or_default();
        let begins = partial.body.is_empty();
        assert!(begins || format == 3, "a message inside another");
        if format < 3 {
            partial.delta = u32_at(&[&[0], &header[..3]].concat(), 0);
            partial.is_extended = partial.delta == 0xff_ffff;
        }
        if format < 2 {
            partial.len = u32_at(&[&[0], &header[3..6]].concat(), 0) as usize;
            partial.kind = header[6];
        }
        if partial.is_extended {
            let extended = u32_at(input.get(at..at + 4)?, 0);
            at += 4;
            if format < 3 {
                partial.delta = extended;
            }
        }
        if begins {
            partial.timestamp = match format {
                0 => partial.delta,
                _ => partial.timestamp.wrapping_add(partial.delta),
            };
        }
        let count = (partial.len - partial.body.len()).min(self.size);
        partial.body.extend_from_slice(input.get(at..at + count)?);
        at += count;
        let is_whole = partial.body.len() == partial.len;
        let whole = is_whole.then(|| Message {
            kind: partial.kind,
            timestamp: partial.timestamp,
            body: std::mem::take(&mut partial.body).into(),
        });
        self.streams.insert(id, partial);
        Some((at, whole))
    }
}

/// As much AMF0 as commands of publishers take.
pub(crate) struct Amf<'a>(pub(crate) &'a [u8]);

impl Amf<'_> {
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head.to_vec()
    }

    /// A string; empty when it is something else.
    pub(crate) fn text(&mut self) -> String {
        match self.0 {
            [2, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                self.bytes(3);
                String::from_utf8(self.bytes(length)).expect("UTF-8")
            }
            _ => String::new(),
        }
    }

    pub(crate) fn text_after_null(&mut self) -> String {
        match self.0.first() {
            Some(5) => {
                self.bytes(1);
                self.text()
            }
            _ => String::new(),
        }
    }

    /// The string that follows a name.
    pub(crate) fn field(&mut self, name: &str) -> String {
        let name = pair(name, &[]);
        let found = self.0.windows(name.len()).position(|part| part == name);
        self.bytes(found.map_or(self.0.len(), |at| at + name.len()));
        self.text()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_be_bytes(four)
}

pub(crate) const AUDIO: u8 = 8;
pub(crate) const VIDEO: u8 = 9;
pub(crate) const DATA: u8 = 18;
pub(crate) const COMMAND: u8 = 20;
const SET_CHUNK_SIZE: u8 = 1;
