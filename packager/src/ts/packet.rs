use std::collections::BTreeMap;

use media::Timestamp;
use mpeg2ts::time::ClockReference;
use mpeg2ts::ts::payload::Bytes as Payload;
use mpeg2ts::ts::{
    AdaptationField, ContinuityCounter, Pid, TransportScramblingControl, TsHeader, TsPacket,
    TsPacketWriter, TsPayload, WriteTsPacket,
};

/// Bytes of a packet behind its header.
pub(super) const ROOM: usize = Payload::MAX_SIZE;

/// Packets of 188 bytes, written one behind the other, with a continuity counter
/// for each PID that runs on for the life of the stream.
#[derive(Debug, Default)]
pub(super) struct Packets {
    counters: BTreeMap<u16, ContinuityCounter>,
    out: Vec<u8>,
}

/// What an adaptation field of ours can hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Adaptation {
    /// Decoding can start with this packet.
    pub(super) random_access: bool,
    /// The clock was set anew.
    pub(super) discontinuity: bool,
    /// The clock, in 90 kHz ticks below 2^33.
    pub(super) pcr: Option<u64>,
}

impl Adaptation {
    /// Bytes it takes, its length byte included.
    pub(super) fn size(self) -> usize {
        match (self.pcr, self.random_access || self.discontinuity) {
            (Some(_), _) => 8,
            (None, true) => 2,
            (None, false) => 0,
        }
    }

    fn field(self) -> Result<Option<AdaptationField>, mpeg2ts::Error> {
        if self.size() == 0 {
            return Ok(None);
        }
        let pcr = self.pcr.map(|ticks| ClockReference::new(ticks * 300));
        Ok(Some(AdaptationField {
            discontinuity_indicator: self.discontinuity,
            random_access_indicator: self.random_access,
            es_priority_indicator: false,
            pcr: pcr.transpose()?,
            opcr: None,
            splice_countdown: None,
            transport_private_data: Vec::new(),
            extension: None,
        }))
    }
}

impl Packets {
    /// Makes room for about `bytes` more.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Takes what was written; the counters go on.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Writes one packet. A payload with less than [`ROOM`] bytes, the
    /// adaptation field counted, is padded by the adaptation field.
    pub(super) fn write(
        &mut self,
        pid: Pid,
        adaptation: Adaptation,
        payload: Option<TsPayload>,
    ) -> Result<(), mpeg2ts::Error> {
        let counter = self.counters.entry(pid.as_u16()).or_insert_with(|| {
            let mut before_first = ContinuityCounter::new();
            (0..ContinuityCounter::MAX).for_each(|_| before_first.increment());
            before_first
        });
        // A packet without payload repeats the counter (ISO/IEC 13818-1, 2.4.3.3).
        if payload.is_some() {
            counter.increment();
        }
        let packet = TsPacket {
            header: TsHeader {
                transport_error_indicator: false,
                transport_priority: false,
                pid,
                transport_scrambling_control: TransportScramblingControl::NotScrambled,
                continuity_counter: *counter,
            },
            adaptation_field: adaptation.field()?,
            payload,
        };
        let start = self.out.len();
        TsPacketWriter::new(&mut self.out).write_ts_packet(&packet)?;
        if adaptation.pcr.is_some() {
            // mpeg2ts writes the six reserved bits between base and extension as
            // 0; reserved bits are 1 (2.1.1).
            self.out[start + PCR_RESERVED_AT] |= 0x7e;
        }
        Ok(())
    }
}

/// `instant` as 33 bits of 90 kHz, which wrap every 26 h 30 min.
pub(super) fn wrap(instant: Timestamp) -> u64 {
    instant.ticks().rem_euclid(1 << 33) as u64
}

/// Offset of the byte that ends the PCR base: 4 of header, 2 of adaptation
/// field, 4 of base.
const PCR_RESERVED_AT: usize = 10;
