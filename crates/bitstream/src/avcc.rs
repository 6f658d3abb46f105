//! AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1): how FLV and MP4
//! carry parameter sets, and how they change in the middle of a stream.

use bytes::{BufMut, Bytes, BytesMut};
use media::H264Config;

use crate::bits::Bits;
use crate::nal::{self, Kind};
use crate::sps::{Sps, has_chroma_fields};
use crate::{Error, Limits};

/// Reads a record, with the default [`Limits`].
pub fn parse(record: &Bytes) -> Result<H264Config, Error> {
    parse_within(record, &Limits::default())
}

/// Reads a record.
///
/// ```text
/// 0  configurationVersion = 1
/// 1  profile, 2 constraint flags, 3 level (read from the SPS instead)
/// 4  111111 lengthSizeMinusOne(2)
/// 5  111 numOfSequenceParameterSets(5), then length(16) and bytes of each
/// .  numOfPictureParameterSets(8), then length(16) and bytes of each
/// .  from High on: chroma format, bit depths, SPS extensions (ignored)
/// ```
///
/// Bytes behind the picture parameter sets are ignored, and so is their
/// absence: senders leave the extension of the High profiles out or pad. A
/// record without PPS is accepted, since they may come in band; one without SPS
/// says nothing and is refused.
pub fn parse_within(record: &Bytes, limits: &Limits) -> Result<H264Config, Error> {
    let malformed = |offset, what| Error::Malformed { offset, what };
    let Some(&[version, _, _, _, lengths, sps_count]) = record.get(..6) else {
        return Err(malformed(
            record.len(),
            "AVC configuration record ends early",
        ));
    };
    if version != 1 {
        return Err(malformed(
            0,
            "AVC configuration record of a version other than 1",
        ));
    }
    let nal_length_size = (lengths & 3) + 1;
    if nal_length_size == 3 {
        return Err(malformed(
            4,
            "AVC configuration record with 3-byte NAL lengths",
        ));
    }
    let mut at = 6;
    let sps = parameter_sets(record, &mut at, sps_count & 0x1f)?;
    if sps.is_empty() {
        return Err(malformed(5, "AVC configuration record without an SPS"));
    }
    let pps_count = record.get(at).copied().unwrap_or(0);
    at += 1;
    let pps = parameter_sets(record, &mut at, pps_count)?;
    from_parts(sps, pps, nal_length_size, limits)
}

/// A configuration from parameter sets without start codes, as encoders give
/// them, with the default [`Limits`]. The facts are those of the first SPS.
pub fn from_parameter_sets(
    sps: &[Bytes],
    pps: &[Bytes],
    nal_length_size: u8,
) -> Result<H264Config, Error> {
    let trimmed = |sets: &[Bytes]| sets.iter().map(|set| keep(set)).collect();
    from_parts(
        trimmed(sps),
        trimmed(pps),
        nal_length_size,
        &Limits::default(),
    )
}

/// Writes a record that [`parse`] reads back as `config`.
pub fn write(config: &H264Config) -> Bytes {
    let mut out = BytesMut::new();
    out.extend_from_slice(&[1, config.profile, config.constraints, config.level]);
    out.put_u8(0xfc | config.nal_length_size.wrapping_sub(1) & 3);
    let mut put = |count_bits: u8, max: usize, sets: &[Bytes]| {
        let count = sets.len().min(max);
        out.put_u8(count_bits | count as u8);
        for set in &sets[..count] {
            // `from_parts` has checked the lengths.
            out.put_u16(set.len() as u16);
            out.extend_from_slice(set);
        }
    };
    put(0xe0, MAX_SPS, &config.sps);
    put(0, MAX_PPS, &config.pps);
    let facts = config
        .sps
        .first()
        .and_then(|sps| Sps::parse(sps, &Limits::default()).ok());
    if let (true, Some(sps)) = (has_chroma_fields(config.profile), facts) {
        out.put_u8(0xfc | sps.chroma_format);
        out.put_u8(0xf8 | (sps.luma_depth - 8));
        out.put_u8(0xf8 | (sps.chroma_depth - 8));
        out.put_u8(0); // SPS extensions
    }
    out.freeze()
}

/// The configuration from the parameter sets inside access unit `data` on, if
/// they differ from those of `config`.
///
/// A set takes the place of the one with its id, or is added. SPS of the unit
/// go first, so that the facts are theirs: senders repeat in band what is in
/// use. Sets repeated unchanged are no change.
pub fn in_band_change(
    data: &Bytes,
    config: &H264Config,
    limits: &Limits,
) -> Result<Option<H264Config>, Error> {
    let (mut sps, mut pps) = (Vec::new(), Vec::new());
    for nal in nal::lengths(data, config.nal_length_size) {
        let nal = nal?;
        match Kind::of(nal) {
            Kind::Sps if !contains(&config.sps, nal) => sps.push(keep(nal)),
            Kind::Pps if !contains(&config.pps, nal) => pps.push(keep(nal)),
            _ => {}
        }
    }
    if sps.is_empty() && pps.is_empty() {
        return Ok(None);
    }
    let sps = merged(sps, &config.sps, sps_id)?;
    let pps = merged(pps, &config.pps, pps_id)?;
    from_parts(sps, pps, config.nal_length_size, limits).map(Some)
}

/// Most SPS that the 5 bits of a record's count hold.
const MAX_SPS: usize = 31;
/// Most PPS that the 8 bits of a record's count hold.
const MAX_PPS: usize = 255;
/// Longest parameter set, in bytes: 16 KiB. With all its scaling lists one has
/// under 3 KiB, with a map of slice groups at 1080p about 3 KiB more. So a
/// sender that changes its sets for ever holds under 5 MiB.
const MAX_SET: usize = 16 * 1024;

fn from_parts(
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
    nal_length_size: u8,
    limits: &Limits,
) -> Result<H264Config, Error> {
    let limit = |what, found: usize, max: usize| {
        if found > max {
            return Err(Error::Limit {
                what,
                found: found as u64,
                max: max as u64,
            });
        }
        Ok(())
    };
    limit("number of SPS", sps.len(), MAX_SPS)?;
    limit("number of PPS", pps.len(), MAX_PPS)?;
    for set in sps.iter().chain(&pps) {
        limit("parameter set length in bytes", set.len(), MAX_SET)?;
    }
    if !matches!(nal_length_size, 1 | 2 | 4) {
        return Err(Error::Malformed {
            offset: 0,
            what: "NAL length field of a size other than 1, 2 or 4 bytes",
        });
    }
    let Some(first) = sps.first() else {
        return Err(Error::Malformed {
            offset: 0,
            what: "H.264 configuration without an SPS",
        });
    };
    let facts = Sps::parse(first, limits)?;
    let mut colour = facts.colour;
    for other in &sps[1..] {
        // Any of them may become active: none may be above the limits.
        if Sps::parse(other, limits)?.colour != colour {
            colour = None;
        }
    }
    Ok(H264Config {
        nal_length_size,
        profile: facts.profile,
        constraints: facts.constraints,
        level: facts.level,
        size: facts.size,
        sample_aspect: facts.sample_aspect,
        frame_rate: facts.frame_rate,
        colour,
        interlaced: facts.interlaced,
        high_fidelity: facts.high_fidelity(),
        sps,
        pps,
    })
}

/// `count` sets, each behind a length of 16 bits. Empty ones are left out.
fn parameter_sets(record: &Bytes, at: &mut usize, count: u8) -> Result<Vec<Bytes>, Error> {
    let mut sets = Vec::new();
    for _ in 0..count {
        let set = record.get(*at..*at + 2).and_then(|length| {
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            record.get(*at + 2..*at + 2 + length)
        });
        let Some(set) = set else {
            return Err(Error::Malformed {
                offset: *at,
                what: "parameter set longer than its AVC configuration record",
            });
        };
        *at += 2 + set.len();
        let set = keep(set);
        if !set.is_empty() {
            sets.push(set);
        }
    }
    Ok(sets)
}

/// The set without padding, copied: a slice would keep the whole message alive
/// for as long as the configuration lives.
fn keep(set: &[u8]) -> Bytes {
    Bytes::copy_from_slice(nal::trim_zeros(set))
}

fn contains(sets: &[Bytes], nal: &[u8]) -> bool {
    let nal = nal::trim_zeros(nal);
    sets.iter().any(|set| set == nal)
}

/// `new` before those of `old` with other ids; of two new ones with one id the
/// later.
fn merged(
    new: Vec<Bytes>,
    old: &[Bytes],
    id: fn(&[u8]) -> Result<u32, Error>,
) -> Result<Vec<Bytes>, Error> {
    let mut sets: Vec<(u32, Bytes)> = Vec::new();
    for set in new.into_iter().rev().chain(old.iter().cloned()) {
        let id = id(&set)?;
        if sets.iter().all(|(other, _)| *other != id) {
            sets.push((id, set));
        }
    }
    Ok(sets.into_iter().map(|(_, set)| set).collect())
}

fn sps_id(nal: &[u8]) -> Result<u32, Error> {
    let mut bits = Bits::nal(nal, "SPS ends early");
    bits.skip(32)?;
    bits.ue_max(31, "SPS with an id above 31")
}

fn pps_id(nal: &[u8]) -> Result<u32, Error> {
    let mut bits = Bits::nal(nal, "PPS ends early");
    bits.skip(8)?;
    bits.ue_max(255, "PPS with an id above 255")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// ffmpeg 5.1 with libx264, 320x240, Constrained Baseline.
    const BASELINE: &[u8] = b"\x01\x42\xc0\x0d\xff\xe1\x00\x18\x67\x42\xc0\x0d\xd9\x01\x41\xfb\
        \x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\xc0\xf1\x42\xa4\x80\x01\x00\x05\x68\xcb\x83\xcb\x20";
    /// The same with libx264, 1920x1080, High.
    const HIGH: &[u8] = b"\x01\x64\x00\x28\xff\xe1\x00\x19\x67\x64\x00\x28\xac\xd9\x40\x78\x02\x27\
        \xe5\xc0\x44\x00\x00\x0f\xa4\x00\x03\xa9\x80\x3c\x60\xc6\x58\x01\x00\x06\x68\xeb\xe3\xcb\x22\xc0\
        \xfd\xf8\xf8\x00";

    fn bytes(data: &'static [u8]) -> Bytes {
        Bytes::from_static(data)
    }

    fn unit(nals: &[&[u8]]) -> Bytes {
        let mut out = Vec::new();
        for nal in nals {
            nal::push_length_prefixed(&mut out, nal);
        }
        out.into()
    }

    #[test]
    fn an_empty_record_and_one_without_sps_say_so() {
        let text = |data| parse(&bytes(data)).unwrap_err().to_string();
        assert_eq!(text(b""), "AVC configuration record ends early at byte 0");
        assert_eq!(
            text(b"\x01\x42\xc0\x0d\xff\xe0\x00"),
            "AVC configuration record without an SPS at byte 5"
        );
        // One SPS of no bytes.
        assert_eq!(
            text(b"\x01\x42\xc0\x0d\xff\xe1\x00\x00\x00"),
            "AVC configuration record without an SPS at byte 5"
        );
        assert_eq!(
            text(b"\x01\x42\xc0\x0d\xff\xe1\x10\x00\x67"),
            "parameter set longer than its AVC configuration record at byte 6"
        );
    }

    #[test]
    fn every_truncation_before_the_extension_is_an_error_or_lacks_the_pps() {
        for end in 0..HIGH.len() {
            match parse(&bytes(&HIGH[..end])) {
                Ok(config) if end < HIGH.len() - 4 => assert!(config.pps.is_empty(), "at {end}"),
                Ok(config) => assert_eq!(config.pps.len(), 1, "at {end}"),
                Err(error) => assert!(matches!(error, Error::Malformed { .. }), "at {end}"),
            }
        }
    }

    #[test]
    fn trailing_bytes_are_ignored() {
        let mut long = BASELINE.to_vec();
        long.extend_from_slice(&[0xff; 9]);
        assert_eq!(parse(&long.into()), parse(&bytes(BASELINE)));
    }

    #[test]
    fn a_second_sps_above_the_limits_is_refused() {
        let config = parse(&bytes(HIGH)).unwrap();
        let small = parse(&bytes(BASELINE)).unwrap();
        let limits = Limits {
            max_side: 640,
            ..Limits::default()
        };
        let both = vec![small.sps[0].clone(), config.sps[0].clone()];
        assert!(matches!(
            from_parts(both, Vec::new(), 4, &limits),
            Err(Error::Limit { .. })
        ));
    }

    #[test]
    fn a_parameter_set_too_long_is_refused() {
        let mut long = parse(&bytes(BASELINE)).unwrap().sps[0].to_vec();
        long.resize(MAX_SET + 1, 0xff);
        let config = from_parameter_sets(&[long.into()], &[], 4);
        assert_eq!(
            config.unwrap_err().to_string(),
            "parameter set length in bytes of 16385 is above the limit of 16384"
        );
    }

    #[test]
    fn a_real_record_gives_its_facts_and_is_written_back_the_same() {
        for record in [BASELINE, HIGH] {
            let config = parse(&bytes(record)).unwrap();
            assert_eq!(write(&config), record);
            assert_eq!((config.sps.len(), config.pps.len()), (1, 1));
        }
        let config = parse(&bytes(HIGH)).unwrap();
        assert_eq!(config.size, media::Size::new(1920, 1080));
        assert_eq!(config.frame_rate, Some((30_000, 1001)));
        assert_eq!(media::TrackConfig::H264(config).rfc6381(), "avc1.640028");
    }

    #[test]
    fn parameter_sets_repeated_in_band_are_no_change() {
        let config = parse(&bytes(HIGH)).unwrap();
        let data = unit(&[&[9, 0x10], &config.sps[0], &config.pps[0], &[0x65, 1]]);
        assert_eq!(in_band_change(&data, &config, &Limits::default()), Ok(None));
        let mut padded = config.sps[0].to_vec();
        padded.push(0);
        let data = unit(&[&padded]);
        assert_eq!(in_band_change(&data, &config, &Limits::default()), Ok(None));
    }

    #[test]
    fn a_new_sps_in_band_replaces_the_one_with_its_id() {
        let config = parse(&bytes(HIGH)).unwrap();
        let small = parse(&bytes(BASELINE)).unwrap();
        let data = unit(&[&small.sps[0], &small.pps[0], &[0x65, 1]]);
        let changed = in_band_change(&data, &config, &Limits::default());
        assert_eq!(changed, Ok(Some(small)));
    }

    #[test]
    fn a_pps_with_another_id_is_added() {
        let config = parse(&bytes(HIGH)).unwrap();
        // pps_id 1: 010.
        let data = unit(&[&[0x68, 0b0101_0000, 0x80]]);
        let changed = in_band_change(&data, &config, &Limits::default());
        let changed = changed.unwrap().unwrap();
        assert_eq!(changed.pps.len(), 2);
        assert_eq!(changed.sps, config.sps);
    }

    #[test]
    fn a_broken_parameter_set_in_band_is_an_error() {
        let config = parse(&bytes(HIGH)).unwrap();
        for nal in [&[0x67, 100][..], &[0x68]] {
            let changed = in_band_change(&unit(&[nal]), &config, &Limits::default());
            assert!(matches!(changed, Err(Error::Malformed { .. })));
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut data: Vec<u8>) {
            let config = parse(&bytes(HIGH)).unwrap();
            let _ = in_band_change(&data.clone().into(), &config, &Limits::default());
            let _ = parse(&data.clone().into());
            data.splice(0..0, BASELINE[..8].iter().copied());
            let _ = parse(&data.into());
        }

        #[test]
        fn a_damaged_record_never_panics_and_what_is_read_is_written_back(at in 0..HIGH.len(), with: u8) {
            let mut data = HIGH.to_vec();
            data[at] = with;
            if let Ok(config) = parse(&data.into()) {
                prop_assert_eq!(parse(&write(&config)), Ok(config));
            }
        }
    }
}
