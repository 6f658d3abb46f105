//! `weir recordings`: what is wrong with a recording is found, told and mended as far
//! as it can be, and one that is beyond help is no reason to leave the others.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::SMALL_LADDER;
use crate::harness::bucket::{BUCKET, Gate, Moto, Way};
use crate::harness::relays::publish;
use crate::harness::server::{Server, weir};
use crate::harness::show::Show;
use crate::harness::sources::bundled_clip;
use crate::harness::vods::{ANYBODY, BEST, Vod, kept_behind, until_closed};

/// A recording in a folder, and the data directory of a server that is gone.
struct Place {
    dir: tempfile::TempDir,
    id: u64,
    vod: Vod,
}

impl Place {
    fn with_a_recording() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("vods");
        let config = format!(
            "[record]\nstore = \"file://{}\"\nmerge = \"0s\"\n{SMALL_LADDER}",
            store.display()
        );
        let server = Server::start_in(dir, &config, &FLAGS);
        let id = a_broadcast(&server);
        let vod = Vod::from_server(&server, id);
        let dir = server.into_dir();
        Self { dir, id, vod }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.path().join("vods/demo").join(what)
    }

    fn run(&self, task: &[&str]) -> Said {
        let store = format!("file://{}", self.dir.path().join("vods").display());
        let data = self.data();
        let data = data.to_str().expect("a path");
        run(self.dir.path(), task, &["--record", &store, "--data", data])
    }
}

fn a_broadcast(server: &Server) -> u64 {
    let mut publisher = publish(server, &bundled_clip(), &[]);
    Show::begin(server, "demo").until_end(server, "demo");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    until_closed(server)
}

/// What the command has said and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    text: String,
}

fn run(dir: &Path, task: &[&str], place: &[&str]) -> Said {
    let mut command = weir();
    command.current_dir(dir).arg("recordings").args(task);
    command.args(place).envs(ANYBODY.iter().copied());
    let output = command.output().expect("weir starts");
    let text = [output.stdout, output.stderr].concat();
    Said {
        code: output.status.code(),
        text: String::from_utf8(text).expect("text"),
    }
}

impl Said {
    #[track_caller]
    fn is(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "{word:?} in {}", self.text);
        }
    }
}

#[test]
fn what_is_wrong_is_found_and_what_the_spool_has_is_sent_again() {
    let place = Place::with_a_recording();
    let one = format!("demo {}", place.id);
    for check in [&["check"][..], &["check", "--deep"], &["repair"]] {
        place.run(check).is(0, &[&format!("{one}: ok; 0:00:05")]);
    }
    let text = fs::read_to_string(place.file(&format!("vod-{}.m3u8", place.id)));
    let text = text.expect("a playlist");
    assert_eq!(text, place.vod.text, "a repair of nothing changes nothing");
    for command in ["list", "check", "repair"] {
        let run = place.run(&[command, "demo", "17"]);
        run.is(1, &["There is no recording 17 of demo in "]);
    }

    // Whole packets: the file as such is as good as any.
    let number = place.id + 2;
    let uri = format!("{BEST}/{number}.ts");
    let whole = place.vod.segments[&uri].clone();
    fs::write(place.file(&uri), &whole[..whole.len() / 376 * 188]).expect("a file");
    place
        .run(&["check"])
        .is(1, &[&one, "1 fault", "bytes are stated"]);
    place.run(&["check", "--deep"]).is(1, &[&one, "1 fault"]);

    let spool = place.data().join("spool/demo").join(place.id.to_string());
    fs::create_dir_all(&spool).expect("a folder");
    let durations = place.vod.playlist.entries.iter().map(|one| one.duration);
    let ticks: Vec<i64> = durations
        .map(|one| (one * 90_000.0).round() as i64)
        .collect();
    let (start, duration, bytes) = (ticks[0] + ticks[1], ticks[2], whole.len());
    let (id, name) = (place.id, "demo");
    let ms = id as i64 + start / 90;
    let journal = format!(
        "{{\"begin\":{{\"name\":\"{name}\",\"id\":{id},\"target\":90000}}}}\n\
         {{\"segment\":{{\"number\":{number},\"rung\":\"{BEST}\",\"start\":{start},\"duration\":{duration},\
         \"discontinuity\":false,\"unix_ms\":{ms},\"bytes\":{bytes},\"came_ms\":{ms}}}}}\n"
    );
    fs::write(spool.join("journal"), &journal).expect("a file");
    fs::write(spool.join(format!("{number}.ts")), &whole).expect("a file");
    place
        .run(&["repair"])
        .is(0, &[&format!("{one}: finished"), &format!("{one}: ok")]);
    place
        .run(&["check", "--deep"])
        .is(0, &[&format!("{one}: ok")]);
    assert!(fs::read(place.file(&uri)).expect("a file") == whole);
    assert!(!spool.exists());
    let again = fs::read_to_string(place.file(&format!("vod-{id}.m3u8"))).expect("a file");
    assert_eq!(again, text);

    // The store had it once.
    fs::create_dir_all(&spool).expect("a folder");
    let stored = format!("{journal}{{\"stored\":{number}}}\n");
    fs::write(spool.join("journal"), stored).expect("a file");
    fs::write(spool.join(format!("{number}.ts")), &whole).expect("a file");
    fs::remove_file(place.file(&uri)).expect("a file");
    place
        .run(&["check"])
        .is(1, &[&format!("segment {number} is listed and not there")]);
    place
        .run(&["repair"])
        .is(0, &["1 segments were sent again", &format!("{one}: ok")]);
    assert!(fs::read(place.file(&uri)).expect("a file") == whole);
    let again = fs::read_to_string(place.file(&format!("vod-{id}.m3u8"))).expect("a file");
    assert_eq!(again, text);
}

#[test]
fn a_recording_beyond_help_does_not_keep_the_others_from_being_mended() {
    let place = Place::with_a_recording();
    let one = format!("demo {}", place.id);
    let broken = place.dir.path().join("vods/a-broken-one");
    fs::create_dir_all(&broken).expect("a folder");
    fs::write(broken.join("vod-17.m3u8"), "no playlist at all").expect("a file");
    // Of another stream, the spool has what the store does not take: a file is where
    // its folder would be.
    fs::write(place.dir.path().join("vods/an-obstacle"), "a file").expect("a file");
    let spool = place.data().join("spool/an-obstacle/19");
    fs::create_dir_all(&spool).expect("a folder");
    let journal = "{\"begin\":{\"name\":\"an-obstacle\",\"id\":19,\"target\":90000}}\n\
         {\"segment\":{\"number\":19,\"rung\":\"180p\",\"start\":0,\"duration\":90000,\
         \"discontinuity\":true,\"unix_ms\":19,\"bytes\":188,\"came_ms\":19}}\n";
    fs::write(spool.join("journal"), journal).expect("a file");
    fs::write(spool.join("19.ts"), [0x47; 188]).expect("a file");
    let lost = format!("{BEST}/{}.ts", place.id + 1);
    fs::remove_file(place.file(&lost)).expect("a file");

    let list = place.run(&["list"]);
    list.is(0, &["a-broken-one", "demo", "closed"]);
    let faults = ["a-broken-one 17: ", "is no media playlist", &one];
    place.run(&["check"]).is(1, &faults);
    let repaired = place.run(&["repair"]);
    repaired.is(1, &faults);
    repaired.is(
        1,
        &[
            "an-obstacle 19: ",
            &format!("{one}: ok"),
            "1 gap",
            "1 segments are gone for good",
        ],
    );
    assert!(spool.join("19.ts").exists());
    place
        .run(&["check", "demo"])
        .is(0, &[&format!("{one}: ok"), "1 gap"]);
}

#[test]
fn a_segment_of_a_bucket_that_is_cut_short_is_found_by_its_size() {
    let moto = Moto::new();
    let gate = Gate::to(moto.address(), Way::Open);
    let dir = tempfile::tempdir().expect("a directory");
    let config = kept_behind(&gate, "merge = \"0s\"");
    let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
    let id = a_broadcast(&server);
    let segment = format!("live/demo/{BEST}/{}.ts", id + 1);
    let len = moto.bucket.object(&segment).expect("an object").body.len();
    let dir = server.into_dir();
    let file = dir.path().join("looks.toml");
    let text = format!(
        "[record]\nstore = \"s3://{BUCKET}/live\"\nendpoint = {:?}\npath_style = true\n",
        gate.url()
    );
    fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("a path");
    let check = || run(dir.path(), &["check"], &["--config", file]);
    check().is(0, &[&format!("demo {id}: ok")]);
    moto.bucket.cut(&segment, len - 188);
    check().is(
        1,
        &[&format!(
            "segment {}: it has {} bytes of {len}",
            id + 1,
            len - 188
        )],
    );
}

/// Of a server with segments of a second.
const FLAGS: [&str; 4] = ["--auth", "open", "--segment", "1"];
