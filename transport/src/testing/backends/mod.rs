//! This crate's backends, set up for the suites.

mod memory;
mod tcp;
mod world;

pub use memory::MemoryFixture;
pub use tcp::TcpFixture;
pub use world::{ALPN, World};
