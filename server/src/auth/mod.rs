//! Who may do what.
//!
//! [`publish`] decides over publishers, [`limiter`] keeps those who guess from
//! costing anything, [`guard`] ends the streams of those who may no longer, [`play`]
//! decides over viewers.

pub(crate) mod guard;
mod jwt;
pub(crate) mod limiter;
pub(crate) mod play;
pub(crate) mod publish;

pub use play::{KeyFault, PlayKeys, PlaySecret, PublicKey};
