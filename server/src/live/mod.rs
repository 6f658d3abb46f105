//! What is on air on this server: who publishes which name, and what viewers
//! get of it.

mod broadcast;
mod directory;
mod packet;
mod rungs;

pub use broadcast::{Broadcast, Playout, Publisher};
pub(crate) use broadcast::{Dismissal, Tracks};
pub use directory::{Claim, Directory, Refused};
pub(crate) use packet::{COPIED, KEPT_FOR_READERS, Packet};
pub(crate) use rungs::{NoRung, RungReader, StartLadder};
