//! `log dump`.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use sealstream_protocol::Limits;
use sealstream_protocol::batch::{Batch, BatchHeader, Record};
use sealstream_protocol::entry::EntryHeader;
use serde_json::{Value, json};
use tokio::runtime::Builder;
use uuid::Uuid;

use super::{Failure, names, output};
use crate::cli::args::LogDump;
use crate::cli::consume::text;
use crate::cli::interrupt::Interrupt;
use crate::log::PartitionId;
use crate::log::segmented::{DumpOptions, Dumped, dump as walk};

/// Shows what lies in a data directory. A fault is shown where it is, and is not a failure of the command.
///
/// Blocks in its one thread; signals are listened to by a runtime beside it. The line that is being written when an end is asked is
/// written whole. Only what `--from` passes over in the segment that holds it is not looked up from.
pub(super) fn dump(args: &LogDump) -> Result<(), Failure> {
    let beside = Builder::new_multi_thread().worker_threads(1).enable_io().build()?;
    let interrupt = {
        let _inside = beside.enter();
        Interrupt::watch()?
    };
    let names = names(&args.dir)?;
    let topic = args.topic.as_deref().map(|topic| find(topic, &names, &args.dir)).transpose()?;
    let options = DumpOptions { topic, partition: args.partition, from: args.from, count: args.count };
    let mut shown = Show { args, names, interrupt: &interrupt, partition: None, count: Count::default() };
    let mut outcome = Ok(());
    walk(&args.dir, &options, &mut |found| match shown.show(&found) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => {
            outcome = Err(failure);
            ControlFlow::Break(())
        }
    })?;
    if matches!(outcome, Err(Failure::Interrupted(_))) {
        shown.count.say_interrupted(args.json);
    } else if shown.count.partitions == 0 && outcome.is_ok() {
        return none_found(args);
    }
    outcome
}

/// What was asked for by its number and is not there is an error; that there is nothing at all is none.
fn none_found(args: &LogDump) -> Result<(), Failure> {
    let dir = args.dir.display();
    let Some(partition) = args.partition else {
        if !args.json {
            output::note(format_args!("{dir} has no partition"));
        }
        return Ok(());
    };
    let of = args.topic.as_ref().map(|topic| format!(" of topic {topic:?}")).unwrap_or_default();
    Err(Failure::new(format!(
        "no partition {partition}{of} in {dir}: partitions are numbered from 0; without --partition all are shown"
    )))
}

fn find(topic: &str, names: &HashMap<Uuid, String>, dir: &Path) -> Result<Uuid, Failure> {
    let found = names.iter().find(|(_, name)| *name == topic).map(|(id, _)| *id);
    found.or_else(|| Uuid::parse_str(topic).ok()).ok_or_else(|| {
        let mut known: Vec<_> = names.values().map(String::as_str).collect();
        known.sort_unstable();
        let known =
            if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        Failure::new(format!("no topic {topic:?} in {}: {known}", dir.display()))
    })
}

/// What was shown so far.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    partitions: u64,
    entries: u64,
    records: u64,
}

impl Count {
    /// Says on stderr how far it came: stdout has what was found, and nothing else.
    fn say_interrupted(self, json: bool) {
        let Self { partitions, entries, records } = self;
        if json {
            return output::note(json!({
                "interrupted": true, "partitions": partitions, "entries": entries, "records": records,
            }));
        }
        output::note(format_args!(
            "interrupted: {}, {}, {} shown",
            output::counted(partitions, "partition", "partitions"),
            output::counted(entries, "entry", "entries"),
            output::counted(records, "record", "records")
        ));
    }
}

struct Show<'a> {
    args: &'a LogDump,
    names: HashMap<Uuid, String>,
    interrupt: &'a Interrupt,
    /// The one that is being shown.
    partition: Option<PartitionId>,
    count: Count,
}

impl Show<'_> {
    fn show(&mut self, found: &Dumped) -> Result<(), Failure> {
        self.interrupt.outcome()?;
        if let Dumped::Partition { id, .. } = found {
            self.partition = Some(*id);
        }
        if self.args.json {
            self.as_json(found)?;
        } else {
            self.as_text(found)?;
        }
        match found {
            Dumped::Partition { .. } => self.count.partitions += 1,
            Dumped::Entry { header, content, .. } => {
                self.count.entries += 1;
                self.records(header, content)?;
            }
            Dumped::Segment { .. } | Dumped::Fault(_) => {}
        }
        Ok(())
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
            Dumped::Entry { position, bytes, header, batch, .. } => output::line(format_args!(
                "    {}..{}  {}  byte {position}, {bytes} long  appended {}  epoch {}  durable {}  producer {} #{}  {}",
                header.base_offset,
                header.base_offset + u64::from(batch.count) - 1,
                output::counted(u64::from(batch.count), "record", "records"),
                output::time(header.append_time),
                header.log_epoch,
                header.durable_end,
                batch.producer_id,
                batch.sequence,
                batch.codec.name(),
            )),
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
            Dumped::Entry { position, bytes, header, batch, .. } => {
                let mut entry = entry(header, batch);
                entry["topic"] = json!(topic);
                entry["partition"] = json!(partition);
                entry["position"] = json!(position);
                entry["bytes"] = json!(bytes);
                output::json(&entry)
            }
            Dumped::Fault(fault) => output::json(&json!({
                "kind": "fault", "topic": topic, "partition": partition, "file": fault.file.display().to_string(),
                "position": fault.position, "reason": fault.reason,
            })),
        }
    }

    /// Shows the records of an entry, if they are wanted.
    fn records(&mut self, header: &EntryHeader, batch: &Batch) -> Result<(), Failure> {
        if !self.args.records {
            return Ok(());
        }
        for record in batch.records(&Limits::default())? {
            self.interrupt.outcome()?;
            self.record(header.base_offset, &record?)?;
            self.count.records += 1;
        }
        Ok(())
    }

    fn record(&self, base: u64, record: &Record) -> Result<(), Failure> {
        let offset = base + u64::from(record.offset_delta);
        let (key, value) = (record.key.as_ref().map(text), text(&record.value));
        if !self.args.json {
            let (key, time) = (key.unwrap_or_default(), output::time(record.timestamp));
            return output::line(format_args!("      {offset}  {time}  {key}  {value}"));
        }
        let id = self.partition;
        let headers: Vec<_> = record
            .headers
            .clone()
            .map(|header| json!({ "name": header.name(), "value": text(&header.value) }))
            .collect();
        output::json(&json!({
            "kind": "record", "topic": id.map(|id| id.topic.to_string()), "partition": id.map(|id| id.index),
            "offset": offset, "timestamp": record.timestamp, "key": key, "value": value, "headers": headers,
        }))
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
