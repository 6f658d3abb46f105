//! Which decoder can do what: streams of every kind, each backend, judged by
//! ffmpeg's pictures. `docs/decoders.md` is written by the ignored test here:
//!
//! ```text
//! cargo test -p weir-codec --test decoders -- --nocapture --ignored
//! ```
//!
//! The other tests hold what that page promises.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;
mod streams;

use media::AccessUnit;
use streams::{Case, Made, cases};
use weir_codec::Limits;
use weir_codec::video::{Backend, open_decoder};

const BACKENDS: [Backend; 3] = [Backend::RustyH264, Backend::RustH264, Backend::OpenH264];

/// What became of a stream.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// All samples of all pictures are ffmpeg's.
    Exact,
    /// All pictures came, and some samples differ.
    Differs {
        share: f64,
        most: u8,
    },
    /// Units were reported as damaged, or pictures are missing.
    GivesUp {
        pictures: usize,
        of: usize,
    },
    /// The backend is known to lack it; the fallback's pictures are exact.
    HandedOn,
    Refused(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact => write!(out, "exact"),
            Self::Differs { share, most } => {
                write!(
                    out,
                    "{:.3} % of samples differ, by up to {most}",
                    share * 100.0
                )
            }
            Self::GivesUp { pictures, of } => write!(out, "gives up, {pictures} of {of} pictures"),
            Self::HandedOn => write!(out, "handed on"),
            Self::Refused(_) => write!(out, "refused"),
        }
    }
}

/// Decodes as a ladder does: a new configuration is a new decoder.
fn outcome(backend: Backend, made: &Made) -> Outcome {
    let mut pictures = Vec::new();
    let mut errors = 0;
    let mut handed_on = false;
    for units in made.units.chunk_by(|a, b| a.config == b.config) {
        let config = units[0].config.h264().unwrap();
        let mut decoder = match open_decoder(backend, config, &Limits::default()) {
            Ok(decoder) => decoder,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        for unit in units {
            errors += usize::from(decoder.decode(unit, &mut pictures).is_err());
        }
        handed_on |= decoder.backend() != backend;
        decoder.flush(&mut pictures).unwrap();
    }
    let times: Vec<_> = pictures.iter().map(|picture| picture.pts).collect();
    if errors > 0 || times != made.shown() {
        return Outcome::GivesUp {
            pictures: pictures.len(),
            of: made.units.len(),
        };
    }
    let samples = common::raw(&pictures);
    if samples.len() != made.expected.len() {
        return Outcome::GivesUp {
            pictures: pictures.len(),
            of: made.units.len(),
        };
    }
    let errors = || {
        samples
            .iter()
            .zip(&made.expected)
            .map(|(a, b)| a.abs_diff(*b))
    };
    match errors().filter(|&error| error > 0).count() {
        0 if handed_on => Outcome::HandedOn,
        0 => Outcome::Exact,
        differing => Outcome::Differs {
            share: differing as f64 / samples.len() as f64,
            most: errors().max().unwrap(),
        },
    }
}

/// What each backend does, and whether that is what the page promises: the
/// default is exact or hands on, what it hands on is exact, and nothing is
/// refused that need not be.
fn check(case: &Case) -> ([Outcome; 3], bool) {
    let made = case.make();
    let outcomes = BACKENDS.map(|backend| outcome(backend, &made));
    let kept = match &outcomes {
        [Outcome::Refused(_), Outcome::Refused(_), _] => case.refused,
        [Outcome::Exact, Outcome::Exact | Outcome::Refused(_), _]
        | [Outcome::HandedOn, Outcome::Exact, _] => !case.refused,
        _ => false,
    };
    (outcomes, kept)
}

#[test]
#[ignore = "two minutes; writes the table of docs/decoders.md"]
fn every_kind_of_stream_is_exact_or_refused_with_the_default_and_its_fallback() {
    println!("| stream | rusty_h264 | rust_h264 | openh264 |");
    println!("|---|---|---|---|");
    let mut broken = Vec::new();
    for case in cases() {
        let ([first, second, third], kept) = check(&case);
        println!("| {} | {first} | {second} | {third} |", case.name);
        if !kept {
            broken.push(case.name);
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn a_stream_of_each_group_is_exact_or_refused() {
    for case in cases().iter().filter(|case| case.gate) {
        let (outcomes, kept) = check(case);
        assert!(kept, "{}: {outcomes:?}", case.name);
    }
}

#[test]
fn refusals_say_what_to_change() {
    for case in cases().iter().filter(|case| case.refused) {
        let Outcome::Refused(why) = outcome(Backend::RustyH264, &case.make()) else {
            panic!("{} is not refused", case.name);
        };
        assert!(
            why.contains("choose") || why.contains("Color Format"),
            "{why}"
        );
        assert!(why.ends_with(" is not supported"), "{why}");
    }
}

fn first_config(made: &Made) -> &media::H264Config {
    let unit: &AccessUnit = &made.units[0];
    unit.config.h264().unwrap()
}

#[test]
fn interlaced_and_ten_bit_streams_are_handed_on_when_opened() {
    for case in cases().iter().filter(|case| case.gate && !case.refused) {
        let made = case.make();
        let config = first_config(&made);
        let decoder = open_decoder(Backend::RustyH264, config, &Limits::default()).unwrap();
        let lacks = config.interlaced || config.high_fidelity;
        let expected = match lacks {
            true => Backend::RustH264,
            false => Backend::RustyH264,
        };
        assert_eq!(decoder.backend(), expected, "{}", case.name);
    }
}
