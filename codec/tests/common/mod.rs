//! Streams made and judged by ffmpeg.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bitstream::{avcc, nal};
use bytes::Bytes;
use media::{AccessUnit, Picture, Size, Timestamp, TrackConfig};
use weir_codec::video::{Backend, open_decoder};
use weir_codec::{Error, Limits};

/// Runs a program to its end and gives what it wrote to stdout.
pub fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

pub fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let mut all = vec!["-v", "error", "-nostdin", "-y"];
    all.extend(arguments);
    run("ffmpeg", &all)
}

/// A stream with what ffmpeg makes of it.
pub struct Stream {
    pub units: Vec<AccessUnit>,
    /// One picture behind the other, as ffmpeg decodes them.
    pub expected: Vec<u8>,
    pub size: Size,
    directory: tempfile::TempDir,
}

impl Stream {
    /// 50 pictures at 25 fps by x264 with `options`.
    pub fn x264(size: (u32, u32), options: &[&str]) -> Self {
        let source = format!("testsrc2=s={}x{}:r=25", size.0, size.1);
        Self::encode(&source, options)
    }

    pub fn encode(source: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let flv = directory.path().join("stream.flv");
        let mut arguments = vec!["-f", "lavfi", "-i", source, "-frames:v", "50"];
        arguments.extend(["-pix_fmt", "yuv420p", "-c:v", "libx264"]);
        arguments.extend(options);
        arguments.push(flv.to_str().unwrap());
        ffmpeg(&arguments);
        let expected = decode(&flv);
        let units = demux(&flv, &directory.path().join("stream.h264"));
        let size = units[0].config.h264().unwrap().size;
        Self {
            units,
            expected,
            size,
            directory,
        }
    }

    /// The pts of its pictures in the order they are shown in.
    pub fn shown(&self) -> Vec<Timestamp> {
        let mut all: Vec<_> = self.units.iter().map(|unit| unit.pts).collect();
        all.sort();
        all
    }

    pub fn decode(&self, backend: Backend) -> Vec<Arc<Picture>> {
        let (pictures, errors) = decode_units(backend, &self.units);
        assert!(errors.is_empty(), "{errors:?}");
        pictures
    }
}

pub fn decode_units(backend: Backend, units: &[AccessUnit]) -> (Vec<Arc<Picture>>, Vec<Error>) {
    let config = units[0].config.h264().unwrap();
    let mut decoder = open_decoder(backend, config, &Limits::default()).unwrap();
    let (mut pictures, mut errors) = (Vec::new(), Vec::new());
    for unit in units {
        if let Err(error) = decoder.decode(unit, &mut pictures) {
            errors.push(error);
        }
    }
    decoder.flush(&mut pictures).unwrap();
    (pictures, errors)
}

/// The pictures' samples, one plane behind the other, without padding.
pub fn raw(pictures: &[Arc<Picture>]) -> Vec<u8> {
    let mut out = Vec::new();
    for picture in pictures {
        for index in 0..3 {
            let (width, height) = picture.plane_size(index);
            for y in 0..height {
                out.extend_from_slice(&picture.planes[index].row(y)[..width]);
            }
        }
    }
    out
}

/// What ffmpeg decodes a file to.
pub fn decode(path: &Path) -> Vec<u8> {
    let path = path.to_str().unwrap();
    ffmpeg(&[
        "-i",
        path,
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-",
    ])
}

/// The video units of a file, with the container's times.
pub fn demux(path: &Path, annex_b: &Path) -> Vec<AccessUnit> {
    let path = path.to_str().unwrap();
    ffmpeg(&[
        "-i",
        path,
        "-map",
        "0:v",
        "-c",
        "copy",
        "-bsf:v",
        "h264_mp4toannexb,h264_metadata=aud=insert",
        "-f",
        "h264",
        annex_b.to_str().unwrap(),
    ]);
    let entries = "packet=pts_time,dts_time,flags";
    let packets = run(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            entries,
            "-of",
            "csv=p=0",
            path,
        ],
    );
    let packets = String::from_utf8(packets).unwrap();
    let bytes = std::fs::read(annex_b).unwrap();
    let nals: Vec<&[u8]> = nal::annex_b(&bytes).collect();
    let own = |kind: u8| -> Vec<Bytes> {
        let mut sets: Vec<Bytes> = Vec::new();
        for nal in nals.iter().filter(|nal| nal[0] & 31 == kind) {
            if !sets.iter().any(|set| set == nal) {
                sets.push(Bytes::copy_from_slice(nal));
            }
        }
        sets
    };
    let config = avcc::from_parameter_sets(&own(7), &own(8), 4).unwrap();
    let config = Arc::new(TrackConfig::H264(config));
    let units: Vec<_> = nals
        .split(|nal| nal[0] & 31 == 9)
        .filter(|nals| nals.iter().any(|nal| matches!(nal[0] & 31, 1 | 5)))
        .collect();
    let packets: Vec<_> = packets.lines().collect();
    assert_eq!(units.len(), packets.len());
    let time = |text: &str| {
        Timestamp::from_ticks((text.parse::<f64>().unwrap() * 90_000.0).round() as i64)
    };
    units
        .into_iter()
        .zip(packets)
        .map(|(nals, packet)| {
            let fields: Vec<&str> = packet.split(',').collect();
            let mut data = Vec::new();
            for nal in nals.iter().filter(|nal| !matches!(nal[0] & 31, 7 | 8)) {
                nal::push_length_prefixed(&mut data, nal);
            }
            AccessUnit {
                pts: time(fields[0]),
                dts: time(fields[1]),
                key: nals.iter().any(|nal| nal[0] & 31 == 5),
                data: data.into(),
                config: Arc::clone(&config),
            }
        })
        .collect()
}

/// Writes units as an Annex B file, parameter sets in front of key units.
pub fn write_annex_b(path: PathBuf, units: &[AccessUnit]) -> PathBuf {
    let mut out = Vec::new();
    for unit in units {
        let config = unit.config.h264().unwrap();
        if unit.key {
            for set in config.sps.iter().chain(&config.pps) {
                nal::push_annex_b(&mut out, set);
            }
        }
        out.extend(nal::to_annex_b(&unit.data, config.nal_length_size).unwrap());
    }
    std::fs::write(&path, out).unwrap();
    path
}
