//! Long recordings at speed: what they cost, in total and by the segment.

use super::*;

/// The thinnest segments there are: of sound alone, 128 kbit/s with its overhead.
const BYTES_A_SECOND: usize = 17_500;

/// As long as ids are: the numbers of segments are most of a playlist.
const SESSION: u64 = 1_795_000_000_000;

/// What had been spent when so much had been recorded.
#[derive(Clone, Copy, Debug)]
struct Reading {
    segments: u64,
    /// Bytes that live in memory, by the kernel's account.
    resident: u64,
    /// Of all threads.
    cpu: Duration,
    playlists: (u64, u64),
    stored: u64,
}

impl Reading {
    fn now(recorder: &Recorder) -> Self {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = recorder.counters();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.unwrap().trim().strip_suffix(" kB").unwrap();
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self {
            segments: load(&counters.segments_stored),
            resident: resident.parse::<u64>().unwrap() << 10,
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
            playlists: {
                let (requests, bytes) = &counters.puts.playlists;
                (load(requests), load(bytes))
            },
            stored: load(&counters.bytes_stored),
        }
    }
}

/// Records `hours` in segments of `seconds`; readings at the start and behind each of
/// `hours`. Everything is kept, and the playlists cost what they may.
async fn record_for(hours: &[f64], seconds: i64) -> Vec<Reading> {
    let place = Place::new(Duration::ZERO);
    let recorder = place.open();
    let tap = recorder.tap(&name(), SESSION);
    let outputs = [output("720p", 1280)];
    let clock = ProgramClock {
        at: Timestamp::ZERO,
        unix_ms: SESSION as i64,
    };
    let data = Bytes::from(vec![0x47; BYTES_A_SECOND * seconds as usize]);
    let mut readings = vec![Reading::now(&recorder)];
    let mut count: i64 = 0;
    for hours in hours {
        while (count * seconds) as f64 <= hours * 3600.0 {
            let segment = Segment {
                start: Timestamp::from_ticks(count * seconds * Ticks::HZ),
                duration: Ticks::new(seconds * Ticks::HZ),
                data: data.clone(),
                ..(*segment(SESSION + count as u64, SESSION)).clone()
            };
            tap.push_best(&outputs, &[(0, Arc::new(segment))], clock);
            count += 1;
            // As fast as the store takes them, and no faster.
            while recorder.all()[0].backlog.segments > 4 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        settled(&recorder).await;
        readings.push(Reading::now(&recorder));
    }
    tap.end();
    until("it is closed", || place.closed(SESSION)).await;
    readings.push(Reading::now(&recorder));
    let playlist = place.playlist(SESSION);
    assert_eq!(playlist.segments.len(), count as usize);
    assert_eq!(recorder.all()[0].gaps.segments, 0);
    let end = readings[readings.len() - 1];
    let share = end.playlists.1 as f64 / end.stored as f64;
    assert!(share <= 0.005, "playlists are {share} of the media");
    readings
}

#[tokio::test]
async fn playlists_cost_less_than_half_a_per_cent_of_the_thinnest_media() {
    let readings = record_for(&[0.1, 0.2, 0.4], 2).await;
    // Twice as long, and not twice as many.
    let playlists: Vec<_> = readings.iter().map(|one| one.playlists.0).collect();
    let later = playlists[3] - playlists[2];
    assert!(later <= playlists[2] - playlists[0], "{playlists:?}");
}

#[tokio::test]
#[ignore = "takes minutes: scripts/recordings.sh simulate"]
async fn eight_hours() {
    println!(
        "| segments of | recorded | segments | bytes | playlists | their bytes | of the media | resident | CPU a segment |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for seconds in [2, 6] {
        let hours = [1.0, 2.0, 4.0, 8.0];
        let readings = record_for(&hours, seconds).await;
        let names = ["1 h", "2 h", "4 h", "8 h", "closed"];
        for (pair, name) in readings.windows(2).zip(names) {
            let (before, now) = (pair[0], pair[1]);
            let segments = (now.segments - before.segments).max(1);
            let cpu = (now.cpu - before.cpu).as_secs_f64() * 1e6 / segments as f64;
            println!(
                "| {seconds} s | {name} | {} | {} | {} | {} | {:.3} % | {:.1} MiB | {} |",
                now.segments,
                now.stored,
                now.playlists.0,
                now.playlists.1,
                100.0 * now.playlists.1 as f64 / now.stored as f64,
                now.resident as f64 / f64::from(1 << 20),
                match name {
                    "closed" => "-".to_owned(),
                    _ => format!("{cpu:.0} µs"),
                },
            );
        }
        // A line of the account for each segment, and the longest playlist.
        let grown = readings[4].resident.saturating_sub(readings[1].resident);
        assert!(
            grown < 16 << 20,
            "{grown} bytes from the first hour to the eighth"
        );
    }
}
