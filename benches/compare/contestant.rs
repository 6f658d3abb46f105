//! Who takes part, and with which command.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::Options;
use crate::clip::Clip;
use crate::ladder::{self, Rung};

/// Who makes the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// The command of the system that weir replaces: x264 veryfast, CRF 20
    /// under a VBV, another sound for each rung.
    Original,
    /// x264 veryfast at the ladder's plain rates.
    X264,
    /// ffmpeg's libopenh264 at the same rates.
    OpenH264,
    /// weir as it comes.
    Weir,
    /// weir with `preset = "fast"` on every rung.
    WeirFast,
    /// weir with `preset = "quality"` on every rung.
    WeirQuality,
    /// weir with `hls.passthrough = "auto"`.
    WeirPassthrough,
    /// weir with `audio.mode = "encode"`: it copies sound that players can take.
    WeirSound,
    /// Another build of weir.
    WeirOther,
}

use Contestant::{
    OpenH264, Original, Weir, WeirFast, WeirOther, WeirPassthrough, WeirQuality, WeirSound, X264,
};

pub(crate) const ALL: [Contestant; 9] = [
    Original,
    X264,
    OpenH264,
    Weir,
    WeirFast,
    WeirQuality,
    WeirPassthrough,
    WeirSound,
    WeirOther,
];

impl Contestant {
    pub(crate) fn named(name: &str) -> Result<Self> {
        let found = ALL.into_iter().find(|one| one.name() == name);
        found.with_context(|| {
            let names = ALL.map(Self::name).join(", ");
            format!("no contestant called {name}: {names}")
        })
    }

    /// How it is asked for.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Original => "original",
            X264 => "x264",
            OpenH264 => "openh264",
            Weir => "weir",
            WeirFast => "weir-fast",
            WeirQuality => "weir-quality",
            WeirPassthrough => "weir-passthrough",
            WeirSound => "weir-sound",
            WeirOther => "weir-other",
        }
    }

    /// How the report names it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Original => "ffmpeg, x264 veryfast, the original's command",
            X264 => "ffmpeg, x264 veryfast at the ladder's rates",
            OpenH264 => "ffmpeg, libopenh264 at the ladder's rates",
            Weir => "**weir**",
            WeirFast => "weir, preset fast",
            WeirQuality => "weir, preset quality",
            WeirPassthrough => "**weir**, passthrough",
            WeirSound => "weir, sound encoded anew",
            WeirOther => "weir, the other build",
        }
    }

    pub(crate) fn is_weir(self) -> bool {
        !matches!(self, Original | X264 | OpenH264)
    }

    /// Why it cannot take part, where it cannot.
    pub(crate) fn missing(self, options: &Options, rungs: &[Rung]) -> Result<Option<String>> {
        Ok(match self {
            Original | X264 => (!has_encoder(&options.ffmpeg, "libx264")?)
                .then(|| format!("{} has no libx264", options.ffmpeg.display())),
            OpenH264 => (!has_encoder(&options.ffmpeg, "libopenh264")?)
                .then(|| format!("{} has no libopenh264", options.ffmpeg.display())),
            Weir => None,
            WeirOther => options
                .weir_other
                .is_none()
                .then(|| "WEIR_OTHER is not set".to_owned()),
            WeirFast | WeirQuality | WeirPassthrough | WeirSound => {
                let config = self.write_config(options, rungs)?;
                let output = Command::new(&options.weir)
                    .args(["config", "check"])
                    .args(&config)
                    .stdin(Stdio::null())
                    .output()
                    .context("weir config check")?;
                let why = String::from_utf8_lossy(&output.stderr);
                (!output.status.success()).then(|| {
                    let line = why.lines().next().unwrap_or_default();
                    format!("this weir refuses the configuration: {line}")
                })
            }
        })
    }

    /// The command that makes the ladder of `clip` in `out`.
    pub(crate) fn command(
        self,
        options: &Options,
        rungs: &[Rung],
        clip: &Clip,
        out: &Path,
    ) -> Result<Vec<String>> {
        match self {
            Original => return Ok(original(&options.ffmpeg, clip, out)),
            X264 | OpenH264 => {
                let encoder = if self == X264 {
                    X264_VERYFAST
                } else {
                    LIBOPENH264
                };
                return Ok(plain(&options.ffmpeg, rungs, 1.0, clip, out, encoder));
            }
            _ => {}
        }
        let weir = match (self, &options.weir_other) {
            (WeirOther, Some(other)) => other,
            _ => &options.weir,
        };
        let mut command = vec![text(weir), "transcode".to_owned(), text(&clip.path)];
        command.extend(["--out".to_owned(), text(out)]);
        if let Some(config) = self.write_config(options, rungs)? {
            command.extend(["--config".to_owned(), text(&config)]);
        }
        Ok(command)
    }

    /// Its configuration, in a file.
    pub(crate) fn write_config(self, options: &Options, rungs: &[Rung]) -> Result<Option<PathBuf>> {
        let config = match self {
            WeirFast => ladder::config(rungs, "", "preset = \"fast\""),
            WeirQuality => ladder::config(rungs, "", "preset = \"quality\""),
            WeirPassthrough => ladder::config(rungs, "passthrough = \"auto\"", ""),
            WeirSound => ladder::config(rungs, "", "") + "[audio]\nmode = \"encode\"\n",
            _ => return Ok(None),
        };
        let path = options.work.join(format!("{}.toml", self.name()));
        std::fs::create_dir_all(&options.work)?;
        std::fs::write(&path, config).with_context(|| path.display().to_string())?;
        Ok(Some(path))
    }
}

/// The encode of the original system, word for word but for where it reads and
/// writes: three outputs of one ffmpeg, a GOP of 48 pictures whatever the frame
/// rate, CRF 20 under the VBV (the `-b:v` beside it has no say). Without its
/// `-fflags nobuffer`, which is for sockets: of a file it loses the first seconds
/// and shows one picture in their place.
fn original(ffmpeg: &Path, clip: &Clip, out: &Path) -> Vec<String> {
    let mut command = vec![text(ffmpeg)];
    add(&mut command, "-y -i");
    command.push(text(&clip.path));
    for (name, bounds, rate, most, buffer, sound) in [
        ("360p", "w=640:h=360", 800, 856, 1200, 96),
        ("480p", "w=842:h=480", 1400, 1498, 2100, 128),
        ("720p", "w=1280:h=720", 2800, 2996, 4200, 128),
    ] {
        add(
            &mut command,
            &format!(
                "-vf scale={bounds}:force_original_aspect_ratio=decrease \
                 -c:a aac -ar 48000 -c:v libx264 -preset veryfast -profile:v main -crf 20 \
                 -sc_threshold 0 -g 48 -keyint_min 48 -hls_time 6 -hls_list_size 10 \
                 -hls_flags delete_segments -max_muxing_queue_size 1024 \
                 -start_number 1591000000123 \
                 -b:v {rate}k -maxrate {most}k -bufsize {buffer}k -b:a {sound}k"
            ),
        );
        place(&mut command, &out.join(name));
    }
    command
}

/// weir's boxes and rates (times `factor`), a key picture every two seconds as
/// weir has it, one sound for all rungs.
pub(crate) fn plain(
    ffmpeg: &Path,
    rungs: &[Rung],
    factor: f64,
    clip: &Clip,
    out: &Path,
    encoder: &str,
) -> Vec<String> {
    let gop = (clip.fps * 2.0).round();
    let mut command = vec![text(ffmpeg)];
    add(&mut command, "-y -i");
    command.push(text(&clip.path));
    for rung in rungs {
        let kbps = |rate: f64| format!("{}k", (rate * factor).round());
        add(
            &mut command,
            &format!(
                "-map 0:v:0 -map 0:a:0 \
                 -vf scale=w={}:h={}:force_original_aspect_ratio=decrease:force_divisible_by=2 \
                 -c:v {encoder} -profile:v main -g {gop} -b:v {} -maxrate {} -bufsize {} \
                 -c:a aac -ar 48000 -b:a 128k -f hls -hls_time 6 -hls_list_size 0",
                rung.width,
                rung.height,
                kbps(rung.video_kbps),
                kbps(rung.max_kbps()),
                kbps(rung.buffer_kbits()),
            ),
        );
        place(&mut command, &out.join(&rung.name));
    }
    command
}

/// x264 as [`plain`] is to use it: key pictures where they are due and nowhere
/// else.
pub(crate) const X264_VERYFAST: &str = "libx264 -preset veryfast -sc_threshold 0";

/// libopenh264 at its best by these rates.
const LIBOPENH264: &str = "libopenh264 -rc_mode bitrate -coder cabac";

/// Adds the words of `options`, none of which has a space in it.
fn add(command: &mut Vec<String>, options: &str) {
    command.extend(options.split_whitespace().map(str::to_owned));
}

/// Adds where a rung goes; a path may have spaces.
fn place(command: &mut Vec<String>, folder: &Path) {
    command.push("-hls_segment_filename".to_owned());
    command.push(text(&folder.join("%03d.ts")));
    command.push(text(&folder.join("index.m3u8")));
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn has_encoder(ffmpeg: &Path, name: &str) -> Result<bool> {
    listed(ffmpeg, "-encoders", name)
}

/// Whether `ffmpeg` lists `name` among its encoders or filters.
pub(crate) fn listed(ffmpeg: &Path, what: &str, name: &str) -> Result<bool> {
    let output = Command::new(ffmpeg)
        .args(["-hide_banner", what])
        .stdin(Stdio::null())
        .output()
        .with_context(|| ffmpeg.display().to_string())?;
    if !output.status.success() {
        bail!("{} {what}: {}", ffmpeg.display(), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some(name)))
}
