//! Any sound to interleaved stereo at one rate.
//!
//! First down (or up) to two channels, so that no more than two are resampled.

use media::{Samples, Ticks, Timestamp};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use crate::Error;

/// Mixes to stereo and converts to one rate.
///
/// The input may change its rate and channels at any time, as HE-AAC does when
/// its frames reveal what its configuration does not say.
pub struct Resampler {
    rate: u32,
    run: Option<Run>,
}

/// A stretch of input without a gap or a change of rate.
struct Run {
    from: u32,
    start: Timestamp,
    /// `None` when the rates are equal.
    engine: Option<Engine>,
    /// Instants taken in.
    taken: u64,
    /// Instants given out.
    given: u64,
}

struct Engine {
    fft: Fft<f32>,
    /// Stereo input that does not fill a chunk yet.
    waiting: Vec<f32>,
    /// Instants of output that precede the first instant of input.
    lead: usize,
}

impl Resampler {
    /// To `rate` samples a second.
    pub fn new(rate: u32) -> Self {
        Self { rate, run: None }
    }

    /// Takes in samples and appends what they complete. When their pts is more
    /// than 40 ms from where the samples before them ended, those are flushed
    /// first and a new stretch begins at the new pts.
    pub fn process(&mut self, samples: &Samples, out: &mut Vec<Samples>) -> Result<(), Error> {
        if samples.channels == 0 || samples.rate == 0 {
            return Err(Error::damaged_frame("no channels or no rate"));
        }
        let follows = self.run.as_ref().is_some_and(|run| {
            let end = run.start + Ticks::from_periods(run.taken as i64, run.from);
            run.from == samples.rate && (samples.pts - end).abs() <= TOLERANCE
        });
        if !follows {
            self.flush(out)?;
        }
        let run = match &mut self.run {
            Some(run) => run,
            none => none.insert(Run {
                from: samples.rate,
                start: samples.pts,
                engine: Engine::open(samples.rate, self.rate)?,
                taken: 0,
                given: 0,
            }),
        };
        let stereo = to_stereo(samples);
        run.taken += (stereo.len() / 2) as u64;
        match &mut run.engine {
            None => run.give(stereo, self.rate, out),
            Some(engine) => {
                engine.waiting.extend_from_slice(&stereo);
                let data = engine.run()?;
                run.give(data, self.rate, out);
            }
        }
        Ok(())
    }

    /// Gives out what is held back, and begins a new stretch.
    pub fn flush(&mut self, out: &mut Vec<Samples>) -> Result<(), Error> {
        let Some(mut run) = self.run.take() else {
            return Ok(());
        };
        let Some(mut engine) = run.engine.take() else {
            return Ok(());
        };
        let due = (run.taken * u64::from(self.rate)).div_ceil(u64::from(run.from));
        while run.given < due {
            let silence = engine.fft.input_frames_next() * 2;
            engine.waiting.resize(engine.waiting.len() + silence, 0.0);
            let mut data = engine.run()?;
            data.truncate((due - run.given) as usize * 2);
            run.give(data, self.rate, out);
        }
        Ok(())
    }
}

impl Run {
    fn give(&mut self, data: Vec<f32>, rate: u32, out: &mut Vec<Samples>) {
        if data.is_empty() {
            return;
        }
        let pts = self.start + Ticks::from_periods(self.given as i64, rate);
        self.given += (data.len() / 2) as u64;
        out.push(Samples {
            pts,
            rate,
            channels: 2,
            data,
        });
    }
}

impl Engine {
    fn open(from: u32, to: u32) -> Result<Option<Self>, Error> {
        if from == to {
            return Ok(None);
        }
        let fft =
            Fft::new(from as usize, to as usize, CHUNK, 2, FixedSync::Input).map_err(|error| {
                Error::Unsupported(format!("resampling {from} to {to} Hz ({error})"))
            })?;
        Ok(Some(Self {
            lead: fft.output_delay(),
            fft,
            waiting: Vec::new(),
        }))
    }

    /// Resamples every whole chunk that waits.
    fn run(&mut self) -> Result<Vec<f32>, Error> {
        let backend = |error: String| Error::Backend {
            library: "rubato",
            what: error,
        };
        let mut out = Vec::new();
        let mut at = 0;
        loop {
            let frames = self.fft.input_frames_next();
            let Some(chunk) = self.waiting[at..].get(..frames * 2) else {
                break;
            };
            let input = InterleavedSlice::new(chunk, 2, frames)
                .map_err(|error| backend(error.to_string()))?;
            let chunk = self
                .fft
                .process(&input, None)
                .map_err(|error| backend(error.to_string()))?
                .take_data();
            let skipped = self.lead.min(chunk.len() / 2);
            self.lead -= skipped;
            out.extend_from_slice(&chunk[skipped * 2..]);
            at += frames * 2;
        }
        self.waiting.drain(..at);
        Ok(out)
    }
}

/// Mixes any number of channels, in WAV order, to two.
///
/// The weights are those of ITU-R BS.775: the centre and the surrounds at
/// -3 dB, no LFE; scaled so that channels that are all at full scale give full
/// scale.
fn to_stereo(samples: &Samples) -> Vec<f32> {
    let channels = usize::from(samples.channels);
    let weights = weights(channels);
    let largest = [0, 1].map(|side| weights.iter().map(|weight| weight[side]).sum::<f32>());
    let scale = 1.0 / largest[0].max(largest[1]);
    let mut out = Vec::with_capacity(samples.frames() * 2);
    for instant in samples.data.chunks_exact(channels) {
        let (mut left, mut right) = (0.0, 0.0);
        for (value, weight) in instant.iter().zip(weights) {
            left += value * weight[0];
            right += value * weight[1];
        }
        out.extend([left * scale, right * scale]);
    }
    out
}

/// How much of each channel goes to the left and to the right.
fn weights(channels: usize) -> &'static [[f32; 2]] {
    const L: [f32; 2] = [1.0, 0.0];
    const R: [f32; 2] = [0.0, 1.0];
    const C: [f32; 2] = [MINUS_3_DB; 2];
    const LFE: [f32; 2] = [0.0; 2];
    const SL: [f32; 2] = [MINUS_3_DB, 0.0];
    const SR: [f32; 2] = [0.0, MINUS_3_DB];
    // One speaker behind: half its power to either side, and -3 dB.
    const BACK: [f32; 2] = [0.5; 2];
    match channels {
        1 => &[[1.0; 2]],
        2 => &[L, R],
        3 => &[L, R, C],
        4 => &[L, R, C, BACK],
        5 => &[L, R, C, SL, SR],
        6 => &[L, R, C, LFE, SL, SR],
        7 => &[L, R, C, LFE, BACK, SL, SR],
        // More than 7.1 is not opened; its first eight would be these.
        _ => &[L, R, C, LFE, SL, SR, SL, SR],
    }
}

const MINUS_3_DB: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// How far pts may stray from the count of samples before it counts as a jump.
/// A frame of AAC is 21 to 46 ms.
const TOLERANCE: Ticks = Ticks::from_millis(40);
/// Instants resampled at a time; with sub-chunks of 256 the delay is 3 ms.
const CHUNK: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn resample(pieces: &[Samples], rate: u32) -> Vec<Samples> {
        let mut resampler = Resampler::new(rate);
        let mut out = Vec::new();
        for piece in pieces {
            resampler.process(piece, &mut out).unwrap();
        }
        resampler.flush(&mut out).unwrap();
        out
    }

    fn join(pieces: &[Samples]) -> Samples {
        let mut all = pieces[0].clone();
        all.data = pieces.iter().flat_map(|piece| piece.data.clone()).collect();
        all
    }

    fn cut(samples: &Samples, frames: usize) -> Vec<Samples> {
        let channels = usize::from(samples.channels);
        let pieces = samples.data.chunks(frames * channels).enumerate();
        pieces
            .map(|(index, data)| Samples {
                pts: samples.pts + Ticks::from_periods((index * frames) as i64, samples.rate),
                data: data.to_vec(),
                ..samples.clone()
            })
            .collect()
    }

    #[test]
    fn a_beep_stays_where_it_was() {
        for rate in [8_000, 22_050, 32_000, 44_100, 48_000, 96_000] {
            for channels in [1, 2, 6] {
                let source = testkit::beep(rate, channels, u64::from(rate) / 2, 0, rate as usize);
                let out = resample(&cut(&source, 1024), 48_000);
                let onset = testkit::beep_onset(&join(&out)).unwrap();
                let error = (onset - Timestamp::from_millis(500)).abs();
                assert!(error < Ticks::from_millis(1), "{rate} {channels}: {error}");
            }
        }
    }

    #[test]
    fn as_much_time_comes_out_as_goes_in_and_pieces_join() {
        let source = testkit::sine(44_100, 2, 440.0, 0, 44_100);
        let out = resample(&cut(&source, 1024), 48_000);
        let mut next = Timestamp::ZERO;
        for (index, piece) in out.iter().enumerate() {
            assert!((piece.pts - next).abs().get() <= 1, "piece {index}");
            next = piece.pts + Ticks::from_periods(piece.frames() as i64, 48_000);
        }
        assert_eq!(join(&out).frames(), 48_000);
        // The tone is still the tone.
        let expected = testkit::sine(48_000, 2, 440.0, 0, 48_000);
        let worst = join(&out).data[4000..92_000]
            .iter()
            .zip(&expected.data[4000..])
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 0.01, "{worst}");
    }

    #[test]
    fn equal_rates_pass_through_bit_by_bit() {
        let source = testkit::sine(48_000, 2, 440.0, 0, 4800);
        assert_eq!(join(&resample(&cut(&source, 1024), 48_000)), source);
    }

    #[test]
    fn a_gap_begins_a_new_stretch_at_the_new_time() {
        let first = testkit::sine(44_100, 2, 440.0, 0, 4410);
        let second = testkit::sine(44_100, 2, 440.0, 44_100, 4410);
        let out = resample(&[first, second], 48_000);
        let at_second = out
            .iter()
            .find(|piece| piece.pts >= Timestamp::from_millis(500));
        assert_eq!(at_second.unwrap().pts, Timestamp::from_millis(1000));
        let total: usize = out.iter().map(Samples::frames).sum();
        assert_eq!(total, 9600);
    }

    #[test]
    fn full_scale_everywhere_mixes_to_full_scale() {
        for channels in 1..=8 {
            let samples = Samples {
                pts: Timestamp::ZERO,
                rate: 48_000,
                channels,
                data: vec![1.0; usize::from(channels) * 10],
            };
            for value in to_stereo(&samples) {
                assert!((value - 1.0).abs() < 1e-6, "{channels}: {value}");
            }
        }
    }

    #[test]
    fn a_dialogue_in_the_centre_is_heard_on_both_sides() {
        let mut samples = testkit::sine(48_000, 6, 440.0, 12, 1);
        samples.data = vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        let out = to_stereo(&samples);
        assert!(out[0] > 0.29 && out[0] == out[1], "{out:?}");
    }
}
