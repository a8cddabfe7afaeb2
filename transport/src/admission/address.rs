//! Whom an address stands for: what is limited per address is counted under this key.

use std::net::{IpAddr, Ipv4Addr};

/// A host, as far as its address tells.
///
/// An IPv6 host is its /64, for that is what one subscriber is given and draws addresses from at will (RFC 6177, RFC 8981).
/// An IPv4-mapped address is the IPv4 address that it maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressKey {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

impl From<IpAddr> for AddressKey {
    fn from(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(addr) => Self::V4(addr),
            IpAddr::V6(addr) => {
                let [a, b, c, d, ..] = addr.segments();
                Self::V6([a, b, c, d].into_iter().fold(0, |bits, segment| bits << 16 | u64::from(segment)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(addr: &str) -> AddressKey {
        addr.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn addresses_of_one_64_are_one_host_and_those_of_two_are_two() {
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db9:1:2::1"));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_maps() {
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("::ffff:192.0.2.1"), key("::ffff:192.0.2.2"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
