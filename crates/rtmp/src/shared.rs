//! Media framed once for all players of a stream.
//!
//! Each message has a whole header (fmt 0), so it says everything about itself
//! and stands wherever a player begins, and chunks of the size that every server
//! session announces. What differs between players is left out.

use bytes::Bytes;

use crate::chunk::{EXTENDED, MAX_LENGTH};
use crate::{Error, MediaKind};

/// Bytes in a chunk of what players get, and what [`ServerConfig`] announces if
/// not told otherwise.
///
/// [`ServerConfig`]: crate::ServerConfig
pub const CHUNK_SIZE: u32 = 65_536;

/// The message stream that framed messages are for: the first that a player
/// creates.
pub(crate) const STREAM: u32 = 1;

/// A media message as it goes to players, in chunks of [`CHUNK_SIZE`] bytes: what
/// stands around its payload, and the payload itself, which is not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// Chunk header, and the beginning of the body.
    head: [u8; MAX_HEAD],
    head_len: u8,
    /// Bytes of the body in `head`.
    start_len: u8,
    /// In front of every chunk but the first: fmt 3, and an extended timestamp.
    between: [u8; 5],
    between_len: u8,
    data: Bytes,
}

impl Framed {
    /// Frames the message whose body, an FLV tag body, is `start` (at most
    /// [`MAX_START`] bytes) and `data`. `timestamp_ms` wraps.
    pub fn new(
        kind: MediaKind,
        timestamp_ms: u32,
        start: &[u8],
        data: Bytes,
    ) -> Result<Self, Error> {
        let limit = |what, max| Error::Limit { what, max };
        if start.len() > MAX_START {
            return Err(limit("bytes of a body in front of its payload", MAX_START));
        }
        let length = start.len() + data.len();
        if length > MAX_LENGTH {
            return Err(limit("bytes in an outgoing message", MAX_LENGTH));
        }
        let csid = match kind {
            MediaKind::Audio | MediaKind::Data => AUDIO_CSID,
            MediaKind::Video => VIDEO_CSID,
        };
        let extended = timestamp_ms >= EXTENDED;
        let [_, t2, t1, t0] = timestamp_ms.min(EXTENDED).to_be_bytes();
        let [_, l2, l1, l0] = (length as u32).to_be_bytes();
        let [s0, s1, s2, s3] = STREAM.to_le_bytes();
        let whole = [csid, t2, t1, t0, l2, l1, l0, kind.type_id(), s0, s1, s2, s3];
        let mut message = Self {
            head: [0; MAX_HEAD],
            head_len: 0,
            start_len: start.len() as u8,
            between: [0; 5],
            between_len: 1,
            data,
        };
        message.append(&whole);
        message.between[0] = 3 << 6 | csid;
        if extended {
            let time = timestamp_ms.to_be_bytes();
            message.append(&time);
            message.between[1..].copy_from_slice(&time);
            message.between_len = 5;
        }
        message.append(start);
        Ok(message)
    }

    fn append(&mut self, bytes: &[u8]) {
        let at = usize::from(self.head_len);
        self.head[at..at + bytes.len()].copy_from_slice(bytes);
        self.head_len += bytes.len() as u8;
    }

    /// The same message for a player that plays on `stream`
    /// ([`ServerSession::plays_on`](crate::ServerSession::plays_on)), when that is
    /// another than the usual one.
    pub fn readdressed(&self, stream: u32) -> Option<Self> {
        if stream == STREAM {
            return None;
        }
        let mut other = self.clone();
        other.head[STREAM_AT..STREAM_AT + 4].copy_from_slice(&stream.to_le_bytes());
        Some(other)
    }

    /// What has to be written, in this order. None of it is empty.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let head = &self.head[..usize::from(self.head_len)];
        let between = &self.between[..usize::from(self.between_len)];
        let first = self
            .data
            .len()
            .min(CHUNK_SIZE as usize - usize::from(self.start_len));
        let (first, rest) = self.data.split_at(first);
        let rest = rest.chunks(CHUNK_SIZE as usize);
        [head, first]
            .into_iter()
            .chain(rest.flat_map(move |chunk| [between, chunk]))
            .filter(|part| !part.is_empty())
    }
}

/// Bytes of a body that need not be part of the payload: an FLV tag body has one
/// to five in front of the coded data, more with Enhanced RTMP.
pub const MAX_START: usize = 16;
const MAX_HEAD: usize = 12 + 4 + MAX_START;
/// Where the header of a message names its stream.
const STREAM_AT: usize = 8;
// Apart from those of commands, 3 and 5, and of control, 2.
const AUDIO_CSID: u8 = 4;
const VIDEO_CSID: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::chunk::{ChunkReader, ChunkWriter};

    fn read(bytes: &[u8]) -> Vec<(u8, u32, u32, usize)> {
        let mut reader = ChunkReader::new(&Limits::default());
        reader.allow_media(&Limits::default());
        let mut input = &b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\x01\0\0"[..];
        assert!(reader.next(&mut input).unwrap().is_none());
        let mut input = bytes;
        let mut seen = Vec::new();
        while let Some(message) = reader.next(&mut input).unwrap() {
            seen.push((
                message.kind,
                message.stream,
                message.timestamp,
                message.body.len(),
            ));
        }
        seen
    }

    fn written(message: &Framed) -> Vec<u8> {
        message.parts().flatten().copied().collect()
    }

    #[test]
    fn messages_stand_by_themselves_in_any_order() {
        let large = Bytes::from(vec![7; 200_000]);
        for time in [0x0123_4567, 0xff_ffff, 0xff_fffe] {
            let video = Framed::new(MediaKind::Video, time, &[0x17, 1, 0, 0, 0], large.clone());
            let video = video.unwrap();
            let audio = Framed::new(MediaKind::Audio, 40, &[0xaf, 1], Bytes::new()).unwrap();
            let [v, a] = [&video, &audio].map(written);
            let all = [&a[..], &v, &a, &v].concat();
            let (a, v) = ((8, 1, 40, 2), (9, 1, time, 200_005));
            assert_eq!(read(&all), [a, v, a, v]);
            assert_eq!(video.readdressed(1), None);
            let other = video.readdressed(3).unwrap();
            assert_eq!(read(&written(&other)), [(9, 3, time, 200_005)]);
        }
    }

    #[test]
    fn chunks_are_those_of_the_writer() {
        for length in [0, 1, 65_530, 65_531, 65_532, 131_066, 131_067, 131_068] {
            for time in [0, 0xff_fffe, 0xff_ffff, u32::MAX] {
                let body: Vec<u8> = (0..5 + length).map(|at| at as u8).collect();
                let data = Bytes::copy_from_slice(&body[5..]);
                let message = Framed::new(MediaKind::Video, time, &body[..5], data).unwrap();
                let mut writer = ChunkWriter::new();
                writer.set_chunk_size(CHUNK_SIZE);
                let mut out = Vec::new();
                let header = (MediaKind::Video.type_id(), STREAM, time);
                writer.write(&mut out, VIDEO_CSID, header, &body).unwrap();
                assert!(written(&message) == out, "{length} bytes at {time}");
            }
        }
    }

    #[test]
    fn what_no_header_can_say_is_refused() {
        let body = Bytes::from(vec![0; MAX_LENGTH]);
        assert!(Framed::new(MediaKind::Video, 0, &[], body.clone()).is_ok());
        assert!(Framed::new(MediaKind::Video, 0, &[1], body).is_err());
        assert!(Framed::new(MediaKind::Video, 0, &[0; 17], Bytes::new()).is_err());
    }
}
