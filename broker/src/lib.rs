//! The broker of Sealstream, as a library: the durable log, and the server in front of it.

pub mod access;
pub mod cli;
pub mod config;
pub mod devca;
mod dial;
mod groups;
pub mod log;
pub mod meter;
pub mod monitor;
pub mod quotas;
mod report;
pub mod server;
pub mod tls;
mod topics;
pub mod traces;
