//! Who holds the broker's addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use sealstream_protocol::ALPN;
use sealstream_transport::tls;

use crate::cli::doctor::ports::{Occupant, Port, State};
use crate::config::{Config, TransportName};

/// How long whoever holds a port may take to connect, and for each of its answers.
const PATIENCE: Duration = Duration::from_secs(3);

/// Binds each address for a moment; where that fails because it is in use, asks who is there.
pub(in crate::cli::doctor) fn look(config: &Config) -> Vec<Port> {
    let both =
        config.listen.iter().flat_map(|addr| config.transports.iter().map(|transport| (*addr, *transport)));
    both.filter(|(addr, _)| addr.port() != 0)
        .map(|(addr, transport)| Port { addr, transport, state: bind(addr, transport) })
        .collect()
}

fn bind(addr: SocketAddr, transport: TransportName) -> State {
    let bound = match transport {
        TransportName::Tls => TcpListener::bind(addr).map(drop),
        TransportName::Quic => UdpSocket::bind(addr).map(drop),
    };
    let Err(error) = bound else { return State::Free };
    match error.kind() {
        io::ErrorKind::AddrInUse => State::InUse(occupant(addr, transport)),
        io::ErrorKind::PermissionDenied => State::Denied,
        io::ErrorKind::AddrNotAvailable => State::Foreign,
        _ => State::Failed(error.to_string()),
    }
}

fn occupant(addr: SocketAddr, transport: TransportName) -> Occupant {
    match transport {
        TransportName::Quic => Occupant::Unknown,
        TransportName::Tls if speaks_sealstream(nearest(addr)).unwrap_or(false) => Occupant::Sealstream,
        TransportName::Tls => Occupant::SomethingElse,
    }
}

/// Where to dial what listens on `addr`.
pub(super) fn nearest(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Whether a TLS server there agrees to Sealstream's protocol. It says so before it shows its certificate, which nothing is trusted to
/// vouch for: the handshake ends there, and nothing was said to whoever it is.
fn speaks_sealstream(addr: SocketAddr) -> io::Result<bool> {
    let mut socket = TcpStream::connect_timeout(&addr, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = ServerName::from(addr.ip());
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    // Fails, at the certificate at the latest.
    let _ = connection.complete_io(&mut socket);
    Ok(connection.alpn_protocol() == Some(ALPN))
}
