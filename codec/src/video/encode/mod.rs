//! Pictures to H.264 access units.

mod cost;
mod ffi;
mod level;
mod openh264;
mod rate;
mod screen;
mod soften;

pub use self::cost::Meter;
pub use self::rate::Cost;

use std::sync::Arc;

use media::{AccessUnit, Colour, Picture, Preset, Size, TrackConfig};

use crate::Error;

/// Turns pictures of one size into the access units of one H.264 track: Main
/// profile, CABAC, no B-frames, so a unit's dts is its pts.
pub trait Encoder: Send {
    /// Encodes one picture, which must be of the encoder's size, to one unit at
    /// once. `cost` says how hard it is after the last one that was coded, as a
    /// [`Meter`] has found it in these pictures or in those they were scaled from.
    /// `None` leaves the picture out, as the last resort when the decoder buffer has
    /// no room for it; never one that must be a key picture.
    ///
    /// The unit is a key unit for the first picture and wherever `force_key`
    /// says so. Others come unasked, rarely: a picture that overflowed the decoder
    /// buffer against all expectation (a cut to noise) is coded once more, coarser
    /// and without need of the one thrown away; and a screen's changes of scene.
    fn encode(
        &mut self,
        picture: &Picture,
        force_key: bool,
        cost: Cost,
    ) -> Result<Option<AccessUnit>, Error>;

    /// Says another thing of what samples mean, from the next picture on, which has
    /// to be a key picture. What was learnt, and the decoder's buffer, go on.
    fn recolour(&mut self, colour: Option<Colour>) -> Result<(), Error>;

    /// The track's configuration, the same `Arc` that its units carry. Known
    /// before the first picture.
    fn config(&self) -> &Arc<TrackConfig>;
}

/// What an encoder is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Size of the pictures, in samples; both sides even, 16 to 4096.
    pub size: Size,
    /// Pictures a second, nominally: what bits are shared out by and what the
    /// level is chosen for. The pictures' own pts decide when they are shown.
    pub frame_rate: f64,
    /// Average rate, in kbit/s.
    pub video_kbps: u32,
    /// Highest rate over the buffer, in kbit/s.
    pub max_kbps: u32,
    /// Decoder buffer (VBV), in kbit.
    pub buffer_kbits: u32,
    /// What the samples mean, for the VUI. `None` leaves it to players' guesses,
    /// as the source did.
    pub colour: Option<Colour>,
    /// What it spends on a picture.
    pub preset: Preset,
    /// Threads the encoder may start. 1 runs in the caller's thread; more cut
    /// the picture into as many slices.
    pub threads: u16,
}

/// Opens an encoder.
pub fn open_encoder(config: &EncoderConfig) -> Result<Box<dyn Encoder>, Error> {
    check(config)?;
    Ok(Box::new(openh264::OpenH264::open(config)?))
}

fn check(config: &EncoderConfig) -> Result<(), Error> {
    let Size { width, height } = config.size;
    let refuse = |what: String| Err(Error::Config(what));
    if config.size != config.size.even() {
        return refuse(format!("pictures of {} have an odd side", config.size));
    }
    if !(16..=4096).contains(&width) || !(16..=4096).contains(&height) {
        return refuse(format!("{} is outside 16x16 to 4096x4096", config.size));
    }
    if !(config.frame_rate >= 1.0 && config.frame_rate <= 240.0) {
        return refuse(format!("{} fps is outside 1 to 240", config.frame_rate));
    }
    if config.video_kbps == 0
        || config.video_kbps > config.max_kbps
        || config.max_kbps > 1_000_000
        || config.buffer_kbits == 0
    {
        return refuse(
            "rates must hold 0 < video_kbps <= max_kbps <= 1000000 and buffer_kbits > 0".into(),
        );
    }
    if !(1..=4).contains(&config.threads) {
        return refuse(format!("{} threads are outside 1 to 4", config.threads));
    }
    Ok(())
}
