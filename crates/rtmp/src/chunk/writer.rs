use std::collections::BTreeMap;

use super::{EXTENDED, INITIAL_CHUNK_SIZE};
use crate::Error;

/// Cuts messages into chunks.
///
/// A message begins with fmt 0, 1 or 2 and goes on with fmt 3; it never *begins*
/// with fmt 3, whose delta senders and receivers disagree about. Twitch closes
/// on a continuation that is not fmt 3.
pub(crate) struct ChunkWriter {
    chunk_size: usize,
    last: BTreeMap<u8, Header>,
}

/// What the header of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Message type.
    pub(crate) kind: u8,
    /// Message stream; 0 is the connection itself.
    pub(crate) stream: u32,
    /// Milliseconds, wrapping.
    pub(crate) timestamp: u32,
    /// Bytes of the body.
    pub(crate) length: usize,
}

impl ChunkWriter {
    pub(crate) fn new() -> Self {
        Self {
            chunk_size: INITIAL_CHUNK_SIZE as usize,
            last: BTreeMap::new(),
        }
    }

    /// Cuts the messages from here on into chunks of `size` bytes, which the
    /// peer has just been told.
    pub(crate) fn set_chunk_size(&mut self, size: u32) {
        self.chunk_size = size.max(1) as usize;
    }

    /// Appends one message on chunk stream `csid` (2 to 63) to `out`.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        csid: u8,
        (kind, stream, timestamp): (u8, u32, u32),
        body: &[u8],
    ) -> Result<(), Error> {
        if body.len() > MAX_LENGTH {
            return Err(Error::Limit {
                what: "bytes in an outgoing message",
                max: MAX_LENGTH,
            });
        }
        let header = Header {
            kind,
            stream,
            timestamp,
            length: body.len(),
        };
        let before = self.last.insert(csid, header);
        let (fmt, time) = match before {
            Some(before) if before.stream == stream && timestamp >= before.timestamp => {
                let delta = timestamp - before.timestamp;
                let same = before.kind == kind && before.length == header.length;
                (if same { 2 } else { 1 }, delta)
            }
            _ => (0, timestamp),
        };
        let extended = (time >= EXTENDED).then(|| time.to_be_bytes());

        out.reserve(18 + body.len() + body.len() / self.chunk_size * 5);
        out.push(fmt << 6 | csid);
        out.extend_from_slice(&time.min(EXTENDED).to_be_bytes()[1..]);
        if fmt < 2 {
            // Fits in three bytes: checked above.
            out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
            out.push(kind);
        }
        if fmt == 0 {
            out.extend_from_slice(&stream.to_le_bytes());
        }
        for (index, part) in body.chunks(self.chunk_size).enumerate() {
            if index > 0 {
                out.push(3 << 6 | csid);
            }
            if let Some(extended) = extended {
                out.extend_from_slice(&extended);
            }
            out.extend_from_slice(part);
        }
        if body.is_empty()
            && let Some(extended) = extended
        {
            out.extend_from_slice(&extended);
        }
        Ok(())
    }
}

/// A length has three bytes.
pub(crate) const MAX_LENGTH: usize = 0xff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_beyond_three_bytes_of_length_is_refused() {
        let body = vec![0; MAX_LENGTH + 1];
        let error = ChunkWriter::new().write(&mut Vec::new(), 6, (9, 1, 0), &body);
        assert_eq!(
            error.unwrap_err().to_string(),
            "RTMP bytes in an outgoing message: more than 16777215"
        );
    }

    #[test]
    fn headers_shrink_and_continuations_are_fmt_3() {
        let mut writer = ChunkWriter::new();
        let mut out = Vec::new();
        writer.write(&mut out, 6, (9, 1, 40), &[0xaa; 130]).unwrap();
        assert_eq!(out[..12], [6, 0, 0, 40, 0, 0, 130, 9, 1, 0, 0, 0]);
        assert_eq!(out[12 + 128..], [0xc6, 0xaa, 0xaa]);
        out.clear();
        writer.write(&mut out, 6, (9, 1, 80), &[1, 2]).unwrap();
        assert_eq!(out, [0x46, 0, 0, 40, 0, 0, 2, 9, 1, 2]);
        out.clear();
        writer.write(&mut out, 6, (9, 1, 120), &[3, 4]).unwrap();
        assert_eq!(out, [0x86, 0, 0, 40, 3, 4]);
        // The same again still says its delta: fmt 3 never begins a message.
        out.clear();
        writer.write(&mut out, 6, (9, 1, 160), &[5, 6]).unwrap();
        assert_eq!(out, [0x86, 0, 0, 40, 5, 6]);
    }

    #[test]
    fn time_that_goes_back_is_written_whole() {
        let mut writer = ChunkWriter::new();
        let mut out = Vec::new();
        writer.write(&mut out, 4, (8, 1, 100), &[]).unwrap();
        out.clear();
        writer.write(&mut out, 4, (8, 1, 99), &[]).unwrap();
        assert_eq!(out, [4, 0, 0, 99, 0, 0, 0, 8, 1, 0, 0, 0]);
    }

    #[test]
    fn extended_timestamps_are_repeated() {
        let mut writer = ChunkWriter::new();
        let mut out = Vec::new();
        writer
            .write(&mut out, 6, (9, 1, 0x0100_0000), &[7; 129])
            .unwrap();
        assert_eq!(out[1..4], [0xff, 0xff, 0xff]);
        assert_eq!(out[12..16], [1, 0, 0, 0]);
        assert_eq!(out[16 + 128..], [0xc6, 1, 0, 0, 0, 7]);
    }
}
