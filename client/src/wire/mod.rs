//! Frames over streams: what a broker and a client both need to hold one session on one stream.
//!
//! ```text
//! RecvHalf ──► FrameReader ──► Message          Message ──► FrameWriter ──► SendHalf
//!                   │                                            │
//!                   └──── Liveness: when to ping, when the other side is gone
//!
//! client   session::open(stream, Hello) ──► Session { welcome, reader, writer }
//! broker   FrameReader::next() ──► Hello,   FrameWriter::feed(Welcome)
//! either   finish(reader, writer, deadline) a clean end
//!          fail(reader, writer, fault)      the last word, and a goodbye that does not destroy it
//! ```
//!
//! Nothing in here spawns a task: whoever owns the session drives it, usually from one `select!` loop.

pub mod farewell;
pub mod liveness;
pub mod reader;
pub mod session;
pub mod writer;

pub use farewell::{fail, finish};
pub use liveness::{Liveness, Pulse};
pub use reader::{Advance, FrameReader};
pub use session::{OpenSessionError, Session};
pub use writer::FrameWriter;

use std::io;

use sealstream_protocol::message::DecodeError;
use sealstream_transport::StreamError;

/// Why no frame could be read or written.
///
/// ```
/// use sealstream_client::wire::{FrameReader, WireError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // A length field, and nothing behind it.
/// let mut reader = FrameReader::new(&[5, 0, 0, 0][..], 1 << 20);
/// let error = reader.next().await.unwrap_err();
/// assert!(matches!(error, WireError::EndedInFrame), "{error}");
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The peer sent a frame that breaks the format. A broker answers with `Fault::from(&error)` and [`fail`].
    #[error("the peer sent a bad frame: {0}")]
    Malformed(#[from] DecodeError),
    /// The peer ended the stream cleanly in the middle of a frame.
    #[error("the peer ended the stream in the middle of a frame")]
    EndedInFrame,
    /// The stream broke: see [`StreamError::of`].
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// The deadline passed with bytes still to be written.
    #[error("the peer did not take what was written within the deadline")]
    TimedOut,
}

impl WireError {
    /// The stream error beneath, if it was one.
    pub fn stream_error(&self) -> Option<&StreamError> {
        match self {
            Self::Stream(error) => StreamError::of(error),
            _ => None,
        }
    }

    /// Whether no retry can cure it: the peer refused our identity.
    pub fn is_permanent(&self) -> bool {
        matches!(self.stream_error(), Some(StreamError::Refused { .. }))
    }
}
