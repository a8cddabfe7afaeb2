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
//! ```no_run
//! use sealstream_client::admin::NewTopic;
//! use sealstream_client::{Client, Record};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder()
//!     .url("tls://localhost:7420")
//!     .ca_file("sealstream-data/dev-ca/ca.pem")
//!     .connect()
//!     .await?;
//! client.admin().create_topic(NewTopic::new("greetings").if_not_exists()).await?;
//!
//! let producer = client.producer("greetings").open().await?;
//! let stored = producer.send(Record::new("hello")).await?.await?;
//! println!("stored at offset {}", stored.offset);
//! producer.close().await?;
//!
//! let mut consumer = client.consumer("greetings").until_end().open().await?;
//! while let Some(record) = consumer.next().await {
//!     println!("{}", String::from_utf8_lossy(&record?.value));
//! }
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod backoff;
pub mod client;
mod connection;
pub mod consumer;
mod credentials;
mod dial;
pub mod error;
pub mod event;
pub mod group;
pub mod options;
pub mod producer;
mod routes;
mod signs;
pub mod token;
pub mod wire;

pub use admin::{Admin, AdminError};
pub use backoff::RetryPolicy;
pub use client::{Client, ClientError};
pub use consumer::{ConsumeError, Consumer, ConsumerRecord, Position};
pub use error::SessionError;
pub use event::{ClientEvent, ClientEvents};
pub use group::{GroupConsumer, GroupRecord};
pub use options::{BuildError, ClientBuilder};
pub use producer::{Delivery, DeliveryError, Producer, Record, RecordMetadata, SendError};
pub use sealstream_protocol::batch::Codec;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
