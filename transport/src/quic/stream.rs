//! The two halves of a QUIC stream, with the transport's meaning of an end.
//!
//! By nature quinn ends a dropped stream cleanly, so that a crash looks like success. Here a stream ends cleanly by a
//! completed `shutdown` alone, and that completes when the peer has acknowledged every byte.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::{ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::budget::Lent;
use super::credit::StreamPermit;
use super::link::Link;
use crate::stream::{RecvBackend, SendBackend, StreamError};

/// The reading half. Dropped before the end, it tells the writer to stop: quinn sends `STOP_SENDING` with code 0.
pub(super) struct QuicRecv {
    stream: RecvStream,
    /// How the stream was aborted: quinn says so once, and then calls it a clean end.
    aborted: Option<StreamError>,
    link: Arc<Link>,
    _permit: Option<Arc<StreamPermit>>,
}

impl QuicRecv {
    pub(super) fn new(stream: RecvStream, link: Arc<Link>, permit: Option<Arc<StreamPermit>>) -> Self {
        Self { stream, aborted: None, link, _permit: permit }
    }
}

impl QuicRecv {
    fn failed(&mut self, error: &ReadError) -> io::Error {
        match error {
            ReadError::Reset(reset) => {
                self.aborted.insert(StreamError::Aborted { code: code(*reset) }).clone().into()
            }
            ReadError::ConnectionLost(lost) => self.link.lost(lost).into(),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                io::Error::new(io::ErrorKind::NotConnected, error.clone())
            }
        }
    }
}

impl AsyncRead for QuicRecv {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(aborted) = &this.aborted {
            return Poll::Ready(Err(aborted.clone().into()));
        }
        this.stream.poll_read_buf(cx, buf).map_err(|error| this.failed(&error))
    }
}

impl RecvBackend for QuicRecv {
    fn stop(&mut self, code: u32) {
        // It fails only where the stream has already ended, and then there is nobody left to stop.
        drop(self.stream.stop(VarInt::from_u32(code)));
    }
}

/// The writing half.
pub(super) struct QuicSend {
    stream: SendStream,
    end: End,
    /// What it was lent to write ahead of the peer.
    lent: Option<Lent>,
    link: Arc<Link>,
    _permit: Option<Arc<StreamPermit>>,
}

type Acknowledged = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

/// How far the clean end has come.
enum End {
    Open,
    /// FIN is on its way, or under it the bytes before.
    Sent(Acknowledged),
    Acknowledged,
}

impl QuicSend {
    pub(super) fn new(stream: SendStream, link: Arc<Link>, permit: Option<Arc<StreamPermit>>) -> Self {
        Self { stream, end: End::Open, lent: None, link, _permit: permit }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        if outcome.is_pending()
            && let Some(step) = self.link.take_send_step()
        {
            outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
            match outcome {
                Poll::Ready(_) => match &mut self.lent {
                    Some(lent) => lent.add(step),
                    none => *none = Some(step),
                },
                Poll::Pending => self.link.give_back(step),
            }
        }
        outcome.map_err(|error| write_error(&self.link, &error))
    }
}

impl Drop for QuicSend {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take() {
            self.link.give_back(lent);
        }
    }
}

impl AsyncWrite for QuicSend {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        QuicSend::poll_write(&mut self, cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            match QuicSend::poll_write(&mut self, cx, buf) {
                Poll::Ready(Ok(taken)) => {
                    written += taken;
                    if taken < buf.len() {
                        break;
                    }
                }
                // What was taken counts; the next call meets the obstacle again.
                _ if written > 0 => break,
                obstacle => return obstacle,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing waits here: quinn sends what was written as soon as the windows allow.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let End::Open = this.end {
            this.stream.finish().map_err(|_closed| write_error(&this.link, &WriteError::ClosedStream))?;
            this.end = End::Sent(Box::pin(this.stream.stopped()));
        }
        let End::Sent(acknowledged) = &mut this.end else { return Poll::Ready(Ok(())) };
        match ready!(acknowledged.as_mut().poll(cx)) {
            Ok(None) => {
                this.end = End::Acknowledged;
                Poll::Ready(Ok(()))
            }
            // A future must not be polled after it has resolved: make another for whoever asks again.
            Ok(Some(code)) => {
                *acknowledged = Box::pin(this.stream.stopped());
                Poll::Ready(Err(write_error(&this.link, &WriteError::Stopped(code))))
            }
            Err(error) => {
                *acknowledged = Box::pin(this.stream.stopped());
                Poll::Ready(Err(write_error(&this.link, &error.into())))
            }
        }
    }
}

impl SendBackend for QuicSend {
    fn abort(&mut self, code: u32) {
        // It fails only where the stream has already ended.
        if self.stream.reset(VarInt::from_u32(code)).is_ok() {
            self.link.count_reset();
        }
    }
}

/// A code as this transport carries it; other programs may send larger ones, which have no meaning here.
fn code(code: VarInt) -> Option<u32> {
    u32::try_from(code.into_inner()).ok()
}

fn write_error(link: &Link, error: &WriteError) -> io::Error {
    match error {
        WriteError::Stopped(stopped) => StreamError::Stopped { code: code(*stopped) }.into(),
        WriteError::ConnectionLost(lost) => link.lost(lost).into(),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            io::Error::new(io::ErrorKind::BrokenPipe, error.clone())
        }
    }
}
