//! What a consumer gives: batches as they were stored, and the records in them.

use bytes::Bytes;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{Batch, BatchError, Headers, Records};
use sealstream_protocol::entry::EntryHeader;

/// A record. Key, value and headers are slices of what was read: they keep its batch in memory, about a frame of
/// 1 MiB; copy what is kept for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
    /// The record's own time, in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// When the broker stored it, in milliseconds since the Unix epoch; never falls within a partition.
    pub append_time: i64,
    /// The log epoch that it was stored in: what a commit carries besides the offset.
    pub epoch: u32,
    /// A null key (`None`) differs from an empty one.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Bytes,
    /// The headers, read as they are asked for.
    pub headers: Headers,
}

/// A batch as its producer made it, and where it stands in the log. Its header and CRC were verified.
#[derive(Clone, Debug)]
pub struct ConsumedBatch {
    /// The partition.
    pub partition: u32,
    /// The broker's header: base offset, log epoch, append time.
    pub entry: EntryHeader,
    /// The batch.
    pub batch: Batch,
    /// The first offset that was asked for: records below it are left out.
    pub(super) from: u64,
}

impl ConsumedBatch {
    /// The offset of the first record that [`records`](Self::records) gives.
    pub fn first_offset(&self) -> u64 {
        self.from.max(self.entry.base_offset)
    }

    /// The offset after the last record: where to read on.
    pub fn next_offset(&self) -> u64 {
        self.entry.base_offset + u64::from(self.batch.header().count)
    }

    /// The same without the records below `offset`.
    pub(crate) fn starting_at(mut self, offset: u64) -> Self {
        self.from = self.from.max(offset);
        self
    }

    /// How many records there are, without those below the offset asked for.
    pub fn record_count(&self) -> u64 {
        self.next_offset() - self.first_offset()
    }

    /// The records, decompressed if need be. After an error it is at its end.
    pub fn records(&self) -> BatchRecords {
        let (records, broken) = match self.batch.records(&Limits::default()) {
            Ok(records) => (Some(records), None),
            Err(error) => (None, Some(error)),
        };
        BatchRecords { partition: self.partition, entry: self.entry, from: self.from, records, broken }
    }
}

/// The records of a batch. An error says why it cannot be read, which the broker should have found out.
#[derive(Clone, Debug)]
pub struct BatchRecords {
    partition: u32,
    entry: EntryHeader,
    from: u64,
    records: Option<Records>,
    broken: Option<BatchError>,
}

impl BatchRecords {
    /// The partition, and the batch's first offset.
    pub(crate) fn place(&self) -> (u32, u64) {
        (self.partition, self.entry.base_offset)
    }
}

impl Iterator for BatchRecords {
    type Item = Result<ConsumerRecord, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.broken.take() {
            return Some(Err(error));
        }
        loop {
            let record = match self.records.as_mut()?.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            let offset = self.entry.base_offset + u64::from(record.offset_delta);
            if offset < self.from {
                continue;
            }
            return Some(Ok(ConsumerRecord {
                partition: self.partition,
                offset,
                timestamp: record.timestamp,
                append_time: self.entry.append_time,
                epoch: self.entry.log_epoch,
                key: record.key,
                value: record.value,
                headers: record.headers,
            }));
        }
    }
}
