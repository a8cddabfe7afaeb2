//! The client of a Sealstream broker: the SDK, and beneath it the frames that broker and client share.
//!
//! Everything starts at a [`Client`], which shares its connections with all that is made of it. Nothing is lost in
//! silence and nothing is stored twice: what a broken connection left unanswered is sent again under the same number,
//! what was read is resumed at the next offset, for as long as a [`RetryPolicy`] allows; what no retry can cure is
//! returned at once.
//!
//! ```text
//!                         Client ── Connections: one Outbound a broker, a stream a session
//!           ┌───────────────┼───────────────┬────────────────┐
//!         Admin          Producer        Consumer ◄──── GroupConsumer    what programs use
//!    requests, in order  batches, acks   entries        membership       one session each, a task that drives it
//!           └───────────────┼───────────────┴────────────────┘
//!                         wire ── FrameReader, FrameWriter, Liveness      shared with the broker
//! ```
//!
//! The whole of a first program, for a broker that `sealstream serve` has started in the same directory:
//!
#![doc = "```no_run"]
#![doc = include_str!("../examples/hello.rs")]
#![doc = "```"]
//!
//! # One way for each job
//!
//! | to | there is |
//! |---|---|
//! | connect | [`Client::builder`], [`Client::from_env`], [`Client::connect`] |
//! | produce one record and wait until it is stored | `producer.send(record).await?.await?`: [`Producer::send`], then its [`Delivery`] |
//! | produce fast | [`Producer::send`] or [`send_batch`](Producer::send_batch), deliveries dropped, [`flush`](Producer::flush) now and then |
//! | know how far that is | [`open_with_reports`](producer::ProducerBuilder::open_with_reports): a report for each batch, a low watermark |
//! | wait for room before there is a record | [`Producer::reserve`] |
//! | consume a topic | [`Client::consumer`], then [`Consumer::next`], or [`next_batch`](Consumer::next_batch) for many at once |
//! | consume it together with others | [`Client::group_consumer`], then [`GroupConsumer::next`] |
//! | say yourself when a group's records are done | [`commit_manually`](group::GroupConsumerBuilder::commit_manually), then [`GroupConsumer::commit`] |
//! | try a record several times, and put it aside if it fails | [`GroupConsumer::process`] with [`DeadLetters`](group::DeadLetters) |
//! | start elsewhere, go elsewhere | [`start`](consumer::ConsumerBuilder::start), [`Consumer::seek`], [`GroupConsumer::seek`] |
//! | make topics, look at groups, reload certificates | [`Client::admin`] |
//! | use streams and sinks | [`Consumer`] and [`GroupConsumer`] are streams, [`Producer::sink`] is a sink |
//! | have values as JSON | `json::encode` and `ConsumerRecord::json`, with the feature `serde` |
//!
//! # What holds everywhere
//!
//! - **Clones are cheap** and share what they are clones of. Everything is `Send` and `Sync`. A runtime of tokio, with time
//!   and I/O enabled, must be around.
//! - **Futures may be dropped** at any await, as `select!` and timeouts do. Where the docs of a function say *cancellation
//!   safe*, nothing happened then, or nothing is lost by it; all others say what may have happened.
//! - **Errors say what to do**: each has `is_retryable`; [`DeliveryError::retry`] says whether sending a record again is safe.
//!   What the SDK can try again by itself it has tried, for as long as the [`RetryPolicy`] has it.
//! - **Options are checked** where something is built or opened: an [`OptionError`] names option, value and bound.
//! - **What waits has a bound**: a producer by its [window](producer::ProducerBuilder::window_bytes), a consumer by its
//!   [buffer](consumer::ConsumerBuilder::buffer_bytes).
//!
//! # What it tells
//!
//! A membership tells its [events](GroupConsumer::events). Everything else is told by `tracing`, under the target
//! `sealstream_client`: warnings where something is lost or waits, and at level DEBUG these spans, which cost a comparison
//! where nobody listens.
//!
//! | span | is about | fields |
//! |---|---|---|
//! | `connect` | one connection being made | `endpoint` |
//! | `session` | one session, from its Hello to its end | `kind`, `broker`, `topic` or `group` |
//! | `produce_batch` | a batch, from its number to its end | `partition`, `records`, `bytes`, `sequence`, `offset` or `error` |
//! | `consume_batch` | a frame of batches being checked | `topic`, `partition`, `bytes`, `offset`, `records` |
//! | `membership` | a group's member, with its sessions and events in it | `group`, `member` |
//! | `admin` | one request, with all its attempts | `request` |
//!
//! More examples, each a program: `client/examples/`.
//!
//! # Features
//!
//! - **`serde`**, off by default: values of records as JSON, by `json::encode` and `ConsumerRecord::json`.
//!
//! # Versions
//!
//! Versions follow Semantic Versioning; before 1.0 the second number counts what breaks a program.
//!
//! - **What grows is `#[non_exhaustive]`**: errors, events, records and what else a program is given. Where a program's own tests need one,
//!   there is a `new`, such as [`ConsumerRecord::new`]. Options are set by builders. An enum without it is a closed list that a program
//!   is meant to act on, such as [`producer::Retry`] or [`FaultClass`].
//! - **What [`Admin`] answers are the protocol's own structs.** A field that is added to one counts as what breaks, though a program that
//!   only reads fields does not notice.
//! - **Types of other crates** are part of the interface: `Bytes` of bytes 1 and `Uuid` of uuid 1; `Stream` of futures-core 0.3 and `Sink` of
//!   futures-sink 0.3; with `serde`, the traits of serde 1 and the error of `serde_json` 1; and this project's own [`transport`] and
//!   [`protocol`], which are of the same version. In [`wire`], which is for brokers and clients of another kind, `AsyncRead` and
//!   `AsyncWrite` of tokio 1. To go over to a version of theirs that breaks is to break.
//! - What a message of an error says is no part of it, nor are the spans and lines of `tracing`. A newer Rust may be needed by any version
//!   that is not a mere correction.
//! - A client speaks with brokers of its own version of the protocol, whatever their versions are.

// The badges that say which feature an item needs: made where the documentation is built for publishing.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod admin;
pub mod backoff;
pub mod bounds;
pub mod client;
mod connection;
pub mod consumer;
mod credentials;
mod dial;
mod environment;
pub mod error;
pub mod event;
pub mod group;
#[cfg(feature = "serde")]
pub mod json;
pub mod options;
pub mod producer;
mod routes;
mod signs;
pub mod token;
pub mod wire;

pub use admin::{Admin, AdminError};
pub use backoff::RetryPolicy;
pub use bounds::OptionError;
pub use client::{Client, ClientError};
pub use consumer::{ConsumeError, Consumer, ConsumerRecord, Position, SeekError};
pub use error::{Fault, FaultClass, FaultCode, SessionError};
pub use event::{ClientEvent, ClientEvents};
pub use group::{GroupConsumer, GroupRecord};
pub use options::{BuildError, ClientBuilder};
pub use producer::{
    Delivery, DeliveryError, NotAcknowledged, OwnedRecord, Producer, Record, RecordMetadata, RecordSink,
    SendError, SendPermit,
};
pub use sealstream_protocol as protocol;
pub use sealstream_protocol::batch::Codec;
pub use sealstream_transport as transport;
pub use sealstream_transport::Expectation;

/// The examples of the README compile; that of the workspace's is the same program.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
