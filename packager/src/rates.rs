//! What BANDWIDTH and AVERAGE-BANDWIDTH should say.
//!
//! BANDWIDTH is the largest rate of any contiguous run of segments that lasts
//! between half and one and a half target durations (RFC 8216bis §4.4.6.2),
//! AVERAGE-BANDWIDTH is all bits over all time; both count everything in the
//! segments, audio and packet overhead included. A live stream has to say them
//! before it knows them.

use std::collections::VecDeque;

use media::{Rung, Ticks};

/// Two rates in bit/s, and whether they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// For BANDWIDTH.
    pub peak: u64,
    /// For AVERAGE-BANDWIDTH.
    pub average: u64,
    /// Whether they rest on a measurement over a whole window; otherwise they
    /// are estimates, and a cache should not keep them.
    pub settled: bool,
}

/// What to expect of a rung, overhead included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Peak in the long run, in bit/s.
    pub peak: u64,
    /// Average over an hour, in bit/s.
    pub average: u64,
    /// Bits that a segment may have on top of the peak: a decoder buffer that
    /// was empty at its start and is full at its end.
    pub burst: u64,
}

impl Estimate {
    /// What an encoder told to keep to `rung` makes, with `audio_kbps` of audio
    /// (0: none) and `fps` pictures a second.
    pub fn of_rung(rung: &Rung, audio_kbps: u32, fps: f64) -> Self {
        let buffer = f64::from(rung.buffer_kbits) * 1000.0 * PACKET_OVERHEAD;
        Self {
            burst: buffer.round() as u64,
            ..Self::of_rates(rung.video_kbps, rung.max_kbps, audio_kbps, fps)
        }
    }

    /// What tracks of these rates make of a segment, in kbit/s.
    pub fn of_rates(video_kbps: u32, max_kbps: u32, audio_kbps: u32, fps: f64) -> Self {
        let units = if video_kbps == 0 {
            0.0
        } else {
            fps.clamp(0.0, 240.0)
        };
        let audio_units = if audio_kbps == 0 { 0.0 } else { AUDIO_UNITS };
        let fixed = (units * UNIT_OVERHEAD + audio_units * AUDIO_UNIT_OVERHEAD + TABLES) * 8.0;
        let total = |kbps: u32| {
            let payload = (f64::from(kbps) + f64::from(audio_kbps)) * 1000.0;
            (payload * PACKET_OVERHEAD + fixed).round() as u64
        };
        Self {
            peak: total(max_kbps.max(video_kbps)),
            average: total(video_kbps),
            burst: 0,
        }
    }

    /// The least that BANDWIDTH may say so that no segment of `target` exceeds
    /// 125 % of it.
    fn least_peak(&self, target: Ticks) -> u64 {
        let ticks = u128::try_from(target.get()).unwrap_or_default().max(1);
        let burst = u128::from(self.burst) * Ticks::HZ as u128 / ticks;
        let most = u128::from(self.peak) + burst;
        u64::try_from((most * 100).div_ceil(125)).unwrap_or(u64::MAX)
    }
}

/// Measures the segments of one rung.
///
/// The policy of [`Meter::bandwidth`]: until a whole window has been measured
/// the estimate, or what was measured where that is more. From then on the
/// measurement, but never less than the limits of a live stream allow to say of
/// the estimate, a whole decoder buffer in one segment included (measured peak
/// at most 125 % of BANDWIDTH, measured average at most 110 % of
/// AVERAGE-BANDWIDTH, Apple's authoring specification 1.28 and 1.29): players
/// read the multivariant playlist once, and a still picture may become an action
/// scene. After settling the values only grow, in steps with a margin, so that
/// they do not flap.
#[derive(Clone, Debug)]
pub struct Meter {
    target: Ticks,
    settle_after: Ticks,
    estimate: Estimate,
    recent: VecDeque<(u64, Ticks)>,
    recent_duration: Ticks,
    bits: u128,
    duration: Ticks,
    peak: Option<u64>,
    said: Bandwidth,
}

impl Meter {
    /// A meter for segments of at most `target`, which believes its measurement
    /// after `settle_after` of media; a whole window is what the policy wants.
    pub fn new(target: Ticks, settle_after: Ticks, estimate: Estimate) -> Self {
        Self {
            target: target.max(Ticks::new(1)),
            settle_after: settle_after.max(Ticks::new(1)),
            estimate,
            recent: VecDeque::new(),
            recent_duration: Ticks::ZERO,
            bits: 0,
            duration: Ticks::ZERO,
            peak: None,
            said: Bandwidth {
                peak: estimate.peak.max(estimate.least_peak(target)),
                average: estimate.average,
                settled: false,
            },
        }
    }

    /// Counts a segment of `bytes` that lasts `duration`, next in order. One
    /// without duration is not counted.
    pub fn push(&mut self, bytes: usize, duration: Ticks) {
        if duration <= Ticks::ZERO {
            return;
        }
        let bits = bytes as u64 * 8;
        self.bits += u128::from(bits);
        self.duration += duration;
        self.recent.push_back((bits, duration));
        self.recent_duration += duration;
        self.measure_runs();
        self.settle();
    }

    /// What the multivariant playlist of a live stream should say now.
    pub fn bandwidth(&self) -> Bandwidth {
        self.said
    }

    /// The true values of all segments so far; `None` before the first. What a
    /// finished recording must say (RFC 8216bis §4.4.6.2).
    ///
    /// A recording shorter than half a target duration has no run to take a peak
    /// of: its average stands in.
    pub fn measured(&self) -> Option<Bandwidth> {
        let average = rate(self.bits, self.duration)?;
        Some(Bandwidth {
            peak: self.peak.unwrap_or(average).max(average),
            average,
            settled: true,
        })
    }

    /// Takes the peak over all runs that end with the newest segment.
    fn measure_runs(&mut self) {
        let longest = self.target.get().saturating_mul(3) / 2;
        while self.recent_duration.get() > longest && self.recent.len() > 1
            || self.recent.len() > MAX_RUN
        {
            if let Some((_, duration)) = self.recent.pop_front() {
                self.recent_duration -= duration;
            }
        }
        let (mut bits, mut ticks) = (0_u128, 0_i64);
        for &(segment_bits, duration) in self.recent.iter().rev() {
            bits += u128::from(segment_bits);
            ticks = ticks.saturating_add(duration.get());
            // `2 * ticks >= target`, for a target of odd ticks too. A single
            // segment above the bound is still a rate a client meets.
            if ticks.saturating_mul(2) >= self.target.get() {
                self.peak = self.peak.max(rate(bits, Ticks::new(ticks)));
            }
        }
    }

    fn settle(&mut self) {
        let Some(measured) = self.measured() else {
            return;
        };
        if self.duration < self.settle_after {
            self.said.peak = self.said.peak.max(measured.peak);
            self.said.average = self.estimate.average.max(measured.average);
            return;
        }
        let (floor_peak, floor_average) = if self.said.settled {
            (self.said.peak, self.said.average)
        } else {
            let peak = self.estimate.least_peak(self.target);
            let average = self.estimate.average.saturating_mul(100).div_ceil(110);
            (peak.max(average), average)
        };
        let average = grown(floor_average, measured.average);
        self.said = Bandwidth {
            peak: grown(floor_peak, measured.peak).max(average),
            average,
            settled: true,
        };
    }
}

/// `said`, or what to say instead once `measured` has outgrown it: 3 % more,
/// rounded up to a step, so that a slow rise makes few changes.
fn grown(said: u64, measured: u64) -> u64 {
    if measured <= said {
        return said;
    }
    let margin = measured.saturating_add(measured / 32);
    margin.div_ceil(STEP).saturating_mul(STEP)
}

/// Bits over a span, in bit/s, rounded up.
fn rate(bits: u128, duration: Ticks) -> Option<u64> {
    let ticks = u128::try_from(duration.get())
        .ok()
        .filter(|&ticks| ticks > 0)?;
    u64::try_from((bits * Ticks::HZ as u128).div_ceil(ticks)).ok()
}

/// Settled rates are multiples of 10 kbit/s, or the floor.
const STEP: u64 = 10_000;

/// Segments looked at for a run, at most: a flood of tiny segments must not make
/// each one cost more than the last.
const MAX_RUN: usize = 64;

/// A packet of 188 bytes has 184 for payload.
const PACKET_OVERHEAD: f64 = 188.0 / 184.0;

/// Bytes for each picture: PES header with both timestamps 19, delimiter 6, PCR
/// 8, stuffing of the last packet 92 on average.
const UNIT_OVERHEAD: f64 = 125.0;

/// Bytes for each audio PES packet: header 14, three ADTS headers 21, stuffing 92.
const AUDIO_UNIT_OVERHEAD: f64 = 127.0;

/// Audio PES packets a second, at three frames of 1024 samples of 48 kHz.
const AUDIO_UNITS: f64 = 15.6;

/// Bytes a second for PAT and PMT.
const TABLES: f64 = 2.0 * 188.0 * 2.5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meter(settle_seconds: i64) -> Meter {
        Meter::new(
            Ticks::new(6 * Ticks::HZ),
            Ticks::new(settle_seconds * Ticks::HZ),
            Estimate {
                peak: 3_000_000,
                average: 2_800_000,
                burst: 0,
            },
        )
    }

    fn push(meter: &mut Meter, kbps: u64, ms: i64) -> Bandwidth {
        meter.push(
            usize::try_from(kbps * ms as u64 / 8).unwrap(),
            Ticks::from_millis(ms),
        );
        meter.bandwidth()
    }

    #[test]
    fn a_segment_without_duration_counts_nothing() {
        let mut meter = meter(12);
        meter.push(usize::MAX / 16, Ticks::ZERO);
        meter.push(1, Ticks::new(-1));
        assert_eq!(meter.measured(), None);
    }

    #[test]
    fn a_short_burst_is_no_peak_but_its_run_is() {
        let mut meter = meter(1000);
        push(&mut meter, 1_000, 6_000);
        // 2 s are less than half of 6 s: only with their neighbour they count.
        push(&mut meter, 5_000, 2_000);
        assert_eq!(meter.measured().unwrap().peak, 2_000_000);
        push(&mut meter, 3_000, 2_000);
        // 2 s + 2 s at 4 Mbit/s.
        assert_eq!(meter.measured().unwrap().peak, 4_000_000);
    }

    #[test]
    fn estimates_hold_until_a_window_is_measured() {
        let mut meter = meter(18);
        let estimate = Bandwidth {
            peak: 3_000_000,
            average: 2_800_000,
            settled: false,
        };
        assert_eq!(meter.bandwidth(), estimate);
        assert_eq!(push(&mut meter, 500, 6_000), estimate);
        let hot = push(&mut meter, 3_500, 6_000);
        assert_eq!((hot.peak, hot.settled), (3_500_000, false));
        let settled = push(&mut meter, 2_900, 6_000);
        assert!(settled.settled);
        assert_eq!(settled.peak, 3_610_000);
    }

    #[test]
    fn a_quiet_start_does_not_promise_a_quiet_hour() {
        let mut meter = meter(12);
        push(&mut meter, 200, 6_000);
        let quiet = push(&mut meter, 200, 6_000);
        assert_eq!((quiet.peak, quiet.average), (2_545_455, 2_545_455));
        // Whatever the encoder may make is within 125 % and 110 % of that.
        assert!(quiet.peak * 125 >= 3_000_000 * 100);
        assert!(quiet.average * 110 >= 2_800_000 * 100);
    }

    #[test]
    fn a_full_buffer_in_one_segment_stays_within_the_live_limit() {
        // 4,200 kbit on top of 3,000 kbit/s: 5,100 over 2 s, 3,700 over 6 s.
        for (seconds, first, later) in [(2, 4_080_000, 4_080_000), (6, 3_000_000, 2_960_000)] {
            let estimate = Estimate {
                peak: 3_000_000,
                average: 2_800_000,
                burst: 4_200_000,
            };
            let target = Ticks::new(seconds * Ticks::HZ);
            let mut meter = Meter::new(target, target, estimate);
            assert_eq!(meter.bandwidth().peak, first);
            assert_eq!(push(&mut meter, 10, seconds * 1000).peak, later);
        }
    }

    #[test]
    fn the_estimate_of_a_rung_covers_the_overhead() {
        let estimate = Estimate::of_rates(2800, 2996, 128, 30.0);
        assert_eq!(estimate.average, 3_045_022);
        assert!(estimate.peak > estimate.average);
        let silent = Estimate::of_rates(2800, 2996, 0, 30.0);
        assert!(silent.average < estimate.average - 128_000);
        let pictureless = Estimate::of_rates(0, 0, 128, 0.0);
        assert!(
            (140_000..165_000).contains(&pictureless.average),
            "{pictureless:?}"
        );
    }

    proptest! {
        #[test]
        fn settled_rates_only_grow_and_keep_to_the_live_limits(
            segments in prop::collection::vec((1_u64..20_000, 1_i64..9_000), 1..200),
        ) {
            let mut meter = meter(30);
            let mut before: Option<Bandwidth> = None;
            for (kbps, ms) in segments {
                let now = push(&mut meter, kbps, ms);
                let measured = meter.measured().unwrap();
                prop_assert!(now.average <= now.peak);
                prop_assert!(measured.peak * 100 <= now.peak * 125);
                prop_assert!(measured.average * 100 <= now.average * 110);
                if let Some(before) = before.filter(|before| before.settled) {
                    prop_assert!(now.settled && now.peak >= before.peak && now.average >= before.average);
                }
                before = Some(now);
            }
        }

        #[test]
        fn the_peak_is_that_of_the_definition(
            segments in prop::collection::vec((1_usize..1_000_000, 1_000_i64..9_000), 1..40),
        ) {
            let mut meter = meter(30);
            for &(bytes, ms) in &segments {
                meter.push(bytes, Ticks::from_millis(ms));
            }
            let mut peak = 0;
            for first in 0..segments.len() {
                let (mut bits, mut ms) = (0, 0);
                for &(bytes, duration) in &segments[first..] {
                    bits += bytes as u128 * 8;
                    ms += duration;
                    if (3_000..=9_000).contains(&ms) {
                        peak = peak.max((bits * 1000).div_ceil(ms as u128));
                    }
                }
            }
            let measured = meter.measured().unwrap();
            prop_assert_eq!(u128::from(measured.peak), peak.max(u128::from(measured.average)));
        }
    }
}
