//! What the environment says of the broker: the same variables as the command line's.

use std::path::{Path, PathBuf};

use sealstream_protocol::limits::DEFAULT_PORT;
use sealstream_transport::Endpoint;

use crate::bounds::OptionError;
use crate::client::Client;
use crate::options::{BuildError, ClientBuilder};

/// Where the broker is if nobody says.
const DEFAULT_URL: &str = "tls://localhost:7420";

/// Where `sealstream serve`, started in the same directory, puts its development CA.
const DEVELOPMENT_CA: &str = "sealstream-data/dev-ca/ca.pem";

impl Client {
    /// Starts with what the environment says, as the command line does. An empty variable is none.
    ///
    /// | variable | |
    /// |---|---|
    /// | `SEALSTREAM_URL` | where the broker is; `tls://localhost:7420` by default |
    /// | `SEALSTREAM_CA` | trust the CA certificates in this file; by default, for a broker on this machine, the development CA in `./sealstream-data` if there is one, and else the public roots |
    /// | `SEALSTREAM_CERT`, `SEALSTREAM_KEY` | show this certificate to a broker that asks for one: two files |
    /// | `SEALSTREAM_TOKEN` | authenticate by this token |
    ///
    /// ```
    /// use std::time::Duration;
    /// use sealstream_client::Client;
    ///
    /// // What the environment leaves open can be set here; building connects to nobody yet.
    /// let client = Client::from_env()?.name("thermometer").idle(Duration::from_secs(60)).build()?;
    /// # drop(client);
    /// # Ok::<(), sealstream_client::BuildError>(())
    /// ```
    pub fn from_env() -> Result<ClientBuilder, BuildError> {
        from(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()), Path::new("."))
    }
}

/// The same with variables and a working directory of the caller's.
fn from(variable: impl Fn(&str) -> Option<String>, dir: &Path) -> Result<ClientBuilder, BuildError> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    let url = variable("SEALSTREAM_URL").unwrap_or_else(|| DEFAULT_URL.to_owned());
    let mut builder = Client::builder().url(&url);
    if let Some(ca) = variable("SEALSTREAM_CA").map(PathBuf::from).or_else(|| development_ca(&url, dir)) {
        builder = builder.ca_file(ca);
    }
    builder = match (variable("SEALSTREAM_CERT"), variable("SEALSTREAM_KEY")) {
        (Some(cert), Some(key)) => builder.identity_files(cert, key),
        (None, None) => builder,
        (Some(_), None) => return Err(missing("SEALSTREAM_KEY", "SEALSTREAM_CERT")),
        (None, Some(_)) => return Err(missing("SEALSTREAM_CERT", "SEALSTREAM_KEY")),
    };
    Ok(match variable("SEALSTREAM_TOKEN") {
        Some(token) => builder.token(token),
        None => builder,
    })
}

fn missing(option: &'static str, other: &str) -> BuildError {
    OptionError { option, value: "not set".to_owned(), bound: format!("set, since {other} is") }.into()
}

/// The development CA, for a broker on this machine.
fn development_ca(url: &str, dir: &Path) -> Option<PathBuf> {
    let host = Endpoint::parse(url, DEFAULT_PORT).ok()?.host;
    let loopback = host.parse().map_or(host == "localhost", |ip: std::net::IpAddr| ip.is_loopback());
    Some(dir.join(DEVELOPMENT_CA)).filter(|path| loopback && path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)], dir: &Path) -> Result<Client, String> {
        let value =
            |name: &str| variables.iter().find(|(its, _)| *its == name).map(|(_, value)| (*value).to_owned());
        from(value, dir).and_then(ClientBuilder::build).map_err(|error| error.to_string())
    }

    #[test]
    fn a_certificate_without_its_key_is_told_by_the_variable_that_is_missing() {
        let nowhere = Path::new("/nowhere");
        let error = with(&[("SEALSTREAM_CERT", "me.pem"), ("SEALSTREAM_KEY", "")], nowhere).unwrap_err();
        assert_eq!(error, "the option SEALSTREAM_KEY is not set: it must be set, since SEALSTREAM_CERT is");
        let error = with(&[("SEALSTREAM_KEY", "me.key")], nowhere).unwrap_err();
        assert_eq!(error, "the option SEALSTREAM_CERT is not set: it must be set, since SEALSTREAM_KEY is");
    }

    #[test]
    fn the_development_ca_is_for_this_machine_and_gives_way_to_a_ca_that_is_named() {
        let dir = std::env::temp_dir().join(format!("sealstream-env-{}", uuid::Uuid::new_v4()));
        let ca = dir.join(DEVELOPMENT_CA);
        std::fs::create_dir_all(ca.parent().unwrap()).unwrap();
        std::fs::write(&ca, "no certificate").unwrap();
        let said = |variables: &[(&str, &str)]| with(variables, &dir).unwrap_err();
        assert!(said(&[]).contains(DEVELOPMENT_CA), "it was read: {}", said(&[]));
        assert!(said(&[("SEALSTREAM_URL", "quic://[::1]:7")]).contains(DEVELOPMENT_CA));
        with(&[("SEALSTREAM_URL", "tls://broker.example")], &dir).expect("the public roots");
        let named = said(&[("SEALSTREAM_CA", "/nowhere/ca.pem")]);
        assert!(named.contains("/nowhere/ca.pem") && !named.contains(DEVELOPMENT_CA), "{named}");
        std::fs::remove_dir_all(&dir).unwrap();
        with(&[], &dir).expect("without a development CA, the public roots");
    }
}
