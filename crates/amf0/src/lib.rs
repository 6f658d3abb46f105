//! AMF0, the value encoding of RTMP commands and FLV metadata, read within
//! bounds and written.
//!
//! The bytes come from whoever can open a socket, before anyone has asked who
//! they are, so every [`Reader`] takes [`Limits`]: nesting, the number of values
//! and the bytes of all strings together. A count in the input is never believed
//! for an allocation. What a value *means* (a command, `onMetaData`) is the
//! caller's business.
//!
//! AMF3 is not read: the marker that switches to it is [`Error::Unsupported`],
//! and a [`Reader`] still hands out the values before it.

mod read;
mod value;
mod write;

pub use read::{Limits, Reader, read_all};
pub use value::Value;
pub use write::write;

/// Why bytes are not AMF0, or not AMF0 that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes break the format.
    #[error("AMF0 at byte {offset}: {what}")]
    Malformed {
        /// Bytes from the start of the input.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A type that exists and is not read here.
    #[error("AMF0 at byte {offset}: {what} (marker {marker:#04x}) is not supported")]
    Unsupported {
        /// Bytes from the start of the input.
        offset: usize,
        /// The type marker.
        marker: u8,
        /// Its name.
        what: &'static str,
    },
    /// The input asks for more than [`Limits`] grant.
    #[error("AMF0 has more than {max} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is granted.
        max: usize,
    },
}

/// The type markers, AMF0 specification section 2.1.
mod marker {
    pub(crate) const NUMBER: u8 = 0x00;
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const STRING: u8 = 0x02;
    pub(crate) const OBJECT: u8 = 0x03;
    pub(crate) const MOVIE_CLIP: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const UNDEFINED: u8 = 0x06;
    pub(crate) const REFERENCE: u8 = 0x07;
    pub(crate) const ECMA_ARRAY: u8 = 0x08;
    pub(crate) const OBJECT_END: u8 = 0x09;
    pub(crate) const STRICT_ARRAY: u8 = 0x0a;
    pub(crate) const DATE: u8 = 0x0b;
    pub(crate) const LONG_STRING: u8 = 0x0c;
    pub(crate) const UNSUPPORTED: u8 = 0x0d;
    pub(crate) const RECORD_SET: u8 = 0x0e;
    pub(crate) const XML: u8 = 0x0f;
    pub(crate) const TYPED_OBJECT: u8 = 0x10;
    pub(crate) const AVM_PLUS: u8 = 0x11;
}
