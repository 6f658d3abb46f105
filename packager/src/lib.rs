//! Access units in, MPEG-TS segments and HLS playlists out.
//!
//! Everything here is a value or a pure step: a [`Segmenter`] turns the access
//! units of one rung into [`Segment`]s, a [`Window`] holds those that a live
//! playlist lists or may still be asked for, [`playlist`] renders text, and
//! [`rates::Meter`] measures what the multivariant playlist says about them.
//! Nothing reads a clock, names a file or talks to a store.

mod error;
pub mod playlist;
pub mod rates;
pub mod scan;
mod segment;
mod segmenter;
mod ts;
mod window;

pub use error::Error;
pub use segment::Segment;
pub use segmenter::{Segmenter, SegmenterConfig, Tracks};
pub use window::{ProgramClock, Window, WindowConfig};
