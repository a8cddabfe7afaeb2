//! Entries: read back as written, and what is too short told from what is wrong.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use sealstream_protocol::batch::{Batch, BatchBuilder, BatchError, Codec};
use sealstream_protocol::entry::{self, ENTRY_HEADER, Entries, Entry, EntryError, EntryHeader};
use uuid::Uuid;

fn batch(records: u32, codec: Codec) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for i in 0..records {
        builder.push(i64::from(i), None, b"value value value value value", &[]).unwrap();
    }
    builder.build(Uuid::from_u128(1), u64::from(records))
}

fn write(out: &mut BytesMut, header: &EntryHeader, batch: &Batch) {
    out.extend_from_slice(&header.encode(batch));
    out.extend_from_slice(batch.bytes());
}

fn one() -> Bytes {
    let header =
        EntryHeader { log_epoch: 3, base_offset: 1000, append_time: 1_700_000_000_000, durable_end: 990 };
    let mut out = BytesMut::new();
    write(&mut out, &header, &batch(7, Codec::None));
    out.freeze()
}

/// How many cases a property is tried with: `few` times the rounds of a long run.
fn cases(few: u32) -> ProptestConfig {
    let rounds = std::env::var("SEALSTREAM_ROUNDS").ok().and_then(|rounds| rounds.parse::<u32>().ok());
    ProptestConfig::with_cases(few.saturating_mul(rounds.unwrap_or(1)))
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn entries_come_back_as_they_were_written(
        headers in proptest::collection::vec((any::<u32>(), 0..u64::MAX / 2, any::<i64>(), any::<u64>(), 1..9u32, any::<bool>()), 0..6)
    ) {
        let mut out = BytesMut::new();
        let mut expected = Vec::new();
        for (log_epoch, base_offset, append_time, durable_end, records, lz4) in headers {
            let header = EntryHeader { log_epoch, base_offset, append_time, durable_end };
            let batch = batch(records, if lz4 { Codec::Lz4 } else { Codec::None });
            write(&mut out, &header, &batch);
            expected.push(Entry { header, batch });
        }
        let entries: Result<Vec<_>, _> = Entries::new(out.freeze()).collect();
        prop_assert_eq!(entries.unwrap(), expected);
    }
}

#[test]
fn an_entry_cut_anywhere_is_incomplete_and_not_corrupt() {
    let bytes = one();
    for cut in 0..bytes.len() {
        let EntryError::Incomplete { needed } = entry::check(&bytes[..cut]).unwrap_err() else {
            panic!("cut at {cut}");
        };
        assert!(cut < needed && needed <= bytes.len(), "{cut} needs {needed}");
        assert_eq!(entry::peek(&bytes[..cut]).is_ok(), cut >= entry::PEEK);
        if cut > 0 {
            let mut rest = bytes.slice(..cut);
            assert!(Entry::parse(&mut rest).unwrap_err().is_incomplete());
            assert_eq!(rest.len(), cut, "nothing is taken");
        }
    }
    assert_eq!(Entry::parse(&mut Bytes::new()).unwrap(), None);
    assert_eq!(entry::check(&bytes).unwrap().total_len, bytes.len());
}

#[test]
fn a_flipped_bit_is_never_an_entry() {
    let bytes = one();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = entry::check(&damaged).unwrap_err();
        assert!(!error.is_incomplete(), "bit {bit}: {error}");
    }
}

#[test]
fn zeroes_that_were_preallocated_are_no_entry() {
    assert_eq!(entry::peek(&[0; 200]).unwrap_err(), EntryError::BadMagic);
    assert_eq!(entry::peek(&[0]).unwrap_err(), EntryError::BadMagic);
    assert!(entry::peek(b"SLE").unwrap_err().is_incomplete());
    assert!(entry::peek(b"").unwrap_err().is_incomplete());
}

#[test]
fn a_batch_under_another_ones_header_is_found_out_by_the_headers_alone() {
    let header = EntryHeader { log_epoch: 1, base_offset: 0, append_time: 0, durable_end: 0 };
    let mine = batch(1, Codec::None);
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, b"other value, the same length!", &[]).unwrap();
    let other = builder.build(Uuid::from_u128(1), 1);
    assert_eq!(mine.bytes().len(), other.bytes().len());
    let bytes = [&header.encode(&mine)[..], other.bytes()].concat();
    assert!(matches!(entry::peek(&bytes), Err(EntryError::WrongCrc { .. })));
}

#[test]
fn damage_in_the_records_is_found_by_check_and_not_by_peek() {
    let mut bytes = one().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(entry::peek(&bytes).is_ok());
    assert!(matches!(entry::check(&bytes), Err(EntryError::Batch(BatchError::WrongCrc { .. }))));
    let mut entries = Entries::new(Bytes::from(bytes));
    assert!(entries.next().unwrap().is_err());
    assert!(entries.next().is_none());
}

#[test]
fn offsets_beyond_64_bits_are_refused() {
    let last = EntryHeader { log_epoch: 1, base_offset: u64::MAX - 7, append_time: 0, durable_end: 0 };
    let batch = batch(7, Codec::None);
    let mut out = BytesMut::new();
    write(&mut out, &last, &batch);
    assert_eq!(entry::check(&out).unwrap().next_offset(), u64::MAX);
    out.clear();
    write(&mut out, &EntryHeader { base_offset: u64::MAX - 6, ..last }, &batch);
    assert_eq!(entry::check(&out).unwrap_err(), EntryError::OffsetOverflow);
}

#[test]
fn an_entry_longer_than_its_batch_is_refused() {
    let batch = batch(1, Codec::None);
    let header = EntryHeader { log_epoch: 1, base_offset: 0, append_time: 0, durable_end: 0 };
    let mut bytes = [&header.encode(&batch)[..], batch.bytes(), &[0]].concat();
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[8..ENTRY_HEADER + 12]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(entry::check(&bytes), Err(EntryError::WrongLength { .. })));
}
