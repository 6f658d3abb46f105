use std::sync::Arc;

use bitstream::nal::{self, Kind};
use bitstream::{asc, avcc};
use bytes::Bytes;
use media::{
    AccessUnit, H264Config, OnTimeJump, Ticks, TimeJump, Timeline, Timestamp, Track, TrackConfig,
};

use crate::body::{self, Packet, Payload};
use crate::{Error, Metadata};

/// How a [`Demuxer`] judges what comes.
#[derive(Clone, Debug)]
pub struct Config {
    /// What happens when the sender's clock jumps. Default: the timeline goes
    /// on where it stood, so that nobody downstream waits for an instant that
    /// is hours away or has passed.
    pub on_time_jump: OnTimeJump,
    /// The longest step, either way, that is not a jump; and the longest
    /// credible composition time. Default 10 s: above it lie stalls that end
    /// most connections anyway, below it the skew between tracks (under a second)
    /// and 16 reordered pictures of a slide show at 2 fps.
    pub max_step: Ticks,
    /// The largest picture accepted.
    pub picture: bitstream::Limits,
    /// The largest metadata accepted.
    pub metadata: amf0::Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            on_time_jump: OnTimeJump::Rebase,
            max_step: Ticks::from_millis(10_000),
            picture: bitstream::Limits::default(),
            metadata: amf0::Limits::default(),
        }
    }
}

/// Units that did not become access units, by reason. Tags with an error are
/// not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// They came before their track's sequence header.
    pub before_header: u64,
    /// Audio stamped too far before the frame it follows.
    pub late: u64,
    /// Their clock had jumped, and jumps are rejected.
    pub jumped: u64,
}

/// Turns FLV tag bodies into access units of one publisher.
///
/// Both tracks share one [`Timeline`], which begins at zero with the first unit.
///
/// **Decoding time rises strictly within a track.** A unit stamped at or before
/// its predecessor is moved to one tick after it. Video is moved however far it
/// lies back, for a picture left out would spoil all that refer to it; audio
/// frames more than 100 ms back are dropped instead, for nothing refers to them
/// and crowded together they would only be heard as a stutter.
///
/// **A unit is `key` when it holds an IDR slice**, whatever the tag's frame type
/// says: recovery points of open GOPs are flagged as key frames too, but
/// decoding that starts there shows pictures that refer to what came before.
///
/// After an error that is not [fatal](Error::is_fatal) the demuxer stands as if
/// the tag had not come.
#[derive(Debug)]
pub struct Demuxer {
    config: Config,
    timeline: Timeline,
    jump: Option<TimeJump>,
    video: TrackState,
    audio: TrackState,
    dropped: Dropped,
}

#[derive(Debug, Default)]
struct TrackState {
    config: Option<Arc<TrackConfig>>,
    last_dts: Option<Timestamp>,
}

impl TrackState {
    /// Takes over `config`; an equal one keeps the `Arc`. OBS repeats its
    /// sequence headers on reconnect, and unchanged they are no discontinuity.
    fn configure(&mut self, config: TrackConfig) {
        if self.config.as_deref() != Some(&config) {
            self.config = Some(Arc::new(config));
        }
    }
}

impl Demuxer {
    /// A demuxer for one publisher or file.
    pub fn new(config: Config) -> Self {
        let timeline = Timeline::new(config.on_time_jump, config.max_step);
        Self {
            config,
            timeline,
            jump: None,
            video: TrackState::default(),
            audio: TrackState::default(),
            dropped: Dropped::default(),
        }
    }

    /// The access unit in a video tag, if it holds one.
    pub fn video(&mut self, ms: u32, body: Bytes) -> Result<Option<AccessUnit>, Error> {
        match body::video(&body)? {
            Packet::Nothing => Ok(None),
            Packet::Config(record) => {
                self.video_header(&record)?;
                Ok(None)
            }
            Packet::Frame {
                composition_ms,
                payload,
            } => self.picture(ms, composition_ms, &payload),
        }
    }

    /// The access unit in an audio tag, if it holds one.
    pub fn audio(&mut self, ms: u32, body: Bytes) -> Result<Option<AccessUnit>, Error> {
        match body::audio(&body)? {
            Packet::Nothing => Ok(None),
            Packet::Config(header) => {
                self.audio_header(&header)?;
                Ok(None)
            }
            Packet::Frame { payload, .. } => Ok(self.sound(ms, payload.data)),
        }
    }

    /// What a script tag or an RTMP data message says of the stream, if it is
    /// `onMetaData`.
    pub fn script(&mut self, body: &[u8]) -> Option<Metadata> {
        Metadata::parse(body, &self.config.metadata)
    }

    /// The latest jump of the sender's clock since the last call. The unit
    /// returned just before is the first behind it.
    pub fn take_jump(&mut self) -> Option<TimeJump> {
        self.jump.take()
    }

    /// What has been dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// The configuration of `track` as it stands, once its header has come.
    pub fn track_config(&self, track: Track) -> Option<&Arc<TrackConfig>> {
        match track {
            Track::Video => self.video.config.as_ref(),
            Track::Audio => self.audio.config.as_ref(),
        }
    }

    fn video_header(&mut self, record: &Payload) -> Result<(), Error> {
        if record.data.is_empty() {
            return Ok(());
        }
        let config = avcc::parse_within(&record.data, &self.config.picture)
            .map_err(|error| Error::within(record.offset, error))?;
        self.video.configure(TrackConfig::H264(config));
        Ok(())
    }

    fn audio_header(&mut self, header: &Payload) -> Result<(), Error> {
        // DJI's Osmo Action 4 sends one of no bytes.
        if header.data.is_empty() {
            return Ok(());
        }
        let config =
            asc::parse(&header.data).map_err(|error| Error::within(header.offset, error))?;
        self.audio.configure(TrackConfig::Aac(config));
        Ok(())
    }

    fn picture(
        &mut self,
        ms: u32,
        composition_ms: i32,
        payload: &Payload,
    ) -> Result<Option<AccessUnit>, Error> {
        let Some(h264) = self.video.config.as_deref().and_then(TrackConfig::h264) else {
            self.dropped.before_header += 1;
            return Ok(None);
        };
        let within = |error| Error::within(payload.offset, error);
        let slices = Slices::of(&payload.data, h264).map_err(within)?;
        let changed = avcc::in_band_change(&payload.data, h264, &self.config.picture);
        if let Some(config) = changed.map_err(within)? {
            self.video.configure(TrackConfig::H264(config));
        }
        // Parameter sets alone, a delimiter alone, empty units: no picture.
        let (Slices::Idr | Slices::Other, Some(config)) = (&slices, &self.video.config) else {
            return Ok(None);
        };
        let config = Arc::clone(config);
        let Some(stamp) = self.place(ms) else {
            return Ok(None);
        };
        let composition = Ticks::from_millis(i64::from(composition_ms));
        // Beyond the longest step it is a fault of the sender, not a delay.
        let composition = match composition.abs() <= self.config.max_step {
            true => composition,
            false => Ticks::ZERO,
        };
        let pts = stamp + composition;
        // A negative composition time means that the sender stamps presentation
        // times: then decoding has to come before the stamp.
        let dts = after(self.video.last_dts, stamp.min(pts));
        self.video.last_dts = Some(dts);
        Ok(Some(AccessUnit {
            pts: pts.max(dts),
            dts,
            key: matches!(slices, Slices::Idr),
            data: payload.data.clone(),
            config,
        }))
    }

    fn sound(&mut self, ms: u32, data: Bytes) -> Option<AccessUnit> {
        let Some(config) = self.audio.config.clone() else {
            self.dropped.before_header += 1;
            return None;
        };
        if data.is_empty() {
            return None;
        }
        let stamp = self.place(ms)?;
        if matches!(self.audio.last_dts, Some(last) if last - stamp > AUDIO_SLACK) {
            self.dropped.late += 1;
            return None;
        }
        let dts = after(self.audio.last_dts, stamp);
        self.audio.last_dts = Some(dts);
        Some(AccessUnit {
            pts: dts,
            dts,
            key: true,
            data,
            config,
        })
    }

    fn place(&mut self, ms: u32) -> Option<Timestamp> {
        match self.timeline.place(ms) {
            Ok((stamp, jump)) => {
                self.jump = jump.or(self.jump);
                Some(stamp)
            }
            Err(jump) => {
                self.jump = Some(jump);
                self.dropped.jumped += 1;
                None
            }
        }
    }
}

/// Audio this far before its predecessor is moved, not dropped: a sender's
/// jitter, under five frames of 1024 samples.
const AUDIO_SLACK: Ticks = Ticks::from_millis(100);

/// `stamp`, or one tick after `last` if that is later.
fn after(last: Option<Timestamp>, stamp: Timestamp) -> Timestamp {
    match last {
        Some(last) => stamp.max(last + Ticks::new(1)),
        None => stamp,
    }
}

/// What kind of picture an access unit holds.
enum Slices {
    None,
    Idr,
    Other,
}

impl Slices {
    /// Looks at every NAL unit, so that a damaged access unit is found before
    /// anything is changed by it.
    fn of(data: &[u8], config: &H264Config) -> Result<Self, bitstream::Error> {
        let mut slices = Self::None;
        for nal in nal::lengths(data, config.nal_length_size) {
            match Kind::of(nal?) {
                Kind::Idr => slices = Self::Idr,
                Kind::Slice if matches!(slices, Self::None) => slices = Self::Other,
                _ => {}
            }
        }
        Ok(slices)
    }
}

#[cfg(test)]
mod tests;
