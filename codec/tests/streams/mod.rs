//! Streams of every kind that a sender may send.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::path::Path;
use std::sync::Arc;

use media::{AccessUnit, H264Config, Preset, Size, Ticks, Timestamp, TrackConfig};
use weir_codec::video::{EncoderConfig, Meter, open_encoder};

use crate::common::{self, ffmpeg, write_annex_b};

/// One kind of stream.
pub struct Case {
    pub name: String,
    /// How ffmpeg is to make it.
    from: From,
    /// Whether the default and its fallback may refuse it.
    pub refused: bool,
    /// Whether the gate looks at it.
    pub gate: bool,
}

enum From {
    X264(X264),
    /// Two streams, one behind the other.
    Joined(X264, X264),
    /// As `Joined`, with the parameter sets of both known from the start.
    TwoSets(X264, X264),
    OpenH264,
}

#[derive(Clone)]
struct X264 {
    size: (u32, u32),
    format: &'static str,
    /// Filters behind the scaling.
    filters: &'static str,
    options: Vec<String>,
}

/// A stream with what ffmpeg makes of it, in 8 bits and 4:2:0.
pub struct Made {
    pub units: Vec<AccessUnit>,
    pub expected: Vec<u8>,
}

impl Made {
    /// The pts of its pictures in the order they are shown in.
    pub fn shown(&self) -> Vec<Timestamp> {
        let mut all: Vec<_> = self.units.iter().map(|unit| unit.pts).collect();
        all.sort();
        all
    }
}

pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |name: String, stream: X264| {
        all.push(Case {
            name,
            from: From::X264(stream),
            refused: false,
            gate: false,
        });
    };
    for preset in [
        "ultrafast",
        "superfast",
        "veryfast",
        "faster",
        "fast",
        "medium",
        "slow",
        "slower",
        "veryslow",
    ] {
        add(format!("preset {preset}"), x264(&["-preset", preset]));
    }
    for profile in ["baseline", "main", "high"] {
        for coder in ["cavlc", "cabac"] {
            if (profile, coder) != ("baseline", "cabac") {
                add(
                    format!("{profile}, {coder}"),
                    x264(&["-profile:v", profile, "-coder", coder]),
                );
            }
        }
    }
    for (name, parameters) in [
        ("8x8 transform off", "8x8dct=0"),
        ("4 slices", "slices=4"),
        ("a slice a row", "slices=12"),
        ("slices of 200 bytes", "slice-max-size=200"),
        ("sliced threads", "sliced-threads=1:threads=4"),
        ("B-frames off", "bframes=0"),
        ("pyramid none", "bframes=3:b-adapt=0:b-pyramid=none"),
        ("pyramid strict", "bframes=3:b-adapt=0:b-pyramid=strict"),
        ("pyramid normal", "bframes=5:b-adapt=0:b-pyramid=normal"),
        ("16 B-frames", "bframes=16:b-adapt=0"),
        ("direct none", "direct=none:bframes=3:b-adapt=0"),
        ("direct spatial", "direct=spatial:bframes=3:b-adapt=0"),
        ("direct temporal", "direct=temporal:bframes=3:b-adapt=0"),
        ("direct auto", "direct=auto:bframes=3:b-adapt=0"),
        ("implicit weights in B off", "weightb=0:bframes=3"),
        ("1 reference", "ref=1"),
        (
            "16 references",
            "ref=16:bframes=3:b-pyramid=normal:mixed-refs=1",
        ),
        ("JVT matrices", "cqm=jvt"),
        (
            "own 4x4 matrices",
            "cqm4=17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32",
        ),
        ("Cb and Cr quantiser +4", "chroma-qp-offset=4"),
        ("Cb and Cr quantiser -8", "chroma-qp-offset=-8"),
        ("constrained intra", "constrained-intra=1"),
        ("intra refresh", "intra-refresh=1:keyint=20:bframes=0"),
        ("open GOP", "open-gop=1:keyint=10:bframes=3"),
        ("every picture a key", "keyint=1"),
        ("a key each 5", "keyint=5:min-keyint=5"),
        ("one key", "keyint=infinite"),
        ("scene cuts without keys", "keyint=30:min-keyint=30"),
        ("loop filter off", "no-deblock=1"),
        ("loop filter -3,3", "deblock=-3,3"),
        ("QP 1", "qp=1"),
        ("QP 51", "qp=51"),
        ("all partitions", "partitions=all:me=esa:subme=11:trellis=2"),
        (
            "HRD, filler, AUD",
            "nal-hrd=cbr:bitrate=800:vbv-maxrate=800:vbv-bufsize=400:aud=1:filler=1",
        ),
        (
            "colour and HDR SEI",
            "colorprim=bt709:transfer=bt709:colormatrix=bt709:mastering-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):cll=1000,400",
        ),
        ("frame packing SEI", "frame-packing=3"),
        ("set id 7", "sps-id=7"),
    ] {
        add(name.into(), x264(&["-x264-params", parameters]));
    }
    for weights in ["0", "1", "2"] {
        let parameters = format!("weightp={weights}:bframes=2");
        let stream = x264(&["-x264-params", &parameters]);
        add(
            format!("fade, weighted prediction {weights}"),
            stream.filter("fade=in:0:30"),
        );
    }
    add(
        "incompressible, QP 2".into(),
        x264(&["-qp", "2"]).filter("noise=alls=100:allf=t"),
    );
    add(
        "incompressible, CAVLC, QP 2".into(),
        x264(&["-qp", "2", "-coder", "cavlc"]).filter("noise=alls=100:allf=t"),
    );
    add("zero latency".into(), x264(&["-tune", "zerolatency"]));
    add(
        "no picture order count (type 2)".into(),
        x264(&["-bf", "0", "-tune", "fastdecode"]),
    );
    add(
        "pictures of uneven length".into(),
        x264(&["-vsync", "vfr"]).filter("select='mod(n,5)*mod(n,7)'"),
    );
    for (width, height) in [(16, 16), (66, 34), (202, 360), (854, 480), (406, 720)] {
        add(
            format!("{width}x{height}"),
            x264(&["-bf", "2"]).sized(width, height),
        );
    }
    let cropped = |left, top, right, bottom| {
        let filter = format!(
            "h264_metadata=crop_left={left}:crop_top={top}:crop_right={right}:crop_bottom={bottom}"
        );
        x264(&["-bsf:v", &filter])
    };
    add("cropped right and below".into(), cropped(0, 0, 22, 46));
    add("cropped left and above".into(), cropped(10, 6, 0, 0));
    add(
        "fake interlaced".into(),
        x264(&["-x264-params", "fake-interlaced=1"]),
    );
    for (name, options) in [
        ("top field first", "tff=1"),
        ("bottom field first", "bff=1"),
        (
            "fields, spatial direct",
            "tff=1:direct=spatial:bframes=3:b-adapt=0",
        ),
        (
            "fields, temporal direct",
            "tff=1:direct=temporal:bframes=3:b-adapt=0",
        ),
        ("fields, weights", "tff=1:weightp=2:weightb=1:bframes=2"),
        ("fields, CAVLC", "tff=1:cabac=0"),
        ("fields, 4 slices", "tff=1:slices=4"),
        (
            "fields, 8 references",
            "tff=1:ref=8:bframes=3:b-pyramid=normal",
        ),
    ] {
        let stream = x264(&["-flags", "+ilme+ildct", "-x264-params", options]);
        add(
            format!("interlaced, {name}"),
            stream.filter("tinterlace=interleave_top"),
        );
    }
    for (name, format) in [
        ("full range", "yuvj420p"),
        ("monochrome", "gray"),
        ("4:2:2", "yuv422p"),
        ("10 bits", "yuv420p10le"),
        ("4:2:2, 10 bits", "yuv422p10le"),
    ] {
        add(name.into(), x264(&["-bf", "2"]).format(format));
    }
    add(
        "4:2:2, 10 bits, interlaced".into(),
        x264(&["-flags", "+ilme+ildct"]).format("yuv422p10le"),
    );

    for (name, stream) in [
        ("4:4:4", x264(&[]).format("yuv444p")),
        ("4:4:4, 10 bits", x264(&[]).format("yuv444p10le")),
        ("lossless, 4:2:0", x264(&["-qp", "0"])),
        ("lossless, 4:4:4", x264(&["-qp", "0"]).format("yuv444p")),
    ] {
        all.push(Case {
            name: name.into(),
            from: From::X264(stream),
            refused: true,
            gate: false,
        });
    }
    for (name, from) in [
        (
            "the size changes",
            From::Joined(x264(&["-bf", "2"]), x264(&["-bf", "2"]).sized(480, 272)),
        ),
        (
            "progressive, then interlaced",
            From::Joined(x264(&[]), x264(&["-flags", "+ilme+ildct"])),
        ),
        (
            "two parameter sets in turn",
            From::TwoSets(
                x264(&["-x264-params", "sps-id=0"]),
                x264(&["-x264-params", "sps-id=1:cabac=0:bframes=0"]),
            ),
        ),
        (
            "two sizes in one configuration",
            From::TwoSets(
                x264(&["-x264-params", "sps-id=0"]),
                x264(&["-x264-params", "sps-id=1"]).sized(480, 270),
            ),
        ),
        ("made by openh264", From::OpenH264),
    ] {
        all.push(Case {
            name: name.into(),
            from,
            refused: false,
            gate: false,
        });
    }
    for case in &mut all {
        case.gate = GATE.contains(&&*case.name);
    }
    assert_eq!(all.iter().filter(|case| case.gate).count(), GATE.len());
    all
}

/// What the gate looks at: one of each group.
const GATE: [&str; 14] = [
    "preset veryfast",
    "baseline, cavlc",
    "slices of 200 bytes",
    "16 references",
    "fade, weighted prediction 2",
    "open GOP",
    "cropped left and above",
    "interlaced, top field first",
    "interlaced, fields, temporal direct",
    "4:2:2, 10 bits",
    "4:4:4",
    "lossless, 4:2:0",
    "two sizes in one configuration",
    "made by openh264",
];

fn x264(options: &[&str]) -> X264 {
    X264 {
        size: (320, 180),
        format: "yuv420p",
        filters: "null",
        options: options.iter().map(ToString::to_string).collect(),
    }
}

impl X264 {
    fn sized(self, width: u32, height: u32) -> Self {
        Self {
            size: (width, height),
            ..self
        }
    }

    fn format(self, format: &'static str) -> Self {
        Self { format, ..self }
    }

    fn filter(self, filters: &'static str) -> Self {
        Self { filters, ..self }
    }

    fn make(&self) -> Made {
        let directory = tempfile::tempdir().unwrap();
        let flv = directory.path().join("stream.flv");
        let (width, height) = self.size;
        let filters = format!("scale={width}:{height},{},setsar=1", self.filters);
        let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/bbb-720p25-5s.flv");
        let mut arguments = vec!["-ss", "1", "-i", clip.to_str().unwrap(), "-an"];
        arguments.extend(["-vf", &filters, "-frames:v", "40"]);
        arguments.extend(["-pix_fmt", self.format, "-c:v", "libx264"]);
        arguments.extend(self.options.iter().map(String::as_str));
        arguments.push(flv.to_str().unwrap());
        ffmpeg(&arguments);
        let units = common::demux(&flv, &directory.path().join("stream.h264"));
        // Without the flag ffmpeg rounds where a picture begins, for speed.
        let raw = ffmpeg(&[
            "-flags",
            "unaligned",
            "-i",
            flv.to_str().unwrap(),
            "-fps_mode",
            "passthrough",
            "-f",
            "rawvideo",
            "-pix_fmt",
            self.format,
            "-",
        ]);
        let config = units[0].config.h264().unwrap();
        let expected = raw
            .chunks(raw.len() / units.len())
            .flat_map(|picture| reduce(picture, config.size, self.format))
            .collect();
        Made { units, expected }
    }
}

impl Case {
    pub fn make(&self) -> Made {
        match &self.from {
            From::X264(stream) => stream.make(),
            From::Joined(first, second) => join(first.make(), second.make()),
            From::TwoSets(first, second) => {
                let mut made = join(first.make(), second.make());
                let config = made
                    .units
                    .iter()
                    .map(|unit| unit.config.h264().unwrap().clone())
                    .reduce(|all, one| H264Config {
                        sps: with(&all.sps, &one.sps),
                        pps: with(&all.pps, &one.pps),
                        ..all
                    });
                let config = Arc::new(TrackConfig::H264(config.unwrap()));
                for unit in &mut made.units {
                    unit.config = Arc::clone(&config);
                }
                made
            }
            From::OpenH264 => by_openh264(),
        }
    }
}

fn with(all: &[bytes::Bytes], one: &[bytes::Bytes]) -> Vec<bytes::Bytes> {
    let new = one.iter().filter(|set| !all.contains(set));
    all.iter().chain(new).cloned().collect()
}

fn join(first: Made, second: Made) -> Made {
    let last = first.shown().pop().unwrap();
    let offset = last + Ticks::from_millis(500) - Timestamp::ZERO;
    let later = second.units.into_iter().map(|unit| AccessUnit {
        pts: unit.pts + offset,
        dts: unit.dts + offset,
        ..unit
    });
    Made {
        units: first.units.into_iter().chain(later).collect(),
        expected: [first.expected, second.expected].concat(),
    }
}

/// 40 pictures by the encoder of weir's own rungs.
fn by_openh264() -> Made {
    let size = Size::new(320, 180);
    let mut encoder = open_encoder(&EncoderConfig {
        size,
        frame_rate: 25.0,
        video_kbps: 400,
        max_kbps: 428,
        buffer_kbits: 600,
        colour: None,
        preset: Preset::Balanced,
        threads: 1,
    })
    .unwrap();
    let mut meter = Meter::default();
    let mut units = Vec::new();
    for index in 0..40 {
        let pts = Timestamp::ZERO + Ticks::from_periods(index, 25);
        let picture = testkit::moving_pattern(size, index as u32, pts);
        let cost = meter.measure(&picture);
        units.extend(encoder.encode(&picture, index % 20 == 0, cost).unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    let path = write_annex_b(directory.path().join("openh264.h264"), &units);
    Made {
        expected: common::decode(&path),
        units,
    }
}

/// A picture of ffmpeg's in 8 bits and 4:2:0, by the arithmetic of the
/// decoder's page: rounded, and chroma rows averaged in pairs.
fn reduce(picture: &[u8], size: Size, format: &str) -> Vec<u8> {
    let deep = format.ends_with("10le");
    let samples: Vec<u32> = match deep {
        true => picture
            .chunks(2)
            .map(|bytes| u32::from(u16::from_le_bytes([bytes[0], bytes[1]])))
            .collect(),
        false => picture.iter().map(|&byte| byte.into()).collect(),
    };
    let (width, height) = (size.width as usize, size.height as usize);
    let (luma, chroma) = samples.split_at(width * height);
    let scale = if deep { 4 } else { 1 };
    let to_8 = |sum: u32, of: u32| ((sum + of * scale / 2) / (of * scale)).min(255) as u8;
    let mut out: Vec<u8> = luma.iter().map(|&sample| to_8(sample, 1)).collect();
    if chroma.is_empty() {
        out.resize(width * height * 3 / 2, 128);
    } else if format.contains("422") {
        for rows in chroma.chunks(width) {
            let (first, second) = rows.split_at(width / 2);
            out.extend(first.iter().zip(second).map(|(a, b)| to_8(a + b, 2)));
        }
    } else {
        out.extend(chroma.iter().map(|&sample| to_8(sample, 1)));
    }
    out
}
