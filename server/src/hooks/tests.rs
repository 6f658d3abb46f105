//! The examples of the documentation are what is really sent.

use super::*;
use crate::name::StreamName;

fn facts() -> Vec<Fact> {
    let client = || {
        let peer = "203.0.113.7:50123".parse().unwrap();
        let mut client = Client::new(peer, Protocol::Rtmp, "stream", "OBS");
        client.connection = event::known("3k9w0c7hzq2m");
        client
    };
    let stream = || -> StreamName { "ann".parse().unwrap() };
    let session = 1_790_000_000_120;
    let done = |reason: &str| Done {
        duration_ms: 61_000,
        bytes: 30_500_000,
        reason: reason.to_owned(),
    };
    vec![
        Fact::PostConnect { client: client() },
        Fact::DoneConnect {
            client: client(),
            done: done("closed"),
        },
        Fact::PostPublish {
            client: client(),
            stream: stream(),
            session,
        },
        Fact::DonePublish {
            client: client(),
            stream: stream(),
            session,
            done: done("unpublished"),
        },
        Fact::PostPlay {
            client: client(),
            stream: stream(),
        },
        Fact::DonePlay {
            client: client(),
            stream: stream(),
            done: done("the stream ended"),
        },
        Fact::StreamHealth {
            stream: stream(),
            session,
            finding: Finding {
                problem: Trouble::BitRateStarved,
                present: true,
                measured: 900_000.0,
                expected: 4_000_000.0,
            },
        },
        Fact::RelayState {
            stream: stream(),
            target: "youtube".to_owned(),
            state: "retrying",
            attempt: 1,
            error: Some("cannot be reached: Connection refused".to_owned()),
        },
        Fact::RecordingClosed {
            stream: stream(),
            recording: session,
            segments: 300,
            duration_ms: 1_800_000,
            bytes: 675_000_000,
            lost_segments: 0,
        },
        Fact::PreConnect {
            client: client(),
            verdict: Verdict::allowed(),
        },
        Fact::PrePublish {
            client: client(),
            stream: None,
            verdict: Verdict::denied("the stream key is not known here"),
        },
        Fact::PrePlay {
            client: client(),
            stream: stream(),
            verdict: Verdict::allowed(),
        },
    ]
}

#[test]
fn every_example_of_the_documentation_is_what_is_sent() {
    const DOCS: &str = include_str!("../../../docs/hooks.md");
    let examples: Vec<&str> = DOCS
        .lines()
        .filter(|line| line.starts_with("{\"id\""))
        .collect();
    let facts = facts();
    assert_eq!(examples.len(), facts.len());
    assert_eq!(facts.len(), Kind::ALL.len(), "each kind has an example");
    for (index, (example, fact)) in examples.into_iter().zip(facts).enumerate() {
        let event = Event {
            id: 1_790_000_000_000_001 + index as u64,
            time: 1_790_000_000_123,
            fact,
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, example);
        assert!(json.contains(&format!("\"type\":\"{}\"", event.fact.kind().name())));
    }
    for (name, _) in Kind::ALL {
        assert!(DOCS.contains(&format!("{name}\"")), "{name}");
    }
}

/// An embedder that refuses everything and remembers what it heard.
#[derive(Default)]
struct Strict(std::sync::Mutex<Vec<Kind>>);

impl Hooks for Strict {
    fn pre_publish<'a>(
        &'a self,
        _: &'a Client,
        publication: &'a Publication,
    ) -> BoxFuture<'a, Result<Grant, Denied>> {
        let name = publication.key.as_ref().map(|key| key.reveal());
        ready(match name {
            Some("good") => Ok(Grant {
                name: "ann".parse().ok(),
                ..Grant::default()
            }),
            _ => Err(Denied::new("not today")),
        })
        .boxed()
    }

    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.fact.kind());
    }
}

#[test]
fn an_embedder_decides_and_hears() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let strict = std::sync::Arc::new(Strict::default());
    let hooks: std::sync::Arc<dyn Hooks> = strict.clone();
    let tls = crate::tls::Connector::new(None).unwrap();
    let bus = Bus::new(Some(hooks), None, &tls);
    let client = Client::new("[::1]:1".parse().unwrap(), Protocol::Rtmp, "stream", "");
    let keyed = |key: &str| Publication {
        stream: None,
        key: Some(Secret::new(key)),
        query: Vec::new(),
    };
    runtime.block_on(async {
        assert!(bus.judges_connects());
        bus.pre_connect(&client).await.unwrap();
        let grant = bus.pre_publish(&client, &keyed("good")).await.unwrap();
        assert_eq!(grant.name.unwrap().as_str(), "ann");
        let denied = bus.pre_publish(&client, &keyed("bad")).await.unwrap_err();
        assert_eq!(denied.reason(), "not today");
        bus.refused(&client, None, denied.reason());
    });
    let heard = strict.0.lock().unwrap().clone();
    assert_eq!(
        heard,
        [Kind::PreConnect, Kind::PrePublish, Kind::PrePublish]
    );
}

#[test]
fn a_server_without_hooks_lets_everybody_in() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let bus = Bus::new(None, None, &crate::tls::Connector::new(None).unwrap());
    assert!(!bus.judges_connects());
    let client = Client::new("[::1]:1".parse().unwrap(), Protocol::Rtmp, "stream", "");
    let known = Publication {
        stream: "ann".parse().ok(),
        key: None,
        query: Vec::new(),
    };
    let granted = runtime.block_on(bus.pre_publish(&client, &known));
    assert_eq!(granted.unwrap(), Grant::default());
}
