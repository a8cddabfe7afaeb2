//! One direction of an in-memory stream: a bounded pipe that remembers how it ended.
//!
//! `tokio::io::duplex` knows an end but not its reason. So both of its ends live in one [`Pipe`], next to the reason,
//! under one lock: whoever ends the pipe states why and drops an end, which wakes the other side to read the reason.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::PIPE_BYTES;
use super::connection::{Announcement, Slot};
use crate::stream::{RecvBackend, SendBackend, StreamError};

/// How a pipe ended, if it did.
#[derive(Debug)]
enum End {
    /// Bytes may flow.
    Open,
    /// The writer said all it had to say; what is in the pipe may still be read.
    Finished,
    /// The writer gave it up with this code.
    Aborted(u32),
    /// The reader gave it up with this code.
    Stopped(u32),
    /// The connection beneath is gone.
    Lost(&'static str),
}

#[derive(Debug)]
struct State {
    end: End,
    /// The writer's end; dropped with the pipe's end, which wakes the reader.
    inlet: Option<DuplexStream>,
    /// The reader's end; dropped with the pipe's end, which wakes the writer.
    outlet: Option<DuplexStream>,
}

/// One direction of a stream.
#[derive(Debug)]
pub(super) struct Pipe(Mutex<State>);

impl Pipe {
    pub(super) fn new() -> Arc<Self> {
        let (inlet, outlet) = tokio::io::duplex(PIPE_BYTES);
        Arc::new(Self(Mutex::new(State { end: End::Open, inlet: Some(inlet), outlet: Some(outlet) })))
    }

    /// Takes the pipe away from both sides, unless its writer has finished: those bytes count as delivered.
    pub(super) fn lose(&self, reason: &'static str) {
        self.end(End::Lost(reason));
    }

    /// Ends an open pipe. What the ends hold is dropped outside the lock, for it wakes and frees tasks.
    fn end(&self, end: End) {
        let mut state = self.lock();
        if !matches!(state.end, End::Open) {
            return;
        }
        let inlet = state.inlet.take();
        let outlet = if matches!(end, End::Finished) { None } else { state.outlet.take() };
        state.end = end;
        drop(state);
        drop((inlet, outlet));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading side of a pipe.
pub(super) struct PipeReader {
    pipe: Arc<Pipe>,
    _slot: Arc<Slot>,
}

impl PipeReader {
    pub(super) fn new(pipe: Arc<Pipe>, slot: Arc<Slot>) -> Self {
        Self { pipe, _slot: slot }
    }
}

impl AsyncRead for PipeReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.pipe.lock();
        match state.end {
            End::Open | End::Finished => {}
            End::Aborted(code) => return Poll::Ready(Err(StreamError::Aborted { code: Some(code) }.into())),
            End::Lost(reason) => return Poll::Ready(Err(lost(reason))),
            End::Stopped(_) => return Poll::Ready(Err(lost("this side has stopped reading"))),
        }
        let Some(outlet) = &mut state.outlet else { return Poll::Ready(Ok(())) };
        ready!(Pin::new(outlet).poll_read(cx, buf))?;
        Poll::Ready(Ok(()))
    }
}

impl RecvBackend for PipeReader {
    fn stop(&mut self, code: u32) {
        self.pipe.end(End::Stopped(code));
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.stop(0);
    }
}

/// The writing side of a pipe.
pub(super) struct PipeWriter {
    pipe: Arc<Pipe>,
    /// Tells the peer of the stream, at its first byte or at its end.
    announcement: Option<Announcement>,
    _slot: Arc<Slot>,
}

impl PipeWriter {
    pub(super) fn new(pipe: Arc<Pipe>, announcement: Option<Announcement>, slot: Arc<Slot>) -> Self {
        Self { pipe, announcement, _slot: slot }
    }

    fn announce(&mut self) -> io::Result<()> {
        match self.announcement.take() {
            Some(announcement) => announcement.make().map_err(lost),
            None => Ok(()),
        }
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().any(|buf| !buf.is_empty()) {
            self.announce()?;
        }
        let mut state = self.pipe.lock();
        if let Some(error) = refusal(&state.end) {
            return Poll::Ready(Err(error));
        }
        match &mut state.inlet {
            Some(inlet) => Pin::new(inlet).poll_write_vectored(cx, bufs),
            None => Poll::Ready(Err(ended())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Written is delivered. Only a loss is worth telling: flushing after a shutdown is no fault.
        match self.pipe.lock().end {
            End::Open | End::Finished => Poll::Ready(Ok(())),
            ref end => Poll::Ready(Err(refusal(end).unwrap_or_else(ended))),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.announce()?;
        self.pipe.end(End::Finished);
        match self.pipe.lock().end {
            End::Finished => Poll::Ready(Ok(())),
            ref end => Poll::Ready(Err(refusal(end).unwrap_or_else(ended))),
        }
    }
}

impl SendBackend for PipeWriter {
    fn abort(&mut self, code: u32) {
        self.pipe.end(End::Aborted(code));
    }
}

/// Why a pipe in this state takes no byte, if so.
fn refusal(end: &End) -> Option<io::Error> {
    match *end {
        End::Open => None,
        End::Finished | End::Aborted(_) => Some(ended()),
        End::Stopped(code) => Some(StreamError::Stopped { code: Some(code) }.into()),
        End::Lost(reason) => Some(lost(reason)),
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the stream was ended by this side")
}

fn lost(reason: &str) -> io::Error {
    StreamError::ConnectionLost { reason: reason.to_owned() }.into()
}
