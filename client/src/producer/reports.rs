//! Reports of what became of batches, for a program that does not want to hold a future for each record.
//!
//! One report a batch, in the order of its partition; it is made while the accumulator is locked, so that reports and low
//! watermark agree. Bounded by the window: who begins a batch counts the reports that are held back or unread.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::delivery::Outcome;
use super::error::DeliveryError;
use super::shared::Shared;
use super::ticket::Ticket;

/// What became of a batch.
///
/// ```no_run
/// # async fn example(mut reports: sealstream_client::producer::DeliveryReports) -> Result<(), Box<dyn std::error::Error>> {
/// while let Some(report) = reports.next().await {
///     match report.outcome {
///         Ok(offsets) => println!("partition {} holds {offsets:?}", report.partition),
///         Err(error) => eprintln!("{} records: {error}", report.records),
///     }
///     println!("everything below {} is settled", report.low_watermark);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeliveryReport {
    /// The partition.
    pub partition: u32,
    /// How many records it had.
    pub records: u32,
    /// Their offsets, or why they failed.
    pub outcome: Result<Range<u64>, DeliveryError>,
    /// Every record with a smaller [number](super::Delivery::number) is settled: stored, or reported as failed by this
    /// report or one before it. It never falls.
    pub low_watermark: u64,
}

/// The reports of a producer, one for each batch: those of one partition in the order in which their records were sent. A
/// [`Stream`], too.
///
/// For a program that copies from somewhere and wants to know how far it has come, without a future for each record:
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// # async fn next_line() -> Option<String> { None }
/// # fn remember(_: u64) {}
/// use sealstream_client::Record;
///
/// let (producer, mut reports) = client.producer("lines").open_with_reports().await?;
/// let copy = async {
///     while let Some(line) = next_line().await {
///         drop(producer.send(Record::new(&line)).await?);
///     }
///     producer.close().await?;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// };
/// let watch = async {
///     while let Some(report) = reports.next().await {
///         report.outcome?;
///         // So many lines are stored, and need not be read again.
///         remember(report.low_watermark);
///     }
///     Ok(())
/// };
/// tokio::try_join!(copy, watch)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DeliveryReports {
    receiver: mpsc::Receiver<DeliveryReport>,
    shared: Arc<Shared>,
}

impl DeliveryReports {
    /// The next report; `None` once the producer is closed or dropped and everything is settled.
    ///
    /// Cancellation safe.
    pub async fn next(&mut self) -> Option<DeliveryReport> {
        std::future::poll_fn(|cx| self.poll_report(cx)).await
    }

    fn poll_report(&mut self, cx: &mut Context<'_>) -> Poll<Option<DeliveryReport>> {
        let report = ready!(self.receiver.poll_recv(cx));
        // There is a place for another batch.
        self.shared.room_again();
        Poll::Ready(report)
    }
}

impl Stream for DeliveryReports {
    type Item = DeliveryReport;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_report(cx)
    }
}

impl Drop for DeliveryReports {
    fn drop(&mut self) {
        self.receiver.close();
        self.shared.room_again();
    }
}

/// The other end: puts reports in order, one queue a partition.
///
/// Batches of one partition may be settled out of order: a batch whose answer was lost is sent again and answered behind
/// those that followed it. Its successors' reports are held back until then.
#[derive(Debug)]
pub(super) struct ReportSender {
    sender: mpsc::Sender<DeliveryReport>,
    /// Batches that are about or held back, by partition, in the order in which they were begun.
    lanes: BTreeMap<u32, VecDeque<Begun>>,
    /// How many are held back.
    held_back: usize,
}

/// A batch that was begun, and how it ended if it did.
#[derive(Debug)]
struct Begun {
    first: u64,
    settled: Option<(u32, Outcome)>,
}

/// For at most so many batches that are about, held back or unread.
pub(super) fn channel(window: usize, shared: Arc<Shared>) -> (ReportSender, DeliveryReports) {
    let (sender, receiver) = mpsc::channel(window);
    let sender = ReportSender { sender, lanes: BTreeMap::new(), held_back: 0 };
    (sender, DeliveryReports { receiver, shared })
}

impl ReportSender {
    /// How many reports nobody has read yet.
    pub(super) fn unread(&self) -> usize {
        let queued = self.sender.max_capacity() - self.sender.capacity();
        if self.is_heard() { queued + self.held_back } else { 0 }
    }

    /// Whether anybody still listens.
    pub(super) fn is_heard(&self) -> bool {
        !self.sender.is_closed()
    }

    /// A batch is begun, by the number of its first record.
    pub(super) fn begun(&mut self, partition: u32, first: u64) {
        self.lanes.entry(partition).or_default().push_back(Begun { first, settled: None });
    }

    /// Tells of a batch that is settled, and of those that were held back for it.
    pub(super) fn tell(&mut self, ticket: &Ticket, outcome: &Outcome, low_watermark: u64) {
        let partition = ticket.receipt.partition();
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        // One that was begun before there was a listener is not in it.
        let Ok(index) = lane.binary_search_by_key(&ticket.first, |begun| begun.first) else { return };
        lane[index].settled = Some((ticket.records, outcome.clone()));
        self.held_back += 1;
        while let Some((records, outcome)) = lane.front_mut().and_then(|front| front.settled.take()) {
            lane.pop_front();
            self.held_back -= 1;
            let outcome = outcome.map(|base| base..base + u64::from(records));
            let report = DeliveryReport { partition, records, outcome, low_watermark };
            // There is a place for it: it was counted when the batch was begun. If it is full all the same, nobody listens.
            let _ = self.sender.try_send(report);
        }
    }
}
