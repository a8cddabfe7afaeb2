//! Reads the metadata of a shard back: the last snapshot, and the logs from there on.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use super::frame::{self, Parsed};
use super::{MetaLog, MetaState};
use crate::log::disk::Disk;
use crate::log::segmented::layout::{ShardDir, parse_meta_name};

/// The largest metadata file that is read, in bytes. A log is replaced when it is larger than 4 MiB and than twice its
/// snapshot; a shard that gets here holds ten million offsets.
const MAX_FILE: usize = 1 << 30;

/// Opens the metadata log of a shard, made if the shard is new, and cuts off what was torn.
pub(in super::super) fn load(disk: &Arc<dyn Disk>, dir: &ShardDir) -> io::Result<(MetaLog, MetaState)> {
    disk.create_dir_all(&dir.partitions())?;
    // A killed process leaves what it wrote in the page cache: what is found from here on counts as durable.
    for generation in generations(&**disk, dir)?.1 {
        disk.open(&dir.meta_log(generation))?.reread()?;
    }
    let found = Loaded::read(&**disk, dir)?;
    if found.torn {
        tracing::info!(shard = %dir.path().display(), at = found.position, "cut the torn tail of the metadata log");
        remove_newer(&**disk, dir, found.last)?;
    }
    let path = dir.meta_log(found.last);
    let file = if found.logs.is_empty() { disk.create(&path)? } else { disk.open(&path)? };
    if file.len()? > found.position {
        file.truncate(found.position)?;
    }
    file.sync_data()?;
    disk.sync_dir(dir.path())?;
    super::remove_older(&**disk, dir, found.first);
    let log = MetaLog {
        disk: Arc::clone(disk),
        dir: dir.clone(),
        generation: found.last,
        starts: 0,
        file,
        position: found.position,
        allocated: found.position,
        sequence: found.sequence,
        written: found.sequence,
        durable: found.sequence,
        staged: Vec::new(),
        pending: VecDeque::new(),
        versions: HashMap::new(),
        given: found.state.versions(),
        dirty: Vec::new(),
        new_name: false,
        snapshot: found.snapshot_bytes,
        compacting: (found.last > found.first).then_some(found.sequence),
    };
    Ok((log, found.state))
}

/// The metadata of a shard as the next open will find it; changes nothing.
pub(in super::super) fn look(disk: &dyn Disk, dir: &ShardDir) -> io::Result<MetaState> {
    Ok(Loaded::read(disk, dir)?.state)
}

#[derive(Default)]
struct Loaded {
    state: MetaState,
    sequence: u64,
    /// The generation that the rest builds on.
    first: u64,
    /// The generations from there on that have a log.
    logs: Vec<u64>,
    /// The last generation that counts, and where it ends.
    last: u64,
    position: u64,
    torn: bool,
    snapshot_bytes: u64,
}

impl Loaded {
    fn read(disk: &dyn Disk, dir: &ShardDir) -> io::Result<Self> {
        let (snapshots, logs) = generations(disk, dir)?;
        if snapshots.is_empty() && logs.is_empty() && !disk.list(&dir.partitions())?.is_empty() {
            return Err(damaged(dir, "the metadata log is missing, but there are partitions"));
        }
        let mut loaded = Self::default();
        loaded.first = snapshots.last().or(logs.first()).copied().unwrap_or(1);
        loaded.last = loaded.first;
        if snapshots.contains(&loaded.first) {
            loaded.snapshot(disk, dir, loaded.first)?;
        }
        loaded.logs = logs.into_iter().filter(|generation| *generation >= loaded.first).collect();
        if loaded.logs.iter().zip(loaded.first..).any(|(found, expected)| *found != expected) {
            return Err(damaged(dir, "a generation of the metadata log is missing"));
        }
        for at in 0..loaded.logs.len() {
            loaded.last = loaded.logs[at];
            loaded.torn = loaded.log(disk, dir, at)?;
            if loaded.torn {
                break;
            }
        }
        Ok(loaded)
    }

    fn snapshot(&mut self, disk: &dyn Disk, dir: &ShardDir, generation: u64) -> io::Result<()> {
        let bytes = disk.read(&dir.meta_snapshot(generation), MAX_FILE)?;
        self.snapshot_bytes = bytes.len() as u64;
        let mut rest = &bytes[..];
        loop {
            match frame::parse(rest) {
                Parsed::Frame(frame) => {
                    self.sequence = frame.sequence;
                    if frame.records.is_empty() {
                        return Ok(());
                    }
                    frame.records.iter().for_each(|record| self.state.apply(record));
                    rest = &rest[frame.len..];
                }
                _ => return Err(damaged(dir, &format!("snapshot {generation} of the metadata is damaged"))),
            }
        }
    }

    /// Reads one of the logs; returns whether its tail is torn.
    fn log(&mut self, disk: &dyn Disk, dir: &ShardDir, number: usize) -> io::Result<bool> {
        let generation = self.logs[number];
        let bytes = disk.read(&dir.meta_log(generation), MAX_FILE)?;
        let mut at = 0;
        let torn = loop {
            match frame::parse(&bytes[at..]) {
                Parsed::End => break false,
                Parsed::Unknown => {
                    return Err(damaged(dir, "the metadata log has records of an unknown kind"));
                }
                // A frame out of sequence is what an earlier use of the same place left.
                Parsed::Frame(frame) if frame.sequence <= self.sequence + 1 => {
                    if frame.sequence == self.sequence + 1 {
                        frame.records.iter().for_each(|record| self.state.apply(record));
                        self.sequence = frame.sequence;
                    }
                    at += frame.len;
                }
                Parsed::Frame(_) | Parsed::Bad => break true,
            }
        };
        self.position = at as u64;
        if !torn {
            return Ok(false);
        }
        let mut durable = frame::last_durable(&bytes[at..]);
        for newer in &self.logs[number + 1..] {
            durable = durable.max(frame::last_durable(&disk.read(&dir.meta_log(*newer), MAX_FILE)?));
        }
        if durable > self.sequence {
            let reason = format!("generation {generation} of the metadata log is damaged at byte {at}");
            return Err(damaged(dir, &reason));
        }
        Ok(true)
    }
}

fn generations(disk: &dyn Disk, dir: &ShardDir) -> io::Result<(BTreeSet<u64>, BTreeSet<u64>)> {
    let mut snapshots = BTreeSet::new();
    let mut logs = BTreeSet::new();
    for entry in disk.list(dir.path())? {
        match parse_meta_name(&entry.name) {
            Some((generation, true)) => snapshots.insert(generation),
            Some((generation, false)) => logs.insert(generation),
            None => continue,
        };
    }
    Ok((snapshots, logs))
}

fn remove_newer(disk: &dyn Disk, dir: &ShardDir, generation: u64) -> io::Result<()> {
    for entry in disk.list(dir.path())? {
        if parse_meta_name(&entry.name).is_some_and(|(found, snapshot)| found > generation && !snapshot) {
            disk.remove_file(&dir.path().join(&entry.name))?;
        }
    }
    Ok(())
}

fn damaged(dir: &ShardDir, reason: &str) -> io::Error {
    let text = format!("{reason} ({}): restore the data directory from a copy", dir.path().display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}
