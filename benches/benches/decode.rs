//! Decoding, each backend, in pictures a second of one core.
//!
//! ```text
//! cargo bench -p weir-benches --bench decode
//! ```
//!
//! The streams are made by ffmpeg once per run, from the clip in `testdata/`
//! brought to the size, as OBS makes them: High profile, two B-frames, a key
//! picture every two seconds. CPU time is measured, not the clock on the wall,
//! with the server's allocator; what ffmpeg's own decoder takes for the same,
//! on one thread, is printed beside it.

mod clip;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use codec::Limits;
use codec::video::{Backend, open_decoder};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use media::{AccessUnit, Picture};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BACKENDS: [Backend; 3] = [Backend::RustyH264, Backend::RustH264, Backend::OpenH264];

/// Pictures in each stream.
const PICTURES: usize = 90;

/// CPU time of the thread that measures: no backend uses another.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn make(directory: &Path, size: &str, rate: &str) -> PathBuf {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/bbb-720p25-5s.flv");
    let path = directory.join(format!("{size}.flv"));
    let filters = format!("fps=30,scale={size}:flags=lanczos");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y", "-i"])
        .arg(clip)
        .args(["-an", "-vf", &filters, "-frames:v", &PICTURES.to_string()])
        .args(["-c:v", "libx264", "-profile:v", "high"])
        .args(["-preset", "veryfast"])
        .args(["-b:v", rate, "-maxrate", rate, "-bufsize", rate])
        .args(["-g", "60", "-bf", "2", "-pix_fmt", "yuv420p"])
        .arg(&path)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "ffmpeg");
    path
}

/// Pictures a second of CPU by ffmpeg's decoder: what nine more passes over the
/// file add, so that starting the program does not count.
fn by_ffmpeg(path: &Path) -> f64 {
    let seconds = |passes: &str| -> f64 {
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-benchmark", "-threads", "1"])
            .args(["-stream_loop", passes])
            .arg("-i")
            .arg(path)
            .args(["-f", "null", "-"])
            .output()
            .expect("ffmpeg is installed");
        let log = String::from_utf8_lossy(&output.stderr);
        let times = ["utime=", "stime="].map(|name| {
            let text = log.rsplit(name).next().unwrap_or_default();
            let digits = text.split('s').next().unwrap_or_default();
            digits.parse().unwrap_or(0.0)
        });
        times.iter().sum()
    };
    9.0 * PICTURES as f64 / (seconds("9") - seconds("0"))
}

/// Decodes it all, giving each picture back when the next comes, as a ladder
/// does.
fn decode(backend: Backend, units: &[AccessUnit]) -> usize {
    let config = units[0].config.h264().expect("a video track");
    let mut decoder = open_decoder(backend, config, &Limits::default()).expect("4:2:0, 8 bits");
    let mut count = 0;
    let mut ready = Vec::new();
    let mut held: Option<Arc<Picture>> = None;
    for unit in units {
        decoder
            .decode(unit, &mut ready)
            .expect("an undamaged stream");
        count += ready.len();
        held = ready.drain(..).next_back().or(held);
    }
    black_box(held);
    count
}

fn benches(criterion: &mut Criterion<CpuTime>) {
    let directory = tempfile::tempdir().expect("a directory for streams");
    for (name, size, rate) in [
        ("1080p30, 6 Mbit/s", "1920x1080", "6M"),
        ("720p30, 3 Mbit/s", "1280x720", "3M"),
    ] {
        let path = make(directory.path(), size, rate);
        let file = std::fs::read(&path).expect("a file just made");
        let units = clip::units(&clip::tags(&file));
        println!(
            "decode {name}/ffmpeg: {:.0} pictures a second",
            by_ffmpeg(&path)
        );
        let mut group = criterion.benchmark_group(format!("decode {name}"));
        group
            .sample_size(10)
            .throughput(Throughput::Elements(units.len() as u64));
        for backend in BACKENDS {
            group.bench_function(format!("{backend:?}"), |bencher| {
                bencher.iter(|| decode(backend, &units));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = video;
    config = Criterion::default().with_measurement(CpuTime);
    targets = benches
}
criterion_main!(video);
