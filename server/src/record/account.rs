//! What a recording consists of, and where each segment of it is.
//!
//! Pure: who moves bytes about says so here. Nothing costs more in a long
//! recording than in a short one but the playlists.

use std::ops::RangeInclusive;
use std::sync::Arc;

use media::{Size, Ticks, Timestamp};
use packager::Segment;
use packager::playlist::{Entry, Recorded};
use packager::rates::{Estimate, Meter};
use serde::{Deserialize, Serialize};

/// A segment in a journal's line, and in the facts of an object in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) number: u64,
    pub(super) rung: String,
    /// On the timeline of its broadcast, in ticks of 90 kHz.
    pub(super) start: i64,
    /// In ticks.
    pub(super) duration: i64,
    pub(super) discontinuity: bool,
    /// Wall time of its start.
    pub(super) unix_ms: i64,
    pub(super) bytes: u32,
    /// Wall time at which it came.
    pub(super) came_ms: u64,
}

/// What players are told of all segments together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Media {
    /// RFC 6381 names.
    pub(super) codecs: Vec<String>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(super) frame_rate: Option<f64>,
}

impl Media {
    pub(super) fn size(&self) -> Option<Size> {
        Some(Size::new(self.width?, self.height?))
    }

    /// Takes in what another part of the recording is: all its codecs, and the most
    /// of its pictures.
    pub(super) fn join(&mut self, other: &Self) {
        for codec in &other.codecs {
            if !self.codecs.contains(codec) {
                self.codecs.push(codec.clone());
            }
        }
        let pixels = |media: &Self| media.size().map(|size| size.area());
        if pixels(other) > pixels(self) {
            (self.width, self.height) = (other.width, other.height);
        }
        let rates = [self.frame_rate, other.frame_rate];
        self.frame_rate = rates.into_iter().flatten().reduce(f64::max);
    }
}

/// Where a segment is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Nowhere else yet.
    Memory(Arc<Segment>),
    /// On this server's disk.
    Spooled,
    /// In the store.
    Stored,
    /// Nowhere.
    Lost,
}

#[derive(Debug)]
struct Item {
    entry: Entry,
    rung: u16,
    bytes: u32,
    came_ms: u64,
    /// It is on its way to the store.
    sending: bool,
    place: Place,
}

impl Item {
    fn waits(&self) -> bool {
        matches!(self.place, Place::Memory(_) | Place::Spooled)
    }
}

/// The segments of a recording in their order. See the module.
#[derive(Debug)]
pub(super) struct Account {
    rungs: Vec<String>,
    items: Vec<Item>,
    /// Those before are stored or lost, for good.
    settled: usize,
    /// None of those before has to be spooled.
    spooled: usize,
    in_memory: usize,
    bytes_in_memory: u64,
    meter: Meter,
    media: Media,
    /// When the last segment came.
    came_ms: u64,
    waiting: Amount,
    stored: Amount,
    lost: Amount,
}

/// So much of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) duration: Ticks,
}

impl Amount {
    fn add(&mut self, item: &Item) {
        self.segments += 1;
        self.bytes += u64::from(item.bytes);
        self.duration += item.entry.duration;
    }

    fn take(&mut self, item: &Item) {
        self.segments -= 1;
        self.bytes -= u64::from(item.bytes);
        self.duration -= item.entry.duration;
    }
}

/// A segment that is to be moved.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) number: u64,
    pub(super) piece: Piece,
    /// Its bytes; `None`: they are on the disk.
    pub(super) segment: Option<Arc<Segment>>,
}

impl Account {
    /// `target` is the longest that segments should be.
    pub(super) fn new(target: Ticks) -> Self {
        let nothing = Estimate::of_rates(0, 0, 0, 0.0);
        Self {
            rungs: Vec::new(),
            items: Vec::new(),
            settled: 0,
            spooled: 0,
            in_memory: 0,
            bytes_in_memory: 0,
            meter: Meter::new(target, Ticks::SECOND, nothing),
            media: Media::default(),
            came_ms: 0,
            waiting: Amount::default(),
            stored: Amount::default(),
            lost: Amount::default(),
        }
    }

    /// Adds a segment at `place`, where its number belongs: at the end, but for the
    /// last ones of a broadcast whose successor was quicker. `false`: it is there
    /// already.
    pub(super) fn add(&mut self, piece: &Piece, place: Place) -> bool {
        let at = self
            .items
            .partition_point(|item| item.entry.number < piece.number);
        let twin = self.items.get(at);
        if twin.is_some_and(|item| item.entry.number == piece.number) {
            return false;
        }
        let rung = self.rung(&piece.rung);
        let before = at.checked_sub(1).map(|before| &self.items[before]);
        // Another rung is another encoding, which a player has to be told.
        let changed = before.is_some_and(|before| before.rung != rung);
        let item = Item {
            entry: Entry {
                number: piece.number,
                start: Timestamp::from_ticks(piece.start),
                duration: Ticks::new(piece.duration),
                discontinuity: piece.discontinuity || changed,
                unix_ms: Some(piece.unix_ms),
            },
            rung,
            bytes: piece.bytes,
            came_ms: piece.came_ms,
            sending: false,
            place,
        };
        self.came_ms = self.came_ms.max(piece.came_ms);
        self.meter
            .push(piece.bytes as usize, Ticks::new(piece.duration));
        match item.place {
            Place::Memory(_) => {
                self.in_memory += 1;
                self.bytes_in_memory += u64::from(item.bytes);
                self.waiting.add(&item);
            }
            Place::Spooled => self.waiting.add(&item),
            Place::Stored => self.stored.add(&item),
            Place::Lost => self.lost.add(&item),
        }
        self.items.insert(at, item);
        self.settled = self.settled.min(at);
        self.spooled = self.spooled.min(at);
        self.settle();
        true
    }

    fn rung(&mut self, name: &str) -> u16 {
        let known = self.rungs.iter().position(|rung| rung == name);
        let at = known.unwrap_or_else(|| {
            self.rungs.push(name.to_owned());
            self.rungs.len() - 1
        });
        // A ladder has at most eight, and each broadcast the same.
        at as u16
    }

    /// Whether a segment of this rung has come.
    pub(super) fn has_rung(&self, name: &str) -> bool {
        self.rungs.iter().any(|rung| rung == name)
    }

    /// The oldest segment in memory, once there are more than there should be.
    pub(super) fn crowded(&self) -> Option<u64> {
        let many = self.in_memory > MOST_IN_MEMORY || self.bytes_in_memory > MOST_BYTES;
        if !many || self.in_memory < 2 {
            return None;
        }
        let memory = |item: &&Item| matches!(item.place, Place::Memory(_)) && !item.sending;
        let rest = &self.items[self.spooled..];
        rest.iter().find(memory).map(|item| item.entry.number)
    }

    /// Whether so much is in memory that the disk's oldest should make way.
    pub(super) fn pressed(&self) -> bool {
        self.in_memory > MOST_IN_MEMORY / 2 || self.bytes_in_memory > MOST_BYTES / 2
    }

    /// The first segment that is nowhere but in memory.
    pub(super) fn next_to_spool(&mut self) -> Option<Load> {
        while let Some(item) = self.items.get(self.spooled) {
            if let Place::Memory(segment) = &item.place {
                let segment = Some(Arc::clone(segment));
                return Some(self.load(self.spooled, segment));
            }
            self.spooled += 1;
        }
        None
    }

    /// The first segment that is neither in the store nor on its way to it, which it
    /// now is.
    pub(super) fn next_to_send(&mut self) -> Option<Load> {
        let rest = self.items[self.settled..].iter();
        let next = rest
            .take(MOST_AHEAD)
            .position(|item| item.waits() && !item.sending)?;
        let at = self.settled + next;
        self.items[at].sending = true;
        let segment = match &self.items[at].place {
            Place::Memory(segment) => Some(Arc::clone(segment)),
            _ => None,
        };
        Some(self.load(at, segment))
    }

    fn load(&self, at: usize, segment: Option<Arc<Segment>>) -> Load {
        let piece = self.piece(at);
        Load {
            number: piece.number,
            piece,
            segment,
        }
    }

    fn piece(&self, at: usize) -> Piece {
        let item = &self.items[at];
        Piece {
            number: item.entry.number,
            rung: self.rungs[usize::from(item.rung)].clone(),
            start: item.entry.start.ticks(),
            duration: item.entry.duration.get(),
            discontinuity: item.entry.discontinuity,
            unix_ms: item.entry.unix_ms.unwrap_or_default(),
            bytes: item.bytes,
            came_ms: item.came_ms,
        }
    }

    /// The segment is on the disk. `false`: it need not be any more.
    pub(super) fn spooled(&mut self, number: u64) -> bool {
        let Some(item) = self.item(number) else {
            return false;
        };
        if !matches!(item.place, Place::Memory(_)) {
            return false;
        }
        item.place = Place::Spooled;
        let bytes = u64::from(item.bytes);
        self.in_memory -= 1;
        self.bytes_in_memory -= bytes;
        true
    }

    /// The segment is in the store. Gives back whether it may be on the disk too.
    pub(super) fn stored(&mut self, number: u64) -> bool {
        self.rest(number, Place::Stored)
    }

    /// The segment is gone. Gives back whether it may be on the disk.
    pub(super) fn lost(&mut self, number: u64) -> bool {
        self.rest(number, Place::Lost)
    }

    fn rest(&mut self, number: u64, place: Place) -> bool {
        let Some(at) = self.find(number).filter(|at| self.items[*at].waits()) else {
            return false;
        };
        let item = &mut self.items[at];
        let bytes = u64::from(item.bytes);
        let before = std::mem::replace(&mut item.place, place);
        item.sending = false;
        self.waiting.take(item);
        match item.place {
            Place::Stored => self.stored.add(item),
            _ => self.lost.add(item),
        }
        self.settle();
        let on_disk = matches!(before, Place::Spooled);
        if !on_disk {
            self.in_memory -= 1;
            self.bytes_in_memory -= bytes;
        }
        on_disk
    }

    /// The segment did not get to the store.
    pub(super) fn unsent(&mut self, number: u64) {
        if let Some(item) = self.item(number) {
            item.sending = false;
        }
    }

    /// The oldest segment of the disk that is not on its way: its number and when it
    /// was.
    pub(super) fn oldest_spooled(&self) -> Option<(u64, i64)> {
        let rest = self.items[self.settled..].iter();
        let mut spooled = rest.filter(|item| matches!(item.place, Place::Spooled) && !item.sending);
        let item = spooled.next()?;
        Some((item.entry.number, item.entry.unix_ms.unwrap_or_default()))
    }

    fn settle(&mut self) {
        let rest = &self.items[self.settled..];
        self.settled += rest.iter().take_while(|item| !item.waits()).count();
    }

    /// How many segments there are, and how many of the first are where they stay.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.items.len(), self.settled)
    }

    /// How many segments have numbers below `number`.
    pub(super) fn before(&self, number: u64) -> usize {
        self.items
            .partition_point(|item| item.entry.number < number)
    }

    /// What a playlist says of the first `count` segments.
    pub(super) fn recorded(
        &self,
        count: usize,
    ) -> impl ExactSizeIterator<Item = Recorded<'_>> + Clone {
        self.items[..count.min(self.items.len())]
            .iter()
            .map(|item| Recorded {
                entry: item.entry,
                rung: &self.rungs[usize::from(item.rung)],
                missing: matches!(item.place, Place::Lost),
            })
    }

    /// All segments, and whether each is stored, lost or neither.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (Piece, &Place)> {
        (0..self.items.len()).map(|at| (self.piece(at), &self.items[at].place))
    }

    /// Where segment `number` of `rung` is.
    pub(super) fn place(&self, rung: &str, number: u64) -> Option<&Place> {
        let item = &self.items[self.find(number)?];
        (self.rungs[usize::from(item.rung)] == rung).then_some(&item.place)
    }

    pub(super) fn knows(&self, number: u64) -> bool {
        self.find(number).is_some()
    }

    /// Bytes of segment `number`.
    pub(super) fn bytes_of(&self, number: u64) -> u32 {
        self.find(number).map_or(0, |at| self.items[at].bytes)
    }

    /// The number of the last segment.
    pub(super) fn last(&self) -> Option<u64> {
        self.items.last().map(|item| item.entry.number)
    }

    /// Notes that a segment came at `ms`, though nothing else is known of it.
    pub(super) fn came(&mut self, ms: u64) {
        self.came_ms = self.came_ms.max(ms);
    }

    /// Notes what is missing within broadcasts as lost: told from what is there, when
    /// nothing else is known.
    pub(super) fn fill_holes(&mut self) {
        let (mut missing, mut breaks) = (Vec::new(), Vec::new());
        for (at, pair) in self.items.windows(2).enumerate() {
            let (before, after) = (&pair[0].entry, &pair[1].entry);
            let first = before.number.saturating_add(1);
            let count = after.number.saturating_sub(first);
            if count == 0 || after.discontinuity {
                continue;
            }
            let from = before.start + before.duration;
            let each = (after.start - from).get() / i64::try_from(count).unwrap_or(i64::MAX);
            if !SEGMENTS.contains(&each) || count > MOST_MISSING {
                // Numbers begin at the time of day: another broadcast, whose first
                // segment is what is missing.
                breaks.push(at + 1);
                continue;
            }
            let rung = &self.rungs[usize::from(pair[0].rung)];
            let ms = before.unix_ms.unwrap_or_default() + before.duration.get() / 90;
            missing.extend((0..count).map(|index| Piece {
                number: first + index,
                rung: rung.clone(),
                start: from.ticks() + index as i64 * each,
                duration: each,
                discontinuity: false,
                unix_ms: ms + index as i64 * each / 90,
                bytes: 0,
                came_ms: 0,
            }));
        }
        for at in breaks {
            self.items[at].entry.discontinuity = true;
        }
        for piece in missing {
            self.add(&piece, Place::Lost);
        }
    }

    /// Whether segment `number` is where it stays.
    pub(super) fn settled(&self, number: u64) -> bool {
        self.find(number).is_some_and(|at| !self.items[at].waits())
    }

    /// What players are told of all segments.
    pub(super) fn media(&self) -> &Media {
        &self.media
    }

    /// Gives back whether that is news.
    pub(super) fn join_media(&mut self, media: &Media) -> bool {
        let before = self.media.clone();
        self.media.join(media);
        self.media != before
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// When the last segment came, in Unix milliseconds.
    pub(super) fn came_ms(&self) -> u64 {
        self.came_ms
    }

    /// What is not in the store yet.
    pub(super) fn waiting(&self) -> Amount {
        self.waiting
    }

    pub(super) fn in_store(&self) -> Amount {
        self.stored
    }

    pub(super) fn gaps(&self) -> Amount {
        self.lost
    }

    fn item(&mut self, number: u64) -> Option<&mut Item> {
        let at = self.find(number)?;
        self.items.get_mut(at)
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.items
            .binary_search_by_key(&number, |item| item.entry.number)
            .ok()
    }
}

/// Segments that wait for the disk: those of a hole that was filled come all at once,
/// as many as the ladder's ring has seconds.
pub(super) const MOST_IN_MEMORY: usize = 32;

/// Their bytes, but for a single larger one: two minutes of the default ladder's best
/// rung.
const MOST_BYTES: u64 = 48 << 20;

/// Segments looked at for one that may be sent: those on their way are among the
/// first.
const MOST_AHEAD: usize = 64;

/// What a missing segment may last, in ticks: a tenth of a second to two minutes.
const SEGMENTS: RangeInclusive<i64> = Ticks::HZ / 10..=120 * Ticks::HZ;

/// Segments that may be missing in one place: those of a day, of two seconds each.
const MOST_MISSING: u64 = 43_200;

#[cfg(test)]
mod tests;
