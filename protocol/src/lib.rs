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

pub mod batch;
pub mod entry;
pub mod frame;
pub mod limits;
pub mod message;
pub mod name;
pub mod partition;
mod wire;

pub use limits::{ALPN, DEFAULT_PORT, Limits};
