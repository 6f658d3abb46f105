use media::{Samples, Ticks, Timestamp};

/// `frames` instants of a tone of `hertz` at half of full scale, from instant
/// `first` of it on, so that pieces join without a click.
pub fn sine(rate: u32, channels: u8, hertz: f64, first: u64, frames: usize) -> Samples {
    let mut data = Vec::with_capacity(frames * usize::from(channels));
    for frame in 0..frames {
        let at = (first + frame as u64) as f64 / f64::from(rate);
        let value = (at * hertz * std::f64::consts::TAU).sin() as f32 * 0.5;
        data.extend(std::iter::repeat_n(value, usize::from(channels)));
    }
    Samples {
        pts: Timestamp::ZERO + Ticks::from_periods(first as i64, rate),
        rate,
        channels,
        data,
    }
}

/// `frames` instants from instant `first` on of silence with a beep of 1 kHz
/// and 100 ms that begins at instant `onset`.
pub fn beep(rate: u32, channels: u8, onset: u64, first: u64, frames: usize) -> Samples {
    let mut samples = sine(rate, channels, 1000.0, first, frames);
    let beep = onset..onset + u64::from(rate) / 10;
    let instants = samples.data.chunks_exact_mut(usize::from(channels));
    for (frame, instant) in instants.enumerate() {
        if !beep.contains(&(first + frame as u64)) {
            instant.fill(0.0);
        }
    }
    samples
}

/// When the first beep in `samples` begins: the first instant that is louder
/// than a tenth of full scale in any channel.
pub fn beep_onset(samples: &Samples) -> Option<Timestamp> {
    let frame = samples
        .data
        .chunks_exact(usize::from(samples.channels))
        .position(|instant| instant.iter().any(|value| value.abs() > 0.1))?;
    Some(samples.pts + Ticks::from_periods(frame as i64, samples.rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beep_is_found_where_it_was_put() {
        let samples = beep(48_000, 2, 24_000, 0, 48_000);
        let onset = beep_onset(&samples).unwrap();
        assert!((onset - Timestamp::from_millis(500)).abs() < Ticks::from_millis(1));
        assert_eq!(beep_onset(&beep(48_000, 2, 96_000, 0, 48_000)), None);
    }
}
