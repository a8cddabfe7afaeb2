//! What bounds groups, and how long they wait.

use std::time::Duration;

use crate::server::GroupOptions;

/// What bounds groups, and how long they wait: the broker's options as the groups use them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long a member that is not heard keeps what it has.
    pub(crate) grace: Duration,
    /// How often a member is to be heard: at most a third of the grace.
    pub(crate) heartbeat: Duration,
    /// How long a member has to release what is revoked.
    pub(crate) release: Duration,
    /// How long a group without members is kept.
    pub(crate) idle_expiry: Duration,
    pub(crate) max_groups: usize,
    pub(crate) max_members: usize,
    /// Of one member.
    pub(crate) max_topics: usize,
    /// Of one group.
    pub(crate) max_partitions: usize,
}

impl Rules {
    pub(crate) fn of(options: &GroupOptions) -> Self {
        let GroupOptions { grace, heartbeat, release, idle_expiry, .. } = *options;
        let GroupOptions { max_groups, max_members, max_topics, max_partitions, .. } = *options;
        Self { grace, heartbeat, release, idle_expiry, max_groups, max_members, max_topics, max_partitions }
    }

    /// How late a group may look at the time before it was kept from it: by a disk that stalls, or because the process stood
    /// still. A half more than a heartbeat, which is when it looks at the latest.
    pub(super) fn late(&self) -> Duration {
        self.heartbeat * 3 / 2
    }
}
