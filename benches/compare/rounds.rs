//! `run`: contestants take turns on each clip, round by round, so that whatever
//! else the machine does meets all of them. Ratios are taken within a round.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::Options;
use crate::clip::{self, About, Clip};
use crate::contestant::Contestant;
use crate::ladder::{self, Rung};
use crate::measure::{self, Taken, median};
use crate::output::Rendition;
use crate::quality;
use crate::rates::Rates;
use crate::report::{Report, machine, table};

/// A contestant on a clip, round by round.
struct Turn {
    who: Contestant,
    out: PathBuf,
    taken: Vec<Taken>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let rungs = ladder::default(&options.weir)?;
    let clips = clip::wanted(options, &[About::Quality, About::Cost, About::Rates])?;
    let scored = options.vmaf && quality::available(&options.ffmpeg)?;
    report.add(&format!(
        "Measured on {}; {}.",
        machine(),
        rounds_of(options.runs)
    ));
    if let Some(note) = &options.note {
        report.add(note);
    }
    if options.vmaf && !scored {
        report.add("This ffmpeg has no libvmaf: no VMAF.");
    }
    for clip in &clips {
        report.add(&format!("### `{}`: {}", clip.kind.name, clip.kind.what));
        one_clip(options, &rungs, clip, scored, report)?;
    }
    Ok(())
}

/// How many, in words for the report.
pub(crate) fn rounds_of(runs: usize) -> String {
    match runs {
        1 => "one round".to_owned(),
        runs => format!("medians of {runs} rounds"),
    }
}

fn one_clip(
    options: &Options,
    rungs: &[Rung],
    clip: &Clip,
    scored: bool,
    report: &mut Report,
) -> Result<()> {
    let mut turns = Vec::new();
    for who in contestants(options, clip) {
        if let Some(why) = who.missing(options, rungs)? {
            report.add(&format!("Without `{}`: {why}.", who.name()));
            continue;
        }
        turns.push(Turn {
            who,
            out: options.work.join(clip.kind.name).join(who.name()),
            taken: Vec::new(),
        });
    }
    for round in 1..=options.runs {
        for turn in &mut turns {
            eprintln!(
                "compare: {}, round {round} of {}: {}",
                clip.kind.name,
                options.runs,
                turn.who.name()
            );
            let taken = transcode(options, rungs, clip, turn.who, &turn.out)?;
            turn.taken.push(taken);
        }
    }
    report.add(&costs(clip, &turns));
    report.add(&outputs(options, rungs, clip, &turns, scored)?);
    Ok(())
}

fn contestants(options: &Options, clip: &Clip) -> Vec<Contestant> {
    use Contestant::{OpenH264, Original, Weir, WeirPassthrough, X264};
    if !options.contestants.is_empty() {
        return options.contestants.clone();
    }
    match clip.kind.about {
        About::Rates => vec![Weir],
        _ if clip.kind.fits => vec![Original, X264, OpenH264, Weir, WeirPassthrough],
        _ => vec![Original, X264, OpenH264, Weir],
    }
}

/// Makes the ladder anew in `out`.
pub(crate) fn transcode(
    options: &Options,
    rungs: &[Rung],
    clip: &Clip,
    who: Contestant,
    out: &Path,
) -> Result<Taken> {
    let command = who.command(options, rungs, clip, out)?;
    prepare(out, rungs)?;
    measure::start(&command, out)?.finish()
}

/// An empty folder for every rung: ffmpeg makes none itself.
pub(crate) fn prepare(out: &Path, rungs: &[Rung]) -> Result<()> {
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| out.display().to_string())?;
    }
    for rung in rungs {
        let place = out.join(&rung.name);
        fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    }
    Ok(())
}

/// CPU, memory and time of each.
fn costs(clip: &Clip, turns: &[Turn]) -> String {
    let column = |turn: &Turn, value: fn(&Taken) -> f64| {
        median(turn.taken.iter().map(value).collect::<Vec<f64>>())
    };
    let rivals: Vec<&Turn> = turns.iter().filter(|turn| !turn.who.is_weir()).collect();
    let rivals = if rivals.is_empty() {
        turns.iter().take(1).collect()
    } else {
        rivals
    };
    let mut headings = vec!["contestant".to_owned(), "CPU s".to_owned()];
    headings.extend(rivals.iter().map(|rival| format!("/ {}", rival.who.name())));
    for heading in ["cores per stream", "wall s", "wall / CPU", "peak MB"] {
        headings.push(heading.to_owned());
    }
    let mut rows = Vec::new();
    for turn in turns {
        let cpu = column(turn, |taken| taken.cpu);
        let mut row = vec![
            format!("{} (`{}`)", turn.who.title(), turn.who.name()),
            format!("{cpu:.1}"),
        ];
        for rival in &rivals {
            let pairs = turn.taken.iter().zip(&rival.taken);
            let ratios = pairs.map(|(own, other)| own.cpu / other.cpu);
            row.push(format!("{:.2}", median(ratios.collect())));
        }
        row.push(format!("{:.2}", cpu / clip.seconds));
        row.push(format!("{:.1}", column(turn, |taken| taken.wall)));
        let share = column(turn, |taken| taken.wall / taken.cpu);
        row.push(format!("{share:.2}"));
        row.push(format!("{:.0}", column(turn, |taken| taken.peak)));
        rows.push(row);
    }
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    table(&headings, &rows)
}

/// Rates and quality of each rung.
fn outputs(
    options: &Options,
    rungs: &[Rung],
    clip: &Clip,
    turns: &[Turn],
    scored: bool,
) -> Result<String> {
    let scored = scored && clip.kind.about == About::Quality;
    let mut headings = vec!["rung", "contestant"];
    if scored {
        headings.extend(["VMAF", "VMAF-NEG"]);
    }
    headings.extend(Rates::HEADINGS);
    let mut rows = Vec::new();
    for rung in rungs {
        for turn in turns {
            let place = turn.out.join(&rung.name);
            if !place.join("index.m3u8").exists() {
                continue;
            }
            let rendition = Rendition::read(&place)?;
            let mut row = vec![rung.name.clone(), turn.who.name().to_owned()];
            if scored {
                eprintln!(
                    "compare: VMAF of {} {} {}",
                    clip.kind.name,
                    turn.who.name(),
                    rung.name
                );
                let score = quality::score(&options.ffmpeg, clip, &rendition.data, &turn.out)?;
                row.push(format!("{:.2}", score.vmaf));
                row.push(format!("{:.2}", score.neg));
            }
            row.extend(Rates::of(&rendition, rung).cells());
            rows.push(row);
        }
    }
    Ok(table(&headings, &rows))
}
