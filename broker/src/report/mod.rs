//! What is told of a broker to programs, as JSON: the same by the command line and by the monitor.

mod status;
mod tls;

pub(crate) use status::{kind, level_json, status};
pub(crate) use tls::{reload, tls};
