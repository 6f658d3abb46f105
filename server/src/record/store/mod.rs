//! Where recordings are kept: objects under [`Key`]s, in a folder.

mod facts;
mod fault;
mod file;
mod key;
mod settings;

use std::time::SystemTime;

use bytes::Bytes;

pub(crate) use facts::{Facts, InvalidMeta, Meta};
pub(crate) use fault::{Fault, FaultKind};
pub(crate) use file::File;
pub(crate) use key::{InvalidKey, Key};
pub(crate) use settings::{Endpoint, InvalidSetting, Region, Settings, Url};

/// What is known of an object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the whole object.
    pub(crate) size: u64,
    /// What was put with it.
    pub(crate) meta: Meta,
    pub(crate) modified: Option<SystemTime>,
    /// The entity tag of a bucket, as it goes into a header.
    pub(crate) etag: Option<String>,
}

/// An object, or the part that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) head: Head,
    pub(crate) bytes: Bytes,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) modified: Option<SystemTime>,
}

/// What `name` in a folder is told as, unless it is left out.
fn told(folder: &str, name: &str) -> bool {
    let own = folder.is_empty() && name == key::OWN;
    key::element(name) && !own && !key::reserved(&format!("{folder}/{name}"))
}

/// Bytes that are fetched at once: many times the longest segment. More has to be
/// asked for in ranges.
const LARGEST: u64 = 256 << 20;
