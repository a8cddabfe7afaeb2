//! One message, from its kind on: what can be read can be written, and is read as the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use sealstream_protocol::message::{Fault, Message};

fuzz_target!(|data: &[u8]| {
    let message = match Message::decode(&Bytes::copy_from_slice(data)) {
        Ok(message) => message,
        Err(error) => {
            assert!(!Fault::from(&error).text.is_empty());
            return;
        }
    };
    let first = encoded(&message);
    // Texts beyond their limit are cut when written, once.
    let read = Message::decode(&first).expect("what was written can be read");
    assert_eq!(read.kind(), message.kind());
    assert_eq!(encoded(&read), first);
    if first.len() == data.len() {
        assert_eq!(read, message);
    }
});

fn encoded(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.split_off(4).freeze()
}
