//! The monitor: where health, metrics and the status page are read.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::access::{Pattern, identity_pattern};

/// At most so many addresses: one on loopback and one for others, over IPv4 and IPv6.
const MAX_ADDRESSES: usize = 16;

/// The monitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Monitor {
    /// Where it listens: HTTP on loopback, HTTPS anywhere else.
    pub listen: MonitorListen,
    /// Patterns of the identities that may read metrics and status on an address that is not loopback, besides those with admin on `*`.
    pub viewers: Vec<String>,
}

/// Where the monitor listens: `auto`, `off`, or addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MonitorListen {
    /// On 127.0.0.1, at the next port after that of the broker's first address which it does not listen on itself: 7421. At a free one where
    /// that is free to choose.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// Here. Not empty.
    At(Vec<SocketAddr>),
}

impl MonitorListen {
    /// The addresses, for a broker that listens on `broker`.
    pub fn addresses(&self, broker: &[SocketAddr]) -> Result<Vec<SocketAddr>, String> {
        match self {
            Self::Off => Ok(Vec::new()),
            Self::At(addresses) => Ok(addresses.clone()),
            Self::Auto => {
                let first = broker.first().map_or(sealstream_protocol::DEFAULT_PORT, SocketAddr::port);
                let taken = |port: &u16| broker.iter().any(|addr| addr.port() == *port);
                let port = if first == 0 {
                    Some(0)
                } else {
                    (first..=u16::MAX).find(|port| *port > first && !taken(port))
                };
                let port = port.ok_or_else(|| {
                    format!("there is no port after {first} for the monitor: set monitor.listen to an address, or to \"off\"")
                })?;
                Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))])
            }
        }
    }
}

impl Monitor {
    /// Who may read what is not for everybody.
    pub(crate) fn viewers(&self) -> Result<Vec<Pattern>, String> {
        let parse =
            |text: &String| identity_pattern(text).map_err(|error| format!("monitor.viewers: {error}"));
        self.viewers.iter().map(parse).collect()
    }

    pub(super) fn check(&self, listen: &[SocketAddr]) -> Result<(), String> {
        let addresses = self.listen.addresses(listen)?;
        if addresses.len() > MAX_ADDRESSES {
            return Err(format!(
                "monitor.listen names {} addresses: at most {MAX_ADDRESSES}",
                addresses.len()
            ));
        }
        if let Some(both) = addresses.iter().find(|addr| addr.port() != 0 && listen.contains(addr)) {
            return Err(format!(
                "monitor.listen and listen both name {both}: give the monitor another port, or set monitor.listen to \"off\""
            ));
        }
        self.viewers().map(drop)
    }
}

impl FromStr for MonitorListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "off" | "" => Ok(Self::Off),
            list => list.split(',').map(|addr| address(addr.trim())).collect::<Result<_, _>>().map(Self::At),
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is neither `auto`, `off` nor an address with a port, such as 127.0.0.1:7421")
    })
}

impl fmt::Display for MonitorListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::At(addresses) => {
                let texts: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
                f.write_str(&texts.join(", "))
            }
        }
    }
}

impl Serialize for MonitorListen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MonitorListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrList;

        impl<'de> Visitor<'de> for TextOrList {
            type Value = MonitorListen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto`, `off`, an address, or a list of addresses")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MonitorListen, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<MonitorListen, A::Error> {
                let items = Vec::<String>::deserialize(SeqAccessDeserializer::new(items))?;
                items.join(",").parse().map_err(serde::de::Error::custom)
            }
        }

        deserializer.deserialize_any(TextOrList)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(texts: &[&str]) -> MonitorListen {
        MonitorListen::At(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn it_is_switched_off_or_listens_beside_the_broker_or_where_it_is_told_to() {
        for (text, meant) in [
            ("\"auto\"", MonitorListen::Auto),
            ("\"off\"", MonitorListen::Off),
            ("\"\"", MonitorListen::Off),
            ("[]", MonitorListen::Off),
            ("\"127.0.0.1:1\"", at(&["127.0.0.1:1"])),
            ("[\"127.0.0.1:1\", \"[::]:2\"]", at(&["127.0.0.1:1", "[::]:2"])),
            ("\"127.0.0.1:1, [::]:2\"", at(&["127.0.0.1:1", "[::]:2"])),
        ] {
            let monitor: Monitor = toml::from_str(&format!("listen = {text}")).unwrap();
            assert_eq!(monitor.listen, meant, "{text}");
            let again: MonitorListen = monitor.listen.to_string().parse().unwrap();
            assert_eq!(again, meant, "what is shown can be used");
        }
        let error = toml::from_str::<Monitor>("listen = \"7421\"").unwrap_err().to_string();
        assert!(error.contains("`7421`") && error.contains("127.0.0.1:7421"), "{error}");
    }

    #[test]
    fn beside_the_broker_is_the_next_port_on_loopback_and_a_free_one_where_that_is_free() {
        let beside = |broker: &str| {
            let broker: Vec<_> = broker.split(' ').map(|addr| addr.parse().unwrap()).collect();
            MonitorListen::Auto.addresses(&broker)
        };
        for (broker, monitor) in [
            ("127.0.0.1:7420", "127.0.0.1:7421"),
            ("0.0.0.0:8000", "127.0.0.1:8001"),
            ("0.0.0.0:7420 127.0.0.1:7421", "127.0.0.1:7422"),
            ("[::1]:0", "127.0.0.1:0"),
        ] {
            assert_eq!(beside(broker).unwrap(), [monitor.parse().unwrap()]);
        }
        assert!(beside("127.0.0.1:65535").unwrap_err().contains("monitor.listen"));
    }

    #[test]
    fn an_address_of_the_broker_and_a_pattern_that_is_none_are_named() {
        let listen = ["127.0.0.1:7420".parse().unwrap(), "127.0.0.1:7421".parse().unwrap()];
        let both = Monitor { listen: at(&["127.0.0.1:7421"]), ..Monitor::default() };
        let error = both.check(&listen).unwrap_err();
        assert!(error.contains("127.0.0.1:7421") && error.contains("\"off\""), "{error}");
        let monitor = Monitor { viewers: vec!["a*b".into()], ..Monitor::default() };
        assert!(monitor.check(&[]).unwrap_err().contains("monitor.viewers"));
    }
}
