//! `log verify`.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Failure, output};
use crate::cli::args::LogVerify;
use crate::cli::interrupt;
use crate::cli::progress::Progress;
use crate::log::segmented::{Fault, OpenLogError, PartitionReport, Report, VerifyError, verify as examine};

/// Checks every byte of a data directory; damage is a failure.
pub(super) fn verify(args: &LogVerify) -> Result<(), Failure> {
    let mut progress = Progress::new(None, args.json);
    let view = progress.view();
    interrupt::end_with(move || {
        output::note(format_args!("interrupted after {}, before there was a verdict", view.clear()));
    })?;
    let examined = examine(&args.dir, args.while_running, &mut |bytes| progress.advance(0, bytes));
    let report = match examined {
        Err(VerifyError::Open(OpenLogError::InUse { dir, lock })) => {
            let text = format!(
                "data directory {dir} is {lock}: stop that broker, or check beside it with --while-running"
            );
            return Err(Failure::new(text));
        }
        examined => examined?,
    };
    progress.finish();
    // Where the metadata cannot be read, which the report says, topics have their ids alone.
    let names = super::names(&args.dir).unwrap_or_default();
    if args.json {
        as_json(&report, &names)?;
    } else {
        as_text(&report, &names)?;
    }
    if report.is_sound() {
        return Ok(());
    }
    let mut topics: Vec<String> = report
        .partitions
        .iter()
        .filter(|partition| partition.fault.is_some())
        .map(|partition| names.get(&partition.id.topic).cloned().unwrap_or(partition.id.topic.to_string()))
        .collect();
    topics.dedup();
    let topics = if topics.is_empty() { String::new() } else { format!(" ({})", topics.join(", ")) };
    Err(Failure::new(format!(
        "{} is damaged: the broker serves what is sound, and keeps a damaged partition read-only; restore it from a copy, \
         or delete its topic{topics}",
        args.dir.display()
    )))
}

fn as_text(report: &Report, names: &HashMap<Uuid, String>) -> Result<(), Failure> {
    let heading = ["PARTITION", "SHARD", "SEGMENTS", "RECORDS", "SIZE", "START", "END", "STATE"];
    let rows = report.partitions.iter().map(|partition| {
        vec![
            match names.get(&partition.id.topic) {
                Some(name) => format!("{name}/{}", partition.id.index),
                None => partition.id.to_string(),
            },
            partition.shard.0.to_string(),
            partition.segments.to_string(),
            partition.records.to_string(),
            output::bytes(partition.bytes),
            partition.start.to_string(),
            partition.end.to_string(),
            state(partition),
        ]
    });
    output::table(&std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>())?;
    report.faults.iter().try_for_each(|fault| output::line(format_args!("damaged: {fault}")))
}

fn state(partition: &PartitionReport) -> String {
    match (&partition.fault, &partition.torn) {
        (Some(fault), _) => {
            format!(
                "damaged: {fault}; RECORDS and END count what lies before it, and what was acknowledged behind it is not shown"
            )
        }
        (None, Some(torn)) => format!("sound; torn by a crash, and cut at the next start: {torn}"),
        (None, None) if partition.clean => "sound".into(),
        (None, None) => "sound; not closed cleanly".into(),
    }
}

fn as_json(report: &Report, names: &HashMap<Uuid, String>) -> Result<(), Failure> {
    let fault = |fault: &Fault| json!({ "file": fault.file.display().to_string(), "position": fault.position, "reason": fault.reason });
    let partitions: Vec<Value> = report
        .partitions
        .iter()
        .map(|p| {
            json!({
                "topic": p.id.topic.to_string(), "name": names.get(&p.id.topic), "partition": p.id.index, "shard": p.shard.0, "segments": p.segments,
                "entries": p.entries, "records": p.records, "bytes": p.bytes, "start": p.start, "end": p.end,
                "clean": p.clean, "torn": p.torn.as_ref().map(fault), "damaged": p.fault.as_ref().map(fault),
            })
        })
        .collect();
    let faults: Vec<Value> = report.faults.iter().map(fault).collect();
    output::json(&json!({ "sound": report.is_sound(), "partitions": partitions, "damaged": faults }))
}
