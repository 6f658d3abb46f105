//! What encoders do in the middle of a broadcast.

use flv::file::TagKind;

use crate::harness::SMALL_LADDER;
use crate::harness::peer::Publisher;
use crate::harness::server::Server;
use crate::harness::show::{Rung, Show};
use crate::harness::sources::test_picture;
use crate::harness::tools::decodes;

#[track_caller]
fn let_in(server: &Server) -> Publisher {
    Publisher::start(server, "demo").unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

fn marked(rung: &Rung) -> Vec<usize> {
    let marked = rung
        .segments
        .iter()
        .enumerate()
        .filter(|(_, seen)| seen.entry.discontinuity);
    marked.map(|(index, _)| index).collect()
}

#[test]
fn a_new_size_is_a_discontinuity_on_every_rung_at_once() {
    let server = Server::configured(SMALL_LADDER);
    let mut publisher = let_in(&server);
    let last = publisher.play(&test_picture("320x180", "25", 3), 0, |_| true);
    publisher.play(&test_picture("180x320", "25", 3), last + 40, |_| true);
    publisher.finish();
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    show.rungs_agree();
    for rung in &show.rungs {
        assert_eq!(marked(rung).len(), 1, "{}", rung.name);
        assert_eq!(marked(rung), marked(&show.rungs[0]), "{}", rung.name);
        for seen in &rung.segments {
            decodes(&show.segment_file(rung, seen));
        }
    }
    let portrait = show.master.variants.iter().all(|variant| {
        variant
            .resolution
            .is_some_and(|(width, height)| width < height)
    });
    assert!(portrait, "the playlist follows: {:?}", show.master);
}

#[test]
fn sequence_headers_repeated_at_every_key_picture_change_nothing() {
    let server = Server::configured(SMALL_LADDER);
    let mut publisher = let_in(&server);
    let clip = test_picture("320x180", "25", 3);
    let mut offset = 0;
    for _ in 0..3 {
        // Each round begins with both headers again.
        offset = publisher.play(&clip, offset, |_| true) + 40;
    }
    publisher.finish();
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    show.is_true();
    assert!(show.rungs.iter().all(|rung| marked(rung).is_empty()));
}

#[test]
fn timestamps_that_wrap_at_32_bits_run_on() {
    let server = Server::configured(SMALL_LADDER);
    let mut publisher = let_in(&server);
    publisher.play(&test_picture("320x180", "25", 5), u32::MAX - 2000, |_| true);
    publisher.finish();
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    show.is_true();
    for rung in &show.rungs {
        assert_eq!(
            (rung.pictures(), marked(rung).len()),
            (125, 0),
            "{}",
            rung.name
        );
    }
}

#[test]
fn sound_that_starts_late_joins_at_a_discontinuity_and_is_listed() {
    let server = Server::configured(SMALL_LADDER);
    let mut publisher = let_in(&server);
    publisher.play(&test_picture("320x180", "25", 6), 0, |tag| {
        tag.kind == TagKind::Video || tag.body.get(1) == Some(&0) || tag.timestamp_ms > 3500
    });
    publisher.finish();
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    show.rungs_agree();
    for rung in &show.rungs {
        let streams: Vec<_> = rung
            .segments
            .iter()
            .map(|seen| seen.probed.streams.len())
            .collect();
        let changes: Vec<_> = (1..streams.len())
            .filter(|index| streams[*index] != streams[*index - 1])
            .collect();
        // A change of tracks without a mark would stop players (RFC 8216bis 4.4.4.3).
        assert_eq!(changes, marked(rung), "{} {streams:?}", rung.name);
        assert_eq!(
            streams.last(),
            Some(&2),
            "{}: the sound is there in the end",
            rung.name
        );
    }
    assert!(
        show.master
            .variants
            .iter()
            .all(|variant| variant.codecs.contains("mp4a.40.2")),
        "{:?}",
        show.master
    );
}
