//! Players that read a publisher's own stream: over RTMP and as HTTP-FLV.
//!
//! A player is a cursor in the publisher's ring. It begins at the newest key
//! picture, gets bytes that all players share where these are many, and where it
//! cannot keep up it is moved to the newest key picture again.

mod feed;
pub(crate) mod http;
pub(crate) mod rtmp;

pub(crate) use self::feed::{Feed, Form, Left, Part};
