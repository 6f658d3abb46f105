//! Stores that fail in every way there is, kills, lost and full disks: viewers do
//! not notice, nothing that could be kept is lost, and what is lost is told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::bucket::{Gate, Moto, Way};
use crate::harness::relays::publish;
use crate::harness::server::Server;
use crate::harness::show::{Seen, Show};
use crate::harness::sources::small;
use crate::harness::tools::{Running, run, tool};
use crate::harness::vods::{
    ANYBODY, Audit, BEST, Vod, kept_behind, recordings, state, state_in_metrics, until_closed,
};
use crate::harness::{now, pause, until, until_within};

/// A stream with a viewer that is recorded to a bucket.
struct Scene {
    moto: Moto,
    gate: Gate,
    server: Server,
    publisher: Running,
    show: Show,
    audit: Option<Audit>,
}

/// Of a server with segments of a second.
const FLAGS: [&str; 4] = ["--auth", "open", "--segment", "1"];

impl Scene {
    fn new(way: Way) -> Self {
        Self::on(tempfile::tempdir().expect("a directory"), way)
    }

    fn on(dir: tempfile::TempDir, way: Way) -> Self {
        Self::with(dir, Moto::new(), way, ANYBODY)
    }

    fn with(dir: tempfile::TempDir, moto: Moto, way: Way, environment: &[(&str, &str)]) -> Self {
        let gate = Gate::to(moto.address(), way);
        let config = kept_behind(&gate, "merge = \"0s\"");
        let server = Server::launch(dir, &config, &FLAGS, environment);
        let publisher = publish(&server, &small(), &["--loop"]);
        let show = Show::begin(&server, "demo");
        Self {
            moto,
            gate,
            server,
            publisher,
            show,
            audit: None,
        }
    }

    /// From now on the playlists in the bucket are held against what is there.
    fn audited(&mut self) {
        self.audit = Some(Audit::of(&self.moto.bucket));
    }

    /// Takes what viewers are given, so that nothing leaves the window unseen.
    #[track_caller]
    fn watch(&mut self) {
        self.show.until_segment(&self.server, "demo", 1);
    }

    /// Waits for `more` segments, viewing.
    #[track_caller]
    fn more(&mut self, more: usize) {
        let count = self.show.rung(BEST).segments.len();
        self.show.until_segment(&self.server, "demo", count + more);
    }

    /// Waits for one of the states `wanted`, viewing; gives back what is wrong.
    #[track_caller]
    fn until_state(&mut self, wanted: &[&str]) -> String {
        let wrong = until(&format!("the recording to be {wanted:?}"), || {
            self.watch();
            let newest = recordings(&self.server).pop()?;
            let state = newest["state"].as_str()?.to_owned();
            let error = newest["error"].as_str().unwrap_or_default().to_owned();
            let told = state_in_metrics(&self.server);
            (wanted.contains(&state.as_str()) && told == Some(state)).then_some(error)
        });
        assert!(!wrong.contains("any secret"));
        wrong
    }

    /// Viewers had everything, in its order.
    #[track_caller]
    fn was_seen_whole(&self) {
        for rung in &self.show.rungs {
            assert_eq!(rung.discontinuities(), 0, "{}", rung.name);
            rung.durations_are_true();
        }
    }

    /// Ends it; the recording in the bucket.
    #[track_caller]
    fn end(self) -> (Vod, Show, Server) {
        self.was_seen_whole();
        drop(self.publisher);
        let show = self.show.until_end(&self.server, "demo");
        let id = until_closed(&self.server);
        let vod = Vod::from_bucket(&self.moto.bucket, id);
        vod.is_finished();
        assert_eq!(recordings(&self.server).len(), 1);
        assert_eq!(lost(&self.server), vod.gaps() as f64);
        assert_eq!(self.server.files_below("spool").len(), 0, "an empty spool");
        let spooled = self.server.metric("weir_record_spool_bytes");
        assert_eq!(spooled, Some(0.0));
        if let Some(audit) = self.audit {
            audit.found_nothing();
        }
        (vod, show, self.server)
    }

    /// Ends it; nothing is missing.
    #[track_caller]
    fn ends_whole(self) {
        let (vod, show, ..) = self.end();
        assert_eq!(vod.gaps(), 0);
        vod.is_what_was_live(&show);
    }
}

/// Segments that the metrics say are lost.
fn lost(server: &Server) -> f64 {
    let name = "weir_record_segments_total{result=\"lost\"}";
    server.metric(name).expect("a sample")
}

fn backlog(server: &Server) -> f64 {
    let name = "weir_record_backlog_seconds{stream=\"demo\"}";
    server.metric(name).expect("a sample")
}

/// A store that is `way` for some segments in the middle of a broadcast.
fn survives(way: Way) {
    let mut scene = Scene::new(Way::Open);
    scene.audited();
    scene.more(3);
    scene.until_state(&["recording"]);
    scene.gate.set(way);
    // What is slow, or says nothing, is not known to have failed so soon.
    let unknown = matches!(way, Way::Slow | Way::Silent);
    let states: &[&str] = match unknown {
        true => &["catching_up", "stalled"],
        false => &["stalled"],
    };
    let wrong = scene.until_state(states);
    if !unknown {
        assert!(wrong.contains("s3://vods/live/demo/"), "{wrong}");
    }
    scene.more(8);
    assert!(backlog(&scene.server) > 4.0, "{way:?}");
    let spooled = scene.server.metric("weir_record_spool_bytes");
    assert!(spooled.is_some_and(|bytes| bytes > 0.0), "{spooled:?}");
    scene.gate.set(Way::Open);
    assert_eq!(scene.until_state(&["recording"]), "");
    scene.more(2);
    scene.ends_whole();
}

#[test]
fn a_store_that_is_down_for_a_while_gets_everything_later() {
    survives(Way::Down);
}

#[test]
fn a_store_that_answers_503_gets_everything_later() {
    survives(Way::Unavailable);
}

#[test]
fn a_store_that_resets_connections_gets_everything_later() {
    survives(Way::Resets);
}

#[test]
fn a_store_that_is_slow_gets_everything_later() {
    survives(Way::Slow);
}

#[test]
fn a_store_that_never_answers_gets_everything_later() {
    survives(Way::Silent);
}

#[test]
fn a_store_that_is_down_from_the_start_gets_everything_later() {
    let mut scene = Scene::new(Way::Down);
    let wrong = scene.until_state(&["stalled"]);
    assert!(wrong.contains("refused"), "{wrong}");
    scene.more(8);
    assert!(scene.moto.bucket.keys("").is_empty());
    // Here it can be watched all the same.
    let id = scene.show.rung(BEST).segments[0].number;
    let vod = Vod::from_server(&scene.server, id);
    assert_eq!(
        vod.missing(BEST, &scene.show.rung(BEST).segments[..8]),
        [0_u64; 0]
    );
    scene.audited();
    scene.gate.set(Way::Open);
    assert_eq!(scene.until_state(&["recording"]), "");
    scene.ends_whole();
}

#[test]
fn a_store_that_lets_nothing_be_deleted_has_closed_recordings() {
    let mut scene = Scene::new(Way::Keeps);
    scene.more(3);
    let marker = |scene: &Scene, id| {
        let key = format!("live/.weir/open/demo/{id}");
        scene.moto.bucket.object(&key).map(|got| got.body.len())
    };
    let id = scene.show.rung(BEST).segments[0].number;
    until("a marker", || {
        marker(&scene, id).filter(|length| *length > 0)
    });
    scene.was_seen_whole();
    drop(scene.publisher);
    let show = scene.show.until_end(&scene.server, "demo");
    assert_eq!(until_closed(&scene.server), id);
    let vod = Vod::from_bucket(&scene.moto.bucket, id);
    vod.is_finished();
    vod.is_what_was_live(&show);
    let key = format!("live/.weir/open/demo/{id}");
    let marker = scene.moto.bucket.object(&key).expect("a marker");
    assert!(marker.body.is_empty());
}

#[test]
fn credentials_that_are_put_right_are_taken_without_a_restart() {
    let moto = Moto::new();
    let (key, secret) = moto.lock();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("credentials");
    let write = |key: &str, secret: &str| {
        let text =
            format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
        std::fs::write(&file, text).expect("a file");
    };
    write(&key, "not the secret of this key");
    let path = file.to_string_lossy().into_owned();
    let environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", path.as_str()),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let mut scene = Scene::with(dir, moto, Way::Open, &environment);
    let wrong = scene.until_state(&["stalled"]);
    assert!(wrong.contains("credentials"), "{wrong}");
    scene.more(5);
    write(&key, &secret);
    assert_eq!(scene.until_state(&["recording"]), "");
    for word in [&secret, "not the secret of this key"] {
        assert!(!scene.server.log().contains(word));
    }
    scene.moto.unlock();
    scene.ends_whole();
}

/// A number by chance, below `limit`.
fn chance(limit: u64) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
        % limit
}

/// Waits for some time by chance, below a second and a half.
fn some_time() {
    let until = now() + Duration::from_millis(chance(1500));
    while now() < until {
        pause();
    }
}

/// The segments that a viewer was given, but for those that `vod` has as they were:
/// at most the last, which may not have been on the disk when the kill came.
#[track_caller]
fn only_the_unfinished_is_missing(vod: &Vod, lives: &[Vec<Seen>]) -> usize {
    let mut lost = 0;
    for life in lives {
        let missing = vod.missing(BEST, life);
        let last = life[life.len() - 1].number;
        assert!(
            missing.iter().all(|number| *number == last),
            "{missing:?} of a life that ended at {last}"
        );
        lost += missing.len();
    }
    lost
}

/// Kills a server so often while it records, and looks at what is left in the end.
fn survives_kills(times: usize) {
    let moto = Moto::new();
    let gate = Gate::to(moto.address(), Way::Open);
    let config = kept_behind(&gate, "merge = \"30s\"");
    let audit = Audit::of(&moto.bucket);
    let mut dir = tempfile::tempdir().expect("a directory");
    let mut lives = Vec::new();
    for life in 0..=times {
        let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
        let publisher = publish(&server, &small(), &["--loop"]);
        let mut show = Show::begin(&server, "demo");
        show.until_segment(&server, "demo", 2);
        if life == times {
            drop(publisher);
            let mut show = show.until_end(&server, "demo");
            lives.push(take(&mut show));
            let id = until_closed(&server);
            assert_eq!(recordings(&server).len(), 1);
            assert_eq!(id, lives[0][0].number);
            let vod = Vod::from_bucket(&moto.bucket, id);
            vod.is_finished();
            let lost = only_the_unfinished_is_missing(&vod, &lives);
            let seen: usize = lives.iter().map(Vec::len).sum();
            println!(
                "{times} kills: {seen} segments seen by viewers, {lost} of them not recorded, {} recorded",
                vod.segments.len()
            );
            assert_eq!(vod.gaps(), 0);
            // Each life is a part.
            let cuts = vod
                .playlist
                .entries
                .iter()
                .filter(|entry| entry.discontinuity);
            assert_eq!(cuts.count(), times);
            assert_eq!(server.files_below("spool").len(), 0, "an empty spool");
            assert!(moto.bucket.keys("live/.weir/").is_empty());
            break;
        }
        // In some of the lives nothing gets to the store.
        gate.set(if life % 2 == 1 { Way::Down } else { Way::Open });
        let count = show.rung(BEST).segments.len();
        show.until_segment(&server, "demo", count + 1 + chance(3) as usize);
        some_time();
        dir = server.into_dir();
        lives.push(take(&mut show));
        gate.set(Way::Open);
    }
    let findings = audit.found_nothing();
    assert!(findings.playlists >= 2, "{} versions", findings.playlists);
    println!(
        "{} versions of playlists in {} looks list nothing that is not there",
        findings.playlists, findings.looks
    );
}

#[test]
fn kills_cost_the_unfinished_segment_and_leave_no_work_behind() {
    survives_kills(4);
}

/// A number that scripts/recordings.sh sets.
fn given(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
#[ignore = "takes minutes: scripts/recordings.sh kills"]
fn many_kills() {
    survives_kills(given("KILLS", 20) as usize);
}

#[test]
#[ignore = "takes minutes: scripts/recordings.sh outages"]
fn long_outages() {
    let time = Duration::from_secs(60 * given("MINUTES", 5));
    println!(
        "| the store | for | segments shown | longest wait for one | longest backlog | lost | all stored again after |"
    );
    println!("|---|---|---|---|---|---|---|");
    let ways = [
        Way::Down,
        Way::Unavailable,
        Way::Resets,
        Way::Slow,
        Way::Silent,
    ];
    for way in ways {
        let mut scene = Scene::new(Way::Open);
        scene.audited();
        scene.more(5);
        scene.gate.set(way);
        let begun = now();
        let (mut seen, mut at) = (0, begun);
        let (mut longest, mut behind) = (Duration::ZERO, 0.0_f64);
        while now() < begun + time {
            scene.watch();
            let count = scene.show.rung(BEST).segments.len();
            if count > seen {
                (longest, seen, at) = (longest.max(now() - at), count, now());
            }
            behind = behind.max(backlog(&scene.server));
            pause();
        }
        scene.gate.set(Way::Open);
        let returned = now();
        until_within(time, "all to be stored", || {
            scene.watch();
            (backlog(&scene.server) < 2.0).then_some(())
        });
        let after = now() - returned;
        scene.until_state(&["recording"]);
        println!(
            "| {way:?} | {} s | {seen} | {:.1} s | {behind:.0} s | {} | {:.0} s |",
            time.as_secs(),
            longest.as_secs_f64(),
            lost(&scene.server),
            after.as_secs_f64()
        );
        scene.ends_whole();
    }
}

/// What was seen of the best rung.
fn take(show: &mut Show) -> Vec<Seen> {
    let rung = show.rungs.iter_mut().find(|rung| rung.name == BEST);
    std::mem::take(&mut rung.expect("the best rung").segments)
}

#[test]
fn a_kill_while_nobody_publishes_leaves_the_recording_to_the_next_start() {
    let moto = Moto::new();
    let gate = Gate::to(moto.address(), Way::Open);
    let config = kept_behind(&gate, "merge = \"3s\"");
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
    let publisher = publish(&server, &small(), &["--loop"]);
    let mut show = Show::begin(&server, "demo");
    show.until_segment(&server, "demo", 4);
    gate.set(Way::Down);
    show.until_segment(&server, "demo", 6);
    drop(publisher);
    let show = show.until_end(&server, "demo");
    assert_ne!(state(&server).as_deref(), Some("closed"));
    let live = &show.rung(BEST).segments;
    let (first, last) = (live[0].number, live[live.len() - 1].number);
    let journal = server.data().join(format!("spool/demo/{first}/journal"));
    until("the last segment to be on the disk", || {
        let journal = std::fs::read_to_string(&journal).ok()?;
        let noted = journal.contains(&format!("\"number\":{last},"));
        noted.then_some(())
    });
    let dir = server.into_dir();
    gate.set(Way::Open);
    let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
    let id = until_closed(&server);
    let vod = Vod::from_bucket(&moto.bucket, id);
    vod.is_finished();
    vod.is_what_was_live(&show);
}

#[test]
fn without_its_data_directory_what_was_stored_is_closed_from_the_store_alone() {
    let moto = Moto::new();
    let gate = Gate::to(moto.address(), Way::Open);
    let config = kept_behind(&gate, "merge = \"0s\"");
    let audit = Audit::of(&moto.bucket);
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
    let publisher = publish(&server, &small(), &["--loop"]);
    let mut show = Show::begin(&server, "demo");
    show.until_segment(&server, "demo", 5);
    some_time();
    drop(server.into_dir());
    drop(publisher);
    let stored: BTreeSet<String> = moto.bucket.keys("live/demo/180p/").into_keys().collect();
    let seen = take(&mut show);
    assert!(
        stored.len() + 2 >= seen.len(),
        "{} of {}",
        stored.len(),
        seen.len()
    );

    // Another broadcast is on before that is noticed.
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
    let publisher = publish(&server, &small(), &["--loop"]);
    let mut next = Show::begin(&server, "demo");
    let first = seen[0].number;
    until_within(
        Duration::from_secs(180),
        "the recording to be closed",
        || {
            next.until_segment(&server, "demo", 1);
            let all = recordings(&server);
            all.iter()
                .find(|one| one["id"] == first && one["state"] == "closed")
                .map(drop)
        },
    );
    drop(publisher);
    let next = next.until_end(&server, "demo");
    let id = until_closed(&server);
    assert!(id > first);
    let vod = Vod::from_bucket(&moto.bucket, first);
    vod.is_finished();
    assert!(
        !vod.playlist
            .entries
            .iter()
            .any(|entry| entry.gap || entry.discontinuity)
    );
    let listed = vod
        .playlist
        .entries
        .iter()
        .map(|entry| format!("live/demo/{}", entry.uri));
    assert_eq!(
        listed.collect::<BTreeSet<_>>(),
        stored,
        "all that was stored"
    );
    assert!(vod.missing(BEST, &seen).len() <= 1);
    let master = moto
        .bucket
        .object(&format!("live/demo/vod-{first}-master.m3u8"));
    let master = crate::harness::playlist::multivariant(&master.expect("a playlist").text());
    assert_eq!(master.variants[0].resolution, Some((320, 180)));
    let vod = Vod::from_bucket(&moto.bucket, id);
    vod.is_finished();
    vod.is_what_was_live(&next);
    assert!(moto.bucket.keys("live/.weir/").is_empty());
    audit.found_nothing();
}

/// A directory whose `data` is a disk of four megabytes.
struct Disk {
    data: PathBuf,
}

impl Disk {
    /// `None`, and a word on standard error, where none may be made.
    fn in_dir(dir: &Path) -> Option<Self> {
        let data = dir.join("data");
        std::fs::create_dir(&data).expect("a directory");
        let disk = Self { data };
        let mut command = tool("mount");
        command.args(["-t", "tmpfs", "-o", "size=4m", "weir-test"]);
        let output = command.arg(&disk.data).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("permission denied") || said.contains("must be superuser") {
            eprintln!("SKIPPED: no disk may be mounted on this machine: {said}");
            return None;
        }
        assert!(output.status.success(), "mount: {said}");
        Some(disk)
    }

    /// Leaves no room on it.
    fn fill(&self) {
        let file = std::fs::File::create(self.data.join("filler")).expect("a file");
        // It fails at the last byte that there is room for.
        let _ = std::io::copy(&mut std::io::repeat(0), &mut &file);
    }

    fn clear(&self) {
        std::fs::remove_file(self.data.join("filler")).expect("the file that filled it");
    }

    /// Nobody can write to it any more, but to files that are open.
    fn lock(&self) {
        run(tool("mount").arg("--bind").arg(&self.data).arg(&self.data));
        run(tool("mount")
            .args(["-o", "remount,bind,ro"])
            .arg(&self.data));
    }

    fn unlock(&self) {
        run(tool("umount").arg("-l").arg(&self.data));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // As often as it may have been mounted.
        for _ in 0..2 {
            let _ = tool("umount").arg("-l").arg(&self.data).output();
        }
    }
}

/// What viewers had and the recording has not, is a gap in it; there is one for each
/// segment that is said to be lost.
#[track_caller]
fn gaps_are_told(vod: &Vod, show: &Show) {
    let missing = vod.missing(BEST, &show.rung(BEST).segments);
    assert_eq!(missing.len(), vod.gaps(), "{missing:?}");
    assert_eq!(vod.playlist.entries.len(), show.rung(BEST).segments.len());
    let off = vod.duration() - show.rung(BEST).duration();
    assert!(off.abs() < 1e-6, "gaps have their duration");
}

#[test]
fn a_full_disk_costs_the_oldest_segments_only_while_the_store_is_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(disk) = Disk::in_dir(dir.path()) else {
        return;
    };
    let mut scene = Scene::on(dir, Way::Open);
    scene.audited();
    scene.more(2);
    // The store takes what the disk does not.
    disk.fill();
    let wrong = scene.until_state(&["stalled"]);
    assert!(wrong.contains("cannot be written to"), "{wrong}");
    scene.more(12);
    assert_eq!(lost(&scene.server), 0.0);
    disk.clear();
    assert_eq!(scene.until_state(&["recording"]), "");
    // Neither does.
    scene.gate.set(Way::Down);
    scene.more(2);
    disk.fill();
    until("a segment to be lost", || {
        scene.watch();
        (lost(&scene.server) > 0.0).then_some(())
    });
    scene.server.logged(&["ERROR", "LOST", "demo"]);
    scene.more(3);
    scene.until_state(&["stalled"]);
    // Room again, before the store is back.
    let words = "the spool can be written to again";
    let count = |scene: &Scene| scene.server.log().matches(words).count();
    let before = count(&scene);
    disk.clear();
    until(words, || {
        scene.watch();
        (count(&scene) > before).then_some(())
    });
    let before = lost(&scene.server);
    scene.more(3);
    assert_eq!(lost(&scene.server), before);
    scene.gate.set(Way::Open);
    assert_eq!(scene.until_state(&["recording"]), "");
    scene.more(2);
    let (vod, show, server) = scene.end();
    assert!(vod.gaps() > 0 && lost(&server) == before);
    gaps_are_told(&vod, &show);
    let newest = recordings(&server).pop().expect("a recording");
    assert_eq!(newest["gaps"], vod.gaps());
}

#[test]
fn a_disk_that_is_read_only_costs_nothing_while_the_store_is_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(disk) = Disk::in_dir(dir.path()) else {
        return;
    };
    let mut scene = Scene::on(dir, Way::Open);
    scene.audited();
    scene.more(2);
    disk.lock();
    let wrong = scene.until_state(&["stalled"]);
    assert!(wrong.contains("cannot be written to"), "{wrong}");
    scene.more(12);
    assert_eq!(lost(&scene.server), 0.0);
    // Now there is nowhere to put anything.
    scene.gate.set(Way::Down);
    until("a segment to be lost", || {
        scene.watch();
        (lost(&scene.server) > 0.0).then_some(())
    });
    scene.server.logged(&["ERROR", "LOST", "demo"]);
    scene.more(2);
    disk.unlock();
    scene.gate.set(Way::Open);
    assert_eq!(scene.until_state(&["recording"]), "");
    scene.more(2);
    let (vod, show, ..) = scene.end();
    assert!(vod.gaps() > 0);
    gaps_are_told(&vod, &show);
}

#[test]
fn a_full_disk_and_a_kill_cost_nothing_that_the_store_has() {
    let mut dir = tempfile::tempdir().expect("a directory");
    let Some(disk) = Disk::in_dir(dir.path()) else {
        return;
    };
    let moto = Moto::new();
    let gate = Gate::to(moto.address(), Way::Open);
    let config = kept_behind(&gate, "merge = \"30s\"");
    let audit = Audit::of(&moto.bucket);
    let mut lives: Vec<Vec<Seen>> = Vec::new();
    for life in 0..2 {
        let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
        let publisher = publish(&server, &small(), &["--loop"]);
        let mut show = Show::begin(&server, "demo");
        show.until_segment(&server, "demo", 2);
        if life == 1 {
            // At once, and not when it is closed.
            show.until_segment(&server, "demo", 5);
            let id = lives[0][0].number;
            only_the_unfinished_is_missing(&Vod::from_server(&server, id), &lives);
            drop(publisher);
            let mut show = show.until_end(&server, "demo");
            lives.push(take(&mut show));
            let vod = Vod::from_bucket(&moto.bucket, until_closed(&server));
            vod.is_finished();
            assert_eq!((vod.gaps(), recordings(&server).len()), (0, 1));
            only_the_unfinished_is_missing(&vod, &lives);
            break;
        }
        disk.fill();
        let count = show.rung(BEST).segments.len();
        show.until_segment(&server, "demo", count + 12);
        dir = server.into_dir();
        lives.push(take(&mut show));
        disk.clear();
    }
    audit.found_nothing();
    drop(disk);
}
