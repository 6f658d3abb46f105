//! Stereo samples to AAC-LC frames, by fdk-aac.

use std::collections::VecDeque;
use std::sync::Arc;

use bitstream::asc;
use bytes::Bytes;
use fdk_aac::enc;
use media::{AccessUnit, Samples, Ticks, Timestamp, TrackConfig};

use crate::Error;

/// Turns samples into the frames of one AAC-LC track.
///
/// Frames are counted, not timed: the pts of each follows from the pts the
/// counting began at, so it never jitters and never drifts. An input whose pts
/// leaves the count by more than 40 ms is answered in one of two ways. A gap of
/// up to a second is filled with silence, so that the track goes on without a
/// hole; any other jump begins a new count at the new pts, and from there on
/// the frames' pts have jumped, backwards if the input has.
pub struct Encoder {
    encoder: enc::Encoder,
    rate: u32,
    channels: u8,
    /// Instants between a sample and its place in the decoded sound.
    delay: i64,
    config: Arc<TrackConfig>,
    /// Where counts begin: the index of a first sample, and its pts. The last
    /// one is in force for input; earlier ones for frames still to come.
    anchors: VecDeque<(i64, Timestamp)>,
    /// Samples that do not fill a frame yet.
    waiting: Vec<i16>,
    /// Instants taken in.
    taken: i64,
    /// Frames given out.
    given: i64,
    frame: Vec<u8>,
}

impl Encoder {
    /// Opens an encoder of `rate` Hz and `channels` (1 or 2) at a constant
    /// `kbps` kbit/s.
    pub fn open(rate: u32, channels: u8, kbps: u32) -> Result<Self, Error> {
        let refused =
            |what: String| Error::Config(format!("AAC of {kbps} kbit/s at {rate} Hz: {what}"));
        let mode = match channels {
            1 => enc::ChannelMode::Mono,
            2 => enc::ChannelMode::Stereo,
            _ => return Err(refused(format!("{channels} channels are not 1 or 2"))),
        };
        if !(8..=576).contains(&kbps) {
            return Err(refused("the rate is outside 8 to 576 kbit/s".into()));
        }
        let encoder = enc::Encoder::new(enc::EncoderParams {
            bit_rate: enc::BitRate::Cbr(kbps * 1000),
            sample_rate: rate,
            transport: enc::Transport::Raw,
            channels: mode,
            audio_object_type: enc::AudioObjectType::Mpeg4LowComplexity,
        })
        .map_err(|error| refused(error.to_string()))?;
        let info = encoder.info().map_err(|error| refused(error.to_string()))?;
        let asc = info.confBuf.get(..info.confSize as usize).unwrap_or(&[]);
        let config = asc::parse(&Bytes::copy_from_slice(asc))
            .map_err(|error| refused(format!("its configuration: {error}")))?;
        Ok(Self {
            encoder,
            rate,
            channels,
            delay: i64::from(info.nDelay),
            config: Arc::new(TrackConfig::Aac(config)),
            anchors: VecDeque::new(),
            waiting: Vec::new(),
            taken: 0,
            given: 0,
            frame: vec![0; info.maxOutBufBytes as usize],
        })
    }

    /// The track's configuration, the same `Arc` that its units carry.
    pub fn config(&self) -> &Arc<TrackConfig> {
        &self.config
    }

    /// Encodes samples of the encoder's own rate and channels; units that
    /// became ready are appended. Each holds 1024 instants and decodes to the
    /// sound at its pts.
    ///
    /// The first two or so lie before the first sample: a decoder needs them to
    /// warm up. Their pts can be negative.
    pub fn encode(&mut self, samples: &Samples, out: &mut Vec<AccessUnit>) -> Result<(), Error> {
        if (samples.rate, samples.channels) != (self.rate, self.channels) {
            return Err(Error::Config(format!(
                "samples of {} Hz with {} channels in an encoder of {} Hz with {}",
                samples.rate, samples.channels, self.rate, self.channels
            )));
        }
        match self.next() {
            None => self.anchor(samples.pts),
            Some(next) => {
                let gap = samples.pts - next;
                if gap > TOLERANCE && gap <= LONGEST_FILL {
                    let instants = gap.get() * i64::from(self.rate) / Ticks::HZ;
                    self.feed(std::iter::repeat_n(
                        0,
                        instants as usize * usize::from(self.channels),
                    ));
                } else if gap.abs() > TOLERANCE {
                    self.anchor(samples.pts);
                }
            }
        }
        self.feed(samples.data.iter().map(|value| {
            // Rounds and saturates; NaN becomes silence.
            (value * 32_767.0).round() as i16
        }));
        self.run(out)
    }

    /// Encodes what is held back, at the end of a stream: everything that was
    /// fed comes out. The next input begins a new count.
    pub fn flush(&mut self, out: &mut Vec<AccessUnit>) -> Result<(), Error> {
        if self.anchors.is_empty() {
            return Ok(());
        }
        let end = self.taken;
        while self.first_sample(self.given) < end {
            let missing = FRAME as usize * usize::from(self.channels) - self.waiting.len();
            self.feed(std::iter::repeat_n(0, missing));
            self.run(out)?;
        }
        self.anchors.clear();
        Ok(())
    }

    /// Where the next sample is expected.
    fn next(&self) -> Option<Timestamp> {
        let &(start, pts) = self.anchors.back()?;
        Some(pts + Ticks::from_periods(self.taken - start, self.rate))
    }

    /// Begins a count at the next sample.
    fn anchor(&mut self, pts: Timestamp) {
        // At most one for each instant, however often empty samples jump.
        self.anchors.pop_back_if(|(start, _)| *start == self.taken);
        self.anchors.push_back((self.taken, pts));
    }

    fn feed(&mut self, values: impl Iterator<Item = i16>) {
        let before = self.waiting.len();
        self.waiting.extend(values);
        self.taken += ((self.waiting.len() - before) / usize::from(self.channels)) as i64;
    }

    /// Index of the sample that frame `index` begins with.
    fn first_sample(&self, index: i64) -> i64 {
        index * FRAME - self.delay
    }

    /// Encodes every whole frame that waits.
    fn run(&mut self, out: &mut Vec<AccessUnit>) -> Result<(), Error> {
        let values = FRAME as usize * usize::from(self.channels);
        let mut at = 0;
        while self.waiting.len() - at >= values {
            let info = self
                .encoder
                .encode(&self.waiting[at..at + values], &mut self.frame)
                .map_err(|error| Error::Backend {
                    library: "fdk-aac",
                    what: error.to_string(),
                })?;
            at += values;
            if info.output_size == 0 {
                continue;
            }
            let first = self.first_sample(self.given);
            self.given += 1;
            while self
                .anchors
                .get(1)
                .is_some_and(|&(start, _)| start <= first)
            {
                self.anchors.pop_front();
            }
            let Some(&(start, anchor)) = self.anchors.front() else {
                continue;
            };
            let pts = anchor + Ticks::from_periods(first - start, self.rate);
            out.push(AccessUnit {
                pts,
                dts: pts,
                key: true,
                data: Bytes::copy_from_slice(&self.frame[..info.output_size]),
                config: Arc::clone(&self.config),
            });
        }
        self.waiting.drain(..at);
        Ok(())
    }
}

/// Instants in a frame of AAC-LC.
const FRAME: i64 = 1024;
/// How far the input's pts may stray from the count before it is followed:
/// senders round and jitter by a few milliseconds, a frame is 21.
const TOLERANCE: Ticks = Ticks::from_millis(40);
/// The longest gap that is filled. A lost connection is longer, and the
/// pictures beside it have a hole as well.
const LONGEST_FILL: Ticks = Ticks::SECOND;
