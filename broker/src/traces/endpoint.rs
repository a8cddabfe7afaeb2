//! Where a collector is, and by what files it is reached.

use std::fmt;
#[cfg(feature = "otlp")]
use std::path::PathBuf;
use std::str::FromStr;

use url::{Host, Url};

#[cfg(feature = "otlp")]
/// What OTLP over HTTP has behind the base of its URL.
const PATH: &str = "v1/traces";

/// The base of a collector's URL: `https://collector.example.org:4318`, or, on this machine, `http://localhost:4318`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl(Url);

/// The files that a connection needs, in PEM.
#[cfg(feature = "otlp")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CollectorFiles {
    /// The CAs of the collector's certificate; the public roots if there is none.
    pub(crate) ca: Option<PathBuf>,
    /// A client certificate's chain and key, if the collector asks for one.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl CollectorUrl {
    /// Where traces go.
    #[cfg(feature = "otlp")]
    pub(crate) fn traces(&self) -> Self {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{PATH}"));
        Self(url)
    }

    /// Whether by TLS.
    pub(crate) fn is_sealed(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Name or address, an IPv6 one without brackets, and port.
    #[cfg(feature = "otlp")]
    pub(crate) fn host(&self) -> (String, u16) {
        let host = match self.0.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(addr)) => addr.to_string(),
            Some(Host::Ipv6(addr)) => addr.to_string(),
            None => String::new(),
        };
        (host, self.0.port_or_known_default().unwrap_or_default())
    }
}

impl FromStr for CollectorUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Not the text itself: a password may be in it.
        let bad = |what: &str| format!("the URL of the collector {what}: write https://HOST:4318");
        let url = Url::parse(text).map_err(|error| bad(&format!("is none ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad(&format!("has the scheme {}", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL of the collector has a user or password in it, where it would be shown: give it as a header, by \
                        OTEL_EXPORTER_OTLP_HEADERS=authorization=…"
                .into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("has something behind its path"));
        }
        let host = url.host().ok_or_else(|| bad("has no host"))?;
        let loopback = match &host {
            Host::Domain(name) => *name == "localhost",
            Host::Ipv4(addr) => addr.is_loopback(),
            Host::Ipv6(addr) => addr.is_loopback(),
        };
        if url.scheme() == "http" && !loopback {
            return Err(format!(
                "http://{host} would carry traces over the network unsealed: use https://, or a collector on this machine that passes \
                 them on"
            ));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<CollectorUrl, String> {
        text.parse()
    }

    #[test]
    #[cfg(feature = "otlp")]
    fn traces_go_below_the_base_whatever_that_is() {
        for (base, traces, host) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces", ("localhost", 4318)),
            ("https://c.example.org", "https://c.example.org/v1/traces", ("c.example.org", 443)),
            ("https://c.example.org/otlp/", "https://c.example.org/otlp/v1/traces", ("c.example.org", 443)),
            ("http://[::1]:1", "http://[::1]:1/v1/traces", ("::1", 1)),
        ] {
            let url = parsed(base).unwrap();
            assert_eq!(url.traces().to_string(), traces);
            assert_eq!(url.host(), (host.0.to_owned(), host.1));
        }
    }

    #[test]
    fn nothing_is_carried_over_a_network_unsealed_and_no_password_is_shown() {
        for text in ["http://collector.example.org:4318", "http://192.0.2.1:4318", "http://[2001:db8::1]"] {
            assert!(parsed(text).unwrap_err().contains("https://"), "{text}");
        }
        let error = parsed("https://ada:hunter2@collector.example.org").unwrap_err();
        assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS") && !error.contains("hunter2"), "{error}");
        for text in ["grpc://localhost:4317", "localhost:4318", "", "https://h/?a=b"] {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert!(parsed("https://192.0.2.1:4318").unwrap().is_sealed());
        assert!(!parsed("http://127.0.0.1:4318").unwrap().is_sealed());
    }
}
