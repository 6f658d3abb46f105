//! A ladder on disk, read as a player would: playlists, then segments.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::ts::Stream;

/// One rung of a ladder on disk.
pub(crate) struct Rendition {
    /// All its segments in one piece, for ffmpeg to decode.
    pub data: Vec<u8>,
    /// Bytes and length in seconds of each.
    pub segments: Vec<(usize, f64)>,
    /// EXT-X-TARGETDURATION in seconds.
    pub target: f64,
    pub stream: Stream,
}

impl Rendition {
    /// Reads the rung in `folder`, which has an `index.m3u8`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let playlist = folder.join("index.m3u8");
        let text = fs::read_to_string(&playlist).with_context(|| playlist.display().to_string())?;
        let mut rendition = Self {
            data: Vec::new(),
            segments: Vec::new(),
            target: 0.0,
            stream: Stream::default(),
        };
        let mut length = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
                rendition.target = rest.parse().with_context(|| line.to_owned())?;
            } else if let Some(rest) = line.strip_prefix("#EXTINF:") {
                let number = rest.split(',').next().unwrap_or_default();
                length = Some(number.parse::<f64>().with_context(|| line.to_owned())?);
            } else if !line.is_empty() && !line.starts_with('#') {
                let path = folder.join(line.rsplit('/').next().unwrap_or(line));
                let data = fs::read(&path).with_context(|| path.display().to_string())?;
                let stream = &mut rendition.stream;
                stream
                    .segment(&data)
                    .with_context(|| path.display().to_string())?;
                let seconds = length.take().context("a segment without EXTINF")?;
                rendition.segments.push((data.len(), seconds));
                rendition.data.extend_from_slice(&data);
            }
        }
        if rendition.stream.pictures.is_empty() {
            bail!("{}: no pictures", playlist.display());
        }
        Ok(rendition)
    }

    /// Length by its playlist, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.segments.iter().map(|(_, seconds)| seconds).sum()
    }

    /// Average rate of the video's elementary stream.
    pub(crate) fn video_kbps(&self) -> f64 {
        let bits: f64 = self.stream.pictures.iter().map(|one| one.bits).sum();
        bits / self.seconds() / 1000.0
    }

    /// Average rate of the sound.
    pub(crate) fn audio_kbps(&self) -> f64 {
        self.stream.audio_bits / self.seconds() / 1000.0
    }
}
