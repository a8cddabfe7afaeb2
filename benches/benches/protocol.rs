//! What the protocol costs: batches built, checked and read, frames written and cut.
//!
//! The checksum alone is measured beside them: no check of a batch can be faster than it.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BATCH_HEADER, Batch, BatchBuilder, Codec};
use sealstream_protocol::entry::{Entries, EntryHeader};
use sealstream_protocol::frame::{FrameDecoder, produce_head};
use sealstream_protocol::message::Message;
use sealstream_protocol::message::produce::Ack;
use uuid::Uuid;

const RECORDS: u32 = 1000;
const VALUE: usize = 1024;
const PRODUCER: Uuid = Uuid::from_u128(7);
const CODECS: [Codec; 2] = [Codec::None, Codec::Lz4];

/// Text of sorts: LZ4 makes about half of it.
fn value() -> Vec<u8> {
    let mut state = 1u32;
    let word = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{:03} ", *state >> 23)
    };
    let mut text = String::new();
    while text.len() < VALUE {
        text.push_str(&word(&mut state));
    }
    text.truncate(VALUE);
    text.into_bytes()
}

fn push_all(builder: &mut BatchBuilder, value: &[u8]) {
    for i in 0..RECORDS {
        builder.push(i64::from(i), Some(&i.to_le_bytes()), value, &[]).expect("a megabyte fits");
    }
}

fn batch(codec: Codec) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    push_all(&mut builder, &value());
    builder.build(PRODUCER, 0)
}

/// Records of 1 KiB, as many bytes as the uncompressed batch has.
fn throughput() -> Throughput {
    Throughput::Bytes(batch(Codec::None).bytes().len() as u64)
}

fn batches(criterion: &mut Criterion) {
    let limits = Limits::default();
    let mut group = criterion.benchmark_group("batch");
    group.throughput(throughput());
    for codec in CODECS {
        let name = format!("{codec:?}").to_lowercase();
        let value = value();
        let mut builder = BatchBuilder::new(codec);
        group.bench_function(BenchmarkId::new("build", &name), |bencher| {
            bencher.iter(|| {
                push_all(&mut builder, black_box(&value));
                builder.build(PRODUCER, 0)
            });
        });
        let bytes = batch(codec).into_bytes();
        group.bench_function(BenchmarkId::new("validate", &name), |bencher| {
            bencher.iter(|| Batch::validate(black_box(bytes.clone()), &limits).expect("it is good"));
        });
        let stored = Batch::from_stored(bytes).expect("it is good");
        group.bench_function(BenchmarkId::new("read", &name), |bencher| {
            bencher.iter(|| {
                let records = stored.records(&limits).expect("it is good");
                records.map(|record| record.expect("it is good").value.len()).sum::<usize>()
            });
        });
    }
    let bytes = batch(Codec::None).into_bytes();
    group.bench_function("checksum", |bencher| {
        bencher.iter(|| crc32c::crc32c(black_box(&bytes[BATCH_HEADER..])));
    });
    group.finish();
}

fn entries(criterion: &mut Criterion) {
    let batch = batch(Codec::None);
    let header = EntryHeader { log_epoch: 1, base_offset: 0, append_time: 0, durable_end: 0 };
    let entry = Bytes::from([&header.encode(&batch)[..], batch.bytes()].concat());
    let mut group = criterion.benchmark_group("entry");
    group.bench_function("encode header", |bencher| bencher.iter(|| black_box(&header).encode(&batch)));
    group.throughput(throughput());
    group.bench_function("read", |bencher| bencher.iter(|| Entries::new(black_box(entry.clone())).count()));
    group.finish();
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let acks =
        (0..1000).map(|request| Message::Ack(Ack { request, base_offset: 7, epoch: 1, duplicate: false }));
    let acks: Vec<_> = acks.collect();
    let mut wire = BytesMut::new();
    for ack in &acks {
        ack.encode(&mut wire);
    }
    let mut out = BytesMut::with_capacity(wire.len());
    group.throughput(Throughput::Elements(acks.len() as u64));
    group.bench_function("encode acks", |bencher| {
        bencher.iter(|| {
            out.clear();
            for ack in black_box(&acks) {
                ack.encode(&mut out);
            }
        });
    });
    group.bench_function("decode acks", |bencher| {
        let mut decoder = FrameDecoder::new(Limits::MAX_FRAME);
        bencher.iter(|| {
            out.clear();
            out.extend_from_slice(&wire);
            while let Some(message) = decoder.decode(&mut out).expect("it is good") {
                black_box(message);
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("head of a produce", |bencher| {
        bencher.iter(|| {
            out.clear();
            produce_head(black_box(1), 1, 0, 1 << 20, &mut out);
        });
    });
    arrival(&mut group);
    group.finish();
}

/// Produce frames of a megabyte, arriving in pieces of the size of a TLS record.
fn arrival(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    let payload = batch(Codec::None).into_bytes();
    let mut wire = BytesMut::new();
    produce_head(1, 1, 0, payload.len(), &mut wire);
    wire.extend_from_slice(&payload);
    let mut decoder = FrameDecoder::new(Limits::MAX_FRAME);
    let mut buf = BytesMut::new();
    group.throughput(Throughput::Bytes(wire.len() as u64));
    group.bench_function("a produce of 1 MiB arrives", |bencher| {
        bencher.iter(|| {
            let mut produced = None;
            for piece in wire.chunks(16 << 10) {
                buf.extend_from_slice(piece);
                produced = produced.or(decoder.decode(&mut buf).expect("it is good"));
            }
            produced.expect("it is whole")
        });
    });
}

criterion_group!(benches, batches, entries, frames);
criterion_main!(benches);
