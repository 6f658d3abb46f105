//! Keys that change while streams are live, and those who have none.

use crate::harness::peer::Publisher;
use crate::harness::server::{Server, weir};
use crate::harness::show::Show;
use crate::harness::sources::small;
use crate::harness::tools::{publish_for_ever, run};
use crate::harness::{SMALL_LADDER, until};

/// Runs `weir keys …` on the server's data; the last line that it prints.
fn keys(server: &Server, arguments: &[&str]) -> String {
    let mut command = weir();
    command.arg("keys").args(arguments);
    let output = run(command.arg("--data").arg(server.data()));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().last().unwrap_or_default().to_owned()
}

fn start() -> Server {
    Server::start(SMALL_LADDER, &["--segment", "1"])
}

fn live(server: &Server) -> Option<f64> {
    server.metric("weir_streams_live")
}

fn publisher(server: &Server, key: &str) -> Publisher {
    Publisher::start(server, key).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

#[test]
fn a_stream_ends_when_its_key_is_taken_away() {
    let server = start();
    for change in [
        &["rotate", "studio"][..],
        &["disable", "studio"],
        &["remove", "studio"],
    ] {
        let key = keys(&server, &["add", "studio"]);
        let other = keys(&server, &["add", "other"]);
        let (going, staying) = (publisher(&server, &key), publisher(&server, &other));
        keys(&server, change);
        let refusal = going.refused();
        assert_eq!(refusal.code, "NetStream.Publish.BadName", "{change:?}");
        assert!(
            refusal.description.contains("no longer good"),
            "{change:?}: {refusal:?}"
        );
        let Err(refusal) = Publisher::start(&server, &key) else {
            panic!("{change:?}: let in again")
        };
        assert_eq!(refusal.code, "NetStream.Publish.BadName", "{change:?}");
        assert_eq!(live(&server), Some(1.0), "the other one goes on");
        staying.finish();
        until("nobody to be live", || {
            (live(&server) == Some(0.0)).then_some(())
        });
    }
}

#[test]
fn a_real_encoder_stops_when_its_key_is_replaced() {
    let server = start();
    let key = keys(&server, &["add", "studio"]);
    let mut ffmpeg = publish_for_ever(&small(), &server.publish_url(&key));
    let mut show = Show::begin(&server, "studio");
    show.until_segment(&server, "studio", 2);
    keys(&server, &["rotate", "studio"]);
    assert!(!ffmpeg.ended().success());
    let playlist = until("the end of the broadcast", || {
        let text = server.get("/studio/180p/index.m3u8").text();
        text.contains("#EXT-X-ENDLIST").then_some(text)
    });
    assert!(!playlist.contains(&key));
    let mut again = publish_for_ever(&small(), &server.publish_url(&key));
    assert!(!again.ended().success());
    server.logged(&["publish refused", "not known here"]);
    assert!(!server.log().contains(&key));
}

#[test]
fn an_old_key_is_good_until_its_grace_is_over() {
    let server = start();
    let old = keys(&server, &["add", "studio"]);
    let new = keys(&server, &["rotate", "studio", "--grace", "3s"]);
    // With the old one, in its grace, which then ends.
    let refusal = publisher(&server, &old).refused();
    assert!(
        refusal.description.contains("no longer good"),
        "{refusal:?}"
    );
    let Err(refusal) = Publisher::start(&server, &old) else {
        panic!("the old key is good for ever")
    };
    assert!(
        refusal.description.contains("the stream has a new one"),
        "{refusal:?}"
    );
    until("the name to be free", || {
        (live(&server) == Some(0.0)).then_some(())
    });
    publisher(&server, &new).finish();
}

#[test]
fn who_guesses_is_soon_answered_in_few_words_and_hurts_no_holder_of_a_key() {
    let server = start();
    let key = keys(&server, &["add", "studio"]);
    for guess in 0..60 {
        let Err(refusal) = Publisher::start(&server, &format!("wk_guess{guess}")) else {
            panic!("a guess was right")
        };
        assert_eq!(refusal.code, "NetStream.Publish.BadName");
    }
    let told = server.log().matches("publish refused").count();
    assert_eq!(told, 10, "{}", server.log());
    server.logged(&["not mentioned for a minute"]);
    assert_eq!(
        server.metric("weir_publish_refused_total{reason=\"key\"}"),
        Some(60.0)
    );
    publisher(&server, &key).finish();
}

#[test]
fn keys_may_come_from_the_environment() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) = ("first-of-the-keys-0001", "second-of-the-keys-002");
    let both = format!("studio:{first},second:{second}");
    let variables = [("WEIR_AUTH_KEYS", both.as_str())];
    let server = Server::launch(dir, SMALL_LADDER, &[], &variables);
    assert!(
        !server.output().contains("Stream key"),
        "{}",
        server.output()
    );
    publisher(&server, first).finish();
    publisher(&server, second).finish();
    server.logged(&["publish accepted", "studio"]);
    // The next start brings one of them.
    let one = format!("studio:{first}");
    let variables = [("WEIR_AUTH_KEYS", one.as_str())];
    let server = Server::launch(server.into_dir(), SMALL_LADDER, &[], &variables);
    publisher(&server, first).finish();
    assert!(Publisher::start(&server, second).is_err());
    for file in server.files() {
        let bytes = std::fs::read(&file).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        for key in [first, second] {
            assert!(!text.contains(key), "a key is in {}", file.display());
        }
    }
    assert!(!server.log().contains(first) && !server.log().contains(second));
}
