//! Consumer groups: how long they wait, and what bounds them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Span, within};
use crate::server::{self, GroupOptions};

/// Consumer groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Groups {
    /// How long a member that is not heard keeps its partitions: 1 s to 1 h.
    pub grace: Span,
    /// How often a member is asked to be heard: at most a third of the grace.
    pub heartbeat: Span,
    /// How long a member has to release what is revoked: 100 ms to 24 h.
    pub release: Span,
    /// How long a group without members is kept: 1 min to 366 days.
    pub idle_expiry: Span,
    /// Groups in all.
    pub max_groups: usize,
    /// Members of a group, at most 512.
    pub max_members: usize,
    /// Topics of a member, at most 256.
    pub max_topics: usize,
    /// Partitions of a group, at most 8,192.
    pub max_partitions: usize,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            grace: Span(server::GROUP_GRACE),
            heartbeat: Span(server::GROUP_HEARTBEAT),
            release: Span(server::GROUP_RELEASE),
            idle_expiry: Span(server::GROUP_IDLE_EXPIRY),
            max_groups: server::MAX_GROUPS,
            max_members: server::MAX_GROUP_MEMBERS,
            max_topics: server::MAX_MEMBER_TOPICS,
            max_partitions: server::MAX_GROUP_PARTITIONS,
        }
    }
}

impl Groups {
    /// What the server goes by.
    pub fn options(&self) -> GroupOptions {
        GroupOptions {
            grace: self.grace.0,
            heartbeat: self.heartbeat.0,
            release: self.release.0,
            idle_expiry: self.idle_expiry.0,
            max_groups: self.max_groups,
            max_members: self.max_members,
            max_topics: self.max_topics,
            max_partitions: self.max_partitions,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        within("groups.grace", self.grace, Span::secs(1), Span::secs(3600))?;
        // Three in a grace: one may be lost.
        let (least, most) = (Span(Duration::from_millis(100)), Span(self.grace.0 / 3));
        if self.heartbeat < least || self.heartbeat > most {
            return Err(format!(
                "groups.heartbeat is {}: it must be from {least} to a third of groups.grace, about {}",
                self.heartbeat,
                Span(Duration::from_millis(most.millis()))
            ));
        }
        within("groups.release", self.release, Span(Duration::from_millis(100)), Span::secs(24 * 3600))?;
        within("groups.idle_expiry", self.idle_expiry, Span::secs(60), Span::secs(366 * 24 * 3600))?;
        within("groups.max_groups", self.max_groups, 1, 100_000)?;
        within("groups.max_members", self.max_members, 1, 512)?;
        within("groups.max_topics", self.max_topics, 1, 256)?;
        within("groups.max_partitions", self.max_partitions, 1, 8192)
    }
}

#[cfg(test)]
mod tests {
    use crate::server::BrokerOptions;

    use super::*;

    #[test]
    fn every_configuration_that_the_check_lets_pass_can_be_served() {
        let least = Groups {
            grace: Span::secs(1),
            heartbeat: Span(Duration::from_millis(100)),
            release: Span(Duration::from_millis(100)),
            idle_expiry: Span::secs(60),
            max_groups: 1,
            max_members: 1,
            max_topics: 1,
            max_partitions: 1,
        };
        let most = Groups {
            grace: Span::secs(3600),
            heartbeat: Span::secs(1200),
            release: Span::secs(24 * 3600),
            idle_expiry: Span::secs(366 * 24 * 3600),
            max_groups: 100_000,
            max_members: 512,
            max_topics: 256,
            max_partitions: 8192,
        };
        for groups in [least, Groups::default(), most] {
            assert_eq!(groups.check(), Ok(()));
            let options = BrokerOptions { groups: groups.options(), ..BrokerOptions::default() };
            assert_eq!(options.validate(), Ok(()));
        }
    }

    #[test]
    fn a_heartbeat_that_is_too_slow_for_the_grace_is_named() {
        let slow = Groups { heartbeat: Span::secs(4), ..Groups::default() };
        let error = slow.check().unwrap_err();
        assert!(
            error.starts_with("groups.heartbeat is 4s: it must be from 100ms to a third of groups.grace"),
            "{error}"
        );
    }
}
