//! Compressed batches: one LZ4 frame, checked to its last byte, and no bombs.

use std::io::Write;

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BATCH_HEADER, Batch, BatchBuilder, BatchError, Codec, Lz4Problem};

use super::{PRODUCER, RECORD, raw, validate};

pub(super) fn frame(content: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::new(Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_compression_bomb_is_cut_off_at_the_limit() {
    let bomb = frame(&vec![0; 40 << 20]);
    assert!(bomb.len() < 256 << 10);
    assert_eq!(
        validate(&raw(1, 1, (0, 0), &bomb)).unwrap_err(),
        BatchError::TooLarge { limit: Limits::MAX_DECOMPRESSED_BATCH }
    );
    let small = Limits::new(Limits::MAX_FRAME, 1000);
    let bytes = Bytes::from(raw(1, 1, (0, 0), &frame(&[0; 1001])));
    assert_eq!(Batch::validate(bytes, &small).unwrap_err(), BatchError::TooLarge { limit: 1000 });
    let plain = Bytes::from(raw(0, 1, (0, 0), &[0; 1001]));
    assert_eq!(Batch::validate(plain, &small).unwrap_err(), BatchError::TooLarge { limit: 1000 });
}

#[test]
fn a_content_size_that_lies_is_refused() {
    let records = RECORD.repeat(100);
    let mut encoder = FrameEncoder::with_frame_info(FrameInfo::new().content_size(Some(500)), Vec::new());
    encoder.write_all(&records).unwrap();
    let frame = encoder.finish().unwrap();
    assert!(validate(&raw(1, 100, (0, 0), &frame)).is_ok());
    for lie in [0u64, 499, 501, u64::from(Limits::MAX_DECOMPRESSED_BATCH)] {
        let mut frame = frame.clone();
        frame[6..14].copy_from_slice(&lie.to_le_bytes());
        frame[14] = xxhash_rust::xxh32::xxh32(&frame[4..14], 0).to_le_bytes()[1];
        let error = validate(&raw(1, 100, (0, 0), &frame)).unwrap_err();
        assert_eq!(error, BatchError::Lz4(Lz4Problem::ContentSize), "{lie}");
    }
}

#[test]
fn an_lz4_frame_that_is_not_exactly_one_is_refused() {
    let frame = frame(&RECORD);
    let check = |content: &[u8]| validate(&raw(1, 1, (0, 0), content));
    assert!(check(&frame).is_ok());
    for cut in 0..frame.len() {
        assert_eq!(check(&frame[..cut]).unwrap_err(), BatchError::Lz4(Lz4Problem::EndsEarly), "cut at {cut}");
    }
    assert_eq!(check(&[&frame[..], &[0]].concat()).unwrap_err(), BatchError::Lz4(Lz4Problem::TrailingBytes));
    assert_eq!(
        check(&[&frame[..], &frame[..]].concat()).unwrap_err(),
        BatchError::Lz4(Lz4Problem::TrailingBytes)
    );
    let legacy = [&[0x02, 0x21, 0x4c, 0x18][..], &[5, 0, 0, 0], &RECORD].concat();
    assert_eq!(check(&legacy).unwrap_err(), BatchError::Lz4(Lz4Problem::BadMagic));
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18][..], &[0, 0, 0, 0], &frame].concat();
    assert_eq!(check(&skippable).unwrap_err(), BatchError::Lz4(Lz4Problem::BadMagic));
    let mut dictionary = frame.clone();
    dictionary[4] |= 1;
    assert_eq!(check(&dictionary).unwrap_err(), BatchError::Lz4(Lz4Problem::Dictionary));
    let mut checksum = frame.clone();
    checksum[6] ^= 1;
    assert_eq!(check(&checksum).unwrap_err(), BatchError::Lz4(Lz4Problem::Checksum));
}

#[test]
fn every_shape_of_lz4_frame_is_read() {
    let mut builder = BatchBuilder::new(Codec::None);
    for i in 0..60_000u32 {
        builder.push(i64::from(i), None, format!("record {i} of many {}", i % 97).as_bytes(), &[]).unwrap();
    }
    let batch = builder.build(PRODUCER, 0);
    let content = &batch.bytes()[BATCH_HEADER..];
    assert!(content.len() > 1 << 20, "more than one block of every size but the largest");
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for sums in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(sums)
                    .content_checksum(sums)
                    .content_size(sums.then_some(content.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(content).unwrap();
                let mut frame = encoder.finish().unwrap();
                let good = validate(&raw(1, 60_000, (0, 59_999), &frame)).unwrap();
                assert_eq!(good.records(&Limits::default()).unwrap().count(), 60_000);
                if sums {
                    *frame.last_mut().unwrap() ^= 1;
                    assert_eq!(
                        validate(&raw(1, 60_000, (0, 59_999), &frame)).unwrap_err(),
                        BatchError::Lz4(Lz4Problem::Checksum)
                    );
                }
            }
        }
    }
}

#[test]
fn what_lz4_does_not_shrink_is_left_as_it_is() {
    let mut builder = BatchBuilder::new(Codec::Lz4);
    builder.push(0, None, b"short", &[]).unwrap();
    assert_eq!(builder.build(PRODUCER, 0).header().codec, Codec::None);
    builder.push(0, None, &[7; 5000], &[]).unwrap();
    let batch = builder.build(PRODUCER, 1);
    assert_eq!(batch.header().codec, Codec::Lz4);
    assert!(batch.bytes().len() < 200);
}
