//! Units as messages for one destination: its own clock, its own announcements.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flv::mux;
use media::{AccessUnit, Ticks, Timestamp, Track};
use rtmp::{ClientSession, MediaKind};

use crate::live::Tracks;

/// What takes messages: a session, or a test.
pub(super) trait Messages {
    fn send(&mut self, kind: MediaKind, ms: u32, body: &Bytes) -> Result<(), rtmp::Error>;
}

impl Messages for ClientSession {
    fn send(&mut self, kind: MediaKind, ms: u32, body: &Bytes) -> Result<(), rtmp::Error> {
        Self::send(self, kind, ms, body)
    }
}

/// The clock and the announcements of one connection.
///
/// Its times begin at 0 with the first unit, whatever the publisher's are, and
/// never go back within a track: many destinations end a session for either.
#[derive(Default)]
pub(super) struct Sending {
    /// Milliseconds to take off the stream's clock; none before the first unit of
    /// a broadcast.
    base: Option<i64>,
    /// What the first unit's time becomes.
    start: i64,
    /// The last times of pictures and of sound.
    last: [i64; 2],
    told: Tracks,
    described: bool,
}

impl Sending {
    /// Sends `unit`, and before it what a destination has to know of `tracks`.
    pub(super) fn unit(
        &mut self,
        to: &mut impl Messages,
        unit: &AccessUnit,
        tracks: &Tracks,
    ) -> Result<(), rtmp::Error> {
        let track = unit.track();
        let ms = mux::millis(unit.dts - Timestamp::ZERO);
        let base = *self.base.get_or_insert(ms - self.start);
        let last = &mut self.last[track as usize];
        let at = (ms - base).max(*last);
        *last = at;
        self.announce(to, at, tracks)?;
        // The clock of RTMP wraps at 2^32 ms.
        to.send(kind(track), at as u32, &body(unit, at - (ms - base)))
    }

    /// The next unit is of another broadcast, `gap` after the last one was sent.
    pub(super) fn resume(&mut self, gap: Duration) {
        let last = self.last.iter().copied().max().unwrap_or(0);
        self.base = None;
        self.start = last + (gap.as_millis() as i64).max(1);
    }

    fn announce(
        &mut self,
        to: &mut impl Messages,
        at: i64,
        tracks: &Tracks,
    ) -> Result<(), rtmp::Error> {
        let both = [Track::Video, Track::Audio].map(|track| tracks.get(track));
        // Once: at any other time than 0 ffmpeg takes it for a track of text, and no
        // time goes back here. What changes is in the headers as well.
        if !std::mem::replace(&mut self.described, true) {
            let [video, audio] = both.map(|config| config.map(Arc::as_ref));
            to.send(MediaKind::Data, 0, &mux::metadata(video, audio))?;
        }
        for config in both.into_iter().flatten() {
            if !self.told.is(config) {
                let header = mux::sequence_header(config);
                to.send(kind(config.track()), at as u32, &header)?;
                self.told.set(config);
            }
        }
        Ok(())
    }
}

/// The body of the message that holds `unit`, decoded `later` milliseconds than it
/// says: it is shown when it would have been, where that is possible.
fn body(unit: &AccessUnit, later: i64) -> Bytes {
    let shift = Ticks::from_millis(later);
    if shift == Ticks::ZERO || unit.track() == Track::Audio {
        return mux::frame(unit).into();
    }
    let moved = AccessUnit {
        dts: (unit.dts + shift).min(unit.pts),
        ..unit.clone()
    };
    mux::frame(&moved).into()
}

fn kind(track: Track) -> MediaKind {
    match track {
        Track::Video => MediaKind::Video,
        Track::Audio => MediaKind::Audio,
    }
}

#[cfg(test)]
mod tests {
    use flv::file::{Reader, TagKind};
    use flv::{Config, Demuxer};
    use media::TrackConfig;

    use super::*;

    #[derive(Default)]
    struct Heard(Vec<(MediaKind, u32, Bytes)>);

    impl Messages for Heard {
        fn send(&mut self, kind: MediaKind, ms: u32, body: &Bytes) -> Result<(), rtmp::Error> {
            self.0.push((kind, ms, body.clone()));
            Ok(())
        }
    }

    impl Heard {
        /// `v0+40` a picture of 0 ms that is shown 40 ms later, `a` sound, capitals
        /// their headers, `d` metadata.
        fn told(&mut self) -> String {
            let words = self.0.drain(..).map(|(kind, ms, body)| match kind {
                MediaKind::Data => format!("d{ms}"),
                MediaKind::Audio if body[1] == 0 => format!("A{ms}"),
                MediaKind::Audio => format!("a{ms}"),
                MediaKind::Video if body[1] == 0 => format!("V{ms}"),
                MediaKind::Video => {
                    let later = i32::from_be_bytes([body[2], body[3], body[4], 0]) >> 8;
                    format!("v{ms}+{later}")
                }
            });
            words.collect::<Vec<_>>().join(" ")
        }
    }

    fn tracks(configs: &[&Arc<TrackConfig>]) -> Tracks {
        let mut tracks = Tracks::default();
        configs.iter().for_each(|config| tracks.set(config));
        tracks
    }

    /// The first units of the bundled clip.
    fn clip() -> Vec<AccessUnit> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/bbb-720p25-5s.flv");
        let mut reader = Reader::new(flv::file::Limits::default());
        reader.push(&std::fs::read(path).unwrap());
        let mut demuxer = Demuxer::new(Config::default());
        let mut units = Vec::new();
        while let Some(tag) = reader.next_tag().unwrap() {
            let unit = match tag.kind {
                TagKind::Video => demuxer.video(tag.timestamp_ms, tag.body),
                TagKind::Audio => demuxer.audio(tag.timestamp_ms, tag.body),
                TagKind::Script => continue,
            };
            units.extend(unit.unwrap());
        }
        units
    }

    fn at(unit: &AccessUnit, dts: i64, later: i64) -> AccessUnit {
        AccessUnit {
            dts: Timestamp::from_millis(dts),
            pts: Timestamp::from_millis(dts + later),
            ..unit.clone()
        }
    }

    #[test]
    fn a_connection_begins_at_zero_with_what_has_to_be_known() {
        let units = clip();
        let video = units
            .iter()
            .find(|unit| unit.track() == Track::Video)
            .unwrap();
        let audio = units
            .iter()
            .find(|unit| unit.track() == Track::Audio)
            .unwrap();
        let tracks = tracks(&[&video.config, &audio.config]);
        let (mut heard, mut sending) = (Heard::default(), Sending::default());
        for unit in [
            at(video, 70_000, 80),
            // Sound that was on the way before the key picture.
            at(audio, 69_990, 0),
            at(audio, 70_013, 0),
            at(video, 70_040, 0),
        ] {
            sending.unit(&mut heard, &unit, &tracks).unwrap();
        }
        assert_eq!(heard.0.last().unwrap().2[5..], video.data[..]);
        assert_eq!(heard.told(), "d0 V0 A0 v0+80 a0 a13 v40+0");
    }

    #[test]
    fn times_never_go_back_and_pictures_are_shown_when_they_would_have_been() {
        let units = clip();
        let video = units
            .iter()
            .find(|unit| unit.track() == Track::Video)
            .unwrap();
        let tracks = tracks(&[&video.config]);
        let (mut heard, mut sending) = (Heard::default(), Sending::default());
        for (dts, later) in [(1000, 0), (1080, 40), (1040, 80), (1060, 0), (1120, 40)] {
            sending
                .unit(&mut heard, &at(video, dts, later), &tracks)
                .unwrap();
        }
        assert_eq!(heard.told(), "d0 V0 v0+0 v80+40 v80+40 v80+0 v120+40");
    }

    #[test]
    fn another_broadcast_goes_on_where_the_last_one_was_lost() {
        let units = clip();
        let video = units
            .iter()
            .find(|unit| unit.track() == Track::Video)
            .unwrap();
        let audio = units
            .iter()
            .find(|unit| unit.track() == Track::Audio)
            .unwrap();
        let (mut heard, mut sending) = (Heard::default(), Sending::default());
        let silent = tracks(&[&video.config]);
        sending
            .unit(&mut heard, &at(video, 500, 0), &silent)
            .unwrap();
        sending
            .unit(&mut heard, &at(video, 540, 0), &silent)
            .unwrap();
        sending.resume(Duration::from_millis(3000));
        // As it was, and the same sets of parameters in another place of memory.
        let again = Arc::new((*video.config).clone());
        let key = AccessUnit {
            config: Arc::clone(&again),
            ..at(video, 9, 0)
        };
        sending.unit(&mut heard, &key, &tracks(&[&again])).unwrap();
        assert_eq!(heard.told(), "d0 V0 v0+0 v40+0 v3040+0");
        // Sound joins.
        let both = tracks(&[&again, &audio.config]);
        sending.unit(&mut heard, &at(audio, 49, 0), &both).unwrap();
        assert_eq!(heard.told(), "A3080 a3080");
    }
}
