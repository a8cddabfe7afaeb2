//! `log dump`.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use sealstream_protocol::Limits;
use sealstream_protocol::batch::{Batch, BatchHeader, Record};
use sealstream_protocol::entry::EntryHeader;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Failure, output};
use crate::cli::args::LogDump;
use crate::cli::consume::text;
use crate::log::PartitionId;
use crate::log::segmented::{DumpOptions, Dumped, dump as walk};
use crate::topics;

/// Shows what lies in a data directory. A fault is shown where it is, and is not a failure of the command.
pub(super) fn dump(args: &LogDump) -> Result<(), Failure> {
    let names = names(&args.dir)?;
    let topic = args.topic.as_deref().map(|topic| find(topic, &names, &args.dir)).transpose()?;
    let options = DumpOptions { topic, partition: args.partition, from: args.from, count: args.count };
    let mut shown = Show { args, names, partition: None };
    let mut outcome = Ok(());
    walk(&args.dir, &options, &mut |found| match shown.show(&found) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => {
            outcome = Err(failure);
            ControlFlow::Break(())
        }
    })?;
    outcome
}

/// The topics by id.
fn names(dir: &Path) -> Result<HashMap<Uuid, String>, Failure> {
    Ok(topics::names_in(dir)?.into_iter().map(|(name, id)| (id, name)).collect())
}

fn find(topic: &str, names: &HashMap<Uuid, String>, dir: &Path) -> Result<Uuid, Failure> {
    let found = names.iter().find(|(_, name)| *name == topic).map(|(id, _)| *id);
    found.or_else(|| Uuid::parse_str(topic).ok()).ok_or_else(|| {
        let mut known: Vec<_> = names.values().map(String::as_str).collect();
        known.sort_unstable();
        Failure::new(format!("no topic {topic:?} in {}: there are {}", dir.display(), known.join(", ")))
    })
}

struct Show<'a> {
    args: &'a LogDump,
    names: HashMap<Uuid, String>,
    /// The one that is being shown.
    partition: Option<PartitionId>,
}

impl Show<'_> {
    fn show(&mut self, found: &Dumped) -> Result<(), Failure> {
        if let Dumped::Partition { id, .. } = found {
            self.partition = Some(*id);
        }
        if self.args.json { self.as_json(found) } else { self.as_text(found) }
    }

    fn as_text(&self, found: &Dumped) -> Result<(), Failure> {
        match found {
            Dumped::Partition { id, shard, start, epoch, clean } => {
                let name = self.names.get(&id.topic).map_or("(no topic has it)", String::as_str);
                let state = if *clean { "closed" } else { "open, or not closed cleanly" };
                output::line(format_args!(
                    "partition {name}/{} ({id})  shard {}  start {start}  epoch {epoch}  {state}",
                    id.index, shard.0
                ))
            }
            Dumped::Segment { base, epoch, file, bytes } => {
                let epoch = epoch.map_or("damaged header".to_owned(), |epoch| format!("epoch {epoch}"));
                output::line(format_args!(
                    "  segment {base}  {epoch}  {}  {}",
                    output::bytes(*bytes),
                    file.display()
                ))
            }
            Dumped::Entry { position, bytes, header, batch, content } => {
                output::line(format_args!(
                    "    {}..{}  {} records  byte {position}, {bytes} long  appended {}  epoch {}  durable {}  producer {} #{}  {}",
                    header.base_offset,
                    header.base_offset + u64::from(batch.count) - 1,
                    batch.count,
                    output::time(header.append_time),
                    header.log_epoch,
                    header.durable_end,
                    batch.producer_id,
                    batch.sequence,
                    batch.codec.name(),
                ))?;
                self.records(content, |record| {
                    let key = record.key.as_ref().map_or(Value::Null, text);
                    output::line(format_args!(
                        "      {}  {}  {key}  {}",
                        header.base_offset + u64::from(record.offset_delta),
                        output::time(record.timestamp),
                        text(&record.value)
                    ))
                })
            }
            Dumped::Fault(fault) => output::line(format_args!("    cannot be read on: {fault}")),
        }
    }

    fn as_json(&self, found: &Dumped) -> Result<(), Failure> {
        let id = self.partition;
        let (topic, partition) = (id.map(|id| id.topic.to_string()), id.map(|id| id.index));
        match found {
            Dumped::Partition { id, shard, start, epoch, clean } => output::json(&json!({
                "kind": "partition", "topic": topic, "partition": partition, "name": self.names.get(&id.topic),
                "shard": shard.0, "start": start, "epoch": epoch, "clean": clean,
            })),
            Dumped::Segment { base, epoch, file, bytes } => output::json(&json!({
                "kind": "segment", "topic": topic, "partition": partition, "base": base, "epoch": epoch,
                "file": file.display().to_string(), "bytes": bytes,
            })),
            Dumped::Entry { position, bytes, header, batch, content } => {
                let mut entry = entry(header, batch);
                entry["topic"] = json!(topic);
                entry["partition"] = json!(partition);
                entry["position"] = json!(position);
                entry["bytes"] = json!(bytes);
                output::json(&entry)?;
                self.records(content, |record| {
                    output::json(&json!({
                        "kind": "record", "topic": topic, "partition": partition,
                        "offset": header.base_offset + u64::from(record.offset_delta), "timestamp": record.timestamp,
                        "key": record.key.as_ref().map(text), "value": text(&record.value),
                        "headers": record.headers.clone()
                            .map(|header| json!({ "name": header.name(), "value": text(&header.value) }))
                            .collect::<Vec<_>>(),
                    }))
                })
            }
            Dumped::Fault(fault) => output::json(&json!({
                "kind": "fault", "topic": topic, "partition": partition, "file": fault.file.display().to_string(),
                "position": fault.position, "reason": fault.reason,
            })),
        }
    }

    /// Shows the records of a batch, if they are wanted.
    fn records(&self, batch: &Batch, show: impl Fn(&Record) -> Result<(), Failure>) -> Result<(), Failure> {
        if !self.args.records {
            return Ok(());
        }
        for record in batch.records(&Limits::default())? {
            show(&record?)?;
        }
        Ok(())
    }
}

fn entry(header: &EntryHeader, batch: &BatchHeader) -> Value {
    json!({
        "kind": "entry", "offset": header.base_offset, "records": batch.count, "append_time": header.append_time,
        "epoch": header.log_epoch, "durable_end": header.durable_end, "producer": batch.producer_id.to_string(),
        "sequence": batch.sequence, "codec": batch.codec.name(), "crc32c": batch.crc,
        "first_timestamp": batch.first_timestamp, "last_timestamp": batch.last_timestamp,
    })
}
