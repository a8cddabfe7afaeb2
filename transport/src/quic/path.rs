//! How large the datagrams of a connection may be, judged by the way to its peer before the first is sent.
//!
//! A connection finds out what its path carries by padded packets (RFC 8899), two to three of them at each end, which cost a
//! fifth of a handshake. The kernel knows the first link of the path, and often that is enough:
//!
//! | first link | the connection begins with | and searches up to |
//! |---|---|---|
//! | this machine's own loopback | [`QuicOptions::max_mtu`]: nothing is left to be found out | |
//! | carries jumbo frames | [`QuicOptions::initial_mtu`] | [`QuicOptions::max_mtu`] |
//! | any other | [`QuicOptions::initial_mtu`] | what an Ethernet frame carries, 1,452 |
//!
//! A path that turns out narrower (a container's port, published on loopback) is noticed by quinn's detection of black holes,
//! which falls back to 1,200.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn::{MtuDiscoveryConfig, TransportConfig};
use socket2::{Domain, Protocol, Socket, Type};

use super::options::QuicOptions;
use super::socket;

/// An Ethernet frame's payload of 1,500 bytes without the headers of IPv6 and UDP.
const ORDINARY_MTU: u16 = 1_500 - HEADERS_V6;

/// The headers of UDP (8 bytes) and of IP (20 or 40).
const HEADERS_V4: u16 = 28;
const HEADERS_V6: u16 = 48;

/// The settings of connections, by the way to their peer. Shared: a copy for each would be half a kilobyte.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    loopback: Arc<TransportConfig>,
    jumbo: Arc<TransportConfig>,
    ordinary: Arc<TransportConfig>,
    max_mtu: u16,
}

impl Paths {
    /// `settings` are all but the sizes of datagrams.
    pub(super) fn new(options: &QuicOptions, settings: impl Fn() -> TransportConfig) -> Self {
        let sized = |from: u16, to: u16| {
            let mut search = MtuDiscoveryConfig::default();
            search.upper_bound(to);
            let mut config = settings();
            config.initial_mtu(from).mtu_discovery_config(Some(search));
            Arc::new(config)
        };
        let QuicOptions { initial_mtu, max_mtu, .. } = *options;
        Self {
            loopback: sized(max_mtu, max_mtu),
            jumbo: sized(initial_mtu, max_mtu),
            ordinary: sized(initial_mtu, max_mtu.min(ORDINARY_MTU.max(initial_mtu))),
            max_mtu,
        }
    }

    /// What fits the way to `peer`. Asks the kernel, which sends nothing for it and takes some microseconds.
    pub(super) fn towards(&self, peer: SocketAddr) -> Arc<TransportConfig> {
        let peer = socket::canonical(peer);
        let first_link = first_link(peer).unwrap_or_else(|error| {
            tracing::debug!(%peer, %error, "the kernel does not tell what the first link carries; taking it for Ethernet");
            ORDINARY_MTU
        });
        let config = if peer.ip().is_loopback() && first_link >= self.max_mtu {
            &self.loopback
        } else if first_link > 1_500 - HEADERS_V4 {
            &self.jumbo
        } else {
            &self.ordinary
        };
        Arc::clone(config)
    }
}

/// The largest UDP payload that the first link towards `peer` carries, or the whole path where the kernel has learnt that.
fn first_link(peer: SocketAddr) -> io::Result<u16> {
    let probe = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
    // Of a connectionless protocol: fixes the route and sends nothing.
    probe.connect(&peer.into())?;
    let (mtu, headers) = match peer.ip() {
        IpAddr::V4(_) => (kernel::ip_mtu(&probe)?, HEADERS_V4),
        IpAddr::V6(_) => (kernel::ipv6_mtu(&probe)?, HEADERS_V6),
    };
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX).saturating_sub(headers))
}

#[cfg(target_os = "linux")]
use rustix::net::sockopt as kernel;

/// Other systems have no portable question for it.
#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::io;

    use socket2::Socket;

    pub(super) fn ip_mtu(_: &Socket) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn ipv6_mtu(_: &Socket) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::options::{MAX_MTU, MIN_MTU};
    use super::*;

    fn paths(options: &QuicOptions) -> Paths {
        Paths::new(options, TransportConfig::default)
    }

    fn to(ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), 7420)
    }

    #[test]
    fn loopback_carries_the_largest_datagram_and_needs_no_search() {
        let paths = paths(&QuicOptions::default());
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        for peer in [to(Ipv4Addr::LOCALHOST), to(Ipv4Addr::new(127, 9, 8, 7)), to(mapped)] {
            assert!(first_link(socket::canonical(peer)).unwrap() > MAX_MTU, "{peer}");
            assert!(Arc::ptr_eq(&paths.towards(peer), &paths.loopback), "{peer}");
        }
        let known = format!("{:?}", paths.loopback);
        assert!(known.contains(&format!("initial_mtu: {MAX_MTU}")), "{known}");
    }

    #[test]
    fn an_unknown_way_is_taken_for_ethernet() {
        let paths = paths(&QuicOptions::default());
        // A socket that may not broadcast cannot ask for the way there.
        let unreachable = to(Ipv4Addr::BROADCAST);
        assert!(first_link(unreachable).is_err());
        assert!(Arc::ptr_eq(&paths.towards(unreachable), &paths.ordinary));
    }

    #[test]
    fn an_operator_who_knows_the_network_is_believed() {
        let jumbo = QuicOptions { initial_mtu: 5_000, ..QuicOptions::default() };
        let ordinary = format!("{:?}", paths(&jumbo).ordinary);
        assert!(
            ordinary.contains("initial_mtu: 5000") && ordinary.contains("upper_bound: 5000"),
            "{ordinary}"
        );
        let narrow = QuicOptions { max_mtu: MIN_MTU, ..QuicOptions::default() };
        let ordinary = format!("{:?}", paths(&narrow).ordinary);
        assert!(ordinary.contains("upper_bound: 1200"), "{ordinary}");
    }
}
