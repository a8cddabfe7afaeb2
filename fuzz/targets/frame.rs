//! A stream of frames, cut anywhere: what comes out does not depend on the cuts, and memory grows with what arrived.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sealstream_protocol::Limits;
use sealstream_protocol::frame::FrameDecoder;
use sealstream_protocol::message::{DecodeError, Message};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = decode(stream, stream.len());
    assert_eq!(decode(stream, usize::from(cut)), whole, "in pieces of {cut}");
});

/// What `stream` gives when it arrives in pieces of `piece` bytes.
fn decode(stream: &[u8], piece: usize) -> (Vec<Message>, Option<DecodeError>) {
    let mut decoder = FrameDecoder::new(Limits::MAX_FRAME);
    let mut buf = BytesMut::new();
    let mut messages = Vec::new();
    for arrived in stream.chunks(piece.max(1)) {
        buf.extend_from_slice(arrived);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(buf.capacity() <= 2 * stream.len() + (512 << 10), "{} reserved", buf.capacity());
    }
    (messages, None)
}
