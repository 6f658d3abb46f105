//! Tokens of the API.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Database, Error, Result, now};
use crate::secret::{Digest, Kind, Secret};

/// What is known of an API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// What it is called: who or what holds it.
    pub name: String,
    /// Its first [`Secret::PREFIX_CHARS`] characters.
    pub prefix: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it was last used, to the minute.
    pub used: Option<u64>,
}

impl Database {
    /// All tokens, by name.
    pub fn tokens(&self) -> Result<Vec<TokenRecord>> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM token ORDER BY name");
            connection.prepare(&sql)?.query_map([], record)?.collect()
        })
    }

    /// Whether there is any token.
    pub fn has_tokens(&self) -> Result<bool> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT 1 FROM token LIMIT 1")?;
            statement.exists([])
        })
    }

    /// Makes a token called `name`, which there must not be.
    pub fn add_token(&self, name: &str) -> Result<(TokenRecord, Secret)> {
        self.write(|transaction| {
            let known = transaction
                .query_row("SELECT 1 FROM token WHERE name = ?1", [name], |_| Ok(()))
                .optional()?;
            if known.is_some() {
                return Err(Error::TokenExists(name.to_owned()).into());
            }
            let count: i64 =
                transaction.query_row("SELECT count(*) FROM token", [], |row| row.get(0))?;
            if count >= MAX_TOKENS as i64 {
                return Err(Error::Limit {
                    what: "tokens",
                    max: MAX_TOKENS,
                }
                .into());
            }
            let secret = Secret::random(Kind::ApiToken);
            let sql = format!(
                "INSERT INTO token (name, sha256, prefix, created) VALUES (?1, ?2, ?3, ?4)
                 RETURNING {COLUMNS}"
            );
            let digest = secret.digest();
            let values = params![name, digest.bytes(), secret.prefix(), now() as i64];
            let made = transaction.query_row(&sql, values, record)?;
            Ok((made, secret))
        })
    }

    /// Removes the token called `name`.
    pub fn remove_token(&self, name: &str) -> Result<()> {
        self.write(|transaction| {
            match transaction.execute("DELETE FROM token WHERE name = ?1", [name])? {
                0 => Err(Error::NoToken(name.to_owned()).into()),
                _ => Ok(()),
            }
        })
    }

    /// The name of the token that has `digest`; found and compared as keys are
    /// ([`Database::find_key`]). Keeps that it was used, once a minute.
    pub fn find_token(&self, digest: &Digest) -> Result<Option<String>> {
        let found = self.read(|connection| {
            let sql = "SELECT name, sha256, used FROM token WHERE sha256 = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let row = |row: &Row<'_>| {
                let kept = Digest::from_bytes(row.get(1)?);
                Ok((
                    row.get::<_, String>(0)?,
                    kept,
                    row.get::<_, Option<i64>>(2)?,
                ))
            };
            statement.query_row([digest.bytes()], row).optional()
        })?;
        let Some((name, _, used)) = found.filter(|(_, kept, _)| kept.same(digest)) else {
            return Ok(None);
        };
        let now = now() as i64;
        if used.is_none_or(|used| now - used >= 60) {
            // A disk that is full keeps nobody from asking.
            let _ = self.write(|transaction| {
                let sql = "UPDATE token SET used = ?2 WHERE name = ?1";
                transaction.execute(sql, params![name, now])?;
                Ok(())
            });
        }
        Ok(Some(name))
    }
}

const COLUMNS: &str = "name, prefix, created, used";

fn record(row: &Row<'_>) -> rusqlite::Result<TokenRecord> {
    Ok(TokenRecord {
        name: row.get(0)?,
        prefix: row.get(1)?,
        created: row.get::<_, i64>(2)?.max(0) as u64,
        used: row.get::<_, Option<i64>>(3)?.map(|used| used.max(0) as u64),
    })
}

/// Tokens of a server: applications and their operators.
const MAX_TOKENS: usize = 1000;
