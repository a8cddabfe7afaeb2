//! Requests about consumer groups.
//!
//! Seeing a group takes the sight of its topics, moving it the right to consume the topic, as its members have; what takes something
//! from members, and what is about all groups, the right to administer the broker.

use std::sync::Arc;

use sealstream_protocol::message::admin::{DeleteGroup, DescribeGroup, SeekGroup};
use sealstream_protocol::message::{Fault, Message};

use super::{finish, recorded, unexpected};
use crate::access::{ALL_TOPICS, Action};
use crate::server::broker::Core;
use crate::server::group::operate;
use crate::server::rights::Rights;
use crate::server::session::heart::Heart;

/// The answer to a request about groups; the outer error ends the session.
pub(super) async fn carry_out(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    request: Message,
) -> Result<Result<Message, Fault>, Fault> {
    Ok(match request {
        Message::ListGroups(request) => {
            rights.demand(Action::Admin, ALL_TOPICS).map(|()| Message::GroupList(core.groups.list(&request)))
        }
        Message::DescribeGroup(request) => describe(core, heart, rights, request).await,
        Message::SeekGroup(request) => seek(core, heart, rights, request).await,
        Message::DeleteGroup(request) => delete(core, heart, rights, request).await,
        other => return Err(unexpected(&other, "Admin")),
    })
}

async fn describe(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    request: DescribeGroup,
) -> Result<Message, Fault> {
    let description = finish(core, heart, operate::describe(Arc::clone(core), request)).await?;
    description.topics.iter().try_for_each(|topic| rights.demand_sight(topic))?;
    Ok(Message::GroupDescription(description))
}

async fn seek(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    request: SeekGroup,
) -> Result<Message, Fault> {
    rights.demand(Action::Consume, &request.topic)?;
    if request.force {
        rights.demand(Action::Admin, ALL_TOPICS)?;
    }
    let group = request.group.clone();
    let sought = operate::seek(Arc::clone(core), request);
    recorded(core, heart, rights, "seek group", group, sought).await.map(Message::GroupSought)
}

async fn delete(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    request: DeleteGroup,
) -> Result<Message, Fault> {
    rights.demand(Action::Admin, ALL_TOPICS)?;
    let group = request.name.clone();
    let deleted = operate::delete(Arc::clone(core), request);
    recorded(core, heart, rights, "delete group", group, deleted).await.map(Message::GroupDeleted)
}
