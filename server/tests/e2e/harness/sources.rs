//! Clips to publish, made once by ffmpeg and kept in the build directory.

use std::path::{Path, PathBuf};
use std::process::id;
use std::sync::{Mutex, PoisonError};

use super::tools::{ffmpeg, run};

/// The clip that is part of the repository: 720p, 25 fps, 5.1 sound, 5.3 s.
pub(crate) fn bundled_clip() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/bbb-720p25-5s.flv")
}

/// A clip called `name`, made with `arguments` to ffmpeg unless it is there.
pub(crate) fn clip(name: &str, arguments: &[&str]) -> PathBuf {
    // One at a time: two tests may want the same.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let recipe = arguments
        .iter()
        .flat_map(|text| text.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let path = dir.join(format!("{name}-{recipe:016x}.flv"));
    if !path.exists() {
        let beside = dir.join(format!("{name}-{recipe:016x}.{}.flv", id()));
        run(ffmpeg().args(arguments).args(["-f", "flv"]).arg(&beside));
        std::fs::rename(&beside, &path).expect("a clip");
    }
    path
}

/// Moving test picture of `size` at `rate`, `seconds` long, with a stereo tone.
pub(crate) fn test_picture(size: &str, rate: &str, seconds: u32) -> PathBuf {
    let video = format!("testsrc2=size={size}:rate={rate}:duration={seconds}");
    let tone = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let name = format!("test-{size}-{}", rate.replace('/', "_"));
    let arguments = [
        &["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &tone],
        X264,
        &["-ac", "2"],
        AAC,
    ]
    .concat();
    clip(&name, &arguments)
}

/// A small clip of ten seconds, cheap to carry: for tests about anything but
/// the media.
pub(crate) fn small() -> PathBuf {
    test_picture("320x180", "25", 10)
}

/// H.264 as fast as it goes, a key picture every second.
pub(crate) const X264: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-pix_fmt",
    "yuv420p",
    "-force_key_frames",
    "expr:gte(t,n_forced)",
];

pub(crate) const AAC: &[&str] = &["-c:a", "aac", "-b:a", "96k"];
