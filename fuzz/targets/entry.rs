//! Entries: the three ways to read one agree, and what is read is written as the same bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sealstream_protocol::batch::BATCH_HEADER;
use sealstream_protocol::entry::{self, ENTRY_HEADER, Entries};

fuzz_target!(|data: &[u8]| {
    let Some((&mode, entries)) = data.split_first() else { return };
    let mut bytes = entries.to_vec();
    if mode & 1 == 0 {
        seal(&mut bytes);
    }
    let checked = entry::check(&bytes);
    let peeked = entry::peek(&bytes);
    match &checked {
        Ok(view) => assert_eq!(peeked.as_ref(), Ok(view)),
        Err(error) => assert!(peeked.is_ok() || peeked.as_ref() == Err(error)),
    }
    let mut at = 0;
    for entry in Entries::new(Bytes::from(bytes.clone())) {
        let Ok(entry) = entry else { break };
        let length = ENTRY_HEADER + entry.batch.bytes().len();
        let written = [&entry.header.encode(&entry.batch)[..], entry.batch.bytes()].concat();
        assert_eq!(written, bytes[at..at + length]);
        if at == 0 {
            let view = checked.as_ref().expect("what was read passes the check");
            assert_eq!((view.header, view.total_len), (entry.header, length));
            assert_eq!(view.next_offset(), entry.next_offset());
        }
        at += length;
    }
    assert_eq!(at > 0, checked.is_ok());
});

/// Makes the lengths and CRCs of one entry fit.
fn seal(bytes: &mut [u8]) {
    if bytes.len() >= ENTRY_HEADER + BATCH_HEADER {
        let length = u32::try_from(bytes.len()).unwrap();
        let (own, batch) = bytes.split_at_mut(ENTRY_HEADER);
        batch[4..8].copy_from_slice(&(length - 40).to_le_bytes());
        let crc = crc32c::crc32c(&batch[12..]);
        batch[8..12].copy_from_slice(&crc.to_le_bytes());
        own[8..12].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&own[8..]), &batch[..12]);
        own[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}
