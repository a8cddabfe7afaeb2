//! Copies one partition while it may be appended to, rolled and trimmed.

use std::io;
use std::sync::Arc;

use super::{ATTEMPTS, Copy, SnapshotError, io_error};
use crate::log::disk::DiskFile;
use crate::log::engine::PartitionId;
use crate::log::segmented::checkpoint;
use crate::log::segmented::layout::{PartitionDir, ShardDir};
use crate::log::segmented::meta::PartitionState;
use crate::log::segmented::segment::{self, Depth, SEGMENT_HEADER, Step, Walk};

/// How an attempt ended that did not succeed.
enum Attempt {
    /// Something was being changed: the next one may find it in order.
    Again(String),
    Failed(SnapshotError),
}

impl From<io::Error> for Attempt {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Trimmed, or cut, between two looks.
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Self::Again(error.to_string()),
            _ => Self::Failed(io_error(std::path::Path::new("a partition's log"), error)),
        }
    }
}

/// The last segment with an entry.
struct Tail {
    base: u64,
    file: Arc<dyn DiskFile>,
    /// Where its last whole entry ends, in bytes and as an offset.
    position: u64,
    end: u64,
    /// The highest durable end that its entries speak of.
    durable: u64,
    /// Why it could not be read on; empty at a clean end.
    reason: String,
}

impl Copy<'_> {
    /// Copies a partition of a shard with this state, of which the journal holds everything up to an offset; the state of the copy, or `None`
    /// if the partition is gone.
    pub(super) fn partition(
        &mut self,
        (id, mut state, journaled): (PartitionId, PartitionState, Option<u64>),
        from: &ShardDir,
        to: &PartitionDir,
    ) -> Result<Option<PartitionState>, SnapshotError> {
        let mut reason = String::new();
        let dir = from.partition(id);
        let failed = |source| io_error(to.path(), source);
        // A log at rest is the same at every look.
        let attempts = if self.live { ATTEMPTS } else { 1 };
        for _ in 0..attempts {
            self.disk.remove_dir_all(to.path()).map_err(failed)?;
            self.disk.create_dir_all(to.path()).map_err(failed)?;
            match self.attempt((id, &state, journaled), &dir, to) {
                Ok(start) => {
                    self.disk.sync_dir(to.path()).map_err(failed)?;
                    return Ok(Some(PartitionState { start, sealed: None, ..state }));
                }
                Err(Attempt::Again(why)) => reason = why,
                Err(Attempt::Failed(error)) => return Err(error),
            }
            if self.live {
                match self.metadata(from)?.partition(id) {
                    Some(found) => state = found.clone(),
                    None => return Ok(None),
                }
            }
        }
        Err(SnapshotError::Damaged { path: dir.path().display().to_string(), reason })
    }

    fn attempt(
        &mut self,
        (id, state, journaled): (PartitionId, &PartitionState, Option<u64>),
        from: &PartitionDir,
        to: &PartitionDir,
    ) -> Result<u64, Attempt> {
        // First: what it speaks of is in the segments that are read after it.
        let saved = checkpoint::load(self.disk, from)?;
        let bases = self.segments(id, state, from)?;
        let start = bases.first().copied().unwrap_or(state.start);
        let known = saved.as_ref().map_or(0, |saved| saved.mark.offset);
        let sealed = state.sealed.map_or(0, |(mark, _)| mark.offset);
        if start > state.start && (!self.live || saved.is_none() || known < start) {
            return Err(Attempt::Again(format!("segment {} is missing", state.start)));
        }
        let (tail, end) = match self.tail(id, &bases, from)? {
            Some(tail) => {
                let end = tail.end;
                (Some(tail), end)
            }
            None => (None, start),
        };
        if journaled.is_some_and(|journaled| end < journaled) {
            let path = from.path().display().to_string();
            return Err(Attempt::Failed(SnapshotError::NotRecovered { path }));
        }
        let durable = known.max(sealed).max(state.start);
        if end < durable {
            let reason = tail.map(|tail| tail.reason).unwrap_or_default();
            return Err(Attempt::Again(format!(
                "it ends at {end}, and was durable up to {durable}: {reason}"
            )));
        }
        if let Some(saved) = saved {
            let bytes = checkpoint::encode(saved.mark, saved.last_time, &saved.producers);
            self.disk.replace(&to.checkpoint(), &bytes)?;
        }
        let Some(tail) = tail else { return Ok(start) };
        for pair in bases.windows(2).take_while(|pair| pair[0] < tail.base) {
            let (source, target) = (from.segment(pair[0]), to.segment(pair[0]));
            if pair[1] <= tail.durable {
                self.files.link(&source, &target)?;
            } else {
                let file = self.disk.open_read_only(&source)?;
                self.files.copy(&*file, file.len()?, &target)?;
            }
        }
        self.files.copy(&*tail.file, tail.position, &to.segment(tail.base))?;
        Ok(start)
    }

    /// The segments that the log goes through, by base offset.
    fn segments(&self, id: PartitionId, state: &PartitionState, dir: &PartitionDir) -> io::Result<Vec<u64>> {
        let mut bases = match dir.segments(self.disk) {
            // Made with the first append.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.live => Vec::new(),
            bases => bases?,
        };
        bases.retain(|base| *base >= state.start);
        let mut found = Vec::with_capacity(bases.len());
        for base in bases {
            let file = self.disk.open_read_only(&dir.segment(base))?;
            if !segment::is_stale(&*file, id, base, &state.epochs)? {
                found.push(base);
            }
        }
        Ok(found)
    }

    /// The last segment that has a whole entry: those behind it were begun, and hold nothing yet.
    fn tail(&self, id: PartitionId, bases: &[u64], dir: &PartitionDir) -> Result<Option<Tail>, Attempt> {
        for (at, base) in bases.iter().enumerate().rev() {
            let file = self.disk.open_read_only(&dir.segment(*base))?;
            let next = bases.get(at + 1);
            let tail = self.walk((id, *base, next.copied()), file)?;
            if tail.end == *base {
                let words = segment::last_words(&*tail.file, 0)?.map_or(0, |words| words.durable_end);
                if words > *base {
                    return Err(Attempt::Again(format!("segment {base}: {}", tail.reason)));
                }
                continue;
            }
            if next.is_some_and(|next| *next != tail.end) {
                let text = format!(
                    "segment {base} ends at {}, before the next one begins: {}",
                    tail.end, tail.reason
                );
                return Err(Attempt::Again(text));
            }
            if next.is_none() && !tail.reason.is_empty() {
                // Being written, or damaged: then something behind it says that it was durable.
                let words = segment::last_words(&*tail.file, tail.position)?;
                if words.is_some_and(|words| words.durable_end > tail.end) {
                    return Err(Attempt::Again(format!("segment {base}: {}", tail.reason)));
                }
            }
            return Ok(Some(tail));
        }
        Ok(None)
    }

    /// Reads a segment as far as it can be read, or to where the next one begins.
    fn walk(
        &self,
        (id, base, next): (PartitionId, u64, Option<u64>),
        file: Arc<dyn DiskFile>,
    ) -> io::Result<Tail> {
        let mut tail =
            Tail { base, file, position: SEGMENT_HEADER, end: base, durable: 0, reason: String::new() };
        let file = Arc::clone(&tail.file);
        if segment::epoch_of(&*file, id, base)?.is_none() {
            return Ok(Tail { reason: "its header is damaged".to_owned(), ..tail });
        }
        let mut walk = Walk::new(&*file, SEGMENT_HEADER, Depth::Full)?;
        loop {
            if next == Some(tail.end) {
                return Ok(tail);
            }
            match walk.next()? {
                Step::Binding(_) => {}
                Step::Entry { view, .. } if view.header.base_offset == tail.end => {
                    tail.end = view.next_offset();
                    tail.position = walk.position();
                    tail.durable = tail.durable.max(view.header.durable_end);
                }
                Step::End => return Ok(tail),
                Step::Entry { view, .. } => {
                    tail.reason = format!("offset {} where {} should be", view.header.base_offset, tail.end);
                    return Ok(tail);
                }
                Step::Bad(reason) => {
                    if !self.live || !is_being_written(&*file, tail.position)? {
                        tail.reason = reason;
                    }
                    return Ok(tail);
                }
            }
        }
    }
}

/// Whether what could not be read at `position` can be read now: it was on its way, and nobody had been told of it.
fn is_being_written(file: &dyn DiskFile, position: u64) -> io::Result<bool> {
    for _ in 0..ATTEMPTS {
        match Walk::new(file, position, Depth::Full)?.next()? {
            Step::Bad(_) => std::thread::yield_now(),
            _ => return Ok(true),
        }
    }
    Ok(false)
}
