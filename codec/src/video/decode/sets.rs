//! Sequence parameter sets the way a library wants to be given them.
//!
//! What is changed is cut out or put in bit by bit; everything else stays as
//! the sender wrote it.

/// A sequence parameter set, bit by bit, with the places found that matter here.
pub(super) struct SpsBits {
    header: u8,
    /// The payload without its stop bit and without the bytes that keep start
    /// codes out.
    bits: Vec<bool>,
    /// Behind `seq_parameter_set_id`.
    id_end: usize,
    /// Where `frame_cropping_flag` is.
    cropping: usize,
    /// `qpprime_y_zero_transform_bypass_flag`: at QP 0 nothing is lost.
    pub(super) lossless: bool,
}

impl SpsBits {
    /// Reads a NAL unit of type 7 up to where its cropping is said (7.3.2.1.1).
    pub(super) fn parse(nal: &[u8]) -> Option<Self> {
        let payload = unescape(nal);
        let bits = bits(&payload);
        let stop = bits.iter().rposition(|&bit| bit)?;
        let mut sps = Self {
            header: *nal.first()?,
            bits,
            id_end: 0,
            cropping: 0,
            lossless: false,
        };
        sps.bits.truncate(stop);
        let mut at = Cursor {
            bits: &sps.bits,
            at: 24,
        };
        at.ue()?;
        let id_end = at.at;
        let lossless = has_chroma_fields(*payload.first()?) && at.chroma_fields()?;
        at.ue()?; // log2_max_frame_num_minus4
        match at.ue()? {
            0 => at.skip_ue(1)?, // log2_max_pic_order_cnt_lsb_minus4
            1 => {
                at.flag()?; // delta_pic_order_always_zero_flag
                at.skip_ue(2)?; // offset_for_non_ref_pic, offset_for_top_to_bottom_field
                let cycle = at.ue()?;
                at.skip_ue(cycle)?;
            }
            _ => {}
        }
        at.ue()?; // max_num_ref_frames
        at.flag()?; // gaps_in_frame_num_value_allowed_flag
        at.skip_ue(2)?; // width and height in macroblocks
        if !at.flag()? {
            at.flag()?; // mb_adaptive_frame_field_flag
        }
        at.flag()?; // direct_8x8_inference_flag
        let cropping = at.at;
        at.flag()?;
        Some(Self {
            id_end,
            cropping,
            lossless,
            ..sps
        })
    }

    /// The set without cropping, and without the VUI behind it.
    pub(super) fn uncropped(&self) -> Vec<u8> {
        let bits = [&self.bits[..self.cropping], &[false, false]].concat();
        self.write(bits)
    }

    /// The set with another `profile_idc`. With `chroma_fields` it gets what
    /// the profiles from High on say and the others imply:
    ///
    /// ```text
    /// chroma_format_idc(ue) = 1, bit_depth_luma_minus8(ue) = 0,
    /// bit_depth_chroma_minus8(ue) = 0, qpprime_y_zero_transform_bypass_flag = 0,
    /// seq_scaling_matrix_present_flag = 0
    /// ```
    pub(super) fn with_profile(&self, profile: u8, chroma_fields: bool) -> Vec<u8> {
        let fields: &[bool] = match chroma_fields {
            true => &[false, true, false, true, true, false, false],
            false => &[],
        };
        let mut bits = [&self.bits[..self.id_end], fields, &self.bits[self.id_end..]].concat();
        for (bit, place) in bits.iter_mut().zip((0..8).rev()) {
            *bit = profile >> place & 1 == 1;
        }
        self.write(bits)
    }

    fn write(&self, mut bits: Vec<bool>) -> Vec<u8> {
        bits.push(true);
        let mut out = vec![self.header];
        let mut zeros = 0;
        for byte in bits.chunks(8) {
            let byte = (0..8).fold(0, |value, at| {
                value << 1 | u8::from(byte.get(at).copied().unwrap_or(false))
            });
            if zeros == 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out
    }
}

struct Cursor<'a> {
    bits: &'a [bool],
    at: usize,
}

impl Cursor<'_> {
    fn flag(&mut self) -> Option<bool> {
        let bit = *self.bits.get(self.at)?;
        self.at += 1;
        Some(bit)
    }

    /// An Exp-Golomb code (9.1).
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        if zeros > 31 {
            return None;
        }
        let mut value = 1_u64;
        for _ in 0..zeros {
            value = value << 1 | u64::from(self.flag()?);
        }
        u32::try_from(value - 1).ok()
    }

    /// A signed Exp-Golomb code (9.1.1).
    fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 {
            code / 2 + 1
        } else {
            -(code / 2)
        })
    }

    /// Passes over codes. The bits end first, however many are asked for.
    fn skip_ue(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.ue().map(drop))
    }

    /// Passes over what the profiles from High on say about samples; gives
    /// `qpprime_y_zero_transform_bypass_flag`.
    fn chroma_fields(&mut self) -> Option<bool> {
        let chroma = self.ue()?;
        if chroma == 3 {
            self.flag()?; // separate_colour_plane_flag
        }
        self.skip_ue(2)?; // depths
        let lossless = self.flag()?;
        if self.flag()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if self.flag()? {
                    self.scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Some(lossless)
    }

    /// 7.3.2.1.1.1
    fn scaling_list(&mut self, size: usize) -> Option<()> {
        let mut last = 8;
        let mut next = 8;
        for _ in 0..size {
            if next != 0 {
                next = (last + self.se()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
        Some(())
    }
}

/// The payload of a NAL unit behind its header, without the bytes that keep
/// start codes out of it (7.4.1).
pub(super) fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal.iter().skip(1) {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        payload.push(byte);
    }
    payload
}

/// `num_slice_groups_minus1` of a picture parameter set is not 0 (7.3.2.2).
pub(super) fn has_slice_groups(pps: &[u8]) -> bool {
    let bits = bits(&unescape(pps));
    let mut at = Cursor { bits: &bits, at: 0 };
    let groups = at.skip_ue(2).and_then(|()| {
        at.flag()?; // entropy_coding_mode_flag
        at.flag()?; // bottom_field_pic_order_in_frame_present_flag
        at.ue()
    });
    groups != Some(0)
}

/// `first_mb_in_slice` (7.3.3). Its few bits need no unescaping.
pub(super) fn first_macroblock(slice: &[u8]) -> Option<usize> {
    let head = slice.get(1..)?;
    let bits = bits(&head[..head.len().min(8)]);
    let first = Cursor { bits: &bits, at: 0 }.ue()?;
    usize::try_from(first).ok()
}

fn bits(bytes: &[u8]) -> Vec<bool> {
    bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect()
}

/// Whether an SPS of `profile` has the chroma fields.
fn has_chroma_fields(profile: u8) -> bool {
    matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    )
}

#[cfg(test)]
mod tests {
    use bitstream::Limits;
    use bitstream::sps::Sps;
    use proptest::prelude::*;

    use super::*;

    /// x264, Main profile, 320x180 coded as 320x192, level 1.3.
    const MAIN: [u8; 26] = [
        0x67, 0x4d, 0x40, 0x0d, 0x96, 0x56, 0x0a, 0x0c, 0xff, 0x96, 0x01, 0x10, 0x00, 0x00, 0x03,
        0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x60,
    ];
    /// x264, High profile, 854x478 coded as 864x480, level 3.
    const HIGH: [u8; 26] = [
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xd8, 0x3d, 0xe6, 0xac, 0x04, 0x40, 0x00, 0x00,
        0x03, 0x00, 0x40, 0x00, 0x00, 0x0c, 0x83, 0xc5, 0x8b, 0x65, 0x80,
    ];

    /// [`HIGH`] with scaling lists: the first ends at once, the seventh has 64
    /// entries, the others are left out.
    fn with_matrices() -> Vec<u8> {
        let sps = SpsBits::parse(&HIGH).unwrap();
        // Chroma format 1, two depths, no bypass; then whether there are lists.
        let flag = sps.id_end + 3 + 1 + 1 + 1;
        assert!(!sps.bits[flag]);
        let zero = [
            true, false, false, false, false, true, false, false, false, true,
        ];
        let lists = [
            &[true],
            &zero[..],
            &[false; 5],
            &[true],
            &[true; 64],
            &[false],
        ]
        .concat();
        sps.write([&sps.bits[..flag], &lists, &sps.bits[flag + 1..]].concat())
    }

    fn read(sps: &[u8]) -> Sps {
        Sps::parse(sps, &Limits::default()).unwrap()
    }

    #[test]
    fn another_profile_says_the_same_with_chroma_fields() {
        let after = read(&SpsBits::parse(&MAIN).unwrap().with_profile(83, true));
        let profile = 83;
        assert_eq!(
            after,
            Sps {
                profile,
                ..read(&MAIN)
            }
        );
    }

    #[test]
    fn without_cropping_all_rows_are_shown_and_nothing_else_changes() {
        for sps in [&MAIN[..], &HIGH, &with_matrices()] {
            let before = read(sps);
            let after = read(&SpsBits::parse(sps).unwrap().uncropped());
            assert_eq!(after.size, before.coded_size);
            let facts = |sps: Sps| (sps.profile, sps.level, sps.coded_size, sps.max_ref_frames);
            assert_eq!(facts(after), facts(before));
        }
    }

    #[test]
    fn every_truncation_is_refused_or_has_its_cropping_flag() {
        for sps in [&MAIN[..], &HIGH, &with_matrices()] {
            for end in 0..sps.len() {
                if let Some(sps) = SpsBits::parse(&sps[..end]) {
                    assert!(sps.cropping < sps.bits.len());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(nal in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(sps) = SpsBits::parse(&nal) {
                sps.uncropped();
                sps.with_profile(100, true);
            }
            has_slice_groups(&nal);
        }
    }
}
