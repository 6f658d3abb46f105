//! Streams: what is known of each beyond its keys.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;

use super::{Database, Error, Result, Stopped, name_column, now};
use crate::name::StreamName;

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stream {
    /// What viewers see in the URL.
    pub name: StreamName,
    /// What people call it; may be empty.
    pub title: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Nobody may publish it.
    pub disabled: bool,
    /// Whether its broadcasts are recorded; `None`: as the server is set.
    pub record: Option<bool>,
}

/// What of a stream is to be another; `None` leaves a thing as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamChange {
    /// What people call it, at most [`Stream::MAX_TITLE`] bytes.
    pub title: Option<String>,
    /// Whether nobody may publish it.
    pub disabled: Option<bool>,
    /// Whether its broadcasts are recorded.
    pub record: Option<Option<bool>>,
}

impl Stream {
    /// Bytes in the longest title.
    pub const MAX_TITLE: usize = 200;
}

impl Database {
    /// Streams by name, those behind `after`, at most `most`.
    pub fn streams(&self, after: Option<&StreamName>, most: usize) -> Result<Vec<Stream>> {
        let after = after.map_or("", StreamName::as_str);
        self.read(|connection| {
            let sql =
                format!("SELECT {COLUMNS} FROM stream WHERE name > ?1 ORDER BY name LIMIT ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            statement
                .query_map(params![after, most as i64], stream)?
                .collect()
        })
    }

    /// The stream `name`.
    pub fn stream(&self, name: &StreamName) -> Result<Option<Stream>> {
        self.read(|connection| find(connection, name))
    }

    /// Makes the stream `name`, which there must not be.
    pub fn create_stream(&self, name: &StreamName, change: &StreamChange) -> Result<Stream> {
        self.write(|transaction| {
            if find(transaction, name)?.is_some() {
                return Err(Error::StreamExists(name.clone()).into());
            }
            make(transaction, name)?;
            alter(transaction, name, change)
        })
    }

    /// Changes the stream `name`.
    pub fn change_stream(&self, name: &StreamName, change: &StreamChange) -> Result<Stream> {
        self.write(|transaction| alter(transaction, name, change))
    }

    /// Removes the stream `name` with its keys and targets. Recordings stay.
    pub fn remove_stream(&self, name: &StreamName) -> Result<()> {
        self.write(|transaction| {
            let sql = "DELETE FROM stream WHERE name = ?1";
            match transaction.execute(sql, [name.as_str()])? {
                0 => Err(Error::NoStream(name.clone()).into()),
                _ => Ok(()),
            }
        })
    }
}

/// Makes `name` if there is no such stream.
pub(super) fn make(connection: &Connection, name: &StreamName) -> std::result::Result<(), Stopped> {
    let sql = "INSERT INTO stream (name, created) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    if connection.execute(sql, params![name.as_str(), now() as i64])? == 0 {
        return Ok(());
    }
    let sql = "SELECT count(*) FROM stream";
    let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    if count > MAX_STREAMS as i64 {
        return Err(Error::Limit {
            what: "streams",
            max: MAX_STREAMS,
        }
        .into());
    }
    Ok(())
}

fn alter(
    connection: &Connection,
    name: &StreamName,
    change: &StreamChange,
) -> std::result::Result<Stream, Stopped> {
    let name_text = name.as_str();
    if let Some(title) = &change.title {
        let sql = "UPDATE stream SET title = ?2 WHERE name = ?1";
        connection.execute(sql, params![name_text, title])?;
    }
    if let Some(disabled) = change.disabled {
        let sql = "UPDATE stream SET disabled = ?2 WHERE name = ?1";
        connection.execute(sql, params![name_text, disabled])?;
    }
    if let Some(record) = change.record {
        let sql = "UPDATE stream SET record = ?2 WHERE name = ?1";
        connection.execute(sql, params![name_text, record])?;
    }
    find(connection, name)?.ok_or_else(|| Error::NoStream(name.clone()).into())
}

pub(super) fn find(connection: &Connection, name: &StreamName) -> rusqlite::Result<Option<Stream>> {
    let sql = format!("SELECT {COLUMNS} FROM stream WHERE name = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_row([name.as_str()], stream).optional()
}

const COLUMNS: &str = "name, title, created, disabled, record";

fn stream(row: &Row<'_>) -> rusqlite::Result<Stream> {
    Ok(Stream {
        name: name_column(row, 0)?,
        title: row.get(1)?,
        created: row.get::<_, i64>(2)?.max(0) as u64,
        disabled: row.get(3)?,
        record: row.get(4)?,
    })
}

/// Streams in the largest database, each some hundred bytes.
const MAX_STREAMS: usize = 1_000_000;
