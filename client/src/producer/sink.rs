//! A producer as a sink, for programs that are made of streams.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use tokio_util::sync::ReusableBoxFuture;

use super::Producer;
use super::error::{NotAcknowledged, SendError, TrySendError};
use super::permit::SendPermit;
use super::record::OwnedRecord;

/// Why a sink took no record, or has lost some.
///
/// ```no_run
/// # async fn example(mut sink: sealstream_client::RecordSink) -> Result<(), Box<dyn std::error::Error>> {
/// use futures_util::SinkExt;
/// use sealstream_client::producer::{OwnedRecord, SinkError};
///
/// match sink.send(OwnedRecord::new("18.4")).await {
///     Ok(()) => println!("stored"),
///     Err(SinkError::Send(error)) => println!("left out: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The record given last can never be sent. It is left out; the sink goes on.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Records were not acknowledged.
    #[error(transparent)]
    NotAcknowledged(#[from] NotAcknowledged),
}

/// A [`Sink`] of records, from [`Producer::sink`]. Ready when there is room in the producer's window; flushed when
/// everything that was sent is stored. Closing it closes the producer.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use futures_util::{SinkExt, StreamExt, TryStreamExt};
/// use sealstream_client::producer::{OwnedRecord, SinkError};
///
/// // Copies a topic.
/// let source = client.consumer("orders").until_end().open().await?;
/// let mut sink = client.producer("orders.copy").open().await?.sink();
/// let mut records = source.map_ok(OwnedRecord::from);
/// while let Some(record) = records.next().await {
///     sink.feed(record?).await?;
/// }
/// sink.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct RecordSink {
    producer: Producer,
    /// A record that waits for room. One at most.
    waiting: Option<OwnedRecord>,
    work: Work,
}

/// What the sink waits for.
enum Work {
    Nothing,
    Room(ReusableBoxFuture<'static, Result<SendPermit, SendError>>),
    Settling { closes: bool, future: ReusableBoxFuture<'static, Result<(), NotAcknowledged>> },
    Closed,
}

impl RecordSink {
    pub(super) fn new(producer: Producer) -> Self {
        Self { producer, waiting: None, work: Work::Nothing }
    }

    /// Sends the record that waits, if there is one.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let Some(record) = &self.waiting else { return Poll::Ready(Ok(())) };
        let permit = if let Work::Room(future) = &mut self.work {
            let permit = ready!(future.poll(cx));
            self.work = Work::Nothing;
            permit
        } else {
            let size = record.lend(|record| record.size());
            match self.producer.try_reserve(size) {
                Ok(permit) => Ok(permit),
                Err(TrySendError::Refused(error)) => Err(error),
                Err(TrySendError::WindowFull) => {
                    let producer = self.producer.clone();
                    self.work =
                        Work::Room(ReusableBoxFuture::new(async move { producer.reserve(size).await }));
                    return self.poll_send(cx);
                }
            }
        };
        let Some(record) = self.waiting.take() else { return Poll::Ready(Ok(())) };
        // A failure of its delivery is reported by the next flush.
        let sent = permit.and_then(|permit| record.lend(|record| permit.send(record)));
        Poll::Ready(sent.map(drop).map_err(SinkError::Send))
    }

    fn poll_settle(&mut self, cx: &mut Context<'_>, closing: bool) -> Poll<Result<(), SinkError>> {
        loop {
            match &mut self.work {
                Work::Settling { closes, future } => {
                    let settled = ready!(future.poll(cx));
                    let closed = *closes;
                    self.work = if closed { Work::Closed } else { Work::Nothing };
                    if closed == closing || settled.is_err() {
                        return Poll::Ready(settled.map_err(SinkError::NotAcknowledged));
                    }
                }
                Work::Closed => return Poll::Ready(Ok(())),
                Work::Room(_) | Work::Nothing => {
                    ready!(self.poll_send(cx))?;
                    let producer = self.producer.clone();
                    let future = ReusableBoxFuture::new(async move {
                        if closing { producer.close().await } else { producer.flush().await }
                    });
                    self.work = Work::Settling { closes: closing, future };
                }
            }
        }
    }
}

impl Sink<OwnedRecord> for RecordSink {
    type Error = SinkError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        // A flush that was begun and left does not keep records from being sent.
        if matches!(self.work, Work::Settling { closes: false, .. }) {
            self.work = Work::Nothing;
        }
        self.poll_send(cx)
    }

    /// # Panics
    ///
    /// If [`poll_ready`](Self::poll_ready) did not say that there is room.
    fn start_send(mut self: Pin<&mut Self>, record: OwnedRecord) -> Result<(), SinkError> {
        assert!(self.waiting.is_none(), "start_send before poll_ready said that there is room");
        // What can never be sent is told with the record that it is about.
        let size = record.lend(|record| record.size());
        match self.producer.try_reserve(size) {
            // A failure of its delivery is reported by the next flush.
            Ok(permit) => record.lend(|record| permit.send(record)).map(drop).map_err(SinkError::Send),
            Err(TrySendError::Refused(error)) => Err(error.into()),
            Err(TrySendError::WindowFull) => {
                self.waiting = Some(record);
                Ok(())
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.poll_settle(cx, false)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.poll_settle(cx, true)
    }
}

impl fmt::Debug for RecordSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordSink").field("producer", &self.producer).finish_non_exhaustive()
    }
}
