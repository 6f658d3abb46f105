//! Names of codecs, for errors and logs.

use std::fmt::Write as _;

/// The codec of a video tag's `CodecID`.
pub(crate) fn video_name(id: u8) -> String {
    match id {
        1 => "JPEG video",
        2 => "Sorenson H.263 video",
        3 | 6 => "Screen video",
        4 | 5 => "VP6 video",
        7 => "H.264 video",
        // Never specified, but sent by Chinese CDNs' builds of ffmpeg.
        12 => "HEVC (H.265) video",
        13 => "AV1 video",
        _ => return format!("video codec {id}"),
    }
    .to_owned()
}

/// The codec of an audio tag's `SoundFormat`.
pub(crate) fn audio_name(format: u8) -> String {
    match format {
        0 | 3 => "PCM audio",
        1 => "ADPCM audio",
        2 | 14 => "MP3 audio",
        4..=6 => "Nellymoser audio",
        7 | 8 => "G.711 audio",
        10 => "AAC audio",
        11 => "Speex audio",
        13 => "Opus audio",
        _ => return format!("audio codec {format}"),
    }
    .to_owned()
}

/// The codec of a four-character code of Enhanced RTMP; `medium` is "video" or
/// "audio".
pub(crate) fn fourcc_name(code: [u8; 4], medium: &str) -> String {
    let name = match &code {
        b"avc1" => "H.264",
        b"hvc1" | b"hev1" => "HEVC (H.265)",
        b"vvc1" => "VVC (H.266)",
        b"av01" => "AV1",
        b"vp08" => "VP8",
        b"vp09" => "VP9",
        b"mp4a" => "AAC",
        b".mp3" => "MP3",
        b"Opus" => "Opus",
        b"ac-3" => "AC-3",
        b"ec-3" => "E-AC-3",
        b"fLaC" => "FLAC",
        _ => {
            let mut name = format!("{medium} codec ");
            for byte in code.escape_ascii() {
                let _ = name.write_char(char::from(byte));
            }
            return name;
        }
    };
    format!("{name} {medium}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_are_not_letters_are_escaped() {
        assert_eq!(
            fourcc_name([b'x', 0, 0xff, b'\n'], "video"),
            "video codec x\\x00\\xff\\n"
        );
    }
}
