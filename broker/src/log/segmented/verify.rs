//! Checks a data directory from one end to the other, and changes nothing.
//!
//! Every segment is walked, every checksum computed, every batch looked into. What a crash may leave behind, and the next start cuts
//! off, is told apart from damage.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::Batch;
use sealstream_protocol::entry::{ENTRY_HEADER, EntryView};

use super::layout::{DataDir, OpenLogError, PartitionDir, ShardDir, parse_partition_name};
use super::meta::{MetaState, PartitionState};
use super::segment::{self, Depth, SEGMENT_HEADER, Step, Walk};
use super::{checkpoint, journal, meta};
use crate::log::disk::{Disk, RealDisk};
use crate::log::engine::{PartitionId, ShardId};

/// How often something is looked at again that a broker may have been changing.
const ATTEMPTS: usize = 5;

/// Why a data directory could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not there, is none, is of a newer version, or a broker has it.
    #[error(transparent)]
    Open(#[from] OpenLogError),
    /// There is no such directory.
    #[error(
        "there is no sealstream data directory at {0}: data_dir of the configuration names it, ./sealstream-data by default"
    )]
    Missing(String),
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub file: PathBuf,
    /// From which byte on.
    pub position: u64,
    /// What was found.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}: {}", self.file.display(), self.position, self.reason)
    }
}

/// A partition as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReport {
    /// Which.
    pub id: PartitionId,
    /// The shard that holds it.
    pub shard: ShardId,
    /// How many segments.
    pub segments: u64,
    /// How many entries, up to the end or the first fault.
    pub entries: u64,
    /// How many records in them.
    pub records: u64,
    /// The entries' bytes.
    pub bytes: u64,
    /// The first offset.
    pub start: u64,
    /// The offset after the last record that was found good.
    pub end: u64,
    /// Whether it was closed cleanly.
    pub clean: bool,
    /// What a crash has torn, and the next start cuts off, or takes from the journal.
    pub torn: Option<Fault>,
    /// The first damage, if there is any: below the durable end, so that records are lost.
    pub fault: Option<Fault>,
}

/// A data directory as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every partition, by shard and id.
    pub partitions: Vec<PartitionReport>,
    /// What is wrong outside of the partitions: a shard's metadata that cannot be read, logs that no metadata knows.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.partitions.iter().all(|partition| partition.fault.is_none())
    }
}

/// Checks the data directory `dir`. Refuses if a broker has it open, unless `while_running`: then what is being appended during the check
/// may look torn. `progress` is told how many bytes more were read, now and then. Blocks, for as long as it takes to read everything.
pub fn verify(dir: &Path, while_running: bool, progress: &mut dyn FnMut(u64)) -> Result<Report, VerifyError> {
    verify_on(&RealDisk, dir, while_running, progress)
}

/// The same on any disk.
pub fn verify_on(
    disk: &dyn Disk,
    dir: &Path,
    while_running: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, VerifyError> {
    let name = || dir.display().to_string();
    let data = DataDir::new(dir.to_owned());
    let Some(shards) = data.shards(disk)? else { return Err(VerifyError::Missing(name())) };
    let lock = if while_running { None } else { data.lock_if_writable(disk)? };
    let mut check = Check { disk, live: while_running, progress, report: Report::default() };
    for id in (0..shards).map(ShardId) {
        let shard = data.shard(id);
        if let Err(error) = check.shard(id, &shard) {
            let file = shard.path().to_owned();
            check.report.faults.push(Fault { file, position: 0, reason: error.to_string() });
        }
    }
    drop(lock);
    Ok(check.report)
}

struct Check<'a> {
    disk: &'a dyn Disk,
    /// A broker may be at it: what looks wrong is looked at again.
    live: bool,
    progress: &'a mut dyn FnMut(u64),
    report: Report,
}

impl Check<'_> {
    fn shard(&mut self, id: ShardId, dir: &ShardDir) -> io::Result<()> {
        let found = match self.disk.list(&dir.partitions()) {
            // Never opened.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        if found.is_empty()
            && !self.disk.list(dir.path())?.iter().any(|entry| entry.name.starts_with("meta-"))
        {
            return Ok(());
        }
        let state = self.metadata(dir)?;
        let journaled = journal::look(self.disk, dir)?;
        for entry in found {
            let file = dir.partitions().join(&entry.name);
            let known = parse_partition_name(&entry.name).filter(|id| {
                state.partition(*id).is_some() || state.deleting().any(|deleting| deleting == *id)
            });
            // Made, or removed, between the two looks.
            let moved = self.live && self.is_known(dir, &entry.name);
            if known.is_none() && !moved && !self.disk.list(&file).is_ok_and(|found| found.is_empty()) {
                let reason = "the metadata knows nothing of it".to_owned();
                self.report.faults.push(Fault { file, position: 0, reason });
            }
        }
        let mut partitions: Vec<_> = state.partitions().collect();
        partitions.sort_unstable_by_key(|(id, _)| *id);
        'partitions: for (partition, state) in partitions {
            let mut report = self.partition(id, partition, &dir.partition(partition), state, &journaled);
            for _ in 0..ATTEMPTS {
                if !self.live || report.fault.is_none() && report.torn.is_none() {
                    break;
                }
                let now = self.metadata(dir)?;
                let Some(state) = now.partition(partition) else { continue 'partitions };
                report = self.partition(id, partition, &dir.partition(partition), state, &journaled);
            }
            self.report.partitions.push(report);
        }
        Ok(())
    }

    /// The metadata of a shard, read again where it changed while it was.
    fn metadata(&self, dir: &ShardDir) -> io::Result<MetaState> {
        let mut state = meta::look(self.disk, dir);
        for _ in 0..ATTEMPTS {
            if state.is_ok() || !self.live {
                break;
            }
            state = meta::look(self.disk, dir);
        }
        state
    }

    /// Whether the metadata as it is now knows of a partition's directory, or that is no longer there.
    fn is_known(&self, dir: &ShardDir, name: &str) -> bool {
        let gone = self.disk.list(&dir.partitions().join(name)).is_err();
        gone || self
            .metadata(dir)
            .is_ok_and(|state| parse_partition_name(name).is_some_and(|id| state.partition(id).is_some()))
    }

    fn partition(
        &mut self,
        shard: ShardId,
        id: PartitionId,
        dir: &PartitionDir,
        state: &PartitionState,
        journaled: &HashMap<PartitionId, u64>,
    ) -> PartitionReport {
        let report = PartitionReport {
            id,
            shard,
            segments: 0,
            entries: 0,
            records: 0,
            bytes: 0,
            start: state.start,
            end: state.start,
            clean: state.sealed.is_some(),
            torn: None,
            fault: None,
        };
        let sealed = state.sealed.map(|(mark, _)| mark.offset);
        let mut walk = PartitionWalk {
            disk: self.disk,
            live: self.live,
            dir,
            state,
            report,
            durable_end: sealed.unwrap_or(0),
            last_time: i64::MIN,
        };
        let fault = match walk.run(self.progress) {
            Ok(fault) => fault,
            Err(error) => Some(Fault { file: dir.path().to_owned(), position: 0, reason: error.to_string() }),
        };
        let PartitionWalk { mut report, durable_end, .. } = walk;
        // What the journal has is put back at the next start.
        let replayed = journaled.get(&id).copied().unwrap_or(0);
        let lost = report.end < durable_end && report.end >= replayed;
        match fault {
            Some(fault) if lost => report.fault = Some(fault),
            None if lost => {
                let reason = format!("the log ends at {}, and was durable up to {durable_end}", report.end);
                report.fault = Some(Fault { file: dir.path().to_owned(), position: 0, reason });
            }
            torn => report.torn = torn,
        }
        report
    }
}

struct PartitionWalk<'a> {
    disk: &'a dyn Disk,
    live: bool,
    dir: &'a PartitionDir,
    state: &'a PartitionState,
    report: PartitionReport,
    /// What is known to be durable.
    durable_end: u64,
    last_time: i64,
}

impl PartitionWalk<'_> {
    /// Walks all segments; returns where it had to stop before the end.
    fn run(&mut self, progress: &mut dyn FnMut(u64)) -> io::Result<Option<Fault>> {
        if let Some(saved) = checkpoint::load(self.disk, self.dir)? {
            self.durable_end = self.durable_end.max(saved.mark.offset);
        }
        let mut bases = match self.dir.segments(self.disk) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            bases => bases?,
        };
        let mut found = Vec::with_capacity(bases.len());
        for base in bases.drain(..).filter(|base| *base >= self.state.start) {
            let file = self.disk.open_read_only(&self.dir.segment(base))?;
            if !segment::is_stale(&*file, self.report.id, base, &self.state.epochs)? {
                found.push(base);
            }
        }
        let bases = found;
        self.report.segments = bases.len() as u64;
        if let Some(first) = bases.first().filter(|first| self.live && **first > self.report.start) {
            // Trimmed since the metadata was read.
            (self.report.start, self.report.end) = (*first, *first);
        }
        for (at, base) in bases.iter().enumerate() {
            let next = bases.get(at + 1).copied();
            if let Some((position, reason)) = self.segment(*base, next, progress)? {
                for behind in &bases[at..] {
                    let file = self.disk.open_read_only(&self.dir.segment(*behind))?;
                    let from = if behind == base { position } else { 0 };
                    let words = segment::last_words(&*file, from)?;
                    self.durable_end = self.durable_end.max(words.map_or(0, |words| words.durable_end));
                }
                return Ok(Some(Fault { file: self.dir.segment(*base), position, reason }));
            }
        }
        Ok(None)
    }

    fn segment(
        &mut self,
        base: u64,
        next: Option<u64>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Option<(u64, String)>> {
        if self.report.end != base {
            return Ok(Some((
                0,
                format!("it does not begin where the one before ends, at {}", self.report.end),
            )));
        }
        let file = self.disk.open_read_only(&self.dir.segment(base))?;
        if segment::epoch_of(&*file, self.report.id, base)?.is_none() {
            return Ok(Some((0, "its header is damaged".to_owned())));
        }
        let mut walk = Walk::new(&*file, SEGMENT_HEADER, Depth::Full)?;
        loop {
            let position = walk.position();
            let step = if next == Some(self.report.end) { Step::End } else { walk.next()? };
            match step {
                Step::Binding(_) => {}
                Step::End if next.is_some_and(|next| next != self.report.end) => {
                    return Ok(Some((position, "it ends before the next segment begins".to_owned())));
                }
                Step::End => return Ok(None),
                Step::Bad(reason) => return Ok(Some((position, reason))),
                Step::Entry { position, view } => {
                    let bytes = walk.bytes_of(position, view.total_len).unwrap_or_default();
                    if let Some(reason) = self.wrong(&view, bytes) {
                        return Ok(Some((position, reason)));
                    }
                    progress(view.total_len as u64);
                }
            }
        }
    }

    /// What is wrong with an entry; if nothing is, it counts.
    fn wrong(&mut self, view: &EntryView, bytes: &[u8]) -> Option<String> {
        let header = &view.header;
        if header.base_offset != self.report.end {
            return Some(format!("offset {} where {} should be", header.base_offset, self.report.end));
        }
        if let Some(epoch) = self.state.epochs.at(header.base_offset)
            && header.log_epoch != epoch
        {
            return Some(format!("an entry of log epoch {} in epoch {epoch}", header.log_epoch));
        }
        if header.append_time < self.last_time {
            return Some("an entry appended before the one in front of it".to_owned());
        }
        if header.durable_end > header.base_offset {
            return Some("an entry that calls itself durable".to_owned());
        }
        let batch = Bytes::copy_from_slice(bytes.get(ENTRY_HEADER..).unwrap_or_default());
        if let Err(error) = Batch::validate(batch, &Limits::default()) {
            return Some(error.to_string());
        }
        self.last_time = header.append_time;
        self.durable_end = self.durable_end.max(header.durable_end);
        self.report.entries += 1;
        self.report.records += u64::from(view.batch_header.count);
        self.report.bytes += view.total_len as u64;
        self.report.end = view.next_offset();
        None
    }
}
