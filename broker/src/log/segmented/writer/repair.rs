//! What is done when syncing a partition has failed: nothing is tried again, nothing is read back, nothing durable is lost.

use std::io;
use std::path::PathBuf;

use super::super::checkpoint::Mark;
use super::super::env::Env;
use super::super::journal::Journal;
use super::super::meta::MetaRecord;
use super::super::partition::LivePartition;
use super::super::recovery::SegmentInfo;
use super::super::segment::{SEGMENT_HEADER, segment_header};
use super::super::shared::{reading, writing};
use super::Writer;
use super::metadata::After;
use crate::log::engine::PartitionId;

impl Writer {
    /// A sync of a partition failed: what was not durable before is given up, and a new epoch begins. What the journal alone has is
    /// taken from there.
    pub(super) fn cut(&mut self, id: PartitionId, reason: &str) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (end, lost) = (partition.durable.offset, partition.written.offset - partition.durable.offset);
        tracing::error!(partition = %id, reason, end, lost, "writing failed: the log is cut to what is durable");
        let (place, journaled) = (partition.synced, partition.is_journaled());
        let emptied = partition.cut(reason);
        partition.gate = partition.written;
        let state = partition.state(self.env.owner);
        let dir = partition.shared.dir.clone();
        for base in &emptied {
            self.env.shared.files.forget(id, *base);
            // If it stays, the next segment of that name replaces it.
            let _ = self.env.disk.remove_file(&dir.segment(*base));
        }
        if place.position > 0 && !emptied.contains(&place.base) {
            self.env.shared.files.forget(id, place.base);
            // The next segment begins at the cut, and hides what this one may still hold beyond it.
            let cut = self.env.disk.open(&dir.segment(place.base));
            let _ = cut.and_then(|file| file.truncate(place.position));
        }
        self.env.shared.cache.cut(id, end);
        let sequence = self.note(MetaRecord::Partition(id, state), After::Settle(id));
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.needs_meta = sequence;
            if journaled {
                tracing::error!(partition = %id, "it takes no appends until what only the journal has is in a segment");
                partition.failing = Some(reason.to_owned());
                writing(&partition.shared.view).lacking = true;
                self.failing.push(id);
            }
        }
        self.refuse_trims(id, reason);
        self.repair();
    }

    /// Gives partitions back what the journal alone has of them. Those for which that fails take no appends until it succeeds.
    pub(super) fn repair(&mut self) {
        let progress = self.meta.progress();
        for id in std::mem::take(&mut self.failing) {
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            match partition.take_from_journal(&self.env, &self.journal) {
                Ok(()) => {
                    partition.failing = None;
                    partition.settle(progress);
                    // What the journal has of it is history from when this is durable on: not before, and no longer.
                    partition.incarnation = self.meta.next_version();
                    let state = partition.state(self.env.owner);
                    let sequence = self.meta.append(vec![MetaRecord::Partition(id, state)], true);
                    self.after_meta.push_back((sequence, After::Settle(id)));
                    partition.needs_meta = sequence;
                    tracing::info!(partition = %id, "what only the journal had is in a segment of its own");
                }
                Err(error) => {
                    // Said once aloud, by whoever found it failing; this is tried in every round.
                    tracing::debug!(partition = %id, %error, "cannot take over what only the journal has");
                    self.failing.push(id);
                }
            }
        }
    }
}

impl LivePartition {
    /// Puts what the journal alone has into a segment of its own, durably. Until its name is there, the journal counts at the next
    /// start.
    fn take_from_journal(&mut self, env: &Env, journal: &Journal) -> io::Result<()> {
        let (from, end) = (self.synced.offset, self.durable.offset);
        let bytes = journal.collect(self.shared.id, self.incarnation, from, end)?;
        let path = self.shared.dir.segment(from);
        let fresh = PathBuf::from(format!("{}.repair", path.display()));
        match env.disk.remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Of the same epoch, and perhaps torn: recovery would go on there.
        for base in self.shared.dir.segments(&*env.disk)?.into_iter().filter(|base| *base > from) {
            env.disk.remove_file(&self.shared.dir.segment(base))?;
        }
        let file = env.disk.create(&fresh)?;
        let epoch = reading(&self.shared.view).epochs.at(from).unwrap_or_else(|| self.epoch());
        file.write_at(0, &[&segment_header(self.shared.id, from, epoch), &bytes])?;
        file.sync_data()?;
        env.disk.rename(&fresh, &path)?;
        env.disk.sync_dir(self.shared.dir.path())?;
        env.shared.files.forget(self.shared.id, from);
        let position = SEGMENT_HEADER + bytes.len() as u64;
        let mut view = writing(&self.shared.view);
        view.segments.retain(|segment| segment.base < from);
        view.segments.push(SegmentInfo { base: from, bytes: position });
        (view.rewritten, view.lacking) = (view.rewritten + 1, false);
        drop(view);
        self.written = Mark { offset: end, base: from, position };
        (self.durable, self.synced, self.gate) = (self.written, self.written, self.written);
        Ok(())
    }
}
