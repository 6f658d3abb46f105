//! What is on air on this server: who publishes which name, and what viewers
//! get of it.

mod broadcast;
mod directory;

pub use broadcast::{Broadcast, Playout, Publisher};
pub use directory::{Claim, Directory, Refused};
