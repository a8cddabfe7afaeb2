//! Frames cut out of a stream that arrives in pieces, from peers that lie.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use sealstream_protocol::Limits;
use sealstream_protocol::frame::{FrameDecoder, Front, data_head, produce_head};
use sealstream_protocol::limits::{MAX_CONTROL_FRAME, MAX_HELLO};
use sealstream_protocol::message::consume::Data;
use sealstream_protocol::message::hello::Ping;
use sealstream_protocol::message::produce::Produce;
use sealstream_protocol::message::{Fault, FaultCode, Message};

use super::{cases, messages};

fn encoded(message: &Message) -> BytesMut {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out
}

fn produce(len: usize) -> Message {
    Message::Produce(Produce { request: 1, handle: 2, partition: 3, batch: Bytes::from(vec![7; len]) })
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn messages_arrive_whole_however_the_stream_is_cut(
        sent in proptest::collection::vec(messages::message(), 1..6),
        pieces in proptest::collection::vec(1..80usize, 1..10),
    ) {
        let mut wire = BytesMut::new();
        for message in &sent {
            message.encode(&mut wire);
        }
        let mut decoder = FrameDecoder::new(Limits::MAX_FRAME);
        let mut buf = BytesMut::new();
        let mut received = Vec::new();
        let mut pieces = pieces.iter().cycle();
        while !wire.is_empty() {
            let piece = wire.split_to(wire.len().min(*pieces.next().unwrap()));
            buf.extend_from_slice(&piece);
            while let Some(message) = decoder.decode(&mut buf).unwrap() {
                received.push(message);
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert!(buf.is_empty());
    }
}

#[test]
fn a_head_and_its_payload_are_the_whole_frame() {
    let payload = Bytes::from_static(b"payload");
    let mut out = BytesMut::new();
    produce_head(1, 2, 3, payload.len(), &mut out);
    out.put_slice(&payload);
    assert_eq!(
        out,
        encoded(&Message::Produce(Produce { request: 1, handle: 2, partition: 3, batch: payload.clone() }))
    );
    out.clear();
    data_head(9, payload.len(), &mut out);
    out.put_slice(&payload);
    assert_eq!(out, encoded(&Message::Data(Data { subscription: 9, entries: payload })));
}

#[test]
fn a_payload_is_not_copied() {
    let mut buf = encoded(&produce(100_000));
    let from = buf.as_ptr() as usize;
    let Some(Message::Produce(produce)) = FrameDecoder::new(1 << 20).decode(&mut buf).unwrap() else {
        panic!()
    };
    let at = produce.batch.as_ptr() as usize;
    assert!((from..from + 100).contains(&at));
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_anything_is_buffered() {
    let mut decoder = FrameDecoder::new(1000);
    let mut buf = BytesMut::from(&1001u32.to_le_bytes()[..]);
    let before = buf.capacity();
    let error = decoder.decode(&mut buf).unwrap_err();
    assert_eq!(error.to_string(), "frame of 1001 bytes is larger than the limit of 1000");
    assert_eq!(Fault::from(&error).code_known(), Some(FaultCode::TooLarge));
    assert_eq!(buf.capacity(), before);
    let mut empty = BytesMut::from(&[0; 4][..]);
    assert_eq!(decoder.decode(&mut empty).unwrap_err().to_string(), "frame is empty");
}

#[test]
fn a_control_frame_is_held_to_a_limit_of_its_own() {
    let mut decoder = FrameDecoder::new(Limits::MAX_FRAME);
    let mut buf = BytesMut::from(&(MAX_CONTROL_FRAME + 1).to_le_bytes()[..]);
    assert_eq!(decoder.decode(&mut buf).unwrap(), None, "it may yet be a Produce");
    buf.put_u8(0x50);
    let error = decoder.decode(&mut buf).unwrap_err();
    assert_eq!(error.to_string(), "JoinGroup: frame of 1048577 bytes is larger than the limit of 1048576");
    let mut hello = BytesMut::from(&(MAX_HELLO + 1).to_le_bytes()[..]);
    assert!(FrameDecoder::new(MAX_HELLO).decode(&mut hello).is_err());
}

#[test]
fn a_buffer_of_one_frame_is_handed_over_and_any_other_is_left_alone() {
    let mut decoder = FrameDecoder::new(Limits::MAX_FRAME);
    let never = |_: BytesMut| -> Bytes { panic!("there is more in it, or less, or no payload") };
    let wire = encoded(&produce(1000));
    let mut whole = wire.clone();
    let place = whole.as_ptr();
    let front = decoder.take_whole(&mut whole, &BytesMut::freeze).unwrap();
    let Front::Message(Message::Produce(taken)) = &front else { panic!("{front:?}") };
    assert_eq!(front, Front::Message(produce(1000)));
    assert_eq!(taken.batch.as_ptr(), place.wrapping_add(wire.len() - 1000), "it is not copied");
    assert!(whole.is_empty());
    let mut part = BytesMut::from(&wire[..500]);
    assert_eq!(decoder.take_whole(&mut part, &never).unwrap(), Front::Part { whole: Some(wire.len()) });
    assert_eq!(part.len(), 500);
    let mut two = [&wire[..], &wire[..7]].concat().as_slice().into();
    assert_eq!(decoder.take_whole(&mut two, &never).unwrap(), Front::Message(produce(1000)));
    assert_eq!(two, wire[..7]);
    let ping = Message::Ping(Ping { nonce: 1 });
    assert_eq!(decoder.take_whole(&mut encoded(&ping), &never).unwrap(), Front::Message(ping));
}

#[test]
fn an_unknown_kind_is_refused_at_its_first_byte() {
    let mut buf = BytesMut::from(&[0, 0, 1, 0, 0x7f][..]);
    let error = FrameDecoder::new(1 << 20).decode(&mut buf).unwrap_err();
    assert_eq!(Fault::from(&error).code_known(), Some(FaultCode::UnexpectedFrame));
}

#[test]
fn a_claimed_length_alone_reserves_little() {
    let mut decoder = FrameDecoder::new(Limits::MAX_FRAME);
    let mut buf = BytesMut::new();
    buf.put_u32_le(Limits::MAX_FRAME);
    buf.put_u8(0x33);
    assert_eq!(decoder.decode(&mut buf).unwrap(), None);
    assert!(buf.capacity() <= (256 << 10) + 64, "{}", buf.capacity());
    // What arrives earns at most as much again, plus the same.
    for _ in 0..50 {
        buf.put_bytes(0, 100_000);
        assert_eq!(decoder.decode(&mut buf).unwrap(), None);
        assert!(buf.capacity() <= 2 * buf.len() + (256 << 10), "{} for {}", buf.capacity(), buf.len());
    }
}

#[test]
fn a_peer_that_has_sent_large_frames_is_read_in_place() {
    let mut decoder = FrameDecoder::new(Limits::MAX_FRAME);
    let mut first = encoded(&produce(1 << 20));
    decoder.decode(&mut first).unwrap().unwrap();
    let wire = encoded(&produce(1 << 20));
    let mut buf = BytesMut::from(&wire[..64]);
    assert_eq!(decoder.decode(&mut buf).unwrap(), None);
    let (at, capacity) = (buf.as_ptr(), buf.capacity());
    assert!(capacity >= wire.len());
    assert!(capacity < wire.len() + 200, "no more than the frame: {capacity}");
    buf.extend_from_slice(&wire[64..]);
    assert_eq!(buf.as_ptr(), at);
    assert!(decoder.decode(&mut buf).unwrap().is_some());
}

#[test]
fn an_idle_session_holds_no_memory() {
    let mut buf = BytesMut::new();
    let mut decoder = FrameDecoder::new(1000);
    assert_eq!(decoder.decode(&mut buf).unwrap(), None);
    assert_eq!(buf.capacity(), 0);
    let mut buf = encoded(&Message::Ping(Ping { nonce: 1 }));
    assert!(decoder.decode(&mut buf).unwrap().is_some());
    assert_eq!(decoder.decode(&mut buf).unwrap(), None);
}
