//! `produce`: lines become records.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use sealstream_client::{Client, Delivery, NotAcknowledged, Producer, Record};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::Codec;
use serde_json::json;

use super::args::{Compression, Produce};
use super::connect::{PATIENT, with_client};
use super::interrupt::Interrupt;
use super::lines::Lines;
use super::progress::{Progress, Total};
use super::{Failure, output};

/// How many records are sent between two looks at what was acknowledged.
const LOOK: u64 = 256;

/// What takes no longer needs no word while it is waited for.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Writes every line of the input to a topic, and returns once all are acknowledged.
pub(super) fn run(args: &Produce) -> Result<(), Failure> {
    // Opened first: a file that is not there is said before a broker is bothered.
    let (lines, total) = input(args)?;
    with_client(&args.connection, PATIENT, |client| produce(client, args, lines, total))
}

fn input(args: &Produce) -> Result<(Lines, Option<u64>), Failure> {
    // The whole of a frame; what a record may have exactly depends on the broker, and is found out there.
    let max_line = Limits::MAX_FRAME as usize;
    let Some(path) = &args.file else { return Ok((Lines::read(io::stdin(), max_line)?, None)) };
    let cannot = |error: io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if metadata.is_dir() {
        return Err(Failure::new(format!("cannot read {}: it is a directory", path.display())));
    }
    let total = metadata.is_file().then_some(metadata.len());
    Ok((Lines::read(file, max_line)?, total))
}

async fn produce(client: Client, args: &Produce, lines: Lines, total: Option<u64>) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let by_hand = args.file.is_none() && io::stdin().is_terminal();
    let quiet = args.connection.json || by_hand;
    let opened = tokio::select! {
        opened = open(&client, args) => Some(opened?),
        () = interrupt.asked() => None,
    };
    let mut progress = Progress::new(total, quiet);
    let Some(producer) = opened else {
        report(args, progress.finish(), 0, true)?;
        return Err(interrupt.failure());
    };
    if by_hand {
        output::note(format_args!("each line becomes a record of {}; Ctrl-D ends", args.topic));
    }
    let headers: Vec<_> =
        args.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let under_way = UnderWay::default();
    let mut sending = Sending { producer: &producer, args, headers: &headers, lines, under_way };
    let sent = sending.send_all(&interrupt, &mut progress).await;
    let Sending { mut under_way, .. } = sending;
    under_way.settle();
    // What was sent before a line could not be is stored all the same, and counted.
    let flushed = close(producer, &interrupt, under_way.queue.len()).await;
    under_way.settle();
    let total = under_way.total(progress.finish());
    let done = sent.and_then(|()| Ok(flushed?));
    if let Err(failure) = done {
        return Err(and_what_was_done(failure, total.records));
    }
    report(args, total, under_way.queue.len(), interrupt.is_asked())?;
    interrupt.outcome()
}

/// Waits for what is under way. An end that was asked, and does not come at once, says what it waits for.
async fn close(producer: Producer, interrupt: &Interrupt, waiting: usize) -> Result<(), NotAcknowledged> {
    let closing = producer.close();
    tokio::pin!(closing);
    let slow = async {
        interrupt.asked().await;
        tokio::time::sleep(AT_ONCE).await;
    };
    tokio::select! {
        closed = &mut closing => return closed,
        () = slow => {}
    }
    output::note(format_args!("waiting for {waiting} acknowledgements; a second Ctrl-C does without"));
    closing.await
}

async fn open(client: &Client, args: &Produce) -> Result<Producer, Failure> {
    let codec = match args.compression {
        Compression::None => Codec::None,
        Compression::Lz4 => Codec::Lz4,
    };
    let batch_bytes = usize::try_from(args.batch_bytes.0).unwrap_or(usize::MAX);
    let producer = client
        .producer(&args.topic)
        .linger(args.linger.0)
        .batch_bytes(batch_bytes)
        .codec(codec)
        .delivery_timeout(args.connection.timeout.map_or(PATIENT, |span| span.0))
        .open()
        .await?;
    Ok(producer)
}

/// Says what is acknowledged; `open` records are not.
fn report(args: &Produce, total: Total, open: usize, interrupted: bool) -> Result<(), Failure> {
    let topic = &args.topic;
    if args.connection.json {
        return output::json(&json!({
            "topic": topic, "records": total.records, "bytes": total.bytes,
            "seconds": total.elapsed.as_secs_f64(), "interrupted": interrupted,
        }));
    }
    let rest = if open == 0 { String::new() } else { format!("; {open} more may be stored or not") };
    let interrupted = if interrupted { "interrupted: " } else { "" };
    output::note(format_args!("{interrupted}{total} to {topic}{rest}"));
    Ok(())
}

/// A failure half way says how far it went.
fn and_what_was_done(failure: Failure, records: u64) -> Failure {
    match failure {
        Failure::Message(message) if records > 0 => {
            let noun = if records == 1 { "record is" } else { "records are" };
            Failure::new(format!("{message} ({records} {noun} stored)"))
        }
        failure => failure,
    }
}

struct Sending<'a> {
    producer: &'a Producer,
    args: &'a Produce,
    headers: &'a [(&'a str, &'a [u8])],
    lines: Lines,
    under_way: UnderWay,
}

impl Sending<'_> {
    /// Sends lines until there is none, a record was not stored, or an end is asked.
    async fn send_all(&mut self, interrupt: &Interrupt, progress: &mut Progress) -> Result<(), Failure> {
        while !interrupt.is_asked() && !self.under_way.failed {
            // Lines that are there are sent without a further look at the interrupt: one each would cost more than the sending.
            let line = tokio::select! {
                biased;
                line = self.lines.next() => line?,
                () = interrupt.asked() => break,
            };
            let Some(line) = line else { break };
            let number = self.lines.count();
            let record = record(&line, self.args, number)?.headers(self.headers);
            let value = record.value_bytes().len() as u64;
            let delivery = tokio::select! {
                biased;
                sent = self.producer.send(record) => sent.map_err(|error| at_line(number, error))?,
                () = interrupt.asked() => break,
            };
            self.under_way.push(delivery, value);
            if number.is_multiple_of(LOOK) {
                self.under_way.settle();
            }
            // With its newline: the way is that of the file.
            progress.advance(1, line.len() as u64 + 1);
        }
        Ok(())
    }
}

fn at_line(number: u64, error: impl Into<Failure>) -> Failure {
    match error.into() {
        Failure::Message(why) => Failure::new(format!("line {number}: {why}")),
        failure => failure,
    }
}

/// Records that were sent, the oldest first, and how many before them are acknowledged. The producer's window and the records
/// between two looks bound it.
#[derive(Default)]
struct UnderWay {
    queue: VecDeque<(Delivery, u64)>,
    records: u64,
    bytes: u64,
    /// Whether one of them was not stored.
    failed: bool,
}

impl UnderWay {
    fn push(&mut self, delivery: Delivery, bytes: u64) {
        self.queue.push_back((delivery, bytes));
    }

    /// Counts what is settled by now. Why something failed the producer tells.
    fn settle(&mut self) {
        while let Some((delivery, bytes)) = self.queue.front_mut() {
            match delivery.now_or_never() {
                None => break,
                Some(Ok(_)) => {
                    self.records += 1;
                    self.bytes += *bytes;
                }
                Some(Err(_)) => self.failed = true,
            }
            self.queue.pop_front();
        }
    }

    /// What is acknowledged, in the time of `sent`.
    fn total(&self, sent: Total) -> Total {
        Total { records: self.records, bytes: self.bytes, elapsed: sent.elapsed }
    }
}

fn record<'a>(line: &'a Bytes, args: &Produce, number: u64) -> Result<Record<'a>, Failure> {
    let record = match &args.key_separator {
        None => Record::new(line),
        Some(separator) => {
            let at = memchr::memmem::find(line, separator.as_bytes()).ok_or_else(|| {
                Failure::new(format!(
                    "line {number} has no `{separator}`: with --key-separator every line needs a key"
                ))
            })?;
            Record::new(&line[at + separator.len()..]).key(&line[..at])
        }
    };
    Ok(match args.partition {
        Some(partition) => record.partition(partition),
        None => record,
    })
}
