//! The two ends of a publisher: said, and not said. `relay.hold`.

use crate::harness::messages::{Message, VIDEO};
use crate::harness::relays::{ALLOWED, NO_LADDER, Source, figure, publish, target, until_state};
use crate::harness::server::{Server, weir};
use crate::harness::sources::{small, test_picture};
use crate::harness::tools::Running;
use crate::harness::witness::{Manner, Session, Witness};
use crate::harness::{SMALL_LADDER, until};

fn held_for(hold: &str) -> (Server, Witness) {
    held("", hold)
}

/// With sections of the configuration before `[relay]`.
fn held(settings: &str, hold: &str) -> (Server, Witness) {
    let witness = Witness::new(Manner::Takes);
    let relay = target("witness", &witness.url(), "key");
    let hold = format!("hold = {hold:?}\n");
    let config = [settings, NO_LADDER, ALLOWED, &hold, &relay].concat();
    (Server::configured(&config), witness)
}

fn some_units(session: &Session) -> bool {
    session.units().count() > 50
}

#[test]
fn a_lost_publisher_that_returns_goes_on_in_the_same_session() {
    let (server, witness) = held_for("60s");
    let publisher = publish(&server, &small(), &["--loop"]);
    witness.until("units", some_units);
    // Killed: it says no goodbye.
    drop(publisher);
    until_state(&server, "witness", "holding");
    let held = witness.until("the held session", |_| true);
    assert!(!held.is_over && !held.ended_well(), "{:?}", held.commands);

    let mut publisher = publish(&server, &small(), &["--loop"]);
    let more = held.units().count() + 50;
    witness.until("more units", |session| session.units().count() > more);
    until_state(&server, "witness", "live");
    publisher.signal("INT");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let session = witness.until("the end of the session", |session| session.is_over);
    assert!(session.ended_well(), "{:?}", session.commands);
    assert_eq!(witness.sessions().len(), 1, "there was no other session");
    // Bytes, times that rise over the hole, and a key picture behind it.
    assert_eq!(Source::of(&small()).runs(&session).len(), 2);
}

#[test]
fn a_target_is_not_called_live_while_there_is_nothing_to_send() {
    let (server, witness) = held_for("60s");
    let publisher = publish(&server, &small(), &["--loop"]);
    let session = witness.until("units", some_units);
    until_state(&server, "witness", "live");
    // It stands still, and its connection with it, for less than the server lets pass.
    publisher.signal("STOP");
    until_state(&server, "witness", "holding");
    assert_eq!(figure(&server, "weir_relay_up", "witness"), Some(0.0));
    let told = server.get("/api/v1/streams/demo").text();
    assert!(told.contains("nothing to send for"), "{told}");
    publisher.signal("CONT");
    let more = session.units().count() + 50;
    witness.until("more units", |session| session.units().count() > more);
    until_state(&server, "witness", "live");
    let told = server.get("/api/v1/streams/demo").text();
    assert!(told.contains("\"error\":null"), "{told}");
    assert_eq!(witness.sessions().len(), 1);
}

#[test]
fn a_destination_that_hangs_up_meanwhile_is_connected_to_when_the_publisher_returns() {
    let (server, mut witness) = held_for("60s");
    let publisher = publish(&server, &small(), &["--loop"]);
    witness.until("units", some_units);
    drop(publisher);
    until_state(&server, "witness", "holding");
    witness.close();
    until("the loss to be seen", || {
        server.log().contains("relay failed").then_some(())
    });
    witness.open();
    let _publisher = publish(&server, &small(), &["--loop"]);
    until("another session", || {
        (witness.sessions().len() == 2).then_some(())
    });
    let session = witness.until("units", some_units);
    Source::of(&small()).whole(&session);
    until_state(&server, "witness", "live");
}

#[test]
fn a_rung_goes_on_as_well() {
    let witness = Witness::new(Manner::Takes);
    let relay = target("witness", &witness.url(), "key") + "rung = \"180p\"\n";
    let server = Server::configured(&[ALLOWED, &relay, SMALL_LADDER].concat());
    let publisher = publish(&server, &small(), &["--loop"]);
    witness.until("units", some_units);
    drop(publisher);
    until_state(&server, "witness", "holding");
    // Too small to fill the rung, so that what comes of it can be told apart.
    let other = test_picture("240x136", "25", 3);
    let mut publisher = publish(&server, &other, &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let session = witness.until("the end of the session", |session| session.is_over);
    assert!(session.ended_well(), "{:?}", session.commands);
    assert_eq!(witness.sessions().len(), 1, "there was no other session");
    let video = session.messages.iter().filter(|one| one.kind == VIDEO);
    let video: Vec<_> = video.collect();
    assert!(video.is_sorted_by_key(|message| message.timestamp));
    let headers = (0..video.len()).filter(|at| video[*at].is_header());
    let headers: Vec<_> = headers.collect();
    assert_eq!(headers.len(), 2, "one for each size");
    assert!(headers.iter().all(|at| video[at + 1].is_key()));
    assert!(video.len() - headers[1] > 70, "of 75 pictures");
}

#[test]
fn a_publisher_that_takes_over_goes_on_in_the_same_session() {
    let (server, witness) = held("[rtmp]\ntakeover = \"always\"\n", "60s");
    let mut first = publish(&server, &small(), &["--loop"]);
    let before = witness.until("units", some_units).units().count();
    let _second = publish(&server, &small(), &["--loop"]);
    assert_eq!(first.ended().code(), Some(1), "{}", first.said());
    let session = witness.until("more units", |session| {
        session.units().count() > before + 150
    });
    assert_eq!(witness.sessions().len(), 1, "there was no other session");
    assert_eq!(Source::of(&small()).runs(&session).len(), 2);
    until_state(&server, "witness", "live");
}

#[test]
fn a_publisher_that_does_not_return_is_waited_for_no_longer_than_the_hold() {
    let (server, witness) = held_for("3s");
    let publisher = publish(&server, &small(), &["--loop"]);
    witness.until("units", some_units);
    drop(publisher);
    until_state(&server, "witness", "holding");
    let session = witness.until("the end of the session", |session| session.is_over);
    assert!(session.ended_well(), "{:?}", session.commands);
    until_state(&server, "witness", "stopped");
    // Whoever comes now is another broadcast.
    let _publisher = publish(&server, &small(), &["--loop"]);
    until("another session", || {
        (witness.sessions().len() == 2).then_some(())
    });
    let session = witness.until("units", some_units);
    Source::of(&small()).whole(&session);
}

#[test]
fn a_publisher_that_ends_well_ends_the_session_well() {
    let (server, witness) = held_for("60s");
    let mut publisher = publish(&server, &small(), &["--loop"]);
    witness.until("units", some_units);
    publisher.signal("INT");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let session = witness.until("the end of the session", |session| session.is_over);
    assert!(session.ended_well(), "{:?}", session.commands);
    Source::of(&small()).whole(&session);
    until_state(&server, "witness", "stopped");
    // Who publishes at once again has a session of its own.
    let _publisher = publish(&server, &small(), &["--loop"]);
    until("another session", || {
        (witness.sessions().len() == 2).then_some(())
    });
    let session = witness.until("units", some_units);
    Source::of(&small()).whole(&session);
}

#[test]
fn a_publisher_that_returns_with_another_picture_announces_it_on_the_way() {
    let (server, witness) = held_for("60s");
    let publisher = publish(&server, &small(), &["--loop"]);
    witness.until("units", some_units);
    drop(publisher);
    until_state(&server, "witness", "holding");
    let other = test_picture("240x136", "25", 3);
    let mut publisher = publish(&server, &other, &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let session = witness.until("the end of the session", |session| session.is_over);
    assert_eq!(witness.sessions().len(), 1, "there was no other session");
    assert!(
        session
            .messages
            .is_sorted_by_key(|message| message.timestamp)
    );
    let other = Source::of(&other);
    let header = session.messages.iter().position(|message| {
        message.kind == VIDEO && message.is_header() && message.body == *other.header(VIDEO)
    });
    let behind = &session.messages[header.expect("the other header")..];
    assert!(behind[0].timestamp > 0);
    let pictures = behind
        .iter()
        .filter(|one| one.is_unit() && one.kind == VIDEO);
    let bodies = |message: &Message| message.body.clone();
    assert!(pictures.map(bodies).eq(other.of_kind(VIDEO).map(bodies)));
}

#[test]
fn a_target_that_a_returning_publisher_no_longer_names_is_told_the_end() {
    let (own, named) = (Witness::new(Manner::Takes), Witness::new(Manner::Takes));
    let preset = format!(
        "[[relay.target]]\nname = \"youtube\"\nurl = {:?}\n",
        named.url()
    );
    let relay = target("own", &own.url(), "key");
    let config = [NO_LADDER, ALLOWED, "hold = \"60s\"\n", &preset, &relay].concat();
    let server = Server::configured(&config);
    let mut command = weir();
    command.arg("publish").arg(small());
    command.args([&server.publish_url("demo?youtube=key"), "--loop"]);
    let publisher = Running::start(&mut command);
    for witness in [&own, &named] {
        witness.until("units", some_units);
    }
    drop(publisher);
    until_state(&server, "youtube", "holding");
    let _publisher = publish(&server, &small(), &["--loop"]);
    let session = named.until("the end of the session", |session| session.is_over);
    assert!(session.ended_well(), "{:?}", session.commands);
    until_state(&server, "own", "live");
    assert_eq!(own.sessions().len(), 1);
    assert!(!own.sessions()[0].is_over);
}

#[test]
fn a_server_that_is_told_to_end_says_goodbye_to_all_destinations() {
    let (mut server, witness) = held_for("60s");
    let _publisher = publish(&server, &small(), &["--loop"]);
    witness.until("units", some_units);
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
    let session = witness.until("the end of the session", |session| session.is_over);
    assert!(session.ended_well(), "{:?}", session.commands);
    Source::of(&small()).whole(&session);
}

#[test]
fn a_server_that_is_told_to_end_does_not_wait_for_lost_publishers() {
    let (mut server, witness) = held_for("600s");
    let publisher = publish(&server, &small(), &["--loop"]);
    witness.until("units", some_units);
    drop(publisher);
    until_state(&server, "witness", "holding");
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
    let session = witness.until("the end of the session", |session| session.is_over);
    assert!(session.ended_well(), "{:?}", session.commands);
}
