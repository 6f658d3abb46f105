//! A reader of segments that shares nothing with the writer: packet headers and
//! clocks from the bytes, tables and PES packets through the mpeg2ts reader.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of this"
)]

pub mod units;

use std::collections::BTreeMap;

use bitstream::nal;
use mpeg2ts::pes::PesHeader;
use mpeg2ts::ts::{ReadTsPacket, TsPacketReader, TsPayload};
use weir_packager::Segment;

pub const VIDEO: u16 = 0x100;
pub const AUDIO: u16 = 0x101;
pub const PMT: u16 = 0x1000;
pub const WRAP: u64 = 1 << 33;

/// One PES packet as read.
#[derive(Clone, Debug)]
pub struct Pes {
    pub pid: u16,
    pub header: PesHeader,
    pub length: u16,
    pub data: Vec<u8>,
    /// Index of its first packet in the segment.
    pub packet: usize,
    /// The last clock value before or in its first packet, in 90 kHz.
    pub clock: Option<u64>,
}

impl Pes {
    pub fn pts(&self) -> u64 {
        self.header.pts.unwrap().as_u64()
    }

    pub fn dts(&self) -> u64 {
        self.header.dts.or(self.header.pts).unwrap().as_u64()
    }
}

/// What one segment holds.
#[derive(Debug)]
pub struct Contents {
    pub pids: Vec<u16>,
    pub pes: Vec<Pes>,
    pub tracks: Vec<u16>,
    pub pmt_version: u8,
    pub clock_pid: u16,
}

impl Contents {
    pub fn of(&self, pid: u16) -> impl Iterator<Item = &Pes> {
        self.pes.iter().filter(move |pes| pes.pid == pid)
    }
}

/// Reads segment after segment and checks what holds for any stream of ours.
#[derive(Debug, Default)]
pub struct Checker {
    counters: BTreeMap<u16, u8>,
    clock: Option<u64>,
    any_time: bool,
    /// Widest distance of two clock values seen, in 90 kHz ticks.
    pub widest_clock_gap: u64,
}

impl Checker {
    /// As [`Checker::segment`], for a timeline that may leap.
    pub fn segment_of_any_time(&mut self, segment: &Segment) -> Contents {
        self.any_time = true;
        self.segment(segment)
    }

    pub fn segment(&mut self, segment: &Segment) -> Contents {
        assert_eq!(segment.data.len() % 188, 0);
        let packets: Vec<&[u8]> = segment.data.chunks(188).collect();
        let mut clocks = Vec::new();
        let mut clock_pids = Vec::new();
        for packet in &packets {
            let clock = self.packet(packet, segment);
            if clock.is_some() {
                clock_pids.push(pid(packet));
            }
            clocks.push(clock.or_else(|| clocks.last().copied().flatten()));
        }
        let contents = read(&segment.data, &clocks);
        assert_eq!(contents.pids[..2], [0, PMT], "tables come first");
        assert!(clock_pids.iter().all(|&pid| pid == contents.clock_pid));
        for pes in &contents.pes {
            assert!(pes.header.data_alignment_indicator);
            assert_eq!(
                pes.length == 0,
                pes.pid == VIDEO,
                "only video may leave out the length"
            );
            assert_ne!(pes.header.pts, pes.header.dts, "dts only where it differs");
        }
        contents
    }

    /// Counter and clock of one packet, from its bytes.
    fn packet(&mut self, packet: &[u8], segment: &Segment) -> Option<u64> {
        assert_eq!(packet[0], 0x47);
        assert_eq!(packet[1] & 0x80, 0);
        let (control, counter) = (packet[3] >> 4, packet[3] & 0xf);
        let before = self.counters.insert(pid(packet), counter);
        if let Some(before) = before {
            let step = control & 1;
            assert_eq!(
                counter,
                (before + step) & 0xf,
                "counter of PID {:#x}",
                pid(packet)
            );
        }
        if control & 2 == 0 || packet[4] == 0 {
            return None;
        }
        let flags = packet[5];
        if flags & 0x10 == 0 {
            return None;
        }
        let clock = packet[6..10]
            .iter()
            .fold(0, |base, &byte| base << 8 | u64::from(byte))
            << 1
            | u64::from(packet[10] >> 7);
        assert_eq!(packet[10] & 0x7e, 0x7e, "reserved bits");
        assert_eq!((packet[10] & 1, packet[11]), (0, 0), "clock extension");
        let discontinuity = flags & 0x80 != 0;
        if let Some(before) = self.clock.filter(|_| !discontinuity && !self.any_time) {
            let gap = (clock + WRAP - before) % WRAP;
            assert!(
                gap > 0 && gap < WRAP / 2,
                "clock went back in {}",
                segment.number
            );
            self.widest_clock_gap = self.widest_clock_gap.max(gap);
        }
        if discontinuity && !self.any_time {
            assert!(segment.discontinuity && self.clock.is_some());
        }
        self.clock = Some(clock);
        Some(clock)
    }
}

fn pid(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff
}

/// Reads `data` as a player would that has seen no other segment.
fn read(data: &[u8], clocks: &[Option<u64>]) -> Contents {
    let mut reader = TsPacketReader::new(data);
    let mut contents = Contents {
        pids: Vec::new(),
        pes: Vec::new(),
        tracks: Vec::new(),
        pmt_version: 0,
        clock_pid: 0,
    };
    while let Some(packet) = reader.read_ts_packet().unwrap() {
        let pid = packet.header.pid.as_u16();
        let index = contents.pids.len();
        contents.pids.push(pid);
        match packet.payload {
            Some(TsPayload::Pat(pat)) => {
                assert_eq!(pat.table.len(), 1);
                assert_eq!(pat.table[0].program_map_pid.as_u16(), PMT);
            }
            Some(TsPayload::Pmt(pmt)) => {
                contents.clock_pid = pmt.pcr_pid.unwrap().as_u16();
                contents.pmt_version = pmt.version_number.as_u8();
                contents.tracks = pmt
                    .es_info
                    .iter()
                    .map(|info| info.elementary_pid.as_u16())
                    .collect();
            }
            Some(TsPayload::PesStart(start)) => contents.pes.push(Pes {
                pid,
                header: start.header,
                length: start.pes_packet_len,
                data: start.data.to_vec(),
                packet: index,
                clock: clocks[index],
            }),
            Some(TsPayload::PesContinuation(bytes)) => {
                let pes = contents.pes.iter_mut().rfind(|pes| pes.pid == pid).unwrap();
                pes.data.extend_from_slice(&bytes);
            }
            None => assert_eq!(pid, contents.clock_pid, "only the clock travels alone"),
            other => panic!("unexpected payload {other:?}"),
        }
    }
    for pes in contents.pes.iter().filter(|pes| pes.length != 0) {
        let optional = if pes.header.dts.is_some() { 13 } else { 8 };
        assert_eq!(usize::from(pes.length), pes.data.len() + optional);
    }
    contents
}

/// The kinds of the NAL units of a video PES packet: `nal_unit_type` each.
pub fn nal_types(pes: &Pes) -> Vec<u8> {
    nal::annex_b(&pes.data).map(|nal| nal[0] & 0x1f).collect()
}

/// The raw frames of an audio PES packet with the pts of each.
pub fn adts_frames(pes: &Pes) -> Vec<(u64, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut rest = &pes.data[..];
    while !rest.is_empty() {
        assert_eq!((rest[0], rest[1] & 0xf6), (0xff, 0xf0), "ADTS sync word");
        let rates = [
            96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000,
        ];
        let rate: u64 = rates[usize::from(rest[2] >> 2 & 0xf)];
        let length =
            usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5] >> 5);
        let samples = frames.len() as u64 * 1024;
        let pts = (pes.pts() + samples * 90_000 / rate) % WRAP;
        frames.push((pts, rest[7..length].to_vec()));
        rest = &rest[length..];
    }
    frames
}
