//! Where Redis is, and how it is spoken to.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::{Host, Url};

/// Redis' own.
const DEFAULT_PORT: u16 = 6379;

/// A server: `rediss://host:6379/0`, or, on this machine, `redis://127.0.0.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// Whether by TLS.
    pub tls: bool,
    /// The user of its access lists, if not the default one.
    pub user: Option<String>,
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The number of the database.
    pub database: u32,
}

/// The files that a connection needs. All are in PEM, but for the password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisFiles {
    /// The CAs of the server's certificate; the public roots if there is none.
    pub ca: Option<PathBuf>,
    /// The client's certificate chain and key, if the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The password, alone in its file; white space around it does not count.
    pub password: Option<PathBuf>,
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Not the text itself: a password may be in it.
        let bad = |what: &str| format!("the URL of Redis {what}: write rediss://HOST:PORT/DATABASE");
        let url = Url::parse(text).map_err(|error| bad(&format!("is none ({error})")))?;
        let tls = match url.scheme() {
            "rediss" => true,
            "redis" => false,
            other => return Err(bad(&format!("has the scheme {other}"))),
        };
        if url.password().is_some() {
            return Err("the URL of Redis has a password in it, where it would be shown: name a file that holds it, as quotas.redis_password_file".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("has something behind the database"));
        }
        // The host of a scheme that browsers do not know is taken as it stands.
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("has no host"))?;
        let host = Host::parse(host).map_err(|error| bad(&format!("has no host ({error})")))?;
        let loopback = match &host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(addr) => addr.is_loopback(),
            Host::Ipv6(addr) => addr.is_loopback(),
        };
        if !tls && !loopback {
            return Err(format!(
                "redis://{host} would carry quotas over the network unsealed: use rediss://, or a Redis on this machine"
            ));
        }
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| bad("has a database that is no number"))?,
        };
        let host = match host {
            Host::Domain(name) => name,
            Host::Ipv4(addr) => addr.to_string(),
            Host::Ipv6(addr) => addr.to_string(),
        };
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(ToOwned::to_owned);
        Ok(Self { tls, user, host, port: url.port().unwrap_or(DEFAULT_PORT), database })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, user, host, port, database } = self;
        let scheme = if *tls { "rediss" } else { "redis" };
        let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        if host.contains(':') {
            write!(f, "{scheme}://{user}[{host}]:{port}/{database}")
        } else {
            write!(f, "{scheme}://{user}{host}:{port}/{database}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for text in [
            "redis://127.0.0.1:6379/0",
            "redis://[::1]:7000/3",
            "redis://localhost:6379/0",
            "rediss://quotas@redis.example.org:6380/1",
            "rediss://[2001:db8::1]:6379/0",
        ] {
            assert_eq!(text.parse::<RedisUrl>().unwrap().to_string(), text);
        }
        assert_eq!("rediss://r".parse::<RedisUrl>().unwrap().to_string(), "rediss://r:6379/0");
    }

    #[test]
    fn nothing_is_carried_over_a_network_unsealed_and_no_password_is_shown() {
        for text in ["redis://redis.example.org", "redis://192.0.2.1:6379", "redis://[2001:db8::1]"] {
            assert!(text.parse::<RedisUrl>().unwrap_err().contains("rediss://"), "{text}");
        }
        let error = "rediss://:hunter2@redis.example.org".parse::<RedisUrl>().unwrap_err();
        assert!(error.contains("redis_password_file") && !error.contains("hunter2"), "{error}");
        for text in
            ["http://localhost", "redis:", "redis://localhost/x", "localhost:6379", "rediss://r/0?a=b"]
        {
            assert!(text.parse::<RedisUrl>().is_err(), "{text}");
        }
    }
}
