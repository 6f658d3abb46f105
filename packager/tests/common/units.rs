//! Access units made up of thin air, each with its number inside.

use std::sync::Arc;

use bytes::Bytes;
use media::{AacConfig, AccessUnit, H264Config, Size, Ticks, Timestamp, TrackConfig};

pub const SPS: &[u8] = &[0x67, 0x4d, 0x40, 0x1f, 0x95];
pub const PPS: &[u8] = &[0x68, 0xee, 0x3c, 0x80];

pub fn h264() -> Arc<TrackConfig> {
    Arc::new(TrackConfig::H264(H264Config {
        nal_length_size: 4,
        sps: vec![Bytes::from_static(SPS)],
        pps: vec![Bytes::from_static(PPS)],
        profile: 0x4d,
        constraints: 0x40,
        level: 0x1f,
        size: Size::new(1280, 720),
        sample_aspect: (1, 1),
        frame_rate: None,
        colour: None,
        interlaced: false,
        high_fidelity: false,
    }))
}

pub fn aac(rate: u32) -> Arc<TrackConfig> {
    let index = if rate == 48_000 { 3_u16 } else { 4 };
    let asc = 2_u16 << 11 | index << 7 | 2 << 3;
    Arc::new(TrackConfig::Aac(AacConfig {
        asc: Bytes::copy_from_slice(&asc.to_be_bytes()),
        object_type: 2,
        core_rate: rate,
        sample_rate: rate,
        channels: 2,
        frame_samples: 1024,
    }))
}

/// NAL units behind 4-byte lengths.
pub fn avcc(nals: &[&[u8]]) -> Bytes {
    let mut data = Vec::new();
    for nal in nals {
        data.extend_from_slice(&(nal.len() as u32).to_be_bytes());
        data.extend_from_slice(nal);
    }
    data.into()
}

/// A slice that says its `number` and has `size` bytes more. No byte is zero, so
/// no start code can be in it.
pub fn slice(key: bool, number: u32, size: usize) -> Vec<u8> {
    let mut nal = vec![if key { 0x65 } else { 0x41 }];
    nal.extend((0..4).map(|byte| (number >> (byte * 7)) as u8 & 0x7f | 0x80));
    nal.resize(nal.len() + size, 0xaa);
    nal
}

pub fn video(
    config: &Arc<TrackConfig>,
    key: bool,
    pts: i64,
    dts: i64,
    number: u32,
    size: usize,
) -> AccessUnit {
    AccessUnit {
        pts: Timestamp::from_ticks(pts),
        dts: Timestamp::from_ticks(dts),
        key,
        data: avcc(&[&slice(key, number, size)]),
        config: Arc::clone(config),
    }
}

pub fn audio(config: &Arc<TrackConfig>, pts: i64, number: u32, size: usize) -> AccessUnit {
    let mut data = number.to_be_bytes().to_vec();
    data.resize(4 + size, 0x55);
    AccessUnit {
        pts: Timestamp::from_ticks(pts),
        dts: Timestamp::from_ticks(pts),
        key: true,
        data: data.into(),
        config: Arc::clone(config),
    }
}

/// Groups of pictures one behind the other, each with an IDR first.
#[derive(Clone, Debug)]
pub struct Video {
    /// Ticks from picture to picture.
    pub frame: i64,
    /// Whether pictures are reordered (I P B P B …).
    pub reordered: bool,
    /// Pictures of each group.
    pub groups: Vec<usize>,
    /// Bytes of a picture, varied by its number.
    pub size: usize,
    pub start: i64,
}

impl Video {
    pub fn units(&self) -> Vec<AccessUnit> {
        let config = h264();
        let delay = if self.reordered { self.frame } else { 0 };
        let mut units = Vec::new();
        for &pictures in &self.groups {
            let first = units.len() as i64;
            for index in 0..pictures {
                let shown = match index {
                    _ if !self.reordered || index == 0 => index,
                    _ if index % 2 == 1 && index + 1 < pictures => index + 1,
                    _ if index % 2 == 0 => index - 1,
                    _ => index,
                };
                let pts = self.start + (first + shown as i64) * self.frame;
                let number = units.len() as u32;
                let dts = self.start + i64::from(number) * self.frame - delay;
                let size = self.size + number as usize * 37 % 600;
                units.push(video(&config, index == 0, pts, dts, number, size));
            }
        }
        units
    }
}

/// Frames of 1024 samples, from `start` until `end`.
pub fn sound(rate: u32, start: i64, end: i64, size: usize) -> Vec<AccessUnit> {
    let config = aac(rate);
    let pts = |number: u32| start + Ticks::from_periods(i64::from(number) * 1024, rate).get();
    (0..)
        .take_while(|&number| pts(number) < end)
        .map(|number| {
            audio(
                &config,
                pts(number),
                number,
                size + number as usize * 13 % 200,
            )
        })
        .collect()
}
