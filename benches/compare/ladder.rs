//! The rungs, as weir's own configuration names them: the other contestants are
//! given the same.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// One rung, rates in kbit/s.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Rung {
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub video_kbps: f64,
    max_kbps: Option<f64>,
    buffer_kbits: Option<f64>,
}

impl Rung {
    /// Highest rate over the buffer, weir's default where the file has none.
    pub(crate) fn max_kbps(&self) -> f64 {
        self.max_kbps.unwrap_or(self.video_kbps * 1.07)
    }

    /// The decoder's buffer.
    pub(crate) fn buffer_kbits(&self) -> f64 {
        self.buffer_kbits.unwrap_or(self.video_kbps * 1.5)
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    hls: Hls,
}

#[derive(Default, Deserialize)]
struct Hls {
    #[serde(default)]
    rung: Vec<Rung>,
}

/// The default ladder of this weir.
pub(crate) fn default(weir: &Path) -> Result<Vec<Rung>> {
    let output = Command::new(weir)
        .args(["config", "default"])
        .output()
        .with_context(|| weir.display().to_string())?;
    parse(&String::from_utf8(output.stdout).context("weir config default")?)
}

/// The ladder of a configuration file; `weir`'s own where it names none.
pub(crate) fn of_file(weir: &Path, config: &Path) -> Result<Vec<Rung>> {
    let text = std::fs::read_to_string(config).with_context(|| config.display().to_string())?;
    let file: File = toml::from_str(&text).with_context(|| config.display().to_string())?;
    if file.hls.rung.is_empty() {
        return default(weir);
    }
    Ok(file.hls.rung)
}

fn parse(text: &str) -> Result<Vec<Rung>> {
    let file: File = toml::from_str(text).context("weir's default configuration")?;
    if file.hls.rung.is_empty() {
        bail!("weir's default configuration has no rungs");
    }
    Ok(file.hls.rung)
}

/// A configuration of the same rungs with lines added to each, and to `[hls]`.
pub(crate) fn config(rungs: &[Rung], hls: &str, each: &str) -> String {
    let mut text = format!("[hls]\n{hls}\n");
    for rung in rungs {
        text += &format!(
            "[[hls.rung]]\nname = \"{}\"\nwidth = {}\nheight = {}\nvideo_kbps = {}\nmax_kbps = {}\nbuffer_kbits = {}\n{each}\n",
            rung.name,
            rung.width,
            rung.height,
            rung.video_kbps.round(),
            rung.max_kbps().round(),
            rung.buffer_kbits().round(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_leaves_out_is_what_weir_assumes() {
        let rungs = parse(
            "[hls]\nsegment = \"2s\"\n[[hls.rung]]\nname = \"a\"\nwidth = 640\nheight = 360\nvideo_kbps = 1000\n",
        )
        .unwrap();
        assert_eq!(rungs[0].max_kbps(), 1070.0);
        assert_eq!(rungs[0].buffer_kbits(), 1500.0);
    }

    #[test]
    fn a_configuration_made_here_reads_back() {
        let text = "[[hls.rung]]\nname = \"a\"\nwidth = 640\nheight = 360\nvideo_kbps = 1000\n";
        let rungs = parse(text).unwrap();
        let again = parse(&config(&rungs, "segment = \"2s\"", "preset = \"fast\"")).unwrap();
        assert_eq!(again[0].name, "a");
        assert_eq!(again[0].max_kbps(), 1070.0);
    }
}
