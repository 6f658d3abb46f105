//! Stream keys: the secrets that publishers hold, and the streams they are for.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Attempt, Database, Error, Result, name_column, now, streams};
use crate::name::StreamName;
use crate::secret::{Digest, Kind, Secret};

/// Tells a key from all others, also from those that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub i64);

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Which.
    pub id: KeyId,
    /// The stream it publishes.
    pub stream: StreamName,
    /// Its first [`Secret::PREFIX_CHARS`] characters, to tell keys apart.
    pub prefix: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When somebody last began to publish with it.
    pub used: Option<u64>,
    /// From when on it is refused; `None`: it stays good.
    pub expires: Option<u64>,
    /// Refused. There is no way back: a stream that may publish again gets a
    /// new key.
    pub disabled: bool,
}

impl KeyRecord {
    /// Whether it is refused at `now`, in seconds since 1970.
    pub fn refused(&self, now: u64) -> bool {
        self.disabled || self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Database {
    /// The key that has `digest`, good or not ([`KeyRecord::refused`]).
    ///
    /// It is found by its digest, so the time that takes tells something of the
    /// digest at most, from which nobody can make a key; digests are then
    /// compared in constant time.
    pub fn find_key(&self, digest: &Digest) -> Result<Option<KeyRecord>> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS}, sha256 FROM key WHERE sha256 = ?1");
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement
                .query_row([digest.bytes()], |row| {
                    Ok((Digest::from_bytes(row.get(7)?), record(row)?))
                })
                .optional()?;
            let same = found.filter(|(kept, _)| kept.same(digest));
            Ok(same.map(|(_, record)| record))
        })
    }

    /// Keeps that somebody begins to publish with `key`.
    pub fn key_used(&self, key: KeyId) -> Result<()> {
        self.write(|transaction| {
            let sql = "UPDATE key SET used = ?2 WHERE id = ?1";
            transaction.execute(sql, params![key.0, now() as i64])?;
            Ok(())
        })
    }

    /// The key `id`, if it is still there.
    pub fn key(&self, id: KeyId) -> Result<Option<KeyRecord>> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM key WHERE id = ?1");
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_row([id.0], record).optional()
        })
    }

    /// The keys of `stream`, or all, by name and age.
    pub fn keys(&self, stream: Option<&StreamName>) -> Result<Vec<KeyRecord>> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM key WHERE ?1 IS NULL OR stream = ?1 ORDER BY stream, id"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let keys = statement.query_map([stream.map(StreamName::as_str)], record)?;
            keys.collect()
        })
    }

    /// Makes one more key for `stream`, and the stream if there is none; those it
    /// has stay good.
    pub fn add_key(&self, stream: &StreamName) -> Result<(KeyRecord, Secret)> {
        self.write(|transaction| {
            streams::make(transaction, stream)?;
            add(transaction, stream)
        })
    }

    /// Makes a new key for `stream`; those it had, of which there must be one that is
    /// good, stay good for `grace` and are removed after it, at once if there is none.
    pub fn rotate_key(&self, stream: &StreamName, grace: Duration) -> Result<(KeyRecord, Secret)> {
        self.write(|transaction| {
            let name = stream.as_str();
            let end = now().saturating_add(grace.as_secs());
            let aged = match grace.is_zero() {
                true => transaction.execute("DELETE FROM key WHERE stream = ?1", [name])?,
                false => transaction.execute(
                    "UPDATE key SET expires = min(coalesce(expires, ?2), ?2) WHERE stream = ?1",
                    params![name, end as i64],
                )?,
            };
            if aged == 0 {
                return Err(Error::NoKey {
                    stream: stream.clone(),
                    prefix: None,
                }
                .into());
            }
            add(transaction, stream)
        })
    }

    /// Disables the keys of `stream`, or the one that begins with `prefix`. Gives how
    /// many there are.
    pub fn disable_keys(&self, stream: &StreamName, prefix: Option<&str>) -> Result<usize> {
        self.on_keys("UPDATE key SET disabled = 1", stream, prefix)
    }

    /// Removes the keys of `stream`, or the one that begins with `prefix`. Gives how
    /// many there were.
    pub fn remove_keys(&self, stream: &StreamName, prefix: Option<&str>) -> Result<usize> {
        self.on_keys("DELETE FROM key", stream, prefix)
    }

    /// Disables or removes the key `id` of `stream`.
    pub fn end_key(&self, stream: &StreamName, id: KeyId, remove: bool) -> Result<()> {
        self.write(|transaction| {
            let sql = match remove {
                true => "DELETE FROM key WHERE stream = ?1 AND id = ?2",
                false => "UPDATE key SET disabled = 1 WHERE stream = ?1 AND id = ?2",
            };
            match transaction.execute(sql, params![stream.as_str(), id.0])? {
                0 => Err(Error::NoKey {
                    stream: stream.clone(),
                    prefix: None,
                }
                .into()),
                _ => Ok(()),
            }
        })
    }

    /// On the first start, when no key has ever been made: a key for the stream
    /// `live`. A database emptied by `weir keys remove` is not a first start.
    pub fn ensure_first_key(&self) -> Result<Option<(StreamName, Secret)>> {
        self.write(|transaction| {
            let sql = "SELECT 1 FROM sqlite_sequence WHERE name = 'key'";
            if transaction
                .query_row(sql, [], |_| Ok(()))
                .optional()?
                .is_some()
            {
                return Ok(None);
            }
            let name = StreamName::new("live").expect("\"live\" is a good name");
            streams::make(transaction, &name)?;
            let (_, key) = add(transaction, &name)?;
            Ok(Some((name, key)))
        })
    }

    fn on_keys(&self, action: &str, stream: &StreamName, prefix: Option<&str>) -> Result<usize> {
        self.write(|transaction| {
            let sql = format!("{action} WHERE stream = ?1 AND (?2 IS NULL OR prefix = ?2)");
            match transaction.execute(&sql, params![stream.as_str(), prefix])? {
                0 => Err(Error::NoKey {
                    stream: stream.clone(),
                    prefix: prefix.map(str::to_owned),
                }
                .into()),
                count => Ok(count),
            }
        })
    }
}

/// Makes a key of `stream`, which there is. Those that have expired make room.
fn add(connection: &Connection, stream: &StreamName) -> Attempt<(KeyRecord, Secret)> {
    let sql = "DELETE FROM key WHERE stream = ?1 AND expires <= ?2";
    connection.execute(sql, params![stream.as_str(), now() as i64])?;
    let sql = "SELECT count(*) FROM key WHERE stream = ?1";
    let count: i64 = connection.query_row(sql, [stream.as_str()], |row| row.get(0))?;
    if count >= MAX_OF_STREAM as i64 {
        return Err(Error::Limit {
            what: "keys of this stream",
            max: MAX_OF_STREAM,
        }
        .into());
    }
    let secret = Secret::random(Kind::StreamKey);
    let record = insert(connection, stream, &secret.digest(), secret.prefix(), false)?;
    Ok((record, secret))
}

pub(super) fn insert(
    connection: &Connection,
    stream: &StreamName,
    digest: &Digest,
    prefix: &str,
    seeded: bool,
) -> rusqlite::Result<KeyRecord> {
    let sql = format!(
        "INSERT INTO key (stream, sha256, prefix, created, seeded) VALUES (?1, ?2, ?3, ?4, ?5)
         RETURNING {COLUMNS}"
    );
    let values = params![
        stream.as_str(),
        digest.bytes(),
        prefix,
        now() as i64,
        seeded
    ];
    connection.query_row(&sql, values, record)
}

const COLUMNS: &str = "id, stream, prefix, created, used, expires, disabled";

fn record(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    let seconds = |at: Option<i64>| at.map(|at| at.max(0) as u64);
    Ok(KeyRecord {
        id: KeyId(row.get(0)?),
        stream: name_column(row, 1)?,
        prefix: row.get(2)?,
        created: row.get::<_, i64>(3)?.max(0) as u64,
        used: seconds(row.get(4)?),
        expires: seconds(row.get(5)?),
        disabled: row.get(6)?,
    })
}

/// Keys of one stream: its own streamer's, with some to rotate.
const MAX_OF_STREAM: usize = 100;
