//! Frames: small ones by the thousand, and a large one that arrives in pieces.

use std::hint::black_box;

use bytes::BytesMut;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::Codec;
use sealstream_protocol::frame::{FrameDecoder, produce_head};
use sealstream_protocol::message::Message;
use sealstream_protocol::message::produce::Ack;

use super::{RECORDS, Work, batches};

/// Frames of a call.
pub(super) const ACKS: u32 = 1000;

/// As much as a TLS record carries.
const PIECE: usize = 16 << 10;

fn acks() -> Vec<Message> {
    let ack = |request| Message::Ack(Ack { request, base_offset: 7, epoch: 1, duplicate: false });
    (0..u64::from(ACKS)).map(ack).collect()
}

fn encoded(messages: &[Message]) -> BytesMut {
    let mut out = BytesMut::new();
    for message in messages {
        message.encode(&mut out);
    }
    out
}

pub(super) fn encode() -> Work {
    let acks = acks();
    let mut out = encoded(&acks);
    Box::new(move || {
        out.clear();
        for ack in black_box(&acks) {
            ack.encode(&mut out);
        }
    })
}

pub(super) fn decode() -> Work {
    let wire = encoded(&acks());
    let (mut decoder, mut buf) = (FrameDecoder::new(Limits::MAX_FRAME), wire.clone());
    Box::new(move || {
        buf.clear();
        buf.extend_from_slice(&wire);
        while let Some(message) = decoder.decode(&mut buf).expect("it is good") {
            black_box(message);
        }
    })
}

/// A Produce of a megabyte: its head is encoded, and it is decoded as it arrives.
pub(super) fn arrive() -> Work {
    let payload = batches::batch(Codec::None, RECORDS, 1024).into_bytes();
    let mut decoder = FrameDecoder::new(Limits::MAX_FRAME);
    let (mut head, mut buf) = (BytesMut::new(), BytesMut::new());
    Box::new(move || {
        head.clear();
        produce_head(1, 1, 0, black_box(&payload).len(), &mut head);
        let mut produced = None;
        for piece in std::iter::once(&head[..]).chain(payload.chunks(PIECE)) {
            buf.extend_from_slice(piece);
            produced = produced.take().or(decoder.decode(&mut buf).expect("it is good"));
        }
        black_box(produced.expect("it is whole"));
    })
}
