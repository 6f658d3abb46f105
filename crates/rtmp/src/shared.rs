//! Media framed once for all players of a stream.
//!
//! Each message has a whole header (fmt 0), so it says everything about itself
//! and stands wherever a player begins, and chunks of the size that every server
//! session announces. What differs between players is left out.

use bytes::Bytes;

use crate::chunk::ChunkWriter;
use crate::{Error, MediaKind};

/// Bytes in a chunk of what players get, and what [`ServerConfig`] announces if
/// not told otherwise.
///
/// [`ServerConfig`]: crate::ServerConfig
pub const CHUNK_SIZE: u32 = 65_536;

/// The message stream that framed messages are for: the first that a player
/// creates.
pub(crate) const STREAM: u32 = 1;

/// A media message as it goes to a player, in chunks of [`CHUNK_SIZE`] bytes.
/// `body` is an FLV tag body, `timestamp_ms` wraps.
pub fn framed(kind: MediaKind, timestamp_ms: u32, body: &[u8]) -> Result<Bytes, Error> {
    let csid = match kind {
        MediaKind::Audio | MediaKind::Data => AUDIO_CSID,
        MediaKind::Video => VIDEO_CSID,
    };
    let mut out = Vec::new();
    // A writer that has written nothing writes a whole header.
    let mut writer = ChunkWriter::new();
    writer.set_chunk_size(CHUNK_SIZE);
    writer.write(&mut out, csid, (kind.type_id(), STREAM, timestamp_ms), body)?;
    Ok(out.into())
}

/// The same message for a player that made more streams than one.
pub(crate) fn for_stream(message: &Bytes, stream: u32) -> Bytes {
    let mut message = message.to_vec();
    if let Some(place) = message.get_mut(STREAM_AT..STREAM_AT + 4) {
        place.copy_from_slice(&stream.to_le_bytes());
    }
    message.into()
}

/// Where the header of a message names its stream.
const STREAM_AT: usize = 8;
// Apart from those of commands, 3 and 5, and of control, 2.
const AUDIO_CSID: u8 = 4;
const VIDEO_CSID: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::chunk::ChunkReader;

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

    #[test]
    fn messages_stand_by_themselves_in_any_order() {
        let large = vec![7; 200_000];
        let video = framed(MediaKind::Video, 0x0123_4567, &large).unwrap();
        let audio = framed(MediaKind::Audio, 40, &[0xaf, 1]).unwrap();
        let all = [&audio[..], &video, &audio, &video].concat();
        let (a, v) = ((8, 1, 40, 2), (9, 1, 0x0123_4567, 200_000));
        assert_eq!(read(&all), [a, v, a, v]);
        assert_eq!(read(&for_stream(&video, 3)), [(9, 3, 0x0123_4567, 200_000)]);
    }
}
