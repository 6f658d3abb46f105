//! Synthetic pictures and sound for weir's tests and benches.
//!
//! Everything is computed from its index alone, so two tests that ask for
//! picture 17 get the same bytes. Nothing here decodes, encodes or waits.
//! [`tsprobe`] judges transport streams.

mod picture;
mod sound;
pub mod tsprobe;

pub use picture::{flash, is_flash, moving_pattern, noise};
pub use sound::{beep, beep_onset, sine};
