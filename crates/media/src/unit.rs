use std::sync::Arc;

use bytes::Bytes;

use crate::{Size, Timestamp};

/// Which of a broadcast's tracks a unit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Track {
    /// H.264 video.
    Video,
    /// AAC audio.
    Audio,
}

/// One coded picture or one coded audio frame ("packet" belongs to TS).
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// When it is presented.
    pub pts: Timestamp,
    /// When it is decoded: strictly rising within a track, never after `pts`.
    pub dts: Timestamp,
    /// Whether decoding can start here: an IDR picture; any audio frame.
    pub key: bool,
    /// H.264: NAL units, each behind a big-endian length of
    /// [`H264Config::nal_length_size`] bytes (ISO/IEC 14496-15), parameter sets
    /// in `config` and not necessarily here. AAC: one raw frame without ADTS.
    pub data: Bytes,
    /// What a decoder needs to know. Shared by all units until it changes, so
    /// `Arc::ptr_eq` is a cheap first test for "unchanged".
    pub config: Arc<TrackConfig>,
}

impl AccessUnit {
    /// The track this unit belongs to.
    pub fn track(&self) -> Track {
        self.config.track()
    }
}

/// What a decoder of one track needs to know before its first unit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackConfig {
    /// H.264.
    H264(H264Config),
    /// AAC.
    Aac(AacConfig),
}

impl TrackConfig {
    /// The track this configuration is for.
    pub fn track(&self) -> Track {
        match self {
            Self::H264(_) => Track::Video,
            Self::Aac(_) => Track::Audio,
        }
    }

    /// The H.264 configuration, if this is one.
    pub fn h264(&self) -> Option<&H264Config> {
        match self {
            Self::H264(config) => Some(config),
            Self::Aac(_) => None,
        }
    }

    /// The AAC configuration, if this is one.
    pub fn aac(&self) -> Option<&AacConfig> {
        match self {
            Self::Aac(config) => Some(config),
            Self::H264(_) => None,
        }
    }

    /// The value for a playlist's CODECS attribute (RFC 6381).
    pub fn rfc6381(&self) -> String {
        match self {
            Self::H264(config) => format!(
                "avc1.{:02x}{:02x}{:02x}",
                config.profile, config.constraints, config.level
            ),
            Self::Aac(config) => format!("mp4a.40.{}", config.object_type),
        }
    }
}

/// How samples stand for colours: code points of ITU-T H.273, as a stream's VUI
/// has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Samples use all of 0 to 255.
    pub full_range: bool,
    /// Chromaticities of the primaries; 1 is BT.709, 2 unspecified.
    pub primaries: u8,
    /// The transfer function; likewise.
    pub transfer: u8,
    /// The matrix between RGB and the samples; likewise.
    pub matrix: u8,
}

/// Facts of an H.264 track, read from its parameter sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct H264Config {
    /// Bytes in front of each NAL unit that hold its length: 1, 2 or 4.
    pub nal_length_size: u8,
    /// Sequence parameter sets, NAL header included, without start codes.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, NAL header included, without start codes.
    pub pps: Vec<Bytes>,
    /// `profile_idc`.
    pub profile: u8,
    /// The byte of `constraint_set` flags.
    pub constraints: u8,
    /// `level_idc`, ten times the level.
    pub level: u8,
    /// Size of the picture after cropping, in samples.
    pub size: Size,
    /// Width and height of one sample's shape; `(1, 1)` when square or unsaid.
    pub sample_aspect: (u32, u32),
    /// Pictures per second as a fraction, when the VUI says so.
    pub frame_rate: Option<(u32, u32)>,
    /// What the samples mean, when the VUI says so, and all parameter sets alike.
    /// Players guess otherwise, by the size of the picture.
    pub colour: Option<Colour>,
    /// `frame_mbs_only_flag` is 0: fields may come.
    pub interlaced: bool,
    /// Chroma format and depth other than 4:2:0 with 8 bits.
    pub high_fidelity: bool,
}

/// Facts of an AAC track, read from its AudioSpecificConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// The AudioSpecificConfig itself (ISO/IEC 14496-3, 1.6.2.1).
    pub asc: Bytes,
    /// Audio object type that a playlist names: 2 LC, 5 HE (SBR), 29 HEv2 (PS).
    pub object_type: u8,
    /// Rate of the core coder in Hz: what an ADTS header says.
    pub core_rate: u32,
    /// Rate of the decoded sound in Hz; twice `core_rate` with explicit SBR.
    pub sample_rate: u32,
    /// Channels of the decoded sound; 0 when a program config element says so.
    pub channels: u8,
    /// Samples per frame and channel at `core_rate`: 1024, seldom 960.
    pub frame_samples: u32,
}
