//! AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1): what an AAC track is.
//!
//! AAC-LC, with SBR (HE-AAC) and PS (HE-AAC v2) when the configuration says so,
//! in front (hierarchical) or behind it (backward compatible). SBR that only
//! the frames show cannot be known here: such a track counts as LC.

use bytes::Bytes;
use media::AacConfig;

use crate::Error;
use crate::bits::Bits;

/// Reads a configuration. Bytes behind it are ignored, and from the 512th on
/// not kept either: a program config element with its comment has under 400.
pub fn parse(asc: &Bytes) -> Result<AacConfig, Error> {
    let asc = &asc[..asc.len().min(512)];
    let mut bits = Bits::plain(asc, "AudioSpecificConfig ends early");
    let mut object_type = audio_object_type(&mut bits)?;
    let core_rate = sample_rate(&mut bits)?;
    let channel_configuration = bits.u8(4)?;
    let mut extension = None;
    if matches!(object_type, SBR | PS) {
        let named = object_type;
        extension = Some((named, sample_rate(&mut bits)?));
        object_type = audio_object_type(&mut bits)?;
    }
    if object_type != LC {
        return Err(Error::Unsupported {
            what: match name(object_type) {
                Some(name) => name.to_owned(),
                None => format!("AAC object type {object_type}"),
            },
        });
    }

    // GASpecificConfig (4.4.1).
    let short_frames = bits.flag()?;
    if bits.flag()? {
        bits.skip(14)?; // coreCoderDelay
    }
    bits.skip(1)?; // extensionFlag, of error resilient types only
    let channels = match channel_configuration {
        0 => program_config_channels(&mut bits)?,
        1..=6 => channel_configuration,
        7 | 12 | 14 => 8,
        11 => 7,
        13 => 24,
        _ => {
            return Err(bits.malformed("AudioSpecificConfig with a reserved channel configuration"));
        }
    };
    if extension.is_none() {
        // A fault in what an older decoder skips is no fault of the track.
        extension = backward_compatible(&mut bits, core_rate).unwrap_or_default();
    }
    let (object_type, sample_rate) = extension.unwrap_or((LC, core_rate));
    Ok(AacConfig {
        asc: Bytes::copy_from_slice(asc),
        object_type,
        core_rate,
        sample_rate,
        channels: if object_type == PS { 2 } else { channels },
        frame_samples: if short_frames { 960 } else { 1024 },
    })
}

/// The configuration of AAC-LC with frames of 1024 samples, as an encoder of
/// ours makes it. `channels` is 1 to 6 or 8.
pub fn low_complexity(rate: u32, channels: u8) -> Result<AacConfig, Error> {
    let Some(configuration) = channel_configuration(channels) else {
        return Err(Error::Unsupported {
            what: format!("AAC with {channels} channels"),
        });
    };
    let unsupported_rate = || Error::Unsupported {
        what: format!("AAC with {rate} samples a second"),
    };
    let asc = match rate_index(rate) {
        // 00010 rrrr cccc 000
        Some(index) => {
            let word = u16::from(LC) << 11 | u16::from(index) << 7 | u16::from(configuration) << 3;
            Bytes::copy_from_slice(&word.to_be_bytes())
        }
        // 00010 1111 rate(24) cccc 000
        None if (1..1 << 24).contains(&rate) => {
            let word = u64::from(LC) << 35
                | u64::from(ESCAPE) << 31
                | u64::from(rate) << 7
                | u64::from(configuration) << 3;
            Bytes::copy_from_slice(&word.to_be_bytes()[3..])
        }
        None => return Err(unsupported_rate()),
    };
    Ok(AacConfig {
        asc,
        object_type: LC,
        core_rate: rate,
        sample_rate: rate,
        channels,
        frame_samples: 1024,
    })
}

/// The index by which headers name `rate`, if they can.
pub(crate) fn rate_index(rate: u32) -> Option<u8> {
    let index = RATES.iter().position(|&known| known == rate)?;
    Some(index as u8)
}

/// The rate that headers name by `index`.
pub(crate) fn indexed_rate(index: u8) -> Option<u32> {
    RATES.get(usize::from(index)).copied()
}

/// The `channelConfiguration` of the default layout with `channels` channels.
pub(crate) fn channel_configuration(channels: u8) -> Option<u8> {
    match channels {
        1..=6 => Some(channels),
        8 => Some(7),
        _ => None,
    }
}

/// Whether a program config element, not a default layout, names the channels.
pub(crate) fn has_program_config(asc: &[u8]) -> bool {
    let mut bits = Bits::plain(asc, "");
    let configuration = audio_object_type(&mut bits)
        .and_then(|_| sample_rate(&mut bits))
        .and_then(|_| bits.u(4));
    configuration == Ok(0)
}

fn audio_object_type(bits: &mut Bits<'_>) -> Result<u8, Error> {
    match bits.u8(5)? {
        31 => Ok(32 + bits.u8(6)?),
        object_type => Ok(object_type),
    }
}

fn sample_rate(bits: &mut Bits<'_>) -> Result<u32, Error> {
    let rate = match bits.u8(4)? {
        ESCAPE => bits.u(24)?,
        index => indexed_rate(index).unwrap_or(0),
    };
    // 96 kHz is the most that any table knows; SBR doubles no more than that.
    if !(1_000..=192_000).contains(&rate) {
        return Err(bits.malformed("AudioSpecificConfig with a rate outside 1 to 192 kHz"));
    }
    Ok(rate)
}

/// The channels of a program config element (4.4.1.1), at most 93.
fn program_config_channels(bits: &mut Bits<'_>) -> Result<u8, Error> {
    bits.skip(4 + 2 + 4)?; // tag, object type, rate index
    let front = bits.u8(4)?;
    let side = bits.u8(4)?;
    let back = bits.u8(4)?;
    let low_frequency = bits.u8(2)?;
    bits.skip(3 + 4)?; // associated data, coupling elements
    for skipped in [4, 4, 3] {
        // Mono, stereo and matrix mixdown.
        if bits.flag()? {
            bits.skip(skipped)?;
        }
    }
    let mut channels = low_frequency;
    for _ in 0..front + side + back {
        channels += 1 + u8::from(bits.flag()?);
        bits.skip(4)?; // element tag
    }
    Ok(channels)
}

/// The sync extension behind the configuration (1.6.6): object type and rate.
fn backward_compatible(bits: &mut Bits<'_>, core_rate: u32) -> Result<Option<(u8, u32)>, Error> {
    if bits.left() < 16 || bits.u(11)? != 0x2b7 || audio_object_type(bits)? != SBR {
        return Ok(None);
    }
    if !bits.flag()? {
        return Ok(None);
    }
    let rate = sample_rate(bits)?;
    if rate < core_rate {
        return Ok(None);
    }
    let with_ps = bits.left() >= 12 && bits.u(11)? == 0x548 && bits.flag()?;
    Ok(Some((if with_ps { PS } else { SBR }, rate)))
}

/// What people call an object type that is not LC.
fn name(object_type: u8) -> Option<&'static str> {
    Some(match object_type {
        1 => "AAC Main",
        3 => "AAC SSR",
        4 => "AAC LTP",
        23 => "AAC-LD",
        32..=34 => "MPEG audio layers in an AudioSpecificConfig",
        36 => "MPEG-4 ALS",
        39 => "AAC-ELD",
        42 => "xHE-AAC (USAC)",
        _ => return None,
    })
}

const LC: u8 = 2;
const SBR: u8 = 5;
const PS: u8 = 29;
const ESCAPE: u8 = 15;

/// Table 1.18.
const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::write::Writer;
    use proptest::prelude::*;

    fn read(data: &[u8]) -> Result<AacConfig, Error> {
        parse(&Bytes::copy_from_slice(data))
    }

    fn facts(data: &[u8]) -> (u8, u32, u32, u8, u32) {
        let c = read(data).unwrap();
        (
            c.object_type,
            c.core_rate,
            c.sample_rate,
            c.channels,
            c.frame_samples,
        )
    }

    #[test]
    fn an_empty_configuration_ends_early() {
        assert_eq!(
            read(&[]).unwrap_err().to_string(),
            "AudioSpecificConfig ends early at byte 0"
        );
    }

    #[test]
    fn reserved_values_are_refused() {
        // Rate index 13, channel configuration 8 and 15.
        for (rate, channels) in [(13, 2), (3, 8), (3, 15)] {
            let asc = Writer::default().u(5, 2).u(4, rate).u(4, channels).u(3, 0);
            let asc = asc.bytes();
            let parsed = read(&asc);
            assert!(matches!(parsed, Err(Error::Malformed { .. })), "{parsed:?}");
        }
    }

    #[test]
    fn other_object_types_are_named() {
        let text = |object_type: u32| {
            let writer = Writer::default();
            let writer = if object_type < 31 {
                writer.u(5, object_type)
            } else {
                writer.u(5, 31).u(6, object_type - 32)
            };
            let asc = writer.u(4, 3).u(4, 2).u(16, 0).bytes();
            read(&asc).unwrap_err().to_string()
        };
        assert_eq!(text(1), "unsupported AAC Main");
        assert_eq!(text(39), "unsupported AAC-ELD");
        assert_eq!(text(42), "unsupported xHE-AAC (USAC)");
        assert_eq!(text(17), "unsupported AAC object type 17");
    }

    #[test]
    fn real_configurations_are_read() {
        // ffmpeg, OBS: stereo 44.1 kHz, 48 kHz; the bundled clip: 5.1.
        assert_eq!(facts(&[0x12, 0x10]), (2, 44_100, 44_100, 2, 1024));
        assert_eq!(facts(&[0x11, 0x90]), (2, 48_000, 48_000, 2, 1024));
        assert_eq!(facts(&[0x11, 0xb0]), (2, 48_000, 48_000, 6, 1024));
        // ffmpeg's encoder says behind it that there is no SBR.
        assert_eq!(
            facts(&[0x11, 0x90, 0x56, 0xe5, 0x00]),
            (2, 48_000, 48_000, 2, 1024)
        );
    }

    #[test]
    fn sbr_and_ps_are_read_in_front_and_behind() {
        let front = Writer::default().u(5, 5).u(4, 6).u(4, 2).u(4, 3).u(5, 2);
        assert_eq!(facts(&front.u(3, 0).bytes()), (5, 24_000, 48_000, 2, 1024));
        let front = Writer::default().u(5, 29).u(4, 7).u(4, 1).u(4, 4).u(5, 2);
        assert_eq!(facts(&front.u(3, 0).bytes()), (29, 22_050, 44_100, 2, 1024));
        let behind = || {
            let lc = Writer::default().u(5, 2).u(4, 6).u(4, 1).u(3, 0);
            lc.u(11, 0x2b7).u(5, 5).u(1, 1).u(4, 3)
        };
        assert_eq!(facts(&behind().bytes()), (5, 24_000, 48_000, 1, 1024));
        let with_ps = behind().u(11, 0x548).u(1, 1).bytes();
        assert_eq!(facts(&with_ps), (29, 24_000, 48_000, 2, 1024));
    }

    #[test]
    fn a_program_config_element_counts_its_channels() {
        let element = |front: &[u32]| {
            let mut writer = Writer::default().u(5, 2).u(4, 3).u(4, 0).u(3, 0);
            writer = writer.u(10, 0).u(4, front.len() as u32).u(8, 0).u(2, 1);
            writer = writer.u(7, 0).u(3, 0);
            for &pair in front {
                writer = writer.u(1, pair).u(4, 0);
            }
            writer.bytes()
        };
        assert_eq!(facts(&element(&[0, 1])).3, 4);
        assert_eq!(facts(&element(&[1; 15])).3, 31);
        let cut = element(&[1; 15]);
        assert!(matches!(read(&cut[..8]), Err(Error::Malformed { .. })));
        assert!(has_program_config(&cut));
        assert!(!has_program_config(&[0x12, 0x10]));
    }

    #[test]
    fn what_a_sender_appends_is_not_kept_for_ever() {
        let mut long = vec![0; 1 << 20];
        long[..2].copy_from_slice(&[0x12, 0x10]);
        assert_eq!(read(&long).unwrap().asc.len(), 512);
    }

    #[test]
    fn frames_of_960_samples_are_told() {
        assert_eq!(facts(&[0x12, 0x14]).4, 960);
    }

    #[test]
    fn impossible_requests_are_named() {
        let text = |rate, channels| low_complexity(rate, channels).unwrap_err().to_string();
        assert_eq!(text(48_000, 7), "unsupported AAC with 7 channels");
        assert_eq!(text(48_000, 0), "unsupported AAC with 0 channels");
        assert_eq!(text(0, 2), "unsupported AAC with 0 samples a second");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(data: Vec<u8>) {
            let _ = read(&data);
            let _ = has_program_config(&data);
        }

        #[test]
        fn what_is_written_is_read_back(
            rate in prop_oneof![Just(44_100), Just(48_000), 1_000..=192_000_u32],
            channels in 1..=6_u8,
        ) {
            let config = low_complexity(rate, channels).unwrap();
            prop_assert_eq!(parse(&config.asc), Ok(config));
        }
    }
}
