//! The headers in front of codec data: Adobe's of FLV 10.1 (annex E.4) and
//! those of Enhanced RTMP v2.

use bytes::Bytes;

use crate::Error;
use crate::codec;

/// What a tag body holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A decoder configuration.
    Config(Payload),
    /// One coded picture or audio frame.
    Frame {
        /// Presentation minus decoding time, in milliseconds; 0 for audio.
        composition_ms: i32,
        payload: Payload,
    },
    /// Nothing to decode: commands, ends of sequence, empty bodies, tracks
    /// other than the first.
    Nothing,
}

/// Codec data and where in the tag body it begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) offset: usize,
    pub(crate) data: Bytes,
}

impl Payload {
    fn behind(body: &Bytes, offset: usize) -> Self {
        Self {
            offset,
            data: body.slice(offset..),
        }
    }
}

/// Reads a video tag body.
///
/// ```text
/// frame type(4) codec(4) packet type(8) composition time(24) data   codec 7
/// 1 frame type(3) packet type(4) …                                  enhanced
/// ```
pub(crate) fn video(body: &Bytes) -> Result<Packet, Error> {
    let Some(&first) = body.first() else {
        return Ok(Packet::Nothing);
    };
    let command = first >> 4 & 7 == FRAME_COMMAND;
    if first & 0x80 != 0 {
        return match Enhanced::parse(body, VIDEO_MULTITRACK, command)? {
            Some(packet) => packet.video(body),
            None => Ok(Packet::Nothing),
        };
    }
    if command {
        return Ok(Packet::Nothing);
    }
    if first & 0xf != CODEC_AVC {
        return Err(Error::Unsupported {
            codec: codec::video_name(first & 0xf),
        });
    }
    match body.get(1) {
        None => Err(Error::malformed(1, "video tag without a packet type")),
        Some(&AVC_END) => Ok(Packet::Nothing),
        Some(&kind @ (AVC_HEADER | AVC_NALUS)) => {
            let composition_ms = composition_time(body, 2)?;
            let payload = Payload::behind(body, 5);
            Ok(match kind {
                AVC_HEADER => Packet::Config(payload),
                _ => Packet::Frame {
                    composition_ms,
                    payload,
                },
            })
        }
        Some(_) => Err(Error::malformed(1, "AVC packet type above 2")),
    }
}

/// Reads an audio tag body.
///
/// ```text
/// format(4) rate(2) size(1) channels(1) packet type(8) data   format 10
/// format(4)=9 packet type(4) …                                enhanced
/// ```
pub(crate) fn audio(body: &Bytes) -> Result<Packet, Error> {
    let Some(&first) = body.first() else {
        // "Silence" of some senders.
        return Ok(Packet::Nothing);
    };
    match first >> 4 {
        FORMAT_ENHANCED => match Enhanced::parse(body, AUDIO_MULTITRACK, false)? {
            Some(packet) => packet.audio(body),
            None => Ok(Packet::Nothing),
        },
        FORMAT_AAC => match body.get(1) {
            None => Err(Error::malformed(1, "audio tag without a packet type")),
            Some(&AAC_HEADER) => Ok(Packet::Config(Payload::behind(body, 2))),
            Some(&AAC_RAW) => Ok(Packet::Frame {
                composition_ms: 0,
                payload: Payload::behind(body, 2),
            }),
            Some(_) => Err(Error::malformed(1, "AAC packet type above 1")),
        },
        format => Err(Error::Unsupported {
            codec: codec::audio_name(format),
        }),
    }
}

/// A packet of Enhanced RTMP, of the first track.
struct Enhanced {
    fourcc: [u8; 4],
    kind: u8,
    /// Where its data begins and ends in the body.
    start: usize,
    end: usize,
}

impl Enhanced {
    /// Reads the extended header, past modifiers and into multitrack bodies.
    /// `None` without a first track or for a command.
    ///
    /// ```text
    /// … packet type(4)
    /// packet type 7: size - 1 (8, or ff and 16), data, modifier(4) packet type(4), repeated
    /// multitrack:    arrangement(4) packet type(4)
    /// fourcc(32), but for each track when the arrangement is 2
    /// multitrack:    [fourcc(32)] track(8) [size(24), unless the arrangement is 0] data, repeated
    /// ```
    fn parse(body: &Bytes, multitrack: u8, command: bool) -> Result<Option<Self>, Error> {
        let mut cursor = Cursor { body, at: 0 };
        let mut kind = cursor.u8()? & 0xf;
        while kind == MODIFIER {
            let size = match cursor.u8()? {
                0xff => usize::from(cursor.u8()?) << 8 | usize::from(cursor.u8()?),
                size => usize::from(size),
            };
            cursor.skip(size + 1)?;
            kind = cursor.u8()? & 0xf;
        }
        if command && kind != KIND_METADATA {
            return Ok(None);
        }
        if kind != multitrack {
            let fourcc = cursor.fourcc()?;
            return Ok(Some(Self {
                fourcc,
                kind,
                start: cursor.at,
                end: body.len(),
            }));
        }
        let arrangement = cursor.u8()?;
        let kind = arrangement & 0xf;
        let arrangement = arrangement >> 4;
        let shared = match arrangement {
            MANY_CODECS => None,
            _ => Some(cursor.fourcc()?),
        };
        while cursor.at < body.len() {
            let fourcc = match shared {
                Some(fourcc) => fourcc,
                None => cursor.fourcc()?,
            };
            let track = cursor.u8()?;
            let size = match arrangement {
                ONE_TRACK => body.len() - cursor.at,
                _ => cursor.u24()?,
            };
            let start = cursor.at;
            cursor.skip(size)?;
            if track == 0 {
                return Ok(Some(Self {
                    fourcc,
                    kind,
                    start,
                    end: cursor.at,
                }));
            }
        }
        Ok(None)
    }

    fn video(self, body: &Bytes) -> Result<Packet, Error> {
        if self.fourcc != *b"avc1" {
            return Err(self.unsupported("video"));
        }
        let body = body.slice(..self.end);
        Ok(match self.kind {
            KIND_START => Packet::Config(Payload::behind(&body, self.start)),
            KIND_FRAMES => Packet::Frame {
                composition_ms: composition_time(&body, self.start)?,
                payload: Payload::behind(&body, self.start + 3),
            },
            KIND_FRAMES_X => Packet::Frame {
                composition_ms: 0,
                payload: Payload::behind(&body, self.start),
            },
            // Ends of sequence, metadata such as colour, what is yet to come.
            _ => Packet::Nothing,
        })
    }

    fn audio(self, body: &Bytes) -> Result<Packet, Error> {
        if self.fourcc != *b"mp4a" {
            return Err(self.unsupported("audio"));
        }
        let payload = Payload::behind(&body.slice(..self.end), self.start);
        Ok(match self.kind {
            KIND_START => Packet::Config(payload),
            KIND_FRAMES => Packet::Frame {
                composition_ms: 0,
                payload,
            },
            // Ends of sequence, channel maps, what is yet to come.
            _ => Packet::Nothing,
        })
    }

    fn unsupported(&self, medium: &str) -> Error {
        Error::Unsupported {
            codec: codec::fourcc_name(self.fourcc, medium),
        }
    }
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some(&bytes) = self.body[self.at..].first_chunk() else {
            return Err(Error::malformed(self.at, "extended tag header ends early"));
        };
        self.at += N;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.take().map(|[byte]| byte)
    }

    fn u24(&mut self) -> Result<usize, Error> {
        let [a, b, c] = self.take()?;
        Ok(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
    }

    fn fourcc(&mut self) -> Result<[u8; 4], Error> {
        self.take()
    }

    fn skip(&mut self, count: usize) -> Result<(), Error> {
        if self.body.len() - self.at < count {
            return Err(Error::malformed(self.at, "extended tag body ends early"));
        }
        self.at += count;
        Ok(())
    }
}

/// The signed 24 bits at `offset`.
fn composition_time(body: &Bytes, offset: usize) -> Result<i32, Error> {
    match body.get(offset..offset + 3) {
        Some(&[a, b, c]) => Ok(i32::from_be_bytes([a, b, c, 0]) >> 8),
        _ => Err(Error::malformed(
            body.len(),
            "video tag cut off in its composition time",
        )),
    }
}

const CODEC_AVC: u8 = 7;
const FRAME_COMMAND: u8 = 5;
const AVC_HEADER: u8 = 0;
const AVC_NALUS: u8 = 1;
const AVC_END: u8 = 2;

const FORMAT_ENHANCED: u8 = 9;
const FORMAT_AAC: u8 = 10;
const AAC_HEADER: u8 = 0;
const AAC_RAW: u8 = 1;

const KIND_START: u8 = 0;
const KIND_FRAMES: u8 = 1;
const KIND_FRAMES_X: u8 = 3;
const KIND_METADATA: u8 = 4;
const AUDIO_MULTITRACK: u8 = 5;
const VIDEO_MULTITRACK: u8 = 6;
const MODIFIER: u8 = 7;
const ONE_TRACK: u8 = 0;
const MANY_CODECS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(parts: &[&[u8]]) -> Bytes {
        parts.concat().into()
    }

    fn frame(packet: Packet) -> (i32, usize, Bytes) {
        let Packet::Frame {
            composition_ms,
            payload,
        } = packet
        else {
            panic!("not a frame: {packet:?}");
        };
        (composition_ms, payload.offset, payload.data)
    }

    #[test]
    fn headers_cut_off_anywhere_are_errors_with_their_offset() {
        let modified: &[u8] = b"\x97\x00\xaa\x06\x06\x01avc1\x00\x00\x00\x00\x01\x65";
        let whole = [
            modified,
            b"\xa1avc1\x00\x00\x28\x01",
            b"\x17\x01\x00\x00\x28\x01",
        ];
        for (body, header) in whole.into_iter().zip([7, 8, 5]) {
            for end in 1..header {
                let cut = Bytes::copy_from_slice(&body[..end]);
                assert!(
                    matches!(video(&cut), Err(Error::Malformed { offset, .. }) if offset <= end as u64),
                    "{cut:?}"
                );
            }
        }
    }

    #[test]
    fn codecs_are_refused_by_name() {
        let refused = |packet: Result<Packet, Error>| packet.unwrap_err().to_string();
        let said =
            |name: &str| format!("{name} is not supported: send H.264 video and AAC-LC audio");
        for (first, name) in [
            (0x12, "Sorenson H.263 video"),
            (0x13, "Screen video"),
            (0x14, "VP6 video"),
            (0x1c, "HEVC (H.265) video"),
            (0x1f, "video codec 15"),
        ] {
            assert_eq!(refused(video(&bytes(&[&[first, 0]]))), said(name));
        }
        for (first, name) in [
            (0x2f, "MP3 audio"),
            (0xb2, "Speex audio"),
            (0x72, "G.711 audio"),
            (0x82, "G.711 audio"),
            (0x52, "Nellymoser audio"),
            (0x3e, "PCM audio"),
            (0xf0, "audio codec 15"),
        ] {
            assert_eq!(refused(audio(&bytes(&[&[first, 0]]))), said(name));
        }
        for (code, name) in [
            (b"hvc1", "HEVC (H.265) video"),
            (b"av01", "AV1 video"),
            (b"vp09", "VP9 video"),
        ] {
            assert_eq!(refused(video(&bytes(&[&[0x90], code]))), said(name));
        }
        for (code, name) in [
            (b"Opus", "Opus audio"),
            (b"ac-3", "AC-3 audio"),
            (b"fLaC", "FLAC audio"),
            (b".mp3", "MP3 audio"),
        ] {
            assert_eq!(refused(audio(&bytes(&[&[0x90], code]))), said(name));
        }
    }

    #[test]
    fn ends_commands_and_empty_bodies_are_nothing() {
        for body in [
            &[][..],
            &[0x17, 2],
            &[0x17, 2, 0, 0, 0],
            &[0x57, 0],
            &[0xd1, 0],
            b"\x92avc1",
            b"\xd4avc1\x02\x00\x09colorInfo",
            b"\x95avc1",
        ] {
            assert_eq!(video(&Bytes::from_static(body)), Ok(Packet::Nothing));
        }
        for body in [&[][..], b"\x92mp4a", b"\x94mp4a\x01\x02"] {
            assert_eq!(audio(&Bytes::from_static(body)), Ok(Packet::Nothing));
        }
    }

    #[test]
    fn composition_time_has_a_sign() {
        let of = |time: [u8; 3]| frame(video(&bytes(&[&[0x27, 1], &time, &[9]])).unwrap()).0;
        assert_eq!(of([0, 0, 40]), 40);
        assert_eq!(of([0xff, 0xff, 0xd8]), -40);
        assert_eq!(of([0x80, 0, 0]), -8_388_608);
    }

    #[test]
    fn enhanced_frames_are_read_with_and_without_composition_time() {
        let with = video(&bytes(&[b"\xa1avc1\x00\x00\x28", &[1, 2]])).unwrap();
        assert_eq!(frame(with), (40, 8, Bytes::from_static(&[1, 2])));
        let without = video(&bytes(&[b"\xa3avc1", &[1, 2]])).unwrap();
        assert_eq!(frame(without), (0, 5, Bytes::from_static(&[1, 2])));
        let sound = audio(&bytes(&[b"\x91mp4a", &[1, 2]])).unwrap();
        assert_eq!(frame(sound), (0, 5, Bytes::from_static(&[1, 2])));
        let config = audio(&bytes(&[b"\x90mp4a", &[0x12, 0x10]])).unwrap();
        assert!(matches!(config, Packet::Config(Payload { offset: 5, .. })));
    }

    #[test]
    fn the_first_of_many_tracks_is_taken() {
        let second = video(&bytes(&[b"\x96\x03avc1\x01", &[7]]));
        assert_eq!(second, Ok(Packet::Nothing));
        // Another track may have any codec.
        let second = video(&bytes(&[b"\x96\x03hvc1\x01", &[7]]));
        assert_eq!(second, Ok(Packet::Nothing));
        let first = video(&bytes(&[b"\x96\x03avc1\x00", &[7]])).unwrap();
        assert_eq!(frame(first), (0, 7, Bytes::from_static(&[7])));
        // Both in one body, the first one last; then each with its own codec.
        let both = video(&bytes(&[
            b"\x96\x13avc1\x01\x00\x00\x02ab\x00\x00\x00\x01c",
        ]));
        assert_eq!(frame(both.unwrap()).2, "c");
        let both = video(&bytes(&[
            b"\x96\x23hvc1\x01\x00\x00\x02abavc1\x00\x00\x00\x01cmore",
        ]));
        assert_eq!(frame(both.unwrap()).2, "c");
        let sound = audio(&bytes(&[b"\x95\x01mp4a\x00", &[5, 6]])).unwrap();
        assert_eq!(frame(sound).2, &[5, 6][..]);
    }

    #[test]
    fn modifiers_are_stepped_over() {
        // A nanosecond offset of 3 bytes, then one with a long size.
        let mut body = b"\x97\x02\x00\x01\x02\x07\xff\x00\x00\x00\x03avc1".to_vec();
        body.push(9);
        assert_eq!(frame(video(&body.into()).unwrap()).2, &[9][..]);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(first: u8, data: Vec<u8>) {
            let body = bytes(&[&[first], &data]);
            let _ = video(&body);
            let _ = audio(&body);
        }

        #[test]
        fn random_multitrack_bodies_never_panic(data in proptest::collection::vec(0..4_u8, 0..60)) {
            let _ = video(&bytes(&[&[0x96, 0x11], b"avc1", &data]));
            let _ = video(&bytes(&[&[0x97], &data]));
        }
    }
}
