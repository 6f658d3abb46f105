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
    last_dts: Option<Timestamp>,
    last_out: Option<Timestamp>,
}

impl Reorder {
    /// `depth` as the SPS says it, if it does.
    pub(super) fn new(depth: Option<usize>) -> Self {
        Self {
            held: Vec::new(),
            depth: depth.unwrap_or(MAX_DEPTH).min(MAX_DEPTH),
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
        picture: Picture,
        dts: Timestamp,
        out: &mut Vec<Arc<Picture>>,
    ) -> Result<(), Error> {
        let pts = picture.pts;
        if self.last_out.is_some_and(|last| pts <= last)
            || self.held.iter().any(|held| held.pts == pts)
        {
            self.depth = MAX_DEPTH;
            return Err(Error::damaged_picture(format_args!(
                "its pts of {pts} is not after that of the picture shown before it"
            )));
        }
        let place = self.held.partition_point(|held| held.pts < pts);
        self.held.insert(place, Arc::new(picture));
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
const MAX_DEPTH: usize = 16;
