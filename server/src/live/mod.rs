//! What is on air on this server: who publishes which name, and what viewers
//! get of it.

mod broadcast;
mod directory;
mod packet;

pub(crate) use broadcast::Tracks;
pub use broadcast::{Broadcast, Playout, Publisher};
pub use directory::{Claim, Directory, Refused};
pub(crate) use packet::{Packet, flv_tag, rtmp_message};
