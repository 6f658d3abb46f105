//! A store in a folder.
//!
//! An object is a regular file whose path is its key. It is written beside, made
//! durable and renamed, so that there is never a part of one, also after a loss of
//! power. What a file system cannot keep with a file, [`Meta`], is a file of its own in
//! `.weir/facts`, there before the object is.
//!
//! Below the folder no symbolic link is followed, whoever made it: each folder of
//! a path is opened in the one before, as what it is. Folders come and go with what
//! is in them, so that a folder without objects is as little there as in a bucket.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::key::{self, FACTS, Key, TEMPORARY};
use super::{Entry, Facts, Fault, FaultKind, Got, Head, LARGEST, Meta, told};

/// The folder `root` and what is in it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct File {
    tree: Arc<Tree>,
}

impl File {
    /// Makes the folder if there is none, sees whether it can be written to, and
    /// throws away what an earlier run did not finish.
    pub(super) async fn open(root: PathBuf) -> Result<Self, Fault> {
        let tree = Arc::new(Tree { root });
        let file = Self { tree };
        file.run("opened", "", Tree::open).await?;
        Ok(file)
    }

    pub(super) async fn put(&self, key: &Key, body: Bytes, facts: &Facts) -> Result<(), Fault> {
        let (to, meta) = (key.clone(), facts.meta.clone());
        let put = move |tree: &Tree| tree.put(&to, &body, &meta);
        self.run("written", key.as_str(), put).await
    }

    pub(super) async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Option<Got>, Fault> {
        let from = key.clone();
        let get = move |tree: &Tree| tree.get(&from, range).or_else(absent);
        self.run("read", key.as_str(), get).await
    }

    pub(super) async fn head(&self, key: &Key) -> Result<Option<Head>, Fault> {
        let of = key.clone();
        let head = move |tree: &Tree| match tree.object(&of) {
            Ok((_, head)) => Ok(Some(head)),
            Err(error) => absent(error),
        };
        self.run("read", key.as_str(), head).await
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        most: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let (begin, after) = (prefix.to_owned(), after.cloned());
        let list = move |tree: &Tree| {
            let after = after.as_ref().map_or("", Key::as_str);
            tree.list(&begin, after, most)
        };
        self.run("listed", prefix, list).await
    }

    pub(super) async fn list_folders(
        &self,
        folder: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<String>, Fault> {
        let (of, after) = (folder.to_owned(), after.map(str::to_owned));
        let list = move |tree: &Tree| tree.list_folders(&of, after.as_deref(), most);
        self.run("listed", folder, list).await
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), Fault> {
        let gone = key.clone();
        let delete = move |tree: &Tree| {
            tree.remove(gone.as_str())?;
            tree.remove(&facts_of(&gone))
        };
        self.run("deleted", key.as_str(), delete).await
    }

    pub(super) async fn forget(&self, key: &Key) -> Result<(), Fault> {
        let facts = facts_of(key);
        let forget = move |tree: &Tree| tree.remove(&facts);
        self.run("forgotten", key.as_str(), forget).await
    }

    /// Has `job` done on a thread that may wait for a disk. `what` became of
    /// `path` stands in the fault.
    async fn run<T: Send + 'static>(
        &self,
        what: &str,
        path: &str,
        job: impl FnOnce(&Tree) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let tree = Arc::clone(&self.tree);
        let done = tokio::task::spawn_blocking(move || job(&tree)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| match path {
                "" => fault(&error, what, &self.tree.root),
                _ => fault(&error, what, &self.tree.root.join(path)),
            })
    }
}

/// No object is an answer.
fn absent<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.kind() {
        // A path through a file: in a bucket both could be.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
        _ => Err(error),
    }
}

fn fault(error: &io::Error, what: &str, path: &Path) -> Fault {
    let path = path.display();
    let kind = error.kind();
    if kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::QuotaExceeded {
        let why = format!("{path} cannot be {what}: {error}; expected room on its file system");
        return Fault::new(FaultKind::Full, why);
    }
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Fault::refused(format!(
                "{path} cannot be {what}: {error}; expected a folder that weir's user may write to"
            ))
        }
        io::ErrorKind::CrossesDevices => Fault::refused(format!(
            "{path} cannot be {what}: {error}; expected a store on one file system"
        )),
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::Unsupported => {
            Fault::refused(format!("{path} cannot be {what}: {error}"))
        }
        _ => Fault::passing(format!("{path} cannot be {what}: {error}")),
    }
}

/// The work itself, which waits for the disk.
#[derive(Debug)]
struct Tree {
    root: PathBuf,
}

/// What a file of facts holds.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The object's bytes: facts of another object are none.
    size: u64,
    meta: std::collections::BTreeMap<String, String>,
}

impl Tree {
    fn open(&self) -> io::Result<()> {
        fs::create_dir_all(&self.root).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
            _ => error,
        })?;
        let probe = self.written(b"weir was here\n")?;
        // The disk's own clock: it may be another machine's.
        let now = probe.file.metadata()?.modified()?;
        let folder = &probe.folder;
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let Ok(stat) = rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            else {
                continue;
            };
            let age = now.duration_since(modified(&stat)).unwrap_or_default();
            // Other servers may be writing to the same folder.
            if FileType::from_raw_mode(stat.st_mode).is_file() && age > LEFT_OVER {
                let _ = rustix::fs::unlinkat(folder, entry.file_name(), AtFlags::empty());
            }
        }
        Ok(())
    }

    fn put(&self, key: &Key, body: &[u8], meta: &Meta) -> io::Result<()> {
        // The larger first: with it the room runs out, and nothing has changed yet.
        let object = self.written(body)?;
        let facts = facts_of(key);
        if meta.is_empty() {
            self.remove(&facts)?;
        } else {
            let meta = meta.iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            let kept = Kept {
                size: body.len() as u64,
                meta: meta.collect(),
            };
            let kept = self.written(&serde_json::to_vec(&kept)?)?;
            self.finish(kept, &facts)?;
        }
        self.finish(object, key.as_str())
    }

    /// A file that has its bytes on the disk and not yet its name.
    fn written(&self, body: &[u8]) -> io::Result<Temporary> {
        let mut temporary = self.temporary()?;
        temporary.file.write_all(body)?;
        temporary.file.sync_all()?;
        Ok(temporary)
    }

    /// Gives it its name, and sees that this stays.
    fn finish(&self, mut temporary: Temporary, path: &str) -> io::Result<()> {
        for attempt in 1.. {
            match self.place(&temporary, path) {
                Ok(()) => break,
                // Somebody took the last object out of the folder, and the folder with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < 10 => {}
                Err(error) => return Err(error),
            }
        }
        temporary.named = false;
        Ok(())
    }

    fn place(&self, temporary: &Temporary, path: &str) -> io::Result<()> {
        let (parent, name) = split(path);
        let folder = self.make_folder(parent)?;
        rustix::fs::renameat(&temporary.folder, &temporary.name, &folder, name)?;
        Ok(rustix::fs::fsync(&folder)?)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> io::Result<Option<Got>> {
        let (file, head) = self.object(key)?;
        let range = range.unwrap_or(0..head.size);
        let (start, end) = (range.start.min(head.size), range.end.min(head.size));
        let length = end.saturating_sub(start);
        if length > LARGEST {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                too_large(length),
            ));
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, start)?;
        let bytes = bytes.into();
        Ok(Some(Got { head, bytes }))
    }

    /// The file of an object, and what is known of it.
    fn object(&self, key: &Key) -> io::Result<(fs::File, Head)> {
        let (file, stat) = self.file(key.as_str())?;
        let size = stat.st_size as u64;
        let head = Head {
            size,
            meta: self.facts(key, size)?,
            modified: Some(modified(&stat)),
            etag: None,
        };
        Ok((file, head))
    }

    fn facts(&self, key: &Key, size: u64) -> io::Result<Meta> {
        let file = match self.file(&facts_of(key)) {
            Ok((file, _)) => file,
            Err(error) => return absent(error).map(Option::unwrap_or_default),
        };
        let mut text = Vec::new();
        file.take(LARGEST_FACTS).read_to_end(&mut text)?;
        // What somebody else wrote there is no fact.
        let kept: Option<Kept> = serde_json::from_slice(&text).ok();
        let kept = kept.filter(|kept| kept.size == size);
        Ok(kept.map_or_else(Meta::default, |kept| Meta::of(&kept.meta)))
    }

    fn list(&self, prefix: &str, after: &str, most: usize) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        let (folder, begin) = split(prefix);
        let opened = match self.folder(folder) {
            Ok(opened) => opened,
            Err(error) => return absent(error).map(Option::unwrap_or_default),
        };
        let at = &prefix[..prefix.len() - begin.len()];
        walk(opened, at, begin, after, most, &mut found)?;
        Ok(found)
    }

    fn list_folders(
        &self,
        folder: &str,
        after: Option<&str>,
        most: usize,
    ) -> io::Result<Vec<String>> {
        let opened = match self.folder(folder) {
            Ok(opened) => opened,
            Err(error) => return absent(error).map(Option::unwrap_or_default),
        };
        let after = after.map(|after| format!("{after}/"));
        let mut names = entries(&opened)?;
        names.retain_mut(|name| {
            let later = after.as_ref().is_none_or(|after| *name > *after);
            // Files have no slash.
            name.pop() == Some('/') && later && told(folder, name)
        });
        names.truncate(most);
        Ok(names)
    }

    /// Removes a file that may be gone already, and the folders that are empty then.
    fn remove(&self, path: &str) -> io::Result<()> {
        let (parent, name) = split(path);
        let folder = match self.folder(parent) {
            Ok(folder) => folder,
            Err(error) => return absent(error).map(Option::unwrap_or_default),
        };
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) => rustix::fs::fsync(&folder)?,
            // There is a folder of this name, and no object.
            Err(Errno::NOENT | Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut empty = parent;
        while !empty.is_empty() {
            let (parent, name) = split(empty);
            let gone = self.folder(parent).is_ok_and(|folder| {
                rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR).is_ok()
            });
            if !gone {
                break;
            }
            empty = parent;
        }
        Ok(())
    }

    /// A new file that is in no listing.
    fn temporary(&self) -> io::Result<Temporary> {
        let folder = self.make_folder(TEMPORARY)?;
        let name = format!("{:016x}~", rand::random::<u64>());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let file = rustix::fs::openat(&folder, &name, flags, mode)?.into();
        Ok(Temporary {
            file,
            folder,
            name,
            named: true,
        })
    }

    /// A regular file, opened to be read.
    fn file(&self, path: &str) -> io::Result<(fs::File, rustix::fs::Stat)> {
        let (parent, name) = split(path);
        let folder = self.folder(parent)?;
        // Not waiting for the other end, should it be a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::LOOP) => return Err(link(name)),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file.into(), stat)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The folder at `path`, which is empty for the root.
    fn folder(&self, path: &str) -> io::Result<OwnedFd> {
        let mut folder = self.top()?;
        for name in elements(path) {
            folder = enter(&folder, name)?;
        }
        Ok(folder)
    }

    /// The same, made where it is missing.
    fn make_folder(&self, path: &str) -> io::Result<OwnedFd> {
        let mut folder = self.top()?;
        for name in elements(path) {
            folder = match enter(&folder, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) => rustix::fs::fsync(&folder)?,
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    enter(&folder, name)?
                }
                entered => entered?,
            };
        }
        Ok(folder)
    }

    fn top(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.root, flags, Mode::empty()).map_err(|error| match error {
            // Nothing is missing in the store: the store is missing.
            Errno::NOENT => io::Error::other("the folder of the store is gone"),
            error => error.into(),
        })
    }
}

/// A file that is not where it belongs yet. Removed when it does not get there.
struct Temporary {
    file: fs::File,
    folder: OwnedFd,
    name: String,
    /// Whether it still has its own name.
    named: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.named {
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// Adds the objects below `folder`, which is at `at`, with names that begin with
/// `begin`.
fn walk(
    folder: OwnedFd,
    at: &str,
    begin: &str,
    after: &str,
    most: usize,
    found: &mut Vec<Entry>,
) -> io::Result<()> {
    for name in entries(&folder)? {
        if found.len() >= most {
            return Ok(());
        }
        if !name.starts_with(begin) {
            continue;
        }
        let path = format!("{at}{name}");
        if let Some(below) = name.strip_suffix('/') {
            let over = after > path.as_str() && !after.starts_with(&path);
            if over || path.len() > key::LONGEST || key::reserved(&path[..path.len() - 1]) {
                continue;
            }
            match enter(&folder, below) {
                Ok(inside) => walk(inside, &path, "", after, most, found)?,
                // It went with its last object, or is none any more.
                Err(error) => absent(error).map(|_: Option<()>| ())?,
            }
        } else if path.as_str() > after
            && let Ok(key) = Key::new(path)
        {
            let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW);
            let stat = match stat {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            found.push(Entry {
                key,
                size: stat.st_size as u64,
                modified: Some(modified(&stat)),
            });
        }
    }
    Ok(())
}

/// The names of files and, with a slash behind them, folders: in the order of the
/// keys that they are part of.
fn entries(folder: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match Dir::read_from(folder) {
        Ok(entries) => entries,
        // It went with its last object after it was opened.
        Err(Errno::NOENT) => return Ok(names),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if !key::element(name) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                stat.map_or(FileType::Unknown, |stat| {
                    FileType::from_raw_mode(stat.st_mode)
                })
            }
            kind => kind,
        };
        match kind {
            FileType::RegularFile => names.push(name.to_owned()),
            FileType::Directory => names.push(format!("{name}/")),
            _ => {}
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The folder `name` in `folder`, unless it is a link.
fn enter(folder: &impl AsFd, name: &str) -> io::Result<OwnedFd> {
    // What is no key's is nowhere: a prefix may be anything.
    if !key::element(name) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Err(error @ Errno::NOTDIR) => {
            let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => Err(link(name)),
                _ => Err(error.into()),
            }
        }
        opened => Ok(opened?),
    }
}

fn link(name: &str) -> io::Error {
    let what = format!("{name} is a symbolic link, and none is followed inside the store");
    io::Error::new(io::ErrorKind::Unsupported, what)
}

/// What is in front of the last slash, and what is behind.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn elements(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(move |_| !path.is_empty())
}

fn facts_of(key: &Key) -> String {
    format!("{FACTS}/{key}.json")
}

fn modified(stat: &rustix::fs::Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
}

pub(super) fn too_large(bytes: u64) -> String {
    format!("{bytes} bytes at once; expected ranges of at most {LARGEST}")
}

/// Nobody writes to a file for so long.
const LEFT_OVER: Duration = Duration::from_secs(24 * 3600);

/// More than [`Meta`] can be, as JSON.
const LARGEST_FACTS: u64 = 16 << 10;

#[cfg(test)]
mod tests;
