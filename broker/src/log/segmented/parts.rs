//! What a partition is made of on its writer's side: appends on their way, files that are not synced, those who wait.

use std::sync::Arc;

use bytes::Bytes;
use sealstream_protocol::entry::ENTRY_HEADER;
use tokio::sync::oneshot;

use super::checkpoint::Mark;
use super::files::OpenSegment;
use super::segment::BINDING;
use crate::log::engine::{CommitError, Committed, DurabilityError, Outcome};

/// The first reservation of room in a segment, in bytes; each one is twice the one before.
pub(super) const MIN_ALLOCATION: u64 = 1 << 20;

/// The largest reservation, in bytes: a crash leaves at most so many zeros to look through.
pub(super) const MAX_ALLOCATION: u64 = 64 << 20;

/// Answers a commit whose only append this is.
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) reply: oneshot::Sender<Result<Committed, CommitError>>,
}

/// An append, or the repeat of one, on its way into the log.
pub(super) struct Staged {
    /// The offset of the first record.
    pub(super) base: u64,
    /// The offset after the last.
    pub(super) next: u64,
    pub(super) time: i64,
    /// `None` for a repeat: it waits here for what it repeats, or fails with it.
    pub(super) entry: Option<StagedEntry>,
    /// `None` if the commit is answered elsewhere.
    pub(super) answer: Option<Answer>,
}

/// The bytes of an append.
#[derive(Clone)]
pub(super) struct StagedEntry {
    pub(super) binding: Option<[u8; BINDING]>,
    pub(super) header: [u8; ENTRY_HEADER],
    pub(super) batch: Bytes,
}

impl StagedEntry {
    pub(super) fn len(&self) -> u64 {
        (self.binding.map_or(0, |_| BINDING) + ENTRY_HEADER + self.batch.len()) as u64
    }

    /// Its bytes, as parts of a write.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let binding = self.binding.as_ref().map(|binding| &binding[..]);
        binding.into_iter().chain([&self.header[..], &self.batch[..]])
    }
}

/// A segment with bytes that are not synced. Its file stays open until they are.
#[derive(Clone, Debug)]
pub(super) struct Dirty {
    pub(super) segment: Arc<OpenSegment>,
    /// Its name is not durable either.
    pub(super) new_name: bool,
    /// It is full: the room that was reserved beyond this length can go.
    pub(super) full: Option<u64>,
}

/// Somebody who waits for durability.
pub(super) struct Waiter {
    /// Up to this offset.
    pub(super) end: u64,
    pub(super) reply: oneshot::Sender<Result<(), DurabilityError>>,
}

/// A run of appends that lies in one segment and is not durable yet.
pub(super) struct Run {
    pub(super) mark: Mark,
    pub(super) end: u64,
    pub(super) bytes: u64,
    pub(super) entries: Vec<StagedEntry>,
}

/// What is being made durable.
pub(super) struct Syncing {
    /// Durable up to here, if it succeeds.
    pub(super) mark: Mark,
    /// What remains to be synced, as this goes to the journal.
    pub(super) behind: Vec<Dirty>,
}

/// A checkpoint that waits for its place to become durable.
pub(super) struct Capture {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// How far what is known of the producers is saved.
pub(super) struct Checkpoints {
    /// The one that waits for its place to become durable.
    pub(super) pending: Option<Capture>,
    /// One is being saved.
    pub(super) saving: bool,
    /// The reserve of the disk may be given up for it, as a trim waits for it.
    pub(super) pressing: bool,
    /// The offset of the last one that was.
    pub(super) saved: u64,
    /// The offset of the last one that was captured.
    pub(super) captured: u64,
    /// How many bytes were written since.
    pub(super) uncaptured: u64,
}

/// The last segment, as long as appends go to it.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) allocated: u64,
    /// How much to reserve next.
    pub(super) step: u64,
    /// The append time of its first entry, once it is known.
    pub(super) begun: Option<i64>,
}
