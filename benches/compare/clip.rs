//! The clips: what each is there to show. `scripts/clips.sh` makes them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::Options;

/// A clip that is there.
pub(crate) struct Clip {
    pub kind: &'static Kind,
    pub path: PathBuf,
    pub width: u32,
    pub height: u32,
    /// Pictures a second, as ffmpeg writes it: `30000/1001`.
    pub rate: String,
    pub fps: f64,
    /// Length of the video in seconds.
    pub seconds: f64,
}

/// What is known of a clip before it is made.
pub(crate) struct Kind {
    pub name: &'static str,
    /// For the report.
    pub what: &'static str,
    pub about: About,
    /// Whether passthrough should take it.
    pub fits: bool,
}

/// What a clip can be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// Everything.
    Quality,
    /// What it costs and at which rate; nobody would look at it.
    Cost,
    /// weir's rates alone: a case for the rate control.
    Rates,
    /// Only what `cost` needs.
    CostModel,
}

pub(crate) const KINDS: [Kind; 12] = [
    Kind {
        name: "bbb1080",
        what: "Big Buck Bunny, 1920x1080, 30 a second, 6 Mbit/s High with 2 B-frames",
        about: About::Quality,
        fits: false,
    },
    Kind {
        name: "bbb720",
        what: "Big Buck Bunny, 1280x720, 30 a second, 6 Mbit/s High with 2 B-frames",
        about: About::Quality,
        fits: false,
    },
    Kind {
        name: "film720",
        what: "Big Buck Bunny in its 720p edition, 1280x720, 30 a second, 6 Mbit/s High with 2 B-frames",
        about: About::Quality,
        fits: false,
    },
    Kind {
        name: "bbb720-fits",
        what: "`bbb720` at 2500 kbit/s, at most 2800",
        about: About::Quality,
        fits: true,
    },
    Kind {
        name: "street",
        what: "fixed camera over a street, 1280x720 (enlarged from 768x576), 25 a second",
        about: About::Quality,
        fits: false,
    },
    Kind {
        name: "camera",
        what: "action camera, 1280x720, 29.97 a second, soft",
        about: About::Quality,
        fits: false,
    },
    Kind {
        name: "grain",
        what: "the same camera under a sensor's grain",
        about: About::Quality,
        fits: false,
    },
    Kind {
        name: "screen",
        what: "screen capture with text, 1280x720, 30 a second",
        about: About::Quality,
        fits: false,
    },
    Kind {
        name: "noise",
        what: "noise, 1280x720, 30 a second, 30 Mbit/s",
        about: About::Cost,
        fits: false,
    },
    Kind {
        name: "cuts",
        what: "another scene every second, 1280x720, 30 a second",
        about: About::Rates,
        fits: false,
    },
    Kind {
        name: "still",
        what: "ten seconds of a still, then action, 1280x720, 30 a second",
        about: About::Rates,
        fits: false,
    },
    Kind {
        name: "bbb1080p60",
        what: "Big Buck Bunny at two and a half times its speed, 1920x1080, 60 a second, 9 Mbit/s",
        about: About::CostModel,
        fits: false,
    },
];

/// The clips asked for, made where they are missing; those of `about` when
/// none was asked for.
pub(crate) fn wanted(options: &Options, about: &[About]) -> Result<Vec<Clip>> {
    if options.clip_names.is_empty() {
        let kinds = KINDS.iter().filter(|kind| about.contains(&kind.about));
        return kinds.map(|kind| open(options, kind)).collect();
    }
    let names = options.clip_names.iter();
    names.map(|name| named(options, name)).collect()
}

/// The clip of this name.
pub(crate) fn named(options: &Options, name: &str) -> Result<Clip> {
    let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        bail!("no clip called {name}: {}", names.join(", "));
    };
    open(options, kind)
}

fn open(options: &Options, kind: &'static Kind) -> Result<Clip> {
    let status = Command::new("scripts/clips.sh")
        .arg(kind.name)
        .stdout(Stdio::null())
        .status()
        .context("scripts/clips.sh: start at the root of the project")?;
    if !status.success() {
        bail!("the clip {} could not be made", kind.name);
    }
    let path = options.clips.join(format!("{}.flv", kind.name));
    let fields = probe(&path)?;
    let [width, height, rate, pictures] = &fields[..] else {
        bail!("{}: ffprobe told {fields:?}", path.display());
    };
    let fps = ratio(rate).with_context(|| format!("{rate} pictures a second"))?;
    Ok(Clip {
        kind,
        width: width.parse().context("width")?,
        height: height.parse().context("height")?,
        rate: rate.clone(),
        fps,
        seconds: pictures.parse::<f64>().context("pictures")? / fps,
        path,
    })
}

/// Width, height, rate and number of the pictures.
fn probe(path: &Path) -> Result<Vec<String>> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-count_packets"])
        .args(["-of", "default=noprint_wrappers=1:nokey=1", "-show_entries"])
        .arg("stream=width,height,r_frame_rate,nb_read_packets")
        .arg(path)
        .stderr(Stdio::inherit())
        .output()
        .context("ffprobe")?;
    let text = String::from_utf8(output.stdout).context("ffprobe's answer")?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn ratio(text: &str) -> Option<f64> {
    let (over, under) = text.split_once('/')?;
    let fps = over.parse::<f64>().ok()? / under.parse::<f64>().ok()?;
    (fps.is_finite() && fps > 0.0).then_some(fps)
}
