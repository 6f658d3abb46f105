use crate::{Ticks, Timestamp};

/// What a [`Timeline`] does when a sender's clock jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeJump {
    /// The unit is refused.
    Reject,
    /// The timeline goes on where it stood, as if the jump had not been: the
    /// new clock is mapped to one nominal frame after the last unit.
    Rebase,
    /// The jump is passed on as it is.
    Tolerate,
}

/// A jump that [`Timeline::place`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeJump {
    /// How far the sender's clock moved from where the last unit stood.
    pub by: Ticks,
}

/// Unwraps the 32-bit millisecond clock of RTMP into [`Timestamp`]s and holds
/// the policy for jumps.
///
/// A step is read modulo 2^32 as the nearest signed distance, so a wrap after
/// 49 days 17 hours is a step of a few milliseconds. OBS masks its timestamps to
/// 31 bits and wraps after 24.86 days: a step back of nearly 2^31 is read as
/// that wrap.
///
/// One timeline serves all tracks of a publisher, since they share one clock.
#[derive(Clone, Debug)]
pub struct Timeline {
    policy: OnTimeJump,
    max_step: Ticks,
    last: Option<(u32, Timestamp)>,
    offset: Ticks,
    highest: Timestamp,
}

impl Timeline {
    /// A timeline that begins at zero with the first unit placed. Steps longer
    /// than `max_step`, either way, are jumps.
    pub fn new(policy: OnTimeJump, max_step: Ticks) -> Self {
        Self {
            policy,
            max_step,
            last: None,
            offset: Ticks::ZERO,
            highest: Timestamp::ZERO,
        }
    }

    /// Places `ms` on the timeline. `Err` only under [`OnTimeJump::Reject`]; the
    /// jump is reported beside the instant otherwise.
    pub fn place(&mut self, ms: u32) -> Result<(Timestamp, Option<TimeJump>), TimeJump> {
        let Some((last_ms, last)) = self.last else {
            self.last = Some((ms, Timestamp::ZERO));
            return Ok((Timestamp::ZERO, None));
        };
        let raw = last + Ticks::from_millis(step(last_ms, ms));
        let placed = raw + self.offset;
        let by = placed - self.highest;
        if by.abs() <= self.max_step {
            self.last = Some((ms, raw));
            self.highest = self.highest.max(placed);
            return Ok((placed, None));
        }
        let jump = TimeJump { by };
        match self.policy {
            OnTimeJump::Reject => Err(jump),
            OnTimeJump::Tolerate => {
                self.last = Some((ms, raw));
                self.highest = placed;
                Ok((placed, Some(jump)))
            }
            OnTimeJump::Rebase => {
                let target = self.highest + NOMINAL_FRAME;
                self.offset += target - placed;
                self.last = Some((ms, raw));
                self.highest = target;
                Ok((target, Some(jump)))
            }
        }
    }

    /// The latest instant placed so far.
    pub fn highest(&self) -> Timestamp {
        self.highest
    }
}

/// Where a rebased clock goes on: one frame of 30 fps after the last unit.
const NOMINAL_FRAME: Ticks = Ticks::new(3000);

/// Signed distance in milliseconds from `from` to `to` on a clock that wraps at
/// 2^32 or, as OBS's does, at 2^31.
fn step(from: u32, to: u32) -> i64 {
    let step = i64::from(to.wrapping_sub(from) as i32);
    let obs_wrap = step + (1_i64 << 31);
    if to < from && from < 1 << 31 && obs_wrap.abs() < WRAP_WINDOW_MS {
        obs_wrap
    } else {
        step
    }
}

/// How near to 2^31 a step back must be to count as OBS's wrap: one hour, far
/// more than any stall and far less than the 24 days of a wrap.
const WRAP_WINDOW_MS: i64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> Timeline {
        Timeline::new(OnTimeJump::Rebase, Ticks::from_secs_f64(10.0))
    }

    #[test]
    fn starts_at_zero_wherever_the_sender_starts() {
        let mut timeline = timeline();
        assert_eq!(timeline.place(20_000_000), Ok((Timestamp::ZERO, None)));
        assert_eq!(
            timeline.place(20_000_040),
            Ok((Timestamp::from_millis(40), None))
        );
    }

    #[test]
    fn wraps_at_32_bits_and_at_obs_31_bits() {
        for top in [u32::MAX, (1 << 31) - 1] {
            let mut timeline = timeline();
            timeline.place(top - 9).unwrap();
            assert_eq!(
                timeline.place(10),
                Ok((Timestamp::from_millis(20), None)),
                "top {top}"
            );
        }
    }

    #[test]
    fn small_steps_back_are_kept() {
        let mut timeline = timeline();
        timeline.place(1000).unwrap();
        assert_eq!(timeline.place(990), Ok((Timestamp::from_millis(-10), None)));
        assert_eq!(timeline.highest(), Timestamp::ZERO);
    }

    #[test]
    fn a_jump_is_rebased_and_both_tracks_follow_it() {
        let mut timeline = timeline();
        timeline.place(0).unwrap();
        timeline.place(1000).unwrap();
        let (at, jump) = timeline.place(100_000_000).unwrap();
        assert_eq!(at, Timestamp::from_millis(1000) + NOMINAL_FRAME);
        assert!(jump.is_some());
        let (next, jump) = timeline.place(100_000_020).unwrap();
        assert_eq!(next - at, Ticks::from_millis(20));
        assert_eq!(jump, None);
    }

    #[test]
    fn a_jump_is_refused_without_moving_the_timeline() {
        let mut timeline = Timeline::new(OnTimeJump::Reject, Ticks::SECOND);
        timeline.place(0).unwrap();
        assert!(timeline.place(5000).is_err());
        assert_eq!(timeline.place(40), Ok((Timestamp::from_millis(40), None)));
    }

    proptest::proptest! {
        #[test]
        fn rebased_time_never_leaves_the_step_bound(steps in proptest::collection::vec(proptest::num::u32::ANY, 1..200)) {
            let mut timeline = timeline();
            for ms in steps {
                let before = timeline.highest();
                let (at, _) = timeline.place(ms).unwrap();
                proptest::prop_assert!((at - before).abs() <= Ticks::from_secs_f64(10.0));
            }
        }
    }
}
