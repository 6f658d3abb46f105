//! The file of keys that weir had before it had a database: read once.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use rusqlite::params;
use serde::Deserialize;

use super::{Database, Error, Result, io_error, keys, streams};
use crate::name::StreamName;
use crate::secret::{Digest, Kind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    keys: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: StreamName,
    sha256: String,
    prefix: String,
    created: u64,
    #[serde(default)]
    disabled: bool,
}

impl Database {
    /// Takes over the keys of `path`, if there is such a file, and renames it: a weir
    /// that starts again does not read it.
    pub(super) fn import(&self, path: &Path) -> Result<()> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("cannot read", path, error)),
        };
        let mut text = Vec::new();
        let read = file.take(MAX_FILE).read_to_end(&mut text);
        read.map_err(|error| io_error("cannot read", path, error))?;
        let damaged = |what: String| Error::Import {
            path: path.to_owned(),
            what,
        };
        let document: Document = serde_json::from_slice(&text).map_err(|error| {
            let what = error.to_string();
            // The parser quotes what it did not expect.
            match what.contains(Kind::StreamKey.mark()) {
                true => damaged(format!("a key in clear at line {}", error.line())),
                false => damaged(what),
            }
        })?;
        if document.version != 1 {
            return Err(damaged(format!("version {} is not 1", document.version)));
        }
        self.write(|transaction| {
            for record in &document.keys {
                let digest = digest(&record.sha256)
                    .ok_or_else(|| damaged("a digest is not 64 digits 0-9 a-f".to_owned()))?;
                // A start that ended half way has renamed nothing.
                let sql = "DELETE FROM key WHERE sha256 = ?1";
                transaction.execute(sql, [digest.bytes()])?;
                streams::make(transaction, &record.name)?;
                let made = keys::insert(transaction, &record.name, &digest, &record.prefix, false)?;
                transaction.execute(
                    "UPDATE key SET created = ?2, disabled = ?3 WHERE id = ?1",
                    params![made.id.0, record.created as i64, record.disabled],
                )?;
            }
            if document.keys.is_empty() {
                // It was emptied by hand: not a first start.
                transaction.execute("INSERT INTO sqlite_sequence VALUES ('key', 0)", [])?;
            }
            Ok(())
        })?;
        let kept = path.with_extension("json.imported");
        fs::rename(path, &kept).map_err(|error| io_error("cannot rename", path, error))
    }
}

fn digest(hex: &str) -> Option<Digest> {
    let digits = hex.as_bytes();
    let lower = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 64 || !digits.iter().all(lower) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(Digest::from_bytes(bytes))
}

/// Bytes in the largest file there was.
const MAX_FILE: u64 = 16 << 20;
