//! TLS to Redis, and its password.

use std::fs;
use std::sync::Arc;

use redis::aio::AsyncStream;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::{RedisFiles, RedisUrl};
use crate::dial::client_config;

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
    let identity = files.identity.as_ref().map(|(chain, key)| (&**chain, &**key));
    let config = url.tls.then(|| client_config(files.ca.as_deref(), identity)).transpose()?;
    Ok(Loaded { config: config.map(Arc::new), password: password.transpose()? })
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
