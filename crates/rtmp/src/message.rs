//! Messages: their types, and what is done to a body before anyone reads it.

use std::fmt;

use bytes::Bytes;
use rml_rtmp::messages::{PeerBandwidthLimitType, RtmpMessage, UserControlEventType};
use rml_rtmp::time::RtmpTimestamp;

use crate::Error;

pub(crate) const SET_CHUNK_SIZE: u8 = 1;
pub(crate) const ABORT: u8 = 2;
pub(crate) const ACKNOWLEDGEMENT: u8 = 3;
pub(crate) const USER_CONTROL: u8 = 4;
pub(crate) const WINDOW_ACK_SIZE: u8 = 5;
pub(crate) const SET_PEER_BANDWIDTH: u8 = 6;
pub(crate) const AUDIO: u8 = 8;
pub(crate) const VIDEO: u8 = 9;
pub(crate) const DATA_AMF3: u8 = 15;
pub(crate) const COMMAND_AMF3: u8 = 17;
pub(crate) const DATA: u8 = 18;
pub(crate) const COMMAND: u8 = 20;
pub(crate) const AGGREGATE: u8 = 22;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its type.
    pub(crate) kind: u8,
    /// Its message stream; 0 is the connection itself.
    pub(crate) stream: u32,
    /// Milliseconds, wrapping.
    pub(crate) timestamp: u32,
    /// Its bytes.
    pub(crate) body: Bytes,
}

/// What a media message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// An FLV audio tag body.
    Audio,
    /// An FLV video tag body.
    Video,
    /// An FLV script tag body: a name, such as `onMetaData`, and its values in
    /// AMF0.
    Data,
}

/// A media message of a publisher.
#[derive(Clone, PartialEq, Eq)]
pub struct Media {
    /// What it carries.
    pub kind: MediaKind,
    /// The sender's clock in milliseconds; wraps at 2^32, at 2^31 from OBS.
    pub timestamp_ms: u32,
    /// The body of an FLV tag. May be empty: some senders say silence that way.
    pub body: Bytes,
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media")
            .field("kind", &self.kind)
            .field("timestamp_ms", &self.timestamp_ms)
            .field("bytes", &self.body.len())
            .finish()
    }
}

impl MediaKind {
    pub(crate) fn type_id(self) -> u8 {
        match self {
            Self::Audio => AUDIO,
            Self::Video => VIDEO,
            Self::Data => DATA,
        }
    }
}

/// The media in `message`; nothing for other types.
pub(crate) fn media(message: Message, offset: u64) -> Result<Vec<Media>, Error> {
    let one = |kind, body| {
        vec![Media {
            kind,
            timestamp_ms: message.timestamp,
            body,
        }]
    };
    Ok(match message.kind {
        AUDIO => one(MediaKind::Audio, message.body),
        VIDEO => one(MediaKind::Video, message.body),
        DATA => data_frame(message.body).map_or_else(Vec::new, |body| one(MediaKind::Data, body)),
        DATA_AMF3 => data_frame(without_amf3_byte(message.body))
            .map_or_else(Vec::new, |body| one(MediaKind::Data, body)),
        AGGREGATE => aggregate(&message, offset)?,
        _ => Vec::new(),
    })
}

/// AMF3 messages of encoders are AMF0 behind a zero byte.
pub(crate) fn without_amf3_byte(body: Bytes) -> Bytes {
    if body.first() == Some(&0) {
        body.slice(1..)
    } else {
        body
    }
}

/// A data message as it would stand in a file: without the `@setDataFrame` that
/// asks the server to keep it. `@clearDataFrame` has nothing to say in a file.
fn data_frame(body: Bytes) -> Option<Bytes> {
    if body.starts_with(CLEAR_DATA_FRAME) {
        return None;
    }
    if body.starts_with(SET_DATA_FRAME) {
        return Some(body.slice(SET_DATA_FRAME.len()..));
    }
    Some(body)
}

/// Splits an aggregate: FLV tags one after another, each followed by its size.
/// Their clock is shifted so that the first has the time of the message.
fn aggregate(message: &Message, offset: u64) -> Result<Vec<Media>, Error> {
    let malformed = || Error::Malformed {
        offset,
        what: "an aggregate message that ends within a tag",
    };
    let mut tags = Vec::new();
    let mut shift = None;
    let mut rest = message.body.clone();
    while !rest.is_empty() {
        let Some(&[kind, l2, l1, l0, t2, t1, t0, t3, _, _, _]) = rest.first_chunk() else {
            return Err(malformed());
        };
        let length = u32::from_be_bytes([0, l2, l1, l0]) as usize;
        let time = u32::from_be_bytes([t3, t2, t1, t0]);
        if rest.len() - TAG_HEADER < length {
            return Err(malformed());
        }
        if tags.len() == MAX_TAGS {
            return Err(Error::Limit {
                what: "tags in an aggregate message",
                max: MAX_TAGS,
            });
        }
        let body = rest.slice(TAG_HEADER..TAG_HEADER + length);
        // The size after the last tag is missing from some senders.
        let end = (TAG_HEADER + length + TAG_SIZE).min(rest.len());
        rest = rest.slice(end..);
        let shift = *shift.get_or_insert_with(|| message.timestamp.wrapping_sub(time));
        let (kind, body) = match kind {
            AUDIO => (MediaKind::Audio, body),
            VIDEO => (MediaKind::Video, body),
            DATA => match data_frame(body) {
                Some(body) => (MediaKind::Data, body),
                None => continue,
            },
            _ => continue,
        };
        tags.push(Media {
            kind,
            timestamp_ms: time.wrapping_add(shift),
            body,
        });
    }
    Ok(tags)
}

/// The user control events that are answered or sent.
pub(crate) const PING_REQUEST: u16 = 6;

/// A control message, as type and body.
pub(crate) fn control(message: RtmpMessage) -> Result<(u8, Bytes), Error> {
    // Its writers fail only when memory cannot be written.
    let payload = message
        .into_message_payload(RtmpTimestamp::new(0), 0)
        .map_err(|_| Error::Closed)?;
    Ok((payload.type_id, payload.data))
}

/// The peer may send `size` bytes before it waits for an acknowledgement.
/// "Dynamic": it may also keep what was set before.
pub(crate) fn peer_bandwidth(size: u32) -> RtmpMessage {
    RtmpMessage::SetPeerBandwidth {
        size,
        limit_type: PeerBandwidthLimitType::Dynamic,
    }
}

/// Message stream `id` can be used.
pub(crate) fn stream_begin(id: u32) -> RtmpMessage {
    user_control(UserControlEventType::StreamBegin, Some(id), None)
}

/// Nothing more comes on message stream `id`.
pub(crate) fn stream_eof(id: u32) -> RtmpMessage {
    user_control(UserControlEventType::StreamEof, Some(id), None)
}

/// The answer to a ping that carried `time`.
pub(crate) fn ping_response(time: u32) -> RtmpMessage {
    user_control(
        UserControlEventType::PingResponse,
        None,
        Some(RtmpTimestamp::new(time)),
    )
}

fn user_control(
    event_type: UserControlEventType,
    stream_id: Option<u32>,
    timestamp: Option<RtmpTimestamp>,
) -> RtmpMessage {
    RtmpMessage::UserControl {
        event_type,
        stream_id,
        buffer_length: None,
        timestamp,
    }
}

/// `"@setDataFrame"` as an AMF0 string.
pub(crate) const SET_DATA_FRAME: &[u8] = b"\x02\0\x0d@setDataFrame";
/// `"@clearDataFrame"` as an AMF0 string.
const CLEAR_DATA_FRAME: &[u8] = b"\x02\0\x0f@clearDataFrame";
/// Tags in an aggregate message: Flash servers gather a few hundred
/// milliseconds, and empty tags must not multiply what a message costs.
const MAX_TAGS: usize = 1024;
/// Bytes of an FLV tag before its body.
const TAG_HEADER: usize = 11;
/// Bytes of the size that follows an FLV tag.
const TAG_SIZE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, timestamp: u32, body: &'static [u8]) -> Message {
        Message {
            kind,
            stream: 1,
            timestamp,
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn an_aggregate_cut_anywhere_is_refused_or_shorter() {
        const WHOLE: &[u8] = b"\x08\0\0\x02\0\0\x0a\0\0\0\0\xaf\x01\0\0\0\x0d\
            \x09\0\0\x01\0\0\x1e\0\0\0\0\x17\0\0\0\x0c";
        for length in 0..WHOLE.len() {
            let cut = message(AGGREGATE, 0, &WHOLE[..length]);
            match media(cut, 7) {
                Ok(tags) => assert!(tags.len() <= 2),
                Err(error) => assert_eq!(
                    error.to_string(),
                    "RTMP at byte 7: an aggregate message that ends within a tag"
                ),
            }
        }
        let tags = media(message(AGGREGATE, 1000, WHOLE), 0).unwrap();
        let seen: Vec<_> = tags
            .iter()
            .map(|tag| (tag.kind, tag.timestamp_ms, &tag.body[..]))
            .collect();
        assert_eq!(
            seen,
            [
                (MediaKind::Audio, 1000, &[0xaf, 1][..]),
                (MediaKind::Video, 1020, &[0x17][..]),
            ]
        );
    }

    #[test]
    fn an_aggregate_of_empty_tags_is_cut_short() {
        let body = [8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11].repeat(2000);
        let message = Message {
            body: Bytes::from(body),
            ..message(AGGREGATE, 0, b"")
        };
        assert_eq!(
            media(message, 0).unwrap_err().to_string(),
            "RTMP tags in an aggregate message: more than 1024"
        );
    }

    #[test]
    fn an_aggregate_inside_an_aggregate_is_left_out() {
        let nested = message(AGGREGATE, 0, b"\x16\0\0\0\0\0\0\0\0\0\0\0\0\0\x0b");
        assert_eq!(media(nested, 0).unwrap(), []);
    }

    #[test]
    fn metadata_becomes_what_a_file_holds() {
        let bodies: [(u8, &[u8]); 4] = [
            (DATA, b"\x02\0\x0aonMetaData\x05"),
            (DATA, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x05"),
            (
                DATA_AMF3,
                b"\0\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x05",
            ),
            (DATA_AMF3, b"\x02\0\x0aonMetaData\x05"),
        ];
        for (kind, body) in bodies {
            let media = media(message(kind, 0, body), 0).unwrap();
            assert_eq!(media[0].body[..], b"\x02\0\x0aonMetaData\x05"[..]);
        }
        let clear = message(DATA, 0, b"\x02\0\x0f@clearDataFrame");
        assert_eq!(media(clear, 0).unwrap(), []);
    }

    #[test]
    fn control_messages_have_the_bytes_of_the_specification() {
        let body = |message| control(message).unwrap();
        assert_eq!(
            body(peer_bandwidth(2_500_000)),
            (6, Bytes::from_static(&[0, 0x26, 0x25, 0xa0, 2]))
        );
        assert_eq!(
            body(stream_begin(1)),
            (4, Bytes::from_static(&[0, 0, 0, 0, 0, 1]))
        );
        assert_eq!(
            body(ping_response(0x0102_0304)),
            (4, Bytes::from_static(&[0, 7, 1, 2, 3, 4]))
        );
    }
}
