//! How many files the process may have open: sockets, segments, the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::log::segmented::SegmentedOptions;

/// What the broker holds open besides connections and segments: listeners, logs, epoll, the terminal. About 30, and as many in
/// reserve.
const OTHERS: u64 = 64;

/// Segments of a shard whose sync is under way, at most.
const SYNCING: u64 = 8;

/// Segments that are kept open, and as many more that wait for a sync, where the system allows it: what is written to so many
/// partitions in turn opens no file, and waits for no disk. 2,048 × 48 KiB of index are 96 MiB at worst.
pub(super) const MOST_SEGMENTS: usize = 2_048;

/// Raises the limit to what the system allows this process (its hard limit), and warns where that is too little for the
/// configured connections. Most shells start with 1,024 and allow far more.
pub(super) fn raise_limit(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    let Some(allowed) = getrlimit(Resource::Nofile).current else { return };
    let wanted = wanted(config);
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "the system allows fewer open files than limits.connections may need: raise the limit (`ulimit -Hn`, or LimitNOFILE \
             of a systemd unit), or lower limits.connections"
        );
    }
}

/// How many files a broker of this configuration may have open at most.
pub(super) fn wanted(config: &Config) -> u64 {
    let SegmentedOptions { open_segments, held_segments, .. } = SegmentedOptions::default();
    let shards = u64::from(config.log.shards);
    besides_segments(config).saturating_add(open_segments as u64 + held_segments as u64 * shards)
}

fn besides_segments(config: &Config) -> u64 {
    let connections = u64::try_from(config.limits.connections).unwrap_or(u64::MAX);
    connections.saturating_add(OTHERS + SYNCING * u64::from(config.log.shards))
}

/// How many segments the log may keep open, and how many more each shard may hold: by what the system allows, at least the
/// defaults, and at most [`MOST_SEGMENTS`] of both.
pub(super) fn segments(config: &Config) -> (usize, usize) {
    let SegmentedOptions { open_segments, held_segments, .. } = SegmentedOptions::default();
    let left = allowed().map_or(u64::MAX, |allowed| allowed.saturating_sub(besides_segments(config)));
    let half = usize::try_from(left / 2).unwrap_or(usize::MAX).min(MOST_SEGMENTS);
    (half.max(open_segments), (half / config.log.shards as usize).max(held_segments))
}

/// How many files this process could have open once it has raised its limit; `None` is no limit.
pub(super) fn allowed() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}
