//! Who is sent to, who must not be, and what stays secret.

use std::net::TcpListener;

use crate::harness::certificates::Authority;
use crate::harness::destinations::Stunnel;
use crate::harness::relays::{
    ALLOWED, NO_LADDER, Source, figure, publish, state, target, until_state,
};
use crate::harness::server::{Server, weir};
use crate::harness::sources::{bundled_clip, small};
use crate::harness::tools::Running;
use crate::harness::witness::{Manner, Witness};
use crate::harness::{http, until};

#[test]
fn no_address_inside_is_connected_to_whatever_it_is_written_as() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket option");
    let port = listener.local_addr().expect("an address").port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "10.11.12.13",
        "192.168.1.1",
        "169.254.170.2",
        "100.64.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:aa02]",
        "[fd00:ec2::254]",
        "127.1",
        "2130706433",
    ];
    let name = |index: usize| format!("t{index}");
    let targets = hosts
        .iter()
        .enumerate()
        .map(|(index, host)| target(&name(index), &format!("rtmp://{host}:{port}/app"), "key"));
    let config = NO_LADDER.to_owned() + &targets.collect::<String>();
    let server = Server::configured(&config);
    let _publisher = publish(&server, &small(), &["--loop"]);
    for (index, host) in hosts.iter().enumerate() {
        until(&format!("{host} to be refused"), || {
            (state(&server, &name(index))? == "refused").then_some(())
        });
        assert_eq!(figure(&server, "weir_relay_up", &name(index)), Some(0.0));
    }
    server.logged(&["t0", "relay.allow_private"]);
    let none = listener.accept().expect_err("a connection was made");
    assert_eq!(none.kind(), std::io::ErrorKind::WouldBlock);
}

/// The stream `demo` with a query behind its name.
fn publish_with(server: &Server, query: &str) -> Running {
    let mut command = weir();
    command.arg("publish").arg(bundled_clip());
    let url = server.publish_url(&format!("demo?{query}"));
    Running::start(command.arg(url).arg("--loop"))
}

#[test]
fn publishers_name_presets_and_bring_their_keys() {
    let (youtube, twitch, own) = (
        Witness::new(Manner::Takes),
        Witness::new(Manner::Takes),
        Witness::new(Manner::Takes),
    );
    let preset =
        |name: &str, url: String| format!("[[relay.target]]\nname = {name:?}\nurl = {url:?}\n");
    let server = Server::configured(
        &[
            NO_LADDER,
            ALLOWED,
            &preset("youtube", youtube.url()),
            &preset("twitch", twitch.url()),
            &target("own", &own.url(), "own-key"),
            &(target("other", &own.url(), "of-another") + "stream = \"another\"\n"),
        ]
        .concat(),
    );
    let _publisher = publish_with(&server, "youtube=yt-key&youtube_backup=1&twitch=tw-key");
    for (witness, key) in [
        (&youtube, "yt-key?backup=1"),
        (&twitch, "tw-key"),
        (&own, "own-key"),
    ] {
        let session = witness.until("units", |session| session.units().count() > 20);
        assert_eq!((&session.app[..], &session.key[..]), ("app", key));
        Source::of(&bundled_clip()).whole(&session);
    }
    assert_eq!(own.sessions().len(), 1, "the other stream's target");
    for target in ["youtube", "twitch", "own"] {
        until_state(&server, target, "live");
    }
    for target in ["other", "facebook", "x", "kick"] {
        assert_eq!(state(&server, target), None, "{target}");
    }
}

#[test]
fn a_preset_without_a_key_is_refused_and_the_stream_goes_on() {
    let own = Witness::new(Manner::Takes);
    let relay = target("own", &own.url(), "key");
    let server = Server::configured(&[NO_LADDER, ALLOWED, &relay].concat());
    let mut publisher = publish_with(&server, "youtube=");
    until_state(&server, "youtube", "refused");
    assert_eq!(figure(&server, "weir_relay_up", "youtube"), Some(0.0));
    until_state(&server, "own", "live");
    let session = own.until("units", |session| session.units().count() > 50);
    Source::of(&bundled_clip()).whole(&session);
    assert!(publisher.is_running(), "{}", publisher.said());
}

#[test]
fn no_key_is_in_the_log_in_metrics_or_in_any_file() {
    // Destinations that fail in many ways, one of them telling the key.
    let (well, refuses, resets) = (
        Witness::new(Manner::Takes),
        Witness::new(Manner::Refuses),
        Witness::new(Manner::Resets(std::time::Duration::from_millis(500))),
    );
    let mut closed = Witness::new(Manner::Takes);
    closed.close();
    let preset = format!(
        "[[relay.target]]\nname = \"youtube\"\nurl = {:?}\n",
        well.url()
    );
    let in_url = format!(
        "[[relay.target]]\nname = \"in-url\"\nurl = \"{}/sesame-in-url?token=sesame-token\"\n",
        well.url()
    );
    let server = Server::talkative(
        &[
            NO_LADDER,
            ALLOWED,
            &preset,
            &in_url,
            &target("refuses", &refuses.url(), "sesame-refused"),
            &target("resets", &resets.url(), "sesame-reset"),
            &target("closed", &closed.url(), "sesame-closed"),
            &target(
                "no-tls",
                &well.url().replace("rtmp:", "rtmps:"),
                "sesame-tls",
            ),
            &target("no-host", "rtmp://nowhere.invalid/app", "sesame-nowhere"),
        ]
        .concat(),
    );
    let mut publisher = publish_with(&server, "youtube=sesame-youtube&youtube_a=sesame-param");
    for (target, wanted) in [
        ("youtube", "live"),
        ("in-url", "live"),
        ("refuses", "refused"),
        ("closed", "retrying"),
        ("no-host", "retrying"),
    ] {
        until_state(&server, target, wanted);
    }
    until("resets to have been seen", || {
        (resets.sessions().len() > 1).then_some(())
    });
    until("no TLS to have been seen", || {
        let state = state(&server, "no-tls")?;
        ["refused", "retrying"].contains(&&*state).then_some(())
    });
    let pages = [
        "/metrics",
        "/api/v1/streams",
        "/api/v1/streams/demo",
        "/readyz",
        "/",
        "/demo",
        "/nothing",
    ];
    let mut all: Vec<_> = pages
        .iter()
        .map(|page| String::from_utf8_lossy(&server.get(page).body).into_owned())
        .collect();
    publisher.signal("INT");
    publisher.ended();
    until("the goodbye", || {
        well.sessions()
            .iter()
            .all(|session| session.is_over)
            .then_some(())
    });
    let keys: Vec<_> = well
        .sessions()
        .into_iter()
        .map(|session| session.key)
        .collect();
    assert!(
        keys.contains(&"sesame-youtube?a=sesame-param".to_owned()),
        "{keys:?}"
    );
    assert!(
        keys.contains(&"sesame-in-url?token=sesame-token".to_owned()),
        "{keys:?}"
    );
    all.extend([server.log(), server.output()]);
    let files = server.files();
    all.extend(
        files
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok()),
    );
    for text in all {
        let line = text.lines().find(|line| line.contains("sesame"));
        assert_eq!(line, None);
    }
}

#[test]
fn a_right_certificate_is_believed_a_wrong_host_and_an_expired_one_are_refused() {
    let witness = Witness::new(Manner::Takes);
    let authority = Authority::new("a CA of tests");
    let front = |pair| Stunnel::start(&witness.address(), &pair, "");
    let right = front(authority.issue("right", &["localhost"]));
    let elsewhere = front(authority.issue("elsewhere", &["other.example"]));
    let expired = front(authority.issue_until("expired", &["localhost"], 2021));
    let to = |name: &str, stunnel: &Stunnel| {
        let url = format!("rtmps://localhost:{}/app", stunnel.port);
        target(name, &url, &format!("{name}-key"))
    };
    let server = Server::configured(
        &[
            NO_LADDER,
            ALLOWED,
            &format!("ca = {:?}\n", authority.file()),
            &to("right", &right),
            &to("elsewhere", &elsewhere),
            &to("expired", &expired),
        ]
        .concat(),
    );
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    for (target, words) in [
        ("elsewhere", "for other.example, not for localhost"),
        ("expired", "expired on 2021-01-01"),
    ] {
        until_state(&server, target, "refused");
        assert_eq!(figure(&server, "weir_relay_up", target), Some(0.0));
        server.logged(&[target, words]);
    }
    until_state(&server, "right", "live");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let session = witness.until("the end of the session", |session| session.is_over);
    assert!(session.ended_well(), "{:?}", session.commands);
    let source = Source::of(&bundled_clip());
    assert_eq!(source.whole(&session), source.len());
    let keys: Vec<_> = witness
        .sessions()
        .into_iter()
        .map(|session| session.key)
        .collect();
    assert_eq!(keys, ["right-key"]);
}

#[test]
fn the_api_tells_this_machine_alone_what_targets_are_doing() {
    let (well, refuses) = (Witness::new(Manner::Takes), Witness::new(Manner::Refuses));
    let server = Server::configured(
        &[
            NO_LADDER,
            ALLOWED,
            &target("well", &well.url(), "a-key"),
            &target("refuses", &refuses.url(), "a-key"),
        ]
        .concat(),
    );
    let _publisher = publish(&server, &small(), &["--loop"]);
    until_state(&server, "well", "live");
    until_state(&server, "refuses", "refused");
    let answer = server.get("/api/v1/streams/demo");
    assert_eq!(answer.status, 200);
    let stream: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let [live, refused] = &stream["relays"].as_array().expect("relays")[..] else {
        panic!("{stream}")
    };
    assert_eq!(live["target"], "well");
    assert_eq!(live["state"], "live");
    assert_eq!(live["url"], well.url() + "/***");
    assert_eq!(live["error"], serde_json::Value::Null);
    assert_eq!(refused["state"], "refused");
    let error = refused["error"].as_str().expect("a reason");
    assert!(error.contains("NetStream.Publish.BadName"), "{error}");
    let wait = refused["next_try_ms"].as_u64().expect("the next try");
    assert!(wait <= 30_000, "{wait}");

    let ask = |headers: &str| {
        let request = format!("GET /api/v1/streams HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let answer = http::raw(&server.http, request.as_bytes());
        http::parse(&answer).expect("an answer").status
    };
    assert_eq!(ask("Host: localhost\r\n"), 200);
    for other in [
        "Host: weir.example\r\n",
        "Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n",
        "Host: localhost\r\nForwarded: for=127.0.0.1\r\n",
        "Host: localhost\r\nOrigin: http://localhost\r\n",
    ] {
        assert_eq!(ask(other), 403, "{other}");
    }
}
