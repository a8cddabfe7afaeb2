//! This crate's backends, set up for the suites.

mod memory;
mod quic;
mod sealed_memory;
mod strangers;
mod tcp;
mod world;

pub use memory::MemoryFixture;
pub use quic::QuicFixture;
pub use sealed_memory::SealedMemoryFixture;
pub use tcp::TcpFixture;
pub(super) use world::options;
pub use world::{ALPN, World};
