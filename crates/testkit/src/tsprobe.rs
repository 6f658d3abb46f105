//! Reads MPEG-TS segments as a strict receiver would, to judge a muxer.
//!
//! Written from ISO/IEC 13818-1 and RFC 8216bis alone: it shares no code with
//! the packager and no crate either, so that a misreading there is not repeated
//! here. One [`Prober`] follows one rung, for most rules are about what runs on
//! from one segment to the next.

use std::collections::BTreeMap;
use std::fmt;

/// Follows the segments of one rung.
#[derive(Debug, Default)]
pub struct Prober {
    counters: BTreeMap<u16, u8>,
    clock: Unwrap,
    pcr: Option<i64>,
    video_dts: Option<i64>,
    audio: Option<AudioClock>,
    packets: u64,
    /// The segment follows a discontinuity and may say so itself.
    restarted: bool,
}

/// What one segment holds.
#[derive(Clone, Debug, Default)]
pub struct Probed {
    /// Video access units in the order they were sent.
    pub video: Vec<VideoUnit>,
    /// ADTS frames in the order they were sent.
    pub audio: Vec<AudioFrame>,
    /// Program clock references, in 90 kHz ticks.
    pub pcr: Vec<i64>,
    /// Elementary streams of the PMT: PID and stream type.
    pub streams: Vec<(u16, u8)>,
}

/// One video access unit. Times are 90 kHz ticks, unwrapped from 33 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoUnit {
    /// Presentation time.
    pub pts: i64,
    /// Decoding time.
    pub dts: i64,
    /// NAL unit types in order.
    pub nals: Vec<u8>,
}

/// One ADTS frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioFrame {
    /// Presentation time in 90 kHz ticks, unwrapped: of its PES packet, or
    /// counted on from there.
    pub pts: i64,
    /// Samples a second.
    pub rate: u32,
    /// Channel configuration.
    pub channels: u8,
}

/// A rule that a segment breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The packet it shows in, counted over all segments.
    pub packet: u64,
    /// The rule and what was found.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TS packet {}: {}", self.packet, self.what)
    }
}

impl std::error::Error for Broken {}

/// PES packets being gathered within a segment.
#[derive(Default)]
struct Gathering {
    payload: Vec<u8>,
    random_access: bool,
    started: bool,
    /// The clock when its last byte came.
    pcr: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct AudioClock {
    anchor: i64,
    rate: u32,
    frames: i64,
}

/// Continues 33-bit times past their wrap.
#[derive(Clone, Copy, Debug, Default)]
struct Unwrap {
    last: Option<i64>,
}

struct Tables {
    pcr_pid: u16,
    streams: Vec<(u16, u8)>,
}

impl Prober {
    /// A prober that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next segment follows a discontinuity: nothing needs to run on.
    pub fn discontinuity(&mut self) {
        *self = Self {
            packets: self.packets,
            restarted: true,
            ..Self::default()
        };
    }

    /// Reads the next segment.
    pub fn segment(&mut self, data: &[u8]) -> Result<Probed, Broken> {
        let mut probed = Probed::default();
        if data.is_empty() || !data.len().is_multiple_of(PACKET) {
            return Err(self.broken(format!(
                "{} bytes are no whole number of packets",
                data.len()
            )));
        }
        let mut packets = data.chunks_exact(PACKET);
        let pat = packets
            .next()
            .map(|packet| self.packet(packet))
            .transpose()?;
        let program = self.section(pat, 0, 0x00)?;
        let [.., a, b] = program[..] else {
            return Err(self.broken("the PAT names no program".into()));
        };
        if program.len() != 9 {
            return Err(self.broken("the PAT must name exactly one program".into()));
        }
        let pmt_pid = u16::from(a & 0x1f) << 8 | u16::from(b);
        let pmt = packets
            .next()
            .map(|packet| self.packet(packet))
            .transpose()?;
        let map = self.section(pmt, pmt_pid, 0x02)?;
        let tables = self.tables(&map)?;
        probed.streams.clone_from(&tables.streams);
        let mut gathering: BTreeMap<u16, Gathering> = BTreeMap::new();
        for packet in packets {
            let packet = self.packet(packet)?;
            if let Some(pcr) = packet.pcr {
                if packet.pid != tables.pcr_pid {
                    return Err(self.broken(format!(
                        "a PCR on PID {}, not {}",
                        packet.pid, tables.pcr_pid
                    )));
                }
                self.pcr(pcr, &mut probed)?;
            }
            match packet.pid {
                0 => drop(self.section(Some(packet), 0, 0x00)?),
                pid if pid == pmt_pid => {
                    if self.section(Some(packet), pmt_pid, 0x02)? != map {
                        return Err(self.broken("the PMT changes within the segment".into()));
                    }
                }
                NULL => {}
                pid => {
                    let Some((_, kind)) = tables.streams.iter().find(|(stream, _)| *stream == pid)
                    else {
                        return Err(self.broken(format!("PID {pid} is not in the PMT")));
                    };
                    let one = gathering.entry(pid).or_default();
                    if packet.start {
                        let whole = std::mem::take(one);
                        self.pes(*kind, &whole, &mut probed)?;
                        let one = gathering.entry(pid).or_default();
                        one.started = true;
                        one.random_access = packet.random_access;
                        one.payload.extend_from_slice(packet.payload);
                    } else if one.started {
                        one.payload.extend_from_slice(packet.payload);
                    } else if !packet.payload.is_empty() {
                        return Err(self.broken(format!(
                            "PID {pid} goes on with a PES packet of the segment before"
                        )));
                    }
                    // A packet of the clock alone brings no byte of it.
                    if let Some(one) = gathering.get_mut(&pid)
                        && !packet.payload.is_empty()
                    {
                        one.pcr = self.pcr;
                    }
                }
            }
        }
        for (pid, whole) in gathering {
            let kind = tables
                .streams
                .iter()
                .find(|(stream, _)| *stream == pid)
                .map_or(0, |(_, kind)| *kind);
            self.pes(kind, &whole, &mut probed)?;
        }
        self.judge(&probed)?;
        self.restarted = false;
        Ok(probed)
    }

    /// The rules of a whole segment.
    fn judge(&self, probed: &Probed) -> Result<(), Broken> {
        let has_video = probed.streams.iter().any(|(_, kind)| *kind == H264);
        let Some(first) = probed.video.first() else {
            return if has_video {
                Err(self.broken("no picture in a segment with video".into()))
            } else {
                Ok(())
            };
        };
        let start: Vec<u8> = first
            .nals
            .iter()
            .copied()
            .filter(|kind| *kind != SEI)
            .take(4)
            .collect();
        if start != [AUD, SPS, PPS, IDR] {
            return Err(self.broken(format!(
                "the segment starts with NAL units {:?}, not AUD, SPS, PPS, IDR",
                first.nals
            )));
        }
        if probed.pcr.is_empty() {
            return Err(self.broken("no PCR in the segment".into()));
        }
        Ok(())
    }

    fn packet<'a>(&mut self, packet: &'a [u8]) -> Result<Packet<'a>, Broken> {
        self.packets += 1;
        if packet[0] != 0x47 {
            return Err(self.broken(format!("sync byte {:#04x}", packet[0])));
        }
        if packet[1] & 0x80 != 0 || packet[3] & 0xc0 != 0 {
            return Err(self.broken("marked as damaged or scrambled".into()));
        }
        let start = packet[1] & 0x40 != 0;
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        let (has_field, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let mut at = 4;
        let (mut pcr, mut random_access) = (None, false);
        if has_field {
            let len = usize::from(packet[4]);
            at = 5 + len;
            let most = if has_payload { 182 } else { 183 };
            if len > most || (!has_payload && len != 183) {
                return Err(self.broken(format!("an adaptation field of {len} bytes")));
            }
            if len > 0 {
                if packet[5] & 0x80 != 0 && !self.restarted {
                    return Err(self.broken("a discontinuity indicator".into()));
                }
                random_access = packet[5] & 0x40 != 0;
                if packet[5] & 0x10 != 0 {
                    let bytes: [u8; 6] = packet[6..12]
                        .try_into()
                        .map_err(|_| self.broken("a short PCR".into()))?;
                    let base = bytes[..4]
                        .iter()
                        .fold(0, |sum, byte| sum << 8 | i64::from(*byte));
                    pcr = Some(base << 1 | i64::from(bytes[4] >> 7));
                }
            }
        }
        let payload = if has_payload { &packet[at..] } else { &[] };
        if pid != NULL {
            let counter = packet[3] & 0x0f;
            let last = self.counters.insert(pid, counter);
            let expected = last.map(|last| if has_payload { (last + 1) & 0x0f } else { last });
            if let Some(expected) = expected.filter(|expected| *expected != counter) {
                return Err(self.broken(format!(
                    "continuity: PID {pid} has {counter} where {expected} is due"
                )));
            }
        }
        Ok(Packet {
            pid,
            start,
            random_access,
            pcr,
            payload,
        })
    }

    /// A PSI section that fits one packet, without its CRC: 13818-1 2.4.4.
    fn section(&self, packet: Option<Packet<'_>>, pid: u16, table: u8) -> Result<Vec<u8>, Broken> {
        let name = if table == 0 { "PAT" } else { "PMT" };
        let Some(packet) = packet.filter(|packet| packet.pid == pid && packet.start) else {
            return Err(self.broken(format!("the {name} is not where it must be")));
        };
        let pointer = usize::from(packet.payload.first().copied().unwrap_or_default());
        let section = packet.payload.get(1 + pointer..).unwrap_or_default();
        if section.len() < 12 || section[0] != table {
            return Err(self.broken(format!("no {name} section on PID {pid}")));
        }
        let len = 3 + (usize::from(section[1] & 0x0f) << 8 | usize::from(section[2]));
        let Some(section) = section.get(..len).filter(|section| section.len() >= 12) else {
            return Err(self.broken(format!("the {name} does not fit its packet")));
        };
        if crc32(section) != 0 {
            return Err(self.broken(format!("the CRC of the {name} is wrong")));
        }
        // From the version on: program_number and PID, or the map.
        Ok(section[3..len - 4].to_vec())
    }

    fn tables(&self, map: &[u8]) -> Result<Tables, Broken> {
        let short = || self.broken("the PMT is cut short".into());
        let word = |at: usize| -> Option<u16> {
            Some(u16::from(*map.get(at)?) << 8 | u16::from(*map.get(at + 1)?))
        };
        let pcr_pid = word(5).ok_or_else(short)? & 0x1fff;
        let mut at = 9 + usize::from(word(7).ok_or_else(short)? & 0x0fff);
        let mut streams = Vec::new();
        while at < map.len() {
            let kind = map[at];
            let pid = word(at + 1).ok_or_else(short)? & 0x1fff;
            at += 5 + usize::from(word(at + 3).ok_or_else(short)? & 0x0fff);
            if kind != H264 && kind != AAC {
                return Err(self.broken(format!("stream type {kind:#04x} in the PMT")));
            }
            streams.push((pid, kind));
        }
        if streams.is_empty() || !streams.iter().any(|(pid, _)| *pid == pcr_pid) {
            return Err(self.broken("the PMT's PCR PID carries none of its streams".into()));
        }
        Ok(Tables { pcr_pid, streams })
    }

    fn pcr(&mut self, pcr: i64, probed: &mut Probed) -> Result<(), Broken> {
        let pcr = self.clock.unwrap(pcr);
        if let Some(last) = self.pcr.replace(pcr) {
            let step = pcr - last;
            if step < 0 {
                return Err(self.broken(format!("the PCR goes back by {} ticks", -step)));
            }
            if step > MAX_PCR_STEP {
                return Err(self.broken(format!("{} ms between two PCRs", step / 90)));
            }
        }
        probed.pcr.push(pcr);
        Ok(())
    }

    fn pes(&mut self, kind: u8, whole: &Gathering, probed: &mut Probed) -> Result<(), Broken> {
        if !whole.started {
            return Ok(());
        }
        let bytes = &whole.payload[..];
        let ids = if kind == H264 {
            0xe0..=0xef
        } else {
            0xc0..=0xdf
        };
        if bytes.len() < 9 || bytes[..3] != [0, 0, 1] || !ids.contains(&bytes[3]) {
            return Err(self.broken("a PES packet without its header".into()));
        }
        let declared = usize::from(bytes[4]) << 8 | usize::from(bytes[5]);
        if (declared != 0 || kind == AAC) && declared + 6 != bytes.len() {
            return Err(self.broken(format!(
                "a PES packet of {} bytes says {declared}",
                bytes.len() - 6
            )));
        }
        let flags = bytes[7] >> 6;
        let header = 9 + usize::from(bytes[8]);
        if flags & 2 == 0 || bytes.len() < header || header < if flags == 3 { 19 } else { 14 } {
            return Err(self.broken("a PES packet without pts".into()));
        }
        let pts = self.clock.unwrap(timestamp(&bytes[9..14]));
        let dts = if flags == 3 {
            self.clock.unwrap(timestamp(&bytes[14..19]))
        } else {
            pts
        };
        if dts > pts {
            return Err(self.broken(format!("dts {dts} after pts {pts}")));
        }
        if whole.pcr.is_some_and(|pcr| pcr > dts) {
            return Err(self.broken(format!("dts {dts} is before the PCR")));
        }
        let data = &bytes[header..];
        if kind == H264 {
            if let Some(last) = self.video_dts.replace(dts).filter(|last| *last >= dts) {
                return Err(self.broken(format!("video dts {dts} after {last}")));
            }
            let nals = nal_types(data);
            if nals.first() != Some(&AUD) || nals.iter().filter(|nal| **nal == AUD).count() != 1 {
                return Err(self.broken(format!(
                    "a PES packet with NAL units {nals:?}: one access unit behind one AUD is due"
                )));
            }
            if nals.contains(&IDR) != whole.random_access {
                return Err(self.broken(format!(
                    "random access indicator {} on NAL units {nals:?}",
                    whole.random_access
                )));
            }
            probed.video.push(VideoUnit { pts, dts, nals });
            return Ok(());
        }
        self.adts(pts, data, probed)
    }

    /// ADTS frames must fill the PES packet exactly and follow one another at
    /// the rate they declare, within and across segments.
    fn adts(&mut self, pts: i64, mut data: &[u8], probed: &mut Probed) -> Result<(), Broken> {
        let mut here = pts;
        while !data.is_empty() {
            let good = data.len() >= 7 && data[0] == 0xff && data[1] & 0xf6 == 0xf0;
            if !good {
                return Err(self.broken("no ADTS header where one is due".into()));
            }
            let Some(rate) = RATES.get(usize::from(data[2] >> 2 & 0x0f)).copied() else {
                return Err(self.broken("an ADTS header with a forbidden rate".into()));
            };
            if data[2] >> 6 != 1 {
                return Err(self.broken("an ADTS header that is not AAC-LC".into()));
            }
            let channels = (data[2] & 1) << 2 | data[3] >> 6;
            let len = usize::from(data[3] & 3) << 11
                | usize::from(data[4]) << 3
                | usize::from(data[5]) >> 5;
            if len < 7 || len > data.len() || data[6] & 3 != 0 {
                return Err(self.broken(format!("an ADTS frame of {len} bytes in {}", data.len())));
            }
            let clock = self.audio.get_or_insert(AudioClock {
                anchor: here,
                rate,
                frames: 0,
            });
            let expected = clock.anchor
                + (clock.frames * 1024 * 90_000 + i64::from(rate) / 2) / i64::from(rate);
            clock.frames += 1;
            if clock.rate != rate || (here - expected).abs() > 1 {
                return Err(self.broken(format!(
                    "audio at {here} where {expected} is due: a frame is lost, repeated or moved"
                )));
            }
            probed.audio.push(AudioFrame {
                pts: here,
                rate,
                channels,
            });
            // Frames after the first of a PES packet have no time of their own.
            here = clock.anchor
                + (clock.frames * 1024 * 90_000 + i64::from(rate) / 2) / i64::from(rate);
            data = &data[len..];
        }
        Ok(())
    }

    fn broken(&self, what: String) -> Broken {
        Broken {
            packet: self.packets,
            what,
        }
    }
}

struct Packet<'a> {
    pid: u16,
    start: bool,
    random_access: bool,
    pcr: Option<i64>,
    payload: &'a [u8],
}

impl Unwrap {
    fn unwrap(&mut self, time: i64) -> i64 {
        let last = *self.last.get_or_insert(time);
        let step = (time - last).rem_euclid(WRAP);
        let now = last + if step >= WRAP / 2 { step - WRAP } else { step };
        self.last = Some(now);
        now
    }
}

/// Five bytes, 33 bits between markers: 13818-1 2.4.3.7.
fn timestamp(bytes: &[u8]) -> i64 {
    let byte = |at: usize| i64::from(bytes[at]);
    (byte(0) >> 1 & 7) << 30 | byte(1) << 22 | (byte(2) >> 1) << 15 | byte(3) << 7 | byte(4) >> 1
}

/// Types of the NAL units of an Annex B byte stream.
fn nal_types(data: &[u8]) -> Vec<u8> {
    let starts = data.windows(4).filter(|window| window[..3] == [0, 0, 1]);
    starts.map(|window| window[3] & 0x1f).collect()
}

fn crc32(data: &[u8]) -> u32 {
    data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

const PACKET: usize = 188;
const NULL: u16 = 0x1fff;
const H264: u8 = 0x1b;
const AAC: u8 = 0x0f;
const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const AUD: u8 = 9;
const WRAP: i64 = 1 << 33;
/// ISO/IEC 13818-1 2.7.2: 100 ms.
const MAX_PCR_STEP: i64 = 9000;
const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000,
    7350,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment of one picture and one ADTS frame, in four packets.
    fn segment(counter: u8, at: u64) -> Vec<u8> {
        let section = |table: u8, body: &[u8]| {
            let mut section = vec![table, 0xb0, (body.len() + 4) as u8];
            section.extend_from_slice(body);
            let crc = crc32(&section);
            section.extend_from_slice(&crc.to_be_bytes());
            section.insert(0, 0);
            section.resize(184, 0xff);
            section
        };
        let pat = section(0, &[0, 1, 0xc1, 0, 0, 0, 1, 0xe1, 0]);
        let pmt = section(
            2,
            &[
                0, 1, 0xc1, 0, 0, 0xe1, 1, 0xf0, 0, H264, 0xe1, 1, 0xf0, 0, AAC, 0xe1, 2, 0xf0, 0,
            ],
        );
        let stamp = [
            0x21 | (at >> 29) as u8 & 0x0e,
            (at >> 22) as u8,
            (at >> 14) as u8 | 1,
            (at >> 7) as u8,
            (at << 1) as u8 | 1,
        ];
        let pes = |id: u8, data: &[u8], room: usize, declare: bool| {
            let mut pes = vec![0, 0, 1, id, 0, 0, 0x80, 0x80, 5];
            pes.extend_from_slice(&stamp);
            pes.extend_from_slice(data);
            if id == 0xc0 {
                // Filled up so that no stuffing is needed: one long frame.
                pes.resize(room, 0);
            }
            if declare {
                pes[5] = (pes.len() - 6) as u8;
            }
            pes
        };
        let clock = at << 1 >> 1;
        let field = |flags: u8, len: u8| {
            let mut field = vec![len, flags];
            field.extend_from_slice(&[
                (clock >> 25) as u8,
                (clock >> 17) as u8,
                (clock >> 9) as u8,
                (clock >> 1) as u8,
                (clock << 7) as u8,
                0,
            ]);
            field.resize(usize::from(len) + 1, 0xff);
            field
        };
        let nals = [
            0, 0, 1, 9, 0xf0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 1, 0, 0, 1, 0x65, 1,
        ];
        let picture = pes(0xe0, &nals, 0, false);
        let mut video = field(0x50, (183 - picture.len()) as u8);
        video.extend_from_slice(&picture);
        let frame_len = 184 - 14;
        let frame = [
            0xff,
            0xf1,
            0x4c,
            0x80,
            (frame_len >> 3) as u8,
            (frame_len << 5) as u8 | 0x1f,
            0xfc,
        ];
        let audio = pes(0xc0, &frame, 184, true);
        let packet = |pid: u16, afc: u8, body: Vec<u8>| {
            assert_eq!(body.len(), 184);
            let mut packet = vec![
                0x47,
                0x40 | (pid >> 8) as u8,
                pid as u8,
                afc << 4 | counter & 0x0f,
            ];
            packet.extend(body);
            packet
        };
        [
            packet(0, 1, pat),
            packet(0x100, 1, pmt),
            packet(0x101, 3, video),
            packet(0x102, 1, audio),
        ]
        .concat()
    }

    /// 1024 samples at 48 kHz.
    const STEP: u64 = 1920;

    fn what(result: Result<Probed, Broken>) -> String {
        result.expect_err("a rule is broken").what
    }

    #[test]
    fn a_good_pair_of_segments_is_read_to_the_last_frame() {
        let mut prober = Prober::new();
        let probed = prober.segment(&segment(0, 126_000)).unwrap();
        assert_eq!(probed.streams, [(0x101, H264), (0x102, AAC)]);
        assert_eq!(
            probed.video,
            [VideoUnit {
                pts: 126_000,
                dts: 126_000,
                nals: vec![9, 7, 8, 5]
            }]
        );
        assert_eq!(
            probed.audio,
            [AudioFrame {
                pts: 126_000,
                rate: 48_000,
                channels: 2
            }]
        );
        assert_eq!(probed.pcr, [126_000]);
        prober.segment(&segment(1, 126_000 + STEP)).unwrap();
    }

    #[test]
    fn counters_must_run_on_into_the_next_segment() {
        let mut prober = Prober::new();
        prober.segment(&segment(0, 0)).unwrap();
        assert!(what(prober.segment(&segment(0, STEP))).starts_with("continuity: PID 0"));
    }

    #[test]
    fn after_a_discontinuity_nothing_needs_to_run_on_and_the_packets_may_say_so() {
        let mut marked = segment(7, 0);
        marked[2 * PACKET + 5] |= 0x80;
        let mut prober = Prober::new();
        prober.segment(&segment(0, 126_000)).unwrap();
        prober.discontinuity();
        prober.segment(&marked).unwrap();
        marked[2 * PACKET + 5] |= 0x80;
        assert_eq!(
            what(prober.segment(&marked)),
            "continuity: PID 0 has 7 where 8 is due"
        );
        assert_eq!(
            what(Prober::new().segment(&marked)),
            "a discontinuity indicator"
        );
    }

    #[test]
    fn a_lost_or_repeated_audio_frame_shows() {
        for at in [0, 2 * STEP] {
            let mut prober = Prober::new();
            prober.segment(&segment(0, 0)).unwrap();
            let mut next = segment(1, STEP);
            let good = segment(1, at);
            next[3 * PACKET..].copy_from_slice(&good[3 * PACKET..]);
            let what = what(prober.segment(&next));
            assert!(
                what.contains("lost, repeated or moved") || what.contains("before the PCR"),
                "{what}"
            );
        }
    }

    #[test]
    fn a_clock_that_rests_too_long_shows() {
        let mut prober = Prober::new();
        prober.segment(&segment(0, 0)).unwrap();
        assert_eq!(
            what(prober.segment(&segment(1, 9001 + 90))),
            "101 ms between two PCRs"
        );
    }

    #[test]
    fn times_run_on_past_33_bits() {
        let mut prober = Prober::new();
        prober.segment(&segment(0, (1 << 33) - STEP)).unwrap();
        let probed = prober.segment(&segment(1, 0)).unwrap();
        assert_eq!(probed.video[0].pts, 1 << 33);
    }

    #[test]
    fn damage_of_any_byte_never_panics_and_headers_are_noticed() {
        let good = segment(0, 126_000);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _ = Prober::new().segment(&bad);
        }
        let noticed = |at: usize, bits: u8| {
            let mut bad = good.clone();
            bad[at] ^= bits;
            what(Prober::new().segment(&bad))
        };
        assert_eq!(noticed(0, 1), "sync byte 0x46");
        assert_eq!(noticed(9, 1), "the CRC of the PAT is wrong");
        assert_eq!(noticed(PACKET + 9, 1), "the CRC of the PMT is wrong");
        assert!(noticed(2 * PACKET + 5, 0x40).starts_with("random access indicator false"));
        assert!(what(Prober::new().segment(&good[1..])).contains("no whole number"));
        assert!(what(Prober::new().segment(&good[PACKET..])).contains("PAT is not where"));
    }
}
