use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// An instant on the media timeline, in 90 kHz ticks.
///
/// May be negative: B-frame reordering can place a first `dts` before zero. It
/// does not wrap; the 33-bit wrap of MPEG-TS is made where TS is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A span of media time, in 90 kHz ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(i64);

impl Timestamp {
    /// The origin of a media timeline.
    pub const ZERO: Self = Self(0);

    /// The instant `ticks` ticks of 90 kHz after the origin.
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// The instant `ms` milliseconds after the origin.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(90))
    }

    /// Ticks since the origin.
    pub const fn ticks(self) -> i64 {
        self.0
    }

    /// Milliseconds since the origin, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(90)
    }
}

impl Ticks {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// One second.
    pub const SECOND: Self = Self(Self::HZ);
    /// Ticks in a second.
    pub const HZ: i64 = 90_000;

    /// A span of `ticks` ticks of 90 kHz.
    pub const fn new(ticks: i64) -> Self {
        Self(ticks)
    }

    /// A span of `ms` milliseconds.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(90))
    }

    /// A span of `seconds`, rounded to the nearest tick; saturates.
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds * Self::HZ as f64).round() as i64)
    }

    /// The span that `count` periods of a clock of `rate` Hz take, rounded to
    /// the nearest tick. `rate` must not be zero.
    pub const fn from_periods(count: i64, rate: u32) -> Self {
        let rate = rate as i128;
        Self((count as i128 * Self::HZ as i128 * 2 + rate).div_euclid(rate * 2) as i64)
    }

    /// The number of ticks.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Seconds, exact to the precision of `f64`.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / Self::HZ as f64
    }

    /// Milliseconds, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(90)
    }

    /// The length of the span, whatever its sign.
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }
}

impl Add<Ticks> for Timestamp {
    type Output = Self;
    fn add(self, span: Ticks) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Ticks> for Timestamp {
    type Output = Self;
    fn sub(self, span: Ticks) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Sub for Timestamp {
    type Output = Ticks;
    fn sub(self, earlier: Self) -> Ticks {
        Ticks(self.0.saturating_sub(earlier.0))
    }
}

impl AddAssign<Ticks> for Timestamp {
    fn add_assign(&mut self, span: Ticks) {
        *self = *self + span;
    }
}

impl Add for Ticks {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Ticks {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Ticks {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Ticks {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Neg for Ticks {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", Ticks(self.0).as_secs_f64())
    }
}

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_the_ends() {
        let end = Timestamp::from_ticks(i64::MAX);
        assert_eq!(end + Ticks::SECOND, end);
        let start = Timestamp::from_ticks(i64::MIN);
        assert_eq!(end - start, Ticks::new(i64::MAX));
    }

    #[test]
    fn periods_of_44100_hz_round_once() {
        // 1024 samples are 2089.795… ticks.
        assert_eq!(Ticks::from_periods(1024, 44_100), Ticks::new(2090));
        assert_eq!(
            Ticks::from_periods(1024 * 44_100, 44_100),
            Ticks::new(1024 * 90_000)
        );
        assert_eq!(Ticks::from_periods(-1024, 44_100), Ticks::new(-2090));
    }

    #[test]
    fn millis_round_down_below_zero() {
        assert_eq!(Timestamp::from_ticks(-1).millis(), -1);
    }
}
