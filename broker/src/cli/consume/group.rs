//! `consume --group`: reads as a member of a group, and commits what was written.

use sealstream_client::Client;
use sealstream_client::group::{GroupConsumer, GroupPosition};

use super::Writer;
use crate::cli::Failure;
use crate::cli::args::Consume;
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::{Progress, Total};

/// Reads until the end, the count, or an interrupt; then commits what was written and leaves the group.
pub(super) async fn consume(
    client: &Client,
    args: &Consume,
    group: &str,
    writer: Writer,
    mut progress: Progress,
    interrupt: &Interrupt,
) -> Result<Total, Failure> {
    let mut builder = client.group_consumer(group).topic(&args.topic);
    if !args.follow {
        builder = builder.until_end();
    }
    let mut consumer = tokio::select! {
        opened = builder.open() => opened?,
        () = interrupt.asked() => return Ok(progress.finish()),
    };
    let outcome = match consumer.handle().missing_topics() {
        [] => write(&mut consumer, writer, &mut progress, interrupt).await,
        missing => Err(Failure::new(format!(
            "topic {} does not exist: make it with `sealstream topic create`",
            missing.join(", ")
        ))),
    };
    let closed = consumer.close().await;
    let total = progress.finish();
    outcome?;
    closed?;
    Ok(total)
}

/// Writes what comes. What was written to the end is committed by the consumer as the next is asked for, and the last of
/// it here.
async fn write(
    consumer: &mut GroupConsumer,
    mut writer: Writer,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut written: Option<GroupPosition> = None;
    while writer.left > 0 {
        let batch = tokio::select! {
            batch = consumer.next_batch() => batch,
            () = interrupt.asked() => break,
        };
        let Some(batch) = batch.transpose()? else { break };
        let (records, bytes) = tokio::task::block_in_place(|| writer.write(&batch))?;
        progress.advance(records, bytes);
        written = Some(batch.position(batch.first_offset() + records));
    }
    match consumer.commit_positions(written).await {
        // Its next owner writes it again: at least once.
        Err(error) if !error.is_lost_assignment() => Err(error.into()),
        _ => Ok(()),
    }
}
