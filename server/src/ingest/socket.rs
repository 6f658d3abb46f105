//! An accepted connection's socket: read at once, or now and then.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use crate::tls::Stream;

/// A stream with a [`Socket`] at its far end.
pub(super) trait Connected: Stream {
    /// What the stream reads and writes.
    fn socket(&mut self) -> &mut Socket;
}

impl Connected for Socket {
    fn socket(&mut self) -> &mut Socket {
        self
    }
}

impl Connected for TlsStream<Socket> {
    fn socket(&mut self) -> &mut Socket {
        self.get_mut().0
    }
}

/// See the module.
pub(super) enum Socket {
    /// What comes wakes the reader.
    Prompt(TcpStream),
    /// What comes waits until the reader looks.
    Patient(Box<Patient>),
    /// It could not be made patient.
    Lost,
}

impl Socket {
    /// Lets what comes gather before it is read, for `most` at the longest. Zero
    /// changes nothing. `epoch` is the same for all sockets of a server.
    ///
    /// A publisher sends some seventy messages a second, each in packets of its
    /// own, and costs what these set in motion: a turn of the system's event
    /// queue, one of the publisher's task and of everybody who reads its ring, a
    /// write to each player. So the event queue is not even told of them.
    pub(super) fn gather(&mut self, most: Duration, epoch: Instant) -> io::Result<()> {
        if most.is_zero() || !matches!(self, Self::Prompt(_)) {
            return Ok(());
        }
        if let Self::Prompt(socket) = std::mem::replace(self, Self::Lost) {
            let socket = socket.into_std()?;
            *self = Self::Patient(Box::new(Patient::new(socket, most, epoch)));
        }
        Ok(())
    }

    /// Looks for what has come at once, and soon again.
    pub(super) fn hurry(&mut self) {
        if let Self::Patient(socket) = self {
            socket.resting = false;
            socket.pace.hurry(Instant::now());
        }
    }
}

/// A socket that the system's event queue does not watch.
pub(super) struct Patient {
    /// Does not block.
    socket: std::net::TcpStream,
    pace: Pace,
    /// Until the next look for input, while `resting`.
    rest: Pin<Box<Sleep>>,
    resting: bool,
    /// Until the next look for room to write.
    full: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(socket: std::net::TcpStream, most: Duration, epoch: Instant) -> Self {
        let now = Instant::now();
        Self {
            socket,
            pace: Pace::new(most, epoch, now),
            rest: Box::pin(sleep_until(now)),
            resting: false,
            full: None,
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.resting {
                ready!(self.rest.as_mut().poll(context));
                self.resting = false;
            }
            if !self.pace.is_over() {
                let room = into.remaining().min(GATHERED);
                let room = into.initialize_unfilled_to(room);
                match self.socket.read(room) {
                    Ok(count) => {
                        self.pace.took(count, room.len());
                        into.advance(count);
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            let until = self.pace.rest(Instant::now());
            self.rest.as_mut().reset(until);
            self.resting = true;
        }
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&mut std::net::TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(full) = &mut self.full {
                ready!(full.as_mut().poll(context));
                self.full = None;
            }
            match write(&mut self.socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full = Some(Box::pin(sleep(ROOM)));
                }
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Prompt(socket) => Pin::new(socket).poll_read(context, into),
            Self::Patient(socket) => socket.poll_read(context, into),
            Self::Lost => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Prompt(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Patient(socket) => socket.poll_write(context, |socket| socket.write(bytes)),
            Self::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Prompt(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Patient(socket) => {
                socket.poll_write(context, |socket| socket.write_vectored(slices))
            }
            Self::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Prompt(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Patient(socket) => Poll::Ready(socket.socket.shutdown(Shutdown::Write)),
            Self::Lost => Poll::Ready(Err(lost())),
        }
    }
}

fn lost() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// When to look for input.
struct Pace {
    most: Duration,
    epoch: Instant,
    /// The last rest: when it began, and how long it was meant to be.
    rested: Instant,
    length: Duration,
    /// Bytes since, and reads.
    bytes: usize,
    reads: u32,
    /// The last read left nothing.
    short: bool,
}

impl Pace {
    fn new(most: Duration, epoch: Instant, now: Instant) -> Self {
        Self {
            most,
            epoch,
            rested: now,
            length: SHORTEST,
            bytes: 0,
            reads: 0,
            short: false,
        }
    }

    /// Forgets what came: it is time to look, and the next rests are short.
    fn hurry(&mut self, now: Instant) {
        *self = Self::new(self.most, self.epoch, now);
    }

    /// A read for which there was room for `room` bytes gave `count`; 0 is the end.
    fn took(&mut self, count: usize, room: usize) {
        self.bytes += count;
        self.reads += 1;
        self.short = (1..room).contains(&count);
    }

    /// Whether it is time to rest: there is nothing left, or others want a turn.
    fn is_over(&self) -> bool {
        self.short || self.reads >= MOST_READS
    }

    /// Begins a rest. Gives its end.
    fn rest(&mut self, now: Instant) -> Instant {
        let length = match self.bytes {
            0 => 2 * self.length,
            // As long as it takes to send that much, going by what came.
            bytes => {
                let nanos = (now - self.rested).as_nanos() * GATHERED as u128 / bytes as u128;
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        };
        let length = length.min(self.most).max(SHORTEST);
        *self = Self {
            length,
            ..Self::new(self.most, self.epoch, now)
        };
        let end = now + length;
        if length < 2 * STEP {
            return end;
        }
        let past = (end - self.epoch).as_nanos() % STEP.as_nanos();
        end - Duration::from_nanos(past as u64)
    }
}

/// Bytes that gather, as far as one can tell, and that are read at a time. A new
/// connection's sender may have twice as many under way (Linux: half of 128 KiB),
/// and so is not held up.
const GATHERED: usize = 32 << 10;

/// Reads before a rest in any case.
const MOST_READS: u32 = 16;

/// A rest that is not much shorter ends at a multiple of this, together with
/// others: a hundred publishers looked at one by one, a hundred times as often as
/// the clock has such a step, cost half as much again (scripts/players.sh).
const STEP: Duration = Duration::from_millis(10);

/// What the timer tells apart.
const SHORTEST: Duration = Duration::from_millis(1);

/// Between looks for room to write: what a publisher is sent always finds it,
/// unless that reads nothing.
const ROOM: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const MOST: Duration = Duration::from_millis(100);

    /// Twenty rests, in milliseconds, of one who is sent `bytes` in so many of them.
    fn rests(most: Duration, bytes: impl Fn(usize, u128) -> usize) -> Vec<u128> {
        let epoch = Instant::now();
        let mut now = epoch + Duration::from_micros(5_500);
        let mut pace = Pace::new(most, epoch, now);
        let mut rests = Vec::new();
        let mut last = now - Duration::from_millis(10);
        for turn in 0..20 {
            match bytes(turn, (now - last).as_millis()) {
                0 => {}
                bytes => pace.took(bytes, GATHERED.max(bytes + 1)),
            }
            last = now;
            now = pace.rest(now);
            rests.push((now - last).as_millis());
        }
        rests
    }

    #[test]
    fn what_comes_slowly_is_looked_at_when_the_time_is_over() {
        let slow = rests(MOST, |_, ms| 125 * ms as usize);
        assert!(slow[5..].iter().all(|ms| *ms == 100), "{slow:?}");
        // Or nothing comes.
        let silent = rests(MOST, |_, _| 0);
        assert!(silent.is_sorted() && silent[19] == 100, "{silent:?}");
    }

    #[test]
    fn what_comes_fast_is_looked_at_before_it_is_too_much() {
        // 50 Mbit/s.
        let fast = rests(Duration::from_secs(2), |_, ms| 6250 * ms.max(1) as usize);
        assert!(fast[5..].iter().all(|ms| (1..=6).contains(ms)), "{fast:?}");
    }

    #[test]
    fn who_may_send_no_more_before_it_is_read_is_read_sooner_each_time() {
        let held_up = rests(Duration::from_secs(2), |turn, _| match turn {
            0..5 => 100,
            _ => 2 * GATHERED,
        });
        assert_eq!(held_up[4], 2000, "{held_up:?}");
        assert_eq!(held_up[19], 1, "{held_up:?}");
    }

    #[test]
    fn all_look_at_the_same_times() {
        let epoch = Instant::now();
        let ends = [3, 5, 7].map(|ms| {
            let now = epoch + Duration::from_millis(ms);
            let mut pace = Pace::new(MOST, epoch, now);
            pace.took(100, GATHERED);
            pace.rest(now + Duration::from_secs(1)) - epoch
        });
        assert_eq!(ends, [Duration::from_millis(1100); 3]);
    }

    #[test]
    fn a_patient_socket_loses_nothing_and_holds_nobody_up() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = listener.local_addr().unwrap();
            let sent: Vec<u8> = (0..8 << 20).map(|at: u32| (at / 7) as u8).collect();
            let copy = sent.clone();
            let (no_room, stuck) = std::sync::mpsc::channel();
            let sender = std::thread::spawn(move || {
                let mut socket = std::net::TcpStream::connect(to).unwrap();
                socket.write_all(&copy).unwrap();
                socket.shutdown(Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                stuck.recv().unwrap();
                socket.read_to_end(&mut answer).unwrap();
                answer
            });
            let (socket, _) = listener.accept().unwrap();
            socket.set_nonblocking(true).unwrap();
            let mut socket = Socket::Prompt(TcpStream::from_std(socket).unwrap());
            // A window of 64 KiB a minute would be two hours.
            let most = Duration::from_secs(60);
            socket.gather(most, Instant::now()).unwrap();
            let mut received = Vec::new();
            let all = socket.read_to_end(&mut received);
            tokio::time::timeout(most, all).await.unwrap().unwrap();
            assert!(received == sent);
            let mut all = std::pin::pin!(socket.write_all(&received));
            tokio::select! {
                biased;
                _ = &mut all => panic!("there is room for everything"),
                () = std::future::ready(()) => no_room.send(()).unwrap(),
            }
            tokio::time::timeout(most, all).await.unwrap().unwrap();
            socket.shutdown().await.unwrap();
            assert!(sender.join().unwrap() == sent);
        });
    }
}
