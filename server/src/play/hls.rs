//! Plays HLS: the first variant of a multivariant playlist, or a media playlist,
//! each segment once.

use std::time::Duration;

use anyhow::{Result, bail};
use axum::http::StatusCode;
use tokio::time::sleep;

use super::count::Count;
use super::http::{Address, Client};
use crate::tls::Connector;

/// Plays until the playlist ends.
pub(super) async fn play(address: &Address, connector: &Connector, count: &Count) -> Result<()> {
    let mut client = Client::new(connector.clone());
    let mut address = address.clone();
    let mut next: Option<u64> = None;
    let mut chosen = false;
    loop {
        let text = document(&mut client, &address, count).await?;
        let list = Playlist::parse(&text);
        if let Some(variant) = list.variant {
            if std::mem::replace(&mut chosen, true) {
                bail!("{address}: a variant that is a list of variants");
            }
            address = address.join(variant)?;
            continue;
        }
        if list.segments.is_empty() && list.ended {
            bail!("{address} has nothing in it");
        }
        // Players begin three segments before the end of a live playlist.
        let oldest = if list.ended {
            0
        } else {
            list.segments.len().saturating_sub(3) as u64
        };
        let mut number = next.unwrap_or_else(|| list.first.saturating_add(oldest));
        if number < list.first {
            count.gap();
            number = list.first;
        }
        for uri in list.segments.iter().skip((number - list.first) as usize) {
            let (status, data) = client.fetch(&address.join(uri)?).await?;
            if status != StatusCode::OK {
                bail!("{address}: the segment {uri} is answered with {status}");
            }
            count.bytes(data.len());
            let (video, audio) = frames(&data);
            count.frames(video, audio);
            number = number.saturating_add(1);
        }
        next = Some(number);
        if list.ended {
            return Ok(());
        }
        sleep(Duration::from_secs_f64(list.target.clamp(1.0, 60.0) / 2.0)).await;
    }
}

async fn document(client: &mut Client, address: &Address, count: &Count) -> Result<String> {
    let (status, body) = client.fetch(address).await?;
    count.bytes(body.len());
    if status != StatusCode::OK {
        bail!("{address}: the server answers {status}");
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// As much of a playlist as is needed to follow it.
#[derive(Debug, Default)]
struct Playlist<'t> {
    variant: Option<&'t str>,
    first: u64,
    target: f64,
    ended: bool,
    segments: Vec<&'t str>,
}

impl<'t> Playlist<'t> {
    fn parse(text: &'t str) -> Self {
        let mut list = Self::default();
        let mut of_variant = false;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(number) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
                list.first = number.parse().unwrap_or(0);
            } else if let Some(seconds) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
                list.target = seconds.parse().unwrap_or(0.0);
            } else if line == "#EXT-X-ENDLIST" {
                list.ended = true;
            } else if line.starts_with("#EXT-X-STREAM-INF:") {
                of_variant = true;
            } else if !line.starts_with('#') {
                match of_variant {
                    true => list.variant = list.variant.or(Some(line)),
                    false => list.segments.push(line),
                }
            }
        }
        list
    }
}

/// Pictures and sound packets that begin in a transport stream segment.
fn frames(data: &[u8]) -> (u64, u64) {
    let (mut video, mut audio) = (0, 0);
    for packet in data.chunks_exact(TS_PACKET) {
        let (starts, adaptation) = (packet[1] & 0x40 != 0, packet[3] & 0x20 != 0);
        let payload = 4 + if adaptation {
            1 + usize::from(packet[4])
        } else {
            0
        };
        match packet.get(payload..payload + 4) {
            Some([0, 0, 1, 0xe0..=0xef]) if starts => video += 1,
            Some([0, 0, 1, 0xc0..=0xdf]) if starts => audio += 1,
            _ => {}
        }
    }
    (video, audio)
}

const TS_PACKET: usize = 188;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn playlists_of_both_kinds_are_read() {
        let list = Playlist::parse(
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na/index.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb/index.m3u8\n",
        );
        assert_eq!(list.variant, Some("a/index.m3u8"));
        let list = Playlist::parse(
            "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:6,\n7.ts\n#EXTINF:6,\n8.ts\n#EXT-X-ENDLIST\n",
        );
        assert_eq!((list.first, list.target, list.ended), (7, 6.0, true));
        assert_eq!(list.segments, ["7.ts", "8.ts"]);
    }

    #[test]
    fn starts_of_pictures_and_sounds_are_counted() {
        let mut packets = vec![0_u8; 3 * TS_PACKET];
        packets[..8].copy_from_slice(&[0x47, 0x41, 0, 0x10, 0, 0, 1, 0xe0]);
        packets[TS_PACKET..][..10].copy_from_slice(&[0x47, 0x41, 1, 0x30, 1, 0, 0, 0, 1, 0xc0]);
        // Goes on, and only looks like a start.
        packets[2 * TS_PACKET..][..8].copy_from_slice(&[0x47, 1, 0, 0x10, 0, 0, 1, 0xe0]);
        assert_eq!(frames(&packets), (1, 1));
    }
}
