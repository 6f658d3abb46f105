//! Recordings are watched for the price of what is sent: by many at once, by those
//! who read slowly or never, and while the store is away.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use crate::harness::bucket::{BUCKET, Gate, Moto, Way};
use crate::harness::http::{self, Answer};
use crate::harness::ledger::Ledger;
use crate::harness::relays::publish;
use crate::harness::server::Server;
use crate::harness::show::Show;
use crate::harness::sources::{bundled_clip, small};
use crate::harness::tools::publish_for_ever;
use crate::harness::vods::{ANYBODY, BEST, Vod, kept_behind, recordings, until_closed};
use crate::harness::{SMALL_LADDER, until};

/// Of a server with segments of a second.
const FLAGS: [&str; 4] = ["--auth", "open", "--segment", "1"];

/// A finished recording in a bucket that nobody remembers as live.
struct Kept {
    _moto: Moto,
    /// In front of the bucket.
    ledger: Ledger,
    _gate: Gate,
    server: Server,
    id: u64,
    /// The tag of its first segment when that was live.
    live_tag: String,
}

impl Kept {
    fn new() -> Self {
        let moto = Moto::new();
        let ledger = Ledger::of(moto.address());
        let gate = Gate::to(&ledger.address(), Way::Open);
        let config = kept_behind(&gate, "merge = \"0s\"\n[hls]\nretain = \"1s\"");
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
        let mut publisher = publish(&server, &bundled_clip(), &[]);
        let show = Show::begin(&server, "demo");
        let first = show.rung(BEST).segments[0].number;
        let live = server.ask("HEAD", &format!("/demo/{BEST}/{first}.ts"), &[]);
        let live_tag = live.header("etag").expect("an ETag").to_owned();
        show.until_end(&server, "demo");
        assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
        let id = until_closed(&server);
        assert_eq!(id, first);
        until("the broadcast to be forgotten", || {
            (server.get("/demo/live.m3u8").status == 404).then_some(())
        });
        Self {
            _moto: moto,
            ledger,
            _gate: gate,
            server,
            id,
            live_tag,
        }
    }

    /// What is asked of the store for the first segment by one request.
    fn costs(&self, method: &str, headers: &[(&str, &str)]) -> (Answer, Vec<String>) {
        self.ledger.take("");
        let path = format!("/demo/{BEST}/{}.ts", self.id);
        let answer = self.server.ask(method, &path, headers);
        (answer, self.ledger.take(&path))
    }
}

/// A server that keeps recordings in a folder beside its data.
fn with_folder(record: &str) -> (Server, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("vods");
    let config = format!(
        "[record]\nstore = \"file://{}\"\n{record}\n{SMALL_LADDER}",
        store.display()
    );
    (Server::start_in(dir, &config, &FLAGS), store)
}

/// So many viewers at once; their answers.
fn crowd(server: &Server, count: usize, path: impl Fn(usize) -> String) -> Vec<Answer> {
    let viewers: Vec<JoinHandle<Answer>> = (0..count)
        .map(|index| {
            let (address, path) = (server.http.clone(), path(index));
            std::thread::spawn(move || http::get(&address, &path))
        })
        .collect();
    let answers = viewers.into_iter();
    answers
        .map(|viewer| viewer.join().expect("an answer"))
        .collect()
}

#[track_caller]
fn is_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    let again = answer.header("retry-after").expect("Retry-After");
    assert!(again.parse::<u64>().is_ok_and(|seconds| seconds > 0));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let sentence = "the store of recordings does not answer; try again in a while";
    assert_eq!(answer.text(), sentence);
}

#[test]
fn a_part_of_a_segment_costs_the_store_that_part_and_a_head_nothing_more() {
    let kept = Kept::new();
    let reads = |asked: &[String]| {
        let reads = asked.iter().filter(|line| line.starts_with("GET "));
        reads.cloned().collect::<Vec<_>>()
    };
    let (head, asked) = kept.costs("HEAD", &[]);
    assert_eq!(head.status, 200);
    assert!(
        asked.len() == 1 && asked[0].starts_with("HEAD "),
        "{asked:?}"
    );
    let tag = head.header("etag").expect("an ETag").to_owned();
    assert_eq!(tag, kept.live_tag, "the same segment");

    let none = [0_usize; 0];
    for headers in [
        vec![("If-None-Match", tag.as_str())],
        vec![("If-None-Match", "*"), ("Range", "bytes=0-1")],
    ] {
        let (same, asked) = kept.costs("GET", &headers);
        assert_eq!((same.status, same.body.len()), (304, 0));
        assert_eq!(same.header("etag"), Some(tag.as_str()));
        assert_eq!(reads(&asked).len(), none.len(), "{asked:?}");
    }

    let (whole, asked) = kept.costs("GET", &[]);
    assert_eq!(reads(&asked).len(), 1, "{asked:?}");
    let length = whole.body.len();
    assert_eq!(whole.header("etag"), Some(tag.as_str()));
    assert_eq!(
        head.header("content-length"),
        Some(length.to_string().as_str())
    );
    for (range, from, to) in [
        ("bytes=0-187".to_owned(), 0, 187),
        ("bytes=-188".to_owned(), length - 188, length - 1),
        (format!("bytes=188-{}", length * 3), 188, length - 1),
    ] {
        let (part, asked) = kept.costs("GET", &[("Range", &range), ("If-Range", &tag)]);
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.body, whole.body[from..=to], "{range}");
        let said = format!("bytes {from}-{to}/{length}");
        assert_eq!(part.header("content-range"), Some(said.as_str()));
        let read = reads(&asked);
        let fetched = format!(" bytes={from}-{to}");
        assert!(read.len() == 1 && read[0].ends_with(&fetched), "{asked:?}");
    }
    let beyond = format!("bytes={length}-");
    let (beyond, asked) = kept.costs("GET", &[("Range", &beyond)]);
    assert_eq!(beyond.status, 416);
    let said = format!("bytes */{length}");
    assert_eq!(beyond.header("content-range"), Some(said.as_str()));
    assert_eq!(reads(&asked).len(), 0, "{asked:?}");
    for headers in [
        vec![("Range", "bytes=0-1,5-6")],
        vec![("Range", "bytes=0-1"), ("If-Range", "\"another\"")],
    ] {
        let (all, _) = kept.costs("GET", &headers);
        assert_eq!(all.status, 200);
        assert!(all.body == whole.body);
    }
}

#[test]
fn a_crowd_that_asks_for_what_is_not_there_is_one_question() {
    let kept = Kept::new();
    let (server, id) = (&kept.server, kept.id);
    let others = [
        (format!("/demo/vod-{}.m3u8", id + 1), 404),
        (format!("/demo/vod-{}-master.m3u8", id + 1), 404),
        (format!("/demo/{BEST}/{}.ts", id + 1000), 404),
        (format!("/demo/vod-{id}.m3u8"), 200),
    ];
    for (path, status) in others {
        kept.ledger.take("");
        let answers = crowd(server, 200, |_| path.clone());
        assert!(answers.iter().all(|answer| answer.status == status));
        let asked = kept.ledger.take(&path);
        // Known for seconds, which a busy machine may take to answer them all.
        assert!(asked.len() <= 10, "{} of 200: {asked:?}", asked.len());
    }
    kept.ledger.take("");
    let answers = crowd(server, 200, |_| "/never/recordings.json".to_owned());
    assert!(answers.iter().all(|answer| answer.status == 200));
    let asked = kept.ledger.take("never");
    assert!(asked.len() <= 10, "{} of 200: {asked:?}", asked.len());
}

#[test]
fn a_live_players_old_and_early_questions_do_not_reach_the_store() {
    let moto = Moto::new();
    let ledger = Ledger::of(moto.address());
    let gate = Gate::to(&ledger.address(), Way::Open);
    let config = kept_behind(&gate, "merge = \"0s\"\n[hls]\nwindow = 3");
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
    let _publisher = publish_for_ever(&small(), &server.publish_url("demo"));
    let mut show = Show::begin(&server, "demo");
    let first = show.rung(BEST).segments[0].number;
    let other = format!("/demo/90p/{first}.ts");
    until(
        "the first segment of a rung that is not recorded to be gone",
        || {
            show.until_segment(&server, "demo", 1);
            (server.get(&other).status == 404).then_some(())
        },
    );
    ledger.take("");
    let last = show.rung(BEST).playlist.sequence + 3;
    for path in [
        other.clone(),
        format!("/demo/90p/{}.ts", last + 20),
        format!("/demo/{BEST}/{}.ts", last + 20),
        format!("/demo/another/{first}.ts"),
    ] {
        assert_eq!(server.get(&path).status, 404, "{path}");
        let asked = ledger.take(&path);
        assert!(asked.is_empty(), "{asked:?}");
    }
    // What is recorded is watched, from wherever it is, and so is what is older.
    let old = format!("/demo/{BEST}/{first}.ts");
    let again = server.get(&old);
    assert!(again.body == show.rung(BEST).segments[0].data);
    let before = format!("/demo/{BEST}/{}.ts", first - 1);
    assert_eq!(server.get(&before).status, 404);
    assert!(!ledger.take(&before).is_empty(), "it may be recorded");
}

#[test]
fn viewers_of_a_store_that_hangs_are_sent_away_and_served_when_it_answers() {
    let kept = Kept::new();
    let (server, id) = (&kept.server, kept.id);
    kept.ledger.be_silent(true);
    // More than may ask at once.
    let answers = crowd(server, 60, |index| match index % 3 {
        0 => format!("/demo/vod-{}.m3u8", id + index as u64),
        1 => format!("/demo/{BEST}/{}.ts", id + index as u64),
        _ => "/demo/recordings.json".to_owned(),
    });
    for answer in &answers {
        is_unavailable(answer);
    }
    let log = server.log();
    let told = log.lines().filter(|line| line.contains("cannot be read"));
    assert_eq!(told.count(), 1, "one line for all");
    kept.ledger.be_silent(false);
    until("recordings", || {
        let answer = server.get(&format!("/demo/vod-{id}.m3u8"));
        (answer.status == 200).then_some(())
    });
    server.logged(&["recordings can be read from the store again"]);
    let vod = until("the segments", || {
        let path = format!("/demo/{BEST}/{id}.ts");
        (server.get(&path).status == 200).then(|| Vod::from_server(server, id))
    });
    vod.is_finished();
}

#[test]
fn what_only_the_spool_has_is_served_alike_and_is_the_backlog_of_its_stream() {
    let moto = Moto::new();
    let gate = Gate::to(moto.address(), Way::Down);
    let dir = tempfile::tempdir().expect("a directory");
    let config = kept_behind(&gate, "merge = \"0s\"\n[hls]\nretain = \"1s\"");
    let server = Server::launch(dir, &config, &FLAGS, ANYBODY);
    for _ in 0..2 {
        let mut publisher = publish(&server, &bundled_clip(), &[]);
        assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    }
    until("the backlog of both", || {
        let all = recordings(&server);
        let backlog = |one: &serde_json::Value| one["backlog_ms"].as_u64().unwrap_or_default();
        let backlogs: Vec<u64> = all.iter().map(backlog).collect();
        let name = "weir_record_backlog_seconds{stream=\"demo\"}";
        let told = server.metric(name)?;
        let both = backlogs.len() == 2 && backlogs.iter().all(|one| *one > 3000);
        let sum = backlogs.iter().sum::<u64>() as f64 / 1000.0;
        (both && (told - sum).abs() < 0.01).then_some(())
    });
    until("the broadcasts to be forgotten", || {
        (server.get("/demo/live.m3u8").status == 404).then_some(())
    });
    for recording in recordings(&server) {
        let id = recording["id"].as_u64().expect("an id");
        let path = format!("/demo/{BEST}/{id}.ts");
        let whole = server.get(&path);
        assert_eq!(whole.status, 200, "{}", whole.text());
        let length = whole.body.len();
        let tag = format!("\"{id:x}-{length:x}\"");
        assert_eq!(whole.header("etag"), Some(tag.as_str()));
        let head = server.ask("HEAD", &path, &[]);
        let said = length.to_string();
        assert_eq!(head.header("content-length"), Some(said.as_str()));
        let same = server.ask("GET", &path, &[("If-None-Match", &tag)]);
        assert_eq!(same.status, 304);
        let part = server.ask("GET", &path, &[("Range", "bytes=188-375")]);
        assert_eq!(part.status, 206);
        assert_eq!(part.body, whole.body[188..376]);
    }
    // Of this one the disk knows nothing.
    is_unavailable(&server.get(&format!("/demo/{BEST}/5.ts")));
}

/// A viewer who asks for a segment and reads nothing of it.
fn idle(server: &Server, path: &str) -> TcpStream {
    let mut viewer = TcpStream::connect(&server.http).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
    viewer.write_all(request.as_bytes()).expect("a request");
    viewer
}

#[test]
fn viewers_who_read_nothing_hold_so_much_memory_and_no_more() {
    const LARGE: u64 = 24 << 20;
    let (server, store) = with_folder("merge = \"0s\"");
    let rung = store.join("demo").join("720p");
    std::fs::create_dir_all(&rung).expect("a folder");
    for number in 1..=16 {
        let segment = File::create(rung.join(format!("{number}.ts"))).expect("a file");
        segment.set_len(LARGE).expect("its length");
    }
    std::fs::write(rung.join("99.ts"), "a short one").expect("a file");
    let before = server.resident();
    let mut viewers: Vec<TcpStream> = (1..=16)
        .map(|number| idle(&server, &format!("/demo/720p/{number}.ts")))
        .collect();
    // Each has an answer in the end: some the segment, which they do not read, and the
    // others that there is no room for it.
    let mut served = 0;
    for viewer in &mut viewers {
        let mut head = [0; 12];
        viewer.read_exact(&mut head).expect("an answer");
        match &head {
            b"HTTP/1.1 200" => served += 1,
            head => assert_eq!(head, b"HTTP/1.1 503"),
        }
    }
    let more = server.resident().saturating_sub(before);
    assert!((1..=4).contains(&served), "{served} served");
    assert!(more < 7 * LARGE, "{more} bytes for 16 viewers");
    // Others are served, and in the end also those who want much.
    until("a short segment", || {
        let answer = server.get("/demo/720p/99.ts");
        (answer.status == 200).then(|| assert_eq!(answer.text(), "a short one"))
    });
    until("room for a large one", || {
        let answer = server.get("/demo/720p/1.ts");
        (answer.status == 200).then(|| assert_eq!(answer.body.len() as u64, LARGE))
    });
    drop(viewers);
}

/// Paths below the stream's name, and whole ones, none of which is a recording's.
fn odd_paths(id: u64) -> Vec<Vec<u8>> {
    let long = "a".repeat(5000);
    let mut paths: Vec<Vec<u8>> = [
        format!("/demo/vod-0{id}.m3u8"),
        "/demo/vod-00123.m3u8".to_owned(),
        "/demo/vod-18446744073709551616.m3u8".to_owned(),
        "/demo/vod-18446744073709551615.m3u8".to_owned(),
        format!("/demo/vod-{id}.m3u8/"),
        format!("/demo/vod-{id}.m3u8%00"),
        format!("/demo/vod-{id}%2em3u8"),
        format!("/demo/vod-{id}-master-master.m3u8"),
        format!("/demo/./vod-{id}.m3u8"),
        format!("//demo/vod-{id}.m3u8"),
        format!("/demo//vod-{id}.m3u8"),
        format!("/demo/../demo/vod-{id}.m3u8"),
        format!("/%64emo/vod-{id}.m3u8"),
        format!("/demo%2Fvod-{id}.m3u8"),
        format!("/demo/../beside/180p/{id}.ts"),
        format!("/demo/../{id}.ts"),
        format!("/demo/./{id}.ts"),
        format!("/demo/%2e%2e/{id}.ts"),
        format!("/demo/..%2f..%2fbeside%2f180p/{id}.ts"),
        format!("/demo/180p%2F..%2F180p/{id}.ts"),
        format!("/demo/180p/0{id}.ts"),
        format!("/demo/180p/{id}.ts%00"),
        "/demo/180p/18446744073709551616.ts".to_owned(),
        format!("/demo/180p\\..\\180p/{id}.ts"),
        "/.weir/tmp/1.ts".to_owned(),
        format!("/.weir/open/demo/{id}"),
        format!("/demo/.weir/{id}.ts"),
        format!("/demo/{long}/{id}.ts"),
        format!("/demo/{}/{id}.ts", "a".repeat(201)),
        format!("/{long}/vod-{id}.m3u8"),
        format!("/{long}/recordings.json"),
        format!("/demo/vod-{long}.m3u8"),
        format!("/demo/180p/{}.ts", "9".repeat(5000)),
        "/../recordings.json".to_owned(),
        "/demo%2f..%2f/recordings.json".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    paths.push(b"/demo/vod-1\0.m3u8".to_vec());
    paths.push(b"/demo/180p\0/1.ts".to_vec());
    paths.push(b"/demo/180p/\xff\xfe/1.ts".to_vec());
    paths
}

/// Asks for all of them, as they are.
#[track_caller]
fn finds_nothing(server: &Server, id: u64) {
    for path in odd_paths(id) {
        for method in ["GET", "HEAD"] {
            let mut request = format!("{method} ").into_bytes();
            request.extend_from_slice(&path);
            request.extend_from_slice(b" HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
            let answer = http::raw(&server.http, &request);
            let shown = String::from_utf8_lossy(&path[..path.len().min(80)]).into_owned();
            let answer = http::parse(&answer).unwrap_or_else(|| panic!("no answer: {shown}"));
            assert!(
                matches!(answer.status, 400 | 404 | 414),
                "{method} {shown}: {}",
                answer.status
            );
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(
                !said.contains("EXTINF") && !said.contains("a secret"),
                "{shown}"
            );
        }
    }
}

#[test]
fn odd_names_ids_and_rungs_ask_a_bucket_for_nothing_else() {
    let kept = Kept::new();
    let (server, id) = (&kept.server, kept.id);
    kept.ledger.take("");
    finds_nothing(server, id);
    let asked = kept.ledger.take("/");
    let asked: BTreeSet<&str> = asked
        .iter()
        .filter_map(|line| line.split(' ').nth(1))
        .filter_map(|path| path.strip_prefix(&format!("/{BUCKET}/live/")))
        .filter(|key| !key.starts_with(".weir/open/"))
        .collect();
    // What may be called so, and does not leave the stream's folder.
    let valid = [
        format!("demo/.weir/{id}.ts"),
        "demo/vod-18446744073709551615.m3u8?x-id=GetObject".to_owned(),
    ];
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), valid);
    Vod::from_server(server, id).is_finished();
}

#[test]
fn odd_names_ids_and_rungs_do_not_leave_a_folder() {
    let (server, store) = with_folder("merge = \"0s\"");
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let id = until_closed(&server);
    let beside = store.with_file_name("beside").join("180p");
    std::fs::create_dir_all(&beside).expect("a folder");
    let traps = [
        beside.join(format!("{id}.ts")),
        store.join(format!("{id}.ts")),
        store.join(format!("demo/{id}.ts")),
        store.join(".weir/tmp/1.ts"),
    ];
    for trap in &traps {
        std::fs::write(trap, "a secret").expect("a file");
    }
    finds_nothing(&server, id);
    Vod::from_server(&server, id).is_finished();
}
