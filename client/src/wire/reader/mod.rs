//! Frames out of a stream.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{BufMut as _, BytesMut};
use sealstream_protocol::Buffers;
use sealstream_protocol::frame::{FrameDecoder, Front};
use sealstream_protocol::message::Message;
use sealstream_transport::RecvHalf;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use super::WireError;

/// What a quiet session reads into: a ping is 13 bytes, so that a few of anything but data fit. While it waits, it holds nothing.
pub const MIN_READ: usize = 2 * 1024;

/// What a busy session reads into between two frames: four TLS records of 16 KiB. A larger frame gets a buffer of its own,
/// and what lies here is copied there.
pub const MAX_READ: usize = 64 * 1024;

/// 64 KiB: the least that a large frame's room grows by.
const STEP: usize = 64 * 1024;

/// 512 KiB: below it a frame's room grows fourfold, so that one of 1 MiB is moved twice and 384 KiB of it are copied; above it
/// twofold, so that of a large frame more than two fifths of what it holds have arrived.
const QUICK: usize = 512 * 1024;

/// 2 MiB: the largest frame that a peer is trusted with as soon as it has begun, once it has brought one like it.
const TRUSTED: usize = 2 * 1024 * 1024;

/// One TLS record: a read that brings half of it or more says that there is more to come.
const RECORD: usize = 16 * 1024;

/// 4 KiB: with less room than that, each read would fetch only the rest of a small frame.
const READ_AHEAD: usize = 4 * 1024;

/// What one step of reading came to.
///
/// ```
/// use sealstream_client::wire::{Advance, FrameReader};
/// use sealstream_protocol::message::Message;
/// use sealstream_protocol::message::hello::Ping;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sealstream_client::wire::WireError> {
/// let mut frame = bytes::BytesMut::new();
/// Message::Ping(Ping { nonce: 7 }).encode(&mut frame);
/// let mut reader = FrameReader::new(&frame[..], 1 << 20);
/// let message = loop {
///     match reader.advance(64 << 10).await? {
///         Advance::Message(message) => break Some(message),
///         Advance::Bytes => {}
///         Advance::Full { whole, .. } => panic!("a frame of {whole} bytes needs more room"),
///         Advance::Ended => break None,
///     }
/// };
/// assert_eq!(message, Some(Message::Ping(Ping { nonce: 7 })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum Advance {
    /// A frame.
    Message(Message),
    /// Bytes, and perhaps a frame among them: go on.
    Bytes,
    /// The frame is larger than its room, which is full.
    Full {
        /// What it claims to be, in bytes.
        whole: usize,
        /// The room that it should have next: in proportion to what has arrived, and at most `whole`. All of it at once, up to 2 MiB, if it is
        /// no larger by more than a quarter than what this peer has brought before: so no frame of a usual producer is copied while it
        /// arrives, but for its first.
        wanted: usize,
    },
    /// The peer has ended the stream cleanly, between two frames.
    Ended,
}

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
    /// Where the buffers of large frames come from.
    buffers: Buffers,
    /// The room of the frame that [`next`](Self::next) reads.
    room: usize,
    /// The largest frame of more than [`MAX_READ`] that has come.
    proven: usize,
    /// How much of the buffer may be filled, if it was made for one frame of more than [`MAX_READ`].
    outgrown: Option<usize>,
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
            buffers: Buffers::new(0),
            room: MAX_READ,
            proven: 0,
            outgrown: None,
        }
    }

    /// From now on the buffers of large frames are taken from there, and lent with the payloads.
    pub fn set_buffers(&mut self, buffers: Buffers) {
        self.buffers = buffers;
    }

    /// The next frame; `None` once the peer has ended the stream cleanly between two frames.
    ///
    /// Cancellation safe: bytes read stay in the buffer. After an error the stream is of no more use than for
    /// [`discard`](Self::discard).
    pub async fn next(&mut self) -> Result<Option<Message>, WireError> {
        loop {
            match self.advance(self.room).await? {
                Advance::Message(message) => {
                    self.room = MAX_READ;
                    return Ok(Some(message));
                }
                Advance::Bytes => {}
                Advance::Full { wanted, .. } => self.room = wanted,
                Advance::Ended => return Ok(None),
            }
        }
    }

    /// The next frame if it has arrived whole already: what follows a [`next`](Self::next) in the same read costs no
    /// further poll.
    pub fn buffered(&mut self) -> Result<Option<Message>, WireError> {
        match self.front()? {
            Front::Message(message) => {
                self.room = MAX_READ;
                Ok(Some(message))
            }
            Front::Part { .. } => Ok(None),
        }
    }

    /// One step towards the next frame, by at most one read: for whoever bounds what a frame may take while it arrives.
    ///
    /// The buffer holds at most `room` bytes, which must be [`MAX_READ`] at least; only a frame that is larger than that
    /// is given more, as much as it has room (its buffer may be an eighth larger, see [`Buffers::take`]), and nothing is read beyond
    /// its end. Whoever is told [`Advance::Full`] comes again with more room, or not at all.
    ///
    /// Cancellation safe, as [`next`](Self::next) is.
    pub async fn advance(&mut self, room: usize) -> Result<Advance, WireError> {
        let whole = match self.front()? {
            Front::Message(message) => return Ok(Advance::Message(message)),
            Front::Part { whole } => whole,
        };
        if !self.make_room(room, whole) {
            let whole = whole.unwrap_or_default();
            return Ok(Advance::Full { whole, wanted: room_after(room, whole, self.proven) });
        }
        let read = if self.buffer.is_empty() && self.chunk == MIN_READ {
            self.read_quietly().await?
        } else {
            self.read().await?
        };
        match read {
            0 if self.buffer.is_empty() => Ok(Advance::Ended),
            0 => Err(WireError::EndedInFrame),
            _ => Ok(Advance::Bytes),
        }
    }

    /// What the buffer begins with; a frame that is all there is taken off.
    fn front(&mut self) -> Result<Front, WireError> {
        let Some(held) = self.outgrown.map(|_| self.buffer.len()) else {
            return Ok(self.decoder.take(&mut self.buffer)?);
        };
        let front = self.decoder.take_whole(&mut self.buffer, &|frame| self.buffers.lend(frame))?;
        if let Front::Message(_) = front {
            self.proven = self.proven.max(held);
            self.outgrown = None;
            // That of the large frame is its own: nothing was read beyond its end.
            self.buffer = BytesMut::new();
        }
        Ok(front)
    }

    /// Room for the next read, within `room`; `false` if there is none, since the frame that `whole` is the size of fills it.
    fn make_room(&mut self, room: usize, whole: Option<usize>) -> bool {
        let held = self.buffer.len();
        if held == 0 {
            if self.chunk > MIN_READ {
                self.renew();
            }
            return true;
        }
        let spare = self.outgrown.unwrap_or(self.buffer.capacity()) - held;
        let missing = whole.map_or(READ_AHEAD, |whole| whole - held);
        if spare >= missing.min(READ_AHEAD) {
            return true;
        }
        let large = whole.is_some_and(|whole| whole > MAX_READ);
        let most = if large { whole.unwrap_or_default() } else { whole.unwrap_or_default().max(self.chunk) };
        let most = most.min(room);
        if most <= held + spare {
            return spare > 0;
        }
        if large || !self.buffer.try_reclaim(most - held) {
            // `reserve` would double it.
            let mut grown = self.buffers.take(most);
            grown.extend_from_slice(&self.buffer);
            self.buffer = grown;
        }
        self.outgrown = (most > MAX_READ).then_some(most);
        true
    }

    /// Throws away what has arrived and was not decoded, and its memory. Of use is only [`discard`](Self::discard) then.
    pub fn forget(&mut self) {
        self.buffer = BytesMut::new();
        self.outgrown = None;
    }

    /// Nothing has come for a while: the buffer between two frames goes, until something comes.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.forget();
            self.chunk = MIN_READ;
        }
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
        self.forget();
        while gone < limit {
            self.buffer.clear();
            self.renew();
            match self.read().await {
                Ok(0) | Err(_) => return,
                Ok(read) => gone += read,
            }
        }
    }

    /// Takes the stream back. What was read and not decoded is lost.
    pub fn into_inner(self) -> R {
        self.recv
    }

    /// An empty buffer of the right size.
    fn renew(&mut self) {
        if self.buffer.capacity() > 2 * self.chunk.max(RECORD) {
            self.buffer = BytesMut::new();
        }
        if self.buffer.capacity() < (self.chunk / 4).min(RECORD) {
            self.buffer.reserve(self.chunk);
        }
    }

    /// The first read after a silence. Ten thousand sessions may wait here, and none holds a buffer meanwhile.
    async fn read_quietly(&mut self) -> Result<usize, WireError> {
        self.buffer = BytesMut::new();
        let read = poll_fn(|cx| {
            let mut bytes = [MaybeUninit::uninit(); MIN_READ];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.recv).poll_read(cx, &mut bytes))?;
            let bytes = bytes.filled();
            if !bytes.is_empty() {
                self.buffer.reserve(MIN_READ);
                self.buffer.extend_from_slice(bytes);
            }
            Poll::Ready(io::Result::Ok(bytes.len()))
        })
        .await?;
        self.note(read);
        Ok(read)
    }

    async fn read(&mut self) -> Result<usize, WireError> {
        let read = match self.outgrown {
            // Of a larger buffer too no more than that.
            Some(most) => {
                let spare = most - self.buffer.len();
                self.recv.read_buf(&mut (&mut self.buffer).limit(spare)).await?
            }
            None => self.recv.read_buf(&mut self.buffer).await?,
        };
        self.note(read);
        Ok(read)
    }

    /// Lets the next read be larger or smaller, by what this one brought.
    fn note(&mut self, read: usize) {
        self.received += read as u64;
        if read >= self.chunk.min(RECORD) / 2 {
            self.chunk = (self.chunk * 2).min(MAX_READ);
        } else if read < self.chunk / 8 && read < RECORD / 8 {
            self.chunk = (self.chunk / 4).max(MIN_READ);
        }
    }
}

/// The room that a frame of `whole` bytes is to have once `arrived` bytes of it, fewer than `whole`, fill the room it had, if its peer has
/// `proven` itself by one of that many: see [`Advance::Full`].
fn room_after(arrived: usize, whole: usize, proven: usize) -> usize {
    if whole <= proven.saturating_add(proven / 4).min(TRUSTED) {
        return whole;
    }
    let grown = if arrived < QUICK { 4 * arrived } else { 2 * arrived };
    (grown + STEP).min(whole)
}

#[cfg(test)]
mod tests;
