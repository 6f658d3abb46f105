//! Messages cut into chunks (RTMP 1.0 section 5.3).
//!
//! ```text
//! basic header    | fmt 2 bits, chunk stream id 6 bits (2..=63)
//!                 | 0 and one byte more: id 64..=319; 1 and two bytes: ..=65599
//! message header  | fmt 0: timestamp 3, length 3, type 1, message stream 4 (LE)
//!                 | fmt 1: delta 3, length 3, type 1
//!                 | fmt 2: delta 3
//!                 | fmt 3: nothing
//! extended        | 4 bytes when the 3 are ff ff ff
//! ```

mod reader;
mod writer;

pub(crate) use reader::ChunkReader;
pub(crate) use writer::{ChunkWriter, MAX_LENGTH};

/// In the three bytes of a timestamp: the real one follows in four.
pub(crate) const EXTENDED: u32 = 0xff_ffff;

/// The chunk size of both directions until a peer announces another.
const INITIAL_CHUNK_SIZE: u32 = 128;
