//! What an operator does with consumer groups.

use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{
    DeleteGroup, DescribeGroup, GroupDescription, GroupList, GroupSummary, ListGroups, SeekGroup,
    SoughtOffset,
};
use sealstream_protocol::message::consume::Position;

use super::session::Repeat;
use super::{Admin, AdminError};

impl Admin {
    /// All groups, in the order of their names.
    pub async fn list_groups(&self) -> Result<Vec<GroupSummary>, AdminError> {
        let mut all: Vec<GroupSummary> = Vec::new();
        loop {
            let after = all.last().map(|group| group.name.clone()).unwrap_or_default();
            let page = self.list_groups_after(&after, 0).await?;
            // A page that brings nothing, or begins again, would never end.
            let goes_on = page.more && page.groups.last().is_some_and(|last| last.name > after);
            all.extend(page.groups);
            if !goes_on {
                return Ok(all);
            }
        }
    }

    /// At most `limit` groups (0 leaves it to the broker) whose names come after `after`, in their order.
    pub async fn list_groups_after(&self, after: &str, limit: u32) -> Result<GroupList, AdminError> {
        let list = Message::ListGroups(ListGroups { after: after.to_owned(), limit });
        let answer = |message| match message {
            Message::GroupList(list) => Some(list),
            _ => None,
        };
        self.requests.ask("list groups", list, Repeat::Safely, answer).await
    }

    /// A group as it stands: its members, and for each partition who has it and how far the group is.
    pub async fn describe_group(&self, name: &str) -> Result<GroupDescription, AdminError> {
        let describe = Message::DescribeGroup(DescribeGroup { name: name.to_owned() });
        let answer = |message| match message {
            Message::GroupDescription(description) => Some(description),
            _ => None,
        };
        self.requests.ask(&format!("describe group {name}"), describe, Repeat::Safely, answer).await
    }

    /// Moves a group in partitions of a topic (all of them if none is named) to where `to` lies now, in either direction.
    /// Returns the offsets that are committed now.
    ///
    /// All of them or none: where a member has one of the partitions it is refused with
    /// [`GroupInUse`](sealstream_protocol::message::FaultCode::GroupInUse). With `force` the member loses the partition instead, and
    /// whoever has it next starts there.
    ///
    /// ```no_run
    /// # async fn example(client: sealstream_client::Client) -> Result<(), sealstream_client::AdminError> {
    /// use sealstream_client::admin::Position;
    ///
    /// client.admin().seek_group("billing", "orders", &[], Position::Beginning, false).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn seek_group(
        &self,
        group: &str,
        topic: &str,
        partitions: &[u32],
        to: Position,
        force: bool,
    ) -> Result<Vec<SoughtOffset>, AdminError> {
        let seek = Message::SeekGroup(SeekGroup {
            group: group.to_owned(),
            topic: topic.to_owned(),
            partitions: partitions.to_vec(),
            to,
            force,
        });
        let answer = |message| match message {
            Message::GroupSought(sought) => Some(sought.offsets),
            _ => None,
        };
        self.requests.ask(&format!("seek group {group}"), seek, Repeat::Safely, answer).await
    }

    /// Forgets a group and all that it has committed; with `force` also while it has members, whose sessions end.
    pub async fn delete_group(&self, name: &str, force: bool) -> Result<(), AdminError> {
        let delete = Message::DeleteGroup(DeleteGroup { name: name.to_owned(), force });
        let answer = |message| match message {
            Message::GroupDeleted(_) => Some(()),
            _ => None,
        };
        self.requests.ask(&format!("delete group {name}"), delete, Repeat::Never, answer).await
    }
}
