//! RTMP peers that no encoder would be: hand-made bytes, and sessions that send
//! what they like.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use flv::file::{Limits, Reader, Tag, TagKind};
use rtmp::{ClientConfig, ClientEvent, ClientOutput, ClientSession, MediaKind, Url};

use super::server::Server;
use super::{PATIENCE, now};

/// A socket that has spoken the handshake and nothing else.
pub(crate) struct Raw(TcpStream);

impl Raw {
    /// Connects without a word.
    pub(crate) fn silent(server: &Server) -> Self {
        let socket = TcpStream::connect(&server.rtmp).expect("a connection");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        Self(socket)
    }

    /// Connects and does the plain handshake.
    pub(crate) fn greeted(server: &Server) -> Self {
        let mut peer = Self::silent(server);
        let mut hello = vec![3];
        hello.extend_from_slice(&[0; 8]);
        hello.extend((0..1528_u32).map(|index| (index * 7 % 251) as u8));
        peer.send(&hello);
        let mut answer = vec![0; 1 + 2 * 1536];
        peer.0.read_exact(&mut answer).expect("S0, S1, S2");
        assert_eq!(answer[0], 3);
        peer.send(&answer[1..1537]);
        peer
    }

    /// Connects to `app`, as far as the answer to `connect` is not awaited.
    pub(crate) fn connected(server: &Server) -> Self {
        let mut peer = Self::greeted(server);
        let url = format!("rtmp://{}/stream", server.rtmp);
        let object = [
            pair("app", &text("stream")),
            pair("tcUrl", &text(&url)),
            vec![0, 0, 9],
        ]
        .concat();
        let command = [text("connect"), number(1.0), vec![3], object].concat();
        peer.message(3, 20, &command);
        peer
    }

    /// Sends bytes; a peer that was thrown out already has been told enough.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Sends a message in chunks of 128 bytes, the size of a fresh connection.
    pub(crate) fn message(&mut self, csid: u8, kind: u8, body: &[u8]) {
        self.send(&chunks(csid, kind, body));
    }

    /// All that the server says until it closes; `None` when it never does.
    pub(crate) fn until_closed(mut self) -> Option<Vec<u8>> {
        let mut said = Vec::new();
        match self.0.read_to_end(&mut said) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            // Reset because the server did not read to the end: closed all the same.
            _ => Some(said),
        }
    }
}

/// A message on message stream 0, in chunks of 128 bytes.
pub(crate) fn chunks(csid: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = header(csid, kind, body.len());
    for (index, chunk) in body.chunks(128).enumerate() {
        if index > 0 {
            out.push(0xc0 | csid);
        }
        out.extend_from_slice(chunk);
    }
    out
}

/// A chunk header of format 0 for a message of `len` bytes.
pub(crate) fn header(csid: u8, kind: u8, len: usize) -> Vec<u8> {
    let len = (len as u32).to_be_bytes();
    vec![csid, 0, 0, 0, len[1], len[2], len[3], kind, 0, 0, 0, 0]
}

/// An AMF0 string.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [
        &[2][..],
        &(text.len() as u16).to_be_bytes(),
        text.as_bytes(),
    ]
    .concat()
}

/// An AMF0 number.
pub(crate) fn number(value: f64) -> Vec<u8> {
    [&[0][..], &value.to_be_bytes()].concat()
}

/// A field of an AMF0 object.
pub(crate) fn pair(name: &str, value: &[u8]) -> Vec<u8> {
    [&(name.len() as u16).to_be_bytes(), name.as_bytes(), value].concat()
}

/// A publisher that is well behaved as far as RTMP goes.
pub(crate) struct Publisher {
    socket: TcpStream,
    session: ClientSession,
    events: Vec<ClientEvent>,
}

/// How the server ended a session.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) description: String,
}

impl Publisher {
    /// Publishes `key` until the server agrees or refuses.
    pub(crate) fn start(server: &Server, key: &str) -> Result<Self, Refusal> {
        let url = Url::join(&format!("rtmp://{}/stream", server.rtmp), key).expect("a URL");
        let socket = TcpStream::connect(&server.rtmp).expect("a connection");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a socket option");
        let session = ClientSession::new(ClientConfig::new(url), now()).expect("a session");
        let mut publisher = Self {
            socket,
            session,
            events: Vec::new(),
        };
        let deadline = now() + PATIENCE;
        while !publisher.events.contains(&ClientEvent::Ready) {
            assert!(now() < deadline, "the server says neither yes nor no");
            if !publisher.turn() {
                return Err(publisher.refusal());
            }
        }
        Ok(publisher)
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, kind: MediaKind, timestamp_ms: u32, body: Vec<u8>) {
        // An ended session takes nothing more; its refusal tells why.
        let _ = self.session.send(kind, timestamp_ms, &Bytes::from(body));
        self.drain();
    }

    /// Sends the tags of an FLV file that `keep` keeps, `offset` milliseconds
    /// later than they say and as fast as they go; gives back the last time.
    pub(crate) fn play(&mut self, file: &Path, offset: u32, keep: impl Fn(&Tag) -> bool) -> u32 {
        let mut reader = Reader::new(Limits::default());
        reader.push(&std::fs::read(file).expect("a clip"));
        let mut last = offset;
        while let Some(tag) = reader.next_tag().expect("a good clip") {
            let kind = match tag.kind {
                TagKind::Video => MediaKind::Video,
                TagKind::Audio => MediaKind::Audio,
                TagKind::Script => MediaKind::Data,
            };
            // The end of a sequence is not the end of this one.
            let ends = kind == MediaKind::Video && tag.body.get(1) == Some(&2);
            if keep(&tag) && !ends {
                last = offset.wrapping_add(tag.timestamp_ms);
                self.send(kind, last, tag.body.to_vec());
            }
        }
        last
    }

    /// Ends the stream in good order.
    pub(crate) fn finish(mut self) {
        self.session.finish();
        self.drain();
        // Closing with input unread would take back what the server has not read.
        let _ = self.socket.shutdown(Shutdown::Write);
        let mut input = [0; 4096];
        let deadline = now() + PATIENCE;
        while now() < deadline {
            match self.socket.read(&mut input) {
                Ok(1..) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => return,
            }
        }
    }

    /// Waits until the server ends the session.
    pub(crate) fn refused(mut self) -> Refusal {
        let deadline = now() + PATIENCE;
        while self.turn() {
            assert!(now() < deadline, "the server says nothing against it");
        }
        self.refusal()
    }

    fn refusal(&self) -> Refusal {
        let rejected = self.events.iter().find_map(|event| match event {
            ClientEvent::Rejected { code, description } => Some(Refusal {
                code: code.clone(),
                description: description.clone(),
            }),
            _ => None,
        });
        rejected.unwrap_or_else(|| panic!("the server closed without a word: {:?}", self.events))
    }

    /// Writes and reads once; false when the connection is over.
    fn turn(&mut self) -> bool {
        self.drain();
        let mut input = [0; 4096];
        match self.socket.read(&mut input) {
            Ok(0) => return false,
            Ok(count) => {
                if self.session.handle_input(now(), &input[..count]).is_err() {
                    return false;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return false,
        }
        self.drain();
        !self.events.contains(&ClientEvent::Closed)
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Write(bytes) => drop(self.socket.write_all(&bytes)),
                ClientOutput::Event(event) => self.events.push(event),
            }
        }
    }
}
