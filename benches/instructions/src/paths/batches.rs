//! Batches: built by a producer, validated by the broker, read by a consumer.

use std::hint::black_box;

use sealstream_protocol::Limits;
use sealstream_protocol::batch::{Batch, BatchBuilder, BufferPool, Codec};
use uuid::Uuid;

use super::Work;

/// Records of a batch.
pub(super) const RECORDS: u32 = 1000;

pub(super) const PRODUCER: Uuid = Uuid::from_u128(7);

/// Text of sorts: LZ4 makes about half of it.
fn value(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut text = Vec::new();
    while text.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(format!("{:03} ", state >> 23).as_bytes());
    }
    text.truncate(len);
    text
}

fn push(builder: &mut BatchBuilder, records: u32, value: &[u8]) {
    for i in 0..records {
        builder.push(i64::from(i), Some(&i.to_le_bytes()), value, &[]).expect("a megabyte fits");
    }
}

/// A batch of records with keys and values of so many bytes.
pub(super) fn batch(codec: Codec, records: u32, len: usize) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    push(&mut builder, records, &value(len));
    builder.build(PRODUCER, 0)
}

/// As a producer builds them: in a buffer that comes back.
pub(super) fn build(codec: Codec, len: usize) -> Work {
    let value = value(len);
    let mut builder = BatchBuilder::new(codec).pooled(BufferPool::new(2, 4 << 20));
    Box::new(move || {
        push(&mut builder, RECORDS, black_box(&value));
        black_box(builder.build(PRODUCER, 0));
    })
}

pub(super) fn validate(codec: Codec, len: usize) -> Work {
    let (bytes, limits) = (batch(codec, RECORDS, len).into_bytes(), Limits::default());
    Box::new(move || {
        black_box(Batch::validate(black_box(bytes.clone()), &limits).expect("it is good"));
    })
}

/// As a consumer reads records that it keeps: slices of the batch.
pub(super) fn read(len: usize) -> Work {
    let (batch, limits) = (batch(Codec::None, RECORDS, len), Limits::default());
    Box::new(move || {
        for record in black_box(&batch).records(&limits).expect("it is good") {
            black_box(record.expect("it is good"));
        }
    })
}
