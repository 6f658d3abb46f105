//! The spool: a folder of this server's disk where segments wait for the store.
//!
//! `spool/{name}/{id}/` has a recording's journal and its segments, `{number}.ts`,
//! each there as a whole or not at all. What is done here waits for the disk, so it
//! is done on threads that may.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tracing::warn;

use super::account::Account;
use super::journal::{self, Begin};
use crate::name::StreamName;

/// The spool of a data directory.
pub(super) fn place(data: &Path) -> PathBuf {
    data.join("spool")
}

/// The folder of recording `id` of `name`.
pub(super) fn folder(spool: &Path, name: &StreamName, id: u64) -> PathBuf {
    spool.join(name.as_str()).join(id.to_string())
}

pub(super) fn file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.ts"))
}

/// Makes the folder of a recording and makes sure that it stays.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    // Its name stands in the stream's folder, whose own stands in the spool.
    for above in folder.ancestors().skip(1).take(2) {
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// Whether the disk has no room for more, or none for weir's user.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Writes a segment and makes sure that it stays.
pub(super) fn write(folder: &Path, number: u64, bytes: &[u8]) -> io::Result<()> {
    let path = file(folder, number);
    let beside = path.with_extension("new");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let written = written
        .and_then(|()| fs::rename(&beside, &path))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        // A part of it would take the room that is lacking.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Reads the bytes of a segment that lie in `range`, fewer where it ends before.
pub(super) fn read(path: &Path, range: Range<u64>) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let end = range.end.min(file.metadata()?.len());
    let start = file.seek(SeekFrom::Start(range.start.min(end)))?;
    let mut bytes = Vec::with_capacity((end - start) as usize);
    file.take(end - start).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Reads a segment of `size` bytes.
pub(super) fn read_whole(path: &Path, size: usize) -> io::Result<Bytes> {
    let bytes = fs::read(path)?;
    if bytes.len() != size {
        let why = format!("it has {} bytes of {size}", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(bytes.into())
}

/// Whether no later try will read the segment either: it is not there, is not what was
/// written, or the disk has lost it. Too many open files, too little memory and a lack of
/// permission pass, and what is there is not given up for them.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::IsADirectory,
        io::ErrorKind::InvalidData,
    ];
    kinds.contains(&error.kind())
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Removes a segment, which may be gone already.
pub(super) fn remove(folder: &Path, number: u64) -> io::Result<()> {
    match fs::remove_file(file(folder, number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes all that is left of a recording.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The stream's own folder, unless it has another recording.
    if let Some(stream) = folder.parent() {
        let _ = fs::remove_dir(stream);
    }
    Ok(())
}

/// A recording that an earlier run has left.
pub(super) struct Found {
    pub(super) folder: PathBuf,
    pub(super) begin: Begin,
    pub(super) account: Account,
    /// Bytes of its segments on the disk, once it is tidied.
    pub(super) bytes: u64,
}

/// What is in the spool, tidied up. Folders that are no recordings are told and left
/// alone.
pub(super) fn find(spool: &Path) -> io::Result<Vec<Found>> {
    let mut all = look(spool)?;
    for found in &mut all {
        let tidied = tidy(&found.folder, &found.account);
        found.bytes = tidied.unwrap_or_else(|error| {
            warn!(folder = %found.folder.display(), %error, "this folder of the spool cannot be tidied");
            0
        });
    }
    Ok(all)
}

/// What is in the spool, as it is.
pub(super) fn look(spool: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for stream in folders(spool)? {
        let of_stream = match folders(&stream) {
            Ok(folders) => folders,
            Err(error) => {
                warn!(folder = %stream.display(), %error, "this folder of the spool cannot be read and is left alone");
                continue;
            }
        };
        for folder in of_stream {
            let read = journal::read(&folder);
            let (begin, account) = match read {
                Ok(Some(read)) => read,
                Ok(None) => {
                    warn!(folder = %folder.display(), "no recording can be made of this folder of the spool: its journal has no beginning");
                    continue;
                }
                Err(error) => {
                    warn!(folder = %folder.display(), %error, "no recording can be made of this folder of the spool: its journal cannot be read");
                    continue;
                }
            };
            if self::folder(spool, &begin.name, begin.id) != folder {
                warn!(folder = %folder.display(), stream = %begin.name, id = begin.id, "this folder of the spool has another recording's journal and is left alone");
                continue;
            }
            found.push(Found {
                folder,
                begin,
                account,
                bytes: 0,
            });
        }
    }
    Ok(found)
}

/// Removes what waits for nothing any more; gives back how many bytes stay.
fn tidy(folder: &Path, account: &Account) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_suffix(".ts").and_then(|n| n.parse().ok());
        let (left_over, waits) = match number {
            Some(number) => (account.settled(number), account.knows(number)),
            None => (name.ends_with(".new"), false),
        };
        if left_over {
            fs::remove_file(entry.path())?;
        } else if waits {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(folders),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_is_used_up_is_a_full_disk() {
        let errno = |error: rustix::io::Errno| io::Error::from(error);
        assert!(is_full(&errno(rustix::io::Errno::NOSPC)));
        assert!(is_full(&errno(rustix::io::Errno::DQUOT)));
        assert!(!is_full(&errno(rustix::io::Errno::ROFS)));
    }

    #[test]
    fn what_a_later_try_may_read_is_not_gone() {
        use rustix::io::Errno;
        let gone = |errno: Errno| is_gone(&errno.into());
        assert!(
            [Errno::NOENT, Errno::ISDIR, Errno::IO]
                .into_iter()
                .all(gone)
        );
        let passing = [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::ACCESS,
            Errno::TIMEDOUT,
        ];
        assert!(!passing.into_iter().any(gone));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.ts");
        fs::write(&path, b"a segment").unwrap();
        assert_eq!(read_whole(&path, 9).unwrap(), "a segment");
        assert!(is_gone(&read_whole(&path, 10).unwrap_err()));
    }

    #[test]
    fn a_folder_is_made_once_with_all_above_it() {
        let spool = tempfile::tempdir().unwrap();
        let folder = folder(spool.path(), &"demo".parse().unwrap(), 7);
        for _ in 0..2 {
            make(&folder).unwrap();
            write(&folder, 8, b"a segment").unwrap();
        }
        assert_eq!(fs::read(file(&folder, 8)).unwrap(), b"a segment");
    }
}
