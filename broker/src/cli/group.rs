//! `group list|describe|seek|delete`.

use sealstream_client::Client;
use sealstream_client::admin::{GroupDescription, GroupMember, GroupPartition, GroupSummary, Position};
use serde_json::{Value, json};

use super::args::{From, GroupCommand};
use super::connect::{SHORT, with_client};
use super::{Failure, output};

/// Carries out a group command.
pub(super) fn run(command: &GroupCommand) -> Result<(), Failure> {
    let connection = command.connection();
    with_client(connection, SHORT, |client| carry_out(client, command, connection.json))
}

async fn carry_out(client: Client, command: &GroupCommand, json: bool) -> Result<(), Failure> {
    let admin = client.admin();
    match command {
        GroupCommand::List(_) => list(&admin.list_groups().await?, json),
        GroupCommand::Describe(args) => describe(&admin.describe_group(&args.name).await?, json),
        GroupCommand::Seek(args) => {
            let to = match args.to {
                From::Beginning => Position::Beginning,
                From::End => Position::End,
                From::Offset(offset) => Position::Offset(offset),
                From::Time(ms) => Position::Time(ms),
            };
            let sought = admin.seek_group(&args.name, &args.topic, &args.partitions, to, args.force).await?;
            if json {
                let offsets =
                    sought.iter().map(|at| json!({ "partition": at.partition, "offset": at.offset }));
                let offsets: Value = offsets.collect();
                return output::json(&json!({ "group": args.name, "topic": args.topic, "offsets": offsets }));
            }
            let heading = ["PARTITION", "OFFSET"].map(str::to_owned).to_vec();
            let rows = sought.iter().map(|at| vec![at.partition.to_string(), at.offset.to_string()]);
            output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
        }
        GroupCommand::Delete(args) => {
            admin.delete_group(&args.name, args.force).await?;
            if json {
                return output::json(&json!({ "deleted": args.name }));
            }
            output::line(format_args!("deleted {}", args.name))
        }
    }
}

fn list(groups: &[GroupSummary], json: bool) -> Result<(), Failure> {
    if json {
        return groups.iter().try_for_each(|group| output::json(&as_json(group)));
    }
    if groups.is_empty() {
        output::note(
            "no groups: the first member makes one, such as `sealstream consume TOPIC --group NAME`",
        );
        return Ok(());
    }
    let heading = ["GROUP", "MEMBERS", "PARTITIONS", "IDLE SINCE"].map(str::to_owned).to_vec();
    let rows = groups.iter().map(|group| {
        vec![group.name.clone(), group.members.to_string(), group.partitions.to_string(), idle(group)]
    });
    output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

fn describe(description: &GroupDescription, json: bool) -> Result<(), Failure> {
    let GroupDescription { group, topics, members, partitions } = description;
    let name = |index: u32| topics.get(index as usize).map_or("?", String::as_str);
    let names = |topics: &[u32]| topics.iter().map(|topic| name(*topic)).collect::<Vec<_>>();
    if json {
        let mut value = as_json(group);
        let members = members.iter().map(|member| {
            json!({
                "id": member.id.to_string(), "identity": member.identity, "address": member.address,
                "client": member.client, "connected": member.connected, "topics": names(&member.topics),
            })
        });
        value["members"] = members.collect();
        value["partitions"] = partitions.iter().map(|at| partition_as_json(name(at.topic), at)).collect();
        return output::json(&value);
    }
    output::line(format_args!("group       {}", group.name))?;
    output::line(format_args!("idle since  {}\n", idle(group)))?;
    if members.is_empty() {
        output::line("no members")?;
    } else {
        describe_members(members, topics)?;
    }
    output::line("")?;
    let heading =
        ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "EPOCH", "OWNER"].map(str::to_owned).to_vec();
    let rows = partitions.iter().map(|at| {
        vec![
            name(at.topic).to_owned(),
            at.partition.to_string(),
            at.committed.map_or_else(|| "-".to_owned(), |(offset, _)| offset.to_string()),
            at.end.to_string(),
            at.lag().to_string(),
            at.owner.map_or_else(|| "-".to_owned(), |owner| owner.epoch.to_string()),
            at.owner.map_or_else(
                || "-".to_owned(),
                |owner| format!("{}{}", owner.member, if owner.revoking { " (being revoked)" } else { "" }),
            ),
        ]
    });
    output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

fn describe_members(members: &[GroupMember], topics: &[String]) -> Result<(), Failure> {
    let name = |index: &u32| topics.get(*index as usize).map_or("?", String::as_str);
    let heading = ["MEMBER", "IDENTITY", "ADDRESS", "CLIENT", "STATE", "TOPICS"].map(str::to_owned).to_vec();
    let rows = members.iter().map(|member| {
        vec![
            member.id.to_string(),
            member.identity.clone(),
            dash(&member.address),
            dash(&member.client),
            if member.connected { "connected" } else { "within its grace" }.to_owned(),
            member.topics.iter().map(name).collect::<Vec<_>>().join(","),
        ]
    });
    output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn idle(group: &GroupSummary) -> String {
    group.idle_since_ms.map_or_else(|| "-".to_owned(), output::time)
}

fn as_json(group: &GroupSummary) -> Value {
    json!({
        "group": group.name, "members": group.members, "partitions": group.partitions,
        "idle_since_ms": group.idle_since_ms,
    })
}

fn partition_as_json(topic: &str, at: &GroupPartition) -> Value {
    json!({
        "topic": topic, "topic_id": at.topic_id.to_string(), "partition": at.partition,
        "start": at.start, "end": at.end, "committed": at.committed.map(|(offset, _)| offset),
        "lag": at.lag(), "position": at.position,
        "owner": at.owner.map(|owner| owner.member.to_string()),
        "epoch": at.owner.map(|owner| owner.epoch),
        "revoking": at.owner.is_some_and(|owner| owner.revoking),
    })
}
