//! Plays over RTMP.

use anyhow::{Context as _, Result, bail};
use rtmp::{ClientConfig, ClientEvent, ClientOutput, ClientSession, MediaKind, Url};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::count::{Clock, Count};
use crate::tls::{self, Connector, dial};

/// Plays until the server ends the stream.
pub(super) async fn play(url: Url, connector: &Connector, count: &Count) -> Result<()> {
    let shown = url.to_string();
    stream(url, connector, count).await.context(shown)
}

async fn stream(url: Url, connector: &Connector, count: &Count) -> Result<()> {
    let tls = url.is_tls().then_some(connector);
    let mut socket = dial(url.host(), url.port(), tls).await?;
    let now = || Instant::now().into_std();
    let mut session = ClientSession::new(ClientConfig::play(url), now())?;
    let mut input = vec![0; READ];
    let (mut video, mut audio) = (Clock::default(), Clock::default());
    loop {
        let mut closed = false;
        let mut out = Vec::new();
        while let Some(output) = session.poll_output() {
            match output {
                ClientOutput::Write(bytes) => out.extend_from_slice(&bytes),
                ClientOutput::Event(ClientEvent::Rejected { code, description }) => {
                    bail!("the server refuses: {description} ({code})")
                }
                ClientOutput::Event(ClientEvent::Closed) => closed = true,
                ClientOutput::Event(ClientEvent::Media(media)) => {
                    let header = media.body.get(1) == Some(&0);
                    match media.kind {
                        MediaKind::Video if !header => {
                            count.frames(1, 0);
                            if video.gap_before(media.timestamp_ms) {
                                count.gap();
                            }
                        }
                        MediaKind::Audio if !header => {
                            count.frames(0, 1);
                            if audio.gap_before(media.timestamp_ms) {
                                count.gap();
                            }
                        }
                        _ => {}
                    }
                }
                ClientOutput::Event(_) => {}
            }
        }
        socket.write_all(&out).await.context("connection lost")?;
        socket.flush().await.context("connection lost")?;
        if closed {
            return Ok(());
        }
        let deadline = session.poll_timeout().map(Instant::from_std);
        let read = tokio::select! {
            read = tls::read(&mut socket, &mut input) => read.context("connection lost")?,
            () = super::at(deadline) => {
                session.handle_timeout(now())?;
                continue;
            }
        };
        if read == 0 {
            bail!("the server closed the connection");
        }
        count.bytes(read);
        session.handle_input(now(), &input[..read])?;
    }
}

const READ: usize = 16 << 10;
