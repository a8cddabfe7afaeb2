//! A partition as its shard's writer has it: appends go in here, and come out as bytes in the last segment.
//!
//! ```text
//! staged ── write ──► written ── sync, or journal ──► durable       offsets: durable ≤ written
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::checkpoint::Mark;
use super::meta::{MetaProgress, PartitionState};
use super::parts::{Active, Answer, Checkpoints, Dirty, MIN_ALLOCATION, Run, Staged, Syncing, Waiter};
use super::recovery::Recovered;
use super::reserve::is_full;
use super::segment::SEGMENT_HEADER;
use super::shared::{PartitionShared, View, reading, writing};
use super::writer::PendingTrim;
use crate::log::engine::{CommitError, Committed, Durability, DurabilityError, PartitionOptions, Write};
use crate::log::producers::ProducerTable;

/// A partition that is open.
pub(super) struct LivePartition {
    pub(super) shared: Arc<PartitionShared>,
    pub(super) publish: watch::Sender<u64>,
    /// Tells it from a partition that had its id before, in this life of the shard.
    pub(super) serial: u64,
    pub(super) incarnation: u64,
    pub(super) options: PartitionOptions,
    pub(super) written: Mark,
    pub(super) durable: Mark,
    pub(super) active: Option<Active>,
    pub(super) last_time: i64,
    pub(super) producers: ProducerTable,
    pub(super) staged: Vec<Staged>,
    /// Written, promised to be durable, and not durable yet. Empty while the promise is the page cache.
    pub(super) runs: VecDeque<Run>,
    pub(super) dirty: Vec<Dirty>,
    pub(super) syncing: Option<Syncing>,
    /// It waits in the queue for a sync.
    pub(super) queued: bool,
    /// A sync is wanted though nobody waits for it.
    pub(super) sync_wanted: bool,
    /// Its segments are synced up to here; beyond, up to `durable`, the journal alone has it for sure.
    pub(super) synced: Mark,
    /// Why it takes no appends for now: its segments lack something that the journal has, and could not be given it.
    pub(super) failing: Option<String>,
    pub(super) waiters: Vec<Waiter>,
    /// Nothing above `gate` counts as durable before the metadata log is, up to this sequence: it has the epoch that entries
    /// refer to. 0 if there is no such thing.
    pub(super) needs_meta: u64,
    pub(super) gate: Mark,
    pub(super) checkpoints: Checkpoints,
    /// Trims that wait for a checkpoint.
    pub(super) trims: Vec<PendingTrim>,
    /// Whether damage was found since it was opened: what the metadata says of it holds, unlike where a start found it.
    pub(super) damaged_since: bool,
}

impl LivePartition {
    /// A partition as it was found, with the state that the metadata has of it.
    pub(super) fn new(
        dir: super::layout::PartitionDir,
        id: crate::log::engine::PartitionId,
        serial: u64,
        found: Recovered,
        state: &PartitionState,
        options: PartitionOptions,
    ) -> Self {
        let (publish, durable) = watch::channel(found.end.offset);
        let corrupt = found.corruption.is_some();
        let view = View {
            start: found.start,
            epochs: state.epochs.clone(),
            read_only: corrupt,
            rewritten: 0,
            lacking: false,
            segments: found.segments,
        };
        // One without an entry is begun anew: the epoch may have risen since.
        let appendable = found.end.position > SEGMENT_HEADER
            && view.segments.last().is_some_and(|last| last.base == found.end.base);
        let active = (appendable && !corrupt).then_some(Active {
            allocated: found.allocated,
            step: MIN_ALLOCATION,
            begun: None,
        });
        let view = std::sync::RwLock::new(view);
        let shared =
            Arc::new(PartitionShared { id, dir, view, durable, failure_told: std::sync::Mutex::default() });
        Self {
            shared,
            publish,
            serial,
            incarnation: state.incarnation,
            options,
            written: found.end,
            durable: found.end,
            active,
            last_time: found.last_time,
            producers: found.producers,
            staged: Vec::new(),
            runs: VecDeque::new(),
            dirty: Vec::new(),
            syncing: None,
            queued: false,
            sync_wanted: false,
            synced: found.end,
            failing: None,
            waiters: Vec::new(),
            needs_meta: 0,
            gate: found.end,
            checkpoints: Checkpoints {
                pending: None,
                saving: false,
                pressing: false,
                saved: found.saved,
                captured: found.end.offset,
                uncaptured: 0,
            },
            trims: Vec::new(),
            damaged_since: false,
        }
    }

    /// The offset of the next append.
    pub(super) fn staged_end(&self) -> u64 {
        self.staged
            .iter()
            .rev()
            .find(|staged| staged.entry.is_some())
            .map_or(self.written.offset, |last| last.next)
    }

    /// Whether it takes no appends, as its log is corrupt.
    pub(super) fn is_corrupt(&self) -> bool {
        reading(&self.shared.view).read_only
    }

    /// The epoch of the next append.
    pub(super) fn epoch(&self) -> u32 {
        reading(&self.shared.view).epochs.current()
    }

    /// What the metadata is to have of it, while it is open.
    pub(super) fn state(&self, owner: u64) -> PartitionState {
        let view = reading(&self.shared.view);
        PartitionState {
            incarnation: self.incarnation,
            start: view.start,
            epochs: view.epochs.clone(),
            owner,
            sealed: None,
        }
    }

    /// Whether the journal can make it durable: all that is not is still in memory.
    pub(super) fn can_journal(&self) -> bool {
        let mut end = self.durable.offset;
        let whole = self.runs.iter().all(|run| std::mem::replace(&mut end, run.end) == run.mark.offset);
        whole && end == self.written.offset && !self.runs.is_empty() && self.needs_meta == 0
    }

    /// Whether the journal alone has some of it.
    pub(super) fn is_journaled(&self) -> bool {
        self.synced.offset < self.durable.offset
    }

    /// Whether nothing of it is waiting for anything: what is written is durable.
    pub(super) fn is_settled(&self) -> bool {
        // What is dirty and durable all the same is in the journal.
        let synced = self.dirty.is_empty() || self.is_journaled();
        synced
            && self.failing.is_none()
            && self.staged.is_empty()
            && self.syncing.is_none()
            && self.durable.offset == self.written.offset
            && self.needs_meta == 0
    }

    /// Whether there is anything to sync, nobody is at it, and nothing is on its way to the journal: if the sync failed, that would
    /// belong to another epoch than it says.
    pub(super) fn can_sync(&self) -> bool {
        self.syncing.is_none() && self.staged.is_empty() && !self.dirty.is_empty()
    }

    /// Whether somebody waits for a sync, or it is wanted for other reasons.
    pub(super) fn wants_sync(&self) -> bool {
        self.sync_wanted || self.waiters.iter().any(|waiter| waiter.end > self.durable.offset)
    }

    /// Up to here no crash of any kind takes anything back.
    pub(super) fn known_durable(&self) -> u64 {
        if self.needs_meta == 0 { self.durable.offset } else { self.durable.offset.min(self.gate.offset) }
    }

    /// Whether the promise is kept as soon as an append is written: it is the page cache, and so is the metadata that the append
    /// relies on.
    fn is_kept_in_memory(&self, meta: MetaProgress) -> bool {
        self.options.durability == Durability::Memory && self.needs_meta <= meta.written
    }

    /// Lets readers and waiters know how far the promise is kept, now that the metadata has come so far.
    pub(super) fn settle(&mut self, meta: MetaProgress) {
        if self.needs_meta <= meta.durable {
            self.needs_meta = 0;
        }
        let durable = self.known_durable();
        let published = *self.publish.borrow();
        let end = if self.is_kept_in_memory(meta) { self.written.offset } else { durable.max(published) };
        self.publish.send_if_modified(|published| std::mem::replace(published, end) != end);
        for waiter in self.waiters.extract_if(.., |waiter| waiter.end <= durable) {
            // Whoever waited may have gone.
            let _ = waiter.reply.send(Ok(()));
        }
    }

    /// What still has to be synced, after the journal made it durable or failed to.
    pub(super) fn put_back(&mut self, behind: Vec<Dirty>) {
        for behind in behind {
            match self.dirty.iter_mut().find(|dirty| dirty.segment.base == behind.segment.base) {
                Some(dirty) => {
                    dirty.new_name |= behind.new_name;
                    dirty.full = dirty.full.or(behind.full);
                }
                None => self.dirty.push(behind),
            }
        }
    }

    /// Takes note that everything up to `mark` is durable.
    pub(super) fn advance(&mut self, mark: Mark) {
        if mark.offset >= self.durable.offset {
            self.durable = mark;
        }
        while self.runs.front().is_some_and(|run| run.end <= mark.offset) {
            self.runs.pop_front();
        }
    }

    /// Goes back to what is durable, for the rest cannot be trusted: a new epoch begins there, and the next append begins a new
    /// segment. Whoever waits for what is gone is told `reason`. Returns the segments that hold nothing any more.
    pub(super) fn cut(&mut self, reason: &str) -> Vec<u64> {
        let (end, place) = (self.durable.offset, self.synced);
        let kept = if place.position > 0 { place.base + 1 } else { place.base };
        let mut emptied = Vec::new();
        {
            let mut view = writing(&self.shared.view);
            while let Some(segment) = view.segments.pop_if(|segment| segment.base >= kept) {
                emptied.push(segment.base);
            }
            if let Some(last) = view.segments.last_mut() {
                last.bytes = last.bytes.min(place.position);
            }
            view.epochs.raise(end);
            view.rewritten += 1;
        }
        self.publish.send_if_modified(|published| {
            let ahead = *published > end;
            *published = end.min(*published);
            ahead
        });
        self.producers.truncate_to(end);
        self.active = None;
        self.written = Mark { offset: end, ..place };
        self.durable = self.written;
        self.runs.clear();
        self.dirty.clear();
        self.sync_wanted = false;
        self.checkpoints.pending.take_if(|capture| capture.offset > end);
        self.checkpoints.captured = self.checkpoints.captured.min(end);
        let error = DurabilityError { reason: reason.to_owned() };
        for waiter in self.waiters.extract_if(.., |waiter| waiter.end > end) {
            let _ = waiter.reply.send(Err(error.clone()));
        }
        emptied
    }

    /// Fails whoever waits: the partition is no longer there, or no longer served.
    pub(super) fn fail_waiters(&mut self, reason: &str) {
        let error = DurabilityError { reason: reason.to_owned() };
        for waiter in self.waiters.drain(..) {
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }

    /// Answers what was written, or repeats what was.
    pub(super) fn answer(&mut self, answer: Answer, end: u64, meta: MetaProgress, write: Write) {
        let at_once = self.is_kept_in_memory(meta) || end <= self.known_durable();
        let durable: sealstream_transport::BoxFuture<'static, _> = if at_once {
            Box::pin(std::future::ready(Ok(())))
        } else {
            let (reply, durable) = oneshot::channel();
            self.waiters.push(Waiter { end, reply });
            Box::pin(waited(durable))
        };
        let _ =
            answer.reply.send(Ok(Committed { outcomes: vec![answer.outcome], durable, write: Some(write) }));
    }
}

/// Waits for durability; the writer's end is a failure of it.
pub(super) async fn waited(
    durable: oneshot::Receiver<Result<(), DurabilityError>>,
) -> Result<(), DurabilityError> {
    let gone = |_| Err(DurabilityError { reason: "the shard's writer has ended".to_owned() });
    durable.await.unwrap_or_else(gone)
}

/// What a commit is told whose write failed with `error`.
pub(super) fn commit_error(error: &io::Error) -> CommitError {
    if is_full(error) { CommitError::DiskFull } else { CommitError::Storage(error.to_string()) }
}
