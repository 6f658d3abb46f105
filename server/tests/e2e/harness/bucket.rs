//! A bucket of an S3 server that others wrote, and what can be wrong on the way
//! there.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::destinations::free_port;
use super::http::{self, Answer};
use super::tools::Running;
use super::{pause, until};

/// moto, which has Amazon's services in memory, with the bucket [`BUCKET`].
pub(crate) struct Moto {
    pub(crate) bucket: Bucket,
    _running: Running,
}

/// What is in a bucket, seen past everything that may stand in weir's way.
#[derive(Clone)]
pub(crate) struct Bucket {
    address: String,
}

impl Moto {
    pub(crate) fn new() -> Self {
        let port = free_port();
        let program = tools().join("moto/bin/moto_server");
        assert!(
            program.is_file(),
            "moto is not installed in {}: run scripts/setup.sh test, which takes it from the Python package index",
            tools().display()
        );
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let running = Running::start(&mut command);
        let address = format!("127.0.0.1:{port}");
        until("moto to listen", || TcpStream::connect(&address).ok());
        let bucket = Bucket { address };
        let made = bucket.ask("PUT", "");
        assert_eq!(made.status, 200, "{}", made.text());
        Self {
            bucket,
            _running: running,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.bucket.address
    }

    /// Only who knows the key and the secret that this gives back is let in from now
    /// on.
    pub(crate) fn lock(&self) -> (String, String) {
        let iam = |query: &str| {
            let query = format!("{query}&UserName=weir&Version=2010-05-08");
            let nobody = "AWS4-HMAC-SHA256 Credential=nobody/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0";
            let form = "application/x-www-form-urlencoded";
            self.post(
                "/",
                &[("Authorization", nobody), ("Content-Type", form)],
                &query,
            )
        };
        iam("Action=CreateUser");
        // {"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}
        let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
        iam(&format!(
            "Action=PutUserPolicy&PolicyName=all&PolicyDocument={policy}"
        ));
        let made = iam("Action=CreateAccessKey");
        let said = |name| element(&made, name).expect("a new key").to_owned();
        self.post("/moto-api/reset-auth", &[], "0");
        (said("AccessKeyId"), said("SecretAccessKey"))
    }

    /// Anybody is let in again.
    pub(crate) fn unlock(&self) {
        self.post("/moto-api/reset-auth", &[], "999999999");
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: moto\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let answer = http::raw(self.address(), format!("{request}\r\n{body}").as_bytes());
        let answer = http::parse(&answer).expect("an answer of moto's");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }
}

impl Bucket {
    fn ask(&self, method: &str, what: &str) -> Answer {
        // Whoever signs at all is believed.
        let signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let headers = [("Authorization", signed)];
        http::ask(&self.address, method, &format!("/{BUCKET}{what}"), &headers)
    }

    /// The keys below `prefix`, with the ETag of each object.
    pub(crate) fn keys(&self, prefix: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        loop {
            let after: String = found.keys().next_back().cloned().unwrap_or_default();
            let query = format!("?list-type=2&prefix={prefix}&start-after={after}");
            let page = self.ask("GET", &query);
            assert_eq!(page.status, 200, "{}", page.text());
            let page = page.text();
            for entry in page.split("<Contents>").skip(1) {
                let key = element(entry, "Key").expect("a key").to_owned();
                let tag = element(entry, "ETag").expect("an ETag").to_owned();
                found.insert(key, tag);
            }
            if element(&page, "IsTruncated") != Some("true") {
                return found;
            }
        }
    }

    /// The object with its headers.
    pub(crate) fn object(&self, key: &str) -> Option<Answer> {
        let answer = self.ask("GET", &format!("/{key}"));
        match answer.status {
            404 => None,
            status => {
                assert_eq!(status, 200, "{key}");
                Some(answer)
            }
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        let answer = self.ask("HEAD", &format!("/{key}"));
        answer.status == 200
    }
}

impl Bucket {
    /// Leaves the first `len` bytes of an object, and what was put with it.
    pub(crate) fn cut(&self, key: &str, len: usize) {
        let object = self.object(key).expect("an object");
        let mut request = format!(
            "PUT /{BUCKET}/{key} HTTP/1.1\r\nHost: moto\r\nConnection: close\r\nContent-Length: {len}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n"
        );
        for name in ["weir-recording", "weir-segment"] {
            let name = format!("x-amz-meta-{name}");
            let value = object.header(&name).expect("what was put with it");
            request += &format!("{name}: {value}\r\n");
        }
        let mut request = format!("{request}\r\n").into_bytes();
        request.extend_from_slice(&object.body[..len]);
        let answer = http::raw(&self.address, &request);
        let answer = http::parse(&answer).expect("an answer of moto's");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// What stands between `<name>` and `</name>`.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inside)
}

/// What a [`Gate`] does with who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Lets them through.
    Open,
    /// There is nobody to connect to.
    Down,
    /// Each request is answered with 503.
    Unavailable,
    /// A kilobyte a second.
    Slow,
    /// In the middle of what is sent the connection is reset.
    Resets,
    /// All that is sent is taken, and nothing is ever answered.
    Silent,
    /// What is there stays there: nothing may be deleted.
    Keeps,
}

/// The way to a server, in which there may be something wrong.
pub(crate) struct Gate {
    port: u16,
    now: Arc<Mutex<(Way, u64)>>,
    over: Arc<AtomicBool>,
}

type Now = Mutex<(Way, u64)>;

impl Gate {
    pub(crate) fn to(server: &str, way: Way) -> Self {
        let gate = Self {
            port: free_port(),
            now: Arc::new(Mutex::new((way, 0))),
            over: Arc::default(),
        };
        let to: SocketAddr = server.parse().expect("an address");
        let (port, now, over) = (gate.port, Arc::clone(&gate.now), Arc::clone(&gate.over));
        std::thread::spawn(move || keep(port, to, &now, &over));
        if way != Way::Down {
            until("the gate", || TcpStream::connect(("127.0.0.1", port)).ok());
        }
        gate
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on; connections that there are end.
    pub(crate) fn set(&self, way: Way) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (way, now.1 + 1);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.set(Way::Down);
    }
}

fn state(now: &Now) -> (Way, u64) {
    *now.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(port: u16, to: SocketAddr, now: &Arc<Now>, over: &AtomicBool) {
    let mut listener: Option<TcpListener> = None;
    while !over.load(Ordering::Relaxed) {
        let (way, turn) = state(now);
        if way == Way::Down {
            listener = None;
            pause();
            continue;
        }
        let Some(open) = &listener else {
            listener = TcpListener::bind(("127.0.0.1", port)).ok();
            if let Some(new) = &listener {
                new.set_nonblocking(true).expect("a socket option");
            }
            continue;
        };
        let Ok((client, _)) = open.accept() else {
            pause();
            continue;
        };
        let now = Arc::clone(now);
        std::thread::spawn(move || {
            // Whoever hangs up has had enough.
            let _ = serve(client, to, way, turn, &now);
        });
    }
}

fn serve(client: TcpStream, to: SocketAddr, way: Way, turn: u64, now: &Arc<Now>) -> io::Result<()> {
    client.set_nonblocking(false)?;
    match way {
        Way::Unavailable => return answer(client, Some(SLOW_DOWN), turn, now),
        Way::Silent => return answer(client, None, turn, now),
        _ => {}
    }
    let server = TcpStream::connect(to)?;
    let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
    let backwards = Arc::clone(now);
    let resets = way == Way::Resets;
    std::thread::spawn(move || {
        let way = if way == Way::Slow { way } else { Way::Open };
        let _ = pump(&mut back_from, &mut back_to, way, turn, &backwards);
        if !resets {
            let _ = back_to.shutdown(Shutdown::Both);
        }
        let _ = back_from.shutdown(Shutdown::Both);
    });
    let (mut from, mut on) = (client, server);
    let done = pump(&mut from, &mut on, way, turn, now);
    if resets {
        // Closed without a linger, once the other thread has let go of it too.
        set_socket_linger(&from, Some(Duration::ZERO))?;
        on.shutdown(Shutdown::Both)?;
        return done;
    }
    let _ = on.shutdown(Shutdown::Write);
    done
}

/// Moves bytes until one of the two has enough or the way is another one.
fn pump(
    from: &mut TcpStream,
    to: &mut TcpStream,
    way: Way,
    turn: u64,
    now: &Now,
) -> io::Result<()> {
    from.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = vec![0; if way == Way::Slow { 20 } else { 64 << 10 }];
    let mut most = if way == Way::Resets {
        BEFORE_RESET
    } else {
        usize::MAX
    };
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count.min(most),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                0
            }
            Err(error) => return Err(error),
        };
        // A client asks for one thing after the other.
        if way == Way::Keeps && buffer[..count].starts_with(b"DELETE ") {
            say(from, DENIED)?;
            return answer(from.try_clone()?, None, turn, now);
        }
        to.write_all(&buffer[..count])?;
        most -= count;
        if way == Way::Slow {
            pause();
        }
        if most == 0 || state(now).1 != turn {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
}

/// Takes whatever comes and gives the same `answer` to it, or none.
fn answer(
    mut client: TcpStream,
    mut answer: Option<(&str, &str)>,
    turn: u64,
    now: &Now,
) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => answer.take().map_or(Ok(()), |what| say(&client, what))?,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(error) => return Err(error),
        }
        if state(now).1 != turn {
            return Ok(());
        }
    }
}

/// The last that is said to `client`.
fn say(mut client: &TcpStream, (status, body): (&str, &str)) -> io::Result<()> {
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    client.shutdown(Shutdown::Write)
}

/// What S3 says to who may not do what it asks for.
const DENIED: (&str, &str) = (
    "403 Forbidden",
    "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
);

/// What S3 says when it is asked too much.
const SLOW_DOWN: (&str, &str) = (
    "503 Slow Down",
    "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
);

/// Where scripts/setup.sh puts what no package manager has.
fn tools() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.expect("a target folder").join("tools")
}

/// Bytes that pass before a reset: more than a request's head, less than a segment.
const BEFORE_RESET: usize = 20_000;

/// Its name.
pub(crate) const BUCKET: &str = "vods";
