//! The wire protocol of Sealstream: frames, messages, record batches and entries. No I/O, no async.
//!
//! ```text
//! session (one stream)   frame, frame, frame …            the first is Hello, and names the kind of session
//! frame                  length, kind, fixed fields, tagged fields, payload
//! payload of Produce     one record batch                 immutable from the producer to the consumer
//! payload of Data        entries: the broker's header, then the untouched batch, again and again
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
