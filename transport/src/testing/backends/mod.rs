//! This crate's backends, set up for the suites.

mod memory;
mod quic;
mod strangers;
mod tcp;
mod world;

pub use memory::MemoryFixture;
pub use quic::QuicFixture;
pub use tcp::TcpFixture;
pub(super) use world::options;
pub use world::{ALPN, World};
