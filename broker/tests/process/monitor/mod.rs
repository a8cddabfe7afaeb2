//! Health, readiness, metrics, status and the page, of the real binary over real sockets.

mod alerts;
mod full_disk;
pub(crate) mod http;
mod metrics;
mod page;
mod readiness;
mod sealed;
