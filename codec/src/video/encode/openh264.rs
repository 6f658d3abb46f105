//! Cisco's openh264 as an encoder.
//!
//! Through its own interface rather than the safe wrapper, which can neither
//! switch CABAC on (1.7 VMAF points at 360p) nor set a quantiser per picture.

use std::sync::Arc;

use bitstream::{avcc, nal};
use bytes::Bytes;
use media::{AccessUnit, Picture, TrackConfig};
use openh264_sys2::{
    CAMERA_VIDEO_REAL_TIME, CONSTANT_ID, MEDIUM_COMPLEXITY, PRO_MAIN, SEncParamExt,
    SM_FIXEDSLCNUM_SLICE, SM_SINGLE_SLICE,
};

use super::ffi::{Outcome, RawEncoder};
use super::level::{level_idc, nominal};
use super::{Encoder, EncoderConfig, rate};
use crate::Error;

pub(super) struct OpenH264 {
    raw: RawEncoder,
    settings: EncoderConfig,
    config: Arc<TrackConfig>,
}

impl OpenH264 {
    pub(super) fn open(config: &EncoderConfig) -> Result<Self, Error> {
        let mut raw = RawEncoder::open(|settings| set_up(config, settings))?;
        let sets = raw.parameter_sets()?;
        let config_of_track = track_config(nal::annex_b(&sets))?;
        Ok(Self {
            raw,
            settings: config.clone(),
            config: Arc::new(config_of_track),
        })
    }
}

impl Encoder for OpenH264 {
    fn encode(&mut self, picture: &Picture, force_key: bool) -> Result<Option<AccessUnit>, Error> {
        if picture.size != self.settings.size {
            return Err(Error::Config(format!(
                "a picture of {} in an encoder of {}",
                picture.size, self.settings.size
            )));
        }
        let coded = match self.raw.encode(picture, force_key)? {
            Outcome::Coded(coded) => coded,
            // Noise behind calm pictures, whose fine quantiser it inherits.
            // A fresh encoder begins with a coarse one.
            Outcome::Overflow => {
                self.raw = RawEncoder::open(|settings| set_up(&self.settings, settings))?;
                match self.raw.encode(picture, true)? {
                    Outcome::Coded(coded) => coded,
                    Outcome::Overflow => {
                        return Err(Error::Backend {
                            library: "openh264",
                            what: "a picture takes more than two thirds of its raw size".into(),
                        });
                    }
                }
            }
        };
        if force_key && !coded.key {
            return Err(Error::Backend {
                library: "openh264",
                what: "a key picture was asked for and not made".into(),
            });
        }
        let mut data = Vec::with_capacity(coded.annex_b.len());
        let mut sets = Vec::new();
        for nal in nal::annex_b(&coded.annex_b) {
            match nal[0] & 0x1f {
                SPS | PPS => sets.push(nal),
                _ => nal::push_length_prefixed(&mut data, nal),
            }
        }
        if !sets.is_empty() {
            let now = track_config(sets.into_iter())?;
            if now != *self.config {
                self.config = Arc::new(now);
            }
        }
        Ok(Some(AccessUnit {
            pts: picture.pts,
            dts: picture.pts,
            key: coded.key,
            data: data.into(),
            config: Arc::clone(&self.config),
        }))
    }

    fn config(&self) -> &Arc<TrackConfig> {
        &self.config
    }
}

/// The settings that make a picture look good or a stream lawful; those about
/// bits are in [`rate`].
fn set_up(config: &EncoderConfig, settings: &mut SEncParamExt) {
    settings.iUsageType = CAMERA_VIDEO_REAL_TIME;
    settings.iPicWidth = config.size.width as i32;
    settings.iPicHeight = config.size.height as i32;
    let frame_rate = nominal(config.frame_rate) as f32;
    settings.fMaxFrameRate = frame_rate;
    settings.iTemporalLayerNum = 1;
    settings.iSpatialLayerNum = 1;
    settings.iMultipleThreadIdc = config.threads;
    settings.iComplexityMode = MEDIUM_COMPLEXITY;
    settings.iEntropyCodingModeFlag = 1;
    // A key picture comes when it is asked for, never by itself: rungs are cut
    // at the same picture.
    settings.uiIntraPeriod = 0;
    settings.bEnableSceneChangeDetect = false;
    // Parameter sets that never change need sending once per segment only.
    settings.eSpsPpsIdStrategy = CONSTANT_ID;
    settings.bEnableDenoise = false;
    settings.bEnableBackgroundDetection = false;
    settings.bEnableAdaptiveQuant = false;
    settings.bEnableLongTermReference = false;
    settings.bEnableFrameCroppingFlag = true;
    let layer = &mut settings.sSpatialLayers[0];
    layer.iVideoWidth = config.size.width as i32;
    layer.iVideoHeight = config.size.height as i32;
    layer.fFrameRate = frame_rate;
    layer.uiProfileIdc = PRO_MAIN;
    layer.uiLevelIdc = i32::from(level_idc(
        config.size,
        config.frame_rate,
        config.max_kbps,
        config.buffer_kbits,
    ));
    if config.threads > 1 {
        layer.sSliceArgument.uiSliceMode = SM_FIXEDSLCNUM_SLICE;
        layer.sSliceArgument.uiSliceNum = u32::from(config.threads);
    } else {
        layer.sSliceArgument.uiSliceMode = SM_SINGLE_SLICE;
    }
    rate::set_up(config, settings);
}

fn track_config<'a>(sets: impl Iterator<Item = &'a [u8]>) -> Result<TrackConfig, Error> {
    let (sps, pps): (Vec<&[u8]>, Vec<&[u8]>) = sets.partition(|nal| nal[0] & 0x1f == SPS);
    let own =
        |sets: Vec<&[u8]>| -> Vec<Bytes> { sets.into_iter().map(Bytes::copy_from_slice).collect() };
    avcc::from_parameter_sets(&own(sps), &own(pps), NAL_LENGTH_SIZE)
        .map(TrackConfig::H264)
        .map_err(|error| Error::Backend {
            library: "openh264",
            what: format!("parameter sets: {error}"),
        })
}

const SPS: u8 = 7;
const PPS: u8 = 8;
const NAL_LENGTH_SIZE: u8 = 4;
