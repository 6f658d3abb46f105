//! The application at the other end of an HTTP POST.

mod address;

pub use address::{Address, InvalidAddress};
