//! What sets a restored copy apart from its original.
//!
//! Copy and original go on from one place, each its own way: offsets and even epochs would come to mean other records there than
//! here. So the first open of a directory with the file `restored` gives every shard a floor of epochs, above all that it has by a number of
//! its own: whoever comes from the original with a position behind the copy is told where histories part. The file is
//! removed once all floors are durable: a crash before that has it done again, higher.

use std::io;
use std::sync::Arc;

use super::layout::DataDir;
use super::meta::{self, MetaRecord};
use super::reserve::Reserve;
use crate::log::disk::Disk;
use crate::log::engine::ShardId;

/// How far epochs are raised at least: further than an original comes, by one at each crash.
const LEAP: u32 = 1 << 16;

/// Does what the mark asks for, if it is there, and removes it. Blocks.
pub(super) fn begin_new_epochs(
    disk: &Arc<dyn Disk>,
    dir: &DataDir,
    shards: u32,
    reserve: &Reserve,
) -> io::Result<()> {
    match disk.open_read_only(&dir.restored()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => drop(found?),
    }
    // By chance, so that of two copies made of one, each has epochs of its own.
    let leap = LEAP + rand::random_range(0..LEAP);
    for id in (0..shards).map(ShardId) {
        let (mut log, mut state) = reserve.with(|| meta::load(disk, &dir.shard(id)))?;
        let highest = state.partitions().map(|(_, state)| state.epochs.current()).max();
        let floor = highest.unwrap_or(1).max(state.epoch_floor()).saturating_add(leap);
        log.append(vec![MetaRecord::EpochFloor(floor)], true);
        reserve.with(|| log.flush())?;
        let sync = log.begin_sync();
        sync.files.iter().try_for_each(|file| file.sync_data())?;
        log.synced(sync.upto, &mut state);
        log.trim_reserve()?;
        tracing::info!(shard = id.0, floor, "restored from a copy: new log epochs begin");
    }
    disk.remove_file(&dir.restored())?;
    disk.sync_dir(dir.path())
}
