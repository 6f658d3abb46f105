//! An HTTP client that hides nothing: every header, the body as it was sent.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::PATIENCE;

/// One answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The only header of that name; a repeated one fails the test.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(one, _)| one.eq_ignore_ascii_case(name));
        let first = found.next();
        assert!(found.next().is_none(), "header {name} is there twice");
        first.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is text")
    }

    /// The body with its gzip encoding undone.
    pub(crate) fn gunzipped(&self) -> String {
        assert_eq!(self.header("content-encoding"), Some("gzip"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&self.body[..])
            .read_to_string(&mut text)
            .expect("gzip");
        text
    }
}

/// Asks the server at `address` (`host:port`) on a connection of its own.
#[track_caller]
pub(crate) fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    let answer = raw(address, format!("{request}\r\n").as_bytes());
    let answer = parse(&answer)
        .unwrap_or_else(|| panic!("{method} {path}: no HTTP answer in {} bytes", answer.len()));
    // What is announced is what is sent, to the byte.
    let bodiless = method == "HEAD" || matches!(answer.status, 204 | 304);
    match answer
        .header("content-length")
        .map(|len| len.parse::<usize>().expect("a length"))
    {
        Some(_) if bodiless => assert!(answer.body.is_empty(), "{method} {path}: a body"),
        Some(len) => assert_eq!(answer.body.len(), len, "{method} {path}"),
        None => assert!(bodiless, "{method} {path}: no Content-Length"),
    }
    answer
}

#[track_caller]
pub(crate) fn get(address: &str, path: &str) -> Answer {
    ask(address, "GET", path, &[])
}

/// Sends bytes and gives back all that comes until the server closes.
#[track_caller]
pub(crate) fn raw(address: &str, request: &[u8]) -> Vec<u8> {
    let mut socket =
        TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    socket.write_all(request).expect("the request is sent");
    let mut answer = Vec::new();
    socket
        .read_to_end(&mut answer)
        .expect("an answer that ends");
    answer
}

pub(crate) fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        line.split_once(':')
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
    };
    Some(Answer {
        status,
        headers: lines.filter_map(header).collect(),
        body: answer[end + 4..].to_vec(),
    })
}
