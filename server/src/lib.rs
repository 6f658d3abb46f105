//! The weir server.
