//! `cost`: what a stream takes, and whether four take more than four times as
//! much.
//!
//! Two ways, because each misleads alone. *Files*: as many `weir transcode` at
//! once, as fast as the machine goes, so all of its CPUs are busy and what they
//! share is shared. *Live*: one `weir serve`, fed in real time by `weir publish`,
//! which is what runs in production; the server's own CPU time over a stretch in
//! the middle.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::Options;
use crate::clip::{self, Clip};
use crate::contestant::{Contestant, text};
use crate::ladder::{self, Rung};
use crate::measure::{self, median};
use crate::report::{Report, cpus, machine, table};
use crate::rounds::{prepare, rounds_of};

/// Streams at once.
const COUNTS: [usize; 3] = [1, 2, 4];

/// What four streams may cost of one, times four.
const GROWTH_BAR: f64 = 4.2 / 4.0;

/// A source, and whether weir is to pass it through where it can.
struct Case {
    clip: Clip,
    who: Contestant,
}

impl Case {
    fn title(&self) -> String {
        let Clip {
            width, height, fps, ..
        } = self.clip;
        let how = match self.who {
            Contestant::WeirPassthrough => ", passthrough",
            _ => "",
        };
        format!(
            "`{}`: {width}x{height}, {fps:.0} a second{how}",
            self.clip.kind.name
        )
    }
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let rungs = ladder::default(&options.weir)?;
    let mut cases = Vec::new();
    let clips = if options.clip_names.is_empty() {
        ["bbb720", "bbb720-fits", "bbb1080", "bbb1080p60"]
            .map(|name| clip::named(options, name))
            .into_iter()
            .collect::<Result<Vec<_>>>()?
    } else {
        clip::wanted(options, &[])?
    };
    for clip in clips {
        let fits = clip.kind.fits.then_some(clip.kind.name);
        cases.push(Case {
            clip,
            who: Contestant::Weir,
        });
        let Some(name) = fits else { continue };
        match Contestant::WeirPassthrough.missing(options, &rungs)? {
            Some(why) => report.add(&format!("Without passthrough: {why}.")),
            None => cases.push(Case {
                clip: clip::named(options, name)?,
                who: Contestant::WeirPassthrough,
            }),
        }
    }
    report.add(&format!("Measured on {}.", machine()));
    report.add(&format!(
        "**Files**: transcodes at once, CPU seconds of all, {}.",
        rounds_of(options.runs)
    ));
    report.add(&files(options, &rungs, &cases)?);
    report.add(&format!(
        "**Live**: streams on one server, in real time, over {} s.",
        options.live_seconds
    ));
    report.add(&lives(options, &rungs, &cases)?);
    Ok(())
}

fn files(options: &Options, rungs: &[Rung], cases: &[Case]) -> Result<String> {
    let mut rows = Vec::new();
    for case in cases {
        let mut sums: Vec<Vec<f64>> = vec![Vec::new(); COUNTS.len()];
        let mut peak: f64 = 0.0;
        for round in 1..=options.runs {
            for (count, sums) in COUNTS.into_iter().zip(&mut sums) {
                eprintln!(
                    "compare: {}, {count} at once, round {round} of {}",
                    case.clip.kind.name, options.runs
                );
                let mut running = Vec::new();
                for index in 0..count {
                    let out = options.work.join("cost").join(index.to_string());
                    let command = case.who.command(options, rungs, &case.clip, &out)?;
                    prepare(&out, rungs)?;
                    running.push(measure::start(&command, &out)?);
                }
                let mut sum = 0.0;
                for one in running {
                    let taken = one.finish()?;
                    sum += taken.cpu;
                    peak = peak.max(taken.peak);
                }
                sums.push(sum);
            }
        }
        let mut row = vec![case.title()];
        row.extend(
            sums.iter()
                .map(|sums| format!("{:.1}", median(sums.clone()))),
        );
        let growths = sums[0].iter().zip(&sums[COUNTS.len() - 1]);
        let growth = median(growths.map(|(one, four)| four / one).collect());
        let verdict = if growth <= GROWTH_BAR * COUNTS[COUNTS.len() - 1] as f64 {
            ""
        } else {
            " **over**"
        };
        row.push(format!("{growth:.2}{verdict}"));
        let cores = median(sums[COUNTS.len() - 1].clone())
            / COUNTS[COUNTS.len() - 1] as f64
            / case.clip.seconds;
        row.push(format!("{cores:.2}"));
        row.push(format!("{:.1}", FILL / cores));
        row.push(format!("{peak:.0}"));
        rows.push(row);
    }
    Ok(table(
        &[
            "source",
            "CPU s, 1",
            "2",
            "4",
            "4 over 1 (≤ 4.2)",
            "cores per stream, of 4",
            "streams per vCPU at 80 %",
            "peak MB of one",
        ],
        &rows,
    ))
}

/// The share of a CPU that is planned for: the rest is for scenes that cost
/// more than the average, and for viewers.
const FILL: f64 = 0.8;

fn lives(options: &Options, rungs: &[Rung], cases: &[Case]) -> Result<String> {
    let mut rows = Vec::new();
    for case in cases {
        let mut one = None;
        for count in COUNTS {
            let needed = one.map_or(0.0, |cores: f64| cores * count as f64);
            if needed > 0.95 * cpus() as f64 {
                rows.push(vec![
                    case.title(),
                    count.to_string(),
                    format!("would need {needed:.1} CPUs"),
                ]);
                rows.last_mut()
                    .into_iter()
                    .for_each(|row| row.resize(HEADINGS.len(), String::new()));
                continue;
            }
            eprintln!("compare: {}, {count} live", case.clip.kind.name);
            let live = live(options, rungs, case, count)?;
            let single = *one.get_or_insert(live.cores);
            rows.push(vec![
                case.title(),
                count.to_string(),
                format!("{:.2}", live.cores),
                format!("{:.2}", live.cores / count as f64),
                format!("{:.2}", live.cores / single),
                format!("{:.0}", live.idle),
                format!(
                    "{:.0}",
                    (live.resident - live.idle - live.segments) / count as f64
                ),
                format!("{:.0}", live.segments / count as f64),
                if live.lag > MOST_LAG {
                    format!("**{:.1}**: fell behind, no figure", live.lag)
                } else {
                    format!("{:.1}", live.lag)
                },
            ]);
        }
    }
    Ok(table(&HEADINGS, &rows))
}

/// Seconds; a ladder that is further behind does not do its work in time.
const MOST_LAG: f64 = 2.0;

const HEADINGS: [&str; 9] = [
    "source",
    "streams",
    "cores",
    "cores per stream",
    "over one",
    "idle MB",
    "MB per stream",
    "MB of segments so far",
    "lag s",
];

/// A live measurement.
struct Live {
    cores: f64,
    /// Resident MB before the first publisher.
    idle: f64,
    /// Resident MB at the end.
    resident: f64,
    /// MB of segments held, of all streams.
    segments: f64,
    /// Largest lag of a ladder at the end, in seconds.
    lag: f64,
}

/// A child that does not outlive its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn live(options: &Options, rungs: &[Rung], case: &Case, count: usize) -> Result<Live> {
    let data = options.work.join("live");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    fs::create_dir_all(&data)?;
    let log = fs::File::create(data.join("log"))?;
    let mut serve = Command::new(&options.weir);
    serve
        .args(["serve", "--auth", "open", "--rtmp", "127.0.0.1:0"])
        .args(["--http", "127.0.0.1:0", "--data", &text(&data)])
        .env("WEIR_LIMITS_STREAMS", "16");
    if let Some(config) = case.who.write_config(options, rungs)? {
        serve.args(["--config", &text(&config)]);
    }
    let server = Owned(
        serve
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .spawn()
            .context("weir serve")?,
    );
    let process = Path::new("/proc").join(server.0.id().to_string());
    let ports = data.join("weir.ports.json");
    for _ in 0..100 {
        if ports.exists() {
            break;
        }
        wait(Duration::from_millis(100));
    }
    let ports: serde_json::Value = serde_json::from_str(&fs::read_to_string(&ports)?)?;
    let port = |name: &str| ports[name].as_str().map(str::to_owned);
    let (rtmp, http) = (port("rtmp").context("rtmp")?, port("http").context("http")?);
    wait(Duration::from_secs(1));
    let idle = resident(&process)?;
    let _publisher = Owned(
        Command::new(&options.weir)
            .arg("publish")
            .arg(&case.clip.path)
            .arg(format!("rtmp://{rtmp}/stream/load"))
            .args(["--loop", "--copies", &count.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("weir publish")?,
    );
    // Decoders, encoders and the first segments are there by then.
    wait(Duration::from_secs(15));
    let before = cpu(&process)?;
    wait(Duration::from_secs(options.live_seconds));
    let spent = cpu(&process)? - before;
    let metrics = Command::new("curl")
        .args(["-fsS", &format!("http://{http}/metrics")])
        .output()
        .context("curl")?;
    let metrics = String::from_utf8_lossy(&metrics.stdout).into_owned();
    let values = |name: &'static str| {
        metrics
            .lines()
            .filter(move |line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let streams = values("weir_streams_live").sum::<f64>();
    if streams != count as f64 {
        bail!(
            "{streams} of {count} streams are live: {}",
            data.join("log").display()
        );
    }
    Ok(Live {
        cores: spent / options.live_seconds as f64,
        idle,
        resident: resident(&process)?,
        segments: values("weir_segment_bytes").sum::<f64>() / 1e6,
        lag: values("weir_ladder_lag_seconds").fold(0.0, f64::max),
    })
}

/// CPU seconds of a process so far: fields 14 and 15 of its `stat`, in ticks of
/// a hundredth (USER_HZ, the same on every Linux that this runs on).
fn cpu(process: &Path) -> Result<f64> {
    let stat = fs::read_to_string(process.join("stat")).context("weir serve has ended")?;
    // The name may have spaces; the rest begins behind its bracket.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<f64>().ok());
    let (user, system) = (next().context("utime")?, next().context("stime")?);
    Ok((user + system) / 100.0)
}

/// Resident MB of a process.
fn resident(process: &Path) -> Result<f64> {
    let status = fs::read_to_string(process.join("status")).context("weir serve has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.context("VmRSS")? * 1024.0 / 1e6)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a live server is measured over wall time"
)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}
