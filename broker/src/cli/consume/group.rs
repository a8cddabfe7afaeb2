//! `consume --group`: reads as a member of a group, and commits what was written.

use sealstream_client::Client;
use sealstream_client::group::{GroupConsumer, GroupPosition};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Writer;
use crate::cli::Failure;
use crate::cli::args::Consume;
use crate::cli::progress::{Progress, Total};

/// The exit code of a process that a second signal stopped at once: as of one that SIGINT has killed.
const INTERRUPTED: i32 = 130;

/// Reads until the end, the count, or a signal; then commits what was written and leaves the group.
pub(super) async fn consume(
    client: &Client,
    args: &Consume,
    group: &str,
    writer: Writer,
    mut progress: Progress,
) -> Result<Total, Failure> {
    let mut watch = JoinSet::new();
    let interrupted = watch_signals(&mut watch)?;
    let mut builder = client.group_consumer(group).topic(&args.topic);
    if !args.follow {
        builder = builder.until_end();
    }
    let mut consumer = tokio::select! {
        opened = builder.open() => opened?,
        () = interrupted.cancelled() => return Ok(progress.finish()),
    };
    let outcome = match consumer.handle().missing_topics() {
        [] => write(&mut consumer, writer, &mut progress, &interrupted).await,
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
    interrupted: &CancellationToken,
) -> Result<(), Failure> {
    let mut written: Option<GroupPosition> = None;
    while writer.left > 0 {
        let batch = tokio::select! {
            batch = consumer.next_batch() => batch,
            () = interrupted.cancelled() => break,
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

/// Cancels what it returns with the first signal that asks to stop. The second ends the process, wherever it hangs: a
/// reader of stdout may never read on.
fn watch_signals(tasks: &mut JoinSet<()>) -> Result<CancellationToken, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let interrupted = CancellationToken::new();
    let token = interrupted.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            token.cancel();
        }
    });
    Ok(interrupted)
}
