//! What only a bucket can do wrong: against s3s-fs where it can be had to, against
//! a server that answers as it is told where not.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use aws_sdk_s3::config::Credentials;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::record::store::FaultKind;

/// An S3 server with one bucket, which lets [`Credentials::for_tests`] in.
pub(in crate::record::store) struct Server {
    folder: TempDir,
    endpoint: String,
    task: JoinHandle<()>,
}

impl Server {
    pub(in crate::record::store) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let all = s3s_fs::FileSystem::new(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(all);
        let keys = Credentials::for_tests();
        let (id, secret) = (keys.access_key_id(), keys.secret_access_key());
        service.set_auth(SimpleAuth::from_single(id, secret));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(socket), service));
            }
        });
        Self {
            folder,
            endpoint,
            task,
        }
    }

    /// The folder that the bucket is.
    pub(in crate::record::store) fn bucket(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    pub(in crate::record::store) async fn store(&self, prefix: &str) -> Result<S3, Fault> {
        store((BUCKET, prefix), &self.endpoint, Credentials::for_tests()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn store(place: (&str, &str), endpoint: &str, credentials: Credentials) -> Result<S3, Fault> {
    let settings = settings(place.0, endpoint);
    let loader = aws_config::defaults(BehaviorVersion::latest()).credentials_provider(credentials);
    S3::load(place, &settings, loader, Patience::default()).await
}

fn settings(bucket: &str, endpoint: &str) -> Settings {
    Settings {
        url: format!("s3://{bucket}").parse().unwrap(),
        endpoint: Some(endpoint.parse().unwrap()),
        region: None,
        path_style: true,
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn facts() -> Facts {
    Facts {
        content_type: "video/MP2T",
        cache_control: "max-age=31536000",
        meta: Meta::default(),
    }
}

#[tokio::test]
async fn what_browsers_need_is_kept_with_the_object() {
    let server = Server::start().await;
    let store = server.store("vods").await.unwrap();
    store
        .put(&key("live/1.ts"), "x".into(), &facts())
        .await
        .unwrap();
    let head = store
        .client
        .head_object()
        .bucket(BUCKET)
        .key("vods/live/1.ts");
    let head = head.send().await.unwrap();
    assert_eq!(head.content_type(), Some("video/MP2T"));
    assert_eq!(head.cache_control(), Some("max-age=31536000"));
    assert!(server.bucket().join("vods/live/1.ts").is_file());
}

#[tokio::test]
async fn other_credentials_are_refused_without_telling_them() {
    let server = Server::start().await;
    let known = Credentials::for_tests();
    for (id, code) in [
        (known.access_key_id(), "SignatureDoesNotMatch"),
        ("ANOTHER", "NotSignedUp"),
    ] {
        let credentials = Credentials::new(id, "hunter2", None, None, "test");
        let store = store((BUCKET, ""), &server.endpoint, credentials)
            .await
            .unwrap();
        let faults = [
            store
                .put(&key("a"), "x".into(), &facts())
                .await
                .unwrap_err(),
            store.get(&key("a"), None).await.unwrap_err(),
            store.list("", None, 1).await.unwrap_err(),
            store.delete(&key("a")).await.unwrap_err(),
            store.head(&key("a")).await.unwrap_err(),
        ];
        for fault in &faults {
            assert_eq!(fault.kind, FaultKind::Refused, "{fault}");
            assert!(fault.why.contains(&server.endpoint), "{fault}");
            assert!(!fault.why.contains("hunter2"), "{fault}");
        }
        // What was asked by HEAD is answered without words.
        for fault in &faults[..4] {
            assert!(fault.why.contains(code), "{fault}");
            assert!(fault.why.contains("AWS_ACCESS_KEY_ID"), "{fault}");
        }
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_by_name() {
    let server = Server::start().await;
    let credentials = Credentials::for_tests();
    let store = store(("nobodys", "vods"), &server.endpoint, credentials)
        .await
        .unwrap();
    let faults = [
        store.head(&key("a")).await.unwrap_err(),
        store.list("", None, 1).await.unwrap_err(),
        store.list_folders("", None, 1).await.unwrap_err(),
    ];
    for fault in faults {
        assert_eq!(fault.kind, FaultKind::Refused, "{fault}");
        assert!(fault.why.contains("a bucket nobodys"), "{fault}");
    }
}

/// Where the SDK looks for credentials, each in a process of its own: they are
/// found by the environment. This test is its own child.
#[test]
fn credentials_come_from_wherever_the_sdk_finds_them() {
    if let Ok(endpoint) = std::env::var(CHILD) {
        return block_on(child(endpoint));
    }
    let keys = Credentials::for_tests();
    let (id, secret) = (keys.access_key_id(), keys.secret_access_key());
    let json = format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{id}","SecretAccessKey":"{secret}","Token":"t","Expiration":"2099-01-01T00:00:00Z"}}"#
    );
    block_on(async {
        let server = Server::start().await;
        let metadata = Scripted::start(move |request| {
            Answer::ok(match request {
                "PUT /latest/api/token" => "token",
                "GET /latest/meta-data/iam/security-credentials/"
                | "GET /latest/meta-data/iam/security-credentials" => "role",
                "GET /latest/meta-data/iam/security-credentials/role" | "GET /task" => &json,
                "GET /broken" => &json[..json.len() - 70],
                _ => return Answer::status(404, ""),
            })
            .with("x-aws-ec2-metadata-token-ttl-seconds: 600")
        })
        .await;
        let profile = server.folder.path().join("credentials");
        let keys = format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n");
        std::fs::write(&profile, keys).unwrap();
        let profile = profile.to_str().unwrap();
        let said = server.folder.path().join("said.json");
        let keys = format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"{secret}"}}"#);
        std::fs::write(&said, keys).unwrap();
        let program = server.folder.path().join("config");
        let config = format!("[default]\ncredential_process = cat {}\n", said.display());
        std::fs::write(&program, config).unwrap();
        let program = program.to_str().unwrap();
        let task = format!("{}/task", metadata.endpoint);
        let no_machine = ("AWS_EC2_METADATA_DISABLED", "true");
        let broken = format!("{}/broken", metadata.endpoint);
        let (put, refused) = ("a child has put", "a child was refused: there are no");
        let ways: [(&[(&str, &str)], &str); 7] = [
            (
                &[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)],
                put,
            ),
            (&[("AWS_SHARED_CREDENTIALS_FILE", profile), no_machine], put),
            (&[("AWS_CONFIG_FILE", program), no_machine], put),
            (
                &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &task), no_machine],
                put,
            ),
            (
                &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.endpoint)],
                put,
            ),
            (&[no_machine], refused),
            (
                &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &broken), no_machine],
                "a child has to ask again: the credentials cannot be had",
            ),
        ];
        for (way, expected) in ways {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child
                .args([
                    "--exact",
                    "--nocapture",
                    "record::store::s3::tests::credentials_come_from_wherever_the_sdk_finds_them",
                ])
                .env_clear()
                .env("HOME", server.folder.path())
                .env(CHILD, &server.endpoint)
                .envs(way.iter().copied());
            let done = tokio::task::spawn_blocking(move || child.output().unwrap());
            let done = done.await.unwrap();
            let said = String::from_utf8_lossy(&done.stdout);
            let said = format!("{said}{}", String::from_utf8_lossy(&done.stderr));
            assert!(done.status.success(), "{way:?}: {said}");
            assert!(said.contains(expected), "{way:?}: {said}");
            assert!(!said.contains(secret), "{way:?}: {said}");
        }
    });
}

async fn child(endpoint: String) {
    let store = S3::open((BUCKET, ""), &settings(BUCKET, &endpoint))
        .await
        .unwrap();
    let put = store.put(&key("child"), "x".into(), &facts()).await;
    let object = format!("put s3://{BUCKET}/child at {endpoint}: ");
    match put.map_err(|fault| (fault.kind, fault.why.replace(&object, ""))) {
        Ok(()) => println!("a child has put"),
        Err((FaultKind::Refused, why)) => println!("a child was refused: {why}"),
        Err((FaultKind::Passing, why)) => println!("a child has to ask again: {why}"),
        Err((FaultKind::Full, why)) => panic!("{why}"),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(future)
}

/// A server that answers as it is told.
struct Scripted {
    endpoint: String,
    task: JoinHandle<()>,
}

enum Answer {
    /// All there is of an answer, then the connection closes.
    Text(String),
    /// A beginning, then nothing, with the connection open.
    Part(String),
    /// The same, before the body of the request has come.
    Early(String),
    /// A byte again and again behind a beginning.
    Drops(String),
    /// A beginning, then the connection is reset.
    Reset(String),
    /// The body of the request is not read, and nothing is answered.
    Deaf,
}

impl Answer {
    fn status(status: u16, body: &str) -> Self {
        let length = body.len();
        Self::Text(format!(
            "HTTP/1.1 {status} It\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    fn ok(body: &str) -> Self {
        Self::status(200, body)
    }

    /// As S3 refuses.
    fn refusal(status: u16, code: &str) -> Self {
        let message = "words about it";
        Self::status(
            status,
            &format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"),
        )
    }

    fn with(self, header: &str) -> Self {
        match self {
            Self::Text(text) => Self::Text(text.replacen("\r\n", &format!("\r\n{header}\r\n"), 1)),
            other => other,
        }
    }
}

impl Scripted {
    /// `answer` is asked with the method and the path of each request.
    async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move { Self::serve(socket, &*answer).await });
            }
        });
        Self { endpoint, task }
    }

    async fn serve(mut socket: TcpStream, answer: &(dyn Fn(&str) -> Answer + Send + Sync)) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let (line, headers) = head.split_once(" HTTP/1.1\r\n").unwrap();
        let length = headers
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let (path, _) = line.split_once('?').unwrap_or((line, ""));
        let answer = answer(path);
        if !matches!(answer, Answer::Deaf | Answer::Early(_)) {
            let mut body = vec![0; length];
            let _ = socket.read_exact(&mut body).await;
        }
        let (Answer::Text(text)
        | Answer::Part(text)
        | Answer::Early(text)
        | Answer::Drops(text)
        | Answer::Reset(text)) = &answer
        else {
            return std::future::pending().await;
        };
        let _ = socket.write_all(text.as_bytes()).await;
        match answer {
            Answer::Part(_) | Answer::Early(_) => std::future::pending().await,
            Answer::Drops(_) => {
                while socket.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Answer::Reset(_) => socket.set_zero_linger().unwrap(),
            Answer::Text(_) | Answer::Deaf => {}
        }
    }

    async fn store(&self) -> S3 {
        at(&self.endpoint, true, Patience::default()).await
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn at(endpoint: &str, path_style: bool, patience: Patience) -> S3 {
    let settings = Settings {
        path_style,
        ..settings(BUCKET, endpoint)
    };
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .credentials_provider(Credentials::for_tests());
    S3::load((BUCKET, "vods"), &settings, loader, patience)
        .await
        .unwrap()
}

/// What a put comes to where every request is answered so.
async fn put_to(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Result<(), Fault> {
    put_in(Patience::default(), answer).await
}

async fn put_in(
    patience: Patience,
    answer: impl Fn() -> Answer + Send + Sync + 'static,
) -> Result<(), Fault> {
    let server = Scripted::start(move |_| answer()).await;
    let store = at(&server.endpoint, true, patience).await;
    // More than any socket's buffers hold.
    store
        .put(&key("live/1.ts"), vec![7; 20 << 20].into(), &facts())
        .await
}

async fn get_from(
    answer: impl Fn() -> Answer + Send + Sync + 'static,
) -> Result<Option<Got>, Fault> {
    let server = Scripted::start(move |_| answer()).await;
    server.store().await.get(&key("live/1.ts"), None).await
}

/// What a get comes to, and when it does not come by itself.
async fn get_in(
    patience: Patience,
    answer: impl Fn() -> Answer + Send + Sync + 'static,
) -> Result<(), Fault> {
    let server = Scripted::start(move |_| answer()).await;
    let store = at(&server.endpoint, true, patience).await;
    store.get(&key("live/1.ts"), None).await.map(|_| ())
}

#[tokio::test]
async fn a_refusal_is_of_the_kind_that_it_is() {
    use FaultKind::{Full, Passing, Refused};

    let refusals = [
        (503, "SlowDown", Passing, "words about it"),
        (500, "InternalError", Passing, "words about it"),
        (429, "TooManyRequests", Passing, "HTTP 429"),
        (400, "RequestTimeout", Passing, "HTTP 400"),
        (400, "BadDigest", Passing, "BadDigest"),
        (400, "XAmzContentChecksumMismatch", Passing, "Mismatch"),
        (409, "OperationAborted", Passing, "HTTP 409"),
        (403, "AccessDenied", Refused, "allowed s3:PutObject"),
        (403, "SignatureDoesNotMatch", Refused, "other credentials"),
        (400, "ExpiredToken", Refused, "other credentials"),
        (403, "RequestTimeTooSkewed", Refused, "clock"),
        (404, "NoSuchBucket", Refused, "a bucket recordings"),
        (
            400,
            "AuthorizationHeaderMalformed",
            Refused,
            "record.region",
        ),
        (400, "InvalidArgument", Refused, "words about it"),
        (501, "NotImplemented", Refused, "record.endpoint"),
        (507, "InsufficientStorage", Full, "room"),
        (403, "QuotaExceeded", Full, "room"),
        (400, "XMinioStorageFull", Full, "room"),
    ];
    let script = refusals.map(|(status, code, ..)| (status, code));
    for (index, (status, code, kind, words)) in refusals.into_iter().enumerate() {
        let server = Scripted::start(move |_| {
            let (status, code) = script[index];
            Answer::refusal(status, code)
        })
        .await;
        let store = server.store().await;
        let fault = store
            .put(&key("live/1.ts"), "x".into(), &facts())
            .await
            .unwrap_err();
        assert_eq!(fault.kind, kind, "{status} {code}: {fault}");
        assert!(fault.why.contains(words), "{status} {code}: {fault}");
        let begin = format!(
            "put s3://recordings/vods/live/1.ts at {}: {code} (HTTP {status})",
            server.endpoint
        );
        assert!(fault.why.starts_with(&begin), "{fault}");
    }
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_put_is_heard() {
    let early = || match Answer::refusal(403, "AccessDenied") {
        Answer::Text(text) => Answer::Early(text),
        other => other,
    };
    let fault = put_to(early).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused, "{fault}");
    assert!(fault.why.contains("AccessDenied"), "{fault}");
}

#[tokio::test]
async fn a_bucket_elsewhere_is_told_with_its_region() {
    let fault = put_to(|| {
        Answer::refusal(301, "PermanentRedirect").with("x-amz-bucket-region: eu-north-1")
    });
    let fault = fault.await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused);
    assert!(
        fault.why.contains("record.region = \"eu-north-1\""),
        "{fault}"
    );
}

#[tokio::test]
async fn what_is_no_s3_is_refused() {
    let page = || Answer::ok("<html><body>It works!</body></html>");
    let server = Scripted::start(move |_| page()).await;
    let store = server.store().await;
    let listed = store.list("", None, 1).await;
    // An empty listing of a folder that is not there would lose recordings.
    let fault = listed.expect_err("a page is no listing");
    assert_eq!(fault.kind, FaultKind::Refused, "{fault}");
    assert!(fault.why.contains("record.endpoint"), "{fault}");

    let fault = put_to(|| Answer::status(405, "<html></html>"))
        .await
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused, "{fault}");
    assert!(fault.why.contains("record.endpoint"), "{fault}");
    // Nor is its 404 one that says that an object is not there.
    for body in ["", "<html></html>", "not found"] {
        let server = Scripted::start(move |_| Answer::status(404, body)).await;
        let fault = server
            .store()
            .await
            .get(&key("live/1.ts"), None)
            .await
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Refused, "{body}: {fault}");
    }
}

#[tokio::test]
async fn a_put_is_done_when_the_store_has_the_same_bytes() {
    // `echo -n x | crc32` is 8cdc1683.
    let ours = "x-amz-checksum-crc32: jNwWgw==";
    let cases: [(&str, &str, Option<&str>); 7] = [
        (ours, "", None),
        // The answer to PUT says nothing, the one to HEAD does.
        ("etag: \"1\"", "content-length: 1\r\netag: \"1\"", None),
        ("x: y", "content-length: 1", None),
        (
            "x-amz-checksum-crc32: AAAAAA==",
            "",
            Some("its CRC-32 is AAAAAA== there and jNwWgw== here"),
        ),
        (
            "x: y",
            "content-length: 2",
            Some("it has 2 bytes there and 1 here"),
        ),
        (
            "etag: \"1\"",
            "content-length: 1\r\netag: \"2\"",
            Some("another object"),
        ),
        ("x: y", "", Some("it was taken and is not there")),
    ];
    for (put, head, fault) in cases {
        let server = Scripted::start(move |request| match request.split_once(' ').unwrap() {
            ("PUT", _) => Answer::ok("").with(put),
            ("HEAD", "/recordings" | "/recordings/") => Answer::ok(""),
            ("HEAD", _) if head.is_empty() => Answer::status(404, ""),
            _ => Answer::Text(format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\n{head}\r\n\r\n"
            )),
        })
        .await;
        let store = server.store().await;
        let done = store.put(&key("live/1.ts"), "x".into(), &facts()).await;
        match (done, fault) {
            (Ok(()), None) => {}
            (Err(error), Some(words)) => {
                assert_eq!(error.kind, FaultKind::Passing, "{error}");
                assert!(error.why.contains(words), "{error}");
            }
            (done, _) => panic!("{put:?} and {head:?}: {done:?}"),
        }
    }
}

#[tokio::test]
async fn a_request_that_nobody_goes_on_with_ends() {
    let soon = Patience {
        connect: Duration::from_secs(2),
        still: Duration::from_secs(2),
        rate: 1 << 20,
    };
    let begun = || "HTTP/1.1 200 OK\r\n".to_owned();
    let puts = tokio::join!(
        put_in(soon, || Answer::Deaf),
        put_in(soon, || Answer::Part(String::new())),
        put_in(soon, move || Answer::Part(begun())),
    );
    let part = || PART.to_owned();
    let gets = tokio::join!(
        // Stops, never gets to an end, is cut off.
        get_in(soon, move || Answer::Part(part())),
        get_in(soon, move || Answer::Drops(part())),
        get_in(soon, move || Answer::Reset(part())),
        get_in(soon, move || Answer::Text(part())),
        get_in(soon, || Answer::Reset(String::new())),
        get_in(soon, || Answer::Text(String::new())),
    );
    let gets = [gets.0, gets.1, gets.2, gets.3, gets.4, gets.5];
    for ended in [puts.0, puts.1, puts.2].into_iter().chain(gets) {
        let fault = ended.unwrap_err();
        let object = "s3://recordings/vods/live/1.ts at http://127.0.0.1";
        assert_eq!(fault.kind, FaultKind::Passing, "{fault}");
        assert!(fault.why.contains(object), "{fault}");
    }
}

#[tokio::test]
async fn bytes_that_changed_on_the_way_are_not_got() {
    // The checksum is that of "x".
    let damaged = || Answer::ok("y").with("x-amz-checksum-crc32: jNwWgw==");
    let fault = get_from(damaged).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Passing, "{fault}");
    let whole = || Answer::ok("x").with("x-amz-checksum-crc32: jNwWgw==");
    assert_eq!(get_from(whole).await.unwrap().unwrap().bytes, "x");
}

#[tokio::test]
async fn a_server_without_ranges_is_helped() {
    let server = Scripted::start(|_| Answer::ok("0123456789")).await;
    let store = server.store().await;
    for (range, part) in [(2..5, "234"), (8..20, "89"), (10..20, "")] {
        let got = store
            .get(&key("live/1.ts"), Some(range))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((&got.bytes[..], got.head.size), (part.as_bytes(), 10));
    }
}

#[tokio::test]
async fn more_than_fits_is_not_begun() {
    let answer =
        || Answer::Part("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_owned());
    let fault = get_from(answer).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused);
    assert!(fault.why.contains("99999999999 bytes"), "{fault}");
}

#[tokio::test]
async fn nobody_there_is_passing_and_told() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let store = at(&format!("http://{address}"), true, Patience::default()).await;
    let fault = store.list("", None, 1).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Passing);
    assert!(
        fault
            .why
            .contains(&format!("{address} cannot be reached: ")),
        "{fault}"
    );

    // The bucket's name in front of a host that knows no names below its own.
    let store = at("http://nowhere.invalid", false, Patience::default()).await;
    let fault = store.list("", None, 1).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Passing, "{fault}");
    assert!(
        fault.why.contains("recordings.nowhere.invalid:80"),
        "{fault}"
    );
    assert!(fault.why.contains("record.path_style = true"), "{fault}");
}

#[tokio::test]
async fn a_server_that_shows_no_certificate_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 It is HTTP\r\n\r\n").await;
        }
    });
    let store = at(&endpoint, true, Patience::default()).await;
    let fault = store.list("", None, 1).await.unwrap_err();
    assert!(fault.why.contains("does not speak TLS"), "{fault}");
    assert_eq!(fault.kind, FaultKind::Refused);
}

#[tokio::test]
async fn words_of_others_fit_on_a_line() {
    let fault = get_from(|| {
        let message = format!("a\nb\r\u{1b}[31m{}", "x".repeat(9000));
        let body = format!("<Error><Code>Bad\nCode</Code><Message>{message}</Message></Error>");
        Answer::status(400, &body)
    });
    let fault = fault.await.unwrap_err();
    assert!(!fault.why.contains(char::is_control), "{fault}");
    assert!(fault.why.len() < 700, "{fault}");
}

const BUCKET: &str = "recordings";

const PART: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nbeginning";

/// Tells a child of a test where its server is.
const CHILD: &str = "WEIR_TEST_STORE_OF_CHILD";
