//! AAC frames to samples.
//!
//! symphonia decodes AAC-LC in mono and stereo, in Rust; fdk-aac all else:
//! HE-AAC, more channels, layouts told by a program config element. A track of
//! 24 kHz or less goes to fdk-aac too, for it may carry SBR that its
//! configuration does not mention: only the frames show it.

use bytes::Bytes;
use fdk_aac::dec as fdk;
use media::{AacConfig, AccessUnit, Samples, Ticks, Timestamp};
use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units;
use symphonia::default::codecs::AacDecoder;

use crate::Error;

/// Turns the frames of one AAC track into samples.
pub struct Decoder {
    backend: Backend,
    /// What the next frame is expected to be like; for HE-AAC that only its
    /// frames reveal, known from the first one on.
    rate: u32,
    channels: u8,
    frames: usize,
}

enum Backend {
    Symphonia(Box<AacDecoder>),
    Fdk(Fdk),
}

impl Decoder {
    /// Opens a decoder for a track. Its rate and channels are those of the
    /// samples it gives, which may differ from what `config` says.
    pub fn open(config: &AacConfig) -> Result<Self, Error> {
        let plain = config.object_type == LOW_COMPLEXITY
            && matches!(config.channels, 1 | 2)
            && config.frame_samples == 1024
            && config.core_rate > HIDDEN_SBR_RATE;
        let symphonia = if plain { symphonia(config) } else { None };
        let backend = match symphonia {
            Some(decoder) => Backend::Symphonia(Box::new(decoder)),
            None => Backend::Fdk(Fdk::open(&config.asc)?),
        };
        let growth = (config.sample_rate / config.core_rate.max(1)).max(1);
        Ok(Self {
            backend,
            rate: config.sample_rate.max(1),
            channels: config.channels.clamp(1, MAX_CHANNELS),
            frames: (config.frame_samples * growth) as usize,
        })
    }

    /// Decodes one frame that begins at `pts`, which is the unit's own pts
    /// smoothed by a [`media::SampleClock`]. `None` while the decoder warms up.
    ///
    /// After [`Error::Malformed`] it goes on with the next frame; the caller
    /// plays [`Decoder::silence`] in the lost one's place, or all that follows
    /// is early.
    pub fn decode(&mut self, unit: &AccessUnit, pts: Timestamp) -> Result<Option<Samples>, Error> {
        let samples = match &mut self.backend {
            Backend::Symphonia(decoder) => decode_symphonia(decoder, &unit.data, pts)?,
            Backend::Fdk(decoder) => decoder.decode(&unit.data, pts)?,
        };
        if let Some(samples) = &samples {
            self.rate = samples.rate;
            self.channels = samples.channels;
            self.frames = samples.frames();
        }
        Ok(samples)
    }

    /// As much silence as a frame is long, to stand in for one that is damaged.
    pub fn silence(&self, pts: Timestamp) -> Samples {
        Samples {
            pts,
            rate: self.rate,
            channels: self.channels,
            data: vec![0.0; self.frames * usize::from(self.channels)],
        }
    }
}

fn symphonia(config: &AacConfig) -> Option<AacDecoder> {
    let mut parameters = AudioCodecParameters::new();
    parameters
        .for_codec(CODEC_ID_AAC)
        .with_extra_data(config.asc.to_vec().into_boxed_slice());
    // Gaps are the caller's to see; nothing may be trimmed in here.
    let options = AudioDecoderOptions::default().gapless(false);
    AacDecoder::try_new(&parameters, &options).ok()
}

fn decode_symphonia(
    decoder: &mut AacDecoder,
    data: &[u8],
    pts: Timestamp,
) -> Result<Option<Samples>, Error> {
    let packet = PacketRef::new(0, units::Timestamp::default(), units::Duration::ZERO, data);
    let decoded = decoder.decode_ref(&packet).map_err(Error::damaged_frame)?;
    let mut samples = Samples {
        pts,
        rate: decoded.spec().rate(),
        channels: decoded.num_planes() as u8,
        data: Vec::new(),
    };
    decoded.copy_to_vec_interleaved(&mut samples.data);
    Ok(Some(samples))
}

/// fdk-aac. Gives channels in WAV order, its own default.
struct Fdk {
    decoder: fdk::Decoder,
    asc: Bytes,
    pcm: Vec<i16>,
}

impl Fdk {
    fn open(asc: &Bytes) -> Result<Self, Error> {
        let mut decoder = fdk::Decoder::new(fdk::Transport::Raw);
        decoder
            .config_raw(asc)
            .map_err(|error| Error::Unsupported(format!("this AAC configuration ({error})")))?;
        Ok(Self {
            decoder,
            asc: asc.clone(),
            pcm: vec![0; MAX_FRAME * usize::from(MAX_CHANNELS)],
        })
    }

    fn decode(&mut self, data: &[u8], pts: Timestamp) -> Result<Option<Samples>, Error> {
        let outcome = match self.decoder.fill(data) {
            Ok(taken) if taken < data.len() => Err(format!(
                "{} bytes are more than a frame can have",
                data.len()
            )),
            Ok(_) => self
                .decoder
                .decode_frame(&mut self.pcm)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(what) = outcome {
            // A new decoder, so that no remainder of this frame is taken for
            // the head of the next.
            *self = Self::open(&self.asc)?;
            return Err(Error::damaged_frame(what));
        }
        let info = self.decoder.stream_info();
        let (rate, channels) = (info.sampleRate, info.numChannels);
        let values = self.decoder.decoded_frame_size();
        if !(1..=i32::from(MAX_CHANNELS)).contains(&channels)
            || !(7350..=96_000).contains(&rate)
            || values == 0
            || values > self.pcm.len()
        {
            return Ok(None);
        }
        let rate = rate as u32;
        let delay = Ticks::from_periods(i64::from(info.outputDelay), rate);
        Ok(Some(Samples {
            pts: pts - delay,
            rate,
            channels: channels as u8,
            data: self.pcm[..values]
                .iter()
                .map(|&value| f32::from(value) / 32_768.0)
                .collect(),
        }))
    }
}

/// Audio object type of AAC-LC.
const LOW_COMPLEXITY: u8 = 2;
/// Highest core rate at which a track may turn out to be HE-AAC, in Hz.
const HIDDEN_SBR_RATE: u32 = 24_000;
/// Most channels of a track: 7.1.
const MAX_CHANNELS: u8 = 8;
/// Most instants in a frame: 1024, twice with SBR.
const MAX_FRAME: usize = 2048;
