//! Batches: what is built comes back, and what lies is found out.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

mod lz4;

use bytes::Bytes;
use proptest::prelude::*;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{
    BATCH_HEADER, Batch, BatchBuilder, BatchError, BufferPool, Codec, RecordProblem,
};
use uuid::Uuid;

const PRODUCER: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

/// A record as a test writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
}

fn plain() -> impl Strategy<Value = Plain> {
    let bytes = || {
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), (0..300usize).prop_map(|n| vec![b'x'; n])]
    };
    let timestamp = prop_oneof![any::<i64>(), 1_700_000_000_000..1_700_000_100_000i64];
    let headers = proptest::collection::vec((".{0,5}", bytes()), 0..3);
    (timestamp, proptest::option::of(bytes()), bytes(), headers)
        .prop_map(|(timestamp, key, value, headers)| Plain { timestamp, key, value, headers })
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::None), Just(Codec::Lz4)]
}

fn build(codec: Codec, records: &[Plain]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    push(&mut builder, records);
    builder.build(PRODUCER, 9)
}

fn push(builder: &mut BatchBuilder, records: &[Plain]) {
    for record in records {
        let headers: Vec<_> = record.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        builder.push(record.timestamp, record.key.as_deref(), &record.value, &headers).unwrap();
    }
}

fn read(batch: &Batch) -> Vec<Plain> {
    let mut offsets = 0..;
    let records = batch.records(&Limits::default()).unwrap();
    let plain = records.map(|record| {
        let record = record.unwrap();
        assert_eq!(Some(record.offset_delta), offsets.next());
        Plain {
            timestamp: record.timestamp,
            key: record.key.map(|key| key.to_vec()),
            value: record.value.to_vec(),
            headers: record.headers.map(|header| (header.name().to_owned(), header.value.to_vec())).collect(),
        }
    });
    plain.collect()
}

/// A batch with its header's `count` records in `records`, and a length and CRC that fit.
fn raw(codec: u8, count: u32, timestamps: (i64, i64), records: &[u8]) -> Vec<u8> {
    let mut bytes = b"SLB1".to_vec();
    bytes.extend(u32::try_from(BATCH_HEADER + records.len()).unwrap().to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.wrapping_sub(1).to_le_bytes());
    bytes.extend(timestamps.0.to_le_bytes());
    bytes.extend(timestamps.1.to_le_bytes());
    bytes.extend([0, 0, codec, 0]);
    bytes.extend(PRODUCER.as_bytes());
    bytes.extend(3u64.to_le_bytes());
    bytes.extend(records);
    sealed(bytes)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn validate(bytes: &[u8]) -> Result<Batch, BatchError> {
    Batch::validate(Bytes::copy_from_slice(bytes), &Limits::default())
}

/// One record: no key, an empty value, no headers, at the first timestamp.
const RECORD: [u8; 5] = [4, 0, 0, 0, 0];

/// How many cases a property is tried with: `few` times the rounds of a long run.
fn cases(few: u32) -> ProptestConfig {
    let rounds = std::env::var("SEALSTREAM_ROUNDS").ok().and_then(|rounds| rounds.parse::<u32>().ok());
    ProptestConfig::with_cases(few.saturating_mul(rounds.unwrap_or(1)))
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn records_come_back_as_they_were_pushed(codec in codec(), records in proptest::collection::vec(plain(), 1..20)) {
        let batch = build(codec, &records);
        prop_assert_eq!(batch.header().count as usize, records.len());
        prop_assert_eq!(batch.header().length as usize, batch.bytes().len());
        prop_assert_eq!((batch.header().producer_id, batch.header().sequence), (PRODUCER, 9));
        let validated = Batch::validate(batch.bytes().clone(), &Limits::default()).unwrap();
        prop_assert_eq!(&validated, &batch);
        prop_assert_eq!(&Batch::from_stored(batch.bytes().clone()).unwrap(), &batch);
        prop_assert_eq!(read(&validated), records);
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused(codec in codec(), records in proptest::collection::vec(plain(), 1..4)) {
        let batch = build(codec, &records);
        for cut in 0..batch.bytes().len() {
            prop_assert!(Batch::from_stored(batch.bytes().slice(..cut)).is_err(), "cut at {}", cut);
        }
    }

    /// What the CRC cannot find out, because the liar computed it.
    #[test]
    fn whatever_passes_validation_can_be_read_to_its_end(
        codec in 0..2u8,
        count in 1..4u32,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        records in proptest::collection::vec(plain(), 1..4),
    ) {
        let good = build(Codec::None, &records);
        let mut content = good.bytes()[BATCH_HEADER..].to_vec();
        for (at, value) in &flips {
            let at = at.index(content.len());
            content[at] = *value;
        }
        let content = if codec == 1 { lz4::frame(&content) } else { content };
        let (first, last) = (good.header().first_timestamp, good.header().last_timestamp);
        if let Ok(batch) = validate(&raw(codec, count, (first, last), &content)) {
            prop_assert_eq!(read(&batch).len(), count as usize);
        }
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn a_flipped_bit_is_refused(codec in codec(), records in proptest::collection::vec(plain(), 1..4)) {
        let batch = build(codec, &records);
        for bit in 0..batch.bytes().len() * 8 {
            let mut bytes = batch.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(validate(&bytes).is_err(), "bit {}", bit);
        }
    }
}

proptest! {
    #[test]
    fn a_batch_is_the_same_whether_it_was_sealed_before_or_its_buffer_used_before(
        codec in codec(),
        all in proptest::collection::vec(proptest::collection::vec(plain(), 1..12), 1..8),
        seals in proptest::collection::vec(any::<bool>(), 8),
    ) {
        let pool = BufferPool::new(2, 4096);
        let mut builder = BatchBuilder::new(codec).expecting(700).pooled(pool.clone());
        let mut kept = Vec::new();
        for (index, records) in all.iter().enumerate() {
            push(&mut builder, &records[..1]);
            if seals[index] {
                // Too early: the records that follow undo it.
                builder.seal();
            }
            push(&mut builder, &records[1..]);
            if seals[index] {
                builder.seal();
            }
            let batch = builder.build(PRODUCER, 9);
            let plain = build(codec, records);
            prop_assert_eq!(batch.bytes(), plain.bytes());
            prop_assert!(validate(batch.bytes()).is_ok());
            if index % 2 == 0 {
                kept.push(batch);
            }
        }
        for (batch, records) in kept.iter().zip(all.iter().step_by(2)) {
            let plain = build(codec, records);
            prop_assert_eq!(batch.bytes(), plain.bytes(), "while it is kept nobody writes into it");
        }
        drop(kept);
        prop_assert!(pool.spare() <= 2);
        pool.shrink_to(1);
        prop_assert!(pool.spare() <= 1);
    }

    #[test]
    fn borrowed_records_are_those_that_can_be_kept(codec in codec(), records in proptest::collection::vec(plain(), 1..12)) {
        let batch = build(codec, &records);
        let mut borrowed = batch.records(&Limits::default()).unwrap();
        for kept in batch.records(&Limits::default()).unwrap() {
            let kept = kept.unwrap();
            prop_assert_eq!(borrowed.next_delta(), kept.offset_delta);
            let one = borrowed.next_ref().unwrap().unwrap();
            prop_assert_eq!((one.offset_delta, one.timestamp), (kept.offset_delta, kept.timestamp));
            prop_assert_eq!((one.key, one.value), (kept.key.as_deref(), &kept.value[..]));
            let headers: Vec<_> = kept.headers.collect();
            let own = headers.iter().map(|header| (header.name(), &header.value[..]));
            prop_assert!(one.headers.eq(own));
        }
        prop_assert!(borrowed.next_ref().is_none());
    }
}

#[test]
fn a_buffer_that_is_too_large_to_keep_is_freed_and_a_small_batch_holds_no_large_buffer() {
    let pool = BufferPool::new(2, 10_000);
    let mut builder = BatchBuilder::new(Codec::None).pooled(pool.clone());
    builder.push(1, None, &vec![7; 20_000], &[]).unwrap();
    drop(builder.build(PRODUCER, 0));
    assert_eq!(pool.spare(), 0, "20 KB for later batches of a few bytes");
    builder.push(1, None, &[7; 5_000], &[]).unwrap();
    drop(builder.build(PRODUCER, 1));
    builder.push(1, None, b"small", &[]).unwrap();
    let small = builder.build(PRODUCER, 2);
    drop(small);
    // Its buffer is the builder's: the small batch had bytes of its own.
    builder.push(1, None, &[7; 5_000], &[]).unwrap();
    let large = builder.build(PRODUCER, 3);
    assert_eq!(pool.spare(), 0);
    drop(large);
    assert_eq!(pool.spare(), 1);
}

#[test]
fn a_null_key_differs_from_an_empty_one() {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(1, None, b"", &[]).unwrap();
    builder.push(1, Some(b""), b"", &[]).unwrap();
    let keys: Vec<_> = read(&builder.build(PRODUCER, 0)).into_iter().map(|record| record.key).collect();
    assert_eq!(keys, [None, Some(vec![])]);
}

#[test]
fn a_header_that_lies_is_refused_by_name() {
    let good = raw(0, 1, (5, 5), &RECORD);
    assert!(validate(&good).is_ok());
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        validate(&sealed(bytes)).unwrap_err()
    };
    assert_eq!(with(0, b'X'), BatchError::BadMagic);
    assert_eq!(with(4, 70), BatchError::WrongLength { declared: 70, actual: 69 });
    assert_eq!(with(12, 0), BatchError::Empty);
    assert_eq!(with(16, 1), BatchError::WrongLastOffset { declared: 1, count: 1 });
    assert_eq!(with(20, 6), BatchError::WrongLastTimestamp { declared: 5, actual: 6 });
    assert_eq!(with(28, 6), BatchError::WrongLastTimestamp { declared: 6, actual: 5 });
    assert_eq!(with(36, 1), BatchError::UnknownFlags);
    assert_eq!(with(39, 1), BatchError::UnknownFlags);
    assert_eq!(with(38, 2), BatchError::UnknownCodec(2));
    let mut nil = good.clone();
    nil[40..56].fill(0);
    assert_eq!(validate(&sealed(nil)).unwrap_err(), BatchError::NilProducer);
    let mut damaged = good.clone();
    damaged[68] = 1;
    assert!(matches!(validate(&damaged), Err(BatchError::WrongCrc { .. })));
}

#[test]
fn a_lying_count_is_refused() {
    let two = [RECORD, RECORD].concat();
    assert_eq!(
        validate(&raw(0, 3, (0, 0), &two)).unwrap_err(),
        BatchError::TooFewRecords { declared: 3, found: 2 }
    );
    assert_eq!(
        validate(&raw(0, 1, (0, 0), &two)).unwrap_err(),
        BatchError::TrailingBytes { declared: 1, bytes: 5 }
    );
    assert_eq!(
        validate(&raw(1, u32::MAX, (0, 0), &lz4::frame(&two))).unwrap_err(),
        BatchError::TooFewRecords { declared: u32::MAX, found: 2 }
    );
    // Not validated, as if the broker had lied: reading says so too, and promises nothing beforehand.
    let lie = Batch::from_stored(Bytes::from(raw(0, u32::MAX, (0, 0), &two))).unwrap();
    let records = lie.records(&Limits::default()).unwrap();
    assert_eq!(records.size_hint().0, 0);
    let last = records.last().unwrap();
    assert_eq!(last.unwrap_err(), BatchError::TooFewRecords { declared: u32::MAX, found: 2 });
}

#[test]
fn a_broken_record_is_refused_with_its_number() {
    let broken: [(&[u8], RecordProblem); 8] = [
        (&[5, 0, 0, 0, 0], RecordProblem::EndsEarly),
        (&[3, 0, 0, 0, 0], RecordProblem::EndsEarly),
        (&[5, 0, 0, 0, 0, 0], RecordProblem::TrailingBytes),
        (&[4, 0, 9, 0, 0], RecordProblem::EndsEarly),
        (&[4, 0, 0, 9, 0], RecordProblem::EndsEarly),
        (&[4, 0, 0, 0, 9], RecordProblem::EndsEarly),
        (&[7, 0, 0, 0, 1, 1, 0xff, 0], RecordProblem::HeaderName),
        (&[5, 0x80, 0, 0, 0, 0], RecordProblem::Varint),
    ];
    for (record, problem) in broken {
        let records = [&RECORD[..], record].concat();
        let error = validate(&raw(0, 2, (0, 0), &records)).unwrap_err();
        assert_eq!(error, BatchError::Record { index: 1, problem }, "{record:?}");
    }
}

#[test]
fn the_first_record_has_the_first_timestamp() {
    assert_eq!(validate(&raw(0, 1, (0, 1), &[4, 2, 0, 0, 0])).unwrap_err(), BatchError::WrongFirstTimestamp);
}

#[test]
fn a_record_that_does_not_fit_leaves_the_batch_as_it_was() {
    let limits = Limits::new(Limits::MAX_FRAME, 100);
    let mut builder = BatchBuilder::with_limits(Codec::None, &limits);
    assert_eq!(builder.push(0, None, &[0; 100], &[]).unwrap_err().room, 100);
    assert!(builder.is_empty());
    builder.push(0, None, &[1; 60], &[]).unwrap();
    let error = builder.push(0, None, &[2; 60], &[]).unwrap_err();
    assert_eq!((error.size, error.room, error.capacity), (65, 35, 100));
    builder.push(0, None, &[3; 30], &[]).unwrap();
    assert!(builder.push(0, None, &[], &[]).is_err());
    let batch = builder.build(PRODUCER, 0);
    assert_eq!(batch.bytes().len(), BATCH_HEADER + 100);
    assert!(Batch::validate(batch.into_bytes(), &limits).is_ok());
    builder.push(0, None, &[2; 60], &[]).unwrap();
}

#[test]
fn the_largest_batch_that_can_be_built_fits_a_frame() {
    for codec in [Codec::None, Codec::Lz4] {
        let mut builder = BatchBuilder::new(codec);
        let mut noise = 1u32;
        let value: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        })
        .take(1 << 20)
        .collect();
        while builder.push(0, None, &value, &[]).is_ok() {}
        let room = builder.push(0, None, &value, &[]).unwrap_err().room;
        builder.push(0, None, &value[..room - 12], &[]).unwrap();
        let batch = builder.build(PRODUCER, 0);
        assert!(Batch::validate(batch.bytes().clone(), &Limits::default()).is_ok());
        assert!(batch.bytes().len() + 100 > Limits::MAX_FRAME as usize);
    }
}

#[test]
fn a_built_batch_holds_little_more_memory_than_its_bytes() {
    for codec in [Codec::None, Codec::Lz4] {
        let mut builder = BatchBuilder::new(codec);
        for round in [1000, 10, 200u32] {
            for i in 0..round {
                builder.push(0, None, &i.to_le_bytes().repeat(20), &[]).unwrap();
            }
            let bytes = builder.build(PRODUCER, 0).into_bytes();
            let len = bytes.len();
            let owned = bytes.try_into_mut().expect("the batch owns its bytes alone");
            assert!(owned.capacity() <= len + len / 8, "{} for {len}", owned.capacity());
        }
    }
}
