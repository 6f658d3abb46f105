//! An RTMP server that keeps all that publishers send it, as it came, and can be
//! as bad a destination as is wanted.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};

use super::messages::{AUDIO, Amf, COMMAND, Chunks, DATA, Message, VIDEO};
use super::peer::{chunks, number, pair, text};
use super::{now, pause, until};

/// A destination on a port of its own.
pub(crate) struct Witness {
    port: u16,
    shared: Arc<Shared>,
    listens: Option<JoinHandle<()>>,
}

/// How a destination treats who publishes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Takes everything.
    Takes,
    /// Says no, in RTMP's words and with the key.
    Refuses,
    /// Lets everybody publish and reads nothing more, its kernel neither.
    ReadsNothing,
    /// Lets everybody publish and reads nothing more, its kernel what it can.
    Hangs,
    /// Lets everybody publish and reads this many bytes a second.
    Sips(usize),
    /// Lets everybody publish and resets the connection after this time.
    Resets(Duration),
    /// Lets everybody publish, closes its own direction and reads on.
    HalfCloses,
    /// Accepts the connection and says nothing.
    IsMute,
}

/// What came over one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// Names of the commands, in order.
    pub(crate) commands: Vec<String>,
    /// `app` of `connect`.
    pub(crate) app: String,
    /// What `publish` asked for; empty before.
    pub(crate) key: String,
    /// Audio, video and data.
    pub(crate) messages: Vec<Message>,
    /// Whether the connection has ended.
    pub(crate) is_over: bool,
}

struct Shared {
    manner: Mutex<Manner>,
    /// Every connection that was accepted.
    sessions: Mutex<Vec<Session>>,
    /// Connections of an earlier life are closed.
    life: Mutex<Option<u32>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Witness {
    pub(crate) fn new(manner: Manner) -> Self {
        let shared = Shared {
            manner: Mutex::new(manner),
            sessions: Mutex::default(),
            life: Mutex::default(),
        };
        let mut witness = Self {
            port: 0,
            shared: Arc::new(shared),
            listens: None,
        };
        witness.open();
        witness
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT`, for who stands in front of it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The server's URL, without a key.
    pub(crate) fn url(&self) -> String {
        format!("rtmp://{}/app", self.address())
    }

    /// From now on, also to whom it is reading from.
    pub(crate) fn behave(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// The connections that asked to publish, oldest first.
    pub(crate) fn sessions(&self) -> Vec<Session> {
        let sessions = lock(&self.shared.sessions);
        let asked = sessions.iter().filter(|session| !session.key.is_empty());
        asked.cloned().collect()
    }

    /// Waits for what the newest session has to be.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is: impl Fn(&Session) -> bool) -> Session {
        until(what, || {
            let newest = self.sessions().pop()?;
            is(&newest).then_some(newest)
        })
    }

    /// Closes its port and all connections.
    pub(crate) fn close(&mut self) {
        *lock(&self.shared.life) = None;
        if let Some(listens) = self.listens.take() {
            let _ = listens.join();
        }
    }

    /// Listens, on the port it had before.
    pub(crate) fn open(&mut self) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener = until("a port", || TcpListener::bind(address).ok());
        self.port = listener.local_addr().expect("an address").port();
        listener.set_nonblocking(true).expect("a socket option");
        let life = lock(&self.shared.sessions).len() as u32;
        *lock(&self.shared.life) = Some(life);
        let shared = Arc::clone(&self.shared);
        self.listens = Some(std::thread::spawn(move || {
            while shared.lives(life) {
                // What a socket may hold is decided before it is connected.
                if shared.is_slow() {
                    let _ = set_socket_recv_buffer_size(&listener, 4096);
                }
                match listener.accept() {
                    Ok((socket, _)) => {
                        let shared = Arc::clone(&shared);
                        let index = shared.enter();
                        std::thread::spawn(move || shared.attend(socket, index, life));
                    }
                    Err(_) => pause(),
                }
            }
        }));
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.close();
    }
}

impl Session {
    /// Media without metadata and sequence headers.
    pub(crate) fn units(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| message.is_unit())
    }

    /// Whether the publisher said goodbye, in the words of both sorts of servers.
    pub(crate) fn ended_well(&self) -> bool {
        let last = self.commands.iter().rev().take(2).rev();
        last.eq(["FCUnpublish", "deleteStream"])
    }
}

impl Shared {
    fn lives(&self, life: u32) -> bool {
        *lock(&self.life) == Some(life)
    }

    fn manner(&self) -> Manner {
        *lock(&self.manner)
    }

    fn is_slow(&self) -> bool {
        matches!(self.manner(), Manner::ReadsNothing | Manner::Sips(_))
    }

    fn enter(&self) -> usize {
        let mut sessions = lock(&self.sessions);
        sessions.push(Session::default());
        sessions.len() - 1
    }

    fn attend(&self, mut socket: TcpStream, index: usize, life: u32) {
        let timeout = Some(Duration::from_millis(20));
        socket.set_read_timeout(timeout).expect("a socket option");
        let mut peer = Peer::default();
        let mut input = vec![0; 64 << 10];
        while self.lives(life) {
            let most = match (self.manner(), peer.publishes) {
                (Manner::IsMute, _) | (Manner::ReadsNothing | Manner::Hangs, Some(_)) => 0,
                // In fifty sips a second.
                (Manner::Sips(rate), Some(_)) => rate.div_ceil(50),
                (Manner::Resets(after), Some(since)) if now() > since + after => {
                    let _ = set_socket_linger(&socket, Some(Duration::ZERO));
                    break;
                }
                _ => input.len(),
            };
            if self.is_slow() && peer.publishes.is_some() {
                let _ = set_socket_recv_buffer_size(&socket, 4096);
            }
            if most < input.len() {
                pause();
            }
            if most == 0 {
                continue;
            }
            match socket.read(&mut input[..most]) {
                Ok(0) => break,
                Ok(count) => peer.chunks.push(&input[..count]),
                Err(error) if is_timeout(error.kind()) => continue,
                Err(_) => break,
            }
            self.answer(&mut peer, &mut socket, index);
        }
        lock(&self.sessions)[index].is_over = true;
    }

    /// Takes what has come.
    fn answer(&self, peer: &mut Peer, socket: &mut TcpStream, index: usize) {
        if !peer.is_greeted {
            let Some(hello) = peer.chunks.raw(HELLO) else {
                return;
            };
            let answer = [&[3][..], &[0; 8], &[7; 1528], &hello[1..]].concat();
            let _ = socket.write_all(&answer);
            peer.is_greeted = true;
        }
        if !peer.has_answered {
            peer.has_answered = peer.chunks.raw(HELLO - 1).is_some();
            if !peer.has_answered {
                return;
            }
        }
        while let Some(message) = peer.chunks.message() {
            match message.kind {
                WINDOW_ACK_SIZE => peer.window = Some(message.u32().into()),
                COMMAND => self.command(peer, &message.body, socket, index),
                AUDIO | VIDEO | DATA => lock(&self.sessions)[index].messages.push(message),
                _ => {}
            }
        }
        let window = peer.window.unwrap_or(u64::MAX);
        if peer.chunks.received - peer.acknowledged >= window {
            peer.acknowledged = peer.chunks.received;
            let count = (peer.chunks.received as u32).to_be_bytes();
            let _ = socket.write_all(&chunks(2, ACKNOWLEDGEMENT, &count));
        }
    }

    fn command(&self, peer: &mut Peer, body: &[u8], socket: &mut TcpStream, index: usize) {
        let mut values = Amf(body);
        let name = values.text();
        let transaction = values.bytes(9);
        let argument = match name.as_str() {
            "connect" => values.field("app"),
            _ => values.text_after_null(),
        };
        let mut sessions = lock(&self.sessions);
        let session = &mut sessions[index];
        session.commands.push(name.clone());
        let refuses = self.manner() == Manner::Refuses;
        let answer = match name.as_str() {
            "connect" => {
                session.app = argument;
                let dynamic = [&PROPOSED.to_be_bytes()[..], &[2]].concat();
                let _ = socket.write_all(&chunks(2, SET_PEER_BANDWIDTH, &dynamic));
                let info = status("status", "NetConnection.Connect.Success", "welcome");
                [text("_result"), transaction, vec![5], info].concat()
            }
            "createStream" => [text("_result"), transaction, vec![5], number(1.0)].concat(),
            "publish" => {
                session.key = argument;
                let (level, code) = match refuses {
                    true => ("error", "NetStream.Publish.BadName"),
                    false => ("status", "NetStream.Publish.Start"),
                };
                let words = format!("about {}", session.key);
                let head = [text("onStatus"), number(0.0), vec![5]].concat();
                [head, status(level, code, &words)].concat()
            }
            _ => return,
        };
        drop(sessions);
        let mut message = chunks(3, 20, &answer);
        // On the message stream that was created.
        if name == "publish" {
            message[8] = 1;
        }
        let _ = socket.write_all(&message);
        if name == "publish" && !refuses {
            peer.publishes = Some(now());
            if self.manner() == Manner::HalfCloses {
                let _ = socket.shutdown(Shutdown::Write);
            }
        }
    }
}

fn status(level: &str, code: &str, words: &str) -> Vec<u8> {
    let fields = [("level", level), ("code", code), ("description", words)];
    let fields = fields
        .map(|(name, value)| pair(name, &text(value)))
        .concat();
    [&[3][..], &fields, &[0, 0, 9]].concat()
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What is known of who is connected.
#[derive(Default)]
struct Peer {
    chunks: Chunks,
    is_greeted: bool,
    /// It has answered the answer: nothing but chunks follows.
    has_answered: bool,
    acknowledged: u64,
    /// Bytes after which it wants to be told.
    window: Option<u64>,
    /// Since when it may publish.
    publishes: Option<Instant>,
}

/// C0 and C1.
const HELLO: usize = 1 + 1536;

/// What it proposes to be the window, in bytes: little, so that a test sees many
/// acknowledgements.
const PROPOSED: u32 = 32 << 10;

const ACKNOWLEDGEMENT: u8 = 3;
const WINDOW_ACK_SIZE: u8 = 5;
const SET_PEER_BANDWIDTH: u8 = 6;
