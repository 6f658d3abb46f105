//! What becomes of a picture: [`pace`](super::pace) decides, and where the source's
//! own units are the top rung, [`passthrough`](super::passthrough) is asked before.

use std::sync::atomic::Ordering;

use media::Timestamp;

use super::ahead::Shown;
use super::fitness::Unfit;
use super::line;
use super::pace::Mark;
use super::settings::Sink;
use super::{Error, Force, Ladder};

impl<S: Sink> Ladder<S> {
    /// What becomes of a picture, and whether a discontinuity is in front of it.
    pub(super) fn mark(&mut self, shown: &Shown, end: Timestamp) -> Result<(Mark, bool), Error> {
        let pts = shown.pts();
        let mut force = std::mem::replace(&mut self.force, Force::Nothing);
        if self.passthrough.boards(pts, &shown.config) {
            if self.cuts > 0 {
                force = Force::Discontinuity;
                self.passthrough.lose_patience();
            }
            self.told(Ok(()));
        }
        let expected = self.passthrough.key(pts);
        if let Some(why) = self.passthrough.ends(&shown.config) {
            force = Force::Discontinuity;
            self.stop_passing(pts, why)?;
        } else if self.passthrough.is_on() {
            if expected.is_none() && force == Force::Discontinuity {
                self.stop_passing(pts, Unfit::Sound)?;
            } else if let Some(mark) = self
                .pace
                .follow(pts, end, expected, force != Force::Nothing)
            {
                if mark != Mark::Cut {
                    self.force = force;
                }
                return Ok((mark, force >= Force::Join));
            } else {
                force = Force::Discontinuity;
                self.stop_passing(pts, Unfit::KeyDistance)?;
            }
        }
        let mark = self.pace.mark(pts, end, force != Force::Nothing);
        Ok((mark, force >= Force::Join))
    }

    /// The line whose units are the source's, where they are.
    pub(super) fn top(&self) -> Option<usize> {
        let listed = self.lines.iter().enumerate();
        let listed = listed.filter(|(_, line)| line.wish().is_none());
        line::top(listed.map(|(index, line)| (index, line.rung())))
    }

    /// The source's units end before `pts`, and coded ones take their place.
    fn stop_passing(&mut self, pts: Timestamp, why: Unfit) -> Result<(), Error> {
        self.pass_on(pts)?;
        self.passthrough.end();
        self.told(Err(why));
        Ok(())
    }

    /// Passes on the source's units that come before `before`.
    pub(super) fn pass_on(&mut self, before: Timestamp) -> Result<(), Error> {
        let Some(top) = self.top() else { return Ok(()) };
        while let Some(unit) = self.passthrough.due(before) {
            match self.place(top, unit) {
                // The sender's own fault: what follows is coded here.
                Err(Error::Packager(
                    packager::Error::Malformed { .. } | packager::Error::Bitstream { .. },
                )) => {
                    self.settings.stats.damaged.fetch_add(1, Ordering::Relaxed);
                    self.passthrough.spoil(Unfit::Damage);
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn told(&mut self, now: Result<(), Unfit>) {
        if let Some(top) = self.top() {
            if now.is_ok() {
                self.lines[top].rest();
            }
            self.sink.passing(self.lines[top].rung().name(), now);
        }
    }
}
