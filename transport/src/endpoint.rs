//! Endpoint URLs: `tls://host:port`, `quic://host:port`, `auto://host:port`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

/// How to reach an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS 1.3 over TCP.
    Tls,
    /// QUIC.
    Quic,
    /// QUIC, or TLS over TCP where UDP is blocked.
    Auto,
}

impl Scheme {
    /// Every scheme, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::Tls, Self::Quic, Self::Auto];

    /// As written in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// How to reach it.
    pub scheme: Scheme,
    /// A DNS name in ASCII, or an IP address without brackets.
    pub host: String,
    /// The port, TCP or UDP.
    pub port: u16,
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is no URL at all.
    #[error("\"{text}\" is not an endpoint: {fault}: write tls://HOST:PORT")]
    Malformed {
        /// The text.
        text: String,
        /// What the parser stumbled on.
        fault: String,
    },
    /// The scheme is not one of ours.
    #[error("\"{text}\" has the scheme \"{scheme}\": the known ones are tls://, quic:// and auto://")]
    UnknownScheme {
        /// The text.
        text: String,
        /// Its scheme.
        scheme: String,
    },
    /// There is no host.
    #[error("\"{text}\" names no host: write tls://HOST:PORT")]
    NoHost {
        /// The text.
        text: String,
    },
    /// The host is neither a name nor an address.
    #[error("\"{text}\" names a host that is neither a DNS name nor an IP address: {fault}")]
    BadHost {
        /// The text.
        text: String,
        /// What is wrong with it.
        fault: String,
    },
    /// It has a part that an endpoint does not have.
    #[error("\"{text}\" has a {part}, which an endpoint does not have: write tls://HOST:PORT")]
    Extra {
        /// The text, without what may be a password.
        text: String,
        /// The part.
        part: &'static str,
    },
    /// Nothing can be reached at port 0.
    #[error("\"{text}\" has port 0, which nothing can be reached at")]
    PortZero {
        /// The text.
        text: String,
    },
}

impl Endpoint {
    /// Parses a URL; `default_port` stands where it names none.
    ///
    /// An internationalised name becomes ASCII (IDNA), percent-encoding is undone, a path, a query, a fragment and
    /// credentials are refused.
    ///
    /// ```
    /// use sealstream_transport::{Endpoint, Scheme};
    ///
    /// let endpoint = Endpoint::parse("quic://[::1]", 7420)?;
    /// assert_eq!((endpoint.scheme, endpoint.host.as_str(), endpoint.port), (Scheme::Quic, "::1", 7420));
    /// assert_eq!(endpoint.to_string(), "quic://[::1]:7420");
    /// # Ok::<(), sealstream_transport::endpoint::EndpointError>(())
    /// ```
    pub fn parse(text: &str, default_port: u16) -> Result<Self, EndpointError> {
        let url = Url::parse(text).map_err(|error| Self::explain(text, error))?;
        let scheme = match Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == url.scheme()) {
            Some(scheme) => scheme,
            // "localhost:7420" parses as a URL of the scheme "localhost".
            None if !text.contains("://") => {
                return Err(Self::explain(text, url::ParseError::RelativeUrlWithoutBase));
            }
            None => {
                let scheme = url.scheme().to_owned();
                return Err(EndpointError::UnknownScheme { text: text.to_owned(), scheme });
            }
        };
        Self::refuse_extras(&url, text)?;
        let host = Self::parse_host(&url, text)?;
        match url.port().unwrap_or(default_port) {
            0 => Err(EndpointError::PortZero { text: text.to_owned() }),
            port => Ok(Self { scheme, host, port }),
        }
    }

    /// The host as an IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// An endpoint at an address.
    pub fn at(scheme: Scheme, address: SocketAddr) -> Self {
        Self { scheme, host: address.ip().to_string(), port: address.port() }
    }

    fn explain(text: &str, error: url::ParseError) -> EndpointError {
        let fault = match error {
            url::ParseError::RelativeUrlWithoutBase => "it has no scheme".to_owned(),
            url::ParseError::EmptyHost => return EndpointError::NoHost { text: text.to_owned() },
            url::ParseError::InvalidPort => "the port is not a number from 1 to 65535".to_owned(),
            url::ParseError::InvalidIpv6Address => {
                "what stands in brackets is not an IPv6 address (zones such as %eth0 are not supported)"
                    .to_owned()
            }
            other => other.to_string(),
        };
        EndpointError::Malformed { text: text.to_owned(), fault }
    }

    fn refuse_extras(url: &Url, text: &str) -> Result<(), EndpointError> {
        let part = if !url.username().is_empty() || url.password().is_some() {
            // Not repeated: a log is no place for a password.
            let text = format!("{}://…@{}", url.scheme(), url.host_str().unwrap_or_default());
            return Err(EndpointError::Extra { text, part: "user name or password" });
        } else if !matches!(url.path(), "" | "/") {
            "path"
        } else if url.query().is_some() {
            "query"
        } else if url.fragment().is_some() {
            "fragment"
        } else {
            return Ok(());
        };
        Err(EndpointError::Extra { text: text.to_owned(), part })
    }

    fn parse_host(url: &Url, text: &str) -> Result<String, EndpointError> {
        let written = url.host_str().filter(|host| !host.is_empty());
        let written = written.ok_or_else(|| EndpointError::NoHost { text: text.to_owned() })?;
        // The parser leaves the host of a scheme that it does not know as it is written.
        match Host::parse(written) {
            Ok(Host::Domain(name)) => Ok(name),
            Ok(Host::Ipv4(address)) => Ok(address.to_string()),
            Ok(Host::Ipv6(address)) => Ok(address.to_string()),
            Err(error) => Err(EndpointError::BadHost { text: text.to_owned(), fault: error.to_string() }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.scheme, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Endpoint::parse(text, 7420).map_or_else(|error| error.to_string(), |endpoint| endpoint.to_string())
    }

    #[test]
    fn what_an_operator_writes_is_understood() {
        for (text, endpoint) in [
            ("tls://localhost", "tls://localhost:7420"),
            ("tls://localhost/", "tls://localhost:7420"),
            ("TLS://Broker.Example.ORG:1", "tls://broker.example.org:1"),
            ("quic://127.0.0.1:65535", "quic://127.0.0.1:65535"),
            ("auto://[2001:DB8::1]:9", "auto://[2001:db8::1]:9"),
            ("auto://[::ffff:1.2.3.4]", "auto://[::ffff:1.2.3.4]:7420"),
            ("tls://b%72oker", "tls://broker:7420"),
            ("tls://bücher.example", "tls://xn--bcher-kva.example:7420"),
            ("tls://b%C3%BCcher.example", "tls://xn--bcher-kva.example:7420"),
        ] {
            assert_eq!(parsed(text), endpoint, "{text}");
        }
    }

    #[test]
    fn what_is_printed_parses_to_the_same() {
        for text in ["tls://localhost:1", "quic://[::1]:2", "auto://10.0.0.1:3"] {
            let endpoint = Endpoint::parse(text, 7420).unwrap();
            assert_eq!(Endpoint::parse(&endpoint.to_string(), 1), Ok(endpoint));
        }
    }

    #[test]
    fn every_refusal_names_the_fault() {
        for (text, fault) in [
            ("", "no scheme"),
            ("localhost", "no scheme"),
            ("localhost:7420", "no scheme"),
            ("127.0.0.1:7420", "no scheme"),
            ("http://localhost", "tls://, quic:// and auto://"),
            ("tcp://localhost:1", "tls://, quic:// and auto://"),
            ("tls://", "names no host"),
            ("tls://:7420", "names no host"),
            ("tls://host:0", "port 0"),
            ("tls://host:70000", "the port is not a number from 1 to 65535"),
            ("tls://host:x", "the port is not a number from 1 to 65535"),
            ("tls://host/topic", "a path"),
            ("tls://host?x=1", "a query"),
            ("tls://host#x", "a fragment"),
            ("tls://[::1", "in brackets"),
            ("tls://[fe80::1%25eth0]", "zones"),
            ("tls://a b", "invalid"),
            ("tls://1.2.3.4.5", "IPv4"),
        ] {
            let told = parsed(text);
            assert!(told.contains(fault), "{text}: {told}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let told = parsed("tls://me:secret@host");
        assert!(told.contains("user name or password") && !told.contains("secret"), "{told}");
    }
}
