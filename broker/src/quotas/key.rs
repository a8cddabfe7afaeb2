//! Under what name something is counted: what is spent, and whose it is.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use sealstream_transport::admission::AddressKey;

/// What a quota is a quota of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Bytes of batches that producers send.
    Produced,
    /// Bytes of entries that are pushed to consumers.
    Consumed,
    /// Requests.
    Requests,
}

impl Resource {
    /// In words, for texts.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Produced => "produced bytes",
            Self::Consumed => "consumed bytes",
            Self::Requests => "requests",
        }
    }

    /// So many of it, as people read it.
    pub(super) fn amount(self, units: u64) -> String {
        match self {
            Self::Produced | Self::Consumed => bytesize::ByteSize(units).display().iec().to_string(),
            Self::Requests => units.to_string(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Produced => "produced",
            Self::Consumed => "consumed",
            Self::Requests => "requests",
        }
    }
}

/// Who spends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spender {
    /// Whoever has this identity, wherever it connects from.
    Identity(Arc<str>),
    /// Whoever connects from this address; of IPv6 from this /64.
    Address(AddressKey),
}

impl fmt::Display for Spender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(identity) => write!(f, "identity:{identity}"),
            Self::Address(AddressKey::V4(addr)) => write!(f, "address:{addr}"),
            Self::Address(AddressKey::V6(network)) => {
                write!(f, "address:{}/64", Ipv6Addr::from_bits(u128::from(*network) << 64))
            }
        }
    }
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Of what.
    pub resource: Resource,
    /// Whose.
    pub spender: Spender,
}

impl fmt::Display for Key {
    /// As stores outside of the process have it: `requests:identity:dns:writer`, `produced:address:192.0.2.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource.name(), self.spender)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn the_same_spender_has_a_bucket_for_each_resource_and_no_two_share_one() {
        let address = |text: &str| Spender::Address(text.parse::<IpAddr>().unwrap().into());
        let named = |name: &str| Spender::Identity(name.into());
        let spenders = [
            named("a"),
            named("address:192.0.2.1"),
            address("192.0.2.1"),
            address("2001:db8:1:2::9"),
            address("2001:db8:1:3::9"),
        ];
        let mut texts = Vec::new();
        for spender in spenders {
            for resource in [Resource::Produced, Resource::Consumed, Resource::Requests] {
                texts.push(Key { resource, spender: spender.clone() }.to_string());
            }
        }
        assert!(texts.contains(&"produced:address:2001:db8:1:2::/64".to_owned()), "{texts:?}");
        let count = texts.len();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), count);
    }
}
