//! One connector reaches every scheme, and `auto://` takes the road that is open.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::testing::run;
use sealstream_transport::tls::{Material, Receiver, Store};
use sealstream_transport::{
    ConnectError, Connector, HandshakeError, Listener, QuicTransport, Server, TcpTransport, Transport,
    TransportKind, TransportOptions,
};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct World {
    serving: Receiver,
    connector: Connector,
    stranger: Connector,
    servers: JoinSet<()>,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new("Test CA");
        let material = Material::new().with_server_identity(authority.issue(&Leaf::localhost()).identity());
        let connector = |authority: &Authority| {
            let trusting = Store::new(&Material::new().with_roots([authority.trust()])).unwrap();
            Connector::new(&trusting.receiver(), &options())
        };
        Self {
            serving: Store::new(&material).unwrap().receiver(),
            connector: connector(&authority),
            stranger: connector(&Authority::new("Other CA")),
            servers: JoinSet::new(),
        }
    }

    async fn listen_tls(&mut self, addr: SocketAddr) -> SocketAddr {
        let listener = TcpTransport::new(self.serving.clone(), options()).listen(addr).await.unwrap();
        self.serve(listener)
    }

    async fn listen_quic(&mut self, addr: SocketAddr) -> SocketAddr {
        let listener = QuicTransport::new(self.serving.clone(), options()).listen(addr).await.unwrap();
        self.serve(listener)
    }

    fn serve(&mut self, listener: Box<dyn Listener>) -> SocketAddr {
        let addr = listener.local_addr();
        self.servers.spawn(async move {
            let mut held = JoinSet::new();
            while let Some(incoming) = listener.accept().await {
                held.spawn(async {
                    if let Ok(inbound) = incoming.handshake().await {
                        while inbound.accept().await.is_some() {}
                    }
                });
            }
        });
        addr
    }

    async fn reaches(&self, scheme: &str, addr: SocketAddr) -> TransportKind {
        let endpoint = self.connector.endpoint(&format!("{scheme}://127.0.0.1:{}", addr.port())).unwrap();
        self.connector.connect(&Server::named(endpoint)).await.unwrap().peer().transport
    }
}

fn options() -> TransportOptions {
    TransportOptions::new("test/1", 7420)
}

#[test]
fn each_scheme_is_carried_by_its_backend() {
    run("schemes", async {
        let mut world = World::new();
        let tls = world.listen_tls(ANYWHERE).await;
        let quic = world.listen_quic(ANYWHERE).await;
        assert_eq!(world.reaches("tls", tls).await, TransportKind::Tls);
        assert_eq!(world.reaches("quic", quic).await, TransportKind::Quic);
        assert_eq!(world.connector.endpoint("tls://somewhere").unwrap().port, 7420);
    });
}

#[test]
fn auto_prefers_quic_and_falls_back_to_tcp_where_udp_is_silent() {
    run("auto", async {
        let mut world = World::new();
        // A UDP port that takes everything and answers nothing, as behind a firewall.
        let silent = UdpSocket::bind(ANYWHERE).await.unwrap();
        let addr = world.listen_tls(silent.local_addr().unwrap()).await;
        assert_eq!(world.reaches("auto", addr).await, TransportKind::Tls);
        // It is remembered: QUIC is there now, and is not asked.
        drop(silent);
        world.listen_quic(addr).await;
        assert_eq!(world.reaches("auto", addr).await, TransportKind::Tls);
        // Another client has no such memory.
        let fresh = World { serving: world.serving.clone(), ..World::new() };
        let endpoint = fresh.stranger.endpoint(&format!("auto://127.0.0.1:{}", addr.port())).unwrap();
        let refused = fresh.stranger.connect(&Server::named(endpoint)).await.unwrap_err();
        let named =
            matches!(refused, ConnectError::Handshake { source: HandshakeError::UntrustedIssuer { .. }, .. });
        assert!(named, "a certificate error is no reason to try the other road: {refused:?}");
    });
}

#[test]
fn auto_takes_quic_though_a_tcp_port_is_open() {
    run("auto quic", async {
        let mut world = World::new();
        // The kernel completes connections to it and nobody ever answers: however slow this machine, QUIC is first.
        let silent = TcpListener::bind(ANYWHERE).await.unwrap();
        let addr = world.listen_quic(silent.local_addr().unwrap()).await;
        assert_eq!(world.reaches("auto", addr).await, TransportKind::Quic);
    });
}

#[test]
fn what_nobody_could_vouch_for_is_not_dialled() {
    run("no trust", async {
        let nobody = Store::new(&Material::new()).unwrap();
        let connector = Connector::new(&nobody.receiver(), &options());
        for scheme in ["tls", "quic", "auto"] {
            let endpoint = connector.endpoint(&format!("{scheme}://localhost:1")).unwrap();
            let refused = connector.connect(&Server::named(endpoint)).await.unwrap_err();
            assert!(matches!(refused, ConnectError::Configuration(_)), "{refused:?}");
            assert!(refused.is_permanent() && refused.to_string().contains("localhost"), "{refused}");
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn connections_come_from_the_address_that_the_options_name() {
    run("local address", async {
        let authority = Authority::new("Test CA");
        let material = Material::new().with_server_identity(authority.issue(&Leaf::localhost()).identity());
        let serving = Store::new(&material).unwrap().receiver();
        let trusting = Store::new(&Material::new().with_roots([authority.trust()])).unwrap().receiver();
        // Every address of 127.0.0.0/8 is this machine's.
        let local = IpAddr::from([127, 1, 2, 3]);
        let from = |local| {
            let mut options = options();
            options.local_address = Some(local);
            options
        };
        let listeners = [
            ("tls", TcpTransport::new(serving.clone(), options()).listen(ANYWHERE).await.unwrap()),
            ("quic", QuicTransport::new(serving, options()).listen(ANYWHERE).await.unwrap()),
        ];
        for (scheme, listener) in listeners {
            let connector = Connector::new(&trusting, &from(local));
            let url = format!("{scheme}://127.0.0.1:{}", listener.local_addr().port());
            let server = Server::named(connector.endpoint(&url).unwrap());
            let (outbound, remote) = tokio::join!(connector.connect(&server), async {
                let incoming = listener.accept().await.unwrap();
                let remote = incoming.remote_addr();
                drop(incoming.handshake().await.unwrap());
                remote
            });
            assert_eq!(remote.ip(), local, "{scheme}");
            drop(outbound);
            let elsewhere = Connector::new(&trusting, &from(Ipv6Addr::LOCALHOST.into()));
            let refused = elsewhere.connect(&server).await.unwrap_err();
            assert!(
                matches!(refused, ConnectError::Unreachable { .. } | ConnectError::NeitherWay { .. }),
                "{scheme}: {refused:?}"
            );
        }
    });
}
