//! Frames of all sizes, in pieces that end anywhere, and how much room they have.

use std::time::Duration;

use bytes::Bytes;
use sealstream_protocol::message::hello::Ping;
use sealstream_protocol::message::produce::Produce;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

const FRAME: u32 = 16 << 20;

fn produce(request: u64, bytes: usize) -> Message {
    let batch = Bytes::from(vec![b'x'; bytes]);
    Message::Produce(Produce { request, handle: 1, partition: 0, batch })
}

fn wire(messages: &[Message]) -> BytesMut {
    let mut wire = BytesMut::new();
    for message in messages {
        message.encode(&mut wire);
    }
    wire
}

/// What the reader comes to when nothing more is sent: how much room its frame has at most.
async fn read_on(reader: &mut FrameReader<DuplexStream>, mut room: usize) -> (Vec<Message>, usize) {
    let mut messages = Vec::new();
    while let Ok(advance) = timeout(Duration::from_millis(20), reader.advance(room)).await {
        match advance.unwrap() {
            Advance::Message(message) => {
                messages.push(message);
                room = MAX_READ;
            }
            Advance::Bytes => {}
            Advance::Full { whole, wanted } => {
                assert_eq!(reader.buffer.len(), room);
                assert!(wanted > room && wanted <= whole);
                room = (2 * room).min(whole);
            }
            Advance::Ended => break,
        }
        let (held, capacity) = (reader.buffer.len(), reader.buffer.capacity());
        assert!(held <= room && capacity <= room + room / 8, "{held} and {capacity} of {room}");
    }
    (messages, room)
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_only_claims_to_be_large_costs_a_read_buffer_whatever_came_before_it() {
    let (mut peer, stream) = duplex(64 << 20);
    let mut reader = FrameReader::new(stream, FRAME);
    for proven in [None, Some(produce(1, 15 << 20))] {
        peer.write_all(&wire(proven.as_slice())).await.unwrap();
        let (messages, _) = read_on(&mut reader, MAX_READ).await;
        assert!(messages == proven.as_slice());
        let claim = wire(&[produce(2, 15 << 20)]);
        peer.write_all(&claim[..100]).await.unwrap();
        assert_eq!(read_on(&mut reader, MAX_READ).await, (vec![], MAX_READ));
        assert!(reader.buffer.len() == 100 && reader.buffer.capacity() <= MAX_READ);
        peer.write_all(&claim[100..]).await.unwrap();
        assert!(read_on(&mut reader, MAX_READ).await.0 == [produce(2, 15 << 20)]);
    }
}

#[tokio::test(start_paused = true)]
async fn frames_of_all_sizes_come_as_they_were_sent_and_never_take_more_than_their_room() {
    let (mut peer, stream) = duplex(64 << 20);
    let mut reader = FrameReader::new(stream, FRAME);
    let sizes = [0, 10, 4000, 64 << 10, 70_000, 3, 1 << 20, 200, 60_000, 60_000, 60_000, 300_000, 5 << 20];
    let mut sent: Vec<_> = (0..).zip(sizes).map(|(request, bytes)| produce(request, bytes)).collect();
    sent.extend((0..500).map(|nonce| Message::Ping(Ping { nonce })));
    sent.extend((0..200).map(|request| produce(request, 3000)));
    let bytes = wire(&sent);
    let mut received = Vec::new();
    // In one piece, then in pieces that end anywhere.
    for piece in [bytes.len(), 70_001, 9_973] {
        for part in bytes.chunks(piece) {
            peer.write_all(part).await.unwrap();
            if part.len() < piece || piece > 1 << 20 {
                received.extend(read_on(&mut reader, MAX_READ).await.0);
            }
        }
        assert!(received == sent, "{piece}");
        received.clear();
    }
    drop(peer);
    assert!(matches!(reader.advance(MAX_READ).await, Ok(Advance::Ended)));
}

#[tokio::test(start_paused = true)]
async fn a_full_frame_is_read_no_further_and_what_it_took_can_be_forgotten() {
    let (mut peer, stream) = duplex(4 << 20);
    let mut reader = FrameReader::new(stream, FRAME);
    let frame = wire(&[produce(1, 1 << 20)]);
    peer.write_all(&frame).await.unwrap();
    while !matches!(reader.advance(100 << 10).await.unwrap(), Advance::Full { .. }) {}
    assert_eq!(reader.received(), 100 << 10);
    assert!(
        matches!(reader.advance(100 << 10).await, Ok(Advance::Full { whole, .. }) if whole == frame.len())
    );
    assert_eq!(reader.received(), 100 << 10);
    reader.forget();
    assert_eq!(reader.buffer.capacity(), 0);
    drop(peer);
    reader.discard(4 << 20).await;
    assert!(reader.buffer.capacity() <= MAX_READ);
}

#[test]
fn room_is_in_proportion_to_what_has_arrived_and_never_more_than_the_frame() {
    for whole in [MAX_READ + 1, 300 << 10, 1 << 20, 5 << 20, 16 << 20] {
        let mut rooms = vec![MAX_READ];
        while let Some(&room) = rooms.last().filter(|room| **room < whole) {
            let next = room_after(room, whole, whole / 2);
            assert!(next > room && next <= whole && next <= 5 * room, "{rooms:?}");
            assert!(room < 1 << 20 || next <= 2 * room + STEP, "{rooms:?}");
            rooms.push(next);
        }
        assert!(rooms.len() <= 9, "{rooms:?}");
    }
}

#[test]
fn a_frame_is_trusted_once_its_peer_has_brought_one_as_large() {
    for proven in [1 << 20, 900 << 10] {
        assert_eq!(room_after(MAX_READ, 1 << 20, proven), 1 << 20);
    }
    assert!(room_after(MAX_READ, 1 << 20, 800 << 10) < 1 << 20, "not with less");
    assert_eq!(room_after(MAX_READ, TRUSTED, usize::MAX), TRUSTED);
    assert!(room_after(MAX_READ, TRUSTED + 1, usize::MAX) <= 5 * MAX_READ, "nor with more");
}

#[tokio::test]
async fn the_next_frame_comes_whatever_its_size_and_its_buffer_serves_again() {
    let (mut peer, stream) = duplex(1 << 20);
    let mut reader = FrameReader::new(stream, FRAME);
    let buffers = Buffers::new(4 << 20);
    reader.set_buffers(buffers.clone());
    let sent: Vec<_> = (0..).zip([10, 1 << 20, 300_000, 0, 1 << 20, 5 << 20, 64 << 10, 1 << 20]).collect();
    let wire = wire(&sent.iter().map(|(request, bytes)| produce(*request, *bytes)).collect::<Vec<_>>());
    let reading = async {
        for (request, bytes) in sent {
            assert!(reader.next().await.unwrap() == Some(produce(request, bytes)), "{request}");
            assert!(bytes != 1 << 20 || buffers.free_bytes() >= bytes);
        }
        assert!(reader.next().await.unwrap().is_none());
    };
    let writing = async {
        peer.write_all(&wire).await.unwrap();
        drop(peer);
    };
    tokio::join!(reading, writing);
}
