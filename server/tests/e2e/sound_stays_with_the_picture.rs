//! A white flash and a beep at the same instants, measured in the source and in
//! every rung: they must not have moved apart by more than 20 ms.

use std::path::{Path, PathBuf};

use crate::harness::SMALL_LADDER;
use crate::harness::server::{Server, weir};
use crate::harness::show::Show;
use crate::harness::sources::{X264, clip};
use crate::harness::tools::{ffmpeg, publish, run};

/// Every second from 0.6 s on, a tenth of a second of white and of 1 kHz.
fn flash_and_beep(rate: &str) -> PathBuf {
    let beep = format!(
        "aevalsrc='if(lt(mod(t+0.4,1),0.1)*gte(t,0.5),0.8*sin(2*PI*1000*t),0)':s={rate}:c=stereo:d=6"
    );
    let arguments = [
        "-f",
        "lavfi",
        "-i",
        "color=black:size=320x180:rate=25:duration=6",
        "-f",
        "lavfi",
        "-i",
        &beep,
        "-vf",
        "drawbox=color=white:t=fill:enable='lt(mod(t+0.4001,1),0.1)*gte(t,0.5)'",
    ];
    clip(
        &format!("flash-{rate}"),
        &[&arguments[..], X264, &["-c:a", "aac", "-b:a", "128k"]].concat(),
    )
}

/// Times in seconds at which `filter` crosses from below `level` to above,
/// by what it prints for each frame.
fn onsets(file: &Path, option: &str, filter: &str, key: &str, level: f64) -> Vec<f64> {
    let output = run(ffmpeg()
        .args(["-copyts", "-i"])
        .arg(file)
        .args([option, filter, "-f", "null", "-"]));
    let text = String::from_utf8(output.stdout).expect("text");
    let (mut time, mut above, mut found) = (0.0, true, Vec::new());
    for line in text.lines() {
        if let Some(at) = line.split_once("pts_time:") {
            time = at.1.trim().parse().expect("a time");
        } else if let Some(value) = line.strip_prefix(key) {
            // Silence is "-inf".
            let high = value
                .trim_start_matches('=')
                .parse::<f64>()
                .is_ok_and(|value| value > level);
            if high && !above {
                found.push(time);
            }
            above = high;
        }
    }
    found
}

fn flashes(file: &Path) -> Vec<f64> {
    onsets(
        file,
        "-vf",
        "signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-",
        "lavfi.signalstats.YAVG",
        100.0,
    )
}

/// To the millisecond.
fn beeps(file: &Path) -> Vec<f64> {
    let filter = "aformat=channel_layouts=mono,asetnsamples=n=48:p=0,astats=metadata=1:reset=1,\
                  ametadata=print:key=lavfi.astats.Overall.Peak_level:file=-";
    onsets(
        file,
        "-af",
        filter,
        "lavfi.astats.Overall.Peak_level",
        -10.0,
    )
}

/// Seconds by which the beep comes after the flash, for each pair.
#[track_caller]
fn offsets(file: &Path) -> Vec<f64> {
    let (flashes, beeps) = (flashes(file), beeps(file));
    assert!(flashes.len() >= 5, "{flashes:?}");
    assert_eq!(flashes.len(), beeps.len(), "{flashes:?} {beeps:?}");
    flashes
        .iter()
        .zip(&beeps)
        .map(|(flash, beep)| beep - flash)
        .collect()
}

#[track_caller]
fn unmoved(source: &Path, show: &Show, what: &str) {
    let before = offsets(source);
    for rung in &show.rungs {
        let after = offsets(&show.file(rung));
        assert_eq!(after.len(), before.len(), "{what} {}", rung.name);
        for (before, after) in before.iter().zip(&after) {
            let moved = (after - before) * 1000.0;
            assert!(
                moved.abs() <= 20.0,
                "{what} {}: sound moved by {moved:.1} ms",
                rung.name
            );
        }
        println!(
            "{what} {}: {:?} ms",
            rung.name,
            before
                .iter()
                .zip(&after)
                .map(|(a, b)| ((b - a) * 10_000.0).round() / 10.0)
                .collect::<Vec<_>>()
        );
    }
}

fn config(mode: &str) -> String {
    format!("[audio]\nmode = \"{mode}\"\n{SMALL_LADDER}")
}

#[test]
fn flash_and_beep_stay_together_when_live() {
    for mode in ["copy", "encode"] {
        let server = Server::configured(&config(mode));
        let sources: Vec<_> = ["44100", "48000"]
            .map(|rate| (format!("at-{rate}"), flash_and_beep(rate)))
            .into();
        let publishers: Vec<_> = sources
            .iter()
            .map(|(name, source)| publish(source, &server.publish_url(name)))
            .collect();
        for (name, source) in &sources {
            let show = Show::begin(&server, name).until_end(&server, name);
            show.is_true();
            unmoved(source, &show, &format!("live {mode} {name}"));
        }
        drop(publishers);
    }
}

#[test]
fn flash_and_beep_stay_together_offline() {
    for mode in ["copy", "encode"] {
        for rate in ["44100", "48000"] {
            let dir = tempfile::tempdir().expect("a directory");
            let file = dir.path().join("weir.toml");
            std::fs::write(&file, format!("[hls]\nsegment = \"2s\"\n{}", config(mode)))
                .expect("a file");
            let (source, out) = (flash_and_beep(rate), dir.path().join("out"));
            run(weir()
                .arg("transcode")
                .arg(&source)
                .arg("--out")
                .arg(&out)
                .arg("--config")
                .arg(&file));
            unmoved(
                &source,
                &Show::on_disk(&out),
                &format!("offline {mode} {rate}"),
            );
        }
    }
}
