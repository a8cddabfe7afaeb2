//! What a producer sends and what it gets back for it.

use std::ops::Range;

use bytes::Bytes;

use crate::consumer::ConsumerRecord;

/// A record to send. It borrows what it is made of: the producer encodes it straight into a batch and keeps nothing.
///
/// ```
/// use sealstream_client::Record;
///
/// let record = Record::new("18.4 °C").key("sensor-7").headers(&[("unit", b"celsius")]);
/// assert_eq!(record.value_bytes(), "18.4 °C".as_bytes());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
    pub(super) headers: &'a [(&'a str, &'a [u8])],
    pub(super) timestamp: Option<i64>,
    pub(super) partition: Option<u32>,
}

impl<'a> Record<'a> {
    /// A record without a key or headers. It takes what is not borrowed yet by a reference: `Record::new(&format!("{n}"))`.
    pub fn new(value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { value: value.as_ref(), ..Self::default() }
    }

    /// Gives it a key: all records with this key go to the same partition, in order. An empty key is a key.
    #[must_use]
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Gives it headers; names may repeat.
    #[must_use]
    pub fn headers(mut self, headers: &'a [(&'a str, &'a [u8])]) -> Self {
        self.headers = headers;
        self
    }

    /// Its time, in milliseconds since the Unix epoch; by default the time when it is sent.
    #[must_use]
    pub fn timestamp(mut self, ms: i64) -> Self {
        self.timestamp = Some(ms);
        self
    }

    /// The partition to send it to, whatever its key.
    #[must_use]
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The value.
    pub fn value_bytes(&self) -> &'a [u8] {
        self.value
    }

    /// What it takes of a window at most, in bytes as encoded: what it holds, 30 bytes for the lengths of itself, its
    /// timestamp, key, value and header count, and 10 for each header's two lengths.
    ///
    /// ```
    /// use sealstream_client::Record;
    ///
    /// assert_eq!(Record::new("18.4").key("sensor-7").size(), 30 + 4 + 8);
    /// ```
    pub fn size(&self) -> usize {
        const FIXED: usize = 30;
        const PER_HEADER: usize = 10;
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len() + PER_HEADER).sum();
        FIXED + self.key.map_or(0, <[u8]>::len) + self.value.len() + headers
    }
}

/// A record that owns what it is made of, for queues, [sinks](super::RecordSink), and what is sent on or sent again.
///
/// ```
/// use sealstream_client::producer::OwnedRecord;
///
/// let record = OwnedRecord::new("18.4 °C").key("sensor-7").header("unit", "celsius");
/// assert_eq!(record.headers.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedRecord {
    /// All records with this key go to the same partition, in order. An empty key is a key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Bytes,
    /// The headers; names may repeat.
    pub headers: Vec<(String, Bytes)>,
    /// Its time, in milliseconds since the Unix epoch; `None` is when it is sent.
    pub timestamp: Option<i64>,
    /// The partition to send it to, whatever its key.
    pub partition: Option<u32>,
}

impl OwnedRecord {
    /// A record without a key or headers.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: value.into(), ..Self::default() }
    }

    /// Gives it a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Gives it a time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp(mut self, ms: i64) -> Self {
        self.timestamp = Some(ms);
        self
    }

    /// Chooses its partition, whatever its key.
    #[must_use]
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Lends it to whoever sends it.
    ///
    /// ```no_run
    /// # async fn example(producer: sealstream_client::Producer) -> Result<(), Box<dyn std::error::Error>> {
    /// # let record = sealstream_client::producer::OwnedRecord::new("18.4");
    /// let delivery = record.lend(|record| producer.try_send(record))?;
    /// # drop(delivery);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lend<T>(&self, work: impl FnOnce(Record<'_>) -> T) -> T {
        // Allocates nothing if there are none.
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
        work(Record {
            key: self.key.as_deref(),
            value: &self.value,
            headers: &headers,
            timestamp: self.timestamp,
            partition: self.partition,
        })
    }
}

/// The same record, to be sent on: its key chooses the partition anew, its time stays.
impl From<ConsumerRecord> for OwnedRecord {
    fn from(record: ConsumerRecord) -> Self {
        let ConsumerRecord { timestamp, key, value, headers, .. } = record;
        let headers = headers.map(|header| (header.name().to_owned(), header.value.clone())).collect();
        Self { key, value, headers, timestamp: Some(timestamp), partition: None }
    }
}

/// Where a record is stored.
///
/// ```
/// use sealstream_client::RecordMetadata;
///
/// let stored = RecordMetadata::new(3, 1_024);
/// println!("partition {} offset {}", stored.partition, stored.offset);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordMetadata {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

impl RecordMetadata {
    /// This place.
    pub const fn new(partition: u32, offset: u64) -> Self {
        Self { partition, offset }
    }
}

/// Where consecutive records are stored.
///
/// ```no_run
/// # async fn example(producer: sealstream_client::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// # use sealstream_client::Record;
/// for range in producer.send_batch(&[Record::new("a"), Record::new("b")]).await?.await? {
///     println!("partition {} offsets {:?}", range.partition, range.offsets);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StoredRange {
    /// The partition.
    pub partition: u32,
    /// Their offsets in it.
    pub offsets: Range<u64>,
}
