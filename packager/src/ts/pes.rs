use media::Timestamp;
use mpeg2ts::es::StreamId;
use mpeg2ts::pes::PesHeader;
use mpeg2ts::time::Timestamp as Stamp;
use mpeg2ts::ts::payload::{Bytes as Payload, Pes};
use mpeg2ts::ts::{Pid, TsPayload};

use super::packet::{Adaptation, Packets, ROOM, wrap};

/// One PES packet to write: one video access unit, or some ADTS frames.
pub(super) struct Packet<'a> {
    pub(super) pid: Pid,
    pub(super) stream_id: StreamId,
    pub(super) pts: Timestamp,
    /// Written where it differs from `pts`.
    pub(super) dts: Timestamp,
    /// What it holds, in one piece or more.
    pub(super) data: &'a [&'a [u8]],
    /// Whether PES_packet_length is written; only video may leave it out, and
    /// only video can be too long for it.
    pub(super) with_length: bool,
}

impl Packet<'_> {
    /// Writes it, `adaptation` in its first packet.
    pub(super) fn write(
        &self,
        packets: &mut Packets,
        adaptation: Adaptation,
    ) -> Result<(), mpeg2ts::Error> {
        let both = wrap(self.pts) != wrap(self.dts);
        let header = PesHeader {
            stream_id: self.stream_id,
            priority: false,
            data_alignment_indicator: true,
            copyright: false,
            original_or_copy: false,
            pts: Some(Stamp::new(wrap(self.pts))?),
            dts: both.then(|| Stamp::new(wrap(self.dts))).transpose()?,
            escr: None,
        };
        let optional = if both { 13 } else { 8 };
        let mut rest = Pieces {
            data: self.data,
            at: 0,
        };
        let length = u16::try_from(optional + rest.len()).ok();
        let first = rest.next(ROOM - adaptation.size() - START - optional)?;
        let start = TsPayload::PesStart(Pes {
            header,
            pes_packet_len: length.filter(|_| self.with_length).unwrap_or(0),
            data: first,
        });
        packets.write(self.pid, adaptation, Some(start))?;
        while !rest.data.is_empty() {
            let payload = TsPayload::PesContinuation(rest.next(ROOM)?);
            packets.write(self.pid, Adaptation::default(), Some(payload))?;
        }
        Ok(())
    }
}

/// Start code, stream id and length.
const START: usize = 6;

/// Some pieces of memory, read as if they were one.
struct Pieces<'a> {
    data: &'a [&'a [u8]],
    /// Bytes of the first piece already read. Never all of them.
    at: usize,
}

impl Pieces<'_> {
    fn len(&self) -> usize {
        self.data.iter().map(|piece| piece.len()).sum()
    }

    /// The next `size` bytes, or what there is.
    fn next(&mut self, size: usize) -> Result<Payload, mpeg2ts::Error> {
        let mut buffer = [0; ROOM];
        let mut filled = 0;
        while let Some((piece, others)) = self.data.split_first() {
            let rest = &piece[self.at..];
            let taken = rest.len().min(size - filled);
            buffer[filled..filled + taken].copy_from_slice(&rest[..taken]);
            filled += taken;
            if taken < rest.len() {
                self.at += taken;
                break;
            }
            self.data = others;
            self.at = 0;
        }
        Payload::new(&buffer[..filled])
    }
}
