//! `onMetaData`: what a sender says of its stream before it sends it.
//!
//! Never relied upon: senders leave it out, and what they say may be wrong.

use amf0::Value;

use crate::codec;

/// What `onMetaData` says; `None` where it is silent or absurd.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Width of the picture in samples.
    pub width: Option<u32>,
    /// Height of the picture in samples.
    pub height: Option<u32>,
    /// Pictures a second, above 0.
    pub frame_rate: Option<f64>,
    /// Name of the video codec, such as "H.264 video".
    pub video_codec: Option<String>,
    /// Name of the audio codec, such as "AAC audio".
    pub audio_codec: Option<String>,
    /// Video rate in kbit/s.
    pub video_kbps: Option<f64>,
    /// Audio rate in kbit/s.
    pub audio_kbps: Option<f64>,
    /// Two channels. `false` is said of one and of more than two.
    pub stereo: Option<bool>,
    /// Length of a file in seconds; senders of live streams say 0, which is
    /// left out.
    pub duration_secs: Option<f64>,
    /// What made the stream, at most 128 characters, none of them a control.
    pub encoder: Option<String>,
}

impl Metadata {
    /// Reads the body of a script tag or of an RTMP data message: AMF0 values,
    /// `onMetaData` and an object among them, with `@setDataFrame` in front of
    /// them or not. `None` for other scripts and for what cannot be read.
    pub(crate) fn parse(body: &[u8], limits: &amf0::Limits) -> Option<Self> {
        let mut values = amf0::Reader::new(body, limits).map_while(Result::ok);
        values.find(|value| value.as_str() == Some("onMetaData"))?;
        let fields = values.find(|value| value.fields().is_some())?;
        let positive = |name| {
            let number = fields.field(name).and_then(Value::as_number)?;
            (number.is_finite() && number > 0.0).then_some(number)
        };
        let side = |name| {
            positive(name)
                .filter(|side| *side <= 65_536.0)
                .map(|side| side as u32)
        };
        Some(Self {
            width: side("width"),
            height: side("height"),
            frame_rate: positive("framerate").or_else(|| positive("fps")),
            video_codec: codec_name(fields.field("videocodecid"), codec::video_name, "video"),
            audio_codec: codec_name(fields.field("audiocodecid"), codec::audio_name, "audio"),
            video_kbps: positive("videodatarate"),
            audio_kbps: positive("audiodatarate"),
            stereo: fields.field("stereo").and_then(Value::as_bool),
            duration_secs: positive("duration"),
            encoder: fields
                .field("encoder")
                .and_then(Value::as_str)
                .map(|text| text.chars().filter(|c| !c.is_control()).take(128).collect()),
        })
    }
}

/// A codec id: a number of the tag header, a four-character code as a number
/// (OBS, ffmpeg) or as text (DJI FlightHub).
fn codec_name(id: Option<&Value>, legacy: fn(u8) -> String, medium: &str) -> Option<String> {
    match id? {
        Value::Number(number) if *number >= 0.0 && *number < 16.0 => Some(legacy(*number as u8)),
        Value::Number(number) if *number >= 65_536.0 && *number <= f64::from(u32::MAX) => {
            let code = (*number as u32).to_be_bytes();
            Some(codec::fourcc_name(code, medium))
        }
        Value::String(text) => {
            let code = text
                .as_bytes()
                .first_chunk::<4>()
                .filter(|_| text.len() == 4);
            Some(codec::fourcc_name(*code?, medium))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(values: &[Value]) -> Option<Metadata> {
        let mut body = Vec::new();
        for value in values {
            amf0::write(&mut body, value);
        }
        Metadata::parse(&body, &amf0::Limits::default())
    }

    fn of(fields: &[(&str, Value)]) -> Metadata {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let name = Value::from("onMetaData");
        parse(&[name, Value::EcmaArray(fields)]).unwrap()
    }

    #[test]
    fn absurd_values_are_left_out() {
        let metadata = of(&[
            ("width", f64::NAN.into()),
            ("height", 1e18.into()),
            ("framerate", (-30.0).into()),
            ("duration", 0.0.into()),
            ("audiodatarate", f64::INFINITY.into()),
            ("videocodecid", 70_000_000_000.0.into()),
            ("audiocodecid", "a codec of ours".into()),
            ("stereo", "yes".into()),
        ]);
        assert_eq!(metadata, Metadata::default());
    }

    #[test]
    fn other_scripts_are_not_metadata() {
        assert_eq!(
            parse(&["onCuePoint".into(), Value::Object(Vec::new())]),
            None
        );
        assert_eq!(parse(&["onMetaData".into()]), None);
        assert_eq!(
            parse(&[Value::Object(Vec::new()), "onMetaData".into()]),
            None
        );
        assert_eq!(Metadata::parse(&[], &amf0::Limits::default()), None);
    }

    #[test]
    fn the_words_in_front_may_be_there_or_not() {
        let fields = || Value::Object(vec![("width".to_owned(), 1280.0.into())]);
        for front in [&["@setDataFrame", "onMetaData"][..], &["onMetaData"]] {
            let mut values: Vec<Value> = front.iter().map(|text| (*text).into()).collect();
            values.push(fields());
            assert_eq!(parse(&values).unwrap().width, Some(1280));
        }
    }

    #[test]
    fn codec_ids_are_numbers_codes_and_texts() {
        let video = |id: Value| of(&[("videocodecid", id)]).video_codec;
        assert_eq!(video(7.0.into()).as_deref(), Some("H.264 video"));
        assert_eq!(video("avc1".into()).as_deref(), Some("H.264 video"));
        assert_eq!(
            video(1_752_589_105.0.into()).as_deref(),
            Some("HEVC (H.265) video")
        );
        let audio = |id: Value| of(&[("audiocodecid", id)]).audio_codec;
        assert_eq!(audio(10.0.into()).as_deref(), Some("AAC audio"));
        assert_eq!(audio("mp4a".into()).as_deref(), Some("AAC audio"));
    }

    #[test]
    fn an_encoder_cannot_write_control_characters_into_a_log() {
        let name = format!("OBS\n\x1b[31m{}", "x".repeat(300));
        let encoder = of(&[("encoder", name.as_str().into())]).encoder.unwrap();
        assert!(encoder.starts_with("OBS[31mx"));
        assert_eq!(encoder.chars().count(), 128);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(data: Vec<u8>) {
            let mut body = Vec::new();
            amf0::write(&mut body, &"onMetaData".into());
            body.extend_from_slice(&data);
            let _ = Metadata::parse(&body, &amf0::Limits::default());
        }
    }
}
