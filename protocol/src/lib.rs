//! The wire protocol of Sealstream: frames, messages, record batches and entries. No I/O, no async.
//!
//! ```text
//! session (one stream)   frame, frame, frame …            the first is Hello, and names the kind of session
//! frame                  length, kind, fixed fields, tagged fields, payload
//! payload of Produce     one record batch                 immutable from the producer to the consumer
//! payload of Data        entries: the broker's header, then the untouched batch, again and again
//! ```
//!
//! Bytes go in and values come out, or an error that names what is wrong; no input makes it panic, nor allocate what only
//! a length claims. `docs/protocol.md` specifies every byte.
//!
//! ```
//! use bytes::BytesMut;
//! use sealstream_protocol::batch::{Batch, BatchBuilder, Codec};
//! use sealstream_protocol::frame::FrameDecoder;
//! use sealstream_protocol::message::{Message, produce::Produce};
//! use sealstream_protocol::{Limits, partition};
//!
//! // A producer collects records of one partition and sends them as a batch.
//! let mut builder = BatchBuilder::new(Codec::Lz4);
//! builder.push(1_735_689_600_000, Some(b"user-7"), b"hello", &[])?;
//! let batch = builder.build(uuid::Uuid::from_u128(7), 0).into_bytes();
//! let partition = partition::for_key(b"user-7", 12);
//! let mut wire = BytesMut::new();
//! Message::Produce(Produce { request: 1, handle: 1, partition, batch }).encode(&mut wire);
//!
//! // The broker cuts the frame out of what arrives, and checks the batch.
//! let limits = Limits::default();
//! let message = FrameDecoder::new(limits.frame).decode(&mut wire)?;
//! let Some(Message::Produce(produce)) = message else { panic!("all of it has arrived") };
//! let batch = Batch::validate(produce.batch, &limits)?;
//! assert_eq!(batch.header().count, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Versions
//!
//! The crate speaks version 1 of the protocol. Its own version follows Semantic Versioning; before 1.0 the second number counts
//! what breaks a program.
//!
//! - **Messages are closed**, and made of all their fields: whoever speaks the protocol has to say something for each, and the compiler
//!   tells where that was forgotten. [`Message`](message::Message), [`Kind`](message::Kind) and the enumerations in messages grow with
//!   a version of the protocol only. A tag that is added to a message is a field that is added to its struct. Both count as what
//!   breaks, though who only reads fields does not notice.
//! - **What grows otherwise is `#[non_exhaustive]`**: errors, [`Limits`], [`Codec`](batch::Codec), and
//!   [`FaultCode`](message::FaultCode), of which new ones come at any time: act by the [class](message::FaultClass), which is closed.
//! - **Types of other crates** are part of the interface: `Bytes` and `BytesMut` of bytes 1, `Uuid` of uuid 1.
//! - What a message of an error says is no part of it. A newer Rust may be needed by any version that is not a mere correction.
//!
//! There are no features.

pub mod batch;
pub mod buffers;
pub mod entry;
pub mod frame;
pub mod limits;
pub mod message;
pub mod name;
pub mod partition;
mod wire;

pub use buffers::Buffers;
pub use limits::{ALPN, DEFAULT_PORT, Limits};

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
