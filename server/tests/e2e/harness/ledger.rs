//! What is asked of a server, by one who stands in front of it.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lets everything through and notes the requests, or takes all and answers nothing.
pub(crate) struct Ledger {
    address: SocketAddr,
    book: Arc<Book>,
}

#[derive(Default)]
struct Book {
    asked: Mutex<Vec<String>>,
    silent: AtomicBool,
    over: AtomicBool,
}

impl Ledger {
    pub(crate) fn of(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let to: SocketAddr = server.parse().expect("an address");
        let book = Arc::new(Book::default());
        let ours = Arc::clone(&book);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ours.over() {
                    return;
                }
                let book = Arc::clone(&ours);
                std::thread::spawn(move || {
                    // Whoever hangs up has had enough.
                    let _ = serve(client, to, &book);
                });
            }
        });
        Self { address, book }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The requests with `part` in them since the last look at any: method and path, and
    /// behind them the range if one was asked for.
    pub(crate) fn take(&self, part: &str) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.book.asked());
        asked.retain(|line| line.contains(part));
        asked
    }

    /// From now on nothing is answered, or all is again.
    pub(crate) fn be_silent(&self, silent: bool) {
        self.book.silent.store(silent, Ordering::Relaxed);
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.book.over.store(true, Ordering::Relaxed);
        // So that the listener looks.
        let _ = TcpStream::connect(self.address);
    }
}

impl Book {
    fn asked(&self) -> MutexGuard<'_, Vec<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Notes a line of what passes on a connection, if it is one of a request.
    fn note(&self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else {
            return;
        };
        let mut asked = self.asked();
        if let Some(request) = line.trim_end().strip_suffix(" HTTP/1.1") {
            asked.push(request.to_owned());
        } else if let Some(range) = line.trim_end().strip_prefix("range: ")
            && let Some(last) = asked.last_mut()
        {
            *last += &format!(" {range}");
        }
    }
}

fn serve(mut client: TcpStream, to: SocketAddr, book: &Arc<Book>) -> io::Result<()> {
    let mut server = TcpStream::connect(to)?;
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let passed = pass(&mut client, &mut server, book);
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    passed
}

fn pass(client: &mut TcpStream, server: &mut TcpStream, book: &Book) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = vec![0; 64 << 10];
    let mut line = Vec::new();
    let mut swallowed = false;
    loop {
        let count = match client.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
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
        for byte in &buffer[..count] {
            match byte {
                b'\n' => book.note(&std::mem::take(&mut line)),
                // Lines of a head are shorter; what is in a body does not matter.
                _ if line.len() < 8192 => line.push(*byte),
                _ => {}
            }
        }
        match book.silent() {
            true => swallowed |= count > 0,
            // What was swallowed is not answered any more.
            false if swallowed => return Ok(()),
            false => server.write_all(&buffer[..count])?,
        }
        if book.over() {
            return Ok(());
        }
    }
}
