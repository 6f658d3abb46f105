//! When the pictures and sounds of a segment begin.

use std::io::Cursor;

use mpeg2ts::ts::{ReadTsPacket as _, TsPacketReader, TsPayload};

/// The first timestamp of a segment: of its pictures, where there are any, or of its
/// sound. In ticks of 90 kHz, modulo 2^33.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    first: u64,
}

impl Span {
    /// Seconds from the beginning of this segment to that of `next`, which may be
    /// on the other side of the clock's end.
    pub fn until(&self, next: &Self) -> f64 {
        let ticks = next.first.wrapping_sub(self.first) & (WRAP - 1);
        let ticks = match ticks < WRAP / 2 {
            true => ticks as f64,
            false => ticks as f64 - WRAP as f64,
        };
        ticks / 90_000.0
    }
}

/// Reads a whole segment; an error says what is wrong with it.
pub fn span(data: &[u8]) -> Result<Span, String> {
    if data.is_empty() || !data.len().is_multiple_of(PACKET) {
        return Err(format!(
            "its {} bytes are not whole packets of {PACKET}",
            data.len()
        ));
    }
    let mut reader = TsPacketReader::new(Cursor::new(data));
    let (mut video, mut audio) = (None, None);
    loop {
        let packet = reader.read_ts_packet().map_err(|error| {
            format!(
                "a packet cannot be read: {}",
                first_line(&error.to_string())
            )
        })?;
        let Some(packet) = packet else { break };
        let Some(TsPayload::PesStart(start)) = packet.payload else {
            continue;
        };
        let pts = start.header.pts.map(|pts| pts.as_u64());
        let first = match start.header.stream_id.is_video() {
            true => &mut video,
            false => &mut audio,
        };
        *first = first.or(pts);
    }
    let first = video.or(audio);
    first
        .map(|first| Span { first })
        .ok_or_else(|| "there is neither picture nor sound in it".to_owned())
}

/// What is wrong, without where in a library it was found, nor how that was reached.
fn first_line(why: &str) -> &str {
    let line = why.lines().next().unwrap_or_default();
    line.split_once(" (at ").map_or(line, |(line, _)| line)
}

const PACKET: usize = 188;

const WRAP: u64 = 1 << 33;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_may_wrap_between_two_segments() {
        let at = |first| Span { first };
        assert_eq!(at(0).until(&at(180_000)), 2.0);
        assert_eq!(at(WRAP - 90_000).until(&at(90_000)), 2.0);
        assert_eq!(at(90_000).until(&at(0)), -1.0);
    }

    #[test]
    fn what_is_no_segment_is_told() {
        assert!(span(b"").is_err());
        assert!(span(b"no packets").is_err());
        assert!(span(&[0x47; 188]).is_err());
        assert!(span(&[0xff; 188 * 3]).is_err());
        let why = span(&[0; 188]).unwrap_err();
        assert!(!why.contains(['\n', '/']), "{why}");
    }
}
