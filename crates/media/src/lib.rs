//! The words every other crate speaks: instants, access units, pictures,
//! samples, rungs.
//!
//! No IO, no codec, no clock, no parsing of bitstreams. A type belongs here when
//! two crates that must not know each other both need it.

mod picture;
mod rung;
mod sample_clock;
mod time;
mod timeline;
mod unit;

pub use picture::{Picture, Plane, Samples};
pub use rung::{InvalidRung, Preset, Rung, Size};
pub use sample_clock::SampleClock;
pub use time::{Ticks, Timestamp};
pub use timeline::{OnTimeJump, TimeJump, Timeline};
pub use unit::{AacConfig, AccessUnit, Colour, H264Config, Track, TrackConfig};
