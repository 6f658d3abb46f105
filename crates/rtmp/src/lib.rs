//! RTMP sessions without IO: bytes and `now` in, bytes and events out.
//!
//! [`ServerSession`] receives a publisher or a player, [`ClientSession`] publishes
//! to another server or plays from it. Sockets, TLS and tasks are the caller's; so is the meaning of
//! a media message: its body is the body of an FLV tag and is handed over as it
//! came.
//!
//! Nothing a peer sends is trusted before or after it is known: every buffer
//! grows with the bytes that arrive, never with a length that is declared, and
//! every count has a bound in [`Limits`]. The handshake and the bodies of
//! outgoing control messages are `rml_rtmp`'s; its chunk reader and AMF0 reader
//! are not used, because hostile input makes them panic or overflow the stack.
//!
//! ```
//! # use std::time::Instant;
//! # use weir_rtmp as rtmp;
//! use rtmp::{Event, Output, ServerConfig, ServerSession};
//!
//! # fn serve(now: Instant, input: &[u8], socket: &mut Vec<u8>) -> Result<(), rtmp::Error> {
//! let mut session = ServerSession::new(ServerConfig::default(), now);
//! session.handle_input(now, input)?;
//! while let Some(output) = session.poll_output() {
//!     match output {
//!         Output::Write(bytes) => socket.extend_from_slice(&bytes),
//!         Output::Event(Event::Publish(request)) if request.key == "secret" => session.accept_publish(),
//!         Output::Event(Event::Publish(_)) => {
//!             session.reject_publish("NetStream.Publish.BadName", "unknown stream key")
//!         }
//!         Output::Event(_) => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod chunk;
mod client;
mod command;
mod error;
mod handshake;
mod limits;
mod link;
mod message;
mod request;
mod server;
mod shared;
mod url;

pub use client::{ClientConfig, ClientEvent, ClientOutput, ClientSession, Intent};
pub use error::Error;
pub use limits::Limits;
pub use message::{Media, MediaKind};
pub use request::{ConnectInfo, PlayRequest, PublishRequest};
pub use server::{Connects, Event, Output, ServerConfig, ServerSession};
pub use shared::{CHUNK_SIZE, Framed, MAX_START};
pub use url::Url;
