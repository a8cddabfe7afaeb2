//! A topic as the metadata shard keeps it: JSON, with a version of its own.
//!
//! Readable by an operator with the log in hand; topics are few and read at the start only.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::LoadTopicsError;
use crate::log::Durability;

/// The newest version. A newer one is refused; an older one is read. What an older version can say is written as that one, so
/// that a broker of that version can be gone back to.
const VERSION: u32 = 2;

/// The key of a topic's record.
pub(super) fn topic_key(name: &str) -> String {
    format!("{TOPICS}{name}")
}

/// The key of the note that a topic's partitions are to be deleted.
pub(super) fn deleting_key(id: Uuid) -> String {
    format!("{DELETING}{id}")
}

/// What the keys of all topics begin with.
pub(super) const TOPICS: &str = "topic/";

/// What the keys of all notes of deletion begin with.
pub(super) const DELETING: &str = "deleting/";

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicRecord {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) partitions: u32,
    pub(super) durability: Kept,
    pub(super) retention_ms: u64,
    pub(super) retention_bytes: u64,
    /// Since version 2; 0 is as the broker has it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) segment_bytes: u64,
    /// Since version 2; 0 is for ever.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) segment_ms: u64,
    pub(super) created_ms: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// [`Durability`], as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kept {
    Disk,
    Memory,
}

impl From<Durability> for Kept {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Disk => Self::Disk,
            Durability::Memory => Self::Memory,
        }
    }
}

impl From<Kept> for Durability {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Disk => Self::Disk,
            Kept::Memory => Self::Memory,
        }
    }
}

/// The version first: it decides how the rest is read.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    topic: TopicRecord,
}

impl TopicRecord {
    pub(super) fn encode(&self) -> Bytes {
        let version = if self.segment_bytes == 0 && self.segment_ms == 0 { 1 } else { VERSION };
        let envelope = Envelope { version, topic: self.clone() };
        serde_json::to_vec(&envelope).expect("a record of strings and numbers can be written as JSON").into()
    }

    pub(super) fn decode(key: &str, value: &[u8]) -> Result<Self, LoadTopicsError> {
        let unreadable = |error: serde_json::Error| LoadTopicsError::Unreadable {
            key: key.to_owned(),
            reason: error.to_string(),
        };
        let Versioned { version } = serde_json::from_slice(value).map_err(unreadable)?;
        if version > VERSION {
            return Err(LoadTopicsError::Newer { key: key.to_owned(), version, newest: VERSION });
        }
        let envelope: Envelope = serde_json::from_slice(value).map_err(unreadable)?;
        Ok(envelope.topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> TopicRecord {
        TopicRecord {
            name: "events".into(),
            id: Uuid::from_u128(7),
            partitions: 3,
            durability: Kept::Memory,
            retention_ms: 1,
            retention_bytes: 2,
            segment_bytes: 0,
            segment_ms: 4,
            created_ms: 3,
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        assert_eq!(TopicRecord::decode("topic/events", &record().encode()).unwrap(), record());
    }

    #[test]
    fn a_record_of_the_first_version_is_read_and_what_it_can_say_is_written_as_one() {
        let first = br#"{"version":1,"topic":{"name":"events","id":"00000000-0000-0000-0000-000000000007","partitions":3,"durability":"memory","retention_ms":1,"retention_bytes":2,"created_ms":3}}"#;
        let read = TopicRecord::decode("topic/events", first).unwrap();
        assert_eq!(read, TopicRecord { segment_ms: 0, ..record() });
        assert_eq!(read.encode(), &first[..]);
        assert!(record().encode().starts_with(br#"{"version":2,"#));
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_and_says_so() {
        let error = TopicRecord::decode("topic/x", br#"{"version":3,"topic":{"shape":"new"}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "topic/x was written by a newer broker (record version 3, this one reads up to 2): start that version"
        );
    }

    #[test]
    fn noise_is_refused_by_the_name_of_its_key() {
        let error = TopicRecord::decode("topic/x", b"\xff\x00").unwrap_err();
        assert!(error.to_string().starts_with("the record topic/x cannot be read"), "{error}");
    }
}
