//! Names, keys, second publishers: who gets in, and what the others are told.

use rtmp::MediaKind;

use crate::harness::peer::Publisher;
use crate::harness::server::{Server, weir};
use crate::harness::show::Show;
use crate::harness::sources::small;
use crate::harness::tools::{publish, publish_for_ever, run};
use crate::harness::{SMALL_LADDER, until};

#[test]
fn names_that_could_harm_are_refused_to_ffmpeg_and_nothing_is_written() {
    let server = Server::configured(SMALL_LADDER);
    let before = server.files();
    let long = "a".repeat(65);
    for (name, reason) in [
        ("..", "'.'"),
        (long.as_str(), "65"),
        ("api", "reserved"),
        ("-x", "'-'"),
        ("a.b", "'.'"),
    ] {
        let mut ffmpeg = publish(&small(), &server.publish_url(name));
        assert!(!ffmpeg.ended().success(), "{name} was let in");
        server.logged(&["publish refused", reason]);
        assert!(
            !ffmpeg.said().is_empty(),
            "ffmpeg says something about {name}"
        );
    }
    // For ffmpeg the app is `stream/a` then, or there is no name at all.
    for path in ["stream/a/b", "stream/", "stream", "other/demo"] {
        let mut ffmpeg = publish(&small(), &format!("rtmp://{}/{path}", server.rtmp));
        assert!(!ffmpeg.ended().success(), "{path} was let in");
    }
    server.logged(&["publish refused", "empty"]);
    assert_eq!(server.files(), before, "nothing was written");
    assert_eq!(server.metric("weir_streams_live"), Some(0.0));
    assert!(
        !server.get("/").text().contains("api/"),
        "nothing is listed"
    );
}

#[test]
fn a_refused_name_is_explained_on_the_encoders_screen() {
    let server = Server::configured("");
    let long = "a".repeat(65);
    for (name, word) in [
        ("..", "'.'"),
        ("a/b", "'/'"),
        (&long, "65"),
        ("api", "reserved"),
        ("metrics", "reserved"),
    ] {
        let Err(refusal) = Publisher::start(&server, name) else {
            panic!("{name:?} was let in")
        };
        assert_eq!(refusal.code, "NetStream.Publish.BadName");
        assert!(refusal.description.contains(word), "{name:?}: {refusal:?}");
    }
    assert_eq!(server.metric("weir_streams_live"), Some(0.0));
}

#[test]
fn names_of_64_letters_and_queries_after_the_name_are_fine() {
    let server = Server::configured(SMALL_LADDER);
    let name = "Ab-_9".repeat(13)[..64].to_owned();
    let _ffmpeg = publish(
        &small(),
        &server.publish_url(&format!("{name}?youtube=secret&x=1")),
    );
    Show::begin(&server, &name);
    assert!(
        !server.log().contains("secret"),
        "a query may hold keys of other services"
    );
}

#[test]
fn a_second_publisher_of_a_live_name_is_refused_and_the_first_goes_on() {
    let server = Server::configured(SMALL_LADDER);
    let mut first = publish_for_ever(&small(), &server.publish_url("demo"));
    let mut show = Show::begin(&server, "demo");
    let mut second = publish(&small(), &server.publish_url("demo"));
    assert!(!second.ended().success(), "both publish");
    server.logged(&["publish refused", "already live"]);
    let Err(refusal) = Publisher::start(&server, "demo") else {
        panic!("a third publishes")
    };
    assert!(refusal.description.contains("already live"), "{refusal:?}");
    let count = show.rungs[0].segments.len();
    show.until_segment(&server, "demo", count + 2);
    assert_eq!(show.rungs[0].discontinuities(), 0);
    assert!(first.is_running(), "{}", first.said());
}

#[test]
fn a_publisher_that_fell_silent_may_be_displaced() {
    let server = Server::configured(SMALL_LADDER);
    let silent = Publisher::start(&server, "demo").unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let ffmpeg = until("the silent one to count as gone", || {
        let mut ffmpeg = publish_for_ever(&small(), &server.publish_url("demo"));
        let accepted = until("a verdict", || {
            match server.metric("weir_ingest_bytes_total{stream=\"demo\"}") {
                Some(bytes) if bytes > 10_000.0 => Some(true),
                _ => (!ffmpeg.is_running()).then_some(false),
            }
        });
        accepted.then_some(ffmpeg)
    });
    let refusal = silent.refused();
    assert!(
        refusal.description.contains("another publisher"),
        "{refusal:?}"
    );
    Show::begin(&server, "demo");
    drop(ffmpeg);
}

#[test]
fn who_left_may_return_at_once() {
    let server = Server::configured("[hls]\nenabled = false\n[rtmp]\nmerge = \"2s\"\n");
    let received = || server.metric("weir_ingest_bytes_total{stream=\"demo\"}");
    for _ in 0..3 {
        let publisher = Publisher::start(&server, "demo");
        let mut publisher = publisher.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        // Its socket is looked at ever more rarely meanwhile.
        for time in 0..3 {
            let before = received();
            publisher.send(MediaKind::Audio, 20 * time, vec![0xaf, 0, 0x12, 0x10]);
            until("it is read", || (received() > before).then_some(()));
        }
    }
}

/// The key that a first start printed.
fn first_key(server: &Server) -> String {
    until("the key on standard output", || {
        let output = server.output();
        let line = output.lines().find_map(|line| {
            line.trim()
                .strip_prefix("Stream key:")
                .map(str::trim)
                .map(str::to_owned)
        });
        line.filter(|_| output.contains("Watch it at"))
    })
}

#[test]
fn a_first_start_prints_a_key_that_works_and_is_found_nowhere_else() {
    let server = Server::start(SMALL_LADDER, &["--segment", "1"]);
    let output = server.output();
    assert!(
        output.contains(&format!("rtmp://{}/stream", server.rtmp)),
        "{output}"
    );
    assert!(
        output.contains(&format!("http://{}/live", server.http)),
        "{output}"
    );
    let key = first_key(&server);
    assert!(
        key.len() >= 20,
        "a key that cannot be guessed: {} characters",
        key.len()
    );

    let mut ffmpeg = publish(&small(), &server.publish_url(&key));
    let mut show = Show::begin(&server, "live");
    show.until_segment(&server, "live", 2);

    let mut wrong = publish(&small(), &server.publish_url("live"));
    assert!(!wrong.ended().success(), "the name is no key");
    server.logged(&["publish refused", "key"]);
    let Err(refusal) = Publisher::start(&server, &format!("{key}x")) else {
        panic!("a wrong key was let in")
    };
    assert!(!refusal.description.contains(&key), "{refusal:?}");

    let mut texts = vec![("the log".to_owned(), server.log())];
    for path in [
        "/",
        "/live",
        "/live/live.m3u8",
        "/live/180p/index.m3u8",
        "/metrics",
        "/readyz",
        &format!("/{key}/live.m3u8"),
    ] {
        let text = server.get(path).text();
        // An echo of the path that was asked for tells nobody anything.
        let text = if path.contains(&key) {
            text.replacen(&key, "", 1)
        } else {
            text
        };
        texts.push((path.to_owned(), text));
    }
    for file in server.files() {
        let text = String::from_utf8_lossy(&std::fs::read(&file).expect("a file")).into_owned();
        texts.push((file.display().to_string(), text));
    }
    for (place, text) in texts {
        assert!(!text.contains(&key), "the key is in {place}");
    }
    assert_eq!(
        server.get(&format!("/{key}/live.m3u8")).status,
        404,
        "a key is no name"
    );
    assert!(ffmpeg.ended().success(), "{}", ffmpeg.said());

    // The second start keeps the key and does not print it.
    let next = Server::start_in(server.into_dir(), SMALL_LADDER, &["--segment", "1"]);
    assert!(!next.output().contains(&key));
    let publisher = Publisher::start(&next, &key).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    publisher.finish();
}

#[test]
fn keys_added_rotated_and_disabled_count_for_a_running_server_at_once() {
    let server = Server::start(SMALL_LADDER, &["--segment", "1"]);
    let keys = |command: &str| {
        let output = run(weir()
            .args(["keys", command, "studio", "--data"])
            .arg(server.data()));
        String::from_utf8(output.stdout)
            .expect("text")
            .trim_end()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    let let_in = |key: &str| {
        Publisher::start(&server, key)
            .map(Publisher::finish)
            .is_ok()
    };
    let first = keys("add");
    assert!(let_in(&first));
    server.logged(&["studio", "publish accepted"]);
    let second = keys("rotate");
    assert!(!let_in(&first), "a rotated key is refused");
    until("the name to be free", || {
        (server.metric("weir_streams_live") == Some(0.0)).then_some(())
    });
    assert!(let_in(&second));
    keys("disable");
    assert!(!let_in(&second), "a disabled key is refused");
    assert!(!server.log().contains(&first) && !server.log().contains(&second));
}
