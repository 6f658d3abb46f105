//! The tables, and how a database of an earlier weir becomes one of this.

use rusqlite::{Connection, TransactionBehavior};

use super::Error;

/// Brings a database to this version's tables, in one transaction, which a second
/// process waits for.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<Result<(), Refused>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (owner, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let new = owner == 0 && version == 0 && tables == 0;
    if owner != APPLICATION && !new {
        return Ok(Err(Refused::Foreign));
    }
    let latest = STEPS.len() as i64;
    let Ok(done) = usize::try_from(version) else {
        return Ok(Err(Refused::Foreign));
    };
    if version > latest {
        return Ok(Err(Refused::Newer { version, latest }));
    }
    for step in &STEPS[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", latest)?;
    transaction.commit()?;
    Ok(Ok(()))
}

/// Why a database is left alone.
pub(super) enum Refused {
    /// Another program's.
    Foreign,
    /// Of a weir that came after this one.
    Newer { version: i64, latest: i64 },
}

impl Refused {
    pub(super) fn at(self, path: &std::path::Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Foreign => Error::Foreign { path },
            Self::Newer { version, latest } => Error::Newer {
                path,
                version,
                latest,
            },
        }
    }
}

/// "weir" in ASCII: what `file weir.db` shows, and what tells another program's
/// database.
const APPLICATION: i64 = 0x7765_6972;

/// What each version adds; the first makes version 1. Never changed once
/// released. Times are in seconds since 1970.
const STEPS: [&str; 1] = ["
CREATE TABLE stream (
    name     TEXT PRIMARY KEY,
    title    TEXT NOT NULL DEFAULT '',
    created  INTEGER NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    record   INTEGER             -- NULL: as the server is set
) STRICT, WITHOUT ROWID;

-- Ids are never used again, so that the first start is known for ever.
CREATE TABLE key (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    stream   TEXT NOT NULL REFERENCES stream (name) ON DELETE CASCADE,
    sha256   BLOB NOT NULL UNIQUE,
    prefix   TEXT NOT NULL,
    created  INTEGER NOT NULL,
    used     INTEGER,
    expires  INTEGER,            -- NULL: never
    disabled INTEGER NOT NULL DEFAULT 0,
    seeded   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX key_of_stream ON key (stream);

CREATE TABLE target (
    stream   TEXT NOT NULL REFERENCES stream (name) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    server   TEXT NOT NULL,      -- rtmp(s)://host/app
    key      TEXT NOT NULL,      -- the stream key there
    rung     TEXT,               -- NULL: the source
    disabled INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT NOT NULL UNIQUE,
    sha256  BLOB NOT NULL UNIQUE,
    prefix  TEXT NOT NULL,
    created INTEGER NOT NULL,
    used    INTEGER
) STRICT;
"];
