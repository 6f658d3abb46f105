//! Which rungs a source gets, at which size, and which of them are awake.

use super::ahead::Shown;
use super::line::{self, Line, Source};
use super::settings::{Output, Settings, Sink};
use super::{Error, Force, Ladder, fitness};
use crate::config;
use media::Timestamp;

impl<S: Sink> Ladder<S> {
    /// Opens the lines for the first picture, or turns them to a new size.
    pub(super) fn fit_lines(
        &mut self,
        shown: &Shown,
        next: Option<Timestamp>,
    ) -> Result<(), Error> {
        let picture = &*shown.picture;
        let config = shown.config.h264();
        let aspect = config.map_or((1, 1), |config| config.sample_aspect);
        if self.shape == Some((picture.size, aspect)) {
            return Ok(());
        }
        self.shape = Some((picture.size, aspect));
        let hinted = self.hints().frame_rate;
        let announced = hinted.or_else(|| {
            let (num, den) = config?.frame_rate?;
            Some(f64::from(num) / f64::from(den))
        });
        let measured = next.map(|next| 1.0 / (next - picture.pts).as_secs_f64());
        let plausible = |fps: &f64| (5.0..=120.0).contains(fps);
        let frame_rate = announced
            .filter(plausible)
            .or_else(|| measured.filter(plausible))
            .unwrap_or(30.0);
        let source = Source {
            size: picture.size,
            aspect,
            frame_rate,
            colour: config.and_then(|config| config.colour),
        };
        if self.lines.is_empty() {
            return self.open_lines(&source);
        }
        self.force = self.force.max(Force::Cut);
        let audio_outputs = self.outputs.len() - self.lines.len();
        for (index, line) in self.lines.iter_mut().enumerate() {
            if line.retarget(&source)? {
                self.force = Force::Discontinuity;
            }
            self.outputs[audio_outputs + index].size = Some(line.size());
        }
        Ok(())
    }

    fn open_lines(&mut self, source: &Source) -> Result<(), Error> {
        for output in &mut self.outputs {
            // Sound alone stays for those who listen to it already.
            output.listed = false;
            output.stands_for.clear();
        }
        let Settings {
            rungs,
            unlisted,
            wants,
            ..
        } = &self.settings;
        let chosen = line::choose(rungs, source.size, source.aspect);
        let mut opened: Vec<_> = chosen.iter().map(|rung| (rung, None)).collect();
        opened.extend(
            unlisted
                .iter()
                .filter_map(|rung| Some((rung, Some(wants.find(rung.name())?)))),
        );
        // As they are scaled: each behind those that it is made of.
        opened.sort_by_key(|(rung, _)| rung.bounds().area());
        for (rung, wish) in opened {
            let mut line = Line::open(rung.clone(), source)?;
            if let Some(place) = wish {
                line = line.on_wish(place);
            }
            self.outputs.push(Output {
                name: line.rung().name().to_owned(),
                listed: wish.is_none(),
                stands_for: Vec::new(),
                rung: Some(line.rung().clone()),
                size: Some(line.size()),
                frame_rate: None,
                video: None,
                audio: None,
                audio_kbps: self.settings.audio.kbps,
            });
            self.segmenters.push(self.segmenter(wish.is_none()));
            self.lines.push(line);
        }
        self.stand_in_for_others(source);
        if self.settings.passthrough == config::Passthrough::Auto
            && let Some(top) = self.top()
        {
            let index = self.outputs.len() - self.lines.len() + top;
            self.outputs[index].rung = Some(fitness::allowed(self.lines[top].rung()));
        }
        self.force = Force::Cut;
        Ok(())
    }

    /// Finds for each listed rung that the source is too small for the one that
    /// shows just as much of it: the highest, where several do.
    fn stand_in_for_others(&mut self, source: &Source) {
        let audio_outputs = self.outputs.len() - self.lines.len();
        for rung in &self.settings.rungs {
            let size = source.size.fit(source.aspect, rung.bounds());
            let listed = self.lines.iter().enumerate();
            let listed = listed.filter(|(_, line)| line.wish().is_none());
            if listed
                .clone()
                .any(|(_, line)| line.rung().name() == rung.name())
            {
                continue;
            }
            let same = listed.filter(|(_, line)| line.size() == size);
            if let Some(index) = line::top(same.map(|(index, line)| (index, line.rung()))) {
                let output = &mut self.outputs[audio_outputs + index];
                output.stands_for.push(rung.name().to_owned());
            }
        }
    }

    /// Opens the encoders that are needed and not open, and closes those whose
    /// pictures nobody wants any more.
    pub(super) fn wake_lines(&mut self) -> Result<(), Error> {
        let resting = self.top().filter(|_| self.passthrough.is_on());
        for (index, line) in self.lines.iter_mut().enumerate() {
            match line.wish() {
                Some(place) if !self.settings.wants.has(place) => line.sleep(),
                None if Some(index) == resting => {}
                _ => line.wake()?,
            }
        }
        Ok(())
    }

    /// Takes over what a picture that begins a segment says of its colours: only
    /// there, so that a sender who changes them all the time is followed once a
    /// segment. Gives back whether they are others than before: players read the
    /// description anew behind a discontinuity alone.
    pub(super) fn recolour(&mut self, shown: &Shown) -> Result<bool, Error> {
        let colour = shown.config.h264().and_then(|config| config.colour);
        let mut changed = false;
        for line in &mut self.lines {
            let another = line.recolour(colour)?;
            changed |= another && line.wish().is_none();
        }
        Ok(changed)
    }
}
