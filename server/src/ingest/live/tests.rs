use std::path::Path;

use flv::mux;
use media::Size;

use super::*;
use crate::auth::publish::Admission;
use crate::config::Config;
use crate::database::Database;
use crate::ladder::tests::source;
use crate::live::{NoRung, RungReader};
use fanout::Next;

fn server(dir: &Path, hls: bool) -> Arc<App> {
    let mut config = Config::default();
    config.hls.enabled = hls;
    Arc::new(
        App::new(
            config,
            Database::open(dir).unwrap(),
            crate::tls::Connector::new(None).unwrap(),
            None,
        )
        .unwrap(),
    )
}

fn demo() -> Admission {
    Admission {
        name: "demo".parse().unwrap(),
        key: None,
        record: true,
        targets: Vec::new(),
        granted: Vec::new(),
        top_rung: None,
    }
}

fn publish(live: &mut Live, units: &[AccessUnit]) {
    for unit in units {
        let media = Media {
            kind: MediaKind::Video,
            timestamp_ms: mux::millis(unit.dts - media::Timestamp::ZERO) as u32,
            body: mux::frame(unit).into(),
        };
        live.media(media).unwrap();
    }
    live.taken();
}

fn announce(live: &mut Live, unit: &AccessUnit) {
    let media = Media {
        kind: MediaKind::Video,
        timestamp_ms: 0,
        body: mux::sequence_header(&unit.config),
    };
    live.media(media).unwrap();
}

/// Key pictures and others up to the end.
fn rest(reader: &mut RungReader) -> (usize, usize) {
    let mut seen = (0, 0);
    loop {
        match reader.reader.next_blocking() {
            Next::Unit(packet) if packet.unit.key => seen.0 += 1,
            Next::Unit(_) => seen.1 += 1,
            Next::Lagged(missed) => panic!("{missed} units missed"),
            Next::Closed => return seen,
        }
    }
}

#[test]
fn a_server_without_playlists_codes_the_rung_that_is_read_to_its_end_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let app = server(dir.path(), false);
    let mut live = Live::start(&app, &demo()).unwrap();
    let units = source(Size::new(160, 96), 100, 50);
    announce(&mut live, &units[0]);
    publish(&mut live, &units[..60]);
    let broadcast = Arc::clone(live.claim.broadcast());
    let unknown = broadcast.rung_reader("1080p", Start::Oldest).unwrap_err();
    assert_eq!(unknown, NoRung::Unknown("1080p".to_owned()));
    assert_eq!(broadcast.stats.decoder(), None);
    let mut reader = broadcast.rung_reader("720p", Start::Oldest).unwrap();
    publish(&mut live, &units[60..]);
    drop(live);
    // From the key picture at 2 s on: 6 s segments have their key pictures every 2 s.
    assert_eq!(rest(&mut reader), (1, 49));
    assert!(broadcast.ended().is_some() && !broadcast.playable());
    assert_eq!(broadcast.bytes(), 0);
    let coded = broadcast.stats.rungs();
    assert_eq!(coded.len(), 1, "{coded:?}");
}

#[test]
fn a_publisher_of_whom_no_rung_was_read_ends_its_broadcast_itself() {
    let dir = tempfile::tempdir().unwrap();
    let app = server(dir.path(), false);
    let mut live = Live::start(&app, &demo()).unwrap();
    publish(&mut live, &source(Size::new(160, 96), 10, 50));
    let broadcast = Arc::clone(live.claim.broadcast());
    drop(live);
    assert!(broadcast.ended().is_some());
    assert_eq!(broadcast.stats.decoder(), None);
    let late = broadcast.rung_reader("720p", Start::Oldest).unwrap_err();
    assert_eq!(late, NoRung::Ended);
    // Nothing of the broadcast is held by what could have started a ladder.
    drop(broadcast);
    assert_eq!(Arc::strong_count(&app), 1);
}

#[test]
fn a_listed_rung_that_the_source_is_too_small_for_is_read_as_the_one_that_shows_as_much() {
    let dir = tempfile::tempdir().unwrap();
    let app = server(dir.path(), true);
    let mut live = Live::start(&app, &demo()).unwrap();
    let broadcast = Arc::clone(live.claim.broadcast());
    let mut reader = broadcast.rung_reader("720p", Start::Oldest).unwrap();
    let units = source(Size::new(160, 96), 60, 50);
    announce(&mut live, &units[0]);
    publish(&mut live, &units);
    drop(live);
    assert_eq!(rest(&mut reader), (2, 58));
    let coded = broadcast.stats.rungs();
    assert_eq!((coded.len(), &*coded[0].rung), (1, "360p"));
}
