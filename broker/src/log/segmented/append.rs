//! How what is staged for a partition becomes bytes in its last segment.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::cache::CachedEntry;
use super::checkpoint::{self, Mark};
use super::env::Env;
use super::files::OpenSegment;
use super::index::EntryPlace;
use super::journal::Place;
use super::meta::MetaProgress;
use super::options::bounded_segment;
use super::partition::{LivePartition, commit_error};
use super::parts::{Active, Capture, Dirty, MAX_ALLOCATION, MIN_ALLOCATION, Run, Staged, StagedEntry};
use super::recovery::SegmentInfo;
use super::reserve::is_full;
use super::segment::{BINDING, SEGMENT_HEADER, segment_header};
use super::shared::{locked, writing};
use crate::log::engine::{Durability, Write};

/// Below this many bytes a write is gathered in one piece: copying them costs less than handing the parts to the kernel. 256 KiB
/// stay in the processor's cache.
const GATHER: u64 = 256 << 10;

/// After how many bytes the page cache's promise is followed by a sync, though nobody waits for it: one of a whole segment would take the
/// processor and the disk from everybody else for a tenth of a second and more.
const WRITE_BACK: u64 = 8 << 20;

impl LivePartition {
    /// Writes what is staged and answers it, or refuses it from the first entry on that could not be written.
    pub(super) fn write_staged(&mut self, env: &Env, meta: MetaProgress, scratch: &mut Vec<u8>) {
        let mut staged = VecDeque::from(std::mem::take(&mut self.staged));
        let mut rolled = false;
        let mut begun = Instant::now();
        while let Some(first) = staged.front() {
            let done = match &first.entry {
                None => Ok(1),
                Some(entry) => {
                    let (len, time) = (entry.len(), first.time);
                    self.make_room(env, len, time, &mut rolled)
                        .and_then(|segment| self.write_group(env, &segment, &staged, scratch))
                }
            };
            match done {
                Ok(count) => {
                    let write = Write { begun, done: Instant::now() };
                    begun = write.done;
                    // Where the page cache is the promise, readers see it before the answer says so.
                    self.settle(meta);
                    for staged in staged.drain(..count) {
                        if let Some(answer) = staged.answer {
                            self.answer(answer, staged.next, meta, write);
                        }
                    }
                }
                Err(error) => {
                    let partition = self.shared.id;
                    if is_full(&error) {
                        tracing::warn!(
                            %partition, %error,
                            "cannot append: free some space on the disk, delete topics or shorten their retention, and leave room for \
                             log.reserve"
                        );
                    } else {
                        tracing::warn!(%partition, %error, "cannot append");
                    }
                    self.refuse(staged, &error);
                    break;
                }
            }
        }
        if rolled
            || self.options.durability == Durability::Disk
                && self.checkpoints.uncaptured >= env.options.checkpoint_bytes
        {
            self.capture();
        }
        // Nobody may be waiting, but neither a segment that is full nor a large part of one should stay in the page cache alone.
        self.sync_wanted |= rolled || self.unsynced() >= WRITE_BACK;
    }

    /// The bytes of the last segment that no sync covers, not even one that is under way.
    pub(super) fn unsynced(&self) -> u64 {
        let synced = self.syncing.as_ref().map_or(self.durable, |syncing| syncing.mark);
        let begun = if synced.base == self.written.base { synced.position } else { 0 };
        self.written.position.saturating_sub(begun)
    }

    /// Sees to it that what is staged can be written where the journal will say; `None` if there is nothing to write.
    pub(super) fn reserve_staged(&mut self, env: &Env) -> io::Result<Option<Place>> {
        let len = self.staged.iter().filter_map(|staged| staged.entry.as_ref()).map(StagedEntry::len).sum();
        if len == 0 {
            return Ok(None);
        }
        let end = self.staged_end();
        let time = self.staged.iter().find(|staged| staged.entry.is_some()).map_or(0, |staged| staged.time);
        let segment = self.make_room(env, len, time, &mut false)?;
        let segment_bytes = self.segment_bytes(env);
        if let Some(active) = &mut self.active {
            active.reserve(&*segment.file, self.written.position + len, segment_bytes)?;
        }
        let (id, incarnation) = (self.shared.id, self.incarnation);
        Ok(Some(Place { id, incarnation, segment: segment.base, position: self.written.position, end }))
    }

    /// The bytes of what is staged.
    pub(super) fn staged_parts(&self) -> impl Iterator<Item = &[u8]> {
        self.staged.iter().filter_map(|staged| staged.entry.as_ref()).flat_map(StagedEntry::parts)
    }

    /// Writes what is staged, now that the journal has it, where room was reserved for it: it is durable.
    pub(super) fn write_reserved(&mut self, env: &Env, scratch: &mut Vec<u8>) -> io::Result<()> {
        let staged = VecDeque::from(std::mem::take(&mut self.staged));
        if staged.iter().all(|staged| staged.entry.is_none()) {
            return Ok(());
        }
        let segment = self.segment(env)?;
        let group = || staged.iter().filter_map(|staged| staged.entry.as_ref());
        let from = self.written.position;
        let to = from + group().map(StagedEntry::len).sum::<u64>();
        write(&segment, from, to, group(), scratch)?;
        self.mark_dirty(&segment, false, None);
        self.account(env, &segment, staged.iter(), to);
        self.advance(self.written);
        Ok(())
    }

    /// Saves what is known of the producers at this place, once the place is durable.
    pub(super) fn capture(&mut self) {
        let checkpoints = &mut self.checkpoints;
        if checkpoints.pending.is_none() && !checkpoints.saving {
            let bytes = checkpoint::encode(self.written, self.last_time, &self.producers);
            checkpoints.pending = Some(Capture { offset: self.written.offset, bytes });
            checkpoints.captured = self.written.offset;
            checkpoints.uncaptured = 0;
        }
    }

    fn refuse(&mut self, staged: VecDeque<Staged>, error: &io::Error) {
        self.producers.truncate_to(self.written.offset);
        for staged in staged {
            if let Some(answer) = staged.answer {
                let _ = answer.reply.send(Err(commit_error(error)));
            }
        }
    }

    /// The segment that the next entry goes to, of `len` bytes and appended at `time`.
    fn make_room(
        &mut self,
        env: &Env,
        len: u64,
        time: i64,
        rolled: &mut bool,
    ) -> io::Result<Arc<OpenSegment>> {
        let position = self.written.position;
        let full = position > SEGMENT_HEADER && position + len > self.segment_bytes(env);
        if self.active.is_none() || full || self.is_aged(env, time)? {
            *rolled |= self.active.is_some();
            return self.roll(env);
        }
        self.segment(env)
    }

    /// From which size on a segment is full.
    fn segment_bytes(&self, env: &Env) -> u64 {
        match self.options.segment_bytes {
            0 => env.options.segment_bytes,
            own => bounded_segment(own),
        }
    }

    /// Whether the last segment takes no entry of this time, as its first one is too old. Append times never decrease: a clock that jumps
    /// back ends no segment, one that jumps forward ends one too soon.
    fn is_aged(&mut self, env: &Env, time: i64) -> io::Result<bool> {
        let age = i64::try_from(self.options.segment_ms).unwrap_or(i64::MAX);
        if age == 0 || self.written.position <= SEGMENT_HEADER {
            return Ok(false);
        }
        let known = self.active.as_ref().and_then(|active| active.begun);
        let begun = if let Some(begun) = known {
            begun
        } else {
            // Once after the partition was opened: one block of the file.
            let segment = self.segment(env)?;
            let begun = locked(&segment.index).first_time(&*segment.file)?.unwrap_or(time);
            if let Some(active) = &mut self.active {
                active.begun = Some(begun);
            }
            begun
        };
        Ok(time.saturating_sub(begun) >= age)
    }

    fn segment(&self, env: &Env) -> io::Result<Arc<OpenSegment>> {
        let (id, base) = (self.shared.id, self.written.base);
        env.shared.files.get(id, base, &self.shared.dir.segment(base))
    }

    /// Begins a new segment at the end of the log. Once that was tried, nothing is appended to the one before any more: what a
    /// failure leaves behind may bear the offset of the next entry as its name, and would hide that entry from recovery.
    fn roll(&mut self, env: &Env) -> io::Result<Arc<OpenSegment>> {
        let (id, base) = (self.shared.id, self.written.offset);
        if self.active.is_some() {
            let (full, position) = (self.segment(env)?, self.written.position);
            self.mark_dirty(&full, false, Some(position));
            self.active = None;
        }
        let path = self.shared.dir.segment(base);
        // What has this name holds nothing: a segment with an entry has a base below the end.
        env.shared.files.forget(id, base);
        match env.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        writing(&self.shared.view).segments.retain(|segment| segment.base != base);
        self.dirty.retain(|dirty| dirty.segment.base != base);
        if self.written.base == base {
            self.written = Mark::unwritten(base);
        }
        let file = env.disk.create(&path)?;
        let mut active = Active { allocated: 0, step: MIN_ALLOCATION, begun: None };
        active.reserve(&*file, SEGMENT_HEADER, self.segment_bytes(env))?;
        file.write_at(0, &[&segment_header(id, base, self.epoch())])?;
        let segment = env.shared.files.insert(id, base, file);
        self.active = Some(active);
        self.written = Mark { offset: base, base, position: SEGMENT_HEADER };
        writing(&self.shared.view).segments.push(SegmentInfo { base, bytes: SEGMENT_HEADER });
        self.mark_dirty(&segment, true, None);
        Ok(segment)
    }

    fn mark_dirty(&mut self, segment: &Arc<OpenSegment>, new_name: bool, full: Option<u64>) {
        match self.dirty.iter_mut().find(|dirty| dirty.segment.base == segment.base) {
            Some(dirty) => {
                dirty.new_name |= new_name;
                dirty.full = dirty.full.or(full);
            }
            None => self.dirty.push(Dirty { segment: Arc::clone(segment), new_name, full }),
        }
    }

    /// Writes as many of the staged entries as the segment takes, at least the first; returns how many, repeats between them included.
    fn write_group(
        &mut self,
        env: &Env,
        segment: &Arc<OpenSegment>,
        staged: &VecDeque<Staged>,
        scratch: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let from = self.written.position;
        let segment_bytes = self.segment_bytes(env);
        let (mut count, mut to) = (0, from);
        for staged in staged {
            let len = staged.entry.as_ref().map_or(0, StagedEntry::len);
            if count > 0 && (to + len > segment_bytes || self.is_aged(env, staged.time)?) {
                break;
            }
            to += len;
            count += 1;
        }
        if let Some(active) = &mut self.active {
            active.reserve(&*segment.file, to, segment_bytes)?;
        }
        let group = || staged.iter().take(count).filter_map(|staged| staged.entry.as_ref());
        if let Err(error) = write(segment, from, to, group(), scratch) {
            return Err(self.after_failed_write(segment, from, &error));
        }
        self.mark_dirty(segment, false, None);
        self.account(env, segment, staged.iter().take(count), to);
        Ok(count)
    }

    /// Cuts off what was written of a write that failed. Until that is synced, a power cut may bring whole entries of it back: the
    /// error is one that leaves open whether they are stored.
    fn after_failed_write(&mut self, segment: &Arc<OpenSegment>, from: u64, error: &io::Error) -> io::Error {
        match segment.file.truncate(from) {
            Ok(()) => {
                if let Some(active) = &mut self.active {
                    active.allocated = from;
                }
                self.mark_dirty(segment, false, None);
                self.sync_wanted = true;
                io::Error::other(format!("written in part: {error}"))
            }
            Err(second) => {
                // The next segment begins at the end of the log, and hides what this one holds beyond it.
                self.active = None;
                io::Error::other(format!(
                    "{error}; and cutting off what was written of it failed too: {second}"
                ))
            }
        }
    }

    /// Takes note of entries that were written up to `to`.
    fn account<'a>(
        &mut self,
        env: &Env,
        segment: &OpenSegment,
        staged: impl Iterator<Item = &'a Staged>,
        to: u64,
    ) {
        let before = self.written;
        let mut position = before.position;
        let mut cached = Vec::new();
        let mut index = locked(&segment.index);
        let mut entries = Vec::new();
        for staged in staged {
            let Some(entry) = &staged.entry else { continue };
            if let Some(active) = self.active.as_mut().filter(|_| before.position <= SEGMENT_HEADER) {
                active.begun.get_or_insert(staged.time);
            }
            let from = position;
            position += entry.len();
            let begin = from + entry.binding.map_or(0, |_| BINDING as u64);
            let place = EntryPlace { offset: staged.base, next: staged.next, time: staged.time };
            index.extend(from, (begin, &place), position);
            let (header, batch) = (entry.header, entry.batch.clone());
            cached.push(CachedEntry { base: staged.base, next: staged.next, header, batch });
            self.written.offset = staged.next;
            entries.push(entry.clone());
        }
        drop(index);
        self.written.position = to;
        self.checkpoints.uncaptured += to - before.position;
        env.counters.batches.add(entries.len() as u64);
        env.counters.bytes.add(to - before.position);
        env.shared.cache.insert(self.shared.id, cached.into_iter());
        if let Some(last) = writing(&self.shared.view).segments.last_mut() {
            last.bytes = to;
        }
        if self.options.durability == Durability::Disk {
            let (end, bytes) = (self.written.offset, to - before.position);
            self.runs.push_back(Run { mark: before, end, bytes, entries });
        }
    }
}

impl Active {
    /// Sees to it that the file has room up to `end`.
    fn reserve(
        &mut self,
        file: &dyn crate::log::disk::DiskFile,
        end: u64,
        segment_bytes: u64,
    ) -> io::Result<()> {
        if end <= self.allocated {
            return Ok(());
        }
        let wanted = (self.allocated + self.step).min(segment_bytes).max(end);
        match file.allocate(wanted) {
            Ok(()) => {
                self.allocated = wanted;
                self.step = (2 * self.step).min(MAX_ALLOCATION);
            }
            // No room for a reserve; there may be for what is needed now.
            Err(_) if wanted > end => {
                file.allocate(end)?;
                self.allocated = end;
                self.step = MIN_ALLOCATION;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn write<'a>(
    segment: &OpenSegment,
    from: u64,
    to: u64,
    entries: impl Iterator<Item = &'a StagedEntry>,
    scratch: &mut Vec<u8>,
) -> io::Result<()> {
    if to - from <= GATHER {
        scratch.clear();
        for entry in entries {
            entry.parts().for_each(|part| scratch.extend_from_slice(part));
        }
        segment.file.write_at(from, &[scratch])
    } else {
        let parts: Vec<&[u8]> = entries.flat_map(StagedEntry::parts).collect();
        segment.file.write_at(from, &parts)
    }
}
