//! Damaged streams, each backend: what it reports, what it gives out until the
//! next key unit, that it is exact from there on, that it never panics, and
//! what memory it takes.
//!
//! The tables of `docs/decoders.md` are printed by
//!
//! ```text
//! cargo test -p weir-codec --test decoders_damage -- --nocapture --ignored --test-threads 1
//! ```
//!
//! One thread: memory is that of the process.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bitstream::nal;
use bytes::Bytes;
use common::{Stream, raw};
use media::{AccessUnit, Picture, Timestamp};
use weir_codec::video::{Backend, open_decoder};
use weir_codec::{Error, Limits};

const BACKENDS: [Backend; 3] = [Backend::RustyH264, Backend::RustH264, Backend::OpenH264];

/// Pictures from one key unit to the next.
const GROUP: usize = 10;

/// Always the same for the same seed (xorshift).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// One to eight bits of one to three units.
    Flips,
    /// The end of a unit, its lengths still right.
    Truncation,
    /// A unit.
    LostUnit,
    /// A slice of a unit.
    LostSlice,
    /// Two units in the wrong order, at each other's times.
    Swapped,
    /// Anything behind a slice's header byte.
    Garbage,
}

const KINDS: [Damage; 6] = [
    Damage::Flips,
    Damage::Truncation,
    Damage::LostUnit,
    Damage::LostSlice,
    Damage::Swapped,
    Damage::Garbage,
];

impl Damage {
    /// Damages units of the second group.
    fn inflict(self, units: &mut Vec<AccessUnit>, random: &mut Random) {
        let at = GROUP + random.below(GROUP - 1);
        let mut nals: Vec<Vec<u8>> = nal::lengths(&units[at].data, 4)
            .map(|nal| nal.unwrap().to_vec())
            .collect();
        match self {
            Self::Flips => {
                for unit in &mut units[at..][..1 + random.below(2)] {
                    let mut data = unit.data.to_vec();
                    for _ in 0..1 + random.below(8) {
                        let bit = random.below(data.len() * 8);
                        data[bit / 8] ^= 1 << (bit % 8);
                    }
                    unit.data = data.into();
                }
                return;
            }
            Self::LostUnit => {
                units.remove(at);
                return;
            }
            Self::Swapped => {
                let data = units[at].data.clone();
                units[at].data = std::mem::replace(&mut units[at + 1].data, data);
                return;
            }
            Self::Truncation => {
                let last = nals.last_mut().unwrap();
                last.truncate(1 + random.below(last.len()));
            }
            Self::LostSlice => {
                nals.remove(random.below(nals.len()));
            }
            Self::Garbage => {
                let slice = random.below(nals.len());
                for byte in &mut nals[slice][1..] {
                    *byte = random.below(256) as u8;
                }
            }
        }
        let mut data = Vec::new();
        for nal in &nals {
            nal::push_length_prefixed(&mut data, nal);
        }
        units[at].data = Bytes::from(data);
    }
}

/// What came of the damaged group, over all seeds.
#[derive(Default)]
struct Tally {
    streams: usize,
    /// Streams of which no unit was reported as damaged.
    silent: usize,
    exact: usize,
    wrong: usize,
    missing: usize,
}

struct Judge {
    stream: Stream,
    /// Samples by pts.
    expected: BTreeMap<Timestamp, Vec<u8>>,
}

impl Judge {
    fn new(options: &[&str]) -> Self {
        let group = GROUP.to_string();
        let mut all = vec!["-g", &group, "-keyint_min", &group, "-sc_threshold", "0"];
        all.extend(options);
        let stream = Stream::x264((160, 96), &all);
        let size = stream.expected.len() / stream.units.len();
        let samples = stream.expected.chunks(size).map(<[u8]>::to_vec);
        let expected = stream.shown().into_iter().zip(samples).collect();
        Self { stream, expected }
    }

    fn run(&self, backend: Backend, kind: Damage, seed: u64, tally: &mut Tally) {
        let mut units = self.stream.units.clone();
        kind.inflict(&mut units, &mut Random::new(seed));
        let config = units[0].config.h264().unwrap();
        let mut decoder = open_decoder(backend, config, &Limits::default()).unwrap();
        let mut pictures = Vec::new();
        let mut errors = 0;
        for unit in &units {
            match decoder.decode(unit, &mut pictures) {
                Ok(()) => {}
                Err(Error::Malformed { .. }) => errors += 1,
                Err(other) => panic!("{backend:?} {kind:?} {seed}: {other}"),
            }
        }
        decoder.flush(&mut pictures).unwrap();
        let what = format!("{backend:?} {kind:?} {seed}");
        assert!(pictures.is_sorted_by(|a, b| a.pts < b.pts), "{what}");
        tally.streams += 1;
        tally.silent += usize::from(errors == 0);
        self.judge(&pictures, &what, backend, tally);
    }

    fn judge(&self, pictures: &[Arc<Picture>], what: &str, backend: Backend, tally: &mut Tally) {
        let mut given: BTreeMap<Timestamp, Vec<u8>> = pictures
            .iter()
            .map(|picture| (picture.pts, raw(&[Arc::clone(picture)])))
            .collect();
        let shown: Vec<_> = self.expected.iter().collect();
        for (index, (pts, samples)) in shown.into_iter().enumerate() {
            let same = given
                .remove(pts)
                .map(|given| self.same(&given, samples, backend));
            if (GROUP..2 * GROUP).contains(&index) {
                match same {
                    Some(true) => tally.exact += 1,
                    Some(false) => tally.wrong += 1,
                    None => tally.missing += 1,
                }
            } else {
                assert_eq!(same, Some(true), "{what}: picture {index}");
            }
        }
        assert!(given.is_empty(), "{what}: pictures at other times");
    }

    /// openh264 is a little off in B slices of streams that nothing happened to.
    fn same(&self, given: &[u8], samples: &[u8], backend: Backend) -> bool {
        if backend != Backend::OpenH264 {
            return given == samples;
        }
        let differing = given.iter().zip(samples).filter(|(a, b)| a != b).count();
        given.len() == samples.len() && differing * 100 < samples.len()
    }
}

/// The entropy coders, slices, and B-frames that refer to each other.
fn judges() -> [Judge; 3] {
    [
        Judge::new(&["-bf", "3", "-x264-params", "b-pyramid=normal:b-adapt=0"]),
        Judge::new(&["-bf", "2", "-slices", "3", "-coder", "cavlc"]),
        Judge::new(&[
            "-bf",
            "0",
            "-slices",
            "3",
            "-x264-params",
            "weightp=2:ref=4",
        ]),
    ]
}

fn run(backend: Backend, seeds: u64, print: bool) {
    let judges = judges();
    for kind in KINDS {
        let mut tally = Tally::default();
        for judge in &judges {
            for seed in 1..=seeds {
                judge.run(backend, kind, seed, &mut tally);
            }
        }
        if print {
            let Tally {
                streams,
                silent,
                exact,
                wrong,
                missing,
            } = tally;
            let share = |part: usize| 100.0 * part as f64 / (exact + wrong + missing) as f64;
            println!(
                "| {backend:?} | {kind:?} | {streams} | {:.0} % | {:.0} % | {:.0} % | {:.0} % |",
                100.0 * silent as f64 / streams as f64,
                share(exact),
                share(wrong),
                share(missing)
            );
        }
    }
}

#[test]
fn every_backend_is_exact_again_at_the_next_key_unit() {
    for backend in BACKENDS {
        run(backend, 12, false);
    }
}

#[test]
#[ignore = "minutes; writes the table of docs/decoders.md"]
fn hundreds_of_damaged_streams_of_each_kind() {
    println!("| backend | damage | streams | not noticed | exact | wrong | missing |");
    println!("|---|---|---|---|---|---|---|");
    for backend in BACKENDS {
        forget_the_most();
        // The first streams fill the allocator's caches.
        run(backend, 30, false);
        let before = most_resident();
        run(backend, 112, true);
        let grown = most_resident().saturating_sub(before);
        println!("| {backend:?} | resident memory grew by | {grown} KiB | | | | |");
        assert!(grown < 1024, "{backend:?} grew by {grown} KiB");
    }
}

#[test]
#[ignore = "tens of seconds; writes the memory of docs/decoders.md"]
fn the_memory_of_a_decoder_stays_within_what_the_limits_promise() {
    for (size, references) in [("1920x1080", "3"), ("1920x1080", "16"), ("4096x2304", "5")] {
        let source = format!("testsrc2=s={size}:r=25:d=1,noise=alls=8:allf=t");
        let parameters = format!("ref={references}:b-adapt=0:b-pyramid=normal:level=62");
        let options = ["-preset", "ultrafast", "-bf", "3", "-g", "999"];
        let options = [&options[..], &["-x264-params", &parameters, "-crf", "40"]].concat();
        let units = Stream::encode(&source, &options).units;
        let config = units[0].config.h264().unwrap();
        for backend in [Backend::RustyH264, Backend::RustH264] {
            forget_the_most();
            let mut decoder = open_decoder(backend, config, &Limits::default()).unwrap();
            let mut pictures = Vec::new();
            for unit in &units {
                decoder.decode(unit, &mut pictures).unwrap();
                pictures.clear();
            }
            let most = most_resident() / 1024;
            println!("| {size} | {references} | {backend:?} | {most} MiB |");
            assert!(most < 256, "{backend:?}");
        }
    }
}

/// Most memory held by this process since [`forget_the_most`], in KiB.
fn most_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

/// Brings the highest mark down to what is held now (proc(5)).
fn forget_the_most() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}
