//! Puts pictures from decoding order into presentation order.
//!
//! A picture can be given out as soon as no picture still to come can precede
//! it. Two facts tell: the SPS may bound how many pictures precede one in
//! decoding order and follow it in presentation (`max_num_reorder_frames`); and
//! every later unit has a later dts, and no pts before its own dts. Whichever
//! says so first wins, so a stream without B-frames is never delayed, and one
//! with them by no more than its sender delayed it.

use std::sync::Arc;

use media::{Picture, Timestamp};

use crate::Error;

/// Pictures waiting for earlier ones.
pub(super) struct Reorder {
    /// By pts, earliest first.
    held: Vec<Arc<Picture>>,
    /// Most pictures that may have to wait.
    depth: usize,
    /// Most for which there is room.
    room: usize,
    last_dts: Option<Timestamp>,
    last_out: Option<Timestamp>,
}

impl Reorder {
    /// `depth` as the SPS says it, if it does, and not above `room`.
    pub(super) fn new(depth: Option<usize>, room: usize) -> Self {
        Self {
            held: Vec::new(),
            depth: depth.unwrap_or(room).min(room),
            room,
            last_dts: None,
            last_out: None,
        }
    }

    /// Announces a unit. When its dts does not rise, the sender's clock has
    /// jumped: what is held belongs before the jump.
    pub(super) fn begin(&mut self, dts: Timestamp, out: &mut Vec<Arc<Picture>>) {
        if self.last_dts.is_some_and(|last| dts <= last) {
            self.flush(out);
            self.last_out = None;
        }
        self.last_dts = Some(dts);
    }

    /// Takes the picture of the unit with this `dts`. A picture that comes
    /// after a later one was given out cannot be shown any more; the stream has
    /// understated its depth then, and is not believed again.
    pub(super) fn push(
        &mut self,
        picture: Arc<Picture>,
        dts: Timestamp,
        out: &mut Vec<Arc<Picture>>,
    ) -> Result<(), Error> {
        let pts = picture.pts;
        if self.last_out.is_some_and(|last| pts <= last)
            || self.held.iter().any(|held| held.pts == pts)
        {
            self.depth = self.room;
            return Err(Error::damaged_picture(format_args!(
                "its pts of {pts} is not after that of the picture shown before it"
            )));
        }
        let place = self.held.partition_point(|held| held.pts < pts);
        self.held.insert(place, picture);
        let over = self.held.len().saturating_sub(self.depth);
        let due = self.held.partition_point(|held| held.pts <= dts);
        self.give(over.max(due), out);
        Ok(())
    }

    /// Gives out everything.
    pub(super) fn flush(&mut self, out: &mut Vec<Arc<Picture>>) {
        self.give(self.held.len(), out);
    }

    fn give(&mut self, count: usize, out: &mut Vec<Arc<Picture>>) {
        for picture in self.held.drain(..count) {
            self.last_out = Some(picture.pts);
            out.push(picture);
        }
    }
}

/// Frames in the largest decoded picture buffer (A.3.1): none can wait longer.
pub(super) const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use media::Size;

    use super::*;

    /// Feeds pictures of (pts, dts) in frames; gives the pts that came out
    /// behind each.
    fn order(depth: Option<usize>, units: &[(i64, i64)]) -> Vec<Vec<i64>> {
        let mut order = Reorder::new(depth, MAX_DEPTH);
        let mut steps = Vec::new();
        for &(pts, dts) in units {
            let mut out = Vec::new();
            let (pts, dts) = (Timestamp::from_ticks(pts), Timestamp::from_ticks(dts));
            order.begin(dts, &mut out);
            let picture = Arc::new(Picture::black(Size::new(16, 16), pts));
            let _ = order.push(picture, dts, &mut out);
            steps.push(out.iter().map(|picture| picture.pts.ticks()).collect());
        }
        let mut out = Vec::new();
        order.flush(&mut out);
        steps.push(out.iter().map(|picture| picture.pts.ticks()).collect());
        steps
    }

    #[test]
    fn a_late_picture_is_dropped_and_the_depth_no_longer_believed() {
        // Says 0, but reorders.
        let units = [(1, 0), (4, 1), (2, 2), (3, 3), (5, 4)];
        assert_eq!(
            order(Some(0), &units),
            [vec![1], vec![4], vec![], vec![], vec![], vec![5]]
        );
    }

    #[test]
    fn two_pictures_never_share_an_instant() {
        assert_eq!(
            order(None, &[(2, 0), (2, 1), (3, 3)]),
            [vec![], vec![], vec![2, 3], vec![]]
        );
    }

    #[test]
    fn no_more_than_sixteen_wait_whatever_the_times_say() {
        let units: Vec<_> = (0..40).map(|index| (1_000_000 + index, index)).collect();
        let steps = order(None, &units);
        assert_eq!(steps[15], []);
        assert_eq!(steps[16], [1_000_000]);
        assert_eq!(steps[40].len(), 16);
    }

    #[test]
    fn the_times_free_a_picture_as_soon_as_nothing_can_precede_it() {
        // I2 B0.. with an offset of one: I P B B.
        let units = [(1, 0), (4, 1), (2, 2), (3, 3), (7, 4), (5, 5), (6, 6)];
        assert_eq!(
            order(None, &units),
            [
                vec![],
                vec![1],
                vec![2],
                vec![3],
                vec![4],
                vec![5],
                vec![6],
                vec![7]
            ]
        );
    }

    #[test]
    fn a_clock_that_jumps_back_is_followed() {
        let units = [(100, 100), (101, 101), (5, 5), (6, 6)];
        assert_eq!(
            order(None, &units),
            [vec![100], vec![101], vec![5], vec![6], vec![]]
        );
    }
}
