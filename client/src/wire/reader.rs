//! Frames out of a stream.

use bytes::BytesMut;
use sealstream_protocol::frame::FrameDecoder;
use sealstream_protocol::message::Message;
use sealstream_transport::RecvHalf;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::WireError;

/// What an idle session reads into: a ping is 13 bytes, so that a few of anything but data fit, and ten thousand idle
/// sessions hold 20 MiB.
pub const MIN_READ: usize = 2 * 1024;

/// What a busy session reads into between two frames: four TLS records of 16 KiB. The decoder makes room for the rest
/// of a large frame, and what lies here is copied there.
pub const MAX_READ: usize = 64 * 1024;

/// One TLS record: a read that brings half of it or more says that there is more to come.
const RECORD: usize = 16 * 1024;

/// Reads frames from a stream.
///
/// The buffer grows with what arrives, never with what a length field claims, and shrinks when the session falls
/// quiet. Payloads are slices of it: they are not copied, and keep the part of the buffer alive that they were read
/// into.
///
/// ```
/// use sealstream_client::wire::FrameReader;
/// use sealstream_protocol::message::Message;
/// use sealstream_protocol::message::hello::Ping;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sealstream_client::wire::WireError> {
/// let mut frame = bytes::BytesMut::new();
/// Message::Ping(Ping { nonce: 7 }).encode(&mut frame);
/// let mut reader = FrameReader::new(&frame[..], 1 << 20);
/// assert_eq!(reader.next().await?, Some(Message::Ping(Ping { nonce: 7 })));
/// assert_eq!(reader.next().await?, None, "a clean end");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FrameReader<R = RecvHalf> {
    recv: R,
    decoder: FrameDecoder,
    buffer: BytesMut,
    chunk: usize,
    received: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames of at most `max_frame` bytes after the length field.
    pub fn new(recv: R, max_frame: u32) -> Self {
        Self {
            recv,
            decoder: FrameDecoder::new(max_frame),
            buffer: BytesMut::new(),
            chunk: MIN_READ,
            received: 0,
        }
    }

    /// The next frame; `None` once the peer has ended the stream cleanly between two frames.
    ///
    /// Cancellation safe: bytes read stay in the buffer. After an error the stream is of no more use than for
    /// [`discard`](Self::discard).
    pub async fn next(&mut self) -> Result<Option<Message>, WireError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(WireError::EndedInFrame) };
            }
        }
    }

    /// The next frame if it has arrived whole already: what follows a [`next`](Self::next) in the same read costs no
    /// further poll.
    pub fn buffered(&mut self) -> Result<Option<Message>, WireError> {
        Ok(self.decoder.decode(&mut self.buffer)?)
    }

    /// Changes the largest frame taken: a broker needs little before the Hello, and more after it.
    pub fn set_max_frame(&mut self, max_frame: u32) {
        self.decoder.set_max_frame(max_frame);
    }

    /// Bytes read so far, partial frames included: a peer that is half-way through a large frame is alive.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Throws away what arrives until the stream ends, breaks, or `limit` bytes are gone. Bound it in time too.
    pub async fn discard(&mut self, limit: usize) {
        let mut gone = 0;
        while gone < limit {
            self.buffer.clear();
            match self.fill().await {
                Ok(0) | Err(_) => return,
                Ok(read) => gone += read,
            }
        }
    }

    /// Takes the stream back. What was read and not decoded is lost.
    pub fn into_inner(self) -> R {
        self.recv
    }

    async fn fill(&mut self) -> Result<usize, WireError> {
        // In the middle of a frame the decoder has made room for the rest of it.
        if self.buffer.is_empty() {
            if self.buffer.capacity() > 2 * self.chunk.max(RECORD) {
                self.buffer = BytesMut::new();
            }
            if self.buffer.capacity() < (self.chunk / 4).min(RECORD) {
                self.buffer.reserve(self.chunk);
            }
        } else if self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(self.chunk);
        }
        let read = self.recv.read_buf(&mut self.buffer).await?;
        self.received += read as u64;
        if read >= self.chunk.min(RECORD) / 2 {
            self.chunk = (self.chunk * 2).min(MAX_READ);
        } else if read < self.chunk / 8 && read < RECORD / 8 {
            self.chunk = (self.chunk / 4).max(MIN_READ);
        }
        Ok(read)
    }
}
