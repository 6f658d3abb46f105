//! `weir transcode`: an FLV file to a VOD ladder on disk, by the same ladder
//! that serves live streams.

use std::fs;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use flv::Demuxer;
use flv::file::{Reader, TagKind};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use media::{Ticks, Timestamp};
use packager::Segment;
use packager::playlist::{Entry, Variant, multivariant, vod};
use packager::rates::{Estimate, Meter};

use crate::config::Config;
use crate::input::open_flv;
use crate::ladder::{Hints, Ladder, Output, Settings, Sink, Unfit};

/// Transcodes `input` (`-` for standard input) into `out`.
pub fn run(config: &Config, input: &Path, out: &Path) -> Result<()> {
    let (mut source, length): (Box<dyn Read>, _) = if input == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = open_flv(input)?;
        let length = file.metadata().ok().map(|metadata| metadata.len());
        (Box::new(file), length)
    };
    if out.exists() && !out.is_dir() {
        bail!("{} is a file; --out takes a directory", out.display());
    }
    fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;

    let pool = rayon::ThreadPoolBuilder::new()
        .build()
        .context("no threads")?;
    let settings = Settings {
        rungs: config.hls.rungs.clone(),
        unlisted: Vec::new(),
        wants: Arc::default(),
        segment: config.hls.segment,
        passthrough: config.hls.passthrough,
        // A file can be waited for.
        wait_for_video: Ticks::from_millis(60_000),
        audio: config.audio,
        first_number: 0,
        backend: codec::video::Backend::RustyH264,
        limits: codec::Limits::default(),
        pool: Arc::new(pool),
        hints: Arc::default(),
        stats: Arc::default(),
        lagged: Arc::default(),
    };
    let (hints, stats) = (Arc::clone(&settings.hints), Arc::clone(&settings.stats));
    let mut files = Files::new(out, config.hls.segment);
    let mut progress = Progress::new(length);
    let ended = Ladder::new(settings, &mut files);
    let ended = feed(&mut *source, ended, &hints, &mut progress)
        .with_context(|| input.display().to_string());
    for note in files.notes.drain(..) {
        progress.say(&note);
    }
    let damaged = stats.damaged.load(std::sync::atomic::Ordering::Relaxed);
    for count in stats.rungs() {
        if count.crowded_out > 0 {
            progress.say(&format!(
                "{}: {} of {} pictures were left out: its video_kbps or buffer_kbits has no room for them",
                count.rung,
                count.crowded_out,
                count.encoded + count.skipped,
            ));
        }
    }
    match (ended, files.finish()) {
        (Ok(()), summary) => progress.finish(&summary?, damaged),
        // Nothing came of it: why is said by the reason alone.
        (Err(error), Err(_)) => return Err(error),
        // What came before is still worth having: a recorder that was killed leaves such files.
        (Err(error), Ok(summary)) => {
            progress.finish(&summary, damaged);
            return Err(error.context("what came before this was transcoded"));
        }
    }
    Ok(())
}

/// Takes the whole of `source` through the ladder. Where the file breaks off, or
/// goes on with what cannot be read, the ladder is finished all the same.
fn feed(
    source: &mut dyn Read,
    mut ladder: Ladder<&mut Files>,
    hints: &Mutex<Hints>,
    progress: &mut Progress,
) -> Result<()> {
    let mut demuxer = Demuxer::new(flv::Config::default());
    let mut reader = Reader::new(flv::file::Limits::default());
    let mut block = vec![0; 256 << 10];
    let ended = loop {
        let count = match source.read(&mut block) {
            Ok(0) => break reader.finish().map_err(anyhow::Error::from),
            Ok(count) => count,
            Err(error) => break Err(error).context("reading it"),
        };
        reader.push(&block[..count]);
        let read = take_tags(&mut reader, &mut demuxer, &mut ladder, hints, progress)?;
        if read.is_err() {
            break read;
        }
        progress.read(count);
        ladder.sink().check()?;
        for note in ladder.sink_mut().notes.drain(..) {
            progress.say(&note);
        }
    };
    let finished = ladder.finish();
    ended?;
    finished?.check()
}

/// Takes the tags that are complete. The inner error is the file's, the outer
/// one the ladder's.
fn take_tags(
    reader: &mut Reader,
    demuxer: &mut Demuxer,
    ladder: &mut Ladder<&mut Files>,
    hints: &Mutex<Hints>,
    progress: &mut Progress,
) -> Result<Result<()>> {
    loop {
        let tag = match reader.next_tag() {
            Ok(Some(tag)) => tag,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error.into())),
        };
        let unit = match tag.kind {
            TagKind::Video => demuxer.video(tag.timestamp_ms, tag.body),
            TagKind::Audio => demuxer.audio(tag.timestamp_ms, tag.body),
            TagKind::Script => {
                if let Some(metadata) = demuxer.script(&tag.body) {
                    // What came before is judged by what was said before.
                    ladder.settle()?;
                    *hints.lock().unwrap_or_else(PoisonError::into_inner) = Hints::from(&metadata);
                }
                continue;
            }
        };
        match unit {
            Ok(Some(unit)) => {
                progress.at(unit.dts);
                ladder.push(unit)?;
            }
            Ok(None) => {}
            Err(error) if error.is_fatal() => return Ok(Err(error.into())),
            Err(error) => progress.say(&format!("skipped: tag at byte {}: {error}", tag.offset)),
        }
    }
}

/// The ladder's output on disk.
struct Files {
    root: PathBuf,
    target: Ticks,
    rungs: Vec<RungFiles>,
    outputs: Vec<Output>,
    failed: Option<(PathBuf, io::Error)>,
    /// What became of the top rung, in words, until it is said.
    notes: Vec<String>,
}

struct RungFiles {
    dir: PathBuf,
    entries: Vec<Entry>,
    meter: Meter,
}

impl Files {
    fn new(root: &Path, target: Ticks) -> Self {
        Self {
            root: root.to_owned(),
            target,
            rungs: Vec::new(),
            outputs: Vec::new(),
            failed: None,
            notes: Vec::new(),
        }
    }

    /// The first write that failed.
    fn check(&self) -> Result<()> {
        match &self.failed {
            Some((path, error)) => bail!("{} cannot be written: {error}", path.display()),
            None => Ok(()),
        }
    }

    fn write(&mut self, path: PathBuf, data: &[u8]) {
        // A reader never sees half a file: written beside its place, then renamed.
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let done = fs::write(&beside, data).and_then(|()| fs::rename(&beside, &path));
        if let Err(error) = done {
            self.failed.get_or_insert((path, error));
        }
    }

    /// Writes the playlists.
    fn finish(mut self) -> Result<String> {
        let mut variants = Vec::new();
        let mut names = Vec::new();
        for (index, output) in std::mem::take(&mut self.outputs).into_iter().enumerate() {
            let Some(rung) = self.rungs.get(index) else {
                continue;
            };
            let text = vod(&rung.entries, "");
            let path = rung.dir.join("index.m3u8");
            let measured = rung.meter.measured();
            self.write(path, text.as_bytes());
            let Some(bandwidth) = measured.filter(|_| output.listed) else {
                continue;
            };
            names.push(output.name.clone());
            variants.push(Variant {
                uri: format!("{}/index.m3u8", output.name),
                bandwidth: bandwidth.peak,
                average_bandwidth: bandwidth.average,
                codecs: [&output.video, &output.audio]
                    .into_iter()
                    .flatten()
                    .map(|config| config.rfc6381())
                    .collect(),
                resolution: output.size,
                frame_rate: output.frame_rate,
            });
        }
        if variants.is_empty() {
            bail!("no video or audio that can be transcoded was found");
        }
        self.write(
            self.root.join("master.m3u8"),
            multivariant(&variants).as_bytes(),
        );
        self.check()?;
        Ok(format!(
            "{} in {}",
            names.join(", "),
            self.root.join("master.m3u8").display()
        ))
    }
}

impl Sink for Files {
    fn passing(&mut self, rung: &str, now: Result<(), Unfit>) {
        self.notes.push(match now {
            Ok(()) => format!("{rung} is the source's own pictures"),
            Err(why) => format!("{rung} is encoded from here on: the source is no rung, {why}"),
        });
    }

    fn segments(&mut self, outputs: &[Output], batch: Vec<(usize, Segment)>) {
        for output in &outputs[self.rungs.len()..] {
            let dir = self.root.join(&output.name);
            if let Err(error) = fs::create_dir_all(&dir) {
                self.failed.get_or_insert_with(|| (dir.clone(), error));
            }
            // A recording states what was measured: the estimate is never said.
            let meter = Meter::new(self.target, self.target, Estimate::of_rates(0, 0, 0, 0.0));
            self.rungs.push(RungFiles {
                dir,
                entries: Vec::new(),
                meter,
            });
        }
        self.outputs = outputs.to_vec();
        for (index, segment) in batch {
            let rung = &mut self.rungs[index];
            rung.entries.push(segment.entry(None));
            rung.meter.push(segment.data.len(), segment.duration);
            let path = rung.dir.join(format!("{}.ts", segment.number));
            self.write(path, &segment.data);
        }
    }
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: ProgressBar,
    plain: bool,
    started: Instant,
    reported: Instant,
    length: Option<u64>,
    read: u64,
    media: Timestamp,
}

impl Progress {
    fn new(length: Option<u64>) -> Self {
        let plain = !io::stderr().is_terminal();
        let bar = match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::new_spinner(),
        };
        bar.set_draw_target(if plain {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        });
        let template = match length {
            Some(_) => "{wide_bar} {percent:>3} %  {msg}  {eta} left",
            None => "{spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let now = now();
        Self {
            bar,
            plain,
            started: now,
            reported: now,
            length,
            read: 0,
            media: Timestamp::ZERO,
        }
    }

    fn at(&mut self, media: Timestamp) {
        self.media = self.media.max(media);
    }

    fn read(&mut self, count: usize) {
        self.read += count as u64;
        self.bar.set_message(self.position());
        self.bar.set_position(self.read);
        if self.plain && now() - self.reported >= PLAIN_EVERY {
            self.reported = now();
            let share = self
                .length
                .map(|length| format!("{:3} %  ", self.read * 100 / length.max(1)))
                .unwrap_or_default();
            let left = self
                .left()
                .map(|left| format!("  {} left", clock(left)))
                .unwrap_or_default();
            eprintln!("{share}{}{left}", self.position());
        }
    }

    fn say(&self, text: &str) {
        if self.plain {
            eprintln!("{text}")
        } else {
            self.bar.println(text)
        }
    }

    fn finish(&self, summary: &str, damaged: u64) {
        self.bar.finish_and_clear();
        if damaged > 0 {
            eprintln!("{damaged} damaged units were skipped");
        }
        eprintln!("done: {}; {summary}", self.position());
    }

    /// Position and speed: `1:02.5 at 3.4x real time`.
    fn position(&self) -> String {
        let wall = (now() - self.started).as_secs_f64().max(0.001);
        let seconds = (self.media - Timestamp::ZERO).as_secs_f64();
        format!("{} at {:.1}x real time", clock(seconds), seconds / wall)
    }

    fn left(&self) -> Option<f64> {
        let share = self.read as f64 / self.length? as f64;
        let spent = (now() - self.started).as_secs_f64();
        (share > 0.0).then(|| spent / share - spent)
    }
}

fn clock(seconds: f64) -> String {
    format!("{}:{:04.1}", (seconds / 60.0) as u64, seconds % 60.0)
}

#[expect(clippy::disallowed_methods, reason = "progress is shown in wall time")]
fn now() -> Instant {
    Instant::now()
}

/// Between two lines where there is no terminal to draw a bar on.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
