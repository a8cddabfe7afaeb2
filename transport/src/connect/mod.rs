//! From an endpoint to a connection: names to addresses, one address of several, one backend of two.

mod auto;
mod connector;
mod race;

pub use auto::{Auto, QUIC_HEAD_START, REMEMBERED_FOR, REMEMBERED_HOSTS};
pub use connector::Connector;
pub(crate) use race::reach;
pub use race::{ATTEMPT_STAGGER, MAX_ADDRESSES};
