//! One ordered, flow-controlled, sealed stream, with one meaning on every backend.
//!
//! ```text
//! writer does                              reader gets
//! shutdown                                 every byte, then a clean end (Ok(0))
//! abort(code), or drop without shutdown    StreamError::Aborted, never a clean end
//! the process or the path dies             StreamError::Aborted on TCP, ConnectionLost on QUIC
//! is no longer trusted here                StreamError::Distrusted, on both halves
//! ```

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::peer::Peer;
use crate::tls::Fallen;

/// Both directions of a stream, and who is on the other side.
#[derive(Debug)]
pub struct Stream {
    /// What the peer sends.
    pub recv: RecvHalf,
    /// What the peer receives.
    pub send: SendHalf,
    /// Who the peer is.
    pub peer: Peer,
}

/// Why a stream ended other than cleanly: the source of the [`io::Error`] that reading or writing returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer gave the stream up. TCP carries no code, and cannot tell an abort from a crash.
    #[error("the peer aborted the stream{}", .code.map(|c| format!(" with code {c}")).unwrap_or_default())]
    Aborted {
        /// The code given to [`SendHalf::abort`], where the backend carries it.
        code: Option<u32>,
    },
    /// The peer reads no further.
    #[error("the peer stopped reading{}", .code.map(|c| format!(" with code {c}")).unwrap_or_default())]
    Stopped {
        /// The code that the peer gave, where the backend carries it.
        code: Option<u32>,
    },
    /// The connection beneath is gone: idle for too long, reset, or closed with this code.
    #[error("the connection is lost: {reason}")]
    ConnectionLost {
        /// What the backend knows of the cause.
        reason: String,
    },
    /// Trust in the peer ended here: its certificate was revoked, its issuer or its key is no longer accepted. Connecting again
    /// cannot help before the peer has another certificate.
    #[error("{0}")]
    Distrusted(#[from] Fallen),
    /// The handshake that had seemed complete was refused by the peer: on TLS 1.3 the refusal of a client certificate
    /// arrives at the first read. Trying again cannot help.
    #[error("the peer refused our identity: {reason}")]
    Refused {
        /// The alert that the peer sent.
        reason: String,
    },
}

impl StreamError {
    /// The stream error inside an [`io::Error`] that a half returned, if it is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Aborted { .. } => io::ErrorKind::ConnectionAborted,
            StreamError::Stopped { .. } => io::ErrorKind::BrokenPipe,
            StreamError::ConnectionLost { .. } => io::ErrorKind::ConnectionReset,
            StreamError::Distrusted(_) | StreamError::Refused { .. } => io::ErrorKind::PermissionDenied,
        };
        Self::new(kind, error)
    }
}

/// What a backend gives for the reading side. Dropping it tells the peer to stop, where the backend can.
pub trait RecvBackend: AsyncRead + Send + Sync + Unpin {
    /// Reads no further and tells the writer `code`, where the backend can.
    fn stop(&mut self, code: u32);
}

/// What a backend gives for the writing side.
pub trait SendBackend: AsyncWrite + Send + Sync + Unpin {
    /// Gives the stream up: the reader gets an error, never a clean end. Called at most once, and not after a
    /// completed shutdown.
    fn abort(&mut self, code: u32);
}

/// The reading half of a [`Stream`].
pub struct RecvHalf {
    backend: Box<dyn RecvBackend>,
}

impl RecvHalf {
    /// Wraps a backend's reading side.
    pub fn new(backend: impl RecvBackend + 'static) -> Self {
        Self { backend: Box::new(backend) }
    }

    /// Reads no further. A QUIC writer learns of it, with `code`; on TCP back-pressure holds it until the second half
    /// closes the socket.
    pub fn stop(mut self, code: u32) {
        self.backend.stop(code);
    }
}

impl AsyncRead for RecvHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.backend).poll_read(cx, buf)
    }
}

impl fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvHalf").finish_non_exhaustive()
    }
}

/// The writing half of a [`Stream`]. Dropped before `shutdown` has resolved, it aborts the stream with code 0.
///
/// What was written is on its way only once it was flushed or more was written: flush before waiting for an answer.
pub struct SendHalf {
    backend: Box<dyn SendBackend>,
    ended: bool,
}

impl SendHalf {
    /// Wraps a backend's writing side.
    pub fn new(backend: impl SendBackend + 'static) -> Self {
        Self { backend: Box::new(backend), ended: false }
    }

    /// Gives the stream up: the reader gets [`StreamError::Aborted`], with `code` on QUIC.
    pub fn abort(mut self, code: u32) {
        self.end(code);
    }

    fn end(&mut self, code: u32) {
        if !self.ended {
            self.ended = true;
            self.backend.abort(code);
        }
    }
}

impl AsyncWrite for SendHalf {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.backend).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.backend).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.backend.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.backend).poll_flush(cx)
    }

    /// Ends the stream cleanly. Resolves once the peer has acknowledged the end (QUIC), or once `close_notify` and
    /// FIN are flushed (TCP).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut *self.backend).poll_shutdown(cx);
        if let Poll::Ready(Ok(())) = outcome {
            self.ended = true;
        }
        outcome
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        self.end(0);
    }
}

impl fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendHalf").field("ended", &self.ended).finish_non_exhaustive()
    }
}
