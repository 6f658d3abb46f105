//! What a server knows beyond a restart: streams, their keys and relay targets,
//! and the API's tokens. One SQLite file, `weir.db`, in the data directory.
//!
//! Commands change it while a server runs: SQLite keeps writers apart, and the
//! server sees that somebody wrote ([`Database::changes`]). Nothing here is for
//! an async worker: a writer may wait for another one's.

mod import;
mod keys;
mod schema;
mod seeds;
mod streams;
mod targets;
mod tokens;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::clock;
use crate::name::StreamName;

pub use keys::{KeyId, KeyRecord};
pub use streams::{Stream, StreamChange};
pub use targets::TargetRecord;
pub use tokens::TokenRecord;

/// The database of a data directory.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// A connection that never writes, so that it sees every writer, this server's
    /// own among them.
    watch: Mutex<Connection>,
}

/// Why the database cannot be read or changed. No message holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// SQLite refuses.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Another program's database.
    #[error("{} is not weir's; move it away or choose another data directory", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// Of a weir that came after this one.
    #[error("{} was written by a newer weir (version {version}; this one knows {latest})", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The newest that is known here.
        latest: i64,
    },
    /// An earlier weir's file of keys is not what weir wrote. It is left as it is.
    #[error("{} is damaged: {what}; mend it or move it away", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// There is no such stream.
    #[error("there is no stream {0}")]
    NoStream(StreamName),
    /// There is one already.
    #[error("there is a stream {0} already")]
    StreamExists(StreamName),
    /// There is no key like that.
    #[error("stream {stream} has no key{}", with_prefix(.prefix))]
    NoKey {
        /// The stream.
        stream: StreamName,
        /// The beginning that was asked for.
        prefix: Option<String>,
    },
    /// There is no target like that.
    #[error("stream {stream} has no target {target:?}")]
    NoTarget {
        /// The stream.
        stream: StreamName,
        /// The target's name.
        target: String,
    },
    /// There is no token like that.
    #[error("there is no token {0:?}")]
    NoToken(String),
    /// There is one already.
    #[error("there is a token {0:?} already")]
    TokenExists(String),
    /// There are as many as there may be.
    #[error("there are {max} {what} already; remove some")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A key that the settings bring belongs to another stream already.
    #[error(
        "auth.keys: the key for {wanted} is the key of {holder} already; each needs one of its own"
    )]
    Seed {
        /// The stream it was brought for.
        wanted: StreamName,
        /// Whose it is.
        holder: StreamName,
    },
}

fn with_prefix(prefix: &Option<String>) -> String {
    match prefix {
        Some(prefix) => format!(" that begins with {prefix:?}"),
        None => String::new(),
    }
}

type Result<T> = std::result::Result<T, Error>;

impl Database {
    /// The file's name in the data directory.
    pub const FILE: &str = "weir.db";

    /// Opens the database of data directory `dir`; makes what is missing.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(Self::FILE);
        fs::create_dir_all(dir).map_err(|source| io_error("cannot create", dir, source))?;
        own(&path).map_err(|source| io_error("cannot open", &path, source))?;
        let sqlite = |source| Error::Sqlite {
            path: path.clone(),
            source,
        };
        let mut connection = connect(&path).map_err(sqlite)?;
        schema::migrate(&mut connection)
            .map_err(sqlite)?
            .map_err(|refused| refused.at(&path))?;
        let watch = connect(&path).map_err(sqlite)?;
        let database = Self {
            connection: Mutex::new(connection),
            watch: Mutex::new(watch),
            path: path.clone(),
        };
        database.import(&dir.join("keys.json"))?;
        Ok(database)
    }

    /// Opens the database of `dir` if there is one: reading makes nothing.
    pub fn open_existing(dir: &Path) -> Result<Option<Self>> {
        let there = |file: &str| dir.join(file).exists();
        match there(Self::FILE) || there("keys.json") {
            true => Self::open(dir).map(Some),
            false => Ok(None),
        }
    }

    /// A number that is another one whenever somebody has written, this process or
    /// another. Asking costs microseconds.
    pub fn changes(&self) -> Result<i64> {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(|source| self.sqlite(source))
    }

    /// Reads with `read`.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        read(&self.lock()).map_err(|source| self.sqlite(source))
    }

    /// Writes what `write` does, or nothing.
    fn write<T>(&self, write: impl FnOnce(&Transaction<'_>) -> Attempt<T>) -> Result<T> {
        let mut connection = self.lock();
        let attempt = || {
            // From the beginning: a reader that becomes a writer half way may find
            // that another one has written meanwhile.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = write(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        attempt().map_err(|stopped| match stopped {
            Stopped::Sqlite(source) => self.sqlite(source),
            Stopped::Refused(error) => error,
        })
    }

    /// A transaction that a panic left is rolled back when it is dropped.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn sqlite(&self, source: rusqlite::Error) -> Error {
        Error::Sqlite {
            path: self.path.clone(),
            source,
        }
    }
}

/// What ends a transaction before its end.
enum Stopped {
    Sqlite(rusqlite::Error),
    Refused(Error),
}

type Attempt<T> = std::result::Result<T, Stopped>;

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    // Readers and a writer do not wait for each other.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A key that was shown is kept, also through a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Makes the file if it is missing, for its owner alone: SQLite gives the files
/// beside it the same owner and mode. Root's `weir keys add` must not take it away
/// from the server's user, so it goes to the owner of the directory.
fn own(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    if metadata.len() == 0
        && let Some(directory) = path.parent()
    {
        give_to_owner_of(directory, &file);
    }
    Ok(())
}

/// Only root can and needs to, so a refusal is none.
fn give_to_owner_of(directory: &Path, file: &File) {
    if let (Ok(directory), Ok(file_now)) = (fs::metadata(directory), file.metadata())
        && (directory.uid(), directory.gid()) != (file_now.uid(), file_now.gid())
    {
        let _ = fchown(file, Some(directory.uid()), Some(directory.gid()));
    }
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    clock::unix_ms() / 1000
}

/// A name as it was written, checked again: somebody may have put another one in.
fn name_column(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<StreamName> {
    let text: String = row.get(index)?;
    text.parse().map_err(|error| unreadable(index, error))
}

fn unreadable(
    index: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}

/// How long a writer waits for others.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
