//! The broker of Sealstream, as a library: the durable log, and the server in front of it.

pub mod cli;
pub mod config;
pub mod devca;
mod groups;
pub mod log;
pub mod server;
pub mod tls;
mod topics;
