//! An application that decides and hears, and what happens when it is not there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::peer::Publisher;
use crate::harness::server::Server;
use crate::harness::sources::small;
use crate::harness::tools::{publish, publish_for_ever};
use crate::harness::{SMALL_LADDER, until};

/// An application at a port of its own.
struct Application {
    address: String,
    got: Arc<Mutex<Vec<Value>>>,
    /// What it says to a question of that type; `None` for an answer of 500.
    says: Arc<Mutex<Box<Say>>>,
}

type Say = dyn Fn(&Value) -> Option<Value> + Send;

impl Application {
    fn new(says: impl Fn(&Value) -> Option<Value> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let got = Arc::new(Mutex::new(Vec::new()));
        let says: Arc<Mutex<Box<Say>>> = Arc::new(Mutex::new(Box::new(says)));
        let (all, say) = (Arc::clone(&got), Arc::clone(&says));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (all, say) = (Arc::clone(&all), Arc::clone(&say));
                std::thread::spawn(move || serve(socket, &all, &say));
            }
        });
        Self { address, got, says }
    }

    /// A server whose application this is.
    fn server(&self, mode: &str, more: &str) -> Server {
        let config = format!(
            "{SMALL_LADDER}[auth]\nmode = \"{mode}\"\nwebhook = \"http://{}/hush-path\"\nwebhook_secret = \"hush-hush-hush-hush\"\nwebhook_timeout = \"2s\"\n{more}",
            self.address
        );
        Server::start(&config, &["--segment", "1"])
    }

    fn says(&self, says: impl Fn(&Value) -> Option<Value> + Send + 'static) {
        *self.says.lock().expect("no panic") = Box::new(says);
    }

    fn all(&self) -> Vec<Value> {
        self.got.lock().expect("no panic").clone()
    }

    /// Waits for something of type `kind`.
    #[track_caller]
    fn heard(&self, kind: &str) -> Value {
        until(kind, || {
            self.all().into_iter().find(|one| one["type"] == kind)
        })
    }
}

fn serve(socket: TcpStream, got: &Mutex<Vec<Value>>, says: &Mutex<Box<Say>>) {
    let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
    loop {
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if length == 0 || reader.read_exact(&mut body).is_err() {
            return;
        }
        let said: Value = serde_json::from_slice(&body).expect("JSON");
        got.lock().expect("no panic").push(said.clone());
        let answer = (says.lock().expect("no panic"))(&said);
        let (status, body) = match answer {
            Some(answer) => (200, answer.to_string()),
            None => (500, "{\"allow\":true}".to_owned()),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if (&socket)
            .write_all(format!("{head}{body}").as_bytes())
            .is_err()
        {
            return;
        }
    }
}

/// Ann's key is good, and nobody else's.
fn anns(question: &Value) -> Option<Value> {
    Some(match question["type"].as_str() {
        Some("prePublish") if question["key"] == "hush-key" => {
            json!({"allow": true, "name": "ann"})
        }
        Some("prePublish") => json!({"allow": false, "reason": "ask Ann for a key"}),
        _ => json!({"allow": true}),
    })
}

#[test]
fn the_application_names_the_stream_and_hears_all_of_it() {
    let application = Application::new(anns);
    let server = application.server("webhook", "");
    let mut ffmpeg = publish(&small(), &server.publish_url("hush-key?youtube=hush-relay"));
    let posted = application.heard("postPublish");
    assert_eq!(posted["stream"], "ann");
    assert!(ffmpeg.ended().success(), "{}", ffmpeg.said());
    application.heard("doneConnect");
    until("the stream at viewers", || {
        let playlist = server.get("/ann/live.m3u8");
        (playlist.status == 200).then_some(())
    });

    let connection = &posted["connection"];
    let all = application.all();
    let kinds: Vec<_> = all
        .iter()
        .filter(|one| one["connection"] == *connection)
        .filter_map(|one| one["type"].as_str())
        .collect();
    // Questions are asked at once, events told one after the other.
    let of = |wanted: &str| -> Vec<&str> {
        let wanted = |kind: &&str| kind.starts_with("pre") == (wanted == "pre");
        kinds.iter().copied().filter(wanted).collect()
    };
    assert_eq!(of("pre"), ["preConnect", "prePublish"]);
    let told = ["postConnect", "postPublish", "donePublish", "doneConnect"];
    assert_eq!(of("told"), told);
    let done = application.heard("donePublish");
    assert_eq!(done["reason"], "unpublished");
    assert!(done["bytes"].as_u64().is_some_and(|bytes| bytes > 1000));
    // The key is in the one question that judges it, and nowhere else.
    let with_key: Vec<_> = all
        .iter()
        .filter(|one| one.to_string().contains("hush"))
        .map(|one| one["type"].clone())
        .collect();
    assert_eq!(with_key, ["prePublish"]);
    for told in [server.log(), server.output(), server.get("/metrics").text()] {
        assert!(!told.contains("hush"), "{told}");
    }
}

#[test]
fn a_refusal_is_on_the_encoders_screen() {
    let application = Application::new(anns);
    let server = application.server("webhook", "");
    let Err(refusal) = Publisher::start(&server, "hush-wrong") else {
        panic!("let in");
    };
    assert_eq!(refusal.code, "NetStream.Publish.BadName");
    assert_eq!(refusal.description, "ask Ann for a key");
    // Named by nobody, it has no name.
    application.says(|_| Some(json!({"allow": true})));
    let Err(refusal) = Publisher::start(&server, "hush-wrong") else {
        panic!("let in");
    };
    assert_eq!(refusal.description, "the application named no stream");
    application.says(|question| {
        Some(match question["type"].as_str() {
            Some("preConnect") => json!({"allow": false, "reason": "not from there"}),
            _ => json!({"allow": true}),
        })
    });
    let mut ffmpeg = publish(&small(), &server.publish_url("hush-key"));
    assert!(!ffmpeg.ended().success());
    assert!(
        ffmpeg.said().contains("not from there"),
        "{}",
        ffmpeg.said()
    );
    assert_eq!(server.metric("weir_streams_live"), Some(0.0));
    assert!(!server.log().contains("hush"), "{}", server.log());
}

#[test]
fn an_application_that_dies_hurts_nobody_who_is_live() {
    let application = Application::new(anns);
    let server = application.server("webhook", "");
    let mut ffmpeg = publish_for_ever(&small(), &server.publish_url("hush-key"));
    application.heard("postPublish");
    // From here on it answers everything with 500.
    application.says(|_| None);
    let segments = || {
        let playlist = server.get("/ann/90p/index.m3u8").text();
        let number = playlist.lines().rev().find(|line| line.ends_with(".ts"));
        number.map(str::to_owned)
    };
    let before = until("a segment", segments);
    for _ in 0..3 {
        let Err(refusal) = Publisher::start(&server, "hush-key") else {
            panic!("let in");
        };
        assert!(
            refusal.description.contains("gives no answer"),
            "{refusal:?}"
        );
    }
    until("media that goes on", || {
        (segments()? != before).then_some(())
    });
    assert!(ffmpeg.is_running());
    server.logged(&["the webhook gives no answer", "it answers 500"]);
    let unanswered = server.metric("weir_webhook_questions_total{answer=\"none\"}");
    assert_eq!(unanswered, Some(3.0));
    // Back again, it hears what it would not.
    application.says(anns);
    ffmpeg.terminate();
    application.heard("donePublish");
}

#[test]
fn without_an_answer_the_settings_decide() {
    let application = Application::new(|_| None);
    let server = application.server("open", "on_timeout = \"allow\"\n");
    let mut ffmpeg = publish(&small(), &server.publish_url("demo"));
    assert!(ffmpeg.ended().success(), "{}", ffmpeg.said());
    let asked = application.heard("prePublish");
    assert_eq!(asked["stream"], "demo");
    assert!(asked.get("key").is_none());
}

#[test]
fn players_are_judged_and_told_of() {
    let application = Application::new(|question| {
        let bad = question["type"] == "prePlay" && question["query"]["token"] != "good";
        Some(json!({"allow": !bad, "reason": "no ticket"}))
    });
    let server = application.server("open", "");
    let _ffmpeg = publish_for_ever(&small(), &server.publish_url("demo"));
    application.heard("postPublish");
    let refused = server.get("/stream/demo.flv");
    assert_eq!(
        (refused.status, refused.text()),
        (403, "no ticket".to_owned())
    );
    let mut socket = TcpStream::connect(&server.http).expect("a connection");
    let request =
        "GET /stream/demo.flv?token=good HTTP/1.1\r\nHost: x\r\nUser-Agent: tester\r\n\r\n";
    socket.write_all(request.as_bytes()).expect("sent");
    let mut head = [0; 2048];
    socket.read_exact(&mut head).expect("media");
    let playing = application.heard("postPlay");
    assert_eq!(playing["agent"], "tester");
    assert_eq!(playing["stream"], "demo");
    drop(socket);
    let done = application.heard("donePlay");
    assert_eq!(done["connection"], playing["connection"]);
    assert!(
        done["bytes"].as_u64().is_some_and(|bytes| bytes > 1000),
        "{done}"
    );
}
