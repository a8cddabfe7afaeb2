//! Futures of delivery: one receipt a batch, shared by the records in it, so that a record costs a reference count.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::error::DeliveryError;
use super::record::{RecordMetadata, StoredRange};

/// How a batch ended: the offset of its first record, or why it failed.
pub(super) type Outcome = Result<u64, DeliveryError>;

/// What the records of one batch wait for.
pub(super) struct Receipt {
    partition: u32,
    state: Mutex<State>,
}

enum State {
    /// Those who wait; a waiter finds its place again by its index.
    Pending(Vec<Waker>),
    Settled(Outcome),
}

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position<'a> {
    /// Of the record's batch.
    pub(super) receipt: &'a Arc<Receipt>,
    /// Within the batch.
    pub(super) index: u32,
    /// Among all records of the producer.
    pub(super) number: u64,
}

/// A waiter's place in the receipt, once it has one.
#[derive(Clone, Copy, Debug, Default)]
struct Place(Option<usize>);

impl Receipt {
    pub(super) fn new(partition: u32) -> Self {
        Self { partition, state: Mutex::new(State::Pending(Vec::new())) }
    }

    pub(super) fn partition(&self) -> u32 {
        self.partition
    }

    /// Ends the wait of every record of the batch. Only the first call counts.
    pub(super) fn settle(&self, outcome: Outcome) {
        let mut state = self.state();
        if let State::Pending(wakers) = &mut *state {
            let wakers = std::mem::take(wakers);
            *state = State::Settled(outcome);
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn poll(&self, place: &mut Place, cx: &Context<'_>) -> Poll<Outcome> {
        match &mut *self.state() {
            State::Settled(outcome) => Poll::Ready(outcome.clone()),
            State::Pending(wakers) => {
                if let Some(index) = place.0 {
                    wakers[index].clone_from(cx.waker());
                } else {
                    *place = Place(Some(wakers.len()));
                    wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("partition", &self.partition).finish_non_exhaustive()
    }
}

/// Resolves when one record is stored as durably as its topic promises, or has failed. Dropping it does not take the
/// record back: [`flush`](super::Producer::flush) still reports its failure. Cancellation safe: it may be polled by
/// reference and left, as often as one likes.
///
/// ```no_run
/// # async fn example(producer: sealstream_client::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::producer::Retry;
/// use sealstream_client::Record;
///
/// let delivery = producer.send(Record::new("18.4")).await?;
/// match delivery.await {
///     Ok(stored) => println!("stored at offset {}", stored.offset),
///     Err(error) if error.retry() == Retry::Safe => println!("not stored, and may be sent again: {error}"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a failure is seen by awaiting the delivery, or by `flush`"]
pub struct Delivery {
    receipt: Arc<Receipt>,
    index: u32,
    place: Place,
    number: u64,
}

impl Delivery {
    /// The record's number: a producer counts what it takes from 0, over all partitions. Below the
    /// [low watermark](super::Producer::low_watermark) every record is settled.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The partition that the record goes to.
    pub fn partition(&self) -> u32 {
        self.receipt.partition
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, DeliveryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.receipt.poll(&mut this.place, cx).map_ok(|base| RecordMetadata {
            partition: this.receipt.partition,
            offset: base + u64::from(this.index),
        })
    }
}

/// Resolves when all the records that were sent together are stored, or at the first failure.
///
/// ```no_run
/// # async fn example(producer: sealstream_client::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::Record;
///
/// let records = [Record::new("a").key("x"), Record::new("b").key("y")];
/// let ranges = producer.send_batch(&records).await?.await?;
/// println!("in {} runs", ranges.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use = "a failure is seen by awaiting the delivery, or by `flush`"]
pub struct BatchDelivery {
    parts: Vec<Part>,
    stored: Vec<StoredRange>,
    /// The number after that of the last record.
    end: u64,
}

#[derive(Debug)]
struct Part {
    receipt: Arc<Receipt>,
    first: u32,
    count: u32,
    place: Place,
}

impl BatchDelivery {
    /// The number that follows the last record's: all of them are settled once the
    /// [low watermark](super::Producer::low_watermark) is there.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds a record; those that follow each other in a batch make one part.
    pub(super) fn add(&mut self, Position { receipt, index, number }: Position<'_>) {
        self.end = number + 1;
        if let Some(part) = self.parts.last_mut()
            && Arc::ptr_eq(&part.receipt, receipt)
            && part.first + part.count == index
        {
            part.count += 1;
            return;
        }
        self.parts.push(Part { receipt: receipt.clone(), first: index, count: 1, place: Place(None) });
    }
}

impl Future for BatchDelivery {
    type Output = Result<Vec<StoredRange>, DeliveryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(part) = this.parts.get_mut(this.stored.len()) {
            match part.receipt.poll(&mut part.place, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(base)) => {
                    let first = base + u64::from(part.first);
                    this.stored.push(StoredRange {
                        partition: part.receipt.partition,
                        offsets: first..first + u64::from(part.count),
                    });
                }
            }
        }
        this.parts.clear();
        Poll::Ready(Ok(std::mem::take(&mut this.stored)))
    }
}

/// The delivery of the record at a position.
pub(super) fn delivery(Position { receipt, index, number }: Position<'_>) -> Delivery {
    Delivery { receipt: receipt.clone(), index, place: Place(None), number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(receipt: &Arc<Receipt>, index: u32) -> Position<'_> {
        Position { receipt, index, number: u64::from(index) }
    }

    #[tokio::test]
    async fn every_record_of_a_batch_learns_its_own_offset() {
        let receipt = Arc::new(Receipt::new(3));
        let [first, second] = [0, 1].map(|index| delivery(at(&receipt, index)));
        let second = tokio::join!(second, async { receipt.settle(Ok(40)) }).0;
        assert_eq!(first.await.unwrap(), RecordMetadata { partition: 3, offset: 40 });
        assert_eq!(second.unwrap().offset, 41);
    }

    #[tokio::test]
    async fn the_first_outcome_is_the_last() {
        let receipt = Arc::new(Receipt::new(0));
        receipt.settle(Err(DeliveryError::Closed { maybe_stored: false }));
        receipt.settle(Ok(7));
        assert!(matches!(
            delivery(at(&receipt, 0)).await,
            Err(DeliveryError::Closed { maybe_stored: false })
        ));
    }

    #[tokio::test]
    async fn records_sent_together_are_reported_as_ranges() {
        let (first, second) = (Arc::new(Receipt::new(0)), Arc::new(Receipt::new(1)));
        let mut sent = BatchDelivery::default();
        for (receipt, index) in [(&first, 8), (&first, 9), (&second, 0), (&second, 1), (&second, 2)] {
            sent.add(at(receipt, index));
        }
        second.settle(Ok(5));
        first.settle(Ok(100));
        let ranges = sent.await.unwrap();
        assert_eq!(
            ranges,
            [StoredRange { partition: 0, offsets: 108..110 }, StoredRange { partition: 1, offsets: 5..8 }]
        );
    }
}
