//! The broker's server, in process: sessions spoken frame by frame over the in-memory network.

mod access;
mod admission;
mod arriving;
mod bad_input;
mod consume;
mod files;
mod gated;
mod group_members;
mod groups;
mod harness;
mod leash;
mod pressure;
mod produce;
mod quotas;
mod sealed;
mod shutdown;
mod standing;
mod status;
mod tls;
mod topics;
mod weather;
