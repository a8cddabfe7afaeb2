//! `bench latency`: how long a record takes to be acknowledged, and to reach a consumer, at a rate that is given.
//!
//! ```text
//! pacing thread ── send_batch when due ──► Producer ──► broker ──► Consumer ── number in each value ──► received
//!       │                                                                                        
//!       └── deliveries, in order (a bounded channel) ──► acknowledged
//! ```
//!
//! An open loop: what is due is sent, whatever became of what went before. Each of the three counts by the one
//! [`Schedule`](super::schedule::Schedule). The pacing thread sleeps by itself, since tokio's timers are good to a millisecond only.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use sealstream_client::admin::NewTopic;
use sealstream_client::producer::{BatchDelivery, SendError};
use sealstream_client::{Client, Consumer, Producer, Record};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::schedule::{Latencies, Percentiles, Schedule};
use super::with_last_words;
use crate::cli::args::BenchLatency;
use crate::cli::connect::{PATIENT, with_client};
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;
use crate::cli::serve::durability;
use crate::cli::{Failure, output};

/// How long is sent before anything counts: connections are warm after a few round trips, congestion windows soon after.
const WARM_UP: Duration = Duration::from_secs(1);

/// A run that falls behind is given up after so many times its duration.
const OVERTIME: u32 = 2;

/// Records a second that can be asked for: beyond ten million a schedule in nanoseconds is no longer even.
const RATES: RangeInclusive<f64> = 0.01..=1e7;

/// Deliveries that may wait to be looked at: more than batches may be on the way in a producer's window (1,024), so that it is never this that
/// holds the sender up.
const DELIVERIES: usize = 2048;

/// A number in front of each value: where in the schedule its batch stands.
const NUMBER: usize = size_of::<u64>();

/// How long the pacing thread sleeps at the most before it looks whether an end was asked.
const NAP: Duration = Duration::from_millis(100);

/// Of the rate asked for at least this must have been sent for it to count as reached.
const REACHED: f64 = 0.99;

/// Measures.
pub(super) fn run(args: &BenchLatency) -> Result<(), Failure> {
    if !RATES.contains(&args.rate) {
        let (least, most) = (RATES.start(), RATES.end());
        return Err(Failure::new(format!(
            "--rate is {}: give {least} to {most} records a second",
            args.rate
        )));
    }
    with_client(&args.connection, PATIENT, |client| bench(client, args))
}

async fn bench(client: Client, args: &BenchLatency) -> Result<(), Failure> {
    // Before there is a topic that a signal would leave behind.
    let interrupt = Interrupt::watch()?;
    let topic = format!("bench-{}", Uuid::new_v4().simple());
    let admin = client.admin();
    // One partition: acknowledgements leave in the order of the batches.
    let new = NewTopic::new(&topic).partitions(1).durability(durability(args.durability));
    admin.create_topic(new).await?;
    let bench = async {
        let measured = measure(&client, args, &topic, interrupt.token()).await;
        let deleted = admin.delete_topic(&topic).await;
        let measured = measured?;
        deleted?;
        measured.report(args)?;
        interrupt.outcome()
    };
    with_last_words(&interrupt, &topic, bench).await
}

/// What was found.
struct Measured {
    schedule: Schedule,
    sent: Sent,
    acknowledged: Latencies,
    received: Latencies,
}

/// What the pacing thread found.
struct Sent {
    /// How much later than due each batch was handed over.
    late: Latencies,
    /// How many were sent, those of the warm-up too.
    count: u64,
    /// When the last one was.
    last: Duration,
    /// Whether an end was asked before all were.
    interrupted: bool,
}

async fn measure(
    client: &Client,
    args: &BenchLatency,
    topic: &str,
    asked_to_end: CancellationToken,
) -> Result<Measured, Failure> {
    let schedule = Schedule::new(args.rate / f64::from(args.batch_records.get()), WARM_UP, args.duration.0);
    let size = usize::try_from(args.record_bytes.0)?;
    let (producer, consumer) = open(client, args, topic, size).await?;
    let (deliveries, settled) = mpsc::channel(DELIVERIES);
    let (count, sent_in_all) = watch::channel(None);
    let start = Instant::now();
    let pace = Pace { schedule, start, size, batch: args.batch_records, deliveries, asked_to_end };
    let (runtime, sending) = (Handle::current(), producer.clone());
    let sending = async move {
        let sent = tokio::task::spawn_blocking(move || pace.send(&sending, &runtime)).await??;
        let _ = count.send(Some(sent.count));
        Ok::<_, Failure>(sent)
    };
    let bytes = size as u64 * u64::from(args.batch_records.get());
    let progress = Progress::new(Some(schedule.total() * bytes), args.connection.json);
    let acknowledged =
        acknowledge(schedule, start, settled, progress, u64::from(args.batch_records.get()), bytes);
    let patience = args.connection.timeout.map_or(PATIENT, |span| span.0);
    let received = receive(schedule, start, consumer, sent_in_all, patience);
    let (sent, mut acknowledged, mut received) = tokio::try_join!(sending, acknowledged, received)?;
    producer.close().await?;
    let now = start.elapsed();
    if sent.interrupted {
        // What was not due yet has not waited.
        return Ok(Measured { schedule: schedule.cut(sent.count), sent, acknowledged, received });
    }
    acknowledged.give_up(sent.count, now);
    received.give_up(sent.count, now);
    Ok(Measured { schedule, sent, acknowledged, received })
}

async fn open(
    client: &Client,
    args: &BenchLatency,
    topic: &str,
    size: usize,
) -> Result<(Producer, Consumer), Failure> {
    let records = args.batch_records.get();
    let producer = client
        .producer(topic)
        .linger(Duration::ZERO)
        .batch_records(records)
        // Batches are cut by their number of records: 64 bytes beside each value are more than it needs.
        .batch_bytes((size + 64) * records as usize)
        .open()
        .await?;
    Ok((producer, client.consumer(topic).open().await?))
}

/// Sends batches when they are due.
struct Pace {
    schedule: Schedule,
    start: Instant,
    size: usize,
    batch: NonZeroU32,
    deliveries: mpsc::Sender<(u64, BatchDelivery)>,
    asked_to_end: CancellationToken,
}

impl Pace {
    /// Blocks its thread for as long as the run takes.
    fn send(self, producer: &Producer, runtime: &Handle) -> Result<Sent, SendError> {
        let mut late = Latencies::of(self.schedule);
        let mut value = vec![b'x'; self.size];
        let (mut count, mut last) = (0, Duration::ZERO);
        let until = self.schedule.end() * OVERTIME;
        for number in 0..self.schedule.total() {
            self.sleep_until(self.schedule.due(number));
            if self.asked_to_end.is_cancelled() || self.start.elapsed() > until {
                break;
            }
            value[..NUMBER].copy_from_slice(&number.to_be_bytes());
            let records = vec![Record::new(&value); self.batch.get() as usize];
            let sent = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = self.asked_to_end.cancelled() => Ok(None),
                    sent = producer.send_batch(&records) => sent.map(Some),
                }
            })?;
            let Some(sent) = sent else { break };
            last = self.start.elapsed();
            late.record(number, last);
            count = number + 1;
            if self.deliveries.blocking_send((number, sent)).is_err() {
                // Whoever looked at them has failed, and says why.
                break;
            }
        }
        let interrupted = count < self.schedule.total() && self.asked_to_end.is_cancelled();
        if !interrupted {
            late.give_up(count, self.start.elapsed());
        }
        Ok(Sent { late, count, last, interrupted })
    }

    /// Until then, or until an end is asked.
    fn sleep_until(&self, due: Duration) {
        while !self.asked_to_end.is_cancelled() {
            let left = due.saturating_sub(self.start.elapsed());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(NAP));
        }
    }
}

/// Notes when each batch was acknowledged, until the last one was.
async fn acknowledge(
    schedule: Schedule,
    start: Instant,
    mut deliveries: mpsc::Receiver<(u64, BatchDelivery)>,
    mut progress: Progress,
    records: u64,
    bytes: u64,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::of(schedule);
    while let Some((number, delivery)) = deliveries.recv().await {
        delivery.await?;
        latencies.record(number, start.elapsed());
        progress.advance(records, bytes);
    }
    progress.finish();
    Ok(latencies)
}

/// Notes when each batch was received, until all have been that were sent.
async fn receive(
    schedule: Schedule,
    start: Instant,
    mut consumer: Consumer,
    mut sent_in_all: watch::Receiver<Option<u64>>,
    patience: Duration,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::of(schedule);
    let mut next = 0;
    let (mut all, mut deadline) = (None, None);
    while all.is_none_or(|all| next < all) {
        let overdue = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            batch = consumer.next_batch() => {
                let Some(batch) = batch else { return Err(Failure::new("the consumer ended before all had come")) };
                for record in batch?.records() {
                    let number = number_of(&record?.value)?;
                    if number >= next {
                        latencies.record(number, start.elapsed());
                        next = number + 1;
                    }
                }
            }
            Ok(()) = sent_in_all.changed(), if all.is_none() => {
                all = *sent_in_all.borrow_and_update();
                deadline = Some(tokio::time::Instant::now() + patience);
            }
            () = overdue => {
                return Err(Failure::new(format!("of {} batches {next} reached the consumer within {patience:?}", all.unwrap_or(0))));
            }
        }
    }
    consumer.close().await;
    Ok(latencies)
}

fn number_of(value: &[u8]) -> Result<u64, Failure> {
    match value.first_chunk() {
        Some(number) => Ok(u64::from_be_bytes(*number)),
        None => Err(Failure::new(
            "a record came that this bench has not sent: does something else write to its topic?",
        )),
    }
}

impl Measured {
    /// Records that were sent, in a second, those of the warm-up too.
    fn rate(&self, args: &BenchLatency) -> f64 {
        // One that was sent in time does not end before its place in the schedule does.
        let took = self.sent.last.max(self.schedule.end());
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 batches")]
        let count = self.sent.count as f64;
        count * f64::from(args.batch_records.get()) / took.as_secs_f64()
    }

    fn report(&self, args: &BenchLatency) -> Result<(), Failure> {
        let rate = self.rate(args);
        let reached = rate >= REACHED * args.rate;
        let unsent = self.schedule.total() - self.sent.count;
        let rows = [
            ("acknowledged", self.acknowledged.percentiles()),
            ("received", self.received.percentiles()),
            ("sent late", self.sent.late.percentiles()),
        ];
        if args.connection.json {
            let [acknowledged, received, late] = rows.map(|(_, percentiles)| percentiles.json());
            return output::json(&json!({
                "bench": "latency", "url": args.connection.url, "rate": args.rate, "rate_sent": rate, "rate_reached": reached,
                "record_bytes": args.record_bytes.0, "batch_records": args.batch_records, "seconds": args.duration.0.as_secs_f64(),
                "durability": args.durability, "batches_unsent": unsent, "acknowledged": acknowledged, "received": received,
                "sent_late": late, "interrupted": self.sent.interrupted,
            }));
        }
        if self.sent.interrupted {
            let last = self.sent.last.as_secs_f64();
            output::line(format_args!("interrupted after {last:.1} s of {}", args.duration))?;
        }
        let (size, batch) = (output::bytes(args.record_bytes.0), args.batch_records);
        output::line(format_args!(
            "{} records/s of {size}, {batch} in a batch, over {}; times from when each batch was due:",
            args.rate, args.connection.url
        ))?;
        let heading = std::iter::once(String::new()).chain(Percentiles::heading()).collect();
        let rows = rows
            .map(|(name, percentiles)| std::iter::once(name.to_owned()).chain(percentiles.cells()).collect());
        output::table(&[vec![heading], rows.to_vec()].concat())?;
        if reached {
            return Ok(());
        }
        let unsent = if unsent == 0 { String::new() } else { format!(", and {unsent} batches not at all") };
        output::line(format_args!(
            "the rate was not reached: {rate:.0} of {} records/s were sent{unsent}; the times say how far behind it fell",
            args.rate
        ))
    }
}
