//! TLS to Redis: 1.3 by the same rustls as everything else, trust from a file or the public roots.

use std::fs;
use std::sync::Arc;

use redis::aio::AsyncStream;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sealstream_transport::tls::provider;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::{RedisFiles, RedisUrl};

/// What the files hold. They are read at each connection: whatever is renewed counts from the next one on.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Option<Arc<ClientConfig>>,
    pub(super) password: Option<String>,
}

/// Reads the files. Blocks.
pub(super) fn load(url: &RedisUrl, files: &RedisFiles) -> Result<Loaded, String> {
    let password = files.password.as_ref().map(|path| {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<_, String>(text.trim().to_owned())
    });
    let config = url.tls.then(|| client_config(files)).transpose()?;
    Ok(Loaded { config: config.map(Arc::new), password: password.transpose()? })
}

fn client_config(files: &RedisFiles) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some((chain, key)) = &files.identity else { return Ok(builder.with_no_client_auth()) };
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", key.display());
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| at(&error))?;
    builder.with_client_auth_cert(certificates(chain)?, secret).map_err(|error| at(&error))
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| at(&error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| at(&error))?;
    if found.is_empty() { Err(at(&"no certificate in it")) } else { Ok(found) }
}

/// A byte stream to the server.
pub(super) async fn dial(
    url: &RedisUrl,
    config: Option<Arc<ClientConfig>>,
) -> Result<Box<dyn AsyncStream + Send + Unpin>, String> {
    let stream = TcpStream::connect((&*url.host, url.port)).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some(config) = config else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(url.host.clone()).map_err(|error| error.to_string())?;
    let sealed = TlsConnector::from(config).connect(name, stream).await.map_err(|error| error.to_string())?;
    Ok(Box::new(sealed))
}
