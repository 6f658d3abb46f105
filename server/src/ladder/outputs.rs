//! From coded units to segments: what each output is, where its segments begin,
//! and who is told.

use std::sync::Arc;

use media::{AccessUnit, Timestamp, TrackConfig};
use packager::{Segmenter, SegmenterConfig, Tracks};

use super::hearing::Admission;
use super::settings::Sink;
use super::stats::Stage;
use super::{Error, Ladder};

impl<S: Sink> Ladder<S> {
    /// Puts a video unit into the segment of its line.
    pub(super) fn place(&mut self, index: usize, unit: AccessUnit) -> Result<(), Error> {
        let index = self.outputs.len() - self.lines.len() + index;
        let output = &mut self.outputs[index];
        let known = output.video.as_ref();
        if known.is_none_or(|known| demand(known) <= demand(&unit.config)) {
            output.video = Some(Arc::clone(&unit.config));
        }
        if let Some(segmenter) = &mut self.segmenters[index] {
            segmenter.push(unit.clone())?;
        }
        self.sink.unit(&self.outputs[index], &unit);
        Ok(())
    }

    /// What makes the segments of a new output; `None` for one that has none.
    pub(super) fn segmenter(&self, packaged: bool) -> Option<Segmenter> {
        packaged.then(|| {
            Segmenter::new(SegmenterConfig {
                first_number: self.settings.first_number + self.cuts,
                ..SegmenterConfig::default()
            })
        })
    }

    pub(super) fn cut(&mut self, at: Timestamp, discontinuity: bool) -> Result<(), Error> {
        if self.cuts == 1 {
            self.settle_tracks(at)?;
            self.announce();
        }
        if self.admission == Admission::NextCut {
            self.admission = Admission::From(at);
        }
        if self.cuts > 0 {
            self.note_frame_rate(at);
        }
        self.counted = 0;
        self.counted_from = at;
        for segmenter in self.segmenters.iter_mut().flatten() {
            if discontinuity {
                segmenter.cut_discontinuity(self.end.min(at), at)?;
            } else {
                segmenter.cut(at);
            }
        }
        if discontinuity {
            self.announce();
        }
        self.cuts += 1;
        Ok(())
    }

    /// Tells the segmenters which tracks there are, so that none waits for one
    /// that will not come.
    pub(super) fn announce(&mut self) {
        let audio = self.sound.is_some()
            && !matches!(self.admission, Admission::Missed | Admission::NextCut);
        for (output, segmenter) in self.outputs.iter().zip(&mut self.segmenters) {
            let Some(segmenter) = segmenter else { continue };
            segmenter.announce(Tracks {
                video: output.rung.is_some(),
                audio: audio || output.rung.is_none(),
            });
        }
    }

    /// Takes the frame rate of the segment that ends at `at`.
    pub(super) fn note_frame_rate(&mut self, at: Timestamp) {
        let lasted = (at - self.counted_from).as_secs_f64();
        if lasted <= 0.0 || self.counted == 0 {
            return;
        }
        let rate = common_rate(self.counted as f64 / lasted);
        let audio_outputs = self.outputs.len() - self.lines.len();
        for (output, line) in self.outputs[audio_outputs..].iter_mut().zip(&self.lines) {
            let rate = line.rung().max_fps.map_or(rate, |max| max.min(rate));
            output.frame_rate = Some(output.frame_rate.map_or(rate, |before| before.max(rate)));
        }
    }

    pub(super) fn deliver(&mut self) {
        let mut batch = Vec::new();
        let stats = &self.settings.stats;
        for (index, segmenter) in self.segmenters.iter_mut().enumerate() {
            let Some(segmenter) = segmenter else { continue };
            while let Some(segment) = stats.timed(Stage::Mux, || segmenter.poll()) {
                batch.push((index, segment));
            }
        }
        if !batch.is_empty() {
            self.sink.segments(&self.outputs, batch);
        }
    }
}

/// Orders configurations by what they ask of a player. CODECS tells the most that
/// a rung ever asked for, for older segments are still listed.
fn demand(config: &TrackConfig) -> Option<(u8, u8)> {
    // 66, 77 and 100 stand in this order, each decoding what is below it.
    config.h264().map(|config| (config.profile, config.level))
}

/// The rate in use next to a counted one, within half a per cent; a counted
/// rate carries the jitter of one picture more or less.
fn common_rate(counted: f64) -> f64 {
    const COMMON: [f64; 9] = [
        15.0,
        24_000.0 / 1001.0,
        24.0,
        25.0,
        30_000.0 / 1001.0,
        30.0,
        50.0,
        60_000.0 / 1001.0,
        60.0,
    ];
    let nearest = COMMON
        .into_iter()
        .min_by(|a, b| (a - counted).abs().total_cmp(&(b - counted).abs()));
    nearest
        .filter(|rate| (rate - counted).abs() / counted < 0.005)
        .unwrap_or(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_rates_snap_to_the_rate_in_use() {
        assert_eq!(common_rate(59.0 / 1.9686), 30_000.0 / 1001.0);
        assert_eq!(common_rate(30.0), 30.0);
        assert_eq!(common_rate(24.98), 25.0);
        assert_eq!(common_rate(12.5), 12.5);
    }
}
