use super::*;
use proptest::prelude::*;

/// ffmpeg 5.1 with libx264: 320x240, Constrained Baseline, 30 fps.
const SMALL: &[u8] = b"\x01\x42\xc0\x0d\xff\xe1\x00\x18\x67\x42\xc0\x0d\xd9\x01\x41\xfb\x01\x10\
    \x00\x00\x03\x00\x10\x00\x00\x03\x03\xc0\xf1\x42\xa4\x80\x01\x00\x05\x68\xcb\x83\xcb\x20";
/// The same: 1920x1080, High, 30000/1001 fps.
const LARGE: &[u8] = b"\x01\x64\x00\x28\xff\xe1\x00\x19\x67\x64\x00\x28\xac\xd9\x40\x78\x02\x27\
    \xe5\xc0\x44\x00\x00\x0f\xa4\x00\x03\xa9\x80\x3c\x60\xc6\x58\x01\x00\x06\x68\xeb\xe3\xcb\x22\xc0\
    \xfd\xf8\xf8\x00";
const STEREO_44100: &[u8] = &[0x12, 0x10];

const IDR: &[u8] = &[0x65, 0x88, 0x84];
const SLICE: &[u8] = &[0x41, 0x9a, 0x01];

fn avc_header(record: &[u8]) -> Bytes {
    [&[0x17, 0, 0, 0, 0], record].concat().into()
}

fn aac_header(asc: &[u8]) -> Bytes {
    [&[0xaf, 0], asc].concat().into()
}

fn nals(units: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for unit in units {
        nal::push_length_prefixed(&mut out, unit);
    }
    out
}

/// A legacy tag of a picture, flagged as a key frame: the flag must not matter.
fn picture(composition_ms: i32, units: &[&[u8]]) -> Bytes {
    let time = composition_ms.to_be_bytes();
    [&[0x17, 1], &time[1..], &nals(units)].concat().into()
}

fn sound(data: &[u8]) -> Bytes {
    [&[0xaf, 1], data].concat().into()
}

fn demuxer() -> Demuxer {
    let mut demuxer = Demuxer::new(Config::default());
    assert!(demuxer.video(0, avc_header(SMALL)).unwrap().is_none());
    assert!(
        demuxer
            .audio(0, aac_header(STEREO_44100))
            .unwrap()
            .is_none()
    );
    demuxer
}

fn shown(demuxer: &mut Demuxer, ms: u32, units: &[&[u8]]) -> AccessUnit {
    demuxer.video(ms, picture(0, units)).unwrap().unwrap()
}

fn heard(demuxer: &mut Demuxer, ms: u32) -> Option<AccessUnit> {
    demuxer.audio(ms, sound(&[0x21])).unwrap()
}

fn ticks(unit: &AccessUnit) -> (i64, i64) {
    (unit.pts.ticks(), unit.dts.ticks())
}

#[test]
fn a_truncated_access_unit_is_not_fatal_and_leaves_no_trace() {
    let mut demuxer = demuxer();
    shown(&mut demuxer, 1000, &[IDR]);
    let large = avcc::parse(&Bytes::from_static(LARGE)).unwrap();
    // New parameter sets in front of the damage, far in the future.
    let whole = picture(0, &[&large.sps[0], &large.pps[0], IDR]);
    let before = Arc::clone(demuxer.track_config(Track::Video).unwrap());
    let error = demuxer
        .video(900_000, whole.slice(..whole.len() - 1))
        .unwrap_err();
    assert!(!error.is_fatal());
    assert_eq!(
        error.to_string(),
        "NAL unit longer than its access unit at byte 44"
    );
    let next = shown(&mut demuxer, 1040, &[SLICE]);
    assert_eq!(ticks(&next), (3600, 3600));
    assert!(Arc::ptr_eq(&next.config, &before));
    assert_eq!(demuxer.take_jump(), None);
}

#[test]
fn an_unsupported_codec_and_a_picture_too_large_are_fatal() {
    let mut demuxer = demuxer();
    let hevc = demuxer
        .video(0, Bytes::from_static(&[0x1c, 0]))
        .unwrap_err();
    assert!(hevc.is_fatal());
    let main = demuxer.audio(0, aac_header(&[0x0a, 0x10])).unwrap_err();
    assert_eq!(
        main.to_string(),
        "AAC Main is not supported: send H.264 video and AAC-LC audio"
    );
    let mut strict = Demuxer::new(Config {
        picture: bitstream::Limits {
            max_side: 1280,
            ..bitstream::Limits::default()
        },
        ..Config::default()
    });
    let large = strict.video(0, avc_header(LARGE)).unwrap_err();
    assert!(large.is_fatal());
    assert_eq!(
        large.to_string(),
        "picture width of 1920 is above the limit of 1280"
    );
    // In band it is refused as well.
    strict.video(0, avc_header(SMALL)).unwrap();
    let large = avcc::parse(&Bytes::from_static(LARGE)).unwrap();
    let large = strict.video(0, picture(0, &[&large.sps[0], IDR]));
    assert!(matches!(large, Err(Error::Limit { .. })));
}

#[test]
fn units_before_their_header_are_counted_and_do_not_start_the_clock() {
    let mut demuxer = Demuxer::new(Config::default());
    assert!(demuxer.video(5, picture(0, &[IDR])).unwrap().is_none());
    assert!(heard(&mut demuxer, 5).is_none());
    assert_eq!(demuxer.dropped().before_header, 2);
    demuxer.audio(5, aac_header(STEREO_44100)).unwrap();
    let unit = heard(&mut demuxer, 700).unwrap();
    assert_eq!(ticks(&unit), (0, 0));
}

#[test]
fn empty_headers_units_and_silence_are_nothing() {
    let mut demuxer = demuxer();
    for body in [avc_header(&[]), picture(0, &[]), picture(0, &[&[], &[]])] {
        assert!(demuxer.video(0, body).unwrap().is_none());
    }
    for body in [aac_header(&[]), sound(&[]), Bytes::new()] {
        assert!(demuxer.audio(0, body).unwrap().is_none());
    }
    assert_eq!(demuxer.dropped(), Dropped::default());
    // An empty unit beside a picture does not hide it.
    assert!(shown(&mut demuxer, 0, &[&[], IDR]).key);
}

#[test]
fn key_means_idr_whatever_the_flag_says() {
    let mut demuxer = demuxer();
    assert!(!shown(&mut demuxer, 0, &[SLICE]).key);
    // A recovery point (SEI type 6) of an open GOP.
    assert!(!shown(&mut demuxer, 40, &[&[6, 6, 1, 0xc4, 0x80], SLICE]).key);
    let mut flagged_inter = picture(0, &[&[9, 0x10], IDR]).to_vec();
    flagged_inter[0] = 0x27;
    let unit = demuxer.video(80, flagged_inter.into()).unwrap().unwrap();
    assert!(unit.key);
}

#[test]
fn a_repeated_header_keeps_the_configuration_and_a_changed_one_replaces_it() {
    let mut demuxer = demuxer();
    let first = shown(&mut demuxer, 0, &[IDR]);
    demuxer.video(40, avc_header(SMALL)).unwrap();
    let second = shown(&mut demuxer, 40, &[SLICE]);
    assert!(Arc::ptr_eq(&first.config, &second.config));
    demuxer.video(80, avc_header(LARGE)).unwrap();
    let third = shown(&mut demuxer, 80, &[IDR]);
    assert_eq!(
        third.config.h264().unwrap().size,
        media::Size::new(1920, 1080)
    );
    let first = heard(&mut demuxer, 80).unwrap();
    demuxer.audio(100, aac_header(STEREO_44100)).unwrap();
    let second = heard(&mut demuxer, 103).unwrap();
    assert!(Arc::ptr_eq(&first.config, &second.config));
    demuxer.audio(120, aac_header(&[0x11, 0x90])).unwrap();
    let third = heard(&mut demuxer, 126).unwrap();
    assert_eq!(third.config.aac().unwrap().sample_rate, 48_000);
}

#[test]
fn parameter_sets_in_band_change_the_configuration_of_their_own_unit() {
    let mut demuxer = demuxer();
    let small = shown(&mut demuxer, 0, &[IDR]);
    let sets = avcc::parse(&Bytes::from_static(LARGE)).unwrap();
    let (sps, pps) = (&sets.sps[0], &sets.pps[0]);
    let large = shown(&mut demuxer, 40, &[sps, pps, IDR]);
    assert_eq!(large.config.h264(), Some(&sets));
    assert!(!Arc::ptr_eq(&small.config, &large.config));
    let again = shown(&mut demuxer, 80, &[sps, pps, IDR]);
    assert!(Arc::ptr_eq(&again.config, &large.config));
    // In a message of their own they count for the next picture.
    let sets = avcc::parse(&Bytes::from_static(SMALL)).unwrap();
    let alone = picture(0, &[&sets.sps[0], &sets.pps[0]]);
    assert!(demuxer.video(120, alone).unwrap().is_none());
    let small = shown(&mut demuxer, 120, &[IDR]);
    assert_eq!(small.config.h264(), Some(&sets));
}

#[test]
fn composition_time_is_added_and_never_puts_pts_before_dts() {
    let mut demuxer = demuxer();
    let mut at = |ms, composition| {
        let unit = demuxer.video(ms, picture(composition, &[SLICE]));
        ticks(&unit.unwrap().unwrap())
    };
    assert_eq!(at(0, 80), (7200, 0));
    assert_eq!(at(40, 160), (18_000, 3600));
    // A sender that stamps presentation times: P at 200, then B at 120 and 160.
    assert_eq!(at(200, -120), (7200, 7200));
    assert_eq!(at(240, -120), (10_800, 10_800));
    assert_eq!(at(280, 0), (25_200, 25_200));
    // Two hours are a fault.
    assert_eq!(at(320, 8_388_607), (28_800, 28_800));
    assert_eq!(at(360, -8_388_608), (32_400, 32_400));
}

#[test]
fn equal_and_earlier_stamps_move_video_by_a_tick() {
    let mut demuxer = demuxer();
    let mut dts = |ms| shown(&mut demuxer, ms, &[SLICE]).dts.ticks();
    assert_eq!(dts(5000), 0);
    assert_eq!(dts(5000), 1);
    assert_eq!(dts(4990), 2);
    assert_eq!(dts(1000), 3);
    assert_eq!(dts(5040), 3600);
}

#[test]
fn audio_far_behind_is_dropped_and_near_behind_is_moved() {
    let mut demuxer = demuxer();
    heard(&mut demuxer, 1000).unwrap();
    heard(&mut demuxer, 2000).unwrap();
    assert_eq!(heard(&mut demuxer, 1990).unwrap().dts.ticks(), 90_001);
    assert!(heard(&mut demuxer, 1500).is_none());
    assert_eq!(demuxer.dropped().late, 1);
    assert_eq!(heard(&mut demuxer, 2023).unwrap().dts.ticks(), 92_070);
}

#[test]
fn a_jump_is_rebased_for_both_tracks_and_told_once() {
    let mut demuxer = demuxer();
    shown(&mut demuxer, 0, &[IDR]);
    heard(&mut demuxer, 1000).unwrap();
    assert_eq!(demuxer.take_jump(), None);
    // An encoder that starts again at another hour.
    let unit = shown(&mut demuxer, 3_600_000, &[IDR]);
    assert_eq!(unit.dts.ticks(), 93_000);
    assert!(demuxer.take_jump().is_some());
    assert_eq!(demuxer.take_jump(), None);
    let unit = heard(&mut demuxer, 3_600_020).unwrap();
    assert_eq!(unit.dts.ticks(), 94_800);
    assert_eq!(demuxer.take_jump(), None);
}

#[test]
fn a_jump_can_be_rejected() {
    let mut demuxer = Demuxer::new(Config {
        on_time_jump: OnTimeJump::Reject,
        ..Config::default()
    });
    demuxer.audio(0, aac_header(STEREO_44100)).unwrap();
    heard(&mut demuxer, 0).unwrap();
    assert!(heard(&mut demuxer, 60_000).is_none());
    assert_eq!(demuxer.dropped().jumped, 1);
    assert!(demuxer.take_jump().is_some());
    assert_eq!(heard(&mut demuxer, 23).unwrap().dts.ticks(), 2070);
}

#[test]
fn clocks_wrap_at_32_and_31_bits_without_a_jump() {
    for top in [u32::MAX, u32::MAX >> 1] {
        let mut demuxer = demuxer();
        shown(&mut demuxer, top - 19, &[IDR]);
        let unit = shown(&mut demuxer, 20, &[SLICE]);
        assert_eq!(unit.dts.ticks(), 3600);
        assert_eq!(demuxer.take_jump(), None);
    }
}

#[test]
fn enhanced_headers_carry_the_same_units() {
    let mut demuxer = Demuxer::new(Config::default());
    let body = |front: &[u8], data: &[u8]| Bytes::from([front, data].concat());
    demuxer.video(0, body(b"\x90avc1", SMALL)).unwrap();
    demuxer.audio(0, body(b"\x90mp4a", STEREO_44100)).unwrap();
    let data = nals(&[IDR]);
    let unit = demuxer.video(0, body(b"\x91avc1\x00\x00\x28", &data));
    let unit = unit.unwrap().unwrap();
    assert_eq!((ticks(&unit), unit.key), ((3600, 0), true));
    let unit = demuxer
        .video(40, body(b"\x93avc1", &data))
        .unwrap()
        .unwrap();
    assert_eq!(ticks(&unit), (3600, 3600));
    let unit = demuxer.audio(40, body(b"\x91mp4a", &[1, 2])).unwrap();
    assert_eq!(unit.unwrap().data, &[1, 2][..]);
}

#[derive(Clone, Debug)]
enum Message {
    Video(u32, Vec<u8>),
    Audio(u32, Vec<u8>),
}

/// Bodies near enough to real ones to get past the headers.
fn message() -> impl Strategy<Value = Message> {
    let ms = prop_oneof![0..20_000_u32, any::<u32>()];
    let video = prop_oneof![
        any::<Vec<u8>>(),
        (any::<i32>(), any::<Vec<u8>>()).prop_map(|(time, data)| {
            let mut slice = vec![0x41];
            slice.extend(data);
            picture(time, &[&slice]).to_vec()
        }),
        any::<Vec<u8>>().prop_map(|data| [&[0x17, 1, 0, 0, 0][..], &data].concat()),
        any::<Vec<u8>>().prop_map(|data| avc_header(&data).to_vec()),
    ];
    let audio = prop_oneof![
        any::<Vec<u8>>(),
        any::<Vec<u8>>().prop_map(|data| sound(&data).to_vec()),
        any::<Vec<u8>>().prop_map(|data| aac_header(&data).to_vec()),
    ];
    prop_oneof![
        (ms.clone(), video).prop_map(|(ms, body)| Message::Video(ms, body)),
        (ms, audio).prop_map(|(ms, body)| Message::Audio(ms, body)),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_dts_rises_and_pts_is_not_before_it(
        messages in proptest::collection::vec(message(), 0..60),
    ) {
        let mut demuxer = demuxer();
        let mut last = [None::<Timestamp>; 2];
        for message in messages {
            let unit = match message {
                Message::Video(ms, body) => demuxer.video(ms, body.into()),
                Message::Audio(ms, body) => demuxer.audio(ms, body.into()),
            };
            let Ok(Some(unit)) = unit else { continue };
            prop_assert!(unit.pts >= unit.dts);
            prop_assert!(unit.pts - unit.dts <= Ticks::from_millis(20_000));
            let last = &mut last[unit.track() as usize];
            prop_assert!(*last < Some(unit.dts));
            *last = Some(unit.dts);
        }
    }

    #[test]
    fn random_scripts_never_panic(body: Vec<u8>) {
        let _ = demuxer().script(&body);
    }
}
