//! `equal`: the rate at which x264 veryfast looks like weir, rung by rung, and
//! so what is left to it. x264 codes the ladder at a few rates; between two of
//! them VMAF is taken as a straight line over the logarithm of the rate.

use anyhow::Result;

use crate::Options;
use crate::clip::{self, Clip};
use crate::contestant::{Contestant, X264_VERYFAST, plain};
use crate::ladder::{self, Rung};
use crate::measure;
use crate::output::Rendition;
use crate::quality;
use crate::report::{Report, table};
use crate::rounds::{prepare, transcode};

/// Of the rung's rates.
const FACTORS: [f64; 4] = [0.6, 0.8, 1.0, 1.2];

/// A rate in kbit/s and the VMAF it came to.
type Point = (f64, f64);

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    anyhow::ensure!(
        quality::available(&options.ffmpeg)?,
        "{} has no libvmaf",
        options.ffmpeg.display()
    );
    let rungs = ladder::default(&options.weir)?;
    let clips = if options.clip_names.is_empty() {
        ["bbb720", "film720", "street"]
            .map(|name| clip::named(options, name))
            .into_iter()
            .collect::<Result<Vec<_>>>()?
    } else {
        clip::wanted(options, &[])?
    };
    for clip in &clips {
        report.add(&format!("### `{}`: {}", clip.kind.name, clip.kind.what));
        report.add(&one_clip(options, &rungs, clip)?);
    }
    Ok(())
}

fn one_clip(options: &Options, rungs: &[Rung], clip: &Clip) -> Result<String> {
    let out = options.work.join(clip.kind.name).join("equal");
    eprintln!("compare: {}: weir", clip.kind.name);
    transcode(options, rungs, clip, Contestant::Weir, &out)?;
    let weir = points(options, rungs, clip, &out)?;
    let mut curves: Vec<Vec<Point>> = vec![Vec::new(); rungs.len()];
    for factor in FACTORS {
        eprintln!("compare: {}: x264 at {factor} of the rates", clip.kind.name);
        let command = plain(&options.ffmpeg, rungs, factor, clip, &out, X264_VERYFAST);
        prepare(&out, rungs)?;
        measure::start(&command, &out)?.finish()?;
        for (curve, point) in curves.iter_mut().zip(points(options, rungs, clip, &out)?) {
            curve.push(point);
        }
    }
    let mut rows = Vec::new();
    for ((rung, (kbps, vmaf)), curve) in rungs.iter().zip(weir).zip(curves) {
        let (needs, left) = match rate_for(&curve, vmaf) {
            Found::At(rate) => (
                format!("{rate:.0}"),
                format!(
                    "{:+.0} ({:+.0} %)",
                    rate - kbps,
                    (rate / kbps - 1.0) * 100.0
                ),
            ),
            Found::Below(rate) => (format!("below {rate:.0}"), "more".to_owned()),
            Found::Above(rate) => (format!("above {rate:.0}"), "none".to_owned()),
        };
        let own = curve
            .iter()
            .map(|(rate, vmaf)| format!("{vmaf:.1} @ {rate:.0}"));
        rows.push(vec![
            rung.name.clone(),
            format!("{vmaf:.2} @ {kbps:.0}"),
            own.collect::<Vec<_>>().join(", "),
            needs,
            left,
        ]);
    }
    Ok(table(
        &[
            "rung",
            "weir: VMAF @ kbit/s",
            "x264 veryfast",
            "x264 needs for weir's VMAF, kbit/s",
            "against weir",
        ],
        &rows,
    ))
}

/// Rate and VMAF of every rung in `out`.
fn points(
    options: &Options,
    rungs: &[Rung],
    clip: &Clip,
    out: &std::path::Path,
) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for rung in rungs {
        let rendition = Rendition::read(&out.join(&rung.name))?;
        let score = quality::score(&options.ffmpeg, clip, &rendition.data, out)?;
        points.push((rendition.video_kbps(), score.vmaf));
    }
    Ok(points)
}

/// Where a curve reaches a VMAF.
#[derive(Debug, PartialEq)]
enum Found {
    At(f64),
    /// Under the lowest rate measured.
    Below(f64),
    /// Over the highest.
    Above(f64),
}

fn rate_for(curve: &[Point], vmaf: f64) -> Found {
    let mut last: Option<Point> = None;
    for &(rate, score) in curve {
        if score >= vmaf {
            let Some((from, lower)) = last else {
                return Found::Below(rate);
            };
            let share = (vmaf - lower) / (score - lower);
            return Found::At((from.ln() + share * (rate.ln() - from.ln())).exp());
        }
        last = Some((rate, score));
    }
    Found::Above(last.map_or(0.0, |(rate, _)| rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_found_between_two_points_or_said_to_be_outside() {
        let curve = [(100.0, 50.0), (400.0, 70.0)];
        let Found::At(rate) = rate_for(&curve, 60.0) else {
            panic!("60 lies between");
        };
        assert!((rate - 200.0).abs() < 1e-6, "{rate}");
        assert_eq!(rate_for(&curve, 40.0), Found::Below(100.0));
        assert_eq!(rate_for(&curve, 71.0), Found::Above(400.0));
        assert_eq!(rate_for(&[], 71.0), Found::Above(0.0));
    }
}
