//! What observers are told of handshakes over real sockets, and of whom a QUIC listener asks for a proof of its address.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use sealstream_transport::admission::{Admission, AdmissionLimits};
use sealstream_transport::observe::{
    FailureCause, HandshakeEnd, HandshakeObserver, HandshakeStart, Observers, Outcome,
};
use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::testing::proxy::UdpProxy;
use sealstream_transport::testing::{eventually, run};
use sealstream_transport::tls::{Material, Receiver, SecretSource, Side, Store};
use sealstream_transport::{
    ConnectError, Endpoint, Expectation, Listener, QuicTransport, Scheme, Server, TcpTransport, Transport,
    TransportOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const SCHEMES: [Scheme; 2] = [Scheme::Tls, Scheme::Quic];

/// One handshake as it was told.
#[derive(Debug)]
struct Seen {
    side: Side,
    outcome: Outcome,
    received: u64,
    sent: u64,
    told_suite: bool,
    server_name: Option<String>,
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes {
    begun: Mutex<usize>,
    ended: Mutex<Vec<Seen>>,
}

impl HandshakeObserver for Notes {
    fn start(&self, _: &HandshakeStart) {
        *self.begun.lock().unwrap() += 1;
    }

    fn finish(&self, start: &HandshakeStart, end: &HandshakeEnd<'_>) {
        self.ended.lock().unwrap().push(Seen {
            side: start.side,
            outcome: end.outcome,
            received: end.received,
            sent: end.sent,
            told_suite: end.negotiated.is_some(),
            server_name: end.server_name.map(ToOwned::to_owned),
        });
    }
}

impl Notes {
    /// The two ends of one handshake, server first, once both have ended.
    async fn both_ends(&self) -> [Seen; 2] {
        eventually("both ends have finished", || self.ended.lock().unwrap().len() == 2).await;
        let mut ended = std::mem::take(&mut *self.ended.lock().unwrap());
        assert_eq!(std::mem::take(&mut *self.begun.lock().unwrap()), 2, "{ended:?}");
        ended.sort_by_key(|seen| seen.side == Side::Client);
        ended.try_into().unwrap()
    }
}

fn transport(scheme: Scheme, tls: Receiver, options: TransportOptions) -> Box<dyn Transport> {
    match scheme {
        Scheme::Quic => Box::new(QuicTransport::new(tls, options)),
        _ => Box::new(TcpTransport::new(tls, options)),
    }
}

fn options() -> TransportOptions {
    TransportOptions::new("test/1", 9)
}

fn receiver(material: &Material) -> Receiver {
    Store::new(material).unwrap().receiver()
}

async fn listen(transport: &dyn Transport) -> Arc<dyn Listener> {
    transport.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap().into()
}

fn localhost(scheme: Scheme, listener: &dyn Listener) -> Server {
    let port = listener.local_addr().port();
    let endpoint = Endpoint { scheme, host: "127.0.0.1".to_owned(), port };
    Server { endpoint, expectation: Expectation::Name("localhost".to_owned()) }
}

/// Answers whoever comes by one byte for one byte.
fn answer(listener: Arc<dyn Listener>) -> JoinSet<()> {
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut held = JoinSet::new();
        while let Some(incoming) = listener.accept().await {
            held.spawn(async {
                let Ok(inbound) = incoming.handshake().await else { return };
                while let Some(mut stream) = inbound.accept().await {
                    let byte = stream.recv.read_u8().await.unwrap();
                    stream.send.write_u8(byte).await.unwrap();
                    stream.send.shutdown().await.unwrap();
                }
            });
        }
    });
    serving
}

/// Connects, and hears one answer: with it come tickets and tokens.
async fn visit(client: &dyn Transport, server: &Server) -> Result<(), ConnectError> {
    let outbound = client.connect(server).await?;
    let mut stream = outbound.open().await.unwrap();
    stream.send.write_u8(7).await.unwrap();
    assert_eq!(stream.recv.read_u8().await.unwrap(), 7);
    drop(stream.recv.read_to_end(&mut Vec::new()).await);
    outbound.close(0).await;
    Ok(())
}

#[test]
fn every_handshake_is_told_once_at_either_end_with_how_it_went() {
    run("observers", async {
        let authority = Authority::new("Test CA");
        let serving = Material::new().with_server_identity(authority.issue(&Leaf::localhost()).identity());
        let trusting = Material::new().with_roots([authority.trust()]);
        let doubting = Material::new().with_roots([Authority::new("Other CA").trust()]);
        for scheme in SCHEMES {
            let notes = Arc::new(Notes::default());
            let observed = || {
                let mut options = options();
                options.observers = Observers::new([Arc::clone(&notes) as Arc<dyn HandshakeObserver>]);
                options
            };
            let listener = listen(&*transport(scheme, receiver(&serving), observed())).await;
            let server = localhost(scheme, &*listener);
            let _serving = answer(listener);
            let client = transport(scheme, receiver(&trusting), observed());
            for outcome in [Outcome::Full, Outcome::Resumed] {
                visit(&*client, &server).await.unwrap();
                let ends = notes.both_ends().await;
                for end in &ends {
                    assert_eq!(end.outcome, outcome, "{scheme}: {end:?}");
                    assert!(end.received > 0 && end.sent > 0 && end.told_suite, "{scheme}: {end:?}");
                }
                assert_eq!(ends[0].server_name.as_deref(), Some("localhost"), "{scheme}");
            }
            let stranger = transport(scheme, receiver(&doubting), observed());
            visit(&*stranger, &server).await.unwrap_err();
            let [refused, refusing] = notes.both_ends().await;
            assert_eq!(refusing.outcome, Outcome::Failed(FailureCause::UntrustedIssuer), "{scheme}");
            assert_eq!(refused.outcome, Outcome::Failed(FailureCause::RefusedByPeer), "{scheme}");
        }
    });
}

#[test]
fn a_quic_client_proves_its_address_under_load_once_and_not_again_after_a_restart() {
    run("retry", async {
        let authority = Authority::new("Test CA");
        let serving = Material::new()
            .with_server_identity(authority.issue(&Leaf::localhost()).identity())
            .with_secret(SecretSource::Given(vec![[9; 32].into()]));
        let trusting = Material::new().with_roots([authority.trust()]);
        let client = QuicTransport::new(receiver(&trusting), options());
        let start = async |retry_above| {
            let mut limits = AdmissionLimits::default();
            limits.retry_above = retry_above;
            let admission = Admission::new(limits).unwrap();
            let mut options = options();
            options.admission = admission.clone();
            let listener = listen(&QuicTransport::new(receiver(&serving), options)).await;
            (localhost(Scheme::Quic, &*listener), answer(listener), admission)
        };
        // Always under load.
        let (server, _serving, admission) = start(0).await;
        visit(&client, &server).await.unwrap();
        assert_eq!(admission.counts().retried, 1);
        visit(&client, &server).await.unwrap();
        assert_eq!(admission.counts().retried, 1, "a token vouches for it");

        // A token is for the server's name and port, as the client has it.
        let path =
            UdpProxy::new(SocketAddr::from((Ipv4Addr::LOCALHOST, server.endpoint.port))).await.unwrap();
        let mut through = server.clone();
        through.endpoint.port = path.entrance().port();
        visit(&client, &through).await.unwrap();
        let retried = admission.counts().retried;
        let (restarted, _restarted, fresh) = start(0).await;
        path.redirect(SocketAddr::from((Ipv4Addr::LOCALHOST, restarted.endpoint.port)));
        visit(&client, &through).await.unwrap();
        assert_eq!((admission.counts().retried, fresh.counts().retried), (retried, 0));

        // Nobody is asked while there is no load.
        let (quiet, _quiet, admission) = start(AdmissionLimits::default().retry_above).await;
        let newcomer = QuicTransport::new(receiver(&trusting), options());
        visit(&newcomer, &quiet).await.unwrap();
        assert_eq!(admission.counts().retried, 0);
    });
}
