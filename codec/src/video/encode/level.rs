//! The lowest H.264 level that holds an encoding (Table A-1).
//!
//! A playlist repeats it in CODECS and players choose by it, so it must be
//! neither too low for the stream nor higher than needed.

use media::Size;

/// `level_idc` for pictures of `size` at `frame_rate` with one reference
/// picture, whose rate never passes `max_kbps` over `buffer_kbits`.
pub(super) fn level_idc(size: Size, frame_rate: f64, max_kbps: u32, buffer_kbits: u32) -> u8 {
    let (across, down) = (size.width.div_ceil(16), size.height.div_ceil(16));
    let macroblocks = across * down;
    let fits = |level: &&Level| {
        f64::from(macroblocks) * nominal(frame_rate) <= f64::from(level.macroblocks_per_second)
            && macroblocks <= level.macroblocks
            // No side longer than the root of 8 times that (A.3.1 f, g).
            && across * across <= 8 * level.macroblocks
            && down * down <= 8 * level.macroblocks
            && max_kbps <= level.kbps
            && buffer_kbits <= level.buffer_kbits
    };
    LEVELS.iter().find(fits).map_or(HIGHEST, |level| level.idc)
}

/// A measured 29.97 or 30.002 fps is 30 fps: a stray picture must not raise the
/// level of a stream that sits on a level's limit, as 720p30 does. The encoder
/// must be told the same, for it raises a level that it finds too low.
pub(super) fn nominal(frame_rate: f64) -> f64 {
    let rounded = frame_rate.round();
    if (frame_rate - rounded).abs() <= rounded * 0.01 {
        rounded
    } else {
        frame_rate
    }
}

struct Level {
    idc: u8,
    /// MaxMBPS.
    macroblocks_per_second: u32,
    /// MaxFS.
    macroblocks: u32,
    /// MaxBR for Main profile, in kbit/s.
    kbps: u32,
    /// MaxCPB for Main profile, in kbit.
    buffer_kbits: u32,
}

const HIGHEST: u8 = 52;

#[rustfmt::skip]
const LEVELS: [Level; 15] = [
    level(10, 1_485, 99, 64, 175),
    level(11, 3_000, 396, 192, 500),
    level(12, 6_000, 396, 384, 1_000),
    level(13, 11_880, 396, 768, 2_000),
    level(20, 11_880, 396, 2_000, 2_000),
    level(21, 19_800, 792, 4_000, 4_000),
    level(22, 20_250, 1_620, 4_000, 4_000),
    level(30, 40_500, 1_620, 10_000, 10_000),
    level(31, 108_000, 3_600, 14_000, 14_000),
    level(32, 216_000, 5_120, 20_000, 20_000),
    level(40, 245_760, 8_192, 20_000, 25_000),
    level(41, 245_760, 8_192, 50_000, 62_500),
    level(42, 522_240, 8_704, 50_000, 62_500),
    level(50, 589_824, 22_080, 135_000, 135_000),
    level(51, 983_040, 36_864, 240_000, 240_000),
];

const fn level(
    idc: u8,
    macroblocks_per_second: u32,
    macroblocks: u32,
    kbps: u32,
    buffer_kbits: u32,
) -> Level {
    Level {
        idc,
        macroblocks_per_second,
        macroblocks,
        kbps,
        buffer_kbits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_gets_the_levels_players_expect() {
        let at = |width, height, fps| level_idc(Size::new(width, height), fps, 2996, 4200);
        assert_eq!(at(640, 360, 30.0), 30);
        assert_eq!(at(854, 480, 30.0), 31);
        assert_eq!(at(1280, 720, 29.97), 31);
        assert_eq!(at(1280, 720, 30.002), 31);
        assert_eq!(at(1280, 720, 31.0), 32);
        assert_eq!(at(1280, 720, 60.0), 32);
        assert_eq!(at(406, 720, 30.0), 30);
        assert_eq!(at(4096, 2304, 60.0), 52);
    }

    #[test]
    fn a_high_rate_raises_the_level() {
        let at = |kbps, buffer| level_idc(Size::new(640, 360), 30.0, kbps, buffer);
        assert_eq!(at(856, 1200), 30);
        assert_eq!(at(10_001, 1200), 31);
        assert_eq!(at(856, 10_001), 31);
    }
}
