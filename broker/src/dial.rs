//! TLS to servers that are not ours, such as Redis or a collector of traces: 1.3 by the same rustls as everything else, trust from a file
//! or the public roots.

use std::fmt::Display;
use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sealstream_transport::tls::provider;

/// Trusts the CAs in the file `ca`, or the public roots without one, and shows the chain and key of `identity`. Reads the files: blocks.
pub(crate) fn client_config(
    ca: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| at(path, &error))?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some((chain, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, &error))?;
    builder.with_client_auth_cert(certificates(chain)?, secret).map_err(|error| at(key, &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| at(path, &error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| at(path, &error))?;
    if found.is_empty() { Err(at(path, &"no certificate in it")) } else { Ok(found) }
}

fn at(path: &Path, error: &dyn Display) -> String {
    format!("{}: {error}", path.display())
}
