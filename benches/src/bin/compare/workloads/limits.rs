//! What the machine gives: streams without a broker, the cipher alone, the disk alone.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ring::aead::{AES_128_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustix::fs::{FallocateFlags, fallocate};
use sealstream_benches::stream::ends::Carrier;
use sealstream_benches::stream::subject::Subject;
use tempfile::TempDir;

use super::sized;
use crate::Failure;
use crate::contestants::Field;
use crate::contestants::bare::BareServer;
use crate::figure::{Sample, Unit, float};
use crate::runner::{Runner, Stage, Task};

/// At most so much a round: beyond it buffered writes are throttled to the disk's speed.
pub(crate) const MOST: u64 = 1 << 30;

/// The case of streams and files.
pub(crate) const BYTES: &str = "bytes in one direction";

/// The case of round trips.
pub(crate) const ONE: &str = "64 B, one at a time";

/// Bytes that the log has for each fdatasync while one producer keeps 8 MiB under way.
pub(crate) const SYNCED: u64 = 8 << 20;

/// A TLS record.
const RECORD: usize = 16 << 10;

/// A write to a file.
const WRITE: usize = 1 << 20;

/// What a single small batch is to the disk.
const BLOCK: usize = 4 << 10;

/// Measures all of it.
pub(crate) fn run(runner: &mut Runner, field: &Field) {
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for server in &field.bare {
        tasks.push(Box::new(Stream::of(server)));
        tasks.push(Box::new(Echo::of(server)));
    }
    tasks.push(Box::new(Cipher::new("AES-128-GCM", &AES_128_GCM)));
    tasks.push(Box::new(Cipher::new("ChaCha20-Poly1305", &CHACHA20_POLY1305)));
    tasks.push(Box::new(Writes { synced: None, bytes: None }));
    tasks.push(Box::new(Writes { synced: Some(SYNCED), bytes: None }));
    tasks.push(Box::new(Sync));
    runner.measure("limits", tasks);
}

/// Bytes over one bare stream.
pub(crate) struct Stream<'a> {
    server: &'a BareServer,
    subject: Option<Box<dyn Subject>>,
    bytes: u64,
}

impl<'a> Stream<'a> {
    pub(crate) fn of(server: &'a BareServer) -> Self {
        Self { server, subject: None, bytes: 0 }
    }
}

impl Task for Stream<'_> {
    fn contestant(&self) -> String {
        self.server.bare.name().to_owned()
    }

    fn case(&self) -> String {
        BYTES.to_owned()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let subject = self.subject.get_or_insert_with(|| stage.runtime.block_on(self.server.dial()));
        if stage.round == 0 {
            self.bytes = sized(stage.target, 1 << 20, MOST, |bytes| {
                Ok(stage.runtime.block_on(subject.stream(bytes)))
            })?;
        }
        let took = stage.runtime.block_on(subject.stream(self.bytes));
        Ok(vec![Sample::new("throughput", Unit::BytesPerSecond, float(self.bytes) / took.as_secs_f64())])
    }
}

/// The name of round trips.
pub(crate) fn echo(carrier: Carrier) -> String {
    format!("{} echo", carrier.name())
}

/// Round trips over one bare stream.
pub(crate) struct Echo<'a> {
    server: &'a BareServer,
    subject: Option<Box<dyn Subject>>,
    count: u64,
}

impl<'a> Echo<'a> {
    pub(crate) fn of(server: &'a BareServer) -> Self {
        Self { server, subject: None, count: 0 }
    }
}

impl Task for Echo<'_> {
    fn contestant(&self) -> String {
        echo(self.server.bare)
    }

    fn case(&self) -> String {
        ONE.to_owned()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let subject = self.subject.get_or_insert_with(|| stage.runtime.block_on(self.server.dial()));
        if stage.round == 0 {
            self.count = sized(stage.target, 100, u64::MAX, |count| {
                Ok(stage.runtime.block_on(subject.round_trips(count, &mut |_| {})))
            })?;
        }
        let mut times = times();
        stage.runtime.block_on(subject.round_trips(self.count, &mut |time| record(&mut times, time)));
        Ok(percentiles("round trip", &times))
    }
}

/// ring's AEAD, over TLS records in a cache.
struct Cipher {
    name: &'static str,
    key: LessSafeKey,
}

impl Cipher {
    fn new(name: &'static str, algorithm: &'static ring::aead::Algorithm) -> Self {
        let secret = vec![7; algorithm.key_len()];
        let key = UnboundKey::new(algorithm, &secret).expect("a key of the right length");
        Self { name, key: LessSafeKey::new(key) }
    }
}

impl Task for Cipher {
    fn contestant(&self) -> String {
        format!("ring's {}", self.name)
    }

    fn case(&self) -> String {
        BYTES.to_owned()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let mut record = vec![0x5a; RECORD];
        let (begun, mut sealed) = (Instant::now(), 0_u64);
        while begun.elapsed() < stage.target {
            let mut nonce = [0; NONCE_LEN];
            nonce[..size_of::<u64>()].copy_from_slice(&sealed.to_be_bytes());
            let tag = self.key.seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut record,
            );
            let _tag = std::hint::black_box(tag.map_err(|_| "sealing failed")?);
            sealed += 1;
        }
        let bytes = float(sealed * RECORD as u64);
        Ok(vec![Sample::new("throughput", Unit::BytesPerSecond, bytes / begun.elapsed().as_secs_f64())])
    }
}

/// A file written from its start to its end, into room that is there.
pub(crate) struct Writes {
    /// Bytes for each fdatasync, if there is any.
    pub(crate) synced: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

impl Writes {
    /// Its name.
    pub(crate) fn name(synced: Option<u64>) -> String {
        match synced {
            Some(bytes) => format!("file, fdatasync every {} MiB", bytes >> 20),
            None => "file".to_owned(),
        }
    }

    fn write(&self, bytes: u64) -> Result<Duration, Failure> {
        let mut file = Plain::new(bytes, self.synced)?;
        let begun = Instant::now();
        file.write(bytes)?;
        file.sync()?;
        Ok(begun.elapsed())
    }
}

/// The file.
pub(crate) struct Plain {
    file: File,
    content: Vec<u8>,
    synced: Option<u64>,
    unsynced: u64,
    /// Goes with it.
    _dir: TempDir,
}

impl Plain {
    /// With room for so many bytes, and an fdatasync for each `synced`, if there is any.
    pub(crate) fn new(bytes: u64, synced: Option<u64>) -> Result<Self, Failure> {
        let dir = TempDir::new()?;
        let file = allocated(&dir, bytes)?;
        Ok(Self { file, content: vec![0x5a; WRITE], synced, unsynced: 0, _dir: dir })
    }

    /// Writes so many bytes more, rounded up to whole writes.
    pub(crate) fn write(&mut self, bytes: u64) -> Result<(), Failure> {
        for _ in 0..bytes.div_ceil(WRITE as u64) {
            self.file.write_all(&self.content)?;
            self.unsynced += WRITE as u64;
            if self.synced.is_some_and(|synced| self.unsynced >= synced) {
                self.sync()?;
            }
        }
        Ok(())
    }

    /// Syncs what is not yet, if that is ever to be.
    fn sync(&mut self) -> Result<(), Failure> {
        if self.synced.is_some() && self.unsynced > 0 {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

impl Task for Writes {
    fn contestant(&self) -> String {
        Self::name(self.synced)
    }

    fn case(&self) -> String {
        BYTES.to_owned()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        if stage.round == 0 {
            self.bytes = Some(sized(stage.target, SYNCED, MOST, |bytes| self.write(bytes))?.max(SYNCED));
        }
        let bytes = self.bytes.unwrap_or(SYNCED);
        let took = self.write(bytes)?;
        Ok(vec![Sample::new("throughput", Unit::BytesPerSecond, float(bytes) / took.as_secs_f64())])
    }
}

/// Small writes into room that is there, each with its fdatasync.
pub(crate) struct Sync;

impl Sync {
    /// Its name.
    pub(crate) const NAME: &'static str = "fdatasync of 4 KiB";
}

impl Task for Sync {
    fn contestant(&self) -> String {
        Self::NAME.to_owned()
    }

    fn case(&self) -> String {
        ONE.to_owned()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        /// As many blocks as there is room for; then from the start again.
        const BLOCKS: usize = 4096;
        let dir = TempDir::new()?;
        let mut file = allocated(&dir, (BLOCKS * BLOCK) as u64)?;
        let content = vec![0x5a; BLOCK];
        let mut times = times();
        let begun = Instant::now();
        for block in 0.. {
            if begun.elapsed() >= stage.target {
                break;
            }
            if block % BLOCKS == 0 {
                file.rewind()?;
            }
            let start = Instant::now();
            file.write_all(&content)?;
            file.sync_data()?;
            record(&mut times, start.elapsed());
        }
        Ok(percentiles("round trip", &times))
    }
}

fn allocated(dir: &TempDir, bytes: u64) -> Result<File, Failure> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(dir.path().join("plain"))?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// An empty histogram of nanoseconds: three digits, up to a minute.
pub(crate) fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are constants")
}

/// Counts a time.
pub(crate) fn record(times: &mut Histogram<u64>, time: Duration) {
    times.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// The middle, and what one of a hundred exceeds.
pub(crate) fn percentiles(name: &str, times: &Histogram<u64>) -> Vec<Sample> {
    let at = |share| float(times.value_at_quantile(share)) / 1e9;
    vec![
        Sample::new(format!("{name}, p50"), Unit::Seconds, at(0.5)),
        Sample::new(format!("{name}, p99"), Unit::Seconds, at(0.99)),
    ]
}
