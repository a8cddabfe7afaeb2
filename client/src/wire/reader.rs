//! Frames out of a stream.

use bytes::BytesMut;
use sealstream_protocol::frame::{FrameDecoder, Front};
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
///         Advance::Full { whole } => panic!("a frame of {whole} bytes needs more room"),
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
    /// Whether the buffer was made for one frame of more than [`MAX_READ`].
    outgrown: bool,
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
            outgrown: false,
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

    /// One step towards the next frame, by at most one read: for whoever bounds what a frame may take while it arrives.
    ///
    /// The buffer holds at most `room` bytes, which must be [`MAX_READ`] at least; only a frame that is larger than that
    /// is given more, as much as it has room, and nothing is read beyond its end. Whoever is told [`Advance::Full`] comes again
    /// with more room, or not at all.
    ///
    /// Cancellation safe, as [`next`](Self::next) is.
    pub async fn advance(&mut self, room: usize) -> Result<Advance, WireError> {
        let whole = match self.decoder.take(&mut self.buffer)? {
            Front::Message(message) => {
                self.leave_large_buffer();
                return Ok(Advance::Message(message));
            }
            Front::Part { whole } => whole,
        };
        if !self.make_room(room, whole) {
            return Ok(Advance::Full { whole: whole.unwrap_or_default() });
        }
        match self.read().await? {
            0 if self.buffer.is_empty() => Ok(Advance::Ended),
            0 => Err(WireError::EndedInFrame),
            _ => Ok(Advance::Bytes),
        }
    }

    /// Room for the next read, within `room`; `false` if there is none, since the frame that `whole` is the size of fills it.
    fn make_room(&mut self, room: usize, whole: Option<usize>) -> bool {
        let held = self.buffer.len();
        if held == 0 {
            self.renew();
            return true;
        }
        let spare = self.buffer.capacity() - held;
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
            // To the byte: `reserve` would double it.
            let mut grown = BytesMut::with_capacity(most);
            grown.extend_from_slice(&self.buffer);
            self.buffer = grown;
        }
        self.outgrown = most > MAX_READ;
        true
    }

    /// Behind a large frame, whose memory is its own: nothing was read beyond its end.
    fn leave_large_buffer(&mut self) {
        if std::mem::take(&mut self.outgrown) {
            self.buffer = BytesMut::from(&*self.buffer);
        }
    }

    /// Throws away what has arrived and was not decoded, and its memory. Of use is only [`discard`](Self::discard) then.
    pub fn forget(&mut self) {
        self.buffer = BytesMut::new();
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
            self.renew();
        } else if self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(self.chunk);
        }
        self.read().await
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

    async fn read(&mut self) -> Result<usize, WireError> {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use sealstream_protocol::message::hello::Ping;
    use sealstream_protocol::message::produce::Produce;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const FRAME: u32 = 16 << 20;

    fn produce(request: u64, bytes: usize) -> Message {
        let batch = Bytes::from(vec![b'x'; bytes]);
        Message::Produce(Produce { request, handle: 1, partition: 0, batch })
    }

    fn wire(messages: &[Message]) -> BytesMut {
        let mut wire = BytesMut::new();
        for message in messages {
            message.encode(&mut wire);
        }
        wire
    }

    /// What the reader comes to when nothing more is sent: how much room its frame has at most.
    async fn read_on(reader: &mut FrameReader<DuplexStream>, mut room: usize) -> (Vec<Message>, usize) {
        let mut messages = Vec::new();
        while let Ok(advance) = timeout(Duration::from_millis(20), reader.advance(room)).await {
            match advance.unwrap() {
                Advance::Message(message) => {
                    messages.push(message);
                    room = MAX_READ;
                }
                Advance::Bytes => {}
                Advance::Full { whole } => {
                    assert_eq!(reader.buffer.len(), room);
                    room = (2 * room).min(whole);
                }
                Advance::Ended => break,
            }
            assert!(reader.buffer.capacity() <= room, "{} of {room}", reader.buffer.capacity());
        }
        (messages, room)
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_only_claims_to_be_large_costs_a_read_buffer_whatever_came_before_it() {
        let (mut peer, stream) = duplex(64 << 20);
        let mut reader = FrameReader::new(stream, FRAME);
        for proven in [None, Some(produce(1, 15 << 20))] {
            peer.write_all(&wire(proven.as_slice())).await.unwrap();
            let (messages, _) = read_on(&mut reader, MAX_READ).await;
            assert!(messages == proven.as_slice());
            let claim = wire(&[produce(2, 15 << 20)]);
            peer.write_all(&claim[..100]).await.unwrap();
            assert_eq!(read_on(&mut reader, MAX_READ).await, (vec![], MAX_READ));
            assert!(reader.buffer.len() == 100 && reader.buffer.capacity() <= MAX_READ);
            peer.write_all(&claim[100..]).await.unwrap();
            assert!(read_on(&mut reader, MAX_READ).await.0 == [produce(2, 15 << 20)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_all_sizes_come_as_they_were_sent_and_never_take_more_than_their_room() {
        let (mut peer, stream) = duplex(64 << 20);
        let mut reader = FrameReader::new(stream, FRAME);
        let sizes =
            [0, 10, 4000, 64 << 10, 70_000, 3, 1 << 20, 200, 60_000, 60_000, 60_000, 300_000, 5 << 20];
        let mut sent: Vec<_> = (0..).zip(sizes).map(|(request, bytes)| produce(request, bytes)).collect();
        sent.extend((0..500).map(|nonce| Message::Ping(Ping { nonce })));
        sent.extend((0..200).map(|request| produce(request, 3000)));
        let bytes = wire(&sent);
        let mut received = Vec::new();
        // In one piece, then in pieces that end anywhere.
        for piece in [bytes.len(), 70_001, 9_973] {
            for part in bytes.chunks(piece) {
                peer.write_all(part).await.unwrap();
                if part.len() < piece || piece > 1 << 20 {
                    received.extend(read_on(&mut reader, MAX_READ).await.0);
                }
            }
            assert!(received == sent, "{piece}");
            received.clear();
        }
        drop(peer);
        assert!(matches!(reader.advance(MAX_READ).await, Ok(Advance::Ended)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_frame_is_read_no_further_and_what_it_took_can_be_forgotten() {
        let (mut peer, stream) = duplex(4 << 20);
        let mut reader = FrameReader::new(stream, FRAME);
        let frame = wire(&[produce(1, 1 << 20)]);
        peer.write_all(&frame).await.unwrap();
        while !matches!(reader.advance(100 << 10).await.unwrap(), Advance::Full { .. }) {}
        assert_eq!(reader.received(), 100 << 10);
        assert!(
            matches!(reader.advance(100 << 10).await, Ok(Advance::Full { whole }) if whole == frame.len())
        );
        assert_eq!(reader.received(), 100 << 10);
        reader.forget();
        assert_eq!(reader.buffer.capacity(), 0);
        drop(peer);
        reader.discard(4 << 20).await;
        assert!(reader.buffer.capacity() <= MAX_READ);
    }
}
