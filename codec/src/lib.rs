//! Turns access units into pictures and sound, and back.
//!
//! This is the only crate that links C, and the only one that may say
//! `unsafe`: the modules named `ffi` hold it, and those named after a CPU's
//! instructions; everything else is denied it.
//! Nothing here knows about streams, clocks, threads or files. A decoder, a
//! scaler, an encoder is a value with `&mut self` methods; who runs it where is
//! the caller's business. All are `Send`.
//!
//! A decoder backend that panicked would unwind into its caller. None is known
//! to, on any input; the caller's thread of one stream is the place that stops
//! an unwinding, so that it ends that stream and no other.

pub mod audio;
mod error;
mod limits;
pub mod video;

pub use error::Error;
pub use limits::Limits;

/// Whether openh264 was built with its assembly. Without it encoding takes
/// about three times the CPU.
pub const WITH_ASSEMBLY: bool = cfg!(with_assembly);
