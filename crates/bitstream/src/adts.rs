//! ADTS headers (ISO/IEC 14496-3, 1.A.2.2): how MPEG-TS carries AAC frames.
//!
//! ```text
//! syncword(12)=fff id(1) layer(2)=0 protection_absent(1)
//! profile(2) rate_index(4) private(1) channel_configuration(3) original home
//! copyright(2) frame_length(13) fullness(11) blocks(2)
//! ```

use media::AacConfig;

use crate::Error;
use crate::asc;

/// Bytes of a header without CRC.
pub const HEADER_LEN: usize = 7;

/// The header of one raw frame of `frame_len` bytes.
///
/// Names the core coder, as ADTS must: profile LC and the core's rate and
/// channels also where SBR or PS come on top. `Unsupported` for what the header
/// cannot say: a rate outside the table, or a channel layout of its own.
pub fn header(config: &AacConfig, frame_len: usize) -> Result<[u8; HEADER_LEN], Error> {
    let Some(rate) = asc::rate_index(config.core_rate) else {
        return Err(Error::Unsupported {
            what: format!("AAC with {} samples a second in ADTS", config.core_rate),
        });
    };
    // Parametric stereo makes two channels of one.
    let channels = match config.object_type {
        29 => 1,
        _ => config.channels,
    };
    // One or two channels have one layout; more in an element's own order would
    // be heard from the wrong side.
    let own_layout = channels > 2 && asc::has_program_config(&config.asc);
    let channels = match asc::channel_configuration(channels) {
        Some(channels) if !own_layout => channels,
        _ => {
            return Err(Error::Unsupported {
                what: format!("AAC layout of {} channels in ADTS", config.channels),
            });
        }
    };
    let length = frame_len + HEADER_LEN;
    if length > MAX_LEN {
        return Err(Error::Limit {
            what: "ADTS frame length in bytes",
            found: length as u64,
            max: MAX_LEN as u64,
        });
    }
    Ok([
        0xff,
        0xf1, // MPEG-4, no CRC
        PROFILE_LC << 6 | rate << 2 | channels >> 2,
        channels << 6 | (length >> 11) as u8,
        (length >> 3) as u8,
        (length << 5) as u8 | 0x1f, // fullness 7ff: variable rate
        0xfc,
    ])
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// MPEG-4 audio object type: 1 Main, 2 LC, 3 SSR, 4 LTP.
    pub object_type: u8,
    /// Rate of the core coder in Hz.
    pub core_rate: u32,
    /// `channel_configuration`: 0 when an element in the frame says so.
    pub channel_configuration: u8,
    /// Bytes of the header: 7, or 9 with a CRC.
    pub header_len: usize,
    /// Bytes from one header to the next, this header included.
    pub frame_len: usize,
    /// Raw data blocks in the frame, 1 to 4.
    pub blocks: u8,
}

/// Reads the header at the start of `data`. The frame behind it may be cut off.
pub fn parse(data: &[u8]) -> Result<Header, Error> {
    let malformed = |offset, what| Error::Malformed { offset, what };
    let Some(&[sync, flags, rates, lengths, length, fullness, blocks]) = data.first_chunk() else {
        return Err(malformed(data.len(), "ADTS header ends early"));
    };
    if sync != 0xff || flags & 0xf6 != 0xf0 {
        return Err(malformed(
            0,
            "bytes that do not begin with an ADTS sync word",
        ));
    }
    let Some(core_rate) = asc::indexed_rate(rates >> 2 & 0xf) else {
        return Err(malformed(2, "ADTS header with a reserved rate index"));
    };
    let header_len = if flags & 1 == 1 { HEADER_LEN } else { 9 };
    let frame_len =
        usize::from(lengths & 3) << 11 | usize::from(length) << 3 | usize::from(fullness) >> 5;
    if frame_len < header_len {
        return Err(malformed(3, "ADTS frame shorter than its header"));
    }
    Ok(Header {
        object_type: (rates >> 6) + 1,
        core_rate,
        channel_configuration: (rates & 1) << 2 | lengths >> 6,
        header_len,
        frame_len,
        blocks: (blocks & 3) + 1,
    })
}

/// Object type minus one.
const PROFILE_LC: u8 = 1;

/// What 13 bits hold.
const MAX_LEN: usize = 0x1fff;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn a_frame_too_long_for_13_bits_is_refused() {
        let config = asc::low_complexity(48_000, 2).unwrap();
        assert!(header(&config, MAX_LEN - HEADER_LEN).is_ok());
        assert_eq!(
            header(&config, 8185).unwrap_err().to_string(),
            "ADTS frame length in bytes of 8192 is above the limit of 8191"
        );
    }

    #[test]
    fn what_the_header_cannot_say_is_named() {
        let odd_rate = asc::low_complexity(47_000, 2).unwrap();
        assert_eq!(
            header(&odd_rate, 10).unwrap_err().to_string(),
            "unsupported AAC with 47000 samples a second in ADTS"
        );
        let own_layout = AacConfig {
            asc: Bytes::from_static(&[0x11, 0x80]),
            channels: 6,
            ..asc::low_complexity(48_000, 2).unwrap()
        };
        assert!(matches!(
            header(&own_layout, 10),
            Err(Error::Unsupported { .. })
        ));
    }

    #[test]
    fn the_header_of_ffmpeg_is_written() {
        // ffmpeg 5.1, anullsrc=cl=stereo:r=44100 -c:a aac -f adts, second frame.
        let config = asc::low_complexity(44_100, 2).unwrap();
        let header = header(&config, 6).unwrap();
        assert_eq!(header, [0xff, 0xf1, 0x50, 0x80, 0x01, 0xbf, 0xfc]);
    }

    #[test]
    fn he_aac_names_its_core() {
        // 29, 22050, mono core, 44100, LC.
        let v2 = asc::parse(&Bytes::from_static(&[0xeb, 0x8a, 0x08, 0x00])).unwrap();
        assert_eq!((v2.object_type, v2.channels), (29, 2));
        let parsed = parse(&header(&v2, 100).unwrap()).unwrap();
        assert_eq!((parsed.object_type, parsed.core_rate), (2, 22_050));
        assert_eq!(parsed.channel_configuration, 1);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut data: Vec<u8>) {
            let _ = parse(&data);
            data.splice(0..0, [0xff, 0xf1]);
            let _ = parse(&data);
        }

        #[test]
        fn what_is_written_is_read_back(
            rate in prop::sample::select(vec![96_000_u32, 48_000, 44_100, 7_350]),
            channels in 1..=6_u8,
            length in 0..=MAX_LEN - HEADER_LEN,
        ) {
            let config = asc::low_complexity(rate, channels).unwrap();
            let parsed = parse(&header(&config, length).unwrap()).unwrap();
            prop_assert_eq!(parsed, Header {
                object_type: 2,
                core_rate: rate,
                channel_configuration: channels,
                header_len: HEADER_LEN,
                frame_len: length + HEADER_LEN,
                blocks: 1,
            });
        }
    }
}
