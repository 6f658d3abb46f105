//! `weir publish`: an FLV file to an RTMP server in real time.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use flv::file::{Reader, TagKind};
use rtmp::{ClientConfig, ClientEvent, ClientOutput, ClientSession, MediaKind, Url};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::input::open_flv;
use crate::tls::{self, Connector, Stream, dial};

/// Publishes `file` to `url`, again and again with `repeat`, `copies` times at
/// once. With more than one copy, `-1`, `-2`, … is added to the key. SIGINT
/// ends the streams in good order. `ca` is a file of CAs that are trusted
/// beside the system's where the URL says rtmps.
pub fn run(file: &Path, url: &str, repeat: bool, copies: u32, ca: Option<&Path>) -> Result<()> {
    let url = Url::parse(url)?;
    let connector = Connector::new(ca)?;
    let clip = Arc::new(Clip::read(file)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            let _ = tokio::signal::ctrl_c().await;
            let _ = stop.send(true);
        });
        let mut publishers = JoinSet::new();
        for copy in 1..=copies {
            let url = if copies == 1 {
                url.clone()
            } else {
                numbered(&url, copy)?
            };
            let (clip, connector) = (Arc::clone(&clip), connector.clone());
            publishers.spawn(publish(clip, url, connector, repeat, stopped.clone()));
        }
        while let Some(ended) = publishers.join_next().await {
            ended.context("a publisher panicked")??;
        }
        Ok(())
    })
}

/// The URL with `-copy` after the key and before the key's query.
fn numbered(url: &Url, copy: u32) -> Result<Url> {
    let (key, query) = match url.key().split_once('?') {
        Some((key, query)) => (key, format!("?{query}")),
        None => (url.key(), String::new()),
    };
    Ok(Url::join(&url.tc_url(), &format!("{key}-{copy}{query}"))?)
}

/// A file's tags, all of them in memory: clips for demonstrations and load are
/// small, and a disk that stalls would look like a server that does.
struct Clip {
    tags: Vec<(u32, MediaKind, Bytes)>,
    /// Milliseconds from one run of a loop to the next.
    length: u32,
}

impl Clip {
    fn read(path: &Path) -> Result<Self> {
        let mut data = Vec::new();
        open_flv(path)?
            .take(MAX_CLIP + 1)
            .read_to_end(&mut data)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        if data.len() as u64 > MAX_CLIP {
            bail!("{} is larger than {} MiB", path.display(), MAX_CLIP >> 20);
        }
        let mut reader = Reader::new(flv::file::Limits::default());
        let mut tags = Vec::new();
        for block in data.chunks(1 << 20) {
            reader.push(block);
            while let Some(tag) = reader
                .next_tag()
                .with_context(|| format!("{} is not a good FLV file", path.display()))?
            {
                let kind = match tag.kind {
                    TagKind::Video => MediaKind::Video,
                    TagKind::Audio => MediaKind::Audio,
                    TagKind::Script => MediaKind::Data,
                };
                // The end of sequence would be followed by the next run of a loop.
                let end_of_sequence = kind == MediaKind::Video && tag.body.get(1) == Some(&2);
                if !end_of_sequence {
                    tags.push((tag.timestamp_ms, kind, tag.body));
                }
            }
        }
        let times = |wanted: MediaKind| {
            tags.iter()
                .filter(move |(_, kind, body)| *kind == wanted && body.get(1) != Some(&0))
                .map(|(ms, ..)| *ms)
        };
        let length = [MediaKind::Video, MediaKind::Audio].map(|kind| {
            let (mut first, mut last, mut count) = (u32::MAX, 0, 0_u32);
            for ms in times(kind) {
                (first, last, count) = (first.min(ms), last.max(ms), count + 1);
            }
            // The last unit lasts as long as the mean of the others.
            let span = last.saturating_sub(first);
            span + span.checked_div(count.saturating_sub(1)).unwrap_or(0)
        });
        let length = length.into_iter().max().unwrap_or(0);
        if length == 0 {
            bail!("{} holds no video or audio", path.display());
        }
        Ok(Self { tags, length })
    }
}

async fn publish(
    clip: Arc<Clip>,
    url: Url,
    connector: Connector,
    repeat: bool,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let shown = url.to_string();
    let tls = url.is_tls().then_some(&connector);
    let socket = dial(url.host(), url.port(), tls).await;
    let socket = socket.with_context(|| shown.clone())?;
    let session = ClientSession::new(ClientConfig::new(url), Instant::now().into_std())?;
    let mut link = Link {
        socket,
        session,
        input: vec![0; 16 << 10],
        ready: false,
        closed: false,
        finished: false,
    };
    let result = link.play(&clip, repeat, stop).await;
    result.with_context(|| shown.clone())
}

struct Link {
    socket: Box<dyn Stream>,
    session: ClientSession,
    input: Vec<u8>,
    ready: bool,
    closed: bool,
    /// The end is ours: the session's own is no error any more.
    finished: bool,
}

impl Link {
    async fn play(&mut self, clip: &Clip, repeat: bool, stop: watch::Receiver<bool>) -> Result<()> {
        self.flush().await?;
        while !self.ready {
            let deadline = self.session.poll_timeout().map(Instant::from_std);
            self.receive(deadline.unwrap_or_else(|| Instant::now() + CONNECT))
                .await?;
            self.session.handle_timeout(Instant::now().into_std())?;
        }
        let started = Instant::now();
        let mut offset: u64 = 0;
        'runs: loop {
            for (ms, kind, body) in &clip.tags {
                if *stop.borrow() {
                    break 'runs;
                }
                let at = offset + u64::from(*ms);
                self.receive_until(started + Duration::from_millis(at))
                    .await?;
                // RTMP's clock wraps at 2^32 ms.
                self.session.send(*kind, at as u32, body)?;
                self.flush().await?;
            }
            offset += u64::from(clip.length);
            if !repeat {
                break;
            }
        }
        self.receive_until(started + Duration::from_millis(offset))
            .await?;
        self.session.finish();
        self.finished = true;
        self.flush().await?;
        let rest = async {
            // With TLS this is something to write, for which there may be no room.
            let _ = self.socket.shutdown().await;
            while tls::read(&mut self.socket, &mut self.input)
                .await
                .is_ok_and(|count| count > 0)
            {}
        };
        let _ = timeout(GOODBYE, rest).await;
        Ok(())
    }

    /// Writes what the session wants written and hears what it has to say.
    async fn flush(&mut self) -> Result<()> {
        let mut out = Vec::new();
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Write(bytes) => out.extend_from_slice(&bytes),
                ClientOutput::Event(ClientEvent::Ready) => self.ready = true,
                ClientOutput::Event(ClientEvent::Rejected { code, description }) => {
                    bail!("the server refused the stream: {description} ({code})")
                }
                ClientOutput::Event(ClientEvent::Closed) => self.closed = true,
                ClientOutput::Event(_) => {}
            }
        }
        let written = async {
            self.socket.write_all(&out).await?;
            self.socket.flush().await
        };
        written.await.context("connection lost")?;
        if self.closed && !self.finished {
            bail!("the server closed the session")
        } else {
            Ok(())
        }
    }

    /// Reads what comes until `time`.
    async fn receive_until(&mut self, time: Instant) -> Result<()> {
        while self.receive(time).await? {}
        Ok(())
    }

    /// Reads once, and answers; false when `time` came first.
    async fn receive(&mut self, time: Instant) -> Result<bool> {
        let read = tokio::select! {
            biased;
            () = sleep_until(time) => return Ok(false),
            read = tls::read(&mut self.socket, &mut self.input) => read,
        };
        let count = read.context("connection lost")?;
        if count == 0 {
            bail!("the server closed the connection");
        }
        self.session
            .handle_input(Instant::now().into_std(), &self.input[..count])?;
        self.flush().await?;
        Ok(true)
    }
}

/// Largest clip, in bytes.
const MAX_CLIP: u64 = 1 << 30;

/// Time for RTMP's own handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// Time for the server to close after the end.
const GOODBYE: Duration = Duration::from_secs(2);
