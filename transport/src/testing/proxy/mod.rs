//! Paths through this process that can be cut: what the death of a peer's machine looks like from the other end.

mod tcp;
mod udp;

pub use tcp::TcpProxy;
pub use udp::UdpProxy;
