//! Encodes raw 4:2:0 pictures from standard input as one rung and says how its
//! rate held: `scripts/encoding.sh` judges the picture.
//!
//!     encode 640x360 30 800 balanced out.h264 < in.yuv
//!
//! max_kbps and buffer_kbits are the ladder's: 107 % and 150 % of the rate.
//! Prints kbit/s, the fullest that the decoder buffer was (of 1), pictures left
//! out, key pictures, and CPU seconds of the encoder's own thread.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};

use bitstream::nal::{push_annex_b, to_annex_b};
use media::{AccessUnit, Picture, Preset, Size, Ticks, Timestamp};
use weir_codec::video::{EncoderConfig, Meter, open_encoder};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some((config, path)) = parse(&words) else {
        eprintln!("usage: encode WxH FPS KBPS fast|balanced|quality OUT.h264");
        std::process::exit(2);
    };
    let mut encoder = open_encoder(&config)?;
    let mut meter = Meter::default();
    let mut output = BufWriter::new(File::create(path)?);
    let mut picture = Picture::black(config.size, Timestamp::ZERO);
    let mut input = io::stdin().lock();
    let key_every = (config.frame_rate * 2.0).round() as u64;
    let (mut pictures, mut left_out, mut keys) = (0_u64, 0, 0);
    let (mut kbits, mut level, mut fullest) = (0.0, 0.0_f64, 0.0_f64);
    let mut cpu = 0.0;
    while read(&mut input, &mut picture)? {
        let seconds = pictures as f64 / config.frame_rate;
        picture.pts = Timestamp::ZERO + Ticks::from_secs_f64(seconds);
        let cost = meter.measure(&picture);
        let before = cpu_seconds();
        let unit = encoder.encode(&picture, pictures.is_multiple_of(key_every), cost)?;
        cpu += cpu_seconds() - before;
        pictures += 1;
        level = (level - f64::from(config.max_kbps) / config.frame_rate).max(0.0);
        let Some(unit) = unit else {
            left_out += 1;
            continue;
        };
        let size = unit.data.len() as f64 * 8.0 / 1000.0;
        kbits += size;
        level += size;
        fullest = fullest.max(level / f64::from(config.buffer_kbits));
        keys += u32::from(unit.key);
        write(&mut output, &unit)?;
    }
    output.flush()?;
    let rate = kbits * config.frame_rate / pictures.max(1) as f64;
    println!("{rate:.0} {fullest:.2} {left_out} {keys} {cpu:.2}");
    Ok(())
}

fn read(input: &mut impl Read, picture: &mut Picture) -> io::Result<bool> {
    for plane in &mut picture.planes {
        match input.read_exact(&mut plane.data) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
    }
    Ok(true)
}

/// Annex B, parameter sets before each key picture.
fn write(output: &mut impl Write, unit: &AccessUnit) -> Result<(), Box<dyn Error>> {
    let mut sets = Vec::new();
    if let Some(config) = unit.config.h264().filter(|_| unit.key) {
        for set in config.sps.iter().chain(&config.pps) {
            push_annex_b(&mut sets, set);
        }
    }
    output.write_all(&sets)?;
    output.write_all(&to_annex_b(&unit.data, 4)?)?;
    Ok(())
}

/// Of this thread; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told.split_whitespace().next().and_then(|n| n.parse().ok());
    nanoseconds.map_or(0.0, |n: u64| n as f64 / 1e9)
}

fn parse(words: &[String]) -> Option<(EncoderConfig, &String)> {
    let [size, frame_rate, kbps, preset, path] = words else {
        return None;
    };
    let (width, height) = size.split_once('x')?;
    let video_kbps: u32 = kbps.parse().ok()?;
    let config = EncoderConfig {
        size: Size::new(width.parse().ok()?, height.parse().ok()?),
        frame_rate: frame_rate.parse().ok()?,
        video_kbps,
        max_kbps: video_kbps * 107 / 100,
        buffer_kbits: video_kbps * 3 / 2,
        colour: None,
        preset: match preset.as_str() {
            "fast" => Preset::Fast,
            "balanced" => Preset::Balanced,
            "quality" => Preset::Quality,
            _ => return None,
        },
        threads: 1,
    };
    Some((config, path))
}
