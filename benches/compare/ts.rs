//! How large each picture of a transport stream is, and when it is due.
//!
//! Reads what weir and ffmpeg write: one picture a PES packet, one program.
//! Nothing is judged here; `testkit::tsprobe` does that for weir's own tests.

use anyhow::{Context as _, Result, bail};

/// A coded picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Picture {
    /// When it is decoded, in seconds; rises along the stream.
    pub dts: f64,
    /// Its NAL units with all that precedes them in the elementary stream,
    /// without PES and packet overhead.
    pub bits: f64,
}

/// What a rung's segments hold, in order.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub pictures: Vec<Picture>,
    /// Bits of the sound's elementary stream.
    pub audio_bits: f64,
    clock: Option<i64>,
}

/// The elementary stream that a PID carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Video,
    Audio,
}

impl Stream {
    /// Reads the next segment.
    pub(crate) fn segment(&mut self, data: &[u8]) -> Result<()> {
        let mut map_pid = None;
        let mut pids: Vec<(u16, Kind)> = Vec::new();
        for (index, packet) in data.chunks_exact(PACKET).enumerate() {
            let at = || format!("packet {index}");
            if packet[0] != 0x47 {
                bail!("{}: no sync byte", at());
            }
            let start = packet[1] & 0x40 != 0;
            let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
            let header = match packet[3] >> 4 & 3 {
                1 => 4,
                3 => 5 + usize::from(packet[4]),
                _ => continue,
            };
            let payload = packet.get(header..).with_context(at)?;
            if pid == 0 && start {
                map_pid = program_map(payload);
            } else if Some(pid) == map_pid && start {
                pids = elementary(payload).with_context(at)?;
            } else if let Some((_, kind)) = pids.iter().find(|(known, _)| *known == pid) {
                self.payload(*kind, start, payload).with_context(at)?;
            }
        }
        Ok(())
    }

    /// ISO/IEC 13818-1 2.4.3.6: a PES packet begins, or goes on.
    fn payload(&mut self, kind: Kind, start: bool, payload: &[u8]) -> Result<()> {
        let mut bytes = payload.len();
        if start {
            let header = payload.get(..9).context("a short PES header")?;
            bytes = bytes
                .checked_sub(9 + usize::from(header[8]))
                .context("a PES header longer than its packet")?;
            if kind == Kind::Video {
                // The decoding time is there where it is not the presentation's.
                let from = if header[7] & 0x40 != 0 { 14 } else { 9 };
                let stamp = payload
                    .get(from..from + 5)
                    .context("a picture without time")?;
                let dts = self.unwrap(stamp_of(stamp)) as f64 / 90_000.0;
                self.pictures.push(Picture { dts, bits: 0.0 });
            }
        }
        let bits = bytes as f64 * 8.0;
        match (kind, self.pictures.last_mut()) {
            (Kind::Audio, _) => self.audio_bits += bits,
            (Kind::Video, Some(picture)) => picture.bits += bits,
            (Kind::Video, None) => {}
        }
        Ok(())
    }

    /// Continues 33-bit times past their wrap.
    fn unwrap(&mut self, stamp: i64) -> i64 {
        let ticks = match self.clock {
            None => stamp,
            Some(last) => last + ((stamp - last + WRAP / 2).rem_euclid(WRAP) - WRAP / 2),
        };
        self.clock = Some(ticks);
        ticks
    }
}

/// PID of the first program's map.
fn program_map(payload: &[u8]) -> Option<u16> {
    let section = payload.get(1 + usize::from(*payload.first()?)..)?;
    let pid = section.get(10..12)?;
    Some(u16::from(pid[0] & 0x1f) << 8 | u16::from(pid[1]))
}

/// H.264 and AAC streams of a program map that fits its packet.
fn elementary(payload: &[u8]) -> Option<Vec<(u16, Kind)>> {
    let section = payload.get(1 + usize::from(*payload.first()?)..)?;
    let word =
        |at: usize| Some(usize::from(*section.get(at)?) << 8 | usize::from(*section.get(at + 1)?));
    let end = (3 + (word(1)? & 0x0fff)).checked_sub(4)?;
    let mut at = 12 + (word(10)? & 0x0fff);
    let mut pids = Vec::new();
    while at + 5 <= end {
        let pid = (word(at + 1)? & 0x1fff) as u16;
        match section.get(at)? {
            0x1b => pids.push((pid, Kind::Video)),
            0x0f => pids.push((pid, Kind::Audio)),
            _ => {}
        }
        at += 5 + (word(at + 3)? & 0x0fff);
    }
    Some(pids)
}

/// Five bytes with markers between 3, 15 and 15 bits.
fn stamp_of(bytes: &[u8]) -> i64 {
    let part = |at: usize| i64::from(bytes[at]);
    (part(0) >> 1 & 7) << 30 | part(1) << 22 | part(2) >> 1 << 15 | part(3) << 7 | part(4) >> 1
}

const PACKET: usize = 188;
const WRAP: i64 = 1 << 33;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_on_past_the_wrap_and_back_across_it() {
        let mut stream = Stream::default();
        assert_eq!(stream.unwrap(WRAP - 100), WRAP - 100);
        assert_eq!(stream.unwrap(200), WRAP + 200);
        assert_eq!(stream.unwrap(WRAP - 50), WRAP - 50);
    }

    #[test]
    fn a_stamp_is_33_bits_between_markers() {
        assert_eq!(stamp_of(&[0x3f, 0xff, 0xff, 0xff, 0xff]), WRAP - 1);
        assert_eq!(stamp_of(&[0x21, 0x00, 0x01, 0x00, 0x03]), 1);
    }

    #[test]
    fn rubbish_is_an_error_and_never_a_panic() {
        let mut stream = Stream::default();
        assert!(stream.segment(&[0; PACKET]).is_err());
        let mut packet = [0xff; PACKET];
        packet[0] = 0x47;
        for second in 0..=255 {
            for third in [0x10, 0x30] {
                packet[1] = second;
                packet[3] = third;
                drop(stream.segment(&packet));
            }
        }
    }
}
