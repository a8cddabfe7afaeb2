//! What a consumer gives: batches as they were stored, and the records in them.

use bytes::Bytes;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{Batch, BatchError, HeaderRefs, Headers, Records};
use sealstream_protocol::entry::EntryHeader;

/// A record. Key, value and headers are slices of what was read: they keep its batch in memory, about a frame of
/// 1 MiB; copy what is kept for long.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
/// if let Some(record) = consumer.next().await.transpose()? {
///     println!("{}/{} {:?}", record.partition, record.offset, record.value);
///     for header in record.headers {
///         println!("{}: {:?}", header.name(), header.value);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

impl ConsumerRecord {
    /// A record as a consumer gives it, for tests of what a program does with one: without key and headers, and stored at the
    /// beginning of time. What is to be different, say in its fields.
    ///
    /// ```
    /// use sealstream_client::ConsumerRecord;
    ///
    /// let mut record = ConsumerRecord::new(3, 77, "18.4");
    /// record.key = Some("sensor-7".into());
    /// assert_eq!((record.partition, record.offset, &*record.value), (3, 77, &b"18.4"[..]));
    /// ```
    pub fn new(partition: u32, offset: u64, value: impl Into<Bytes>) -> Self {
        let (key, headers) = (None, Headers::default());
        Self { partition, offset, timestamp: 0, append_time: 0, epoch: 0, key, value: value.into(), headers }
    }
}

/// A record, borrowed from its batch: no reference is counted for key, value or headers. From
/// [`BatchRecords::next_ref`].
///
/// ```no_run
/// # async fn example(batch: sealstream_client::consumer::ConsumedBatch) -> Result<(), Box<dyn std::error::Error>> {
/// let mut records = batch.records();
/// while let Some(record) = records.next_ref() {
///     let record = record?;
///     println!("{}: {} bytes, {} headers", record.offset, record.value.len(), record.headers.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BorrowedRecord<'a> {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
    /// The record's own time, in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// A null key (`None`) differs from an empty one.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: &'a [u8],
    /// The headers, read as they are asked for.
    pub headers: HeaderRefs<'a>,
}

/// A batch as its producer made it, and where it stands in the log. Its header and CRC were verified. It is a slice of
/// what was read: nothing is copied, unless it has to be decompressed.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
/// let mut bytes = 0;
/// while let Some(batch) = consumer.next_batch().await.transpose()? {
///     let mut records = batch.records();
///     while let Some(record) = records.next_ref() {
///         bytes += record?.value.len();
///     }
///     println!("up to offset {}: {bytes} bytes", batch.next_offset());
/// }
/// # Ok(())
/// # }
/// ```
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

/// The records of a batch: an iterator of records that can be kept, and [`next_ref`](Self::next_ref) for those that are
/// only looked at. An error says why the batch cannot be read, which the broker should have found out.
///
/// ```no_run
/// # async fn example(batch: sealstream_client::consumer::ConsumedBatch) -> Result<(), Box<dyn std::error::Error>> {
/// let kept: Result<Vec<_>, _> = batch.records().collect();
/// println!("{} records", kept?.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BatchRecords {
    partition: u32,
    entry: EntryHeader,
    from: u64,
    records: Option<Records>,
    broken: Option<BatchError>,
}

impl BatchRecords {
    /// The next record, borrowed: what [`next`](Iterator::next) gives, at the cost of reading it alone.
    pub fn next_ref(&mut self) -> Option<Result<BorrowedRecord<'_>, BatchError>> {
        if let Some(error) = self.broken.take() {
            return Some(Err(error));
        }
        let Self { partition, entry, from, records, .. } = self;
        let records = records.as_mut()?;
        // Offsets are consecutive, so that it is known how many come before the first that was asked for.
        while entry.base_offset + u64::from(records.next_delta()) < *from {
            if let Err(error) = records.next_ref()? {
                return Some(Err(error));
            }
        }
        Some(records.next_ref()?.map(|record| BorrowedRecord {
            partition: *partition,
            offset: entry.base_offset + u64::from(record.offset_delta),
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }))
    }

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
