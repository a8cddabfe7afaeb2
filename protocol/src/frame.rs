//! Frames: how messages are cut out of a stream of bytes, and put into one.
//!
//! ```text
//! 0  length u32, little-endian: the bytes after these four
//! 4  kind u8
//! 5  fixed fields, tagged section, and in Produce and Data the payload
//! ```

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::MAX_CONTROL_FRAME;
use crate::message::consume::Data;
use crate::message::produce::Produce;
use crate::message::{DecodeError, Kind, Message, Problem};

/// The length field, in bytes.
const LENGTH: usize = 4;

/// How much room is made ahead of what has arrived while a peer's length field is only a claim: 256 KiB. A thousand peers
/// that claim 16 MiB and send nothing cost 256 MiB of address space, of which the pages that nothing is read into are
/// never touched, rather than 16 GiB. A frame above it is moved once or twice while it grows.
const UNPROVEN: usize = 256 << 10;

/// How much room at most is made at once for a peer that has already sent frames as large: 4 MiB, so that a steady flow
/// of large batches is read in place, and one large frame does not make every small one hold as much.
const PROVEN: usize = 4 << 20;

/// Room for several small frames: below it, each read would fetch only the rest of one.
const READ_AHEAD: usize = 4 << 10;

/// What is at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Front {
    /// A frame that is all there, and has been taken off.
    Message(Message),
    /// The beginning of one, or nothing.
    Part {
        /// The bytes of all of it, its length field included, once that is known: so far a claim.
        whole: Option<usize>,
    },
}

/// Cuts frames out of what arrives, within limits.
///
/// ```
/// use bytes::BytesMut;
/// use sealstream_protocol::frame::FrameDecoder;
/// use sealstream_protocol::message::{Message, hello::Ping};
///
/// let mut wire = BytesMut::new();
/// Message::Ping(Ping { nonce: 7 }).encode(&mut wire);
/// let mut decoder = FrameDecoder::new(1024);
/// let mut late = wire.split_off(6);
/// assert_eq!(decoder.decode(&mut wire)?, None, "not all is there");
/// wire.unsplit(late);
/// assert_eq!(decoder.decode(&mut wire)?, Some(Message::Ping(Ping { nonce: 7 })));
/// # Ok::<(), sealstream_protocol::message::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct FrameDecoder {
    max_frame: u32,
    /// The largest frame that has arrived whole.
    proven: usize,
}

impl FrameDecoder {
    /// Takes frames of at most `max_frame` bytes after the length field; without a payload, of at most
    /// [`MAX_CONTROL_FRAME`].
    pub fn new(max_frame: u32) -> Self {
        Self { max_frame, proven: 0 }
    }

    /// Changes the limit: until the Hello is there, [`MAX_HELLO`](crate::limits::MAX_HELLO) is enough.
    pub fn set_max_frame(&mut self, max_frame: u32) {
        self.max_frame = max_frame;
    }

    /// Takes the first message off `buf`, or leaves `buf` as it is, with room to read on, if it is not all there yet.
    ///
    /// A length beyond the limit is an error as soon as it is read. Room is made for at most 256 KiB more than has arrived,
    /// or for as much as the largest frame that this peer has sent before (4 MiB at most); none at all while `buf` is empty,
    /// so that an idle session holds nothing. A payload is a slice of what was read, and keeps that memory alive.
    ///
    /// After an error the session is over: where the next frame begins is not known.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Message>, DecodeError> {
        match self.take(buf)? {
            Front::Message(message) => return Ok(Some(message)),
            Front::Part { whole: Some(whole) } => self.make_room(buf, whole - buf.len()),
            Front::Part { whole: None } if buf.is_empty() => {}
            Front::Part { whole: None } => self.make_room(buf, READ_AHEAD),
        }
        Ok(None)
    }

    /// Like [`decode`](Self::decode), for whoever bounds the room of a frame himself: makes none.
    pub fn take(&mut self, buf: &mut BytesMut) -> Result<Front, DecodeError> {
        self.cut(buf, None)
    }

    /// Like [`take`](Self::take), for a buffer of one frame alone: all of it goes through `share`, and the payload is a slice of what comes of
    /// it. So whoever made the buffer learns when its last slice is dropped. One that holds anything else, or a frame without a payload, is
    /// left to `take`.
    pub fn take_whole(
        &mut self,
        buf: &mut BytesMut,
        share: &dyn Fn(BytesMut) -> Bytes,
    ) -> Result<Front, DecodeError> {
        self.cut(buf, Some(share))
    }

    fn cut(
        &mut self,
        buf: &mut BytesMut,
        share: Option<&dyn Fn(BytesMut) -> Bytes>,
    ) -> Result<Front, DecodeError> {
        let Some(length) = self.length(buf)? else { return Ok(Front::Part { whole: None }) };
        let whole = LENGTH + length;
        if buf.len() < whole {
            return Ok(Front::Part { whole: Some(whole) });
        }
        let (mut message, fields) = Message::read(buf.get(LENGTH..whole).unwrap_or_default())?;
        self.proven = self.proven.max(length);
        if !message.kind().has_payload() {
            buf.advance(whole);
            return Ok(Front::Message(message));
        }
        let head = LENGTH + fields;
        message.set_payload(match share {
            Some(share) if buf.len() == whole => share(std::mem::take(buf)).slice(head..),
            _ => {
                buf.advance(head);
                buf.split_to(whole - head).freeze()
            }
        });
        Ok(Front::Message(message))
    }

    /// Makes room for `missing` bytes, or as many of them as the peer is trusted with, once the room that is there is
    /// nearly used up.
    fn make_room(&self, buf: &mut BytesMut, missing: usize) {
        if buf.capacity() - buf.len() < missing.min(READ_AHEAD) {
            let budget = self.proven.clamp(UNPROVEN, PROVEN);
            buf.reserve(missing.min(budget).max(READ_AHEAD));
        }
    }

    /// The length field, checked against the limit, once it and the kind are there.
    fn length(&self, buf: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some((length, rest)) = buf.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return Err(Problem::Empty.into());
        }
        let too_large = |limit| DecodeError::from(Problem::TooLarge { length, limit });
        if length > self.max_frame {
            return Err(too_large(self.max_frame));
        }
        let Some(&number) = rest.first() else { return Ok(None) };
        let kind = Kind::from_number(number).ok_or(Problem::UnknownKind(number))?;
        if !kind.has_payload() && length > MAX_CONTROL_FRAME {
            return Err(too_large(MAX_CONTROL_FRAME).of_kind(kind));
        }
        Ok(Some(length as usize))
    }
}

/// Appends the frame of a Produce up to its payload: a batch of `payload_len` bytes, which is to follow uncopied.
///
/// # Panics
///
/// If the frame exceeds 4 GiB, which no batch within the protocol's limits makes it.
pub fn produce_head(request: u64, handle: u32, partition: u32, payload_len: usize, out: &mut BytesMut) {
    let message = Produce { request, handle, partition, batch: Bytes::new() };
    Message::Produce(message).encode_head(payload_len, out);
}

/// Appends the frame of a Data up to its payload: entries of `payload_len` bytes together, which are to follow uncopied.
///
/// # Panics
///
/// If the frame exceeds 4 GiB, which no run of entries within the protocol's limits makes it.
pub fn data_head(subscription: u32, payload_len: usize, out: &mut BytesMut) {
    Message::Data(Data { subscription, entries: Bytes::new() }).encode_head(payload_len, out);
}
