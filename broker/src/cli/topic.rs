//! `topic create|list|describe|alter|delete`.

use sealstream_client::Client;
use sealstream_client::admin::NewTopic;
use sealstream_protocol::message::admin::{Durability, Topic, TopicDescription, TopicOptions};
use serde_json::{Value, json};

use super::args::{self, TopicCommand, TopicCreate};
use super::connect::{SHORT, with_client};
use super::serve::durability;
use super::{Failure, output};
use crate::config::Span;

/// Carries out a topic command.
pub(super) fn run(command: &TopicCommand) -> Result<(), Failure> {
    let connection = command.connection();
    with_client(connection, SHORT, |client| carry_out(client, command, connection.json))
}

async fn carry_out(client: Client, command: &TopicCommand, json: bool) -> Result<(), Failure> {
    let admin = client.admin();
    match command {
        TopicCommand::Create(args) => show(&admin.create_topic(new_topic(args)).await?, json),
        TopicCommand::List(_) => list(&admin.list_topics().await?, json),
        TopicCommand::Describe(args) => describe(&admin.describe_topic(&args.name).await?, json),
        TopicCommand::Alter(args) => {
            let options = TopicOptions { partitions: args.partitions, ..options(&args.options) };
            if options == TopicOptions::default() {
                return Err(Failure::new(
                    "nothing to alter: give --partitions, --durability, --retention, --retention-bytes, --segment-bytes or \
                     --segment-age",
                ));
            }
            show(&admin.alter_topic(&args.name, options).await?, json)
        }
        TopicCommand::Delete(args) => {
            let id = admin.delete_topic(&args.name).await?;
            if json {
                return output::json(&json!({ "deleted": args.name, "id": id.to_string() }));
            }
            output::line(format_args!("deleted {}", args.name))
        }
    }
}

fn new_topic(args: &TopicCreate) -> NewTopic {
    let mut topic = NewTopic::new(&args.name).partitions(args.partitions.unwrap_or(0));
    if let Some(kind) = args.options.durability {
        topic = topic.durability(durability(kind));
    }
    if let Some(age) = args.options.retention {
        topic = topic.retention(age.0);
    }
    if let Some(size) = args.options.retention_bytes {
        topic = topic.retention_bytes(size.0);
    }
    if let Some(size) = args.options.segment_bytes {
        topic = topic.segment_bytes(size.0);
    }
    if let Some(age) = args.options.segment_age {
        topic = topic.segment_age(age.0);
    }
    if args.if_not_exists { topic.if_not_exists() } else { topic }
}

fn options(args: &args::TopicOptions) -> TopicOptions {
    TopicOptions {
        durability: args.durability.map(durability),
        retention_ms: args.retention.map(Span::millis),
        retention_bytes: args.retention_bytes.map(|size| size.0),
        segment_bytes: args.segment_bytes.map(|size| size.0),
        segment_ms: args.segment_age.map(Span::millis),
        partitions: None,
    }
}

fn show(topic: &Topic, json: bool) -> Result<(), Failure> {
    list(std::slice::from_ref(topic), json)
}

fn list(topics: &[Topic], json: bool) -> Result<(), Failure> {
    if json {
        return topics.iter().try_for_each(|topic| output::json(&as_json(topic)));
    }
    if topics.is_empty() {
        output::note("no topics: make one with `sealstream topic create NAME`");
        return Ok(());
    }
    let heading = ["TOPIC", "PARTITIONS", "DURABILITY", "RETENTION", "CREATED"].map(str::to_owned).to_vec();
    let rows = topics.iter().map(|topic| {
        vec![
            topic.name.clone(),
            topic.partitions.to_string(),
            durability_name(topic.durability).into(),
            retention(topic),
            output::time(topic.created_ms),
        ]
    });
    output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

fn describe(description: &TopicDescription, json: bool) -> Result<(), Failure> {
    let TopicDescription { topic, partitions } = description;
    if json {
        let mut value = as_json(topic);
        value["partitions"] = partitions
            .iter()
            .map(|p| {
                json!({
                    "partition": p.index, "start": p.start, "end": p.end, "epoch": p.epoch, "bytes": p.bytes,
                    "read_only": p.read_only,
                })
            })
            .collect();
        return output::json(&value);
    }
    output::line(format_args!("topic       {}", topic.name))?;
    output::line(format_args!("id          {}", topic.id))?;
    output::line(format_args!("durability  {}", durability_name(topic.durability)))?;
    output::line(format_args!("retention   {}", retention(topic)))?;
    output::line(format_args!("segments    {}", segments(topic)))?;
    output::line(format_args!("created     {}\n", output::time(topic.created_ms)))?;
    let heading = ["PARTITION", "START", "END", "EPOCH", "SIZE", "STATE"].map(str::to_owned).to_vec();
    let rows = partitions.iter().map(|p| {
        vec![
            p.index.to_string(),
            p.start.to_string(),
            p.end.to_string(),
            p.epoch.to_string(),
            output::bytes(p.bytes),
            if p.read_only { "read-only: corrupt, see `sealstream log verify`".into() } else { "ok".into() },
        ]
    });
    output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

fn as_json(topic: &Topic) -> Value {
    json!({
        "topic": topic.name, "id": topic.id.to_string(), "partitions": topic.partitions,
        "durability": durability_name(topic.durability), "retention_ms": topic.retention_ms,
        "retention_bytes": topic.retention_bytes, "segment_bytes": topic.segment_bytes,
        "segment_ms": topic.segment_ms, "created_ms": topic.created_ms,
    })
}

fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::Disk => "disk",
        Durability::Memory => "memory",
    }
}

fn segments(topic: &Topic) -> String {
    let size = match topic.segment_bytes {
        0 => "as large as log.segment_bytes".to_owned(),
        bytes => format!("up to {}", output::bytes(bytes)),
    };
    match topic.segment_ms {
        0 => format!("{size}, of any age"),
        age => format!("{size}, for {}", Span(std::time::Duration::from_millis(age))),
    }
}

fn retention(topic: &Topic) -> String {
    let time = (topic.retention_ms > 0)
        .then(|| Span(std::time::Duration::from_millis(topic.retention_ms)).to_string());
    let size =
        (topic.retention_bytes > 0).then(|| format!("{} a partition", output::bytes(topic.retention_bytes)));
    match (time, size) {
        (None, None) => "for ever".into(),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(time), Some(size)) => format!("{time}, {size}"),
    }
}
