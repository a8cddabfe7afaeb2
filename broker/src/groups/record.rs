//! A group as its shard keeps it: JSON, with a version of its own, as topics are kept.
//!
//! Members and owned partitions point into tables by place: a group of 512 members and 8,192 partitions stays below the 1 MiB
//! that a value may have, unless its identities are long; such a join is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::LoadGroupsError;
use super::group::{Group, Member, Owned};
use super::rules::Rules;
use crate::log::PartitionId;

/// The version that is written. A newer one is refused; an older one is read.
const VERSION: u32 = 1;

/// What the keys of all groups begin with.
pub(super) const GROUPS: &str = "group/";

/// The largest record, in bytes: what the log takes as a value.
pub(super) const MAX_RECORD: usize = 1 << 20;

/// The key of a group's record.
pub(super) fn group_key(name: &str) -> String {
    format!("{GROUPS}{name}")
}

/// The version first: it decides how the rest is read.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    group: GroupRecord,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupRecord {
    /// The last epoch given.
    epoch: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle_since_ms: Option<i64>,
    /// Topics that the group has something of.
    topics: Vec<(Uuid, String)>,
    /// Names that members want to read.
    names: Vec<String>,
    members: Vec<MemberRecord>,
    /// Place of the topic, partition, place of the member, epoch.
    owned: Vec<(u32, u32, u32, u32)>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberRecord {
    id: Uuid,
    identity: String,
    /// Places among the names.
    topics: Vec<u32>,
}

/// The group as it is written.
pub(super) fn encode(group: &Group) -> Bytes {
    let topics: Vec<(Uuid, String)> = group.names.iter().map(|(id, name)| (*id, name.to_string())).collect();
    let names = group.members.values().flat_map(|member| &member.topics);
    let mut names: Vec<String> = names.cloned().collect();
    names.sort_unstable();
    names.dedup();
    let members = group.members.iter().map(|(id, member)| MemberRecord {
        id: *id,
        identity: member.identity.to_string(),
        topics: member.topics.iter().map(|name| place(names.binary_search(name))).collect(),
    });
    let members: Vec<MemberRecord> = members.collect();
    let owned = group.owned.iter().map(|(partition, owned)| {
        let topic = place(topics.binary_search_by_key(&partition.topic, |(id, _)| *id));
        let member = place(members.binary_search_by_key(&owned.member, |member| member.id));
        (topic, partition.index, member, owned.epoch)
    });
    let owned = owned.collect();
    let record =
        GroupRecord { epoch: group.epoch, idle_since_ms: group.idle_since, topics, names, members, owned };
    let envelope = Envelope { version: VERSION, group: record };
    serde_json::to_vec(&envelope).expect("a record of strings and numbers can be written as JSON").into()
}

fn place(found: Result<usize, usize>) -> u32 {
    let place = found.expect("what a group points at is in its tables");
    u32::try_from(place).expect("a group's tables are bounded far below 4 thousand million")
}

/// The group of a record. Its members were heard `now`.
pub(super) fn decode(key: &str, value: &[u8], rules: Rules, now: Instant) -> Result<Group, LoadGroupsError> {
    let unreadable = |reason: String| LoadGroupsError::Unreadable { key: key.to_owned(), reason };
    let json = |error: serde_json::Error| unreadable(error.to_string());
    let Versioned { version } = serde_json::from_slice(value).map_err(json)?;
    if version > VERSION {
        return Err(LoadGroupsError::Newer { key: key.to_owned(), version, newest: VERSION });
    }
    let Envelope { group: record, .. } = serde_json::from_slice(value).map_err(json)?;
    let mut group = Group::new(rules, now, 0);
    restore(record, &mut group, now)
        .ok_or_else(|| unreadable("it points outside of its tables".to_owned()))?;
    Ok(group)
}

fn restore(record: GroupRecord, group: &mut Group, now: Instant) -> Option<()> {
    let ids: Vec<Uuid> = record.members.iter().map(|member| member.id).collect();
    for member in record.members {
        let topics = member.topics.into_iter().map(|topic| record.names.get(topic as usize).cloned());
        let restored = Member {
            identity: member.identity.into(),
            address: String::new(),
            client: String::new(),
            topics: topics.collect::<Option<_>>()?,
            heard: now,
            stream: None,
        };
        group.members.insert(member.id, restored);
    }
    for (topic, index, member, epoch) in record.owned {
        let topic = record.topics.get(topic as usize)?.0;
        let member = *ids.get(member as usize)?;
        let owned = Owned { member, epoch, revoked: None, position: None };
        group.owned.insert(PartitionId { topic, index }, owned);
    }
    let names: BTreeMap<Uuid, Arc<str>> =
        record.topics.into_iter().map(|(id, name)| (id, Arc::from(name))).collect();
    (group.epoch, group.names, group.idle_since) = (record.epoch, names, record.idle_since_ms);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::{rules, topics, two_members_of_four_partitions};
    use super::*;

    #[test]
    fn a_group_comes_back_as_it_was_written_with_nobody_connected() {
        let now = Instant::now();
        let (group, _) = two_members_of_four_partitions(now);
        let bytes = encode(&group);
        let again = decode("group/g", &bytes, rules(), now).unwrap();
        assert_eq!(encode(&again), bytes);
        assert!(!again.is_connected());
        assert_eq!(again.due(), Some(now + rules().heartbeat));
        // And it stays as it is: nothing is granted, revoked or given an epoch.
        let mut ticked = again.clone();
        let change = ticked.tick(now, 0, &topics(&[("t", 4)]));
        assert!(!change.is_durable_matter(), "{change:?}");
        assert_eq!(encode(&ticked), bytes);
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_and_says_so() {
        let value = br#"{"version":2,"group":{"shape":"new"}}"#;
        let error = decode("group/g", value, rules(), Instant::now()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "group/g was written by a newer broker (record version 2, this one reads up to 1): start that version"
        );
    }

    #[test]
    fn a_record_that_points_outside_of_its_tables_is_refused() {
        let value =
            br#"{"version":1,"group":{"epoch":1,"topics":[],"names":[],"members":[],"owned":[[0,0,0,1]]}}"#;
        let error = decode("group/g", value, rules(), Instant::now()).unwrap_err();
        assert!(error.to_string().starts_with("the record group/g cannot be read"), "{error}");
    }

    #[test]
    fn a_group_of_the_largest_size_fits_a_record() {
        let now = Instant::now();
        let rules = Rules { max_members: 512, max_partitions: 8192, ..rules() };
        let mut group = Group::new(rules, now, 0);
        let shapes = topics(&[("a-topic-with-a-name-of-some-length", 8192)]);
        for member in 0..512_u128 {
            let topics = BTreeSet::from(["a-topic-with-a-name-of-some-length".to_owned()]);
            let identity = Arc::from("spiffe://example.org/ns/production/sa/consumer-of-some-length");
            let (address, client) = (String::new(), String::new());
            let joined = Member { identity, address, client, topics, heard: now, stream: None };
            group.members.insert(Uuid::from_u128(u128::MAX - member), joined);
        }
        group.tick(now, 0, &shapes);
        assert_eq!(group.owned.len(), 8192);
        assert!(encode(&group).len() < MAX_RECORD / 2, "{}", encode(&group).len());
    }
}
