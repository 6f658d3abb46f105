//! Cisco's openh264 as an encoder.
//!
//! Through its own interface rather than the safe wrapper, which can neither
//! switch CABAC on (1.7 VMAF points at 360p) nor set a quantiser per picture.

use std::sync::Arc;

use bitstream::{avcc, nal};
use bytes::Bytes;
use media::{AccessUnit, Colour, Picture, Preset, Size, Timestamp, TrackConfig};
use openh264_sys2::{
    CAMERA_VIDEO_REAL_TIME, CONSTANT_ID, LOW_COMPLEXITY, MEDIUM_COMPLEXITY, PRO_MAIN, RC_OFF_MODE,
    SCREEN_CONTENT_REAL_TIME, SEncParamExt, SM_FIXEDSLCNUM_SLICE, SM_SINGLE_SLICE,
};

use super::ffi::{Outcome, RawEncoder};
use super::level::{level_idc, nominal};
use super::rate::{Plan, Quantiser, Verdict};
use super::soften::soften;
use super::{Cost, Encoder, EncoderConfig, rate, screen};
use crate::Error;

pub(super) struct OpenH264 {
    raw: RawEncoder,
    settings: EncoderConfig,
    config: Arc<TrackConfig>,
    control: rate::Control,
    softened: Picture,
    detector: screen::Detector,
    /// What `raw` is set up for.
    of_a_screen: bool,
}

impl OpenH264 {
    pub(super) fn open(config: &EncoderConfig) -> Result<Self, Error> {
        let mut raw = RawEncoder::open(|settings| set_up(config, false, settings))?;
        let sets = raw.parameter_sets()?;
        let config_of_track = track_config(nal::annex_b(&sets))?;
        let Size { width, height } = config.size;
        let macroblocks = f64::from(width.div_ceil(16) * height.div_ceil(16));
        Ok(Self {
            raw,
            config: Arc::new(config_of_track),
            control: rate::Control::new(rate::Settings {
                video_kbps: config.video_kbps.into(),
                max_kbps: config.max_kbps.into(),
                buffer_kbits: config.buffer_kbits.into(),
                frame_rate: nominal(config.frame_rate),
                macroblocks,
            }),
            softened: Picture::black(Size::new(2, 2), Timestamp::ZERO),
            detector: screen::Detector::default(),
            of_a_screen: false,
            settings: config.clone(),
        })
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let of_a_screen = self.of_a_screen;
        self.raw = RawEncoder::open(|settings| set_up(&self.settings, of_a_screen, settings))?;
        Ok(())
    }

    fn code(&mut self, picture: &Picture, key: bool, with: Quantiser) -> Result<Outcome, Error> {
        self.raw.set_qp(with.qp)?;
        if with.soften == 0 {
            return self.raw.encode(picture, key);
        }
        soften(picture, with.soften, &mut self.softened);
        self.raw.encode(&self.softened, key)
    }
}

impl Encoder for OpenH264 {
    fn encode(
        &mut self,
        picture: &Picture,
        force_key: bool,
        cost: Cost,
    ) -> Result<Option<AccessUnit>, Error> {
        if picture.size != self.settings.size {
            return Err(Error::Config(format!(
                "a picture of {} in an encoder of {}",
                picture.size, self.settings.size
            )));
        }
        let Plan::Code(mut with) = self.control.plan(picture.pts, force_key, cost) else {
            return Ok(None);
        };
        if force_key && self.settings.preset != Preset::Fast {
            let of_a_screen = self.detector.at_key(picture);
            if of_a_screen != self.of_a_screen {
                self.of_a_screen = of_a_screen;
                self.reopen()?;
            }
        }
        let mut key = force_key;
        let coded = loop {
            match self.code(picture, key, with)? {
                Outcome::Coded(coded) => match self.control.coded(coded.annex_b.len() * 8) {
                    Verdict::Keep => break coded,
                    Verdict::Again(coarser) => with = coarser,
                },
                // It has closed itself: this one begins with a key picture.
                Outcome::Overflow => {
                    self.reopen()?;
                    let coarser = self.control.overflowed();
                    with = coarser.ok_or_else(|| Error::Backend {
                        library: "openh264",
                        what: "a picture takes more than two thirds of its raw size".into(),
                    })?;
                }
            }
            key = true;
        };
        if key && !coded.key {
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

    fn recolour(&mut self, colour: Option<Colour>) -> Result<(), Error> {
        self.settings.colour = colour;
        self.reopen()?;
        let sets = self.raw.parameter_sets()?;
        self.config = Arc::new(track_config(nal::annex_b(&sets))?);
        Ok(())
    }

    fn config(&self) -> &Arc<TrackConfig> {
        &self.config
    }
}

/// The settings that make a picture look good or a stream lawful.
fn set_up(config: &EncoderConfig, of_a_screen: bool, settings: &mut SEncParamExt) {
    settings.iUsageType = if of_a_screen {
        SCREEN_CONTENT_REAL_TIME
    } else {
        CAMERA_VIDEO_REAL_TIME
    };
    settings.iPicWidth = config.size.width as i32;
    settings.iPicHeight = config.size.height as i32;
    let frame_rate = nominal(config.frame_rate) as f32;
    settings.fMaxFrameRate = frame_rate;
    settings.iTemporalLayerNum = 1;
    settings.iSpatialLayerNum = 1;
    settings.iMultipleThreadIdc = config.threads;
    settings.iComplexityMode = match config.preset {
        Preset::Quality => MEDIUM_COMPLEXITY,
        Preset::Balanced if config.size.area() <= SMALL => MEDIUM_COMPLEXITY,
        Preset::Balanced | Preset::Fast => LOW_COMPLEXITY,
    };
    settings.bEnableBackgroundDetection = config.preset == Preset::Fast;
    settings.iEntropyCodingModeFlag = 1;
    // A key picture comes when it is asked for: rungs are cut at the same
    // picture. (The tools for screens bring the detection of scenes with them.)
    settings.uiIntraPeriod = 0;
    settings.bEnableSceneChangeDetect = false;
    // Parameter sets that never change need sending once per segment only.
    settings.eSpsPpsIdStrategy = CONSTANT_ID;
    settings.bEnableDenoise = false;
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
    layer.bVideoSignalTypePresent = config.colour.is_some();
    if let Some(colour) = config.colour {
        layer.uiVideoFormat = UNSPECIFIED_FORMAT;
        layer.bFullRange = colour.full_range;
        layer.bColorDescriptionPresent = true;
        layer.uiColorPrimaries = colour.primaries;
        layer.uiTransferCharacteristics = colour.transfer;
        layer.uiColorMatrix = colour.matrix;
    }
    if config.threads > 1 {
        layer.sSliceArgument.uiSliceMode = SM_FIXEDSLCNUM_SLICE;
        layer.sSliceArgument.uiSliceNum = u32::from(config.threads);
    } else {
        layer.sSliceArgument.uiSliceMode = SM_SINGLE_SLICE;
    }
    // The quantiser of each picture comes from our own control.
    settings.iRCMode = RC_OFF_MODE;
    settings.bEnableFrameSkip = false;
    settings.iLoopFilterAlphaC0Offset = DEBLOCKING;
    settings.iLoopFilterBetaOffset = DEBLOCKING;
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

/// Samples of the largest picture, 854x480, whose partitions the balanced preset
/// searches thoroughly: worth 0.2 to 0.4 VMAF, and 0.05 to 0.2 at 720p, where it
/// takes most time.
const SMALL: u64 = 854 * 480;
/// A little less deblocking than the standard's default: 0.2 VMAF at 360p.
const DEBLOCKING: i32 = -2;
/// `video_format` of E.2.1: PAL, NTSC and the like mean nothing any more.
const UNSPECIFIED_FORMAT: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
const NAL_LENGTH_SIZE: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the control relies on when nothing else helps.
    #[test]
    fn the_softest_picture_is_as_small_as_the_control_takes_it_to_be() {
        for size in [Size::new(640, 360), Size::new(1280, 720)] {
            let config = EncoderConfig {
                size,
                frame_rate: 30.0,
                video_kbps: 800,
                max_kbps: 856,
                buffer_kbits: 1200,
                colour: None,
                preset: Preset::Balanced,
                threads: 1,
            };
            let mut encoder = OpenH264::open(&config).unwrap();
            let macroblocks = f64::from(size.width.div_ceil(16) * size.height.div_ceil(16));
            let mut pictures = vec![testkit::noise(size, 1, Timestamp::ZERO)];
            // Squares that no softening makes alike: black and white at random.
            let mut squares = testkit::noise(size, 2, Timestamp::ZERO);
            for index in 0..3 {
                let (width, height) = squares.plane_size(index);
                for y in 0..height {
                    for x in 0..width {
                        let hash = (y / 16 * 7919 + x / 16 * 104_729 + index * 31) ^ 0x5bd1;
                        let white = (hash.wrapping_mul(2_654_435_761) >> 13) & 1 == 1;
                        squares.planes[index].row_mut(y)[x] = if white { 255 } else { 0 };
                    }
                }
            }
            pictures.push(squares);
            let with = Quantiser {
                qp: rate::COARSEST,
                soften: rate::SOFTEST,
            };
            for picture in pictures {
                for key in [true, false] {
                    let Outcome::Coded(coded) = encoder.code(&picture, key, with).unwrap() else {
                        panic!("the encoder's own buffer overflowed");
                    };
                    let kbits = coded.annex_b.len() as f64 * 8.0 / 1000.0;
                    assert!(kbits < rate::SMALLEST * macroblocks, "{size} {kbits}");
                }
            }
        }
    }
}
