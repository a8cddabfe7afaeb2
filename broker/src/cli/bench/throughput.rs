//! `bench produce` and `bench consume`: load on a broker, as a share of what the machine gives bare tokio-rustls.

use sealstream_client::admin::NewTopic;
use sealstream_client::consumer::ConsumedBatch;
use sealstream_client::{Client, Record};
use serde_json::json;
use uuid::Uuid;

use super::with_last_words;
use crate::cli::args::Bench;
use crate::cli::connect::{PATIENT, with_client};
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::{Progress, Total};
use crate::cli::serve::durability;
use crate::cli::{Failure, baseline, output};

/// Measures one side.
pub(super) fn run(args: &Bench, side: Side) -> Result<(), Failure> {
    with_client(&args.connection, PATIENT, |client| bench(client, args, side))
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Produce,
    Consume,
}

async fn bench(client: Client, args: &Bench, side: Side) -> Result<(), Failure> {
    // Before there is a topic that a signal would leave behind.
    let interrupt = Interrupt::watch()?;
    let topic = format!("bench-{}", Uuid::new_v4().simple());
    let admin = client.admin();
    let new = NewTopic::new(&topic).partitions(args.partitions).durability(durability(args.durability));
    admin.create_topic(new).await?;
    let bench = async {
        let measured = measure(&client, args, side, &topic, &interrupt).await;
        let deleted = admin.delete_topic(&topic).await;
        let (total, baseline) = measured?;
        deleted?;
        report(args, side, total, baseline, interrupt.is_asked())?;
        interrupt.outcome()
    };
    with_last_words(&interrupt, &topic, bench).await
}

/// What was moved, and the yardstick: the mean of one measurement before and one after, since machines have moods. An interrupt ends
/// what is moved, and leaves the yardstick out.
async fn measure(
    client: &Client,
    args: &Bench,
    side: Side,
    topic: &str,
    interrupt: &Interrupt,
) -> Result<(Total, Option<f64>), Failure> {
    if side == Side::Consume {
        produce(client, args, topic, "filling the topic", interrupt).await?;
    }
    let before = yardstick(args, interrupt).await?;
    let total = match side {
        Side::Produce => produce(client, args, topic, "producing", interrupt).await?,
        Side::Consume => consume(client, args, topic, interrupt).await?,
    };
    let after = yardstick(args, interrupt).await?;
    Ok((total, before.zip(after).map(|(before, after)| f64::midpoint(before, after))))
}

async fn yardstick(args: &Bench, interrupt: &Interrupt) -> Result<Option<f64>, Failure> {
    if args.no_baseline {
        return Ok(None);
    }
    tokio::select! {
        biased;
        () = interrupt.asked() => Ok(None),
        speed = baseline::bytes_per_second(args.bytes.0) => Ok(Some(speed?)),
    }
}

fn records(args: &Bench) -> u64 {
    args.bytes.0.div_ceil(args.record_bytes.0)
}

async fn produce(
    client: &Client,
    args: &Bench,
    topic: &str,
    what: &str,
    interrupt: &Interrupt,
) -> Result<Total, Failure> {
    let size = usize::try_from(args.record_bytes.0)?;
    let value = vec![b'x'; size];
    let producer = client
        .producer(topic)
        .batch_records(args.batch_records)
        // Batches are cut by their number of records: 64 bytes beside each value are more than it needs.
        .batch_bytes((size + 64) * args.batch_records as usize)
        .open()
        .await?;
    tracing::debug!(topic, what);
    let mut progress = Progress::new(Some(args.bytes.0), args.connection.json);
    let batch = vec![Record::new(&value); args.batch_records as usize];
    let mut left = records(args);
    while left > 0 {
        let count = usize::try_from(left).map_or(batch.len(), |left| left.min(batch.len()));
        tokio::select! {
            biased;
            () = interrupt.asked() => break,
            // Failures come out of `close`.
            sent = producer.send_batch(&batch[..count]) => drop(sent?),
        }
        left -= count as u64;
        progress.advance(count as u64, (count * size) as u64);
    }
    producer.close().await?;
    Ok(progress.finish())
}

async fn consume(
    client: &Client,
    args: &Bench,
    topic: &str,
    interrupt: &Interrupt,
) -> Result<Total, Failure> {
    let mut consumer = client.consumer(topic).until_end().open().await?;
    let mut progress = Progress::new(Some(args.bytes.0), args.connection.json);
    loop {
        let batch = tokio::select! {
            batch = consumer.next_batch() => batch,
            () = interrupt.asked() => break,
        };
        let Some(batch) = batch else { break };
        let (records, bytes) = touch(&batch?)?;
        progress.advance(records, bytes);
    }
    consumer.close().await;
    let total = progress.finish();
    if total.records != records(args) && !interrupt.is_asked() {
        return Err(Failure::new(format!("{} records came back of {}", total.records, records(args))));
    }
    Ok(total)
}

/// Looks at every record, as a program would that reads them.
fn touch(batch: &ConsumedBatch) -> Result<(u64, u64), Failure> {
    let (mut records, mut bytes) = (0, 0);
    for record in batch.records() {
        records += 1;
        bytes += record?.value.len() as u64;
    }
    Ok((records, bytes))
}

fn report(
    args: &Bench,
    side: Side,
    total: Total,
    baseline: Option<f64>,
    interrupted: bool,
) -> Result<(), Failure> {
    let ours = total.bytes_per_second();
    let share = baseline.map(|baseline| ours / baseline);
    if args.connection.json {
        return output::json(&json!({
            "bench": if side == Side::Produce { "produce" } else { "consume" },
            "url": args.connection.url, "records": total.records, "bytes": total.bytes,
            "seconds": total.elapsed.as_secs_f64(), "bytes_per_second": ours,
            "bare_tokio_rustls_bytes_per_second": baseline, "share": share, "interrupted": interrupted,
        }));
    }
    let verb = if side == Side::Produce { "produced" } else { "consumed" };
    let interrupted = if interrupted { "interrupted: " } else { "" };
    output::line(format_args!("{interrupted}{verb} {total} over {}", args.connection.url))?;
    if let Some((baseline, share)) = baseline.zip(share) {
        output::line(format_args!(
            "bare tokio-rustls: {} in the same run; the broker's share of it: {:.0} %",
            output::speed(baseline),
            share * 100.0
        ))?;
    }
    Ok(())
}
