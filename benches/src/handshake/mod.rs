//! Connections under measurement: ours and bare ones, with the same certificates, trust, tickets and cipher suites.

pub mod bare_quic;
pub mod bare_tls;
pub mod ends;
pub mod ours;
pub mod subject;
pub mod world;
