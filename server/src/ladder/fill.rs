//! What stands in for media that does not come: repeats of the last picture,
//! silence.
//!
//! Counts the media that came, not how far the clocks of the two tracks are
//! apart, for some senders have them apart all the time. Filling is paid for by
//! real media: a sender of nothing but holes gets none.

use media::{Ticks, Timestamp};

/// How much may be made up, in media time. Media that really comes earns it.
#[derive(Debug)]
pub(super) struct Allowance(Ticks);

impl Allowance {
    pub(super) fn new() -> Self {
        Self(MAX_ALLOWANCE)
    }

    pub(super) fn earn(&mut self, span: Ticks) {
        self.0 = (self.0 + span).min(MAX_ALLOWANCE);
    }

    /// Pays for `span`; false when there is not enough to pay with.
    pub(super) fn spend(&mut self, span: Ticks) -> bool {
        let enough = self.0 >= span;
        if enough {
            self.0 -= span;
        }
        enough
    }
}

#[derive(Debug)]
pub(super) struct Fill {
    /// What may still be filled with repeats.
    allowance: Allowance,
    /// Sound that came since the newest picture.
    unpictured: Ticks,
    /// The newest picture when the newest sound came.
    seen: Option<Timestamp>,
}

impl Fill {
    pub(super) fn new() -> Self {
        Self {
            allowance: Allowance::new(),
            unpictured: Ticks::ZERO,
            seen: None,
        }
    }

    pub(super) fn picture_came(&mut self) {
        self.unpictured = Ticks::ZERO;
        self.allowance.earn(REPEAT_EVERY);
    }

    /// `newest` is the picture in hand, if there is one.
    pub(super) fn sound_came(&mut self, length: Ticks, newest: Option<Timestamp>) {
        self.unpictured += length;
        self.seen = newest.or(self.seen);
        self.allowance.earn(length);
    }

    /// Pays for one repeat; false when there is nothing left to pay with.
    pub(super) fn repeat(&mut self) -> bool {
        self.allowance.spend(REPEAT_EVERY)
    }

    /// Whether so much sound came without a picture that the camera must have
    /// frozen: it must not hold up the segments, nor let the sound of minutes
    /// wait for a cut.
    pub(super) fn camera_froze(&self) -> bool {
        self.unpictured > PICTURE_OVERDUE
    }

    /// Pays for one repeat beside sound; false once the picture is close enough
    /// behind it.
    pub(super) fn repeat_beside_sound(&mut self) -> bool {
        let due = self.unpictured > SOUND_LEAD && self.repeat();
        if due {
            self.unpictured -= REPEAT_EVERY;
        }
        due
    }

    /// How much silence is due at the picture `video`, if any.
    pub(super) fn silence(&mut self, video: Timestamp) -> Option<Ticks> {
        let without = video - *self.seen.get_or_insert(video);
        if without < SILENCE_AFTER {
            return None;
        }
        if without > SILENCE_AFTER + LONGEST_PICTURE {
            // A hole between two pictures that was not filled with repeats: it
            // is not filled with silence either.
            self.seen = Some(video);
            return None;
        }
        self.seen = Some(video - SILENCE_BEHIND);
        Some(without - SILENCE_BEHIND)
    }
}

/// A picture that lasts longer than this is coded again meanwhile, every
/// [`REPEAT_EVERY`]: shorter than any segment target, longer than the slowest
/// frame rate in use.
pub(super) const LONGEST_PICTURE: Ticks = Ticks::SECOND;
pub(super) const REPEAT_EVERY: Ticks = Ticks::from_millis(100);

/// Filled at once: a stalled sender is covered, one that skips seconds with
/// every unit cannot make the ladder code hundreds of pictures or frames for it.
const MAX_ALLOWANCE: Ticks = Ticks::from_millis(30_000);

/// So much sound without a picture says that the pictures have stopped: more
/// than senders let one track wait for the other while they interleave. The
/// picture in hand is then repeated, up to [`SOUND_LEAD`] behind the sound.
const PICTURE_OVERDUE: Ticks = Ticks::from_millis(2000);
const SOUND_LEAD: Ticks = Ticks::from_millis(1000);

/// Silence fills in when so much video came without sound, up to
/// [`SILENCE_BEHIND`] the video: well below the second that a segment waits.
const SILENCE_AFTER: Ticks = Ticks::from_millis(800);
const SILENCE_BEHIND: Ticks = Ticks::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Ticks = Ticks::from_millis(20);

    #[test]
    fn a_sender_of_holes_is_not_filled_for_ever() {
        let mut fill = Fill::new();
        let mut repeats = 0;
        for _ in 0..100 {
            fill.picture_came();
            // Each picture claims to last ten seconds.
            repeats += (0..100).take_while(|_| fill.repeat()).count();
        }
        assert!((300..=400).contains(&repeats), "{repeats}");
    }

    #[test]
    fn a_frozen_camera_is_repeated_as_long_as_sound_comes() {
        let mut fill = Fill::new();
        fill.picture_came();
        let mut repeats = 0;
        for _ in 0..60 * 50 {
            fill.sound_came(FRAME, Some(Timestamp::ZERO));
            while fill.camera_froze() && fill.repeat_beside_sound() {
                repeats += 1;
            }
        }
        // A minute of sound, repeated ten times a second but for the lead.
        assert!((570..=600).contains(&repeats), "{repeats}");
    }

    #[test]
    fn silence_takes_the_place_of_sound_that_stopped_and_no_more() {
        let mut fill = Fill::new();
        fill.sound_came(FRAME, Some(Timestamp::ZERO));
        let filled: Vec<_> = (0..=100)
            .filter_map(|n| fill.silence(Timestamp::from_millis(n * 40)))
            .collect();
        let sum = filled.iter().fold(Ticks::ZERO, |sum, one| sum + *one);
        assert_eq!(sum, Ticks::from_millis(3600));
    }

    #[test]
    fn a_hole_between_pictures_that_was_left_is_not_filled_with_silence() {
        let mut fill = Fill::new();
        fill.sound_came(FRAME, Some(Timestamp::ZERO));
        let pictures = (1..100).map(|n| Timestamp::from_millis(n * 9500));
        assert_eq!(pictures.filter_map(|video| fill.silence(video)).count(), 0);
    }

    #[test]
    fn tracks_whose_clocks_are_apart_are_left_alone() {
        let mut fill = Fill::new();
        for n in 0..500 {
            let video = Timestamp::from_millis(n * 40);
            fill.picture_came();
            // The sound is stamped a minute behind; that is not looked at.
            fill.sound_came(FRAME, Some(video));
            fill.sound_came(FRAME, Some(video));
            assert!(!fill.camera_froze());
            assert_eq!(fill.silence(video), None);
        }
    }
}
