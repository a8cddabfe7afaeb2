//! One reading of the broker: all that metrics and status are made of, at about one moment.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::message::admin::{BrokerStatus, Level};
use sealstream_transport::TransportKind;

use super::Watched;
use super::readiness::{self, Reason};
use crate::log::{LogCounters, Partition};
use crate::server::{GroupShown, TopicMeter, View, budgets};
use crate::topics::Topic;

/// 1,000 groups are asked, the first by name: a task each, which answers in its turn.
pub(super) const SHOWN_GROUPS: usize = 1000;

/// 1 s for the groups to answer, all together: one whose disk stalls is shown without its lag.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a file system has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    pub(super) free: u64,
    pub(super) total: u64,
}

impl Disk {
    /// That of a directory.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(dir).ok()?;
        // What an ordinary user may take; the rest is kept for root.
        Some(Self { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) view: View,
    pub(super) status: BrokerStatus,
    pub(super) budgets: Vec<(&'static str, Level)>,
    pub(super) log: Option<LogCounters>,
    pub(super) segments: u64,
    pub(super) connections: [(TransportKind, u64); 3],
    pub(super) topics: Vec<(Arc<Topic>, Vec<Partition>)>,
    pub(super) meters: Vec<(String, Arc<TopicMeter>)>,
    pub(super) other_topics: Arc<TopicMeter>,
    pub(super) groups: Vec<GroupShown>,
    /// Groups that were not asked, being more than [`SHOWN_GROUPS`].
    pub(super) more_groups: u64,
    /// `None` where the system does not tell.
    pub(super) disk: Option<Disk>,
    pub(super) reasons: Vec<Reason>,
}

impl Reading {
    /// Reads everything, after whoever reads it now.
    pub(super) async fn take(view: &View, watched: &Watched) -> Self {
        let _turn = watched.turn.lock().await;
        let groups = view.groups(SHOWN_GROUPS, PATIENCE).await;
        let reasons = readiness::reasons(&readiness::observe(watched));
        let (seen, dir) = (view.clone(), watched.data_dir.clone());
        // On a thread of its own: 10,000 partitions with a hundred segments each take milliseconds.
        let read = tokio::task::spawn_blocking(move || read(&seen, &dir, groups, reasons));
        read.await.expect("a reading does not panic, and nobody aborts it")
    }

    /// Whether the broker is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

fn read(view: &View, dir: &Path, groups: Vec<GroupShown>, reasons: Vec<Reason>) -> Reading {
    let status = view.status();
    let (meters, other_topics) = view.topic_meters();
    Reading {
        budgets: budgets(&status),
        log: view.log(),
        segments: view.segments(),
        connections: view.presence().counts(),
        topics: view.topics(),
        meters,
        other_topics,
        more_groups: status.groups.now.saturating_sub(groups.len() as u64),
        groups,
        disk: Disk::of(dir),
        reasons,
        view: view.clone(),
        status,
    }
}
