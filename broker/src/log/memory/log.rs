//! One partition in memory.

use bytes::{Bytes, BytesMut};
use sealstream_protocol::batch::Batch;
use sealstream_protocol::entry::{ENTRY_HEADER, EntryHeader};
use tokio::sync::watch;

use crate::log::engine::{Partition, ReadError, ReadOutcome};
use crate::log::producers::ProducerTable;

#[derive(Debug)]
struct Stored {
    base_offset: u64,
    next_offset: u64,
    append_time: i64,
    bytes: Bytes,
}

/// A partition, and who watches it.
#[derive(Debug)]
pub(super) struct Log {
    entries: Vec<Stored>,
    start: u64,
    end: u64,
    durable_end: u64,
    epoch: u32,
    /// Which epoch began at which offset: of records, or of the place where the next one goes.
    history: Vec<(u32, u64)>,
    last_append_time: i64,
    /// Of the entries.
    bytes: u64,
    pub(super) producers: ProducerTable,
    pub(super) read_only: bool,
    /// There while the partition is open.
    watch: Option<watch::Sender<u64>>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            start: 0,
            end: 0,
            durable_end: 0,
            epoch: 1,
            history: vec![(1, 0)],
            last_append_time: i64::MIN,
            bytes: 0,
            producers: ProducerTable::new(),
            read_only: false,
            watch: None,
        }
    }

    pub(super) fn open(&mut self) {
        if self.watch.is_none() {
            self.watch = Some(watch::Sender::new(self.durable_end));
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.watch.is_some()
    }

    pub(super) fn close(&mut self) {
        self.watch = None;
    }

    pub(super) fn watch(&self) -> Option<watch::Receiver<u64>> {
        self.watch.as_ref().map(watch::Sender::subscribe)
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn durable_end(&self) -> u64 {
        self.durable_end
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The time of an append made when the clock shows `now`.
    pub(super) fn append_time(&self, now: i64) -> i64 {
        self.last_append_time.max(now)
    }

    pub(super) fn append(&mut self, batch: &Batch, append_time: i64) {
        let header = EntryHeader {
            log_epoch: self.epoch,
            base_offset: self.end,
            append_time,
            durable_end: self.durable_end,
        };
        let mut bytes = BytesMut::with_capacity(ENTRY_HEADER + batch.bytes().len());
        bytes.extend_from_slice(&header.encode(batch));
        bytes.extend_from_slice(batch.bytes());
        let next_offset = self.end + u64::from(batch.header().count);
        self.bytes += bytes.len() as u64;
        self.entries.push(Stored { base_offset: self.end, next_offset, append_time, bytes: bytes.freeze() });
        self.end = next_offset;
        self.last_append_time = append_time;
    }

    /// Everything is durable.
    pub(super) fn settle(&mut self) {
        self.durable_end = self.end;
        if let Some(watch) = &self.watch {
            let end = self.end;
            watch.send_if_modified(|durable| std::mem::replace(durable, end) != end);
        }
    }

    /// What is not durable is gone, and never was.
    pub(super) fn cut(&mut self) {
        self.entries.retain(|entry| entry.next_offset <= self.durable_end);
        self.producers.truncate_to(self.durable_end);
        self.end = self.durable_end;
        self.bytes = self.entries.iter().map(|entry| entry.bytes.len() as u64).sum();
        self.last_append_time = self.entries.last().map_or(i64::MIN, |entry| entry.append_time);
    }

    /// Another epoch begins at the end.
    pub(super) fn raise_epoch(&mut self) {
        self.epoch += 1;
        self.history.push((self.epoch, self.end));
    }

    pub(super) fn describe(&self) -> Partition {
        Partition {
            start: self.start,
            durable_end: self.durable_end,
            epoch: self.epoch,
            bytes: self.bytes,
            read_only: self.read_only,
        }
    }

    pub(super) fn read(&self, from: u64, max_bytes: usize) -> Result<ReadOutcome, ReadError> {
        if from < self.start || from > self.durable_end {
            return Err(ReadError::OutOfRange { start: self.start, end: self.durable_end });
        }
        let first = self.entries.partition_point(|entry| entry.next_offset <= from);
        let mut outcome = ReadOutcome { entries: Vec::new(), next: from, durable_end: self.durable_end };
        let mut taken = 0;
        for entry in &self.entries[first..] {
            taken += entry.bytes.len();
            let fits = taken <= max_bytes || outcome.entries.is_empty();
            if !fits || entry.next_offset > self.durable_end {
                break;
            }
            outcome.entries.push(entry.bytes.clone());
            outcome.next = entry.next_offset;
        }
        Ok(outcome)
    }

    pub(super) fn offset_at(&self, time: i64) -> u64 {
        let index = self.entries.partition_point(|entry| entry.append_time < time);
        self.entries.get(index).map_or(self.durable_end, |entry| entry.base_offset.min(self.durable_end))
    }

    pub(super) fn check_epoch(&self, offset: u64, epoch: u32) -> Result<(), ReadError> {
        // What was written in this epoch or before ends where a later one begins.
        let later = self.history.iter().find(|(other, _)| *other > epoch);
        let end = later.map_or(self.durable_end, |(_, began)| *began);
        let known = offset == 0 || self.history.iter().any(|(other, _)| *other == epoch);
        if offset > end || !known {
            return Err(ReadError::Diverged { offset: end.min(offset) });
        }
        Ok(())
    }

    /// Every entry is a segment of its own here.
    pub(super) fn trim(&mut self, before: u64, max_bytes: Option<u64>) -> u64 {
        let mut bytes = self.bytes;
        let mut gone = 0;
        for entry in &self.entries {
            let wanted = entry.next_offset <= before || max_bytes.is_some_and(|max| bytes > max);
            if !wanted || entry.next_offset > self.durable_end {
                break;
            }
            bytes -= entry.bytes.len() as u64;
            gone += 1;
        }
        self.entries.drain(..gone);
        self.bytes = bytes;
        self.start = self.entries.first().map_or(self.end, |entry| entry.base_offset);
        self.start
    }
}
