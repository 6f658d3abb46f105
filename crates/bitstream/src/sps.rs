//! Sequence parameter sets (ITU-T H.264, 7.3.2.1.1 and annex E).
//!
//! Read to the end of the VUI, because what a server must know stands there:
//! the shape of a sample, the frame rate, how far pictures are reordered.

use media::{Colour, Size};

use crate::Error;
use crate::bits::Bits;
use crate::nal::{self, Kind};

/// The largest picture accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest side, in samples. Default 4096, what the ladder's boxes allow.
    pub max_side: u32,
    /// Most samples in a coded picture. Default 4096 x 2304: the 36,864
    /// macroblocks of level 5.2, the highest that cameras and encoders use.
    pub max_area: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_side: 4096,
            max_area: 4096 * 2304,
        }
    }
}

/// What a sequence parameter set says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`.
    pub profile: u8,
    /// The byte of `constraint_set` flags.
    pub constraints: u8,
    /// `level_idc`, ten times the level.
    pub level: u8,
    /// `seq_parameter_set_id`, 0 to 31.
    pub id: u8,
    /// `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Bits of a luma sample, 8 to 14.
    pub luma_depth: u8,
    /// Bits of a chroma sample, 8 to 14.
    pub chroma_depth: u8,
    /// `max_num_ref_frames`, 0 to 16.
    pub max_ref_frames: u8,
    /// `frame_mbs_only_flag` is 0: fields may come.
    pub interlaced: bool,
    /// Size of the coded picture, whole macroblocks, in samples.
    pub coded_size: Size,
    /// Size after cropping, in samples.
    pub size: Size,
    /// Width and height of one sample's shape, in lowest terms; `(1, 1)` when
    /// unsaid.
    pub sample_aspect: (u32, u32),
    /// Frames per second as a fraction in lowest terms, from 1 to 300. `None`
    /// when unsaid, or outside that: a tick of 1 ms there means "variable".
    pub frame_rate: Option<(u32, u32)>,
    /// What the samples mean, when the VUI says so.
    pub colour: Option<Colour>,
    /// `max_num_reorder_frames`, when the VUI says so.
    pub max_reorder_frames: Option<u8>,
}

impl Sps {
    /// Reads a NAL unit of type 7, header byte first, without start code.
    ///
    /// A VUI that ends early or contradicts itself counts up to where it does:
    /// decoders do not need it, and cameras get it wrong.
    pub fn parse(nal: &[u8], limits: &Limits) -> Result<Self, Error> {
        if Kind::of(nal) != Kind::Sps {
            return Err(Error::Malformed {
                offset: 0,
                what: "NAL unit that should be an SPS but has another type",
            });
        }
        // Padding is not part of it, here as wherever a set is stored.
        let mut bits = Bits::nal(nal::trim_zeros(nal), "SPS ends early");
        bits.skip(8)?;
        let profile = bits.u8(8)?;
        let constraints = bits.u8(8)?;
        let level = bits.u8(8)?;
        let id = bits.ue_max(31, "SPS with an id above 31")? as u8;
        let format = if has_chroma_fields(profile) {
            Format::parse(&mut bits)?
        } else {
            Format::default()
        };
        bits.ue_max(12, "SPS with log2_max_frame_num above 16")?;
        picture_order(&mut bits)?;
        let max_ref_frames = bits.ue_max(16, "SPS with more than 16 reference frames")? as u8;
        bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        let coded = coded_size(&mut bits, limits)?;
        let size = cropped_size(&mut bits, &format, &coded)?;
        let mut sps = Self {
            profile,
            constraints,
            level,
            id,
            chroma_format: format.chroma,
            luma_depth: format.luma_depth,
            chroma_depth: format.chroma_depth,
            max_ref_frames,
            interlaced: coded.interlaced,
            coded_size: coded.size,
            size,
            sample_aspect: (1, 1),
            frame_rate: None,
            colour: None,
            max_reorder_frames: None,
        };
        let _ = sps.read_vui(&mut bits);
        Ok(sps)
    }

    /// The VUI (E.1.1), fact by fact, so that what stands before an error counts.
    fn read_vui(&mut self, bits: &mut Bits<'_>) -> Result<(), Error> {
        if !bits.flag()? {
            return Ok(());
        }
        if bits.flag()? {
            self.sample_aspect = sample_aspect(bits)?;
        }
        if bits.flag()? {
            bits.skip(1)?; // overscan_appropriate_flag
        }
        if bits.flag()? {
            bits.skip(3)?; // video_format
            let full_range = bits.flag()?;
            let points = match bits.flag()? {
                true => [bits.u8(8)?, bits.u8(8)?, bits.u8(8)?],
                false => [UNSPECIFIED; 3],
            };
            self.colour = colour(full_range, points, self.chroma_format);
        }
        if bits.flag()? {
            bits.ue()?; // chroma_sample_loc_type_top_field
            bits.ue()?; // chroma_sample_loc_type_bottom_field
        }
        if bits.flag()? {
            let tick = bits.u(32)?;
            let scale = bits.u(32)?;
            bits.skip(1)?; // fixed_frame_rate_flag
            self.frame_rate = frame_rate(tick, scale);
        }
        let nal_hrd = bits.flag()?;
        if nal_hrd {
            skip_hrd(bits)?;
        }
        let vcl_hrd = bits.flag()?;
        if vcl_hrd {
            skip_hrd(bits)?;
        }
        if nal_hrd || vcl_hrd {
            bits.skip(1)?; // low_delay_hrd_flag
        }
        bits.skip(1)?; // pic_struct_present_flag
        if bits.flag()? {
            bits.skip(1)?; // motion_vectors_over_pic_boundaries_flag
            for _ in 0..4 {
                bits.ue()?; // bytes, bits, horizontal and vertical vector lengths
            }
            self.max_reorder_frames = Some(bits.ue_max(16, "reordering above 16 frames")? as u8);
        }
        Ok(())
    }

    /// Chroma format or depth other than 4:2:0 with 8 bits.
    pub fn high_fidelity(&self) -> bool {
        (self.chroma_format, self.luma_depth, self.chroma_depth) != (1, 8, 8)
    }
}

/// What primaries, transfer and matrix say. What H.273 has reserved says nothing,
/// nor does the matrix of RGB where chroma has fewer samples (E.2.1 forbids it);
/// and nothing in the range of video is what silence means.
fn colour(full_range: bool, [primaries, transfer, matrix]: [u8; 3], chroma: u8) -> Option<Colour> {
    let known = |point: u8, known: bool| if known { point } else { UNSPECIFIED };
    let colour = Colour {
        full_range,
        primaries: known(primaries, matches!(primaries, 1 | 4..=12 | 22)),
        transfer: known(transfer, matches!(transfer, 1 | 4..=18)),
        matrix: known(matrix, matches!((matrix, chroma), (1 | 4..=14, _) | (0, 3))),
    };
    let silence = Colour {
        full_range: false,
        primaries: UNSPECIFIED,
        transfer: UNSPECIFIED,
        matrix: UNSPECIFIED,
    };
    (colour != silence).then_some(colour)
}

/// Of each of the three code points of a [`Colour`].
const UNSPECIFIED: u8 = 2;

/// Whether an SPS, and an avcC record, of `profile` has the chroma fields.
pub(crate) fn has_chroma_fields(profile: u8) -> bool {
    matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    )
}

/// What the profiles from High on say about samples.
struct Format {
    chroma: u8,
    luma_depth: u8,
    chroma_depth: u8,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            chroma: 1,
            luma_depth: 8,
            chroma_depth: 8,
        }
    }
}

impl Format {
    fn parse(bits: &mut Bits<'_>) -> Result<Self, Error> {
        let chroma = bits.ue_max(3, "SPS with a chroma format above 3")? as u8;
        if chroma == 3 {
            bits.skip(1)?; // separate_colour_plane_flag
        }
        let luma_depth = 8 + bits.ue_max(6, "SPS with luma deeper than 14 bits")? as u8;
        let chroma_depth = 8 + bits.ue_max(6, "SPS with chroma deeper than 14 bits")? as u8;
        bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Ok(Self {
            chroma,
            luma_depth,
            chroma_depth,
        })
    }

    /// Samples that one step of cropping takes off, across and down, of a frame.
    fn crop_unit(&self) -> (u32, u32) {
        match self.chroma {
            1 => (2, 2),
            2 => (2, 1),
            // Monochrome, 4:4:4 and separate planes crop by single samples.
            _ => (1, 1),
        }
    }
}

/// 7.3.2.1.1.1: a list stops being coded when a scale becomes zero.
fn skip_scaling_list(bits: &mut Bits<'_>, length: usize) -> Result<(), Error> {
    let mut last = 8_i64;
    for _ in 0..length {
        let next = (last + i64::from(bits.se()?)).rem_euclid(256);
        if next == 0 {
            break;
        }
        last = next;
    }
    Ok(())
}

fn picture_order(bits: &mut Bits<'_>) -> Result<(), Error> {
    match bits.ue_max(2, "SPS with a picture order count type above 2")? {
        0 => {
            bits.ue_max(12, "SPS with log2_max_pic_order_cnt_lsb above 16")?;
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.se()?; // offset_for_non_ref_pic
            bits.se()?; // offset_for_top_to_bottom_field
            for _ in 0..bits.ue_max(255, "SPS with a picture order cycle above 255")? {
                bits.se()?;
            }
        }
        _ => {}
    }
    Ok(())
}

struct Coded {
    size: Size,
    interlaced: bool,
}

fn coded_size(bits: &mut Bits<'_>, limits: &Limits) -> Result<Coded, Error> {
    // The largest numbers that 32 bits hold, times 32, stay within 64.
    let width = (u64::from(bits.ue()?) + 1) * 16;
    let map_units = (u64::from(bits.ue()?) + 1) * 16;
    let interlaced = !bits.flag()?;
    if interlaced {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    // A map unit of a stream with fields is two macroblocks high.
    let height = if interlaced { map_units * 2 } else { map_units };
    let check = |what, found, max| {
        if found > max {
            return Err(Error::Limit { what, found, max });
        }
        Ok(found)
    };
    // 1080 lines are coded as 1088: the limits hold for what is coded.
    let width = check("picture width", width, u64::from(limits.max_side))?;
    let height = check("picture height", height, u64::from(limits.max_side))?;
    check("picture area", width * height, limits.max_area)?;
    Ok(Coded {
        size: Size::new(width as u32, height as u32),
        interlaced,
    })
}

fn cropped_size(bits: &mut Bits<'_>, format: &Format, coded: &Coded) -> Result<Size, Error> {
    if !bits.flag()? {
        return Ok(coded.size);
    }
    let (across, down) = format.crop_unit();
    let down = if coded.interlaced { down * 2 } else { down };
    let mut side = |length: u32, unit: u32| {
        let off = u64::from(bits.ue()?) + u64::from(bits.ue()?);
        let left = u64::from(length).checked_sub(off * u64::from(unit));
        match left {
            Some(left @ 1..) => Ok(left as u32),
            _ => Err(bits.malformed("SPS that crops the whole picture")),
        }
    };
    let width = side(coded.size.width, across)?;
    let height = side(coded.size.height, down)?;
    Ok(Size::new(width, height))
}

fn sample_aspect(bits: &mut Bits<'_>) -> Result<(u32, u32), Error> {
    let aspect = match bits.u(8)? {
        EXTENDED_SAR => (bits.u(16)?, bits.u(16)?),
        index => SAMPLE_ASPECTS
            .get(index as usize)
            .copied()
            .unwrap_or_default(),
    };
    Ok(lowest_terms(u64::from(aspect.0), u64::from(aspect.1)).unwrap_or((1, 1)))
}

/// A frame lasts two ticks (E.2.1), of `tick / scale` seconds each.
fn frame_rate(tick: u32, scale: u32) -> Option<(u32, u32)> {
    let (num, den) = (u64::from(scale), u64::from(tick) * 2);
    if num < den || num > den * 300 {
        return None;
    }
    lowest_terms(num, den)
}

/// `None` when either is zero or too large for 32 bits.
fn lowest_terms(num: u64, den: u64) -> Option<(u32, u32)> {
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    if num == 0 || den == 0 {
        return None;
    }
    Some((u32::try_from(num / a).ok()?, u32::try_from(den / a).ok()?))
}

fn skip_hrd(bits: &mut Bits<'_>) -> Result<(), Error> {
    let schedules = bits.ue_max(31, "HRD with more than 32 schedules")? + 1;
    bits.skip(8)?; // bit_rate_scale, cpb_size_scale
    for _ in 0..schedules {
        bits.ue()?; // bit_rate_value
        bits.ue()?; // cpb_size_value
        bits.skip(1)?; // cbr_flag
    }
    bits.skip(20) // four lengths of 5 bits
}

/// Table E-1; index 0 means unspecified.
const SAMPLE_ASPECTS: [(u32, u32); 17] = [
    (1, 1),
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

const EXTENDED_SAR: u32 = 255;

#[cfg(test)]
mod tests;
