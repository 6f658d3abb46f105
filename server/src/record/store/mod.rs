//! Where recordings are kept: a folder, or a bucket of S3 or of anything that
//! speaks its language.
//!
//! A [`Store`] holds whole objects under [`Key`]s. It does what it is asked for
//! once: who asks again, when and how often, is up to whoever asks, and the
//! [`FaultKind`] says whether there is a point in it. Every request to a bucket
//! ends, also when the network or the other side does not go on.
//!
//! At most one writer of a key at a time: of two, either's object may stay.

mod facts;
mod fault;
mod file;
mod key;
mod s3;
mod settings;

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;

pub(crate) use facts::{Facts, InvalidMeta, Meta};
pub(crate) use fault::{Fault, FaultKind};
pub(crate) use key::{InvalidKey, Key};
pub(crate) use settings::{Endpoint, InvalidSetting, Region, Settings, Url};

use file::File;
use s3::S3;

/// A place for objects. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    File(File),
    S3(S3),
}

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

impl Store {
    /// A store at the place that is configured. Makes the folder and sees whether
    /// it can be written to; a bucket is not asked for anything yet.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Fault> {
        match &settings.url {
            Url::File(path) => Ok(Self::File(File::open(path.clone()).await?)),
            Url::S3 { bucket, prefix } => {
                let place = (bucket.as_str(), prefix.as_str());
                Ok(Self::S3(S3::open(place, settings).await?))
            }
        }
    }

    /// Writes a whole object in place of the one that there may be. When this
    /// returns without a fault, the store has these bytes and will keep them:
    /// a folder on its disk, a bucket by its own account.
    pub(crate) async fn put(&self, key: &Key, body: Bytes, facts: &Facts) -> Result<(), Fault> {
        match self {
            Self::File(file) => file.put(key, body, facts).await,
            Self::S3(s3) => s3.put(key, body, facts).await,
        }
    }

    /// An object, or the bytes of it that lie in `range`: fewer than it has, and
    /// none, where the object ends before. `None`: there is no such object.
    pub(crate) async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Option<Got>, Fault> {
        // Nothing cannot be asked of a bucket.
        if range.as_ref().is_some_and(Range::is_empty) {
            let head = self.head(key).await?;
            let bytes = Bytes::new();
            return Ok(head.map(|head| Got { head, bytes }));
        }
        match self {
            Self::File(file) => file.get(key, range).await,
            Self::S3(s3) => s3.get(key, range).await,
        }
    }

    /// `None`: there is no such object.
    pub(crate) async fn head(&self, key: &Key) -> Result<Option<Head>, Fault> {
        match self {
            Self::File(file) => file.head(key).await,
            Self::S3(s3) => s3.head(key).await,
        }
    }

    /// The first `most` objects whose keys begin with `prefix` and come after
    /// `after`, in the order of their keys. Fewer than `most`: there are no more.
    /// What is stored under names that are no keys is left out.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        most: usize,
    ) -> Result<Vec<Entry>, Fault> {
        match self {
            Self::File(file) => file.list(prefix, after, most).await,
            Self::S3(s3) => s3.list(prefix, after, most).await,
        }
    }

    /// The first `most` names of folders that lie directly in `folder` and come
    /// after `after`, in the order of what is in them. `folder` is empty for the
    /// top; `.weir` is left out there, for it is no stream's.
    pub(crate) async fn list_folders(
        &self,
        folder: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<String>, Fault> {
        match self {
            Self::File(file) => file.list_folders(folder, after, most).await,
            Self::S3(s3) => s3.list_folders(folder, after, most).await,
        }
    }

    /// Takes an object away, with what was put beside it. It may be gone already.
    pub(crate) async fn delete(&self, key: &Key) -> Result<(), Fault> {
        match self {
            Self::File(file) => file.delete(key).await,
            Self::S3(s3) => s3.delete(key).await,
        }
    }

    /// Gives up an object's [`Meta`] where that takes room of its own: a folder
    /// has one more file for it. The object stays.
    pub(crate) async fn forget(&self, key: &Key) -> Result<(), Fault> {
        match self {
            Self::File(file) => file.forget(key).await,
            Self::S3(_) => Ok(()),
        }
    }
}

/// What `name` in a folder is told as, unless it is left out.
fn told(folder: &str, name: &str) -> bool {
    let own = folder.is_empty() && name == key::OWN;
    key::element(name) && !own && !key::reserved(&format!("{folder}/{name}"))
}

/// Bytes that are fetched at once: many times the longest segment. More has to be
/// asked for in ranges.
const LARGEST: u64 = 256 << 20;

#[cfg(test)]
mod tests;
