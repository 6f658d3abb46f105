use bitstream::nal::{self, Kind};
use bytes::Bytes;
use media::{AccessUnit, H264Config, Ticks, Timestamp, Track, TrackConfig};

use crate::Error;

/// An access unit as MPEG-TS carries it: Annex B with a delimiter, or one ADTS
/// frame.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) track: Track,
    pub(crate) pts: Timestamp,
    pub(crate) dts: Timestamp,
    pub(crate) key: bool,
    /// How long an audio frame sounds; zero for video.
    pub(crate) sounds: Ticks,
    pub(crate) data: Bytes,
}

impl Unit {
    /// Rewrites `unit`. All that can be wrong with its bytes is found here, so
    /// that writing a segment later cannot fail for them.
    pub(crate) fn new(unit: &AccessUnit) -> Result<Self, Error> {
        let refused = |source| Error::Bitstream {
            track: unit.track(),
            dts: unit.dts,
            source,
        };
        let malformed = |what| Error::Malformed {
            track: unit.track(),
            dts: unit.dts,
            what,
        };
        let (data, sounds) = match &*unit.config {
            TrackConfig::H264(config) => {
                let data = annex_b(unit, config).map_err(refused)?;
                (
                    data.ok_or_else(|| malformed("no coded picture in it"))?,
                    Ticks::ZERO,
                )
            }
            TrackConfig::Aac(config) => {
                if unit.data.is_empty() {
                    return Err(malformed("no coded sound in it"));
                }
                let mut data = Vec::with_capacity(unit.data.len() + 7);
                let header = bitstream::adts::header(config, unit.data.len()).map_err(refused)?;
                data.extend_from_slice(&header);
                data.extend_from_slice(&unit.data);
                let sounds =
                    Ticks::from_periods(i64::from(config.frame_samples), config.core_rate.max(1));
                (data, sounds)
            }
            _ => {
                return Err(Error::Unsupported {
                    what: "a track in MPEG-TS that is neither H.264 nor AAC",
                });
            }
        };
        Ok(Self {
            track: unit.track(),
            pts: unit.pts,
            dts: unit.dts,
            key: unit.key,
            sounds,
            data: data.into(),
        })
    }
}

/// The Annex B form of `unit`: a delimiter, the parameter sets in front of a key
/// picture, the NAL units. `None` without a coded picture.
///
/// Delimiters of the sender go, and so do parameter sets that only repeat the
/// configuration. Others stay: they are news to a decoder.
fn annex_b(unit: &AccessUnit, config: &H264Config) -> Result<Option<Vec<u8>>, bitstream::Error> {
    let sets = || config.sps.iter().chain(&config.pps);
    let mut out = Vec::with_capacity(unit.data.len() + 256);
    nal::push_annex_b(&mut out, if unit.key { &AUD_INTRA } else { &AUD_ANY });
    if unit.key {
        sets().for_each(|set| nal::push_annex_b(&mut out, set));
    }
    let mut pictures = false;
    for nal in nal::lengths(&unit.data, config.nal_length_size) {
        let nal = nal?;
        let kind = Kind::of(nal);
        pictures |= kind.is_picture();
        let repeated = match kind {
            Kind::Aud => true,
            Kind::Sps | Kind::Pps => sets().any(|set| set == nal),
            _ => false,
        };
        if !repeated {
            nal::push_annex_b(&mut out, nal);
        }
    }
    Ok(pictures.then_some(out))
}

/// A delimiter that says: slices of type I only.
const AUD_INTRA: [u8; 2] = [0x09, 0x10];
/// A delimiter that says: slices of any type.
const AUD_ANY: [u8; 2] = [0x09, 0xf0];
