//! Whether a rung keeps to its rates.
//!
//! Three questions, each of them put as strictly as it can be. *Average*: the
//! video's bits over all time, beside `video_kbps`. *Segment*: the fastest
//! segment, all of its bytes, beside the BANDWIDTH that a live playlist had
//! stated until then at the lowest: players read it once. *Window*: over every
//! window that begins and ends with a picture, the video's bits less
//! `1.1 x max_kbps x T + buffer_kbits`, where T runs from the first picture's
//! decoding to the last one's, so that a single picture is held against the
//! buffer alone.

use std::path::Path;

use anyhow::Result;
use media::{Size, Ticks};
use packager::rates::{Estimate, Meter};

use crate::Options;
use crate::ladder::{self, Rung};
use crate::output::Rendition;
use crate::report::{Report, table};
use crate::ts::Picture;

/// The verdict on one rung.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Average of the video in kbit/s.
    pub video_kbps: f64,
    /// The same over `video_kbps` of the rung.
    pub share: f64,
    /// The fastest segment over the lowest BANDWIDTH before it. At most
    /// [`SEGMENT_BAR`].
    pub segment: f64,
    /// The worst window's excess in kbit; the bound holds where it is not above
    /// zero.
    pub excess_kbits: f64,
    /// The length of that window in seconds.
    pub window: f64,
}

/// What a segment may have of the BANDWIDTH stated, by Apple's authoring
/// specification 1.29.
pub(crate) const SEGMENT_BAR: f64 = 1.25;

impl Rates {
    pub(crate) fn of(rendition: &Rendition, rung: &Rung) -> Self {
        let video_kbps = rendition.video_kbps();
        let (excess_kbits, window) = worst_window(
            &rendition.stream.pictures,
            1.1 * rung.max_kbps(),
            rung.buffer_kbits(),
        );
        Self {
            video_kbps,
            share: video_kbps / rung.video_kbps,
            segment: fastest(rendition, rung),
            excess_kbits,
            window,
        }
    }

    /// Whether segments and windows keep their bounds.
    pub(crate) fn holds(&self) -> bool {
        self.segment <= SEGMENT_BAR && self.excess_kbits <= 0.0
    }

    pub(crate) const HEADINGS: [&str; 5] = [
        "video kbit/s",
        "of `video_kbps`",
        "fastest segment / BANDWIDTH (≤ 1.25)",
        "worst window, kbit over its bound (≤ 0)",
        "verdict",
    ];

    pub(crate) fn cells(&self) -> [String; 5] {
        [
            format!("{:.0}", self.video_kbps),
            format!("{:.3}", self.share),
            format!("{:.2}", self.segment),
            format!("{:+.0} in {:.1} s", self.excess_kbits, self.window),
            if self.holds() { "holds" } else { "**broken**" }.to_owned(),
        ]
    }
}

/// The largest of bits(first..=last) - rate x (dts(last) - dts(first)) - buffer
/// in kbit, and the time between those two; in one pass, because the best first
/// picture for a last one is the cheapest so far.
fn worst_window(pictures: &[Picture], kbps: f64, buffer_kbits: f64) -> (f64, f64) {
    let mut sum = 0.0;
    let mut cheapest = (f64::INFINITY, 0.0);
    let mut worst = (f64::NEG_INFINITY, 0.0);
    for picture in pictures {
        let drained = kbps * picture.dts;
        if sum - drained < cheapest.0 {
            cheapest = (sum - drained, picture.dts);
        }
        sum += picture.bits / 1000.0;
        let excess = sum - drained - cheapest.0 - buffer_kbits;
        if excess > worst.0 {
            worst = (excess, picture.dts - cheapest.1);
        }
    }
    worst
}

/// The fastest segment over the lowest BANDWIDTH said by then, with weir's own
/// way of saying it: an estimate, then what it measured.
fn fastest(rendition: &Rendition, rung: &Rung) -> f64 {
    let target = Ticks::from_secs_f64(rendition.target);
    let pictures = rendition.stream.pictures.len() as f64;
    let estimate = Estimate {
        burst: (rung.buffer_kbits() * 1000.0).round() as u64,
        ..Estimate::of_rates(
            rung.video_kbps.round() as u32,
            rung.max_kbps().round() as u32,
            rendition.audio_kbps().round() as u32,
            pictures / rendition.seconds(),
        )
    };
    // A window of ten segments, as weir has it.
    let settled = Ticks::from_secs_f64(rendition.target * 10.0);
    let mut meter = Meter::new(target, settled, estimate);
    let mut lowest = u64::MAX;
    let mut fastest: f64 = 0.0;
    for &(bytes, seconds) in &rendition.segments {
        lowest = lowest.min(meter.bandwidth().peak);
        // The last one may be a fraction of a second: over half a target, a
        // rate is one (RFC 8216bis 4.4.6.2).
        if seconds * 2.0 >= rendition.target || rendition.segments.len() == 1 {
            fastest = fastest.max(bytes as f64 * 8.0 / seconds / lowest as f64);
        }
        meter.push(bytes, Ticks::from_secs_f64(seconds));
    }
    fastest
}

/// `scripts/compare.sh rates`: judges the ladder in `folder`.
pub(crate) fn run(
    options: &Options,
    folder: &Path,
    config: Option<&Path>,
    report: &mut Report,
) -> Result<()> {
    let rungs = match config {
        Some(config) => ladder::of_file(&options.weir, config)?,
        None => ladder::default(&options.weir)?,
    };
    let mut rows = Vec::new();
    for rung in rungs {
        let place = folder.join(&rung.name);
        if !place.join("index.m3u8").exists() {
            continue;
        }
        let rates = Rates::of(&Rendition::read(&place)?, &rung);
        let bounds = Size::new(rung.width, rung.height);
        let mut row = vec![format!("{} ({bounds})", rung.name)];
        row.extend(rates.cells());
        rows.push(row);
    }
    anyhow::ensure!(
        !rows.is_empty(),
        "{}: no rung of this ladder is there",
        folder.display()
    );
    let mut headings = vec!["rung"];
    headings.extend(Rates::HEADINGS);
    report.add(&table(&headings, &rows));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(bits: &[f64]) -> Vec<Picture> {
        let each = bits.iter().enumerate();
        each.map(|(index, bits)| Picture {
            dts: index as f64 / 10.0,
            bits: *bits,
        })
        .collect()
    }

    /// Every window, one by one.
    fn naive(pictures: &[Picture], kbps: f64, buffer: f64) -> f64 {
        let mut worst = f64::NEG_INFINITY;
        for first in 0..pictures.len() {
            for last in first..pictures.len() {
                let bits: f64 = pictures[first..=last].iter().map(|one| one.bits).sum();
                let time = pictures[last].dts - pictures[first].dts;
                worst = worst.max(bits / 1000.0 - kbps * time - buffer);
            }
        }
        worst
    }

    #[test]
    fn one_huge_picture_is_held_against_the_buffer_alone() {
        let stream = pictures(&[1e3, 1e3, 900e3, 1e3]);
        let (excess, window) = worst_window(&stream, 100.0, 500.0);
        assert!((excess - 400.0).abs() < 1e-9, "{excess}");
        assert!(window.abs() < 1e-9, "{window}");
    }

    #[test]
    fn one_pass_finds_what_every_window_would() {
        let mut state = 7_u64;
        for _ in 0..200 {
            let bits: Vec<f64> = (0..30)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 40) as f64 / 100.0
                })
                .collect();
            let stream = pictures(&bits);
            let (excess, _) = worst_window(&stream, 700.0, 90.0);
            assert!((excess - naive(&stream, 700.0, 90.0)).abs() < 1e-6);
        }
    }
}
