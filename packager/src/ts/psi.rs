use mpeg2ts::es::StreamType;
use mpeg2ts::ts::payload::{Bytes as Payload, Pat, Pmt, Section};
use mpeg2ts::ts::{EsInfo, Pid, ProgramAssociation, TsPayload, VersionNumber};

use super::packet::{Adaptation, Packets, ROOM};
use crate::Tracks;

/// PID of the PMT.
pub(super) const PMT: u16 = 0x1000;
/// PID of the video track.
pub(super) const VIDEO: u16 = 0x100;
/// PID of the audio track.
pub(super) const AUDIO: u16 = 0x101;

/// PAT and PMT of a single program, ready to be written.
#[derive(Debug)]
pub(super) struct Tables {
    pat: Section,
    pmt: Section,
}

impl Tables {
    /// The tables of a stream with `tracks`. `version` counts their changes.
    pub(super) fn new(tracks: Tracks, version: u8) -> Result<Self, mpeg2ts::Error> {
        let mut version_number = VersionNumber::new();
        (0..version).for_each(|_| version_number.increment());
        let pat = Pat {
            transport_stream_id: 1,
            version_number: VersionNumber::new(),
            table: vec![ProgramAssociation {
                program_num: 1,
                program_map_pid: Pid::new(PMT)?,
            }],
        };
        let mut es_info = Vec::new();
        let listed = [
            (tracks.video, StreamType::H264, VIDEO),
            (tracks.audio, StreamType::AdtsAac, AUDIO),
        ];
        for (present, stream_type, pid) in listed {
            if present {
                es_info.push(EsInfo {
                    stream_type,
                    elementary_pid: Pid::new(pid)?,
                    descriptors: Vec::new(),
                });
            }
        }
        let pmt = Pmt {
            program_num: 1,
            pcr_pid: Some(clock_pid(tracks)?),
            version_number,
            program_info: Vec::new(),
            es_info,
        };
        Ok(Self {
            pat: section(TsPayload::Pat(pat))?,
            pmt: section(TsPayload::Pmt(pmt))?,
        })
    }

    /// Writes both tables, one packet each.
    pub(super) fn write(&self, packets: &mut Packets) -> Result<(), mpeg2ts::Error> {
        for (pid, table) in [(Pid::PAT, &self.pat), (PMT, &self.pmt)] {
            let payload = TsPayload::Section(table.clone());
            packets.write(Pid::new(pid)?, Adaptation::default(), Some(payload))?;
        }
        Ok(())
    }
}

/// The PID that carries the clock: video where there is video.
pub(super) fn clock_pid(tracks: Tracks) -> Result<Pid, mpeg2ts::Error> {
    Pid::new(if tracks.video { VIDEO } else { AUDIO })
}

/// The section of `table`, padded to a whole packet with 0xff.
///
/// mpeg2ts pads a table by an adaptation field. That is legal, but 0xff behind
/// the section is what the standard has for tables (2.4.4.1) and what
/// receivers are used to.
fn section(table: TsPayload) -> Result<Section, mpeg2ts::Error> {
    let mut packets = Packets::default();
    packets.write(Pid::new(PMT)?, Adaptation::default(), Some(table))?;
    let packet = packets.take();
    let pad = usize::from(packet[HEADER]) + 1;
    let payload = &packet[HEADER + pad..];
    let mut data = [0xff; ROOM - 1];
    data[..payload.len() - 1].copy_from_slice(&payload[1..]);
    Ok(Section {
        pointer_field: payload[0],
        data: Payload::new(&data)?,
    })
}

/// Bytes in front of the adaptation field.
const HEADER: usize = 4;
