//! What a producer sends and what it gets back for it.

use std::ops::Range;

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
    /// A record without a key or headers.
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

    /// An upper bound of its size as encoded, in bytes: what it holds, 30 bytes for the lengths of itself, its
    /// timestamp, key, value and header count, and 10 for each header's two lengths.
    pub(super) fn size_bound(&self) -> usize {
        const FIXED: usize = 30;
        const PER_HEADER: usize = 10;
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len() + PER_HEADER).sum();
        FIXED + self.key.map_or(0, <[u8]>::len) + self.value.len() + headers
    }
}

/// Where a record is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordMetadata {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

/// Where consecutive records are stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredRange {
    /// The partition.
    pub partition: u32,
    /// Their offsets in it.
    pub offsets: Range<u64>,
}
