//! NAL units: what kind they are and the two ways to string them together.
//!
//! Inside weir an access unit is length-prefixed (ISO/IEC 14496-15), as FLV and
//! MP4 have it; Annex B start codes exist only at encoders, decoders and in
//! MPEG-TS.

use crate::Error;

/// What a NAL unit holds (`nal_unit_type`, table 7-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A slice of a picture that is not an IDR (1), or a data partition (2 to 4).
    Slice,
    /// A slice of an IDR picture (5).
    Idr,
    /// Supplemental enhancement information (6).
    Sei,
    /// Sequence parameter set (7).
    Sps,
    /// Picture parameter set (8).
    Pps,
    /// Access unit delimiter (9).
    Aud,
    /// End of sequence (10) or of stream (11).
    End,
    /// Filler data (12).
    Filler,
    /// Anything else.
    Other(u8),
}

impl Kind {
    /// The kind of `nal`, header byte first. An empty one is `Other(0)`, which
    /// the standard leaves unspecified.
    pub fn of(nal: &[u8]) -> Self {
        match nal.first().map_or(0, |header| header & 0x1f) {
            1..=4 => Self::Slice,
            5 => Self::Idr,
            6 => Self::Sei,
            7 => Self::Sps,
            8 => Self::Pps,
            9 => Self::Aud,
            10 | 11 => Self::End,
            12 => Self::Filler,
            other => Self::Other(other),
        }
    }

    /// Whether it holds part of a coded picture.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Slice | Self::Idr)
    }
}

/// The NAL units of `data`, each behind a big-endian length of
/// `nal_length_size` bytes, 1 to 4.
///
/// Empty units are skipped: DJI aircraft send them. The first unit that says it
/// is longer than what is left gives an error with its offset and ends the
/// iteration. To keep a unit without copying it, `bytes.slice_ref(nal)`.
pub fn lengths(data: &[u8], nal_length_size: u8) -> Lengths<'_> {
    Lengths {
        data,
        at: 0,
        prefix: usize::from(nal_length_size),
    }
}

/// See [`lengths`].
#[derive(Clone, Debug)]
pub struct Lengths<'a> {
    data: &'a [u8],
    at: usize,
    prefix: usize,
}

impl<'a> Lengths<'a> {
    fn stop(&mut self, what: &'static str) -> Option<Result<&'a [u8], Error>> {
        let offset = self.at;
        self.at = self.data.len();
        Some(Err(Error::Malformed { offset, what }))
    }
}

impl<'a> Iterator for Lengths<'a> {
    type Item = Result<&'a [u8], Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.data.len() {
            if !(1..=4).contains(&self.prefix) {
                return self.stop("NAL units with a length field other than 1 to 4 bytes");
            }
            let Some((prefix, rest)) = self.data[self.at..].split_at_checked(self.prefix) else {
                return self.stop("NAL unit cut off in its length field");
            };
            let length = prefix
                .iter()
                .fold(0, |length, &byte| length << 8 | usize::from(byte));
            let Some(nal) = rest.get(..length) else {
                return self.stop("NAL unit longer than its access unit");
            };
            self.at += self.prefix + length;
            if !nal.is_empty() {
                return Some(Ok(nal));
            }
        }
        None
    }
}

/// The NAL units of an Annex B byte stream.
///
/// Bytes before the first start code, zero bytes behind a unit and empty units
/// are skipped; without a start code there is no unit.
pub fn annex_b(data: &[u8]) -> AnnexB<'_> {
    let rest = match start_code(data) {
        Some(at) => &data[at + 3..],
        None => &[],
    };
    AnnexB { rest }
}

/// See [`annex_b`].
#[derive(Clone, Debug)]
pub struct AnnexB<'a> {
    /// What follows the last start code found.
    rest: &'a [u8],
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (nal, rest) = match start_code(self.rest) {
                Some(at) => (&self.rest[..at], &self.rest[at + 3..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            let nal = trim_zeros(nal);
            if !nal.is_empty() {
                return Some(nal);
            }
        }
        None
    }
}

/// `data`, length-prefixed, as an Annex B byte stream with 4-byte start codes.
pub fn to_annex_b(data: &[u8], nal_length_size: u8) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(data.len() + 16);
    for nal in lengths(data, nal_length_size) {
        push_annex_b(&mut out, nal?);
    }
    Ok(out)
}

/// Appends `nal` to an Annex B byte stream, behind a 4-byte start code.
pub fn push_annex_b(out: &mut Vec<u8>, nal: &[u8]) {
    out.extend_from_slice(&[0, 0, 0, 1]);
    out.extend_from_slice(nal);
}

/// An Annex B byte stream as NAL units behind lengths of 4 bytes.
pub fn from_annex_b(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 16);
    for nal in annex_b(data) {
        push_length_prefixed(&mut out, nal);
    }
    out
}

/// Appends `nal` behind its length of 4 bytes. No unit nears 4 GiB: messages
/// are bounded to megabytes before they come here.
pub fn push_length_prefixed(out: &mut Vec<u8>, nal: &[u8]) {
    out.extend_from_slice(&(nal.len() as u32).to_be_bytes());
    out.extend_from_slice(nal);
}

/// `nal` without zero bytes at its end. A NAL unit cannot end in one
/// (7.4.1), but senders pad.
pub(crate) fn trim_zeros(nal: &[u8]) -> &[u8] {
    let end = nal
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    &nal[..end]
}

/// Where the first `00 00 01` of `data` begins.
fn start_code(data: &[u8]) -> Option<usize> {
    // Looks at every third byte: one above 1 rules out three positions.
    let mut at = 2;
    while let Some(&third) = data.get(at) {
        match third {
            0 => at += 1,
            1 if data[at - 2..at] == [0, 0] => return Some(at - 2),
            _ => at += 3,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(data: &[u8], size: u8) -> Vec<Result<&[u8], Error>> {
        lengths(data, size).collect()
    }

    #[test]
    fn a_length_past_the_end_is_an_error_with_its_offset() {
        let data = [0, 0, 0, 1, 0x65, 0xff, 0xff, 0xff, 0xff, 0x41];
        let units = all(&data, 4);
        assert_eq!(units[0], Ok(&[0x65][..]));
        assert!(matches!(units[1], Err(Error::Malformed { offset: 5, .. })));
        assert_eq!(units.len(), 2);
    }

    #[test]
    fn a_cut_off_length_field_is_an_error() {
        assert_eq!(
            all(&[0, 0, 1], 4),
            [Err(Error::Malformed {
                offset: 0,
                what: "NAL unit cut off in its length field"
            })]
        );
    }

    #[test]
    fn a_length_size_of_zero_does_not_loop() {
        assert_eq!(all(&[1, 2, 3], 0).len(), 1);
        assert_eq!(all(&[1, 2, 3], 5).len(), 1);
    }

    #[test]
    fn empty_units_are_skipped() {
        let data = [0, 0, 0, 2, 0x41, 0x9a, 0, 0];
        assert_eq!(all(&data, 2), [Ok(&[0x41, 0x9a][..])]);
    }

    #[test]
    fn start_codes_of_three_and_four_bytes_and_padding_are_read() {
        let data = [9, 0, 0, 0, 1, 0x67, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0x68, 0, 0];
        let units: Vec<_> = annex_b(&data).collect();
        assert_eq!(units, [&[0x67, 1][..], &[0x68]]);
    }

    #[test]
    fn bytes_without_a_start_code_hold_no_unit() {
        assert_eq!(annex_b(&[0x67, 0, 0, 2, 0, 0]).count(), 0);
    }

    #[test]
    fn kinds_follow_the_low_five_bits() {
        assert_eq!(Kind::of(&[0x65]), Kind::Idr);
        assert_eq!(Kind::of(&[0x25]), Kind::Idr);
        assert_eq!(Kind::of(&[0x41]), Kind::Slice);
        assert_eq!(Kind::of(&[]), Kind::Other(0));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(data: Vec<u8>, size: u8) {
            let _ = to_annex_b(&data, size);
            let _ = from_annex_b(&data);
        }

        #[test]
        fn units_survive_both_forms(
            // Without zero bytes, so that no unit holds a start code.
            units in proptest::collection::vec(proptest::collection::vec(1..=255_u8, 1..40), 0..8),
        ) {
            let mut prefixed = Vec::new();
            for unit in &units {
                push_length_prefixed(&mut prefixed, unit);
            }
            let stream = to_annex_b(&prefixed, 4).unwrap();
            prop_assert_eq!(annex_b(&stream).collect::<Vec<_>>(), units.iter().collect::<Vec<_>>());
            prop_assert_eq!(from_annex_b(&stream), prefixed);
        }

        #[test]
        fn the_start_code_search_equals_the_plain_one(
            data in proptest::collection::vec(0..3_u8, 0..40),
        ) {
            let plain = data.windows(3).position(|window| window == [0, 0, 1]);
            prop_assert_eq!(start_code(&data), plain);
        }
    }
}
