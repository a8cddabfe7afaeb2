//! Records: walked without allocation to validate them, and taken out of a batch without copying.

use bytes::Bytes;

use super::error::{BatchError, RecordProblem};
use super::header::BatchHeader;
use crate::wire::{Reader, unzigzag};

/// A record of a batch. What it holds are slices of the batch's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset, less the first record's.
    pub offset_delta: u32,
    /// In milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// A null key (`None`) differs from an empty one.
    pub key: Option<Bytes>,
    /// May be empty.
    pub value: Bytes,
    /// Read as they are asked for: a record may hold millions.
    pub headers: Headers,
}

/// The headers of a record, in the order in which they were written.
///
/// Only made of headers that were checked, so that iterating cannot fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    rest: Bytes,
    left: usize,
}

/// A header of a record. Names may repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: Bytes,
    /// Any bytes.
    pub value: Bytes,
}

impl Header {
    /// The name; may be empty.
    ///
    /// # Panics
    ///
    /// Never: the name was checked to be UTF-8 before the header was made.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name).expect("checked when the record was read")
    }
}

impl Iterator for Headers {
    type Item = Header;

    fn next(&mut self) -> Option<Header> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new(&self.rest);
        let name = self.rest.slice_ref(reader.run().ok()?);
        let value = self.rest.slice_ref(reader.run().ok()?);
        self.rest = self.rest.slice_ref(reader.rest());
        Some(Header { name, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers {}

/// A record, borrowed from the batch: no reference is counted for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset, less the first record's.
    pub offset_delta: u32,
    /// In milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// A null key (`None`) differs from an empty one.
    pub key: Option<&'a [u8]>,
    /// May be empty.
    pub value: &'a [u8],
    /// Read as they are asked for.
    pub headers: HeaderRefs<'a>,
}

/// The headers of a [`RecordRef`], in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRefs<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for HeaderRefs<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new(self.rest);
        // Checked when the record was read: neither can fail.
        let name = std::str::from_utf8(reader.run().ok()?).ok()?;
        let value = reader.run().ok()?;
        self.rest = reader.rest();
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for HeaderRefs<'_> {}

/// A record where it lies.
struct RecordView<'a> {
    timestamp_delta: i64,
    key: Option<&'a [u8]>,
    value: &'a [u8],
    header_count: usize,
    headers: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads one record and checks all of it.
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, RecordProblem> {
        let mut record = Reader::new(reader.run()?);
        let timestamp_delta = unzigzag(record.varint()?);
        let key = match record.length()?.checked_sub(1) {
            None => None,
            Some(len) => Some(record.take(len)?),
        };
        let value = record.run()?;
        let header_count = record.length()?;
        let headers = record.rest();
        if header_count == 0 && headers.is_empty() {
            return Ok(Self { timestamp_delta, key, value, header_count, headers });
        }
        check_headers(headers, header_count)?;
        Ok(Self { timestamp_delta, key, value, header_count, headers })
    }
}

fn check_headers(bytes: &[u8], count: usize) -> Result<(), RecordProblem> {
    let mut reader = Reader::new(bytes);
    for _ in 0..count {
        let name = reader.run()?;
        std::str::from_utf8(name).map_err(|_| RecordProblem::HeaderName)?;
        reader.run()?;
    }
    if reader.is_empty() { Ok(()) } else { Err(RecordProblem::TrailingBytes) }
}

/// Reads record `index` of a batch that says it holds `header.count`.
#[inline]
fn next_record<'a>(
    reader: &mut Reader<'a>,
    header: &BatchHeader,
    index: u32,
) -> Result<(RecordView<'a>, i64), BatchError> {
    if reader.is_empty() {
        return Err(BatchError::TooFewRecords { declared: header.count, found: index });
    }
    let record = RecordView::read(reader).map_err(|problem| BatchError::Record { index, problem })?;
    if index == 0 && record.timestamp_delta != 0 {
        return Err(BatchError::WrongFirstTimestamp);
    }
    let timestamp = header.first_timestamp.wrapping_add(record.timestamp_delta);
    Ok((record, timestamp))
}

/// Checks what can be checked only behind the last record.
fn check_end(left: usize, header: &BatchHeader, timestamp: i64) -> Result<(), BatchError> {
    if left != 0 {
        return Err(BatchError::TrailingBytes { declared: header.count, bytes: left });
    }
    if timestamp != header.last_timestamp {
        return Err(BatchError::WrongLastTimestamp { declared: header.last_timestamp, actual: timestamp });
    }
    Ok(())
}

/// Checks every record of `bytes`, and that they are all there is. Allocates nothing.
pub(super) fn check(bytes: &[u8], header: &BatchHeader) -> Result<(), BatchError> {
    let mut reader = Reader::new(bytes);
    let mut last = header.first_timestamp;
    for index in 0..header.count {
        (_, last) = next_record(&mut reader, header, index)?;
    }
    check_end(reader.len(), header, last)
}

/// The records of a batch, in order. After an error, and after the last record, it is at its end.
#[derive(Clone, Debug)]
pub struct Records {
    bytes: Bytes,
    /// Where the next record begins.
    at: usize,
    header: BatchHeader,
    next: u32,
}

impl Records {
    pub(super) fn new(bytes: Bytes, header: BatchHeader) -> Self {
        Self { bytes, at: 0, header, next: 0 }
    }

    /// How many records were read: the offset delta of the next one.
    pub fn next_delta(&self) -> u32 {
        self.next
    }

    /// The next record, borrowed: what [`next`](Iterator::next) gives, without a reference counted for each part of it.
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>, BatchError>> {
        let Self { bytes, at, header, next } = self;
        advance(bytes, at, header, next)
    }
}

/// Reads record `next`, which begins at `at`, and moves both on; after an error, to the end.
#[inline]
fn advance<'a>(
    bytes: &'a [u8],
    at: &mut usize,
    header: &BatchHeader,
    next: &mut u32,
) -> Option<Result<RecordRef<'a>, BatchError>> {
    if *next >= header.count {
        return None;
    }
    match read(bytes, *at, header, *next) {
        Ok((record, end)) => {
            *at = end;
            *next += 1;
            Some(Ok(record))
        }
        Err(error) => {
            *next = header.count;
            Some(Err(error))
        }
    }
}

/// Reads record `index`, which begins at `at`, and says where the next one does.
#[inline]
fn read<'a>(
    bytes: &'a [u8],
    at: usize,
    header: &BatchHeader,
    index: u32,
) -> Result<(RecordRef<'a>, usize), BatchError> {
    let mut reader = Reader::new(bytes.get(at..).unwrap_or_default());
    let (view, timestamp) = next_record(&mut reader, header, index)?;
    if index + 1 == header.count {
        check_end(reader.len(), header, timestamp)?;
    }
    let headers = HeaderRefs { rest: view.headers, left: view.header_count };
    let record = RecordRef { offset_delta: index, timestamp, key: view.key, value: view.value, headers };
    Ok((record, bytes.len() - reader.len()))
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { bytes, at, header, next } = self;
        let record = match advance(bytes, at, header, next)? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let headers = match record.headers {
            HeaderRefs { left: 0, .. } => Headers::default(),
            HeaderRefs { rest, left } => Headers { rest: bytes.slice_ref(rest), left },
        };
        Some(Ok(Record {
            offset_delta: record.offset_delta,
            timestamp: record.timestamp,
            key: record.key.map(|key| bytes.slice_ref(key)),
            value: bytes.slice_ref(record.value),
            headers,
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Nothing is promised below: the count of a batch that was not validated is only a claim, and collecting
        // would allocate for it.
        (0, Some((self.header.count - self.next) as usize))
    }
}

impl std::iter::FusedIterator for Records {}
