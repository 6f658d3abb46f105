//! MPEG-TS (ISO/IEC 13818-1) out of elementary units, one segment at a time.
//!
//! mpeg2ts writes the packets, tables and headers; what it has no part in is
//! here: which packet comes when, the clock, and the counters that run on from
//! one segment to the next.

mod elementary;
mod packet;
mod pes;
mod psi;

pub(crate) use elementary::Unit;

use bytes::Bytes;
use media::{Ticks, Timestamp};
use mpeg2ts::es::StreamId;
use mpeg2ts::ts::Pid;

use crate::Tracks;
use packet::{Adaptation, Packets, wrap};
use psi::Tables;

/// Writes the segments of one rung, one after the other.
#[derive(Debug)]
pub(crate) struct Muxer {
    /// Added to every timestamp written.
    offset: Ticks,
    packets: Packets,
    program: Option<Program>,
    version: u8,
    /// The clock as last written, on the media timeline.
    clock: Option<Timestamp>,
    /// Where the clock stood when the tables were last written.
    tables_at: Timestamp,
    /// The next clock written does not continue the last one.
    jumped: bool,
}

/// The units of one segment; both tracks in decoding order.
pub(crate) struct Content<'a> {
    pub(crate) video: &'a [Unit],
    pub(crate) audio: &'a [Unit],
    /// When the next segment's first unit of the clock's track is decoded, if
    /// that is known and belongs to the same timeline.
    pub(crate) next: Option<Timestamp>,
}

#[derive(Debug)]
struct Program {
    tracks: Tracks,
    tables: Tables,
}

impl Muxer {
    pub(crate) fn new(offset: Ticks) -> Self {
        Self {
            offset,
            packets: Packets::default(),
            program: None,
            version: 0,
            clock: None,
            tables_at: Timestamp::ZERO,
            jumped: false,
        }
    }

    /// The next segment starts a new timeline, perhaps with other tracks.
    /// Counters go on, the clock starts anew.
    pub(crate) fn discontinuity(&mut self) {
        self.jumped = self.clock.take().is_some();
    }

    /// Writes a segment of a stream that has `tracks`.
    ///
    /// PAT, PMT and the first video unit come first, then everything in decoding
    /// order. The clock has the track of pictures, or the sound where there are
    /// none, and runs [`LEAD`] ahead of decoding.
    pub(crate) fn segment(
        &mut self,
        tracks: Tracks,
        content: &Content<'_>,
    ) -> Result<Bytes, mpeg2ts::Error> {
        if self.program.as_ref().is_none_or(|own| own.tracks != tracks) {
            if self.program.is_some() {
                self.version = (self.version + 1) % 32;
            }
            let tables = Tables::new(tracks, self.version)?;
            self.program = Some(Program { tracks, tables });
        }
        let units = content.video.iter().chain(content.audio);
        let bytes: usize = units.map(|unit| unit.data.len() + 400).sum();
        self.packets.reserve(bytes + bytes / 32);

        let clocked = if tracks.video {
            content.video
        } else {
            content.audio
        };
        let start = clocked.first().or_else(|| content.audio.first());
        self.write_tables(start.map_or(Timestamp::ZERO, |unit| unit.dts) - LEAD)?;

        // How far the clock may be moved without passing its track's next unit.
        let clock_end = content.next.or_else(|| clocked.last().map(|unit| unit.dts));
        let (mut video, mut audio) = (content.video, content.audio);
        if let Some((first, rest)) = video.split_first() {
            self.advance(first.dts)?;
            // Sound from before the first picture is decoded before it, too.
            let begin = match (self.clock, audio.first()) {
                (None, Some(sound)) => first.dts.min(sound.dts),
                _ => first.dts,
            };
            self.video(first, begin)?;
            video = rest;
        }
        loop {
            let picture_is_next = match (video.first(), audio.first()) {
                (Some(picture), Some(sound)) => picture.dts <= sound.dts,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            if picture_is_next {
                let (unit, rest) = (&video[0], &video[1..]);
                self.advance(unit.dts)?;
                self.video(unit, unit.dts)?;
                video = rest;
            } else {
                let (group, rest) = audio.split_at(joined(audio));
                if let Some(end) = clock_end {
                    self.advance(group[0].dts.min(end))?;
                }
                self.audio(group, !tracks.video)?;
                audio = rest;
            }
        }
        if let Some(next) = content.next {
            self.run_clock(next - LEAD)?;
        }
        Ok(self.packets.take().into())
    }

    /// Writes `unit` with the clock set for decoding at `now`.
    fn video(&mut self, unit: &Unit, now: Timestamp) -> Result<(), mpeg2ts::Error> {
        let adaptation = Adaptation {
            random_access: unit.key,
            ..self.tick(now - LEAD)
        };
        let packet = pes::Packet {
            pid: Pid::new(psi::VIDEO)?,
            stream_id: StreamId::new_video(StreamId::VIDEO_MIN)?,
            pts: unit.pts + self.offset,
            dts: unit.dts + self.offset,
            data: &[&unit.data],
            with_length: false,
        };
        packet.write(&mut self.packets, adaptation)
    }

    fn audio(&mut self, group: &[Unit], clocked: bool) -> Result<(), mpeg2ts::Error> {
        let Some(first) = group.first() else {
            return Ok(());
        };
        let adaptation = if clocked {
            Adaptation {
                random_access: true,
                ..self.tick(first.dts - LEAD)
            }
        } else {
            Adaptation::default()
        };
        let data: Vec<&[u8]> = group.iter().map(|unit| &*unit.data).collect();
        let packet = pes::Packet {
            pid: Pid::new(psi::AUDIO)?,
            stream_id: StreamId::new_audio(StreamId::AUDIO_MIN)?,
            pts: first.pts + self.offset,
            dts: first.pts + self.offset,
            data: &data,
            with_length: true,
        };
        packet.write(&mut self.packets, adaptation)
    }

    /// Brings clock and tables up to a unit decoded at `dts`.
    fn advance(&mut self, dts: Timestamp) -> Result<(), mpeg2ts::Error> {
        let now = dts - LEAD;
        self.run_clock(now)?;
        self.tables_if_due(now)
    }

    /// Writes the clock until it is near to `now`: where pictures are far apart
    /// it has packets of its own.
    fn run_clock(&mut self, now: Timestamp) -> Result<(), mpeg2ts::Error> {
        while let Some(clock) = self.clock
            && (MAX_CLOCK_GAP.get() + 1..=MAX_HOLE.get()).contains(&(now - clock).get())
        {
            let at = clock + CLOCK_STEP;
            self.tables_if_due(at)?;
            let adaptation = self.tick(at);
            if let Some(program) = &self.program {
                let pid = psi::clock_pid(program.tracks)?;
                self.packets.write(pid, adaptation, None)?;
            }
        }
        Ok(())
    }

    /// Sets the clock to `at`, for the packet about to be written.
    fn tick(&mut self, at: Timestamp) -> Adaptation {
        self.clock = Some(at);
        Adaptation {
            random_access: false,
            discontinuity: std::mem::take(&mut self.jumped),
            pcr: Some(wrap(at + self.offset)),
        }
    }

    fn tables_if_due(&mut self, at: Timestamp) -> Result<(), mpeg2ts::Error> {
        if at - self.tables_at >= TABLES_EVERY {
            self.write_tables(at)?;
        }
        Ok(())
    }

    fn write_tables(&mut self, at: Timestamp) -> Result<(), mpeg2ts::Error> {
        self.tables_at = at;
        match &self.program {
            Some(program) => program.tables.write(&mut self.packets),
            None => Ok(()),
        }
    }
}

/// How many of the frames at the head of `audio` make one PES packet: a few,
/// while each begins where the one before ends, since only the first has its
/// timestamp written.
fn joined(audio: &[Unit]) -> usize {
    let Some(first) = audio.first() else {
        return 0;
    };
    let mut bytes = first.data.len();
    let joins = |pair: &[Unit]| {
        let expected = pair[0].pts + pair[0].sounds;
        bytes += pair[1].data.len();
        (pair[1].pts - expected).abs() <= JOIN_TOLERANCE
            && pair[1].pts - first.pts < JOIN_SPAN
            && bytes <= JOIN_BYTES
    };
    1 + audio
        .windows(2)
        .map(joins)
        .take_while(|&joins| joins)
        .count()
}

/// How far the clock runs ahead of decoding: time for a large key picture to
/// arrive, and for sound that was captured a little before the first picture.
const LEAD: Ticks = Ticks::from_millis(500);

/// Two clock values may be 100 ms apart (ISO/IEC 13818-1, 2.7.2).
const MAX_CLOCK_GAP: Ticks = Ticks::from_millis(100);

/// Between pictures that are further apart the clock has a packet each 80 ms.
const CLOCK_STEP: Ticks = Ticks::from_millis(80);

/// A hole longer than this is left without clock packets, so that a timestamp
/// from the network cannot ask for any number of them.
const MAX_HOLE: Ticks = Ticks::from_millis(60_000);

/// Tables at least every 500 ms (ETSI TR 101 290, 2.1.1), with time for the
/// unit in between: 7.5 kbit/s.
const TABLES_EVERY: Ticks = Ticks::from_millis(400);

/// Three frames of 48 kHz or 44.1 kHz in a PES packet: the clock of a stream
/// without pictures stands in each.
const JOIN_SPAN: Ticks = Ticks::from_millis(60);

/// Bytes of frames that share a PES packet: 16 packets.
const JOIN_BYTES: usize = 2900;

/// Frames of 44.1 kHz are not a whole number of ticks long.
const JOIN_TOLERANCE: Ticks = Ticks::new(2);
