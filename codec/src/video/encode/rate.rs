//! How bits are shared out between pictures.
//!
//! The only place that knows: the encoder asks for the settings it is opened
//! with. Here they hand the task to openh264's own control, which shares out
//! over 8 pictures and moves the quantiser by rows of macroblocks.

use openh264_sys2::{RC_BITRATE_MODE, SEncParamExt};

use super::EncoderConfig;

/// Sets up rate control in the settings of an encoder about to be opened.
pub(super) fn set_up(config: &EncoderConfig, settings: &mut SEncParamExt) {
    let bits = |kbps: u32| (kbps * 1000) as i32;
    settings.iRCMode = RC_BITRATE_MODE;
    settings.iTargetBitrate = bits(config.video_kbps);
    settings.iMaxBitrate = bits(config.max_kbps);
    let layer = &mut settings.sSpatialLayers[0];
    layer.iSpatialBitrate = bits(config.video_kbps);
    layer.iMaxSpatialBitrate = bits(config.max_kbps);
    // A picture left out would break the lockstep of a ladder's rungs.
    settings.bEnableFrameSkip = false;
}
