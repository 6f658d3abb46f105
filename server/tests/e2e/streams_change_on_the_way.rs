//! What encoders do in the middle of a broadcast.

use flv::file::TagKind;

use std::time::Duration;

use crate::harness::peer::Publisher;
use crate::harness::server::Server;
use crate::harness::show::{Rung, Show};
use crate::harness::sources::{small, test_picture};
use crate::harness::tools::{decodes, publish};
use crate::harness::{SMALL_LADDER, now, pause};

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

/// Elementary streams in each segment's PMT.
fn tracks(rung: &Rung) -> Vec<usize> {
    rung.segments
        .iter()
        .map(|seen| seen.probed.streams.len())
        .collect()
}

#[test]
fn sound_that_nobody_announced_joins_at_a_discontinuity_and_is_listed() {
    let server = Server::configured(SMALL_LADDER);
    let mut publisher = let_in(&server);
    let clip = test_picture("320x180", "25", 3);
    let last = publisher.play(&clip, 0, |tag| tag.kind == TagKind::Video);
    // Sent faster than real time: what comes before the first segment would be
    // known in time for it.
    let show = Show::begin(&server, "demo");
    publisher.play(&clip, last + 40, |tag| tag.kind != TagKind::Script);
    publisher.finish();
    let show = show.until_end(&server, "demo");
    show.rungs_agree();
    for rung in &show.rungs {
        let tracks = tracks(rung);
        let change = |index: &usize| tracks[*index] != tracks[index - 1];
        let changes: Vec<_> = (1..tracks.len()).filter(change).collect();
        // A change of tracks without a mark would stop players (RFC 8216bis 4.4.4.3).
        assert_eq!(changes, marked(rung), "{} {tracks:?}", rung.name);
        assert_eq!((tracks[0], tracks.last()), (1, Some(&2)), "{}", rung.name);
    }
    let listed = show
        .master
        .variants
        .iter()
        .all(|variant| variant.codecs.contains("mp4a.40.2"));
    assert!(listed, "{:?}", show.master);
}

#[test]
fn announced_sound_that_starts_late_or_never_is_silence_until_then() {
    for from in [3500, u32::MAX] {
        let server = Server::configured(SMALL_LADDER);
        let mut publisher = let_in(&server);
        publisher.play(&test_picture("320x180", "25", 5), 0, |tag| {
            tag.kind != TagKind::Audio || tag.timestamp_ms > from
        });
        let show = Show::begin(&server, "demo");
        publisher.finish();
        let show = show.until_end(&server, "demo");
        show.is_true();
        for rung in &show.rungs {
            assert_eq!(
                (rung.pictures(), marked(rung).len()),
                (125, 0),
                "{}",
                rung.name
            );
            assert!(
                tracks(rung).iter().all(|count| *count == 2),
                "{}",
                rung.name
            );
        }
    }
}

#[test]
fn a_publisher_that_stalls_and_returns_goes_on_where_it_was() {
    let server = Server::configured(SMALL_LADDER);
    let mut ffmpeg = publish(&small(), &server.publish_url("demo"));
    let mut show = Show::begin(&server, "demo");
    show.until_segment(&server, "demo", 2);
    ffmpeg.signal("STOP");
    let resumes = now() + Duration::from_secs(4);
    while now() < resumes {
        pause();
    }
    assert_eq!(server.get("/demo/live.m3u8").status, 200, "viewers wait");
    ffmpeg.signal("CONT");
    let show = show.until_end(&server, "demo");
    assert!(ffmpeg.ended().success(), "{}", ffmpeg.said());
    show.is_true();
    for rung in &show.rungs {
        assert_eq!(
            (rung.pictures(), marked(rung).len()),
            (250, 0),
            "{}",
            rung.name
        );
    }
}
