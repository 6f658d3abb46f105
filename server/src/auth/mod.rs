//! Who may do what.
//!
//! [`publish`] decides over publishers, [`limiter`] keeps those who guess from
//! costing anything, [`guard`] ends the streams of those who may no longer.

pub(crate) mod guard;
pub(crate) mod limiter;
pub(crate) mod publish;
