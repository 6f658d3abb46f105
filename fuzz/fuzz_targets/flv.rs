//! FLV from a stranger, as a file and as the messages of an RTMP session: no
//! panic, and what comes out keeps the promises of an access unit.
#![no_main]

use bytes::Bytes;
use flv::file::{Limits, Reader, TagKind};
use flv::{Config, Demuxer, Error};
use libfuzzer_sys::fuzz_target;
use media::AccessUnit;

fuzz_target!(|data: &[u8]| {
    let mut stream = Stream::new();
    let mut file = Reader::new(Limits::default());
    file.push(data);
    while let Ok(Some(tag)) = file.next_tag() {
        stream.tag(tag.kind, tag.timestamp_ms, tag.body);
    }
    let _ = file.finish();

    // The same bytes without the file's framing: kind, length, clock, body.
    let mut stream = Stream::new();
    let mut rest = data;
    while let Some((&[kind, length, t0, t1], behind)) = rest.split_first_chunk() {
        let kind = match kind % 3 {
            0 => TagKind::Audio,
            1 => TagKind::Video,
            _ => TagKind::Script,
        };
        let (body, behind) = behind.split_at(usize::from(length).min(behind.len()));
        let ms = u32::from(t0) << 24 | u32::from(t1) << 4;
        stream.tag(kind, ms, Bytes::copy_from_slice(body));
        rest = behind;
    }
});

struct Stream {
    demuxer: Demuxer,
    last: [Option<AccessUnit>; 2],
}

impl Stream {
    fn new() -> Self {
        Self {
            demuxer: Demuxer::new(Config::default()),
            last: [None, None],
        }
    }

    fn tag(&mut self, kind: TagKind, ms: u32, body: Bytes) {
        let unit: Result<_, Error> = match kind {
            TagKind::Audio => self.demuxer.audio(ms, body),
            TagKind::Video => self.demuxer.video(ms, body),
            TagKind::Script => {
                let _ = self.demuxer.script(&body);
                return;
            }
        };
        let Ok(Some(unit)) = unit else { return };
        assert!(unit.pts >= unit.dts);
        assert!(!unit.data.is_empty());
        let last = &mut self.last[unit.track() as usize];
        if let Some(last) = last {
            assert!(last.dts < unit.dts);
        }
        *last = Some(unit);
    }
}
