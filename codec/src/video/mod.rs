//! Pictures: decode, scale, encode.

mod decode;
mod encode;
mod scale;

pub use decode::{Backend, Decoder, open_decoder};
pub use encode::{Cost, Encoder, EncoderConfig, Meter, open_encoder};
pub use scale::{Changes, CpuPath, Kernel, Scaler};
