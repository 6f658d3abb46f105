//! What one target is to be sent: the publisher's own units, or a rung's.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use fanout::{Next, Reader, Start};
use media::{Track, TrackConfig};

use crate::live::{Broadcast, NoRung, Packet, RungReader, Tracks};

/// A target's place in a broadcast.
pub(super) struct Feed {
    broadcast: Arc<Broadcast>,
    reading: Reading,
    /// Units read before the first was given: a destination is told of both
    /// tracks before it gets anything.
    held: VecDeque<Arc<Packet>>,
    /// The first unit was given.
    begun: bool,
    /// A key picture was given: those before the first are of no use to anybody.
    shown: bool,
    tracks: Tracks,
    /// Units that are gone and not asked for yet.
    missed: u64,
}

enum Reading {
    Source(Reader<Arc<Packet>>),
    Rung(String, RungReader),
    /// The broadcast has ended.
    Nothing,
}

impl Feed {
    /// A place in `broadcast`, in its rung `rung` or the publisher's own units;
    /// from `start` on.
    pub(super) fn open(
        broadcast: Arc<Broadcast>,
        rung: Option<&str>,
        start: Start,
    ) -> Result<Self, NoRung> {
        let reading = match rung {
            None => broadcast
                .reader(start)
                .map_or(Reading::Nothing, Reading::Source),
            // Its ring begins with the first key picture after somebody has asked.
            Some(rung) => match broadcast.rung_reader(rung, Start::Oldest) {
                Ok(reader) => Reading::Rung(rung.to_owned(), reader),
                Err(NoRung::Ended) => Reading::Nothing,
                Err(why) => return Err(why),
            },
        };
        Ok(Self {
            broadcast,
            reading,
            held: VecDeque::new(),
            begun: false,
            shown: false,
            tracks: Tracks::default(),
            missed: 0,
        })
    }

    /// The session of its broadcast.
    pub(super) fn session(&self) -> u64 {
        self.broadcast.session()
    }

    /// Whether all was given.
    pub(super) fn over(&self) -> bool {
        matches!(self.reading, Reading::Nothing) && self.held.is_empty()
    }

    /// The next unit, when there is one now; the reason, when there will be none
    /// because no rung can be made.
    pub(super) fn try_next(&mut self) -> Result<Option<Arc<Packet>>, NoRung> {
        loop {
            if self.begun
                && let Some(packet) = self.held.pop_front()
            {
                return Ok(Some(packet));
            }
            let Some(next) = self.reader().and_then(Reader::try_next) else {
                return Ok(None);
            };
            match next {
                Next::Unit(packet) => self.take(packet),
                Next::Lagged(missed) => self.missed += missed,
                Next::Closed => self.closed()?,
            }
        }
    }

    /// Resolves when it is worth a try. Cancel safe.
    pub(super) async fn ready(&mut self) -> Result<(), NoRung> {
        let Some(reader) = self.reader() else {
            return std::future::pending().await;
        };
        match reader.next().await {
            Next::Unit(packet) => self.take(packet),
            Next::Lagged(missed) => self.missed += missed,
            Next::Closed => self.closed()?,
        }
        Ok(())
    }

    /// What is known of the tracks, after the unit that was given last.
    pub(super) fn tracks(&mut self, config: &Arc<TrackConfig>) -> &Tracks {
        self.tracks.set(config);
        if matches!(self.reading, Reading::Source(_)) {
            // Of a track that was given, its units tell: what is published by
            // now may be another configuration, which has its turn later.
            let published = self.broadcast.tracks();
            for track in [Track::Video, Track::Audio] {
                if self.tracks.get(track).is_none()
                    && let Some(config) = published.get(track)
                {
                    self.tracks.set(config);
                }
            }
        }
        &self.tracks
    }

    /// How far the newest unit is from the next one, in ticks.
    pub(super) fn behind(&mut self) -> u64 {
        self.reader().map_or(0, |reader| reader.behind())
    }

    /// Goes on at the newest key picture, if it is still to come.
    pub(super) fn skip(&mut self) {
        let skipped = self.reader().map_or(0, Reader::skip);
        if skipped > 0 {
            self.missed += skipped + self.held.len() as u64;
            self.held.clear();
        }
    }

    /// Units that are gone since this was asked last.
    pub(super) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    fn reader(&mut self) -> Option<&mut Reader<Arc<Packet>>> {
        match &mut self.reading {
            Reading::Source(reader) => Some(reader),
            Reading::Rung(_, rung) => Some(&mut rung.reader),
            Reading::Nothing => None,
        }
    }

    fn take(&mut self, packet: Arc<Packet>) {
        if packet.unit.track() == Track::Video {
            if !self.shown && !packet.unit.key {
                return;
            }
            self.shown = true;
        }
        if !self.begun {
            self.tracks.set(&packet.unit.config);
        }
        self.held.push_back(packet);
        self.begun = self.begun || self.complete();
    }

    /// Whether all announced tracks are known, or have been waited for enough.
    fn complete(&self) -> bool {
        let hints = *self
            .broadcast
            .hints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = |track| self.tracks.get(track).is_some();
        let source = self.broadcast.tracks();
        let from_source = matches!(self.reading, Reading::Source(_));
        let there = |track| known(track) || (from_source && source.get(track).is_some());
        let video = !hints.video || there(Track::Video);
        let audio = !hints.audio || there(Track::Audio);
        let waited = match (self.held.front(), self.held.back()) {
            (Some(first), Some(last)) => last.at().saturating_sub(first.at()) >= LONGEST_WAIT,
            _ => false,
        };
        let bytes: usize = self.held.iter().map(|packet| packet.unit.data.len()).sum();
        let much = self.held.len() >= MOST_HELD || bytes >= MOST_HELD_BYTES;
        (video && audio) || waited || much
    }

    /// The ring is closed. A rung's may be because of a failure.
    fn closed(&mut self) -> Result<(), NoRung> {
        let reading = std::mem::replace(&mut self.reading, Reading::Nothing);
        self.begun = true;
        if let Reading::Rung(rung, reader) = reading {
            drop(reader);
            match self.broadcast.rung_reader(&rung, Start::Oldest) {
                Ok(reader) => self.reading = Reading::Rung(rung, reader),
                Err(NoRung::Ended) => {}
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }
}

/// Media time that an announced track is waited for, in ticks of 90 kHz.
const LONGEST_WAIT: u64 = 90_000;
/// Units held meanwhile: more than a second of the busiest stream.
const MOST_HELD: usize = 256;
/// And their bytes: a second of 32 Mbit/s. They stay when the ring has let them go.
const MOST_HELD_BYTES: usize = 4 << 20;
