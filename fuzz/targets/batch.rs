//! A batch: what passes validation can be read to its end, and built again from its records as the same bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BATCH_HEADER, Batch, BatchBuilder, Codec, Record};
use xxhash_rust::xxh32::xxh32;

/// Small, so that bombs are cut soon and often.
const LIMITS: Limits = Limits::new(1 << 20, 256 << 10);

fuzz_target!(|data: &[u8]| {
    let Some((&mode, batch)) = data.split_first() else { return };
    let mut bytes = batch.to_vec();
    if mode & 2 == 0 {
        describe(&mut bytes);
    }
    if mode & 1 == 0 {
        seal(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    let stored = Batch::from_stored(bytes.clone());
    let Ok(batch) = Batch::validate(bytes, &LIMITS) else {
        // A consumer may meet it all the same: it gets an error, in bounded time.
        if let Ok(records) = stored.and_then(|batch| batch.records(&LIMITS)) {
            records.for_each(drop);
        }
        return;
    };
    assert_eq!(stored.as_ref(), Ok(&batch));
    let records: Vec<Record> = batch.records(&LIMITS).unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len(), batch.header().count as usize);
    assert_eq!(records.last().unwrap().timestamp, batch.header().last_timestamp);
    let again = rebuild(&batch, &records);
    if batch.header().codec == Codec::None {
        assert_eq!(again.bytes(), batch.bytes(), "there is one way to write a record");
    }
    let read: Vec<Record> = again.records(&LIMITS).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, records);
});

/// Makes length and CRC fit.
fn seal(bytes: &mut [u8]) {
    if bytes.len() >= BATCH_HEADER {
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(b"SLB1");
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Makes the checksum over the descriptor of an LZ4 frame fit.
fn describe(bytes: &mut [u8]) {
    let Some(frame) = bytes.get_mut(BATCH_HEADER..) else { return };
    let end = if frame.get(4).is_some_and(|flags| flags & 8 != 0) { 14 } else { 6 };
    if frame.len() > end {
        frame[end] = xxh32(&frame[4..end], 0).to_le_bytes()[1];
    }
}

fn rebuild(batch: &Batch, records: &[Record]) -> Batch {
    let mut builder = BatchBuilder::with_limits(Codec::None, &LIMITS);
    for record in records {
        let headers: Vec<_> = record.headers.clone().collect();
        let headers: Vec<_> = headers.iter().map(|header| (header.name(), &header.value[..])).collect();
        builder.push(record.timestamp, record.key.as_deref(), &record.value, &headers).unwrap();
    }
    builder.build(batch.header().producer_id, batch.header().sequence)
}
