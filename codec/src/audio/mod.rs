//! Sound: decode, mix down and resample, encode.
//!
//! Samples carry the pts of their first instant through every step, each of
//! which takes its own delay out. What goes in as a beep at one second comes
//! out as a beep at one second.

mod decode;
mod encode;
mod resample;

pub use decode::Decoder;
pub use encode::Encoder;
pub use resample::Resampler;
