//! What is special about TCP: refusals that arrive late, further streams that resume, addresses of both families.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sealstream_transport::admission::{Admission, AdmissionLimits};
use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::testing::run;
use sealstream_transport::tls::{ClientAuth, Material, Store};
use sealstream_transport::{
    Endpoint, Expectation, ExportError, Handshake, HandshakeError, Inbound, Listener, Outbound, Scheme,
    Server, Stream, StreamError, TcpTransport, Transport, TransportOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

struct World {
    listener: Box<dyn Listener>,
    client: TcpTransport,
    server: Server,
}

impl World {
    async fn at(
        addr: &str,
        policy: ClientAuth,
        client: impl FnOnce(&Authority, Material) -> Material,
    ) -> Self {
        Self::with(TransportOptions::new("test/1", 9), addr, policy, client).await
    }

    async fn with(
        options: TransportOptions,
        addr: &str,
        policy: ClientAuth,
        client: impl FnOnce(&Authority, Material) -> Material,
    ) -> Self {
        let authority = Authority::new("Test CA");
        let serving = Material::new()
            .with_server_identity(authority.issue(&Leaf::localhost()).identity())
            .with_client_auth(policy, [authority.trust()]);
        let dialling = client(&authority, Material::new().with_roots([authority.trust()]));
        let transport = |material| {
            let store = Store::new(&material).unwrap();
            TcpTransport::new(store.receiver(), options.clone())
        };
        let listener = transport(serving).listen(addr.parse().unwrap()).await.unwrap();
        let server = localhost(listener.local_addr());
        Self { listener, client: transport(dialling), server }
    }

    async fn new() -> Self {
        Self::at("127.0.0.1:0", ClientAuth::None, |_, material| material).await
    }

    async fn inbound(&self) -> Result<Box<dyn Inbound>, HandshakeError> {
        self.listener.accept().await.unwrap().handshake().await
    }

    /// Opens a stream and lets the server answer: its tickets have arrived then.
    async fn exchange(&self, outbound: &dyn Outbound) -> (Stream, Stream) {
        tokio::join!(ask(outbound), async { answer(self.inbound().await.unwrap()).await })
    }

    async fn connect(&self) -> (Box<dyn Outbound>, Stream, Stream) {
        let (outbound, inbound) = tokio::join!(self.client.connect(&self.server), self.inbound());
        let (outbound, inbound) = (outbound.unwrap(), inbound.unwrap());
        let (client, server) = tokio::join!(ask(&*outbound), answer(inbound));
        (outbound, client, server)
    }
}

async fn ask(outbound: &dyn Outbound) -> Stream {
    let mut stream = outbound.open().await.unwrap();
    stream.send.write_all(b"?").await.unwrap();
    stream.recv.read_u8().await.unwrap();
    stream
}

async fn answer(inbound: Box<dyn Inbound>) -> Stream {
    let mut stream = inbound.accept().await.unwrap();
    stream.recv.read_u8().await.unwrap();
    stream.send.write_all(b"!").await.unwrap();
    stream
}

fn localhost(addr: SocketAddr) -> Server {
    Server { endpoint: Endpoint::at(Scheme::Tls, addr), expectation: Expectation::Name("localhost".into()) }
}

#[test]
fn sixteen_streams_opened_at_once_all_resume_after_the_first_reply() {
    run("resume", async {
        let world = World::new().await;
        let (outbound, first, _there) = world.connect().await;
        assert_eq!(first.peer.handshake, Handshake::Full);
        let outbound: Arc<dyn Outbound> = Arc::from(outbound);
        let mut opens = JoinSet::new();
        for _ in 0..16 {
            let outbound = Arc::clone(&outbound);
            opens.spawn(async move { outbound.open().await.unwrap() });
        }
        let mut held = Vec::new();
        for _ in 0..16 {
            let inbound = world.inbound().await.unwrap();
            assert_eq!(inbound.peer().handshake, Handshake::Resumed);
            held.push(inbound);
        }
        for stream in opens.join_all().await {
            assert_eq!(stream.peer.handshake, Handshake::Resumed);
        }
    });
}

/// tokio takes a socket that was just accepted for readable, whatever its peer has said.
#[test]
fn silent_peers_take_no_place_among_the_handshakes() {
    run("silent", async {
        let mut limits = AdmissionLimits::default();
        limits.handshakes = 1;
        let mut options = TransportOptions::new("test/1", 9);
        options.admission = Admission::new(limits).unwrap();
        let world = World::with(options, "127.0.0.1:0", ClientAuth::None, |_, material| material).await;
        let (mut silent, mut waiting) = (Vec::new(), JoinSet::new());
        for _ in 0..8 {
            let connecting = TcpStream::connect(world.listener.local_addr());
            let (peer, incoming) = tokio::join!(connecting, world.listener.accept());
            silent.push(peer.unwrap());
            waiting.spawn(incoming.unwrap().handshake());
        }
        let (outbound, inbound) = tokio::join!(world.client.connect(&world.server), world.inbound());
        outbound.unwrap();
        inbound.unwrap();
        assert!(waiting.try_join_next().is_none(), "a silent peer was given up before its deadline");
    });
}

#[test]
fn both_ends_export_the_same_keying_material_while_the_connection_lives() {
    run("export", async {
        let world = World::new().await;
        let (_outbound, client, server) = world.connect().await;
        let export = |stream: &Stream, label: &[u8], context: &[u8]| {
            let mut output = [0; 32];
            stream.peer.export_keying_material(&mut output, label, context).map(|()| output)
        };
        let ours = export(&client, b"EXPORTER-test", b"context").unwrap();
        assert_eq!(export(&server, b"EXPORTER-test", b"context"), Ok(ours));
        assert_ne!(export(&server, b"EXPORTER-test", b"another"), Ok(ours));
        assert_ne!(export(&server, b"EXPORTER-other", b"context"), Ok(ours));
        let (_, another, _there) = world.connect().await;
        assert_ne!(export(&another, b"EXPORTER-test", b"context"), Ok(ours));
        assert_eq!(client.peer.export_keying_material(&mut [], b"x", b""), Err(ExportError::Length));
        let peer = client.peer.clone();
        drop(client);
        assert_eq!(peer.export_keying_material(&mut [0; 8], b"x", b""), Err(ExportError::Closed));
    });
}

#[test]
fn a_refused_client_certificate_is_told_to_whoever_reads() {
    run("refused read", async {
        let world = World::at("127.0.0.1:0", ClientAuth::Required, |_, material| material).await;
        let (outbound, inbound) = tokio::join!(world.client.connect(&world.server), world.inbound());
        assert_eq!(inbound.unwrap_err(), HandshakeError::ClientCertificateRequired);
        let mut stream = outbound.unwrap().open().await.unwrap();
        let error = stream.recv.read_u8().await.unwrap_err();
        let Some(StreamError::Refused { reason }) = StreamError::of(&error) else { panic!("{error:?}") };
        assert!(reason.contains("requires a client certificate"), "{reason}");
    });
}

#[test]
fn a_refused_client_certificate_is_told_to_whoever_only_writes() {
    run("refused write", async {
        let stranger = |_: &Authority, material: Material| {
            material.with_client_identity(Authority::new("Other CA").issue(&Leaf::new().dns("me")).identity())
        };
        let world = World::at("127.0.0.1:0", ClientAuth::Required, stranger).await;
        let (outbound, inbound) = tokio::join!(world.client.connect(&world.server), world.inbound());
        assert!(matches!(inbound, Err(HandshakeError::UntrustedIssuer { .. })), "{inbound:?}");
        let mut stream = outbound.unwrap().open().await.unwrap();
        let block = vec![0; 64 * 1024];
        let error: io::Error = loop {
            if let Err(error) = stream.send.write_all(&block).await {
                break error;
            }
        };
        let Some(StreamError::Refused { reason }) = StreamError::of(&error) else { panic!("{error:?}") };
        assert!(reason.contains("UnknownCA"), "{reason}");
    });
}

#[test]
fn the_unspecified_address_of_ipv6_takes_both_families_and_any_other_only_itself() {
    run("families", async {
        let world = World::at("[::]:0", ClientAuth::None, |_, material| material).await;
        let port = world.listener.local_addr().port();
        for host in ["127.0.0.1", "::1"] {
            let server = localhost(SocketAddr::new(host.parse().unwrap(), port));
            let (outbound, inbound) = tokio::join!(world.client.connect(&server), world.inbound());
            assert_eq!(outbound.unwrap().peer().remote_addr.ip().to_string(), host);
            inbound.unwrap();
        }
        let world = World::at("[::1]:0", ClientAuth::None, |_, material| material).await;
        let port = world.listener.local_addr().port();
        world.client.connect(&localhost(SocketAddr::from(([127, 0, 0, 1], port)))).await.unwrap_err();
    });
}

#[test]
fn a_name_with_addresses_of_both_families_is_reached_at_the_one_that_listens() {
    run("names", async {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let world = World::at(addr, ClientAuth::None, |_, material| material).await;
            let endpoint = Endpoint { host: "localhost".into(), ..world.server.endpoint.clone() };
            let server = Server::named(endpoint);
            // A machine whose "localhost" is of one family cannot be asked for the other.
            let known: Vec<_> = tokio::net::lookup_host(("localhost", 1)).await.unwrap().collect();
            if !known.iter().any(|known| known.ip() == world.listener.local_addr().ip()) {
                continue;
            }
            let (outbound, inbound) = tokio::join!(world.client.connect(&server), world.inbound());
            assert_eq!(outbound.unwrap().peer().remote_addr, world.listener.local_addr());
            inbound.unwrap();
        }
    });
}

#[test]
fn a_further_stream_outlives_the_first_and_dies_with_its_outbound_s_close() {
    run("further", async {
        let world = World::new().await;
        let (outbound, first, first_there) = world.connect().await;
        let (mut second, mut second_there) = world.exchange(&*outbound).await;
        drop((first, first_there));
        second.send.write_all(b"still here").await.unwrap();
        second_there.recv.read_exact(&mut [0; 10]).await.unwrap();
        outbound.close(0).await;
        let error = second.recv.read_u8().await.unwrap_err();
        assert!(matches!(StreamError::of(&error), Some(StreamError::ConnectionLost { .. })), "{error:?}");
        let error = second_there.recv.read_u8().await.unwrap_err();
        assert!(matches!(StreamError::of(&error), Some(StreamError::Aborted { .. })), "{error:?}");
        outbound.open().await.unwrap_err();
    });
}

/// What a peer gets that sends `request` before any TLS, and how the listener sees it.
async fn answer_to(world: &World, request: &[u8]) -> (Vec<u8>, HandshakeError) {
    let mut socket = TcpStream::connect(world.listener.local_addr()).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let (read, inbound) = tokio::join!(socket.read_to_end(&mut answer), world.inbound());
    read.unwrap();
    (answer, inbound.unwrap_err())
}

#[test]
fn who_speaks_http_is_answered_in_http_and_tls_goes_on_beside_it() {
    run("plaintext", async {
        let http_answer = Some("here listens test/1".to_owned());
        let mut options = TransportOptions::new("test/1", 9);
        options.http_answer = http_answer;
        let world = World::with(options, "127.0.0.1:0", ClientAuth::None, |_, material| material).await;
        // With a body that nobody reads: an RST would destroy the answer.
        let long = [b"POST /x HTTP/1.1\r\n\r\n".as_slice(), &vec![b'x'; 100_000]].concat();
        for request in [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), &long] {
            let (answer, refusal) = answer_to(&world, request).await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\nhere listens test/1\n"),
                "{answer}"
            );
            assert!(matches!(refusal, HandshakeError::Protocol { .. }), "{refusal}");
            assert!(refusal.to_string().contains("plaintext HTTP"), "{refusal}");
        }
        let (answer, _) = answer_to(&world, b"SSH-2.0-OpenSSH_9.9\r\n").await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        world.connect().await;
    });
}

#[test]
fn who_speaks_http_is_answered_in_tls_unless_the_program_has_an_answer() {
    run("no plaintext", async {
        let (answer, refusal) = answer_to(&World::new().await, b"GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(answer.first(), Some(&21), "an alert");
        assert!(matches!(refusal, HandshakeError::Protocol { .. }), "{refusal}");
    });
}
