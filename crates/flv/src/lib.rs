//! FLV: tag bodies to access units and back, and the file around them.
//!
//! The body of an RTMP audio or video message *is* the body of an FLV tag, so
//! one [`Demuxer`] serves publishers and files alike. It knows nothing of
//! sockets and sessions. Behind it there are no milliseconds, no frame type
//! flags and no packet types: only [`media::AccessUnit`]s on a 90 kHz timeline.
//!
//! H.264 and AAC are understood in their original form and behind the headers
//! of Enhanced RTMP; every other codec is refused by name.

mod body;
mod codec;
mod demux;
mod error;
pub mod file;
mod metadata;
pub mod mux;

pub use demux::{Config, Demuxer, Dropped};
pub use error::Error;
pub use metadata::Metadata;
