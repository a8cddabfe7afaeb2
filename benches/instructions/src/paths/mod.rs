//! The hot paths: what every batch, or every frame, goes through.
//!
//! One call of a path moves as much as a producer or a consumer moves at once, with code of the crates and nothing beside it but what
//! calls it. Nothing in it is random, and each is taken once before it counts.

mod batches;
mod frames;
mod log;
mod sessions;
mod wire;

use std::hint::black_box;
use std::path::Path;

use sealstream_protocol::batch::Codec;

/// What takes a path once.
type Work = Box<dyn FnMut()>;

/// A path that is counted.
pub(crate) struct HotPath {
    pub(crate) name: &'static str,
    /// What the count is of one of.
    pub(crate) unit: &'static str,
    /// How many of those a call moves.
    pub(crate) units: u32,
    /// How many calls are counted.
    pub(crate) calls: u32,
    /// Makes ready in a directory of its own.
    prepare: fn(&Path) -> Work,
}

impl std::fmt::Debug for HotPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotPath").field("name", &self.name).finish_non_exhaustive()
    }
}

const RECORDS: u32 = batches::RECORDS;

/// All of them, in the order of the table.
pub(crate) const ALL: [HotPath; 16] = [
    record("build a batch of 1 KiB records", |_| batches::build(Codec::None, 1024)),
    record("build a batch of 128 B records", |_| batches::build(Codec::None, 128)),
    record("build a batch of 1 KiB records, LZ4", |_| batches::build(Codec::Lz4, 1024)),
    record("validate a batch of 1 KiB records", |_| batches::validate(Codec::None, 1024)),
    record("validate a batch of 128 B records", |_| batches::validate(Codec::None, 128)),
    record("validate a batch of 1 KiB records, LZ4", |_| batches::validate(Codec::Lz4, 1024)),
    record("read a batch of 128 B records", |_| batches::read(128)),
    HotPath {
        name: "encode an ack",
        unit: "frame",
        units: frames::ACKS,
        calls: 10,
        prepare: |_| frames::encode(),
    },
    HotPath {
        name: "decode an ack",
        unit: "frame",
        units: frames::ACKS,
        calls: 10,
        prepare: |_| frames::decode(),
    },
    HotPath {
        name: "decode a batch of 1 MiB, arriving by 16 KiB",
        unit: "frame",
        units: 1,
        calls: 10,
        prepare: |_| frames::arrive(),
    },
    HotPath {
        name: "append a batch of 1 MiB to the log",
        unit: "batch",
        units: 1,
        calls: log::APPENDS,
        prepare: |dir| log::append(dir, RECORDS),
    },
    HotPath {
        name: "append a batch of one record to the log",
        unit: "batch",
        units: 1,
        calls: 200,
        prepare: |dir| log::append(dir, 1),
    },
    HotPath {
        name: "read a batch of 1 MiB from the log, by 16 readers",
        unit: "read",
        units: log::READERS,
        calls: 10,
        prepare: log::fan_out,
    },
    HotPath {
        name: "produce a batch of 128 B records by a session",
        unit: "record",
        units: RECORDS,
        calls: 20,
        prepare: |dir| sessions::produce(dir, RECORDS),
    },
    HotPath {
        name: "produce a batch of one record by a session",
        unit: "batch",
        units: 1,
        calls: 200,
        prepare: |dir| sessions::produce(dir, 1),
    },
    HotPath {
        name: "consume a batch of 128 B records by 16 sessions",
        unit: "batch read",
        units: sessions::READERS,
        calls: 20,
        prepare: sessions::fan_out,
    },
];

/// A path on which every record of one batch is looked at.
const fn record(name: &'static str, prepare: fn(&Path) -> Work) -> HotPath {
    HotPath { name, unit: "record", units: RECORDS, calls: 5, prepare }
}

/// Takes all of them, with a mark before and after each.
pub(crate) fn take_all(dir: &Path) {
    for (path, number) in ALL.iter().zip(1..) {
        let files = dir.join(format!("files-{number}"));
        std::fs::create_dir(&files).expect("a directory of its own");
        let mut work = (path.prepare)(&files);
        work();
        counting_begins();
        for _ in 0..path.calls {
            work();
        }
        counting_ends();
        drop(work);
        std::fs::remove_dir_all(&files).expect("nobody else has the directory");
    }
}

// Two bodies that differ: of one the linker would make one function.
#[inline(never)]
fn counting_begins() {
    black_box(1_u8);
}

#[inline(never)]
fn counting_ends() {
    black_box(2_u16);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_can_be_taken_again_and_again() {
        let dir = std::env::temp_dir().join(format!("sealstream-instructions-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        take_all(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
