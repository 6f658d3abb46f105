//! What a publisher's bytes go through before anything is decoded: RTMP chunks
//! to messages, FLV tags to access units. Bytes a second.
//!
//! At 6 Mbit/s a stream brings 750 kB a second, so a result in GB/s says that
//! ingest is nothing beside the ladder; a result in MB/s would say that it is not.

mod clip;

use std::time::Instant;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flv::Demuxer;
use flv::file::{Reader, Tag, TagKind};
use rtmp::{
    ClientConfig, ClientOutput, ClientSession, Event, MediaKind, Output, ServerConfig,
    ServerSession, Url,
};

#[expect(clippy::disallowed_methods, reason = "sessions want to know the time")]
fn now() -> Instant {
    Instant::now()
}

/// Lets the server read `bytes`; returns what it writes and how many messages
/// of media it found.
fn feed(server: &mut ServerSession, bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut written, mut messages) = (Vec::new(), 0);
    // As much as a read of the socket brings.
    for piece in bytes.chunks(64 << 10) {
        server
            .handle_input(now(), piece)
            .expect("a well-behaved client");
        while let Some(output) = server.poll_output() {
            match output {
                Output::Write(bytes) => written.extend_from_slice(&bytes),
                Output::Event(Event::Publish(_)) => server.accept_publish(),
                Output::Event(Event::Media(_)) => messages += 1,
                Output::Event(_) => {}
            }
        }
    }
    (written, messages)
}

/// What weir's own client sends: until it may publish, and the clip.
fn session(tags: &[Tag]) -> (Vec<u8>, Vec<u8>) {
    let url = Url::parse("rtmp://127.0.0.1/stream/key").expect("a URL");
    let mut client = ClientSession::new(ClientConfig::new(url), now()).expect("random numbers");
    let mut server = ServerSession::new(ServerConfig::default(), now());
    let drain = |client: &mut ClientSession| {
        let mut bytes = Vec::new();
        while let Some(output) = client.poll_output() {
            if let ClientOutput::Write(more) = output {
                bytes.extend_from_slice(&more);
            }
        }
        bytes
    };
    let mut opening = Vec::new();
    loop {
        let said = drain(&mut client);
        if said.is_empty() {
            break;
        }
        let (answer, _) = feed(&mut server, &said);
        opening.extend(said);
        client
            .handle_input(now(), &answer)
            .expect("a well-behaved server");
    }
    for tag in tags {
        let kind = match tag.kind {
            TagKind::Video => MediaKind::Video,
            TagKind::Audio => MediaKind::Audio,
            TagKind::Script => MediaKind::Data,
        };
        client
            .send(kind, tag.timestamp_ms, &tag.body)
            .expect("an accepted stream");
    }
    (opening, drain(&mut client))
}

fn chunks(criterion: &mut Criterion) {
    let tags = clip::tags(clip::FLV);
    let (opening, body) = session(&tags);
    let mut group = criterion.benchmark_group("rtmp");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("chunks to messages", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut server = ServerSession::new(ServerConfig::default(), now());
                feed(&mut server, &opening);
                server
            },
            |server| {
                let (_, messages) = feed(server, &body);
                assert_eq!(messages, tags.len());
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn tags(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flv");
    group.throughput(Throughput::Bytes(clip::FLV.len() as u64));
    group.bench_function("file to tags", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(flv::file::Limits::default());
            let mut count = 0;
            for piece in clip::FLV.chunks(256 << 10) {
                reader.push(piece);
                while reader.next_tag().expect("a whole file").is_some() {
                    count += 1;
                }
            }
            count
        });
    });
    let tags = clip::tags(clip::FLV);
    let bodies: Vec<(TagKind, u32, Bytes)> = tags
        .iter()
        .map(|tag| (tag.kind, tag.timestamp_ms, tag.body.clone()))
        .collect();
    group.bench_function("tags to access units", |bencher| {
        bencher.iter(|| {
            let mut demuxer = Demuxer::new(flv::Config::default());
            let mut count = 0;
            for (kind, ms, body) in &bodies {
                let unit = match kind {
                    TagKind::Video => demuxer.video(*ms, body.clone()),
                    TagKind::Audio => demuxer.audio(*ms, body.clone()),
                    TagKind::Script => Ok(demuxer.script(body).and(None)),
                };
                count += usize::from(unit.expect("a whole file").is_some());
            }
            count
        });
    });
    group.finish();
}

criterion_group!(ingest, chunks, tags);
criterion_main!(ingest);
