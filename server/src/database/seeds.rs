//! Keys that the settings bring (`auth.keys`), for a server whose disk does not
//! outlive it.

use rusqlite::{OptionalExtension as _, params};

use super::{Database, Error, Result, keys, name_column, streams};
use crate::name::StreamName;
use crate::secret::{Digest, Kind, Secret};

impl Database {
    /// Has those keys of `seeds` that are not there yet, and no longer those that an
    /// earlier start has brought and this one does not. One that was disabled stays
    /// so.
    pub fn seed(&self, seeds: &[(StreamName, String)]) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("UPDATE key SET seeded = 2 WHERE seeded = 1", [])?;
            for (stream, key) in seeds {
                let Some(digest) = Digest::of(key) else {
                    continue;
                };
                let holder = transaction
                    .query_row(
                        "SELECT stream FROM key WHERE sha256 = ?1",
                        [digest.bytes()],
                        |row| name_column(row, 0),
                    )
                    .optional()?;
                match holder {
                    Some(holder) if holder != *stream => {
                        return Err(Error::Seed {
                            wanted: stream.clone(),
                            holder,
                        }
                        .into());
                    }
                    Some(_) => {
                        transaction.execute(
                            "UPDATE key SET seeded = 1 WHERE sha256 = ?1 AND seeded = 2",
                            params![digest.bytes()],
                        )?;
                    }
                    None => {
                        streams::make(transaction, stream)?;
                        let shown = key.chars().take(shown_of(key)).collect::<String>();
                        keys::insert(transaction, stream, &digest, &shown, true)?;
                    }
                }
            }
            transaction.execute("DELETE FROM key WHERE seeded = 2", [])?;
            Ok(())
        })
    }
}

/// Characters that are kept in clear: fewer of a key that somebody has thought up.
fn shown_of(key: &str) -> usize {
    match key.starts_with(Kind::StreamKey.mark()) && key.len() >= 32 {
        true => Secret::PREFIX_CHARS,
        false => 3,
    }
}
