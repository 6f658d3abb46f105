//! Relay targets of streams. Their URLs hold other services' stream keys: they are
//! read by the relays alone, and shown masked.

use rtmp::Url;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Database, Error, Result, streams, unreadable};
use crate::name::StreamName;

/// Where a stream is sent on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRecord {
    /// Name in metrics and in the API: 1 to 32 letters, digits, `-` or `_`.
    pub name: String,
    /// Where to, key included, which `Debug` and `Display` hide.
    pub url: Url,
    /// The rung it gets; `None`: the publisher's own units.
    pub rung: Option<String>,
    /// Nothing is sent there for now.
    pub disabled: bool,
}

impl Database {
    /// The targets of `stream`, by name.
    pub fn targets(&self, stream: &StreamName) -> Result<Vec<TargetRecord>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name, server, key, rung, disabled FROM target WHERE stream = ?1 ORDER BY name",
            )?;
            statement.query_map([stream.as_str()], target)?.collect()
        })
    }

    /// Adds `target` to `stream`, which there must be, or puts it in the place of the
    /// one of that name. Gives whether it is new.
    pub fn put_target(&self, stream: &StreamName, target: &TargetRecord) -> Result<bool> {
        self.write(|transaction| {
            if streams::find(transaction, stream)?.is_none() {
                return Err(Error::NoStream(stream.clone()).into());
            }
            let sql = "SELECT 1 FROM target WHERE stream = ?1 AND name = ?2";
            let known = params![stream.as_str(), target.name];
            let known = transaction.query_row(sql, known, |_| Ok(())).optional()?;
            let sql = "SELECT count(*) FROM target WHERE stream = ?1";
            let count: i64 = transaction.query_row(sql, [stream.as_str()], |row| row.get(0))?;
            if known.is_none() && count >= MAX_OF_STREAM as i64 {
                return Err(Error::Limit {
                    what: "targets of this stream",
                    max: MAX_OF_STREAM,
                }
                .into());
            }
            transaction.execute(
                "INSERT OR REPLACE INTO target (stream, name, server, key, rung, disabled)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    stream.as_str(),
                    target.name,
                    target.url.tc_url(),
                    target.url.key(),
                    target.rung,
                    target.disabled
                ],
            )?;
            Ok(known.is_none())
        })
    }

    /// Removes the target `name` of `stream`.
    pub fn remove_target(&self, stream: &StreamName, name: &str) -> Result<()> {
        self.write(|transaction| {
            let sql = "DELETE FROM target WHERE stream = ?1 AND name = ?2";
            match transaction.execute(sql, params![stream.as_str(), name])? {
                0 => Err(Error::NoTarget {
                    stream: stream.clone(),
                    target: name.to_owned(),
                }
                .into()),
                _ => Ok(()),
            }
        })
    }
}

fn target(row: &Row<'_>) -> rusqlite::Result<TargetRecord> {
    let (server, key): (String, String) = (row.get(1)?, row.get(2)?);
    Ok(TargetRecord {
        name: row.get(0)?,
        url: Url::join(&server, &key).map_err(|error| unreadable(1, error))?,
        rung: row.get(3)?,
        disabled: row.get(4)?,
    })
}

/// Targets of one stream: each is a connection that sends all of it.
const MAX_OF_STREAM: usize = 32;
