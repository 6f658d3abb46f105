//! What a recording consists of, on the disk: one line of JSON for each thing that
//! came to be.
//!
//! Lines are only ever added. The last one may be torn by a loss of power; it is as
//! if it had never been. What could not be written because the disk was full is not
//! kept for later: the whole journal is then written anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use media::Ticks;
use serde::{Deserialize, Serialize};

use super::account::{Account, Media, Piece, Place};
use crate::name::StreamName;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Begin(Begin),
    /// What all segments together are from now on.
    Media(Media),
    /// One has come.
    Segment(Piece),
    /// One is in the store.
    Stored(u64),
    /// One is nowhere.
    Lost(u64),
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) name: StreamName,
    pub(super) id: u64,
    /// Longest segment to be expected, in ticks.
    pub(super) target: i64,
    /// The store that its segments go to: a folder or a bucket.
    #[serde(default)]
    pub(super) store: String,
    /// Another server has begun it: what came before is in the store alone.
    #[serde(default)]
    pub(super) elsewhere: bool,
}

/// A journal that lines are added to.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Open while everything so far was written.
    file: Option<File>,
}

impl Journal {
    /// The journal in `folder`, which need not be there yet.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(NAME),
            file: None,
        }
    }

    /// Whether lines can be added; otherwise it is to be written as a whole.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Writes the journal anew.
    pub(super) fn begin(&mut self, lines: impl IntoIterator<Item = Line>) -> io::Result<()> {
        self.file = None;
        let beside = self.path.with_extension("new");
        let mut text = Vec::new();
        for line in lines {
            write(&mut text, &line)?;
        }
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&beside, &self.path)?;
        // Without it a loss of power may bring the name back to what it was, or to nothing.
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let file = OpenOptions::new().append(true).open(&self.path)?;
        self.file = Some(file);
        Ok(())
    }

    /// Adds lines. If that fails the journal is closed: a part of a line may be
    /// there, and a reader passes over it.
    pub(super) fn add(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            write(&mut text, line)?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("the journal is not open"));
        };
        let done = file.write_all(&text).and_then(|()| file.sync_data());
        if done.is_err() {
            self.file = None;
        }
        done
    }
}

/// The lines that make `account`, from the beginning.
pub(super) fn lines(begin: &Begin, account: &Account) -> Vec<Line> {
    let mut lines = vec![
        Line::Begin(begin.clone()),
        Line::Media(account.media().clone()),
    ];
    for (piece, place) in account.pieces() {
        let number = piece.number;
        lines.push(Line::Segment(piece));
        match place {
            Place::Stored => lines.push(Line::Stored(number)),
            Place::Lost => lines.push(Line::Lost(number)),
            Place::Memory(_) | Place::Spooled => {}
        }
    }
    lines
}

/// What the journal in `folder` says: segments that are neither stored nor lost
/// are taken to be on the disk. `None`: it does not even say what it is of.
pub(super) fn read(folder: &Path) -> io::Result<Option<(Begin, Account)>> {
    let text = fs::read(folder.join(NAME))?;
    Ok(replay(&text))
}

fn replay(text: &[u8]) -> Option<(Begin, Account)> {
    let mut lines = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line.strip_suffix(b"\n")?).ok());
    let Some(Line::Begin(begin)) = lines.next() else {
        return None;
    };
    let mut account = Account::new(Ticks::new(begin.target));
    for line in lines {
        match line {
            Line::Begin(_) => {}
            Line::Media(media) => {
                account.join_media(&media);
            }
            Line::Segment(piece) => {
                account.add(&piece, Place::Spooled);
            }
            Line::Stored(number) => {
                account.stored(number);
            }
            Line::Lost(number) => {
                account.lost(number);
            }
        }
    }
    Some((begin, account))
}

fn write(text: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok(())
}

const NAME: &str = "journal";

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(number: u64) -> Piece {
        Piece {
            number,
            rung: "720p".to_owned(),
            start: number as i64 * 180_000,
            duration: 180_000,
            discontinuity: false,
            unix_ms: 1_795_000_000_000 + number as i64 * 2000,
            bytes: 700_000,
            came_ms: 1_795_000_002_000 + number * 2000,
        }
    }

    fn begin() -> Begin {
        Begin {
            name: "demo".parse().unwrap(),
            id: 7,
            target: 180_000,
            store: "file:///vod".to_owned(),
            elsewhere: false,
        }
    }

    fn text(lines: &[Line]) -> Vec<u8> {
        let mut text = Vec::new();
        for line in lines {
            write(&mut text, line).unwrap();
        }
        text
    }

    fn some_lines() -> Vec<Line> {
        let mut lines = vec![Line::Begin(begin())];
        lines.extend((7..12).map(|number| Line::Segment(piece(number))));
        lines.extend([Line::Stored(7), Line::Lost(9), Line::Stored(8)]);
        lines
    }

    #[test]
    fn a_journal_torn_anywhere_is_read_up_to_there() {
        let text = text(&some_lines());
        let mut most = 0;
        for length in 0..=text.len() {
            let Some((_, account)) = replay(&text[..length]) else {
                let first = text.iter().position(|byte| *byte == b'\n').unwrap();
                assert!(length <= first);
                continue;
            };
            let (segments, settled) = account.counts();
            assert!(segments >= most && settled <= 3);
            most = segments;
        }
        let (read, account) = replay(&text).unwrap();
        assert_eq!(read, begin());
        assert_eq!(account.counts(), (5, 3));
        assert_eq!(account.waiting().segments, 2);
        assert_eq!(account.gaps().segments, 1);
        assert_eq!(account.came_ms(), piece(11).came_ms);
    }

    #[test]
    fn a_journal_that_was_written_anew_says_the_same() {
        let (begin, account) = replay(&text(&some_lines())).unwrap();
        let (again, same) = replay(&text(&lines(&begin, &account))).unwrap();
        assert_eq!(begin, again);
        assert_eq!(account.counts(), same.counts());
        assert_eq!(account.waiting(), same.waiting());
        let pieces = |account: &Account| account.pieces().map(|(one, _)| one).collect::<Vec<_>>();
        assert_eq!(pieces(&account), pieces(&same));
    }

    #[test]
    fn what_is_no_journal_is_none() {
        for text in [&b""[..], b"\n", b"{}\n", b"{\"stored\":1}\n", b"\xff\n"] {
            assert!(replay(text).is_none());
        }
    }

    #[test]
    fn a_full_disk_closes_the_journal_until_it_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(folder.path());
        assert!(journal.add(&[Line::Stored(7)]).is_err());
        journal.begin(some_lines()).unwrap();
        journal.add(&[Line::Stored(10)]).unwrap();
        let (_, account) = read(folder.path()).unwrap().unwrap();
        assert_eq!(account.waiting().segments, 1);
        journal.file = Some(File::options().write(true).open("/dev/full").unwrap());
        assert!(journal.add(&[Line::Stored(11)]).is_err());
        assert!(!journal.is_open());
    }
}
