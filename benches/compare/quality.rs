//! VMAF of a rung against the clip that every contestant was given.
//!
//! The reference is the clip as published, decoded, at its own size: the rung is
//! scaled up to it with a bicubic, as a player would. Both are laid on the
//! clip's own grid of pictures first, so that a picture left out counts as the
//! one before it shown twice. They are laid upon each other by what they show:
//! ffmpeg shows the first picture two or three times where sound begins before
//! it. Every third picture is scored.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::clip::Clip;
use crate::contestant::listed;

/// Means over the pictures scored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub vmaf: f64,
    /// VMAF-NEG, which gives no credit for sharpening.
    pub neg: f64,
}

#[derive(Deserialize)]
struct Log {
    pooled_metrics: Pooled,
}

#[derive(Deserialize)]
struct Pooled {
    vmaf: Metric,
    neg: Metric,
}

#[derive(Deserialize)]
struct Metric {
    mean: f64,
}

/// Whether this ffmpeg can score at all.
pub(crate) fn available(ffmpeg: &Path) -> Result<bool> {
    listed(ffmpeg, "-filters", "libvmaf")
}

/// Scores the transport stream `data`; `folder` is for what lies in between.
pub(crate) fn score(ffmpeg: &Path, clip: &Clip, data: &[u8], folder: &Path) -> Result<Score> {
    let stream = folder.join("rung.ts");
    fs::write(&stream, data).with_context(|| stream.display().to_string())?;
    let shift = shift(
        &tiny(ffmpeg, clip, &stream)?,
        &tiny(ffmpeg, clip, &clip.path)?,
    );
    let (rung, own) = (shift.max(0), (-shift).max(0));
    let grid = |skip: isize| {
        format!(
            "{},trim=start_frame={skip},setpts=PTS-STARTPTS",
            grid(&clip.rate)
        )
    };
    let graph = format!(
        "[0:v]{},scale={}:{}:flags=bicubic,format=yuv420p[rung];\
         [1:v]{},format=yuv420p[clip];\
         [rung][clip]libvmaf=n_threads=2:n_subsample=3:log_fmt=json:log_path=vmaf.json:\
         model='version=vmaf_v0.6.1\\:name=vmaf|version=vmaf_v0.6.1neg\\:name=neg'",
        grid(rung),
        clip.width,
        clip.height,
        grid(own),
    );
    // The log's path stands inside the graph, where a colon would end it: hence
    // a bare name in a folder of its own.
    let output = Command::new(ffmpeg)
        .args(["-v", "error", "-i"])
        .arg(&stream)
        .arg("-i")
        .arg(&clip.path)
        .args(["-filter_complex", &graph, "-f", "null", "-"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| ffmpeg.display().to_string())?;
    if !output.status.success() {
        bail!("libvmaf: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = fs::read_to_string(folder.join("vmaf.json")).context("libvmaf's log")?;
    let log: Log = serde_json::from_str(&text).context("libvmaf's log")?;
    Ok(Score {
        vmaf: log.pooled_metrics.vmaf.mean,
        neg: log.pooled_metrics.neg.mean,
    })
}

/// Pictures at the clip's own pace from the first one on.
fn grid(rate: &str) -> String {
    format!("setpts=PTS-STARTPTS,fps={rate}:round=near")
}

/// The first ten seconds of `path` as thumbnails in grey.
fn tiny(ffmpeg: &Path, clip: &Clip, path: &Path) -> Result<Vec<u8>> {
    let output = Command::new(ffmpeg)
        .args(["-v", "error", "-t", "10", "-i"])
        .arg(path)
        .arg("-vf")
        .arg(format!(
            "{},scale=32:18:flags=area,format=gray",
            grid(&clip.rate)
        ))
        .args(["-f", "rawvideo", "-"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| ffmpeg.display().to_string())?;
    if output.stdout.len() < THUMBNAIL {
        bail!("{}: no pictures", path.display());
    }
    Ok(output.stdout)
}

/// How many pictures later `rung` shows what `clip` shows; the least shift where
/// several are as good, for stills tell nothing.
fn shift(rung: &[u8], clip: &[u8]) -> isize {
    let skip = |data: &[u8], count: isize| {
        let from = THUMBNAIL * count.max(0) as usize;
        data.get(from..).unwrap_or_default().to_vec()
    };
    let difference = |shift: isize| {
        let (rung, clip) = (skip(rung, shift), skip(clip, -shift));
        let pairs = rung.iter().zip(&clip);
        let count = pairs.len().max(1) as f64;
        let squares = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
        squares.sum::<f64>() / count
    };
    let mut best = (difference(0), 0);
    for size in 1..=MOST_SHIFTED {
        for shift in [size, -size] {
            let found = difference(shift);
            if found < best.0 * 0.99 {
                best = (found, shift);
            }
        }
    }
    best.1
}

const THUMBNAIL: usize = 32 * 18;

/// Pictures; ffmpeg was seen to add two.
const MOST_SHIFTED: isize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn film(pictures: impl Iterator<Item = u8>) -> Vec<u8> {
        pictures
            .flat_map(|shade| std::iter::repeat_n(shade, THUMBNAIL))
            .collect()
    }

    #[test]
    fn a_picture_shown_twice_at_the_start_is_found() {
        let clip = film((0..100).map(|n| n * 2));
        let late = film([0, 0].into_iter().chain((0..100).map(|n| n * 2)));
        assert_eq!(shift(&late, &clip), 2);
        assert_eq!(shift(&clip, &late), -2);
    }

    #[test]
    fn a_still_is_not_shifted() {
        let clip = film(std::iter::repeat_n(9, 50));
        assert_eq!(shift(&clip, &clip), 0);
        assert_eq!(shift(&clip, &[]), 0);
    }
}
