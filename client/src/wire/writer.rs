//! Frames into a stream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use sealstream_protocol::frame;
use sealstream_protocol::message::Message;
use sealstream_transport::SendHalf;
use tokio::io::AsyncWrite;

use super::WireError;

/// A payload up to this size is copied behind its head, so that both leave in one write; of a larger one so many bytes
/// are. Half a TLS record of 16 KiB: a copy of a microsecond against a record and a system call of its own.
const COALESCE: usize = 8 * 1024;

/// Slices given to one vectored write. Four frames with large payloads; the kernel's own bound is 1,024.
const SLICES: usize = 8;

/// What is kept of the buffer of an idle session.
const KEEP: usize = 4 * 1024;

/// Writes frames to a stream.
///
/// Feeding only queues; [`flush`](Self::flush) writes. Large payloads are not copied: they go to the transport as
/// slices of the `Bytes` they came in. Whoever feeds bounds the queue by looking at [`pending`](Self::pending).
///
/// ```
/// use sealstream_client::wire::{FrameReader, FrameWriter};
/// use sealstream_protocol::message::Message;
/// use sealstream_protocol::message::hello::Pong;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sealstream_client::wire::WireError> {
/// let (here, there) = tokio::io::duplex(1024);
/// let mut writer = FrameWriter::new(here);
/// writer.feed(&Message::Pong(Pong { nonce: 7 }));
/// writer.flush().await?;
/// let mut reader = FrameReader::new(there, 1 << 20);
/// assert_eq!(reader.next().await?, Some(Message::Pong(Pong { nonce: 7 })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FrameWriter<W = SendHalf> {
    send: W,
    tail: BytesMut,
    queue: VecDeque<Bytes>,
    queued: usize,
    dirty: bool,
    written: u64,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes to `send`.
    pub fn new(send: W) -> Self {
        Self { send, tail: BytesMut::new(), queue: VecDeque::new(), queued: 0, dirty: false, written: 0 }
    }

    /// Queues a frame.
    pub fn feed(&mut self, message: &Message) {
        match message {
            Message::Produce(produce) => {
                self.feed_produce(produce.request, produce.handle, produce.partition, produce.batch.clone());
            }
            Message::Data(data) => self.feed_data(data.subscription, [data.entries.clone()]),
            other => other.encode(&mut self.tail),
        }
    }

    /// Queues a Produce frame without copying its batch.
    pub fn feed_produce(&mut self, request: u64, handle: u32, partition: u32, batch: Bytes) {
        frame::produce_head(request, handle, partition, batch.len(), &mut self.tail);
        self.payload(batch);
    }

    /// Queues a Data frame whose payload is `chunks`, in order, without copying them.
    pub fn feed_data(&mut self, subscription: u32, chunks: impl IntoIterator<Item = Bytes, IntoIter: Clone>) {
        let chunks = chunks.into_iter();
        let length = chunks.clone().map(|chunk| chunk.len()).sum();
        frame::data_head(subscription, length, &mut self.tail);
        for chunk in chunks {
            self.payload(chunk);
        }
    }

    /// Bytes queued and not yet taken by the transport.
    pub fn pending(&self) -> usize {
        self.queued + self.tail.len()
    }

    /// Whether [`flush`](Self::flush) has anything to do.
    pub fn needs_flush(&self) -> bool {
        self.dirty || self.pending() > 0
    }

    /// Bytes that the transport has taken so far: a peer that takes some is alive.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes everything queued and flushes the transport. Do it before awaiting a reply.
    ///
    /// Cancellation safe: what was not written stays queued, and a frame begun is continued by the next flush.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        Ok(poll_fn(|cx| self.poll_flush(cx)).await?)
    }

    /// Writes what is queued, then ends the stream cleanly; `deadline` bounds all of it.
    ///
    /// On an error the stream must be dropped, which aborts it.
    pub async fn finish(&mut self, deadline: Duration) -> Result<(), WireError> {
        let ending = async {
            self.flush().await?;
            poll_fn(|cx| Pin::new(&mut self.send).poll_shutdown(cx)).await.map_err(WireError::from)
        };
        tokio::time::timeout(deadline, ending).await.map_err(|_| WireError::TimedOut)?
    }

    /// Takes the stream back. What is queued is lost.
    pub fn into_inner(self) -> W {
        self.send
    }

    fn payload(&mut self, mut payload: Bytes) {
        let copied = payload.len().min(COALESCE);
        self.tail.extend_from_slice(&payload[..copied]);
        if payload.len() > copied {
            payload.advance(copied);
            self.seal_tail();
            self.queued += payload.len();
            self.queue.push_back(payload);
        }
    }

    /// Moves what was encoded so far into the queue, so that a slice can follow it.
    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let head = self.tail.split().freeze();
            self.queued += head.len();
            self.queue.push_back(head);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.seal_tail();
        while !self.queue.is_empty() {
            let taken = ready!(self.poll_write(cx))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.dirty = true;
            self.written += taken as u64;
            self.advance(taken);
        }
        if self.dirty {
            ready!(Pin::new(&mut self.send).poll_flush(cx))?;
            self.dirty = false;
        }
        if self.tail.capacity() > KEEP {
            self.tail = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let send = Pin::new(&mut self.send);
        if self.queue.len() == 1 || !send.is_write_vectored() {
            return send.poll_write(cx, &self.queue[0]);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = self.queue.len().min(SLICES);
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
        }
        send.poll_write_vectored(cx, &slices[..used])
    }

    fn advance(&mut self, mut taken: usize) {
        self.queued -= taken;
        while let Some(front) = self.queue.front_mut() {
            if taken < front.len() {
                front.advance(taken);
                return;
            }
            taken -= front.len();
            self.queue.pop_front();
        }
    }
}
