//! Receivers that behave in all the ways that receivers do.

use std::collections::VecDeque;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::hooks::event::{Fact, Protocol};
use crate::hooks::{Bus, Secret};

/// What a receiver does with a connection, once a request was read.
#[derive(Clone)]
enum Deed {
    /// Answers.
    Answer(u16, String),
    /// Half of an answer, and then nothing.
    Half,
    /// Closes without a word.
    Close,
    /// Says nothing.
    Hang,
}

fn ok(body: &str) -> Deed {
    Deed::Answer(200, body.to_owned())
}

/// A request as it came: the head in lower case, and the body.
struct Got {
    head: String,
    body: String,
}

impl Got {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(&start)).unwrap()
    }
}

/// A receiver that does `deeds` one after the other, and the last of them again.
async fn receiver(deeds: Vec<Deed>) -> (SocketAddr, UnboundedReceiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, got) = unbounded_channel();
    let deeds = Arc::new(Mutex::new(VecDeque::from(deeds)));
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (sender, deeds) = (sender.clone(), Arc::clone(&deeds));
            tokio::spawn(async move {
                while let Some(request) = read(&mut socket).await {
                    let _ = sender.send(request);
                    let deed = {
                        let mut deeds = deeds.lock().unwrap();
                        match deeds.len() {
                            1 => deeds[0].clone(),
                            _ => deeds.pop_front().unwrap(),
                        }
                    };
                    let answer = match deed {
                        Deed::Answer(status, body) => format!(
                            "HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        ),
                        Deed::Half => {
                            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"allow\":true"
                                .to_owned()
                        }
                        Deed::Close => return,
                        Deed::Hang => String::new(),
                    };
                    let _ = socket.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    (addr, got)
}

async fn read(socket: &mut TcpStream) -> Option<Got> {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 4096];
        let count = socket
            .read(&mut more)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        bytes.extend_from_slice(&more[..count]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|length| length.parse::<usize>().ok())
            .unwrap();
        if body.len() >= length {
            return Some(Got {
                head,
                body: body.to_owned(),
            });
        }
    }
}

fn settings(addr: SocketAddr, on_timeout: OnTimeout) -> config::Webhook {
    config::Webhook {
        url: format!("http://{addr}/hook").parse().unwrap(),
        secret: Secret::new("0123456789abcdef"),
        timeout: Duration::from_millis(300),
        on_timeout,
        events: Kind::ALL.into_iter().map(|(_, kind)| kind).collect(),
    }
}

fn webhook(addr: SocketAddr, on_timeout: OnTimeout) -> Webhook {
    let tls = Connector::new(None).unwrap();
    Webhook::new(&settings(addr, on_timeout), tls)
}

fn client() -> Client {
    let peer = "192.0.2.7:1234".parse().unwrap();
    Client::new(peer, Protocol::Rtmp, "stream", "OBS")
}

fn keyed(key: &str) -> Publication {
    Publication {
        stream: None,
        key: Some(Secret::new(key)),
        query: vec![("youtube".to_owned(), "hush".to_owned())],
    }
}

fn named(name: &str) -> Publication {
    Publication {
        stream: Some(name.parse().unwrap()),
        key: None,
        query: Vec::new(),
    }
}

fn published(id: u64, stream: &str) -> Arc<Event> {
    let fact = Fact::PostPublish {
        client: client(),
        stream: stream.parse().unwrap(),
        session: 1,
    };
    Arc::new(Event { id, time: 1, fact })
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

#[test]
fn a_question_is_signed_and_its_answer_heeded() {
    block_on(async {
        let yes = "{\"allow\":true,\"name\":\"ann\",\"record\":true}";
        let (addr, mut got) = receiver(vec![ok(yes)]).await;
        let webhook = webhook(addr, OnTimeout::Deny);
        let client = client();
        let grant = webhook.pre_publish(7, &client, &keyed("wk_1")).await;
        let grant = grant.unwrap();
        assert_eq!(grant.name.unwrap().as_str(), "ann");
        assert_eq!(grant.record, Some(true));

        let got = got.recv().await.unwrap();
        assert!(got.head.starts_with("post /hook http/1.1"), "{}", got.head);
        assert_eq!(got.header("content-type"), "application/json");
        assert_eq!(got.header("weir-event"), "prepublish");
        let timestamp: u64 = got.header("weir-timestamp").parse().unwrap();
        let signer = Signer::new("0123456789abcdef");
        let body = got.body.as_bytes();
        assert_eq!(got.header("weir-signature"), signer.timed(timestamp, body));
        assert_eq!(got.header("x-weir-signature-256"), signer.plain(body));
        let json = got.json();
        assert_eq!(json["type"], "prePublish");
        assert_eq!(json["id"], 7);
        assert_eq!(json["key"], "wk_1");
        assert_eq!(json["peer"], "192.0.2.7:1234");
        assert_eq!(json["connection"], client.connection.to_string());
        assert!(json["time"].as_u64().unwrap() / 1000 >= timestamp - 60);
        // Keys of other services are none of the application's business.
        assert!(!got.body.contains("hush"), "{}", got.body);
        assert_eq!(webhook.counts().allowed.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_key_is_sent_only_where_the_application_judges_it() {
    block_on(async {
        let (addr, mut got) = receiver(vec![ok("{\"allow\":true}")]).await;
        let webhook = webhook(addr, OnTimeout::Deny);
        webhook
            .pre_publish(1, &client(), &named("ann"))
            .await
            .unwrap();
        let json = got.recv().await.unwrap().json();
        assert_eq!(json["stream"], "ann");
        assert_eq!(json.get("key"), None);
        let viewing = Viewing {
            stream: "ann".parse().unwrap(),
            query: vec![("token".to_owned(), "t1".to_owned())],
        };
        webhook.pre_play(2, &client(), &viewing).await.unwrap();
        let json = got.recv().await.unwrap().json();
        assert_eq!(json["query"]["token"], "t1");
    });
}

#[test]
fn what_is_no_answer_is_what_the_settings_say() {
    block_on(async {
        let huge = format!("{{\"allow\":true,\"reason\":\"{}\"}}", "x".repeat(70_000));
        let lies = [
            Deed::Answer(500, "{\"allow\":true}".to_owned()),
            Deed::Answer(302, "{\"allow\":true}".to_owned()),
            Deed::Answer(404, "not here".to_owned()),
            ok("yes"),
            ok(&huge),
            ok("{\"allow\":true,\"name\":\"a/b\"}"),
            Deed::Half,
            Deed::Close,
            Deed::Hang,
        ];
        for deed in lies {
            let (addr, mut got) = receiver(vec![deed]).await;
            let strict = webhook(addr, OnTimeout::Deny);
            let denied = strict.pre_publish(1, &client(), &named("ann")).await;
            assert_eq!(
                denied.unwrap_err().reason(),
                "the application that decides gives no answer; try again later"
            );
            let lax = webhook(addr, OnTimeout::Allow);
            let allowed = lax.pre_publish(1, &client(), &named("ann")).await;
            assert_eq!(allowed.unwrap(), Grant::default());
            // Nobody says what it would be called.
            let nameless = lax.pre_publish(1, &client(), &keyed("wk_1")).await;
            assert!(nameless.is_err());
            assert_eq!(lax.counts().unanswered.load(Ordering::Relaxed), 2);
            // One attempt each, and no redirect followed.
            let mut asked = 0;
            while got.try_recv().is_ok() {
                asked += 1;
            }
            assert_eq!(asked, 3);
        }
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let refused = webhook(nobody, OnTimeout::Deny);
        assert!(refused.pre_connect(1, &client()).await.is_err());
    });
}

#[test]
fn no_more_questions_are_out_than_there_are_places() {
    block_on(async {
        let (addr, mut got) = receiver(vec![Deed::Hang]).await;
        let mut settings = settings(addr, OnTimeout::Deny);
        settings.timeout = Duration::from_secs(600);
        let webhook = Arc::new(Webhook::new(&settings, Connector::new(None).unwrap()));
        let asked: Vec<_> = (0..MOST_QUESTIONS + 50)
            .map(|id| {
                let webhook = Arc::clone(&webhook);
                tokio::spawn(async move { webhook.pre_connect(id as u64, &client()).await })
            })
            .collect();
        for _ in 0..MOST_QUESTIONS {
            got.recv().await.unwrap();
        }
        assert_eq!(webhook.places.available_permits(), 0);
        assert!(got.try_recv().is_err());
        // Who does not wait any more gives its place to another.
        asked[0].abort();
        got.recv().await.unwrap();
        asked.iter().for_each(|asked| asked.abort());
    });
}

#[test]
fn events_arrive_in_order_and_again_after_a_failure() {
    block_on(async {
        let deeds = vec![Deed::Answer(500, String::new()), Deed::Close, ok("")];
        let (addr, mut got) = receiver(deeds).await;
        let webhook = webhook(addr, OnTimeout::Deny);
        for id in 1..=3 {
            webhook.tell(&published(id, "ann"));
        }
        let mut ids = Vec::new();
        while ids.last() != Some(&3) {
            ids.push(got.recv().await.unwrap().json()["id"].as_u64().unwrap());
        }
        // One was refused, one broke off; both came again before what follows them.
        assert_eq!(ids, [1, 1, 1, 2, 3]);
        webhook.drain().await;
        assert_eq!(webhook.counts().told.load(Ordering::Relaxed), 3);
        assert_eq!(webhook.waiting(), 0);
    });
}

#[test]
fn a_dead_receiver_holds_a_bounded_queue_and_nobody_up() {
    block_on(async {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let webhook = webhook(nobody, OnTimeout::Deny);
        for id in 0..5000 {
            webhook.tell(&published(id, &format!("s{}", id % 50)));
            if id % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        assert!(webhook.waiting() <= MOST_WAITING);
        let lost = webhook.counts().lost.load(Ordering::Relaxed);
        assert_eq!(lost as usize + webhook.waiting(), 5000);
    });
}

#[test]
fn only_what_was_chosen_is_asked_and_told() {
    block_on(async {
        let (addr, mut got) = receiver(vec![ok("{\"allow\":false}")]).await;
        let mut settings = settings(addr, OnTimeout::Deny);
        settings.events = vec![Kind::PrePublish];
        let bus = Bus::new(None, Some(&settings), &Connector::new(None).unwrap());
        let viewing = Viewing {
            stream: "ann".parse().unwrap(),
            query: Vec::new(),
        };
        bus.pre_play(&client(), &viewing).await.unwrap();
        bus.emit(Fact::PostConnect { client: client() });
        let denied = bus.pre_publish(&client(), &named("ann")).await;
        assert_eq!(denied.unwrap_err().reason(), "not allowed");
        assert_eq!(got.recv().await.unwrap().json()["type"], "prePublish");
        bus.drain().await;
        assert!(got.try_recv().is_err());
    });
}

#[test]
fn a_yes_without_a_name_names_no_stream() {
    block_on(async {
        let (addr, _got) = receiver(vec![ok("{\"allow\":true}")]).await;
        let settings = settings(addr, OnTimeout::Deny);
        let bus = Bus::new(None, Some(&settings), &Connector::new(None).unwrap());
        let denied = bus.pre_publish(&client(), &keyed("good-name")).await;
        assert_eq!(
            denied.unwrap_err().reason(),
            "the application named no stream"
        );
    });
}
