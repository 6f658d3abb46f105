use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use fanout::Next;
use media::{Rung, Size, Ticks, Timestamp, TrackConfig};

use super::*;
use crate::ladder::worker::{self, Failure};
use crate::ladder::{Settings, tests as ladder};
use crate::live::{Broadcast, Playout};

fn rung(name: &str, height: u32) -> Rung {
    Rung::new(name, Size::new(160, height), 400, 428, 600).unwrap()
}

fn offered(names: &[&str]) -> Arc<Rungs> {
    let rungs = Arc::new(Rungs::default());
    let on_offer: Vec<_> = names.iter().map(|name| rung(name, 48)).collect();
    rungs.offer(Wants::new(&on_offer));
    rungs
}

fn output(name: &str, stands_for: &[&str], pictures: bool) -> Output {
    Output {
        name: name.to_owned(),
        listed: true,
        stands_for: stands_for.iter().map(|&name| name.to_owned()).collect(),
        rung: pictures.then(|| rung(name, 48)),
        size: None,
        frame_rate: None,
        video: None,
        audio: None,
        audio_kbps: 0,
    }
}

fn sound(ms: i64) -> AccessUnit {
    let config = bitstream::asc::low_complexity(48_000, 2).unwrap();
    let pts = Timestamp::from_millis(ms);
    AccessUnit {
        pts,
        dts: pts,
        key: true,
        data: Bytes::from_static(b"frame"),
        config: Arc::new(TrackConfig::Aac(config)),
    }
}

/// What a reader has before it, as letters: `K` a key picture, `p` another one,
/// `a` sound, `.` the end.
fn drain(reader: &mut RungReader) -> String {
    let mut seen = String::new();
    while let Some(next) = reader.reader.try_next() {
        seen.push(match next {
            Next::Unit(packet) if packet.unit.track() == Track::Audio => 'a',
            Next::Unit(packet) if packet.unit.key => 'K',
            Next::Unit(_) => 'p',
            Next::Lagged(_) => 'l',
            Next::Closed => {
                seen.push('.');
                break;
            }
        });
    }
    seen
}

#[test]
fn a_rung_that_is_none_of_ours_cannot_be_read() {
    let nothing = Arc::new(Rungs::default());
    let unknown = NoRung::Unknown("720p".to_owned());
    let refused = |rungs: &Arc<Rungs>, name| rungs.reader(name, Start::Oldest).unwrap_err();
    assert_eq!(refused(&nothing, "720p"), unknown);
    let rungs = offered(&["360p"]);
    assert_eq!(refused(&rungs, "720p"), unknown);
    rungs.close();
    assert_eq!(refused(&rungs, "360p"), NoRung::Ended);
}

#[test]
fn readers_begin_with_a_key_picture_and_nothing_is_kept_when_they_are_gone() {
    let rungs = offered(&["low", "high"]);
    let wants = Arc::clone(rungs.wants.get().unwrap());
    let low = output("low", &[], true);
    let units = ladder::source(Size::new(160, 48), 8, 4);
    let push = |index: usize| {
        rungs.push(&low, &units[index]);
        rungs.push(&low, &sound(index as i64 * 40));
    };
    push(0);
    assert!(!wants.any() && rungs.lock().open.is_empty());
    let mut first = rungs.reader("low", Start::Oldest).unwrap();
    let mut other = rungs.reader("high", Start::Oldest).unwrap();
    (1..6).for_each(push);
    assert_eq!(drain(&mut first), "Kapa");
    let mut second = rungs.reader("low", Start::NewestEntry).unwrap();
    push(6);
    assert_eq!(drain(&mut second), "Kapapa");
    drop(first);
    push(7);
    assert_eq!(drain(&mut second), "pa");
    assert_eq!(drain(&mut other), "");
    drop(second);
    assert!(wants.any() && rungs.lock().open.len() == 1);
    drop(other);
    assert!(!wants.any() && rungs.lock().open.is_empty());
    // What the readers before had is gone with them.
    let mut third = rungs.reader("low", Start::Oldest).unwrap();
    push(5);
    assert_eq!(drain(&mut third), "");
    rungs.push(&low, &units[4]);
    rungs.close();
    assert_eq!(drain(&mut third), "K.");
    drop(third);
    assert!(!wants.any());
}

#[test]
fn an_output_is_read_by_the_names_that_it_stands_for() {
    let rungs = offered(&["360p", "480p", "720p"]);
    let units = ladder::source(Size::new(160, 48), 2, 4);
    let mut own = rungs.reader("360p", Start::Oldest).unwrap();
    let mut other = rungs.reader("720p", Start::Oldest).unwrap();
    let both = output("360p", &["480p", "720p"], true);
    units.iter().for_each(|unit| rungs.push(&both, unit));
    assert_eq!(
        (drain(&mut own), drain(&mut other)),
        ("Kp".to_owned(), "Kp".to_owned())
    );
    // Without pictures, any sound is a beginning.
    let mut third = rungs.reader("480p", Start::Oldest).unwrap();
    rungs.push(&output("audio", &["480p"], false), &sound(80));
    assert_eq!(
        (drain(&mut own), drain(&mut third)),
        (String::new(), "a".to_owned())
    );
}

#[test]
fn a_ladder_on_demand_is_started_once_for_all_and_again_when_it_is_wanted_again() {
    let rungs = offered(&["low", "high"]);
    let started = Arc::new(AtomicUsize::new(0));
    let refuse = Arc::new(AtomicBool::new(true));
    let (count, refused) = (Arc::clone(&started), Arc::clone(&refuse));
    rungs.start_on_demand(Box::new(move || {
        if refused.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }));
    let wants = Arc::clone(rungs.wants.get().unwrap());
    let read = |name| rungs.reader(name, Start::Oldest);
    assert_eq!(read("low").unwrap_err(), NoRung::Thread);
    assert!(!wants.any());
    refuse.store(false, Ordering::Relaxed);
    let both = (read("low").unwrap(), read("high").unwrap());
    assert_eq!(started.load(Ordering::Relaxed), 1);
    drop(both);
    assert!(!rungs.stopped(None));
    let again = read("low").unwrap();
    assert_eq!(started.load(Ordering::Relaxed), 2);
    drop(again);
    // It has seen that nobody wants anything, and then somebody does.
    let mut late = read("low").unwrap();
    assert_eq!(started.load(Ordering::Relaxed), 2);
    assert!(!rungs.stopped(None));
    assert_eq!(started.load(Ordering::Relaxed), 3);
    let why = "what it sends is HEVC".to_owned();
    assert!(!rungs.stopped(Some(why.clone())));
    assert_eq!(drain(&mut late), ".");
    assert_eq!(read("low").unwrap_err(), NoRung::Failed(why));
    assert!(!rungs.leave(), "no ladder is left to end the broadcast");
}

#[test]
fn a_publisher_that_leaves_ends_the_broadcast_when_its_ladder_has() {
    let rungs = offered(&["low"]);
    rungs.start_on_demand(Box::new(|| Ok(())));
    let reader = rungs.reader("low", Start::Oldest).unwrap();
    assert!(rungs.leave());
    drop(reader);
    assert!(rungs.stopped(None));

    let rungs = offered(&["low"]);
    rungs.start_on_demand(Box::new(|| Ok(())));
    assert!(!rungs.leave());
    let late = rungs.reader("low", Start::Oldest);
    assert_eq!(late.unwrap_err(), NoRung::Ended);
}

/// A broadcast whose rungs are coded for their readers alone, as without
/// `hls.enabled`, and the publisher's end of it.
fn on_demand() -> (Arc<Broadcast>, Writer<Arc<Packet>>) {
    #[expect(clippy::disallowed_methods, reason = "an arbitrary start")]
    let now = Instant::now();
    let playout = Playout {
        segment: Ticks::SECOND,
        window: 6,
    };
    let name = "demo".parse().unwrap();
    let broadcast = Arc::new(Broadcast::new(name, 0, playout, now));
    let (writer, ring) = broadcast.open_ring(Limits::default());
    let unlisted = vec![rung("low", 48), rung("high", 96)];
    let settings = Settings {
        wants: broadcast.offer_rungs(Wants::new(&unlisted)),
        unlisted,
        stats: Arc::clone(&broadcast.stats),
        ..ladder::settings(vec![])
    };
    let sink = Arc::downgrade(&broadcast);
    broadcast.start_ladder_on_demand(Box::new(move || {
        let sink = sink.upgrade().unwrap();
        let ended = Arc::clone(&sink);
        let done = move |result: Result<_, Failure>| {
            let failed = result.err().map(|failure| failure.to_string());
            ended.ladder_stopped(failed, now);
        };
        let reader = ring.reader(Start::NewestEntry);
        worker::spawn("demo", settings.clone(), sink, reader, done).map(|_| ())
    }));
    (broadcast, writer)
}

fn publish(writer: &Writer<Arc<Packet>>, units: &[AccessUnit]) {
    for unit in units {
        writer.push(Packet::new(unit.clone()), unit.data.len(), 0, unit.key);
    }
}

/// The next picture, in periods of 25 a second, and whether it is a key picture;
/// `None` at the end.
fn next(reader: &mut RungReader) -> Option<(i64, bool)> {
    match reader.reader.next_blocking() {
        Next::Unit(packet) => Some((packet.unit.pts.ticks() / 3600, packet.unit.key)),
        Next::Lagged(missed) => panic!("{missed} units missed"),
        Next::Closed => None,
    }
}

#[test]
fn without_playlists_a_stream_is_decoded_only_while_somebody_reads_a_rung() {
    let (broadcast, writer) = on_demand();
    let units = ladder::source(Size::new(160, 96), 100, 25);
    publish(&writer, &units[..40]);
    assert_eq!(broadcast.stats.decoder(), None);
    let mut reader = broadcast.rung_reader("low", Start::Oldest).unwrap();
    // At once, with the key picture that the ring still has.
    assert_eq!(next(&mut reader), Some((25, true)));
    assert_eq!(next(&mut reader), Some((26, false)));
    assert!(broadcast.stats.decoder().is_some());
    drop(reader);
    // It ends with the next unit that comes.
    publish(&writer, &units[40..80]);
    while Arc::strong_count(&broadcast) > 1 {
        std::thread::yield_now();
    }
    let coded = broadcast.stats.rungs();
    assert!(coded.iter().all(|count| count.rung == "low"), "{coded:?}");
    let mut reader = broadcast.rung_reader("high", Start::NewestEntry).unwrap();
    assert_eq!(next(&mut reader), Some((75, true)));
    publish(&writer, &units[80..]);
    broadcast.leave(broadcast.opened());
    drop(writer);
    let rest: Vec<_> = std::iter::from_fn(|| next(&mut reader)).collect();
    assert_eq!(rest.last(), Some(&(99, false)));
    assert_eq!(rest.len(), 24);
    assert!(broadcast.ended().is_some());
    let late = broadcast.rung_reader("high", Start::Oldest);
    assert_eq!(late.unwrap_err(), NoRung::Ended);
}
