use std::collections::BTreeMap;

use bytes::Bytes;

use super::{EXTENDED, INITIAL_CHUNK_SIZE};
use crate::message::{self, Message};
use crate::{Error, Limits};

/// Puts messages together from chunks.
///
/// Every chunk stream has a buffer of its own, because encoders interleave them
/// (a sound message between the chunks of a picture). It grows with the bytes
/// that arrive. The two messages that are about chunks themselves, Set Chunk
/// Size and Abort, are obeyed here and not handed out.
pub(crate) struct ChunkReader {
    streams: BTreeMap<u32, ChunkStream>,
    /// The bytes of a header that is not complete.
    head: Vec<u8>,
    /// The chunk stream whose chunk is being received, and its bytes to come.
    chunk: Option<(u32, usize)>,
    chunk_size: usize,
    offset: u64,
    /// Bytes of unfinished messages.
    partial: usize,
    max_message: usize,
    max_partial: usize,
    max_streams: usize,
}

/// What a chunk stream remembers from one chunk to the next.
#[derive(Default)]
struct ChunkStream {
    kind: u8,
    stream: u32,
    length: usize,
    timestamp: u32,
    /// Added by a fmt 3 that begins a message. After a fmt 0 it is the absolute
    /// timestamp, which is what the specification says (5.3.1.2.4).
    delta: u32,
    /// The extended field of the last header that had one, when the last header
    /// with a timestamp did.
    extended: Option<u32>,
    /// Of the message being received.
    body: Vec<u8>,
    /// Whether a message has begun and not ended.
    open: bool,
}

/// A chunk header, once it is complete.
struct ChunkHeader {
    csid: u32,
    fmt: u8,
    /// Timestamp or delta, the extended one if there is one.
    time: u32,
    extended: bool,
    length: usize,
    kind: u8,
    stream: u32,
    /// Bytes it takes.
    size: usize,
}

impl ChunkReader {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            streams: BTreeMap::new(),
            head: Vec::with_capacity(MAX_HEADER),
            chunk: None,
            chunk_size: INITIAL_CHUNK_SIZE as usize,
            offset: 0,
            partial: 0,
            max_message: limits.before_publish.min(limits.message),
            max_partial: limits.before_publish.min(limits.partial),
            max_streams: limits.chunk_streams,
        }
    }

    /// Grants the message sizes of a publisher.
    pub(crate) fn allow_media(&mut self, limits: &Limits) {
        self.max_message = limits.message;
        self.max_partial = limits.partial;
    }

    /// Bytes taken in so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes bytes from the front of `input` up to the end of the next message.
    /// `None` means that `input` is used up.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            let (csid, left) = match self.chunk {
                Some(chunk) => chunk,
                None => match self.header(input)? {
                    Some(chunk) => chunk,
                    None => return Ok(None),
                },
            };
            let take = left.min(input.len());
            let (bytes, rest) = input.split_at(take);
            *input = rest;
            self.offset += take as u64;
            self.partial += take;
            if self.partial > self.max_partial {
                return Err(Error::Limit {
                    what: "bytes of unfinished messages",
                    max: self.max_partial,
                });
            }
            let Some(stream) = self.streams.get_mut(&csid) else {
                return Ok(None);
            };
            stream.append(bytes, input.len());
            if take < left {
                self.chunk = Some((csid, left - take));
                return Ok(None);
            }
            self.chunk = None;
            if stream.body.len() < stream.length {
                continue;
            }
            let message = stream.finish();
            self.partial -= message.body.len();
            match message.kind {
                message::SET_CHUNK_SIZE => self.set_chunk_size(&message.body)?,
                message::ABORT => self.abort(&message.body)?,
                _ => return Ok(Some(message)),
            }
        }
    }

    /// Reads a header; gives the chunk stream and the bytes of its chunk.
    fn header(&mut self, input: &mut &[u8]) -> Result<Option<(u32, usize)>, Error> {
        // Headers are short: bytes move over one at a time until one is whole.
        // What was moved stays, so a header may come in any number of pieces.
        let header = loop {
            if let Some(header) = self.parse()? {
                break header;
            }
            let Some((byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            self.head.push(*byte);
            self.offset += 1;
            *input = rest;
        };
        self.head.drain(..header.size);
        let (csid, left) = self.begin(&header)?;
        // The look for a repeated timestamp may have read on, into the body and,
        // when that is shorter still, into the header after it, which then stays.
        let ahead = left.min(self.head.len());
        if let Some(stream) = self.streams.get_mut(&csid) {
            stream.append(&self.head[..ahead], input.len());
        }
        self.partial += ahead;
        self.head.drain(..ahead);
        Ok(Some((csid, left - ahead)))
    }

    /// The header at the front of `head`, or `None` while that is undecided.
    fn parse(&self) -> Result<Option<ChunkHeader>, Error> {
        let head = &self.head;
        let (csid, at) = match head.as_slice() {
            [] => return Ok(None),
            [first, ..] if first & 0x3f > 1 => (u32::from(first & 0x3f), 1),
            [first, id, ..] if first & 0x3f == 0 => (64 + u32::from(*id), 2),
            [_, low, high, ..] => (64 + u32::from(*low) + 256 * u32::from(*high), 3),
            _ => return Ok(None),
        };
        let fmt = head[0] >> 6;
        let stream = self.streams.get(&csid);
        if fmt == 3 {
            return Ok(continued(stream, &head[at..]).map(|repeated| ChunkHeader {
                csid,
                fmt,
                time: 0,
                extended: repeated,
                length: stream.map_or(0, |stream| stream.length),
                kind: stream.map_or(0, |stream| stream.kind),
                stream: stream.map_or(0, |stream| stream.stream),
                size: at + if repeated { 4 } else { 0 },
            }));
        }
        let end = at + [11, 7, 3][usize::from(fmt)];
        let Some(fields) = head.get(at..end) else {
            return Ok(None);
        };
        let short = be24(fields);
        let extended = short == EXTENDED;
        let (time, size) = match (extended, head.get(end..end + 4)) {
            (false, _) => (short, end),
            (true, Some(field)) => (be32(field), end + 4),
            (true, None) => return Ok(None),
        };
        let length = match fields.get(3..6) {
            Some(length) => be24(length) as usize,
            None => stream.map_or(0, |stream| stream.length),
        };
        if length > self.max_message {
            return Err(Error::Limit {
                what: "bytes in a message",
                max: self.max_message,
            });
        }
        Ok(Some(ChunkHeader {
            csid,
            fmt,
            time,
            extended,
            length,
            kind: match fields.get(6) {
                Some(kind) => *kind,
                None => stream.map_or(0, |stream| stream.kind),
            },
            stream: match fields.get(7..11) {
                Some([a, b, c, d]) => u32::from_le_bytes([*a, *b, *c, *d]),
                _ => stream.map_or(0, |stream| stream.stream),
            },
            size,
        }))
    }

    /// Applies a header to its chunk stream.
    fn begin(&mut self, header: &ChunkHeader) -> Result<(u32, usize), Error> {
        if !self.streams.contains_key(&header.csid) && self.streams.len() >= self.max_streams {
            return Err(Error::Limit {
                what: "chunk streams",
                max: self.max_streams,
            });
        }
        // A header without the fields it relies on, on a chunk stream that was
        // never seen (an Osmo Action sends one), relies on zeros: an empty
        // message of a type nobody knows.
        let stream = self.streams.entry(header.csid).or_default();
        // A full header inside a message goes on with it when it is the same
        // one (some writers repeat it on every chunk); otherwise the message
        // before it was given up.
        let same = header.length == stream.length && header.kind == stream.kind;
        if !stream.open || !same {
            self.partial -= stream.body.len();
            stream.begin(header);
        }
        let left = stream.length - stream.body.len();
        Ok((header.csid, left.min(self.chunk_size)))
    }

    fn set_chunk_size(&mut self, body: &[u8]) -> Result<(), Error> {
        let Some(field) = body.get(..4) else {
            return Err(self.malformed("a set chunk size of fewer than 4 bytes"));
        };
        let size = be32(field);
        if size == 0 {
            return Err(self.malformed("a chunk size of 0, the smallest is 1"));
        }
        if size > i32::MAX as u32 {
            return Err(self.malformed("a chunk size with the top bit set"));
        }
        self.chunk_size = size as usize;
        Ok(())
    }

    fn abort(&mut self, body: &[u8]) -> Result<(), Error> {
        let Some(field) = body.get(..4) else {
            return Err(self.malformed("an abort of fewer than 4 bytes"));
        };
        if let Some(stream) = self.streams.get_mut(&be32(field)) {
            self.partial -= stream.body.len();
            stream.body = Vec::new();
            stream.open = false;
        }
        Ok(())
    }

    fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed {
            offset: self.offset,
            what,
        }
    }
}

impl ChunkStream {
    fn begin(&mut self, header: &ChunkHeader) {
        match header.fmt {
            0 => {
                self.timestamp = header.time;
                self.delta = header.time;
            }
            1 | 2 => {
                self.delta = match header.extended && is_absolute(header.time, self.timestamp) {
                    true => header.time.wrapping_sub(self.timestamp),
                    false => header.time,
                };
                self.timestamp = self.timestamp.wrapping_add(self.delta);
            }
            _ => self.timestamp = self.timestamp.wrapping_add(self.delta),
        }
        if header.fmt < 3 {
            self.extended = header.extended.then_some(header.time);
        }
        self.kind = header.kind;
        self.stream = header.stream;
        self.length = header.length;
        self.body = Vec::new();
        self.open = true;
    }

    /// Grows by what has arrived, of which `more` bytes may belong to it as well,
    /// doubling, and never past the message.
    fn append(&mut self, bytes: &[u8], more: usize) {
        let needed = self.body.len() + bytes.len();
        if needed > self.body.capacity() {
            let room = (self.body.capacity() * 2).max(needed + more);
            let room = room.clamp(needed, self.length.max(needed));
            self.body.reserve_exact(room - self.body.len());
        }
        self.body.extend_from_slice(bytes);
    }

    fn finish(&mut self) -> Message {
        self.open = false;
        Message {
            kind: self.kind,
            stream: self.stream,
            timestamp: self.timestamp,
            body: Bytes::from(std::mem::take(&mut self.body)),
        }
    }
}

/// Whether the bytes after the basic header of a fmt 3 chunk repeat the extended
/// timestamp; `None` while they are too few to tell.
///
/// The specification is read both ways, and old librtmp and OBS before 30.1
/// leave it out, so the bytes decide: the field as it was sent, or the absolute
/// time, is a repetition, anything else is body. They are compared one by one:
/// waiting for four could wait for ever at the end of a message.
fn continued(stream: Option<&ChunkStream>, bytes: &[u8]) -> Option<bool> {
    let Some((stream, field)) = stream.and_then(|stream| Some((stream, stream.extended?))) else {
        return Some(false);
    };
    let candidates = [field, stream.timestamp].map(u32::to_be_bytes);
    if candidates.iter().any(|four| bytes.starts_with(four)) {
        return Some(true);
    }
    let open = candidates.iter().any(|four| four.starts_with(bytes));
    (!open).then_some(false)
}

/// Whether an extended field that should be a delta is the absolute time, as
/// some DJI devices write it: it lies shortly after the time before, where a
/// delta would double it. Deltas just below 2^32 are negative ones, from OBS.
fn is_absolute(field: u32, before: u32) -> bool {
    field.wrapping_sub(before) < A_MINUTE && field < 0xff00_0000
}

fn be24(bytes: &[u8]) -> u32 {
    bytes[..3]
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn be32(bytes: &[u8]) -> u32 {
    bytes[..4]
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// Two messages of one chunk stream are not further apart, in milliseconds.
const A_MINUTE: u32 = 60_000;

/// Basic header 3, message header 11, extended timestamp 4.
const MAX_HEADER: usize = 18;

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
