//! Syntax of H.264 and AAC: NAL units, parameter sets, configuration records,
//! ADTS headers.
//!
//! Pure functions over bytes: nothing here keeps state, knows a container or
//! decodes a sample. What the bytes say becomes the facts of
//! [`media::H264Config`] and [`media::AacConfig`]; the rest of weir never looks
//! at a bit.
//!
//! All input may come from the network. Every loop is bounded by the input's
//! length or by a range the standard gives, and every picture size by
//! [`Limits`].

pub mod adts;
pub mod asc;
pub mod avcc;
mod bits;
mod error;
pub mod nal;
pub mod sps;

pub use error::Error;
pub use sps::Limits;
