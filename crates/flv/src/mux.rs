//! Access units back to tag bodies: what players and relays are sent.
//!
//! In the original form of FLV 10.1 (annex E.4) whatever form the publisher used:
//! every player and every destination reads it. The coded data is the
//! publisher's, byte for byte.

use amf0::Value;
use bitstream::avcc;
use bytes::Bytes;
use media::{AccessUnit, Ticks, TrackConfig};

/// The body of a tag that holds `unit`.
pub fn frame(unit: &AccessUnit) -> Vec<u8> {
    let mut body = Vec::with_capacity(VIDEO_HEADER + unit.data.len());
    write_header(&mut body, unit);
    body.extend_from_slice(&unit.data);
    body
}

/// What [`frame`] has in front of the unit's data, at most five bytes.
pub fn frame_header(unit: &AccessUnit) -> Vec<u8> {
    let mut header = Vec::with_capacity(VIDEO_HEADER);
    write_header(&mut header, unit);
    header
}

fn write_header(body: &mut Vec<u8>, unit: &AccessUnit) {
    match &*unit.config {
        TrackConfig::H264(_) => {
            let first = if unit.key { KEY_AVC } else { INTER_AVC };
            // Signed 24 bits; a demuxer lets no longer delay in than fits.
            let [_, a, b, c] = (millis(unit.pts - unit.dts) as i32).to_be_bytes();
            body.extend_from_slice(&[first, FRAME, a, b, c]);
        }
        _ => body.extend_from_slice(&[AAC, FRAME]),
    }
}

/// The body of the tag that announces `config`: the sequence header of a track.
pub fn sequence_header(config: &TrackConfig) -> Bytes {
    let mut body = Vec::new();
    match config {
        TrackConfig::H264(config) => {
            body.extend_from_slice(&[KEY_AVC, HEADER, 0, 0, 0]);
            body.extend_from_slice(&avcc::write(config));
        }
        TrackConfig::Aac(config) => {
            body.extend_from_slice(&[AAC, HEADER]);
            body.extend_from_slice(&config.asc);
        }
        // The enum may grow; what FLV has no form for announces nothing.
        _ => {}
    }
    body.into()
}

/// The body of a script tag that describes a stream of these tracks: only what
/// is there is said to be there, since players wait for the others.
pub fn metadata(video: Option<&TrackConfig>, audio: Option<&TrackConfig>) -> Bytes {
    let mut fields: Vec<(&str, Value)> = Vec::new();
    if let Some(config) = video.and_then(TrackConfig::h264) {
        fields.push(("width", f64::from(config.size.width).into()));
        fields.push(("height", f64::from(config.size.height).into()));
        if let Some((num, den)) = config.frame_rate {
            fields.push(("framerate", (f64::from(num) / f64::from(den)).into()));
        }
        fields.push(("videocodecid", 7.0.into()));
    }
    if let Some(config) = audio.and_then(TrackConfig::aac) {
        fields.push(("audiocodecid", 10.0.into()));
        fields.push(("audiosamplerate", f64::from(config.sample_rate).into()));
        fields.push(("audiosamplesize", 16.0.into()));
        if config.channels > 0 {
            fields.push(("audiochannels", f64::from(config.channels).into()));
            fields.push(("stereo", Value::Boolean(config.channels == 2)));
        }
    }
    fields.push(("hasVideo", Value::Boolean(video.is_some())));
    fields.push(("hasAudio", Value::Boolean(audio.is_some())));
    fields.push(("encoder", "weir".into()));
    let named = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let mut body = Vec::new();
    amf0::write(&mut body, &"onMetaData".into());
    amf0::write(&mut body, &Value::EcmaArray(named.collect()));
    body.into()
}

/// The nearest whole milliseconds: a sender's stamps are multiples of them,
/// moved by a tick at most where two units had the same.
pub fn millis(span: Ticks) -> i64 {
    (span.get() + TICKS_PER_MS / 2).div_euclid(TICKS_PER_MS)
}

const TICKS_PER_MS: i64 = Ticks::HZ / 1000;
const VIDEO_HEADER: usize = 5;
/// Frame type 1 or 2 and codec 7.
const KEY_AVC: u8 = 0x17;
const INTER_AVC: u8 = 0x27;
/// Format 10; rate, size and channels are fixed for AAC, whatever it holds.
const AAC: u8 = 0xaf;
const HEADER: u8 = 0;
const FRAME: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Reader, TagKind};
    use crate::{Config, Demuxer};

    /// The bundled clip's tags, taken apart and put together again.
    #[test]
    fn what_is_put_together_is_taken_apart_alike() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../testdata/bbb-720p25-5s.flv"
        );
        let mut reader = Reader::new(crate::file::Limits::default());
        reader.push(&std::fs::read(path).unwrap());
        let mut sources = Demuxer::new(Config::default());
        let mut copies = Demuxer::new(Config::default());
        let mut announced: [Option<Bytes>; 2] = [None, None];
        let mut units = 0;
        while let Some(tag) = reader.next_tag().unwrap() {
            let source = match tag.kind {
                TagKind::Video => sources.video(tag.timestamp_ms, tag.body),
                TagKind::Audio => sources.audio(tag.timestamp_ms, tag.body),
                TagKind::Script => continue,
            };
            let Some(unit) = source.unwrap() else {
                continue;
            };
            let video = tag.kind == TagKind::Video;
            let ms = millis(unit.dts - media::Timestamp::ZERO) as u32;
            let mut take = |ms, body: Bytes| match video {
                true => copies.video(ms, body),
                false => copies.audio(ms, body),
            };
            let header = sequence_header(&unit.config);
            if announced[usize::from(video)].as_ref() != Some(&header) {
                assert!(take(ms, header.clone()).unwrap().is_none());
                announced[usize::from(video)] = Some(header);
            }
            let copy = take(ms, frame(&unit).into()).unwrap().unwrap();
            assert_eq!(
                (copy.pts, copy.dts, copy.key),
                (unit.pts, unit.dts, unit.key)
            );
            assert_eq!(copy.data, unit.data);
            assert_eq!(copy.config, unit.config);
            units += 1;
        }
        assert!(units > 300, "{units}");
    }

    #[test]
    fn only_the_tracks_that_are_there_are_described() {
        let asc = bitstream::asc::low_complexity(48_000, 2).unwrap();
        let body = metadata(None, Some(&TrackConfig::Aac(asc)));
        let values = amf0::read_all(&body, &amf0::Limits::default()).unwrap();
        assert_eq!(values[0].as_str(), Some("onMetaData"));
        let field = |name| values[1].field(name);
        assert_eq!(field("audiosamplerate"), Some(&Value::Number(48_000.0)));
        assert_eq!(field("hasAudio"), Some(&Value::Boolean(true)));
        assert_eq!(field("hasVideo"), Some(&Value::Boolean(false)));
        assert_eq!(field("videocodecid"), None);
    }
}
