//! Recordings: what was live, kept to be watched later.

pub(crate) mod store;
