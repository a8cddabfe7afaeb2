//! The broker's server, in process: sessions spoken frame by frame over the in-memory network.

mod admission;
mod harness;
mod shutdown;
mod topics;
