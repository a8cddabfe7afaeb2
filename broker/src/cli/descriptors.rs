//! How many files the process may have open: sockets, segments, the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::log::segmented::SegmentedOptions;

/// What the broker holds open besides connections and segments: listeners, logs, epoll, the terminal. About 30, and as many in
/// reserve.
const OTHERS: u64 = 64;

/// Segments of a shard that wait for a sync, and are held open beside those that the engine keeps.
const SYNCING: u64 = 8 + 128;

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
    let connections = u64::try_from(config.limits.connections).unwrap_or(u64::MAX);
    let segments = SegmentedOptions::default().open_segments as u64 + SYNCING * u64::from(config.log.shards);
    connections.saturating_add(OTHERS + segments)
}

/// How many files this process could have open once it has raised its limit; `None` is no limit.
pub(super) fn allowed() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}
