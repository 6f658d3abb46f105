use proptest::prelude::*;
use rml_rtmp::chunk_io::{ChunkDeserializer, ChunkSerializer};
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::time::RtmpTimestamp;

use super::*;
use crate::chunk::ChunkWriter;

fn publisher(limits: &Limits) -> ChunkReader {
    let mut reader = ChunkReader::new(limits);
    reader.allow_media(limits);
    reader
}

fn read(reader: &mut ChunkReader, mut input: &[u8]) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::new();
    while let Some(message) = reader.next(&mut input)? {
        messages.push(message);
    }
    assert!(input.is_empty());
    Ok(messages)
}

fn refusal(input: &[u8]) -> String {
    read(&mut publisher(&Limits::default()), input)
        .unwrap_err()
        .to_string()
}

/// Type, time and body of every message in `input`.
fn seen(input: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let messages = read(&mut publisher(&Limits::default()), input).unwrap();
    messages
        .into_iter()
        .map(|message| (message.kind, message.timestamp, message.body.to_vec()))
        .collect()
}

fn times(input: &[u8]) -> Vec<u32> {
    seen(input).into_iter().map(|(_, time, _)| time).collect()
}

/// A header of fmt 0.
fn full(csid: u8, time: u32, length: u32, kind: u8) -> Vec<u8> {
    let mut out = vec![csid];
    out.extend(&time.min(EXTENDED).to_be_bytes()[1..]);
    out.extend(&length.to_be_bytes()[1..]);
    out.extend([kind, 1, 0, 0, 0]);
    if time >= EXTENDED {
        out.extend(time.to_be_bytes());
    }
    out
}

fn held(reader: &ChunkReader) -> usize {
    reader
        .streams
        .values()
        .map(|stream| stream.body.capacity())
        .sum()
}

#[test]
fn sixteen_mebibytes_begun_on_a_thousand_chunk_streams_allocate_nothing_much() {
    // Refused at the first header by default.
    let begun = full(4, 0, 0xff_ffff, 9);
    assert_eq!(
        refusal(&begun),
        "RTMP bytes in a message: more than 4194304"
    );

    let limits = Limits {
        message: 16 << 20,
        chunk_streams: 1000,
        ..Limits::default()
    };
    let mut reader = publisher(&limits);
    let mut refused = None;
    for id in 0..2000_u16 {
        let mut input = vec![1];
        input.extend((id + 256).to_le_bytes());
        input.extend(&full(0, 0, 0xff_ffff, 9)[1..]);
        input.push(0xaa);
        // The chunk is not over, so only its first byte is there, and then the
        // rest of it arrives.
        input.extend([0xaa; 127]);
        if let Err(error) = read(&mut reader, &input) {
            refused = Some((id, error.to_string()));
            break;
        }
    }
    let (id, error) = refused.unwrap();
    assert_eq!(id, 1000);
    assert_eq!(error, "RTMP chunk streams: more than 1000");
    assert!(held(&reader) <= 1000 * 256, "{} bytes", held(&reader));
}

#[test]
fn unfinished_messages_are_bounded_together() {
    let limits = Limits {
        message: 1000,
        partial: 1500,
        ..Limits::default()
    };
    let mut reader = publisher(&limits);
    // A chunk size of 999 leaves one byte of each message to come.
    let size = [full(2, 0, 4, 1), 999_u32.to_be_bytes().to_vec()].concat();
    read(&mut reader, &size).unwrap();
    let begun = |csid| [full(csid, 0, 1000, 9), vec![0; 999]].concat();
    assert_eq!(read(&mut reader, &begun(4)), Ok(vec![]));
    assert_eq!(
        read(&mut reader, &begun(5)).unwrap_err().to_string(),
        "RTMP bytes of unfinished messages: more than 1500"
    );
}

#[test]
fn strangers_get_less_room_than_publishers() {
    let mut reader = ChunkReader::new(&Limits::default());
    let error = read(&mut reader, &full(3, 0, 200_000, 20)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "RTMP bytes in a message: more than 131072"
    );
}

#[test]
fn a_chunk_size_of_zero_or_with_the_top_bit_is_refused() {
    let set = |size: [u8; 4]| [full(2, 0, 4, 1), size.to_vec()].concat();
    assert_eq!(
        refusal(&set([0, 0, 0, 0])),
        "RTMP at byte 16: a chunk size of 0, the smallest is 1"
    );
    assert_eq!(
        refusal(&set([0x80, 0, 0, 1])),
        "RTMP at byte 16: a chunk size with the top bit set"
    );
    assert_eq!(
        refusal(&[full(2, 0, 1, 1), vec![9]].concat()),
        "RTMP at byte 13: a set chunk size of fewer than 4 bytes"
    );
    assert_eq!(
        refusal(&full(2, 0, 0, 2)),
        "RTMP at byte 12: an abort of fewer than 4 bytes"
    );
}

#[test]
fn the_largest_chunk_size_is_legal_and_allocates_nothing() {
    let mut reader = publisher(&Limits::default());
    let largest = [full(2, 0, 4, 1), vec![0x7f, 0xff, 0xff, 0xff]].concat();
    read(&mut reader, &largest).unwrap();
    let begun = [full(4, 0, 4_000_000, 9), vec![1, 2, 3]].concat();
    read(&mut reader, &begun).unwrap();
    assert!(held(&reader) <= 16);
}

#[test]
fn chunks_of_different_streams_interleave_inside_a_message() {
    let mut input = full(6, 40, 200, 9);
    input.extend([0x66; 128]);
    input.extend(full(4, 41, 3, 8));
    input.extend([0x44; 3]);
    input.push(0xc6);
    input.extend([0x66; 72]);
    assert_eq!(
        seen(&input),
        [(8, 41, vec![0x44; 3]), (9, 40, vec![0x66; 200])]
    );
}

#[test]
fn chunk_stream_ids_have_three_forms() {
    let tail = [0, 0, 7, 0, 0, 1, 8, 1, 0, 0, 0];
    for id in [
        &[2][..],
        &[63],
        &[0, 0],
        &[0, 255],
        &[1, 0, 1],
        &[1, 255, 255],
    ] {
        let mut input = id.to_vec();
        input.extend(tail);
        input.push(0xee);
        // And once more, with nothing but the id.
        let mut again = id.to_vec();
        again[0] |= 0xc0;
        input.extend(again);
        input.push(0xdd);
        assert_eq!(
            seen(&input),
            [(8, 7, vec![0xee]), (8, 14, vec![0xdd])],
            "{id:?}"
        );
    }
    // 64 in both of its forms is one chunk stream.
    let mut input = vec![0, 0];
    input.extend(tail);
    input.extend([1, 0xc1, 0, 0, 2]);
    assert_eq!(seen(&input), [(8, 7, vec![1]), (8, 14, vec![2])]);
}

#[test]
fn an_extended_timestamp_may_be_repeated_or_not() {
    for time in [EXTENDED, 0x0100_0000, u32::MAX] {
        for repeated in [true, false] {
            let mut input = full(6, time, 300, 9);
            input.extend([0x11; 128]);
            for part in [&[0x22; 128][..], &[0x33; 44]] {
                input.push(0xc6);
                if repeated {
                    input.extend(time.to_be_bytes());
                }
                input.extend(part);
            }
            let body = [&[0x11; 128][..], &[0x22; 128], &[0x33; 44]].concat();
            assert_eq!(seen(&input), [(9, time, body)], "{time} {repeated}");
        }
    }
}

#[test]
fn a_body_that_begins_like_the_extended_timestamp_is_told_apart() {
    // The last chunk has one byte, equal to the first of the timestamp, and the
    // header of the next message follows.
    let mut input = full(6, 0x0600_0000, 129, 9);
    input.extend([9; 128]);
    input.extend([0xc6, 6]);
    input.extend(full(6, 1, 1, 8));
    input.push(5);
    let mut body = vec![9; 128];
    body.push(6);
    assert_eq!(seen(&input), [(9, 0x0600_0000, body), (8, 1, vec![5])]);
}

#[test]
fn negative_deltas_wrap() {
    // OBS: sound 17 ms before the picture it follows, all on chunk stream 4.
    let mut input = full(4, 1000, 1, 9);
    input.push(1);
    input.extend([
        0x44, 0xff, 0xff, 0xff, 0, 0, 1, 8, 0xff, 0xff, 0xff, 0xef, 2,
    ]);
    input.extend([0x44, 0, 0, 40, 0, 0, 1, 9, 3]);
    assert_eq!(times(&input), [1000, 983, 1023]);
}

#[test]
fn an_extended_delta_may_be_an_absolute_time() {
    let extended = |fmt: u8, time: u32| {
        let mut out = vec![fmt << 6 | 6, 0xff, 0xff, 0xff];
        if fmt == 1 {
            out.extend([0, 0, 1, 9]);
        }
        out.extend(time.to_be_bytes());
        out.push(0);
        out
    };
    let mut input = full(6, 17_000_000, 1, 9);
    input.push(0);
    input.extend(extended(1, 17_000_040));
    input.extend(extended(2, 17_000_080));
    assert_eq!(times(&input), [17_000_000, 17_000_040, 17_000_080]);
    // A real jump of five hours is one.
    let mut input = full(6, 5, 1, 9);
    input.push(0);
    input.extend(extended(1, 18_000_000));
    assert_eq!(times(&input), [5, 18_000_005]);
}

#[test]
fn fmt_3_begins_a_message_with_the_last_delta() {
    let mut input = full(6, 100, 1, 9);
    input.push(1);
    input.extend([0x86, 0, 0, 33, 2]);
    input.extend([0xc6, 3, 0xc6, 4]);
    assert_eq!(times(&input), [100, 133, 166, 199]);
    // After a full header, its time is the delta.
    let mut input = full(6, 40, 1, 9);
    input.extend([1, 0xc6, 2, 0xc6, 3]);
    assert_eq!(times(&input), [40, 80, 120]);
}

#[test]
fn time_wraps_at_32_bits() {
    let mut input = full(6, u32::MAX - 10, 1, 9);
    input.extend([1, 0x86, 0, 0, 40, 2]);
    assert_eq!(times(&input), [u32::MAX - 10, 29]);
}

#[test]
fn a_short_header_on_an_unseen_chunk_stream_is_an_empty_message() {
    let mut input = vec![0x85, 0, 0, 7];
    input.extend(full(6, 1, 1, 9));
    input.push(2);
    assert_eq!(seen(&input), [(0, 7, vec![]), (9, 1, vec![2])]);
    assert_eq!(seen(&[0xc5, 0xc7]).len(), 2);
    assert_eq!(
        seen(&[0x45, 0, 0, 7, 0, 0, 1, 8, 0xaf]),
        [(8, 7, vec![0xaf])]
    );
}

#[test]
fn empty_messages_are_messages() {
    let mut input = full(4, 10, 0, 8);
    input.extend([0x84, 0, 0, 23, 0xc4]);
    assert_eq!(
        seen(&input),
        [(8, 10, vec![]), (8, 33, vec![]), (8, 56, vec![])]
    );
}

#[test]
fn abort_drops_the_message_and_the_chunk_stream_goes_on() {
    let mut input = full(6, 0, 200, 9);
    input.extend([1; 128]);
    input.extend(full(2, 0, 4, 2));
    input.extend([0, 0, 0, 6]);
    input.extend([0x46, 0, 0, 40, 0, 0, 2, 9, 8, 9]);
    assert_eq!(seen(&input), [(9, 40, vec![8, 9])]);
}

#[test]
fn a_new_header_gives_up_the_message_before_it_and_the_same_header_goes_on() {
    let mut input = full(6, 0, 200, 9);
    input.extend([1; 128]);
    let mut other = input.clone();
    input.extend(full(6, 0, 200, 9));
    input.extend([2; 72]);
    assert_eq!(
        seen(&input),
        [(9, 0, [[1; 128].as_slice(), &[2; 72]].concat())]
    );
    other.extend(full(6, 40, 2, 8));
    other.extend([3, 4]);
    assert_eq!(seen(&other), [(8, 40, vec![3, 4])]);
}

#[test]
fn control_messages_may_come_on_any_chunk_stream() {
    let mut input = full(5, 0, 4, 1);
    input.extend([0, 0, 1, 0]);
    input.extend(full(6, 0, 200, 9));
    input.extend([7; 200]);
    assert_eq!(seen(&input), [(9, 0, vec![7; 200])]);
}

/// The chunks of one message with a full header, in pieces of `size` bytes.
fn chunks(size: usize, csid: u8, time: u32, body: &[u8]) -> Vec<Vec<u8>> {
    let mut chunks = vec![full(csid, time, body.len() as u32, 9)];
    for (index, part) in body.chunks(size).enumerate() {
        if index > 0 {
            chunks.push(vec![0xc0 | csid]);
        }
        chunks[index].extend(part);
    }
    chunks
}

/// Times of a sender whose clock mostly goes on, and sometimes goes back.
fn clock() -> impl Strategy<Value = Vec<u32>> {
    let origin = prop_oneof![
        0..1000_u32,
        Just(0xff_fff0),
        Just(0x0200_0000),
        Just(u32::MAX - 99)
    ];
    (origin, prop::collection::vec(-40_i32..400, 1..20)).prop_map(|(origin, steps)| {
        let add = |time: &mut u32, step: i32| {
            *time = time.wrapping_add_signed(step);
            Some(*time)
        };
        steps.into_iter().scan(origin, add).collect()
    })
}

/// Messages as any sender could have them.
fn messages() -> impl Strategy<Value = Vec<(u8, u8, u32, Vec<u8>)>> {
    let time = prop_oneof![0..50_000_u32, any::<u32>()];
    let kind = prop_oneof![Just(8_u8), Just(9), Just(18), Just(20), Just(99)];
    let body = prop::collection::vec(any::<u8>(), 0..700);
    prop::collection::vec((2_u8..8, kind, time, body), 1..12)
}

proptest! {
    #[test]
    fn what_the_writer_writes_is_read_back_in_any_pieces(
        messages in messages(),
        chunk_size in 1_u32..300,
        cuts in prop::collection::vec(1_usize..400, 1..20),
    ) {
        let mut writer = ChunkWriter::new();
        let mut out = full(2, 0, 4, 1);
        out.extend(chunk_size.to_be_bytes());
        writer.set_chunk_size(chunk_size);
        for (csid, kind, time, body) in &messages {
            writer.write(&mut out, *csid, (*kind, 1, *time), body).unwrap();
        }
        let mut reader = publisher(&Limits::default());
        let mut found = Vec::new();
        let mut rest = out.as_slice();
        for cut in cuts.iter().cycle() {
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            found.extend(read(&mut reader, piece).unwrap());
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        let found: Vec<_> = found.iter().map(|m| (m.kind, m.timestamp, m.body.to_vec())).collect();
        let sent: Vec<_> = messages.iter().map(|(_, k, t, b)| (*k, *t, b.clone())).collect();
        prop_assert_eq!(found, sent);
        prop_assert_eq!(reader.partial, 0);
    }

    #[test]
    fn chunk_streams_interleaved_at_random_stay_apart(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..900), 2..6),
        picks in prop::collection::vec(0_usize..6, 0..60),
    ) {
        let mut queues: Vec<_> = (4_u8..)
            .zip(&bodies)
            .map(|(csid, body)| chunks(128, csid, u32::from(csid), body).into_iter())
            .collect();
        let mut input = Vec::new();
        for pick in picks {
            let queue = pick % queues.len();
            input.extend(queues[queue].next().into_iter().flatten());
        }
        input.extend(queues.into_iter().flatten().flatten());
        let mut found = seen(&input);
        found.sort_by_key(|(_, time, _)| *time);
        let sent: Vec<_> = (4..).zip(&bodies).map(|(time, body)| (9, time, body.clone())).collect();
        prop_assert_eq!(found, sent);
    }

    #[test]
    fn what_rml_rtmp_writes_is_read_alike(
        times in clock(),
        lengths in prop::collection::vec(1_usize..500, 20),
        kinds in prop::collection::vec(prop_oneof![Just(8_u8), Just(9), Just(18), Just(20)], 20),
        (chunk_size, whole, droppable) in (1_u32..300, any::<bool>(), any::<bool>()),
    ) {
        let mut writer = ChunkSerializer::new();
        let mut out = writer.set_max_chunk_size(chunk_size, RtmpTimestamp::new(0)).unwrap().bytes;
        let mut sent = Vec::new();
        for ((time, length), kind) in times.iter().zip(lengths).zip(kinds) {
            let payload = MessagePayload {
                timestamp: RtmpTimestamp::new(*time),
                type_id: kind,
                message_stream_id: 1,
                data: Bytes::from(vec![kind; length]),
            };
            out.extend(writer.serialize(&payload, whole, droppable).unwrap().bytes);
            sent.push((kind, *time, vec![kind; length]));
        }
        prop_assert_eq!(seen(&out), sent);
    }

    #[test]
    fn what_is_written_is_read_alike_by_rml_rtmp(
        times in clock(),
        lengths in prop::collection::vec(1_usize..500, 20),
        chunk_size in 1_u32..300,
    ) {
        let mut writer = ChunkWriter::new();
        let mut out = Vec::new();
        writer.set_chunk_size(chunk_size);
        let mut sent = Vec::new();
        for (index, (time, length)) in times.iter().zip(lengths).enumerate() {
            let kind = 8 + (index % 2) as u8;
            writer.write(&mut out, 4 + kind % 2, (kind, 1, *time), &vec![kind; length]).unwrap();
            sent.push((kind, *time, vec![kind; length]));
        }
        let mut reader = ChunkDeserializer::new();
        reader.set_max_chunk_size(chunk_size as usize).unwrap();
        let mut found = Vec::new();
        let mut input = out.as_slice();
        while let Some(message) = reader.get_next_message(input).unwrap() {
            input = &[];
            found.push((message.type_id, message.timestamp.value, message.data.to_vec()));
        }
        prop_assert_eq!(found, sent);
    }

    #[test]
    fn random_bytes_never_panic_and_come_out_alike_in_any_pieces(
        input in prop::collection::vec(prop_oneof![0_u8..10, any::<u8>()], 0..600),
        size in 1_usize..50,
    ) {
        let limits = Limits { message: 5000, partial: 2000, ..Limits::default() };
        let mut whole = publisher(&limits);
        let mut pieces = publisher(&limits);
        let mut one = Vec::new();
        let mut rest = input.as_slice();
        let mut one_error = None;
        loop {
            match whole.next(&mut rest) {
                Ok(Some(message)) => one.push(message),
                Ok(None) => break,
                Err(error) => { one_error = Some(error); break; }
            }
        }
        let mut two = Vec::new();
        let mut two_error = None;
        'pieces: for piece in input.chunks(size) {
            let mut piece = piece;
            loop {
                match pieces.next(&mut piece) {
                    Ok(Some(message)) => two.push(message),
                    Ok(None) => break,
                    Err(error) => { two_error = Some(error); break 'pieces; }
                }
            }
        }
        prop_assert_eq!(one, two);
        prop_assert_eq!(one_error.is_some(), two_error.is_some());
        let held: usize = pieces.streams.values().map(|stream| stream.body.len()).sum();
        if two_error.is_none() {
            prop_assert_eq!(held, pieces.partial);
        }
    }
}
