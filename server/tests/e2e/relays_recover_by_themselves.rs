//! Destinations that fail in every way there is: viewers, the publisher and the
//! other destinations do not notice, the metrics tell, and what comes back is
//! sent to again.

use std::time::Duration;

use crate::harness::certificates::Authority;
use crate::harness::destinations::{BlackHole, Nginx, Stunnel, free_port};
use crate::harness::relays::{
    ALLOWED, NO_LADDER, Source, figure, publish, state, target, until_state,
};
use crate::harness::server::Server;
use crate::harness::show::{Seen, Show};
use crate::harness::sources::small;
use crate::harness::tools::{Running, packets};
use crate::harness::witness::{Manner, Session, Witness};
use crate::harness::{SMALL_LADDER, until};

/// A stream with viewers, a destination that is well, and others.
struct Scene {
    server: Server,
    publisher: Running,
    show: Show,
    well: Witness,
    source: Source,
}

impl Scene {
    fn with(targets: &[String]) -> Self {
        Self::secured("", targets)
    }

    /// With more settings of `[relay]`.
    fn secured(settings: &str, targets: &[String]) -> Self {
        let well = Witness::new(Manner::Takes);
        let relay = target("well", &well.url(), "key");
        let config = [ALLOWED, settings, &relay, &targets.concat(), SMALL_LADDER].concat();
        let server = Server::configured(&config);
        let publisher = publish(&server, &small(), &["--loop"]);
        let show = Show::begin(&server, "demo");
        Self {
            server,
            publisher,
            show,
            well,
            source: Source::of(&small()),
        }
    }

    /// Takes what viewers are given, so that nothing leaves the window unseen.
    #[track_caller]
    fn watch(&mut self) {
        self.show.until_segment(&self.server, "demo", 1);
    }

    /// Waits for a state of a target, viewing.
    #[track_caller]
    fn until_state(&mut self, target: &str, wanted: &str) {
        until(&format!("{target} to be {wanted}"), || {
            self.watch();
            (state(&self.server, target)? == wanted).then_some(())
        });
    }

    /// Waits for what the newest session of a destination has to be, viewing.
    #[track_caller]
    fn until_session(
        &mut self,
        of: &Witness,
        what: &str,
        is: impl Fn(&[Session]) -> bool,
    ) -> Vec<Session> {
        until(what, || {
            self.watch();
            let sessions = of.sessions();
            is(&sessions).then_some(sessions)
        })
    }

    /// Nothing has been left out anywhere since the beginning.
    #[track_caller]
    fn is_unharmed(&mut self) {
        let count = self.show.rungs[0].segments.len();
        self.show.until_segment(&self.server, "demo", count + 2);
        for rung in &self.show.rungs {
            assert_eq!(rung.discontinuities(), 0, "{}", rung.name);
            rung.durations_are_true();
            let shown: Vec<_> = rung.segments.iter().flat_map(Seen::shown).collect();
            let steps = shown.windows(2).map(|pair| pair[1] - pair[0]);
            // 25 a second. The clip's sound outlasts its pictures by less than one,
            // once a round.
            let (most, rounds) = (2 * 3600, shown.len() / 250 + 1);
            let long: Vec<_> = steps.filter(|step| *step > 3600).collect();
            assert!(
                long.len() <= rounds && long.iter().all(|step| *step <= most),
                "{}: {long:?} in {} pictures",
                rung.name,
                shown.len()
            );
        }
        assert!(self.publisher.is_running(), "{}", self.publisher.said());
        assert_eq!(state(&self.server, "well").as_deref(), Some("live"));
        let sessions = self.well.sessions();
        assert_eq!(sessions.len(), 1, "connections to the one that is well");
        assert!(self.source.whole(&sessions[0]) > 100);
        assert_eq!(
            figure(&self.server, "weir_relay_missed_units_total", "well"),
            Some(0.0)
        );
    }

    /// The newest session of a destination that is well again begins as the
    /// first did and goes on; what it has missed before was in one piece.
    #[track_caller]
    fn has_returned(&mut self, target: &str, witness: &Witness) {
        self.until_state(target, "live");
        let sessions = self.until_session(witness, "units again", |sessions| {
            sessions.last().is_some_and(some_units)
        });
        let runs = self.source.runs(&sessions[sessions.len() - 1]);
        assert!(runs.len() <= 2, "{runs:?}");
        assert_eq!(figure(&self.server, "weir_relay_up", target), Some(1.0));
    }
}

fn some_units(session: &Session) -> bool {
    session.units().count() > 50
}

#[test]
fn a_recorder_that_is_killed_and_comes_back_records_again_from_a_key_picture() {
    let mut nginx = Nginx::new();
    let relay = target("nginx", &nginx.url(), "key");
    let server = Server::configured(&[NO_LADDER, ALLOWED, &relay].concat());
    let _publisher = publish(&server, &small(), &["--loop"]);
    until_state(&server, "nginx", "live");
    let enough = |nginx: &Nginx, index| nginx.recorded(index) > 50_000;
    until("something recorded", || enough(&nginx, 0).then_some(()));
    nginx.stop();
    until_state(&server, "nginx", "retrying");
    assert_eq!(figure(&server, "weir_relay_up", "nginx"), Some(0.0));
    // It is not back at once.
    until("another try", || {
        figure(&server, "weir_relay_retries_total", "nginx").filter(|count| *count >= 2.0)
    });
    nginx.start();
    until_state(&server, "nginx", "live");
    until("something recorded again", || {
        enough(&nginx, 1).then_some(())
    });
    nginx.stop();
    let original = packets(&small());
    for recording in nginx.recordings() {
        let got = packets(&recording);
        assert_eq!(got.len(), 2, "pictures and sound");
        for (stream, all) in &original {
            let twice = [&all[..], all].concat();
            let got = &got[stream];
            assert!(got.len() > 10, "{stream}: {}", got.len());
            let is_a_piece = twice.windows(got.len()).any(|piece| piece == got);
            assert!(is_a_piece, "{stream} of {}", recording.display());
        }
    }
}

#[test]
fn a_port_that_is_closed_is_tried_again_until_it_opens() {
    let mut witness = Witness::new(Manner::Takes);
    witness.close();
    let mut scene = Scene::with(&[target("closed", &witness.url(), "key")]);
    scene.until_state("closed", "retrying");
    assert_eq!(figure(&scene.server, "weir_relay_up", "closed"), Some(0.0));
    witness.open();
    scene.has_returned("closed", &witness);
    // And closed in the middle of it.
    witness.close();
    scene.until_state("closed", "retrying");
    witness.open();
    scene.has_returned("closed", &witness);
    scene.is_unharmed();
}

#[test]
fn a_destination_that_refuses_in_words_is_asked_again_much_later() {
    let witness = Witness::new(Manner::Refuses);
    let mut scene = Scene::with(&[target("refuses", &witness.url(), "key")]);
    scene.until_state("refuses", "refused");
    assert_eq!(figure(&scene.server, "weir_relay_up", "refuses"), Some(0.0));
    scene
        .server
        .logged(&["refuses", "NetStream.Publish.BadName"]);
    witness.behave(Manner::Takes);
    scene.has_returned("refuses", &witness);
    assert_eq!(witness.sessions().len(), 2, "it was asked twice");
    scene.is_unharmed();
}

#[test]
fn a_destination_that_reads_nothing_is_found_out_and_left() {
    let (plain, behind_tls) = (
        Witness::new(Manner::ReadsNothing),
        Witness::new(Manner::ReadsNothing),
    );
    let authority = Authority::new("a CA of tests");
    let pair = authority.issue("right", &["localhost"]);
    let front = Stunnel::tight(&behind_tls.address(), &pair);
    let tls = format!("rtmps://localhost:{}/app", front.port);
    let mut scene = Scene::secured(
        &format!("ca = {:?}\n", authority.file()),
        &[
            target("plain", &plain.url(), "key"),
            target("tls", &tls, "key"),
        ],
    );
    for name in ["plain", "tls"] {
        scene.until_state(name, "retrying");
        assert_eq!(figure(&scene.server, "weir_relay_up", name), Some(0.0));
    }
    scene.is_unharmed();
    for (name, witness) in [("plain", &plain), ("tls", &behind_tls)] {
        witness.behave(Manner::Takes);
        scene.has_returned(name, witness);
    }
    // And in the middle of it.
    for (name, witness) in [("plain", &plain), ("tls", &behind_tls)] {
        witness.behave(Manner::ReadsNothing);
        scene.until_state(name, "retrying");
    }
    scene.is_unharmed();
}

#[test]
fn a_destination_that_hangs_behind_a_proxy_is_found_out_by_its_silence() {
    let witness = Witness::new(Manner::Takes);
    let authority = Authority::new("a CA of tests");
    let pair = authority.issue("right", &["localhost"]);
    let front = Stunnel::start(&witness.address(), &pair, "");
    let url = format!("rtmps://localhost:{}/app", front.port);
    let mut scene = Scene::secured(
        &format!("ca = {:?}\n", authority.file()),
        &[target("hangs", &url, "key")],
    );
    // So many that it is known to acknowledge what it gets.
    scene.until_session(&witness, "units", |sessions| {
        let bytes = |session: &Session| {
            let bodies = session.messages.iter().map(|message| message.body.len());
            bodies.sum::<usize>()
        };
        sessions.first().is_some_and(|first| bytes(first) > 300_000)
    });
    witness.behave(Manner::Hangs);
    scene.until_state("hangs", "retrying");
    scene.server.logged(&["hangs", "acknowledges nothing"]);
    witness.behave(Manner::Takes);
    scene.has_returned("hangs", &witness);
    scene.is_unharmed();
}

#[test]
fn a_destination_that_reads_nothing_holds_up_neither_the_end_of_a_stream_nor_of_the_server() {
    let witness = Witness::new(Manner::ReadsNothing);
    let relay = target("stalls", &witness.url(), "key");
    let mut server = Server::configured(&[NO_LADDER, ALLOWED, &relay].concat());
    let mut publisher = publish(&server, &small(), &["--loop"]);
    until_state(&server, "stalls", "live");
    publisher.signal("INT");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    until_state(&server, "stalls", "stopped");
    let _publisher = publish(&server, &small(), &["--loop"]);
    until_state(&server, "stalls", "live");
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
}

#[test]
fn a_destination_that_takes_1_kb_a_second_gets_whole_units_or_none() {
    let witness = Witness::new(Manner::Sips(1000));
    let mut scene = Scene::with(&[target("sips", &witness.url(), "key")]);
    until("units that it misses, or another try", || {
        scene.watch();
        let missed = figure(&scene.server, "weir_relay_missed_units_total", "sips")?;
        let tries = figure(&scene.server, "weir_relay_retries_total", "sips")?;
        (missed + tries > 0.0).then_some(())
    });
    scene.is_unharmed();
    witness.behave(Manner::Takes);
    scene.until_state("sips", "live");
    let sessions = scene.until_session(&witness, "units", |sessions| {
        sessions.iter().rev().take(1).any(some_units)
    });
    for session in &sessions {
        // Whatever was left out, it goes on at key pictures.
        scene.source.runs(session);
    }
    scene.is_unharmed();
}

#[test]
fn a_destination_that_resets_every_3_seconds_is_sent_to_every_time() {
    let witness = Witness::new(Manner::Resets(Duration::from_secs(3)));
    let mut scene = Scene::with(&[target("resets", &witness.url(), "key")]);
    let sessions = scene.until_session(&witness, "three sessions", |sessions| {
        sessions.iter().filter(|session| session.is_over).count() >= 3
    });
    for session in sessions.iter().filter(|session| session.is_over) {
        assert!(scene.source.whole(session) > 0);
    }
    witness.behave(Manner::Takes);
    scene.has_returned("resets", &witness);
    scene.is_unharmed();
}

#[test]
fn a_destination_that_closes_its_half_is_left_and_tried_again() {
    let witness = Witness::new(Manner::HalfCloses);
    let mut scene = Scene::with(&[target("halves", &witness.url(), "key")]);
    scene.until_session(&witness, "another try", |sessions| sessions.len() >= 2);
    witness.behave(Manner::Takes);
    scene.has_returned("halves", &witness);
    scene.is_unharmed();
}

#[test]
fn a_destination_that_says_nothing_at_all_is_given_up_and_tried_again() {
    let witness = Witness::new(Manner::IsMute);
    let mut scene = Scene::with(&[target("mute", &witness.url(), "key")]);
    scene.until_state("mute", "retrying");
    witness.behave(Manner::Takes);
    scene.has_returned("mute", &witness);
    scene.is_unharmed();
}

#[test]
fn a_network_that_swallows_everything_is_found_out() {
    let witness = Witness::new(Manner::Takes);
    let mut scene = Scene::with(&[target("lost", &witness.url(), "key")]);
    scene.until_session(&witness, "units", |sessions| {
        sessions.iter().any(some_units)
    });
    let Some(hole) = BlackHole::at(witness.port()) else {
        return;
    };
    scene.until_state("lost", "retrying");
    scene.is_unharmed();
    drop(hole);
    scene.has_returned("lost", &witness);
    scene.is_unharmed();
}

#[test]
fn targets_that_were_never_there_cost_nobody_anything() {
    let nowhere = format!("rtmp://127.0.0.1:{}/app", free_port());
    let names: Vec<String> = (0..8).map(|index| format!("nowhere-{index}")).collect();
    let targets: Vec<_> = names
        .iter()
        .map(|name| target(name, &nowhere, "key"))
        .collect();
    let mut scene = Scene::with(&targets);
    for name in &names {
        scene.until_state(name, "retrying");
    }
    scene.is_unharmed();
}
