//! `consume`: records become lines.

mod group;

use std::io::{self, StdoutLock, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use sealstream_client::consumer::{ConsumedBatch, Consumer};
use sealstream_client::{Client, ConsumerRecord};
use sealstream_protocol::message::consume::Position;
use serde_json::{Value, json};

use super::args::{Consume, Format, From};
use super::connect::{PATIENT, with_client};
use super::interrupt::Interrupt;
use super::progress::{Progress, Total};
use super::{Failure, output};

/// Lines are collected to this many bytes before they are written: system calls cost nothing by the line.
const BUFFER: usize = 256 << 10;

/// Reads a topic and writes each record as a line.
pub(super) fn run(args: &Consume) -> Result<(), Failure> {
    if args.group.is_some() {
        // What is committed for nobody is gone.
        output::demand_stdout()?;
    }
    with_client(&args.connection, PATIENT, |client| consume(client, args))
}

async fn consume(client: Client, args: &Consume) -> Result<(), Failure> {
    let format = args.format.unwrap_or(if args.connection.json { Format::Json } else { Format::Raw });
    let writer = Writer { format, left: args.count.unwrap_or(u64::MAX), buffer: Vec::with_capacity(BUFFER) };
    let progress = Progress::new(None, args.connection.json || writes_to_terminal());
    let interrupt = Interrupt::watch()?;
    let total = match &args.group {
        Some(group) => group::consume(&client, args, group, writer, progress, &interrupt).await?,
        None => consume_alone(&client, args, writer, progress, &interrupt).await?,
    };
    if interrupt.is_asked() {
        report_interrupted(args, total);
        return Err(interrupt.failure());
    }
    if !writes_to_terminal() && io::IsTerminal::is_terminal(&io::stderr()) {
        output::note(format_args!("{total} from {}", args.topic));
    }
    Ok(())
}

/// Says on stderr how far it came: stdout has the records, and nothing else.
fn report_interrupted(args: &Consume, total: Total) {
    let Consume { topic, group, .. } = args;
    if args.connection.json {
        return output::note(json!({
            "interrupted": true, "topic": topic, "group": group, "records": total.records, "bytes": total.bytes,
            "seconds": total.elapsed.as_secs_f64(),
        }));
    }
    let committed = group.as_ref().map(|group| format!(", committed for {group}")).unwrap_or_default();
    output::note(format_args!("interrupted: {total} from {topic}{committed}"));
}

/// Reads from where it is told to, and leaves no trace.
async fn consume_alone(
    client: &Client,
    args: &Consume,
    mut writer: Writer,
    mut progress: Progress,
    interrupt: &Interrupt,
) -> Result<Total, Failure> {
    let position = match args.from {
        None | Some(From::Beginning) => Position::Beginning,
        Some(From::End) => Position::End,
        Some(From::Offset(offset)) => Position::Offset(offset),
        Some(From::Time(ms)) => Position::Time(ms),
    };
    let mut builder = client.consumer(&args.topic).start(position);
    if let Some(partition) = args.partition {
        builder = builder.partitions([partition]);
    }
    if !args.follow {
        builder = builder.until_end();
    }
    let mut consumer = tokio::select! {
        opened = builder.open() => opened?,
        () = interrupt.asked() => return Ok(progress.finish()),
    };
    let written = write(&mut consumer, &mut writer, &mut progress, interrupt).await;
    // Whatever came of it: a session that is left open is told as lost when the client closes.
    consumer.close().await;
    let total = progress.finish();
    written.map(|()| total)
}

async fn write(
    consumer: &mut Consumer,
    writer: &mut Writer,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    while writer.left > 0 {
        let batch = tokio::select! {
            batch = consumer.next_batch() => batch,
            () = interrupt.asked() => break,
        };
        let Some(batch) = batch.transpose()? else { break };
        // Stdout may block for as long as its reader likes: the runtime's other threads read on meanwhile.
        let (records, bytes) = tokio::task::block_in_place(|| writer.write(&batch))?;
        progress.advance(records, bytes);
    }
    Ok(())
}

fn writes_to_terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stdout())
}

struct Writer {
    format: Format,
    /// Records still wanted.
    left: u64,
    buffer: Vec<u8>,
}

impl Writer {
    /// Writes the records of a batch that are still wanted, all the way to stdout: a follower sees them at once. How many, and
    /// how many bytes of values.
    fn write(&mut self, batch: &ConsumedBatch) -> Result<(u64, u64), Failure> {
        let mut out = io::stdout().lock();
        let (mut count, mut bytes) = (0, 0);
        for record in batch.records() {
            if self.left == 0 {
                break;
            }
            let record = record?;
            self.left -= 1;
            count += 1;
            bytes += record.value.len() as u64;
            match self.format {
                Format::Raw => {
                    self.buffer.extend_from_slice(&record.value);
                    self.buffer.push(b'\n');
                }
                Format::Json => {
                    serde_json::to_writer(&mut self.buffer, &as_json(&record))?;
                    self.buffer.push(b'\n');
                }
            }
            if self.buffer.len() >= BUFFER {
                self.flush(&mut out)?;
            }
        }
        self.flush(&mut out)?;
        Ok((count, bytes))
    }

    fn flush(&mut self, out: &mut StdoutLock<'_>) -> Result<(), Failure> {
        out.write_all(&self.buffer).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
        self.buffer.clear();
        // A batch with one huge record must not be kept room for until the end.
        self.buffer.shrink_to(2 * BUFFER);
        Ok(())
    }
}

fn as_json(record: &ConsumerRecord) -> Value {
    let headers: Vec<_> = record
        .headers
        .clone()
        .map(|header| json!({ "name": header.name(), "value": text(&header.value) }))
        .collect();
    json!({
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": output::time(record.timestamp),
        "key": record.key.as_ref().map(text),
        "value": text(&record.value),
        "headers": headers,
    })
}

/// Text as it is; other bytes as an object that says how they are encoded.
pub(super) fn text(bytes: &Bytes) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}
