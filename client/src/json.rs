//! Values of records as JSON, with the feature `serde`.
//!
//! A record's value is bytes, and what they mean is the program's business. This is for the programs whose business is
//! JSON: [`encode`] before a record is sent, [`ConsumerRecord::json`] when it has come. It is no more than `serde_json`, but
//! for the errors, which say which record it was.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use sealstream_client::{Record, json};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Measurement<'a> {
//!     sensor: &'a str,
//!     celsius: f64,
//! }
//!
//! let value = json::encode(&Measurement { sensor: "sensor-7", celsius: 18.4 })?;
//! let record = Record::new(&value).key("sensor-7");
//! assert_eq!(record.value_bytes(), br#"{"sensor":"sensor-7","celsius":18.4}"#);
//! # Ok::<(), sealstream_client::json::EncodeError>(())
//! ```

use serde::de::Deserialize;
use serde::ser::Serialize;

use crate::consumer::{BorrowedRecord, ConsumerRecord};

/// A value cannot be written as JSON: a map with keys that are no strings, or what its own `Serialize` says.
///
/// ```
/// use std::collections::HashMap;
/// use sealstream_client::json;
///
/// let error = json::encode(&HashMap::from([((1, 2), 3)])).unwrap_err();
/// assert!(error.to_string().starts_with("the value cannot be written as JSON"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("the value cannot be written as JSON: {0}")]
pub struct EncodeError(#[source] serde_json::Error);

/// A record's value is not the JSON that was expected.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
/// # let mut measured = Vec::new();
/// while let Some(record) = consumer.next().await.transpose()? {
///     match record.json::<f64>() {
///         Ok(value) => measured.push(value),
///         // One bad record need not stop the others.
///         Err(error) => eprintln!("left out: {error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[error("the value at partition {partition} offset {offset} is not the JSON expected: {source}")]
#[non_exhaustive]
pub struct DecodeError {
    /// The record's partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// What is wrong, and where.
    pub source: serde_json::Error,
}

/// A value as JSON, for [`Record::new`](crate::Record::new).
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    serde_json::to_vec(value).map_err(EncodeError)
}

/// A value as JSON into a buffer that is used again: what was in it is gone, its memory stays.
///
/// ```no_run
/// # async fn example(producer: sealstream_client::Producer, lines: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::{Record, json};
///
/// let mut buffer = Vec::new();
/// for line in &lines {
///     json::encode_into(line, &mut buffer)?;
///     drop(producer.send(Record::new(&buffer)).await?);
/// }
/// producer.flush().await?;
/// # Ok(())
/// # }
/// ```
pub fn encode_into<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
    buffer.clear();
    serde_json::to_writer(buffer, value).map_err(EncodeError)
}

impl ConsumerRecord {
    /// The value, read as JSON; strings in it can be borrowed from the record. Needs the feature `serde`.
    pub fn json<'de, T: Deserialize<'de>>(&'de self) -> Result<T, DecodeError> {
        decode(&self.value, self.partition, self.offset)
    }
}

impl<'a> BorrowedRecord<'a> {
    /// The value, read as JSON; strings in it can be borrowed from the batch. Needs the feature `serde`.
    pub fn json<T: Deserialize<'a>>(&self) -> Result<T, DecodeError> {
        decode(self.value, self.partition, self.offset)
    }
}

fn decode<'de, T: Deserialize<'de>>(value: &'de [u8], partition: u32, offset: u64) -> Result<T, DecodeError> {
    serde_json::from_slice(value).map_err(|source| DecodeError { partition, offset, source })
}
