//! Topics: made, listed, described, altered, deleted.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use crate::message::codec::{Field, TagWriter, Tags, enumeration, read_tag, read_tags, structure};
use crate::message::error::{DecodeError, Problem};
use crate::wire::Reader;

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Durability {
    /// The batch is on the disk (fdatasync): survives power loss.
    Disk = 1,
    /// The batch is in the page cache: survives the end of the broker's process, not power loss.
    Memory = 2,
}

/// How a topic is kept. What is `None` keeps the broker's default on creation, and today's value on alteration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicOptions {
    /// Tag 1.
    pub durability: Option<Durability>,
    /// Tag 2: records older than this may be deleted, in milliseconds; 0 keeps them for ever.
    pub retention_ms: Option<u64>,
    /// Tag 3: the oldest records of a partition beyond so many bytes may be deleted; 0 keeps all.
    pub retention_bytes: Option<u64>,
    /// Tag 4: retention lets go of whole segments; from this size on one is followed by the next, in bytes; 0 leaves it to the broker.
    pub segment_bytes: Option<u64>,
    /// Tag 5: a segment takes appends for so long from its first one on, in milliseconds; 0 is for ever.
    pub segment_ms: Option<u64>,
    /// Tag 6, of an alteration alone: how many partitions the topic has from now on; fewer than it has are refused.
    pub partitions: Option<u32>,
}

/// Makes a topic; the answer is a [`Topic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// 1 to 255 bytes of `a-z A-Z 0-9 . _ -`, neither `.` nor `..`.
    pub name: String,
    /// 1 or more; 0 takes the broker's default. An alteration may add some, and never takes one away.
    pub partitions: u32,
    /// Whether a topic of that name that is there already is the answer (as it is, unaltered) rather than an error.
    pub if_not_exists: bool,
    /// In the tagged section.
    pub options: TopicOptions,
}

/// Asks for topics in the order of their names; the answer is a [`TopicList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTopics {
    /// Only names after this one; empty starts at the first.
    pub after: String,
    /// At most so many; 0 leaves it to the broker.
    pub limit: u32,
}

/// Asks for a topic and its partitions; the answer is a [`TopicDescription`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeTopic {
    /// The topic.
    pub name: String,
}

/// Changes how a topic is kept; the answer is a [`Topic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterTopic {
    /// The topic.
    pub name: String,
    /// In the tagged section.
    pub options: TopicOptions,
}

/// Deletes a topic and its records; the answer is a [`TopicDeleted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTopic {
    /// The topic.
    pub name: String,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The name.
    pub name: String,
    /// Tells a topic from an earlier one of the same name.
    pub id: Uuid,
    /// How many partitions.
    pub partitions: u32,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Milliseconds; 0 is for ever.
    pub retention_ms: u64,
    /// Bytes per partition; 0 is no bound.
    pub retention_bytes: u64,
    /// Bytes of a segment; 0 is as the broker has it.
    pub segment_bytes: u64,
    /// Milliseconds that a segment takes appends; 0 is for ever.
    pub segment_ms: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// The answer to [`ListTopics`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicList {
    /// In the order of their names.
    pub topics: Vec<Topic>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// A partition of a topic, as it stood when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 0.
    pub index: u32,
    /// The first offset that can be read.
    pub start: u64,
    /// The offset that the next durable record gets: all below can be read.
    pub end: u64,
    /// The log epoch.
    pub epoch: u32,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// Whether it takes no batches because its log is corrupt.
    pub read_only: bool,
}

/// The answer to [`DescribeTopic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The topic.
    pub topic: Topic,
    /// All of its partitions, by index.
    pub partitions: Vec<Partition>,
}

/// The answer to [`DeleteTopic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDeleted {
    /// Which one it was.
    pub id: Uuid,
}

impl Tags for TopicOptions {
    fn put(&self, writer: &mut TagWriter) {
        writer.field(1, self.durability.as_ref());
        writer.field(2, self.retention_ms.as_ref());
        writer.field(3, self.retention_bytes.as_ref());
        writer.field(4, self.segment_bytes.as_ref());
        writer.field(5, self.segment_ms.as_ref());
        writer.field(6, self.partitions.as_ref());
    }

    fn get(&mut self, tag: u64, value: &mut Reader<'_>) -> Result<(), DecodeError> {
        let (name, result) = match tag {
            1 => ("durability", read_tag(&mut self.durability, tag, value)),
            2 => ("retention_ms", read_tag(&mut self.retention_ms, tag, value)),
            3 => ("retention_bytes", read_tag(&mut self.retention_bytes, tag, value)),
            4 => ("segment_bytes", read_tag(&mut self.segment_bytes, tag, value)),
            5 => ("segment_ms", read_tag(&mut self.segment_ms, tag, value)),
            6 => ("partitions", read_tag(&mut self.partitions, tag, value)),
            _ => return Ok(()),
        };
        result.map_err(|e| e.within("TopicOptions", name))
    }
}

enumeration!(Durability { Disk, Memory });
structure!(CreateTopic { name, partitions, if_not_exists } tags in options);
structure!(ListTopics { after, limit });
structure!(DescribeTopic { name });
structure!(AlterTopic { name } tags in options);
structure!(DeleteTopic { name });
structure!(Topic {
    name,
    id,
    partitions,
    durability,
    retention_ms,
    retention_bytes,
    segment_bytes,
    segment_ms,
    created_ms
});
structure!(TopicList { topics, more });
structure!(Partition { index, start, end, epoch, bytes, read_only });
structure!(TopicDescription { topic, partitions });
structure!(TopicDeleted { id });
