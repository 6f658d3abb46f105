//! Stream keys: the secrets that publishers hold, and the names they stand for.
//!
//! The file `keys.json` of the data directory keeps a SHA-256 of each key and
//! its first characters, never the key: whoever reads the file cannot publish.
//! (A plain hash is enough because keys are random, 190 bits long; there is
//! nothing to guess.) Commands change the file while a server runs, so writers
//! take turns by a lock file, a new file replaces the old one whole, and readers
//! look whether it has been replaced.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::name::StreamName;

/// The keys of a data directory.
#[derive(Debug)]
pub struct Keys {
    directory: PathBuf,
    path: PathBuf,
    lock_path: PathBuf,
    cached: Mutex<Cached>,
}

/// A fresh key. It can be shown once, with [`reveal`](Self::reveal); `Debug`
/// hides it and there is no `Display`.
pub struct Key(String);

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// The stream it publishes.
    pub name: StreamName,
    /// SHA-256 of the key, as 64 hexadecimal digits.
    sha256: Sha256Hex,
    /// The first [`Key::PREFIX_CHARS`] characters, to tell keys apart.
    pub prefix: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Refused. There is no way back: a stream that may publish again gets a
    /// new key.
    #[serde(default)]
    pub disabled: bool,
}

/// Why keys cannot be read or changed. No message holds a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file system refuses.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not what weir wrote. It is left as it is.
    #[error("{} is damaged: {what}; mend it or move it away", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// There is no key like that.
    #[error("stream {name} has no key{}", with_prefix(.prefix))]
    Unknown {
        /// The stream.
        name: StreamName,
        /// The beginning that was asked for.
        prefix: Option<String>,
    },
    /// The file holds as many keys as it may.
    #[error("there are {max} keys already; remove some")]
    Limit {
        /// The bound.
        max: usize,
    },
}

fn with_prefix(prefix: &Option<String>) -> String {
    match prefix {
        Some(prefix) => format!(" that begins with {prefix:?}"),
        None => String::new(),
    }
}

impl Keys {
    /// Opens the keys of data directory `dir`. A missing file or directory holds
    /// no keys and is made by the first; a damaged file is an error.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join("keys.json");
        let (stamp, records) = match load(&path)? {
            Some((stamp, records)) => (Some(stamp), records),
            None => (None, Vec::new()),
        };
        Ok(Self {
            directory: dir.to_owned(),
            path,
            lock_path: dir.join("keys.lock"),
            cached: Mutex::new(Cached { stamp, records }),
        })
    }

    /// The stream that `key` publishes. `None`: unknown or disabled.
    ///
    /// Looks at the file's metadata each time, so that a command takes effect at
    /// once; a file found damaged is reported in the log and the last good one
    /// stays in force. Takes as long for a wrong key as for a right one.
    pub fn lookup(&self, key: &str) -> Option<StreamName> {
        if key.len() > Key::MAX_LEN {
            return None;
        }
        let digest = Sha256Hex::of(key);
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.refresh(&self.path);
        let mut found = None;
        for record in &cached.records {
            if digest.same(&record.sha256) && !record.disabled {
                found = Some(&record.name);
            }
        }
        found.cloned()
    }

    /// All keys, by name and age.
    pub fn list(&self) -> Result<Vec<KeyRecord>, KeyError> {
        let mut records = self.read()?.unwrap_or_default();
        records.sort_by(|a, b| (&a.name, a.created).cmp(&(&b.name, b.created)));
        Ok(records)
    }

    /// Makes one more key for `name`; those it has stay good.
    pub fn add(&self, name: &StreamName) -> Result<Key, KeyError> {
        self.change(|records| add(records, name))
    }

    /// Makes a new key for `name` and removes those it had, of which there must
    /// be one.
    pub fn rotate(&self, name: &StreamName) -> Result<Key, KeyError> {
        self.change(|records| {
            take(records, name, None)?;
            add(records, name)
        })
    }

    /// Disables the keys of `name`, or the one that begins with `prefix`. Returns
    /// how many there are.
    pub fn disable(&self, name: &StreamName, prefix: Option<&str>) -> Result<usize, KeyError> {
        self.change(|records| {
            let mut taken = take(records, name, prefix)?;
            taken.iter_mut().for_each(|record| record.disabled = true);
            let count = taken.len();
            records.append(&mut taken);
            Ok(count)
        })
    }

    /// Removes the keys of `name`, or the one that begins with `prefix`. Returns
    /// how many there were.
    pub fn remove(&self, name: &StreamName, prefix: Option<&str>) -> Result<usize, KeyError> {
        self.change(|records| Ok(take(records, name, prefix)?.len()))
    }

    /// On the first start, when no key has ever been made: a key for the stream
    /// `live`. A file emptied by `weir keys remove` is not a first start.
    pub fn ensure_first_key(&self) -> Result<Option<(StreamName, Key)>, KeyError> {
        let _turn = self.turn()?;
        if self.read()?.is_some() {
            return Ok(None);
        }
        let name = StreamName::new("live").expect("\"live\" is a good name");
        let mut records = Vec::new();
        let key = add(&mut records, &name)?;
        self.write(&records)?;
        Ok(Some((name, key)))
    }

    fn read(&self) -> Result<Option<Vec<KeyRecord>>, KeyError> {
        Ok(load(&self.path)?.map(|(_, records)| records))
    }

    /// Applies `edit` to the newest file while no other process does.
    fn change<T>(
        &self,
        edit: impl FnOnce(&mut Vec<KeyRecord>) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let _turn = self.turn()?;
        let mut records = self.read()?.unwrap_or_default();
        let outcome = edit(&mut records)?;
        self.write(&records)?;
        Ok(outcome)
    }

    /// The right to write, held until dropped. The lock file is separate because
    /// `keys.json` is replaced, and a lock goes with the file that is gone.
    fn turn(&self) -> Result<File, KeyError> {
        let (path, directory) = (&self.lock_path, &self.directory);
        fs::create_dir_all(directory)
            .map_err(|source| self.io("cannot create", directory, source))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let open = || {
            let file = options.open(path)?;
            self.keep_owner(&file);
            file.lock()?;
            Ok(file)
        };
        open().map_err(|source| self.io("cannot lock", path, source))
    }

    /// Replaces the file whole: a reader, or a power cut, meets the old one or
    /// the new one. The caller holds the turn.
    fn write(&self, records: &[KeyRecord]) -> Result<(), KeyError> {
        let temporary = self.path.with_extension("json.new");
        let write = || {
            let mut text = serde_json::to_vec_pretty(&Document {
                version: VERSION,
                keys: records.to_vec(),
            })?;
            text.push(b'\n');
            // A writer that was killed may have left one; nobody else holds the turn.
            if let Err(error) = fs::remove_file(&temporary)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(&text)?;
            self.keep_owner(&file);
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source| self.io("cannot write", &self.path, source))
    }

    /// Gives a new file to the owner of the old one, or of the directory: root's
    /// `weir keys add` must not take the file away from the server's user. Only
    /// root can and needs to, so a refusal is none.
    fn keep_owner(&self, file: &File) {
        let old = fs::metadata(&self.path).or_else(|_| fs::metadata(&self.directory));
        if let (Ok(old), Ok(new)) = (old, file.metadata())
            && (old.uid(), old.gid()) != (new.uid(), new.gid())
        {
            let _ = fchown(file, Some(old.uid()), Some(old.gid()));
        }
    }

    fn io(&self, what: &'static str, path: &Path, source: io::Error) -> KeyError {
        KeyError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

impl Key {
    /// What a key begins with, so that people and secret scanners know it.
    pub const MARK: &str = "wk_";

    /// Characters of a key that are kept in clear: its mark and 30 bits.
    pub const PREFIX_CHARS: usize = 8;

    /// Random characters. 32 of 62 letters and digits are 190 bits; with the
    /// prefix known 160 remain.
    const RANDOM_CHARS: usize = 32;

    /// Longer texts are no keys and are not worth hashing.
    const MAX_LEN: usize = 128;

    fn random() -> Self {
        let letters = rand::rng().sample_iter(Alphanumeric);
        let letters = letters.take(Self::RANDOM_CHARS).map(char::from);
        Self(Self::MARK.chars().chain(letters).collect())
    }

    /// The key itself, for the one who asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

fn add(records: &mut Vec<KeyRecord>, name: &StreamName) -> Result<Key, KeyError> {
    if records.len() >= MAX_KEYS {
        return Err(KeyError::Limit { max: MAX_KEYS });
    }
    let key = Key::random();
    #[expect(clippy::disallowed_methods, reason = "a key's age is wall time")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    records.push(KeyRecord {
        name: name.clone(),
        sha256: Sha256Hex::of(&key.0),
        prefix: key.0[..Key::PREFIX_CHARS].to_owned(),
        created: now.map_or(0, |since| since.as_secs()),
        disabled: false,
    });
    Ok(key)
}

/// Takes out the keys of `name` that begin with `prefix`; at least one.
fn take(
    records: &mut Vec<KeyRecord>,
    name: &StreamName,
    prefix: Option<&str>,
) -> Result<Vec<KeyRecord>, KeyError> {
    let meant = |record: &mut KeyRecord| {
        record.name == *name && prefix.is_none_or(|prefix| record.prefix == prefix)
    };
    let taken: Vec<KeyRecord> = records.extract_if(.., meant).collect();
    if taken.is_empty() {
        return Err(KeyError::Unknown {
            name: name.clone(),
            prefix: prefix.map(str::to_owned),
        });
    }
    Ok(taken)
}

/// The last good reading.
#[derive(Debug)]
struct Cached {
    stamp: Option<Stamp>,
    records: Vec<KeyRecord>,
}

/// Tells one state of the file from the next: a replaced file has an inode of
/// its own even within one tick of the file system's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Cached {
    fn refresh(&mut self, path: &Path) {
        let now = fs::metadata(path).ok().map(|file| Stamp::of(&file));
        if now == self.stamp {
            return;
        }
        match load(path) {
            Ok(Some((stamp, records))) => {
                self.stamp = Some(stamp);
                self.records = records;
            }
            Ok(None) => {
                self.stamp = None;
                self.records.clear();
            }
            Err(error) => {
                // Told once for each state of the file.
                self.stamp = now;
                warn!(%error, "stream keys unreadable, the last good ones stay in force");
            }
        }
    }
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    keys: Vec<KeyRecord>,
}

const VERSION: u32 = 1;

/// Keys in the largest file. Each lookup compares all of them: 10,000 take a
/// fraction of a millisecond.
const MAX_KEYS: usize = 10_000;

/// Bytes in the largest file: four times what [`MAX_KEYS`] need.
const MAX_FILE: u64 = 16 << 20;

/// The file's state and keys; `None` when there is none.
fn load(path: &Path) -> Result<Option<(Stamp, Vec<KeyRecord>)>, KeyError> {
    let io = |source| KeyError::Io {
        what: "cannot read",
        path: path.to_owned(),
        source,
    };
    let malformed = |what: String| KeyError::Malformed {
        path: path.to_owned(),
        what,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let stamp = Stamp::of(&file.metadata().map_err(io)?);
    let mut text = Vec::new();
    let read = file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(io)?;
    if read as u64 > MAX_FILE {
        return Err(malformed(format!("larger than {} MiB", MAX_FILE >> 20)));
    }
    let document: Document = serde_json::from_slice(&text).map_err(|error| {
        let what = error.to_string();
        // The parser quotes what it did not expect.
        if what.contains(Key::MARK) {
            let (line, column) = (error.line(), error.column());
            return malformed(format!("a key in clear at line {line} column {column}"));
        }
        malformed(what)
    })?;
    if document.version != VERSION {
        let version = document.version;
        return Err(malformed(format!("version {version} is not {VERSION}")));
    }
    Ok(Some((stamp, document.keys)))
}

/// SHA-256 as hexadecimal digits: what the registry shares between servers too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Sha256Hex([u8; 64]);

impl Sha256Hex {
    fn of(key: &str) -> Self {
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(Sha256::digest(key)) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(hex)
    }

    /// Equality that takes the same time wherever the difference is.
    fn same(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        black_box(pairs.fold(0, |difference, (a, b)| black_box(difference | (a ^ b)))) == 0
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl TryFrom<String> for Sha256Hex {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits: Result<[u8; 64], _> = text.as_bytes().try_into();
        let lower = |digits: &[u8; 64]| digits.iter().all(|digit| HEX.contains(digit));
        let digits = digits.ok().filter(lower);
        digits.map(Self).ok_or("a digest is not 64 digits 0-9 a-f")
    }
}

impl From<Sha256Hex> for String {
    fn from(digest: Sha256Hex) -> Self {
        digest.0.into_iter().map(char::from).collect()
    }
}

#[cfg(test)]
mod tests;
