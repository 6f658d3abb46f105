use proptest::prelude::*;

use super::*;
use crate::bits::write::Writer;

fn parse(nal: &[u8]) -> Result<Sps, Error> {
    Sps::parse(nal, &Limits::default())
}

/// A Baseline SPS of `width` by `height` macroblocks, up to the VUI flag.
fn baseline(width: u32, height: u32) -> Writer {
    Writer::default()
        .u(8, 0x67)
        .u(24, 0x42_c0_1e)
        .ue(0) // id
        .ue(0) // log2_max_frame_num_minus4
        .ue(2) // pic_order_cnt_type
        .ue(1) // max_num_ref_frames
        .u(1, 0)
        .ue(width - 1)
        .ue(height - 1)
        .u(2, 0b11) // frame_mbs_only, direct_8x8
}

#[test]
fn sixteen_k_is_refused_by_name() {
    let sps = baseline(1024, 1024).u(2, 0).nal();
    let error = parse(&sps).unwrap_err();
    assert_eq!(
        error,
        Error::Limit {
            what: "picture width",
            found: 16384,
            max: 4096
        }
    );
    assert_eq!(
        error.to_string(),
        "picture width of 16384 is above the limit of 4096"
    );
}

#[test]
fn area_is_bounded_beside_the_sides() {
    let error = parse(&baseline(256, 256).u(2, 0).nal()).unwrap_err();
    assert!(matches!(
        error,
        Error::Limit {
            what: "picture area",
            ..
        }
    ));
    let portrait = parse(&baseline(144, 256).u(2, 0).nal()).unwrap();
    assert_eq!(portrait.size, Size::new(2304, 4096));
}

#[test]
fn the_largest_sides_do_not_overflow() {
    let sps = baseline(u32::MAX, u32::MAX).u(2, 0).nal();
    assert!(matches!(parse(&sps), Err(Error::Limit { .. })));
}

#[test]
fn cropping_everything_away_is_an_error() {
    for right in [20, u32::MAX - 1] {
        let sps = baseline(2, 2).u(1, 1).ue(0).ue(right).ue(0).ue(0);
        assert!(matches!(
            parse(&sps.u(1, 0).nal()),
            Err(Error::Malformed { .. })
        ));
    }
}

#[test]
fn another_nal_type_is_not_an_sps() {
    assert!(parse(&[0x68, 0x42, 0xc0, 0x1e]).is_err());
    assert!(parse(&[]).is_err());
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_vui() {
    let whole = hex(HIGH_1080P_2997);
    let facts = parse(&whole).unwrap();
    for end in 0..whole.len() {
        if let Ok(sps) = parse(&whole[..end]) {
            assert_eq!(sps.size, facts.size, "cut at {end}");
        }
    }
}

#[test]
fn a_vui_that_ends_early_counts_up_to_there() {
    // Extended sample aspect 4:3, then nothing.
    let sps = baseline(40, 30)
        .u(1, 0)
        .u(2, 0b11)
        .u(8, 255)
        .u(16, 8)
        .u(16, 6);
    let sps = parse(&sps.nal()).unwrap();
    assert_eq!(sps.sample_aspect, (4, 3));
    assert_eq!(sps.frame_rate, None);
}

#[test]
fn a_clock_of_milliseconds_is_not_a_frame_rate() {
    assert_eq!(frame_rate(1, 2000), None);
    assert_eq!(frame_rate(0, 60), None);
    assert_eq!(frame_rate(60, 0), None);
    assert_eq!(frame_rate(1001, 60_000), Some((30_000, 1001)));
    assert_eq!(frame_rate(u32::MAX, u32::MAX), None);
}

#[test]
fn scaling_lists_are_stepped_over() {
    let mut sps = Writer::default()
        .u(8, 0x67)
        .u(24, 0x64_00_1e)
        .ue(0)
        .ue(1) // 4:2:0
        .ue(0)
        .ue(0)
        .u(1, 0)
        .u(1, 1); // seq_scaling_matrix_present_flag
    // One list in full, one that falls back to the default at once, one cut short.
    sps = sps.u(1, 1);
    for _ in 0..16 {
        sps = sps.se(1);
    }
    sps = sps.u(1, 1).se(-8).u(4, 0).u(1, 1);
    for _ in 0..10 {
        sps = sps.se(2);
    }
    sps = sps.se(-28).u(1, 0);
    let sps = sps
        .ue(0)
        .ue(0)
        .ue(2)
        .ue(4)
        .u(1, 0)
        .ue(39)
        .ue(29)
        .u(2, 0b11)
        .u(2, 0);
    let sps = parse(&sps.nal()).unwrap();
    assert_eq!(sps.size, Size::new(640, 480));
    assert_eq!(sps.max_ref_frames, 4);
}

#[test]
fn picture_order_of_type_1_is_stepped_over() {
    let sps = Writer::default()
        .u(8, 0x67)
        .u(24, 0x4d_40_1e)
        .ue(3)
        .ue(0)
        .ue(1)
        .u(1, 0)
        .se(-1)
        .se(7)
        .ue(2)
        .se(4)
        .se(-4)
        .ue(1)
        .u(1, 0)
        .ue(19)
        .ue(8)
        .u(3, 0b001) // fields, no MBAFF, direct_8x8
        .u(2, 0);
    let sps = parse(&sps.nal()).unwrap();
    assert_eq!((sps.id, sps.interlaced), (3, true));
    assert_eq!(sps.size, Size::new(320, 288));
}

/// Each line: the SPS, and what ffprobe 5.1 says of the stream it came from.
#[test]
fn real_parameter_sets_say_what_ffprobe_says() {
    struct Row {
        sps: &'static str,
        profile: (u8, u8),
        level: u8,
        size: (u32, u32),
        aspect: (u32, u32),
        rate: Option<(u32, u32)>,
    }
    let rows = [
        Row {
            sps: "6742c00dd90141fb0110000003001000000303c0f142a480",
            profile: (66, 0xc0),
            level: 13,
            size: (320, 240),
            aspect: (1, 1),
            rate: Some((30, 1)),
        },
        Row {
            sps: "674d4015eca05011d808800000030080000019078b16cb",
            profile: (77, 0x40),
            level: 21,
            size: (640, 272),
            aspect: (1, 1),
            rate: Some((25, 1)),
        },
        Row {
            sps: HIGH_1080P_2997,
            profile: (100, 0),
            level: 40,
            size: (1920, 1080),
            aspect: (1, 1),
            rate: Some((30_000, 1001)),
        },
        Row {
            sps: "6764001eacd940b4126ffc010000b440000003004000000c83c58b6580",
            profile: (100, 0),
            level: 30,
            size: (720, 576),
            aspect: (64, 45),
            rate: Some((25, 1)),
        },
        Row {
            sps: "6764002aacd94056061e6f0110000003001000000780f1831960",
            profile: (100, 0),
            level: 42,
            size: (1366, 768),
            aspect: (1, 1),
            rate: Some((60, 1)),
        },
        Row {
            sps: "67640028acd9404403c797c04400000fa40002ee003c60c658",
            profile: (100, 0),
            level: 40,
            size: (1080, 1920),
            aspect: (1, 1),
            rate: Some((24_000, 1001)),
        },
        Row {
            sps: "6764001facd940a42fe224c044000003000400000301903c60c658",
            profile: (100, 0),
            level: 31,
            size: (642, 362),
            aspect: (1, 1),
            rate: Some((50, 1)),
        },
        // With a NAL HRD and colour description.
        Row {
            sps: "67640020acd9405005bb016a02020280000003008000003c3130007a12000f427269c03c60c658",
            profile: (100, 0),
            level: 32,
            size: (1280, 720),
            aspect: (1, 1),
            rate: Some((60, 1)),
        },
        Row {
            sps: "67640032acd940280089f970110000030001000003003c0f183196",
            profile: (100, 0),
            level: 50,
            size: (2560, 1080),
            aspect: (1, 1),
            rate: Some((30, 1)),
        },
        Row {
            sps: "6742c01eda02c0f6c14400000fa40003a9803c58ba80",
            profile: (66, 0xc0),
            level: 30,
            size: (704, 480),
            aspect: (40, 33),
            rate: Some((30_000, 1001)),
        },
        // openh264, through ffmpeg 9.0; it writes no frame rate.
        Row {
            sps: "674d4c1f8c6805005bb0101e1108d4",
            profile: (77, 0x4c),
            level: 31,
            size: (1280, 720),
            aspect: (1, 1),
            rate: None,
        },
        Row {
            sps: "67640c1eac18d01405ff2e0203c2211a80",
            profile: (100, 0x0c),
            level: 30,
            size: (640, 360),
            aspect: (1, 1),
            rate: None,
        },
        Row {
            sps: "6742c0148c68342f64970101e1108d40",
            profile: (66, 0xc0),
            level: 20,
            size: (202, 360),
            aspect: (1, 1),
            rate: None,
        },
    ];
    for row in rows {
        let sps = parse(&hex(row.sps)).unwrap();
        assert_eq!((sps.profile, sps.constraints), row.profile, "{}", row.sps);
        assert_eq!(sps.level, row.level, "{}", row.sps);
        assert_eq!(sps.size, Size::new(row.size.0, row.size.1), "{}", row.sps);
        assert_eq!(sps.sample_aspect, row.aspect, "{}", row.sps);
        assert_eq!(sps.frame_rate, row.rate, "{}", row.sps);
        assert!(!sps.interlaced && !sps.high_fidelity(), "{}", row.sps);
    }
}

#[test]
fn fields_and_high_fidelity_are_told() {
    let fields = parse(&hex("67640028acd94078044fde0220000003002000000643e2c5b2c0")).unwrap();
    assert!(fields.interlaced);
    assert_eq!(fields.size, Size::new(1920, 1080));
    assert_eq!(fields.coded_size, Size::new(1920, 1088));
    assert_eq!(fields.frame_rate, Some((25, 1)));

    let ten_bit = "677a001eb6cd940a02ff89c044000003000400000300f03c58b658";
    let ten_bit = parse(&hex(ten_bit)).unwrap();
    assert_eq!((ten_bit.chroma_format, ten_bit.luma_depth), (2, 10));
    assert_eq!(ten_bit.size, Size::new(640, 360));
    assert!(ten_bit.high_fidelity());

    let full_chroma = "67f4001e919b281405ff138088000003000800000301e078b16cb0";
    let full_chroma = parse(&hex(full_chroma)).unwrap();
    assert_eq!(full_chroma.chroma_format, 3);
    assert_eq!(full_chroma.size, Size::new(640, 360));
    assert!(full_chroma.high_fidelity());
}

/// The colour that a VUI with these flags and code points has.
fn coloured(full_range: u32, points: Option<[u32; 3]>) -> Option<Colour> {
    let vui = baseline(40, 23).u(1, 0).u(1, 1).u(2, 0).u(1, 1);
    let vui = vui.u(3, 5).u(1, full_range);
    let vui = match points {
        Some([a, b, c]) => vui.u(1, 1).u(8, a).u(8, b).u(8, c),
        None => vui.u(1, 0),
    };
    parse(&vui.u(32, 0).nal()).unwrap().colour
}

#[test]
fn colours_are_told_point_by_point() {
    let told = coloured(1, Some([9, 16, 6])).unwrap();
    let points = (told.primaries, told.transfer, told.matrix);
    assert!(told.full_range && points == (9, 16, 6), "{told:?}");
    let range_alone = coloured(1, None).unwrap();
    assert!(range_alone.full_range && range_alone.matrix == UNSPECIFIED);
    // An SPS that ends within the description says nothing of colours.
    let cut = baseline(40, 23).u(1, 0).u(1, 1).u(2, 0).u(1, 1);
    let cut = cut.u(3, 5).u(2, 1).u(8, 9).nal();
    assert_eq!(parse(&cut).unwrap().colour, None);
}

#[test]
fn colours_that_cannot_be_are_not_handed_on() {
    // RGB, reserved and unheard of: as if nothing were said.
    for point in [0, 3, 200, 255] {
        assert_eq!(coloured(0, Some([point; 3])), None, "{point}");
        let told = coloured(0, Some([1, 1, point])).unwrap();
        assert_eq!((told.primaries, told.matrix), (1, UNSPECIFIED));
    }
    assert_eq!(coloured(0, None), None);
    assert_eq!(coloured(0, Some([2; 3])), None);
}

#[test]
fn reordering_is_read_behind_an_hrd() {
    let sps = parse(&hex(
        "67640020acd9405005bb016a02020280000003008000003c3130007a12000f427269c03c60c658",
    ));
    assert_eq!(sps.unwrap().max_reorder_frames, Some(2));
    let baseline = parse(&hex("6742c01eda02c0f6c14400000fa40003a9803c58ba80")).unwrap();
    assert_eq!(baseline.max_reorder_frames, Some(0));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut data: Vec<u8>) {
        let _ = parse(&data);
        data.splice(0..0, [0x67, 100, 0, 30]);
        let _ = parse(&data);
    }

    #[test]
    fn a_damaged_parameter_set_never_leaves_the_limits(at in 0..25_usize, with: u8) {
        let mut data = hex(HIGH_1080P_2997);
        data[at] = with;
        if let Ok(sps) = parse(&data) {
            prop_assert!(sps.coded_size.area() <= Limits::default().max_area);
            prop_assert!(sps.size.area() > 0);
        }
    }
}

/// x264's, High profile, 30000/1001 pictures a second, 8 lines cropped.
const HIGH_1080P_2997: &str = "67640028acd940780227e5c04400000fa40003a9803c60c658";

fn hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}
