//! Clients that lose their standing while they are connected, on both transports: a CA that is no longer trusted, a
//! certificate that is revoked, certificates that are demanded from now on.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::LogEngine;
use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::memory::{MemoryEngine, MemoryStore};
use sealstream_broker::server::{Broker, BrokerOptions, RunningBroker};
use sealstream_client::admin::NewTopic;
use sealstream_client::{Client, Record};
use sealstream_protocol::message::FaultCode;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_transport::testing::pki::{Authority, Issued, Leaf};
use sealstream_transport::tls::{ClientAuth, CrlSource, ExpiredClients, Material, Store};
use sealstream_transport::{Connector, Endpoint, Expectation, QuicTransport, Scheme, Server, TcpTransport};
use tokio::time::{Instant, timeout};

use crate::harness::{PATIENCE, Wire, assert_code, greeting};
use crate::sealed::{SCHEMES, addr, anywhere, bind, transport_options};

/// «Gone within a second», with a margin for a loaded machine.
const PROMISE: Duration = Duration::from_secs(3);

/// Of a certificate that is to expire: long enough for a handshake on a loaded machine.
const LIFETIME: Duration = Duration::from_secs(3);

/// A broker that trusts the clients of two authorities, and can be told otherwise.
struct World {
    servers: Authority,
    old: Authority,
    new: Authority,
    identity: Issued,
    store: Store,
    tcp: TcpTransport,
    broker: RunningBroker,
}

impl World {
    async fn new() -> Self {
        let [servers, old, new] = ["Server CA", "Old CA", "New CA"].map(Authority::new);
        let identity = servers.issue(&Leaf::localhost());
        let material = Material::new()
            .with_server_identity(identity.identity())
            .with_client_auth(ClientAuth::Optional, [old.trust(), new.trust()]);
        let store = Store::new(&material).unwrap();
        let tcp = TcpTransport::new(store.receiver(), transport_options());
        let quic = QuicTransport::new(store.receiver(), transport_options());
        let listeners = vec![bind(&tcp, anywhere()[0]).await, bind(&quic, anywhere()[1]).await];
        let engine: Arc<dyn LogEngine> =
            Arc::new(MemoryEngine::over(&MemoryStore::new(1), Arc::new(SystemClock)));
        let broker = Broker::start(BrokerOptions::default(), engine, listeners).await.unwrap();
        Self { servers, old, new, identity, store, tcp, broker }
    }

    /// What the broker serves, without trust in anybody.
    fn material(&self) -> Material {
        Material::new().with_server_identity(self.identity.identity())
    }

    fn publish(&self, material: &Material) {
        // Judging is to be done on a thread that may block.
        tokio::task::block_in_place(|| self.store.publish(material)).unwrap();
    }

    async fn wire(&self, scheme: Scheme, shown: Option<&Issued>, kind: SessionKind) -> Wire {
        let mut material = Material::new().with_roots([self.servers.trust()]);
        material.client_identity = shown.map(Issued::identity);
        let store = Store::new(&material).unwrap();
        let addr = addr(scheme, &self.broker);
        let endpoint = Endpoint { scheme, host: addr.ip().to_string(), port: addr.port() };
        let server = Server { endpoint, expectation: Expectation::Name("localhost".into()) };
        let connector = Connector::new(&store.receiver(), &transport_options());
        let outbound = connector.connect(&server).await.unwrap();
        let mut wire = Wire::open(outbound.open().await.unwrap(), greeting(kind)).await.unwrap();
        wire.connection = Some(outbound);
        wire
    }

    async fn stop(self) {
        self.broker.shutdown(PATIENCE).await.unwrap();
        self.tcp.drained().await;
    }
}

/// The client is told why, and its session is over.
async fn falls(wire: &mut Wire, word: &str) {
    let started = Instant::now();
    let fault = wire.recv_error().await;
    assert_code(&fault, FaultCode::NoLongerTrusted);
    assert!(fault.text.contains(word) && fault.text.contains("connect again"), "{fault}");
    assert!(started.elapsed() < PROMISE, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_removed_ca_vouched_for_is_told_so_and_whom_another_does_stays() {
    let world = World::new().await;
    let (old, new) = (world.old.issue(&Leaf::new().dns("a")), world.new.issue(&Leaf::new().dns("b")));
    for scheme in SCHEMES {
        let mut falling = Vec::new();
        for kind in [SessionKind::Admin, SessionKind::Produce, SessionKind::Consume] {
            falling.push(world.wire(scheme, Some(&old), kind).await);
        }
        let mut staying = world.wire(scheme, Some(&new), SessionKind::Admin).await;
        let mut nameless = world.wire(scheme, None, SessionKind::Admin).await;
        world.publish(&world.material().with_client_auth(ClientAuth::Optional, [world.new.trust()]));
        for wire in &mut falling {
            falls(wire, "untrusted certificate").await;
        }
        staying.assert_silent().await;
        nameless.assert_silent().await;
        let both = [world.old.trust(), world.new.trust()];
        world.publish(&world.material().with_client_auth(ClientAuth::Optional, both));
        staying.assert_silent().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_client_falls_and_so_does_one_without_a_certificate_once_they_are_demanded() {
    let world = World::new().await;
    let (bad, good) = (world.old.issue(&Leaf::new().dns("a")), world.old.issue(&Leaf::new().dns("b")));
    for scheme in SCHEMES {
        let mut revoked = world.wire(scheme, Some(&bad), SessionKind::Consume).await;
        let mut nameless = world.wire(scheme, None, SessionKind::Consume).await;
        let mut staying = world.wire(scheme, Some(&good), SessionKind::Consume).await;
        let mut stricter = world.material().with_client_auth(ClientAuth::Required, [world.old.trust()]);
        stricter.clients.crls = vec![CrlSource::Der(vec![world.old.crl(&[&bad])])];
        world.publish(&stricter);
        falls(&mut revoked, "revoked").await;
        falls(&mut nameless, "required").await;
        staying.assert_silent().await;
        world.publish(&world.material().with_client_auth(ClientAuth::Optional, [world.old.trust()]));
    }
    world.stop().await;
}

/// Time of its own passes: nothing is published when a certificate expires.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_certificate_expires_falls_where_the_operator_says_so_and_stays_elsewhere() {
    let world = World::new().await;
    for policy in [ExpiredClients::Keep, ExpiredClients::Close] {
        let mut material = world.material().with_client_auth(ClientAuth::Optional, [world.old.trust()]);
        material.expired_clients = policy;
        world.publish(&material);
        for scheme in SCHEMES {
            let brief = world.old.issue(&Leaf::new().dns("a").lasting(LIFETIME));
            let mut expiring = world.wire(scheme, Some(&brief), SessionKind::Consume).await;
            let mut staying = world.wire(scheme, None, SessionKind::Consume).await;
            if policy == ExpiredClients::Close {
                let fault = timeout(LIFETIME + PROMISE, expiring.recv_error()).await.unwrap();
                assert_code(&fault, FaultCode::NoLongerTrusted);
                assert!(fault.text.contains("expired"), "{fault}");
            } else {
                tokio::time::sleep(LIFETIME + Duration::from_secs(1)).await;
                expiring.assert_silent().await;
            }
            staying.assert_silent().await;
        }
    }
    world.stop().await;
}

/// A client got its new certificate before the old CA went: its program notices nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_new_certificate_goes_on_by_the_sdk_without_an_error_or_a_loss() {
    const RECORDS: u64 = 200;
    let world = World::new().await;
    for scheme in SCHEMES {
        let shown = |issued: &Issued| {
            Material::new().with_roots([world.servers.trust()]).with_client_identity(issued.identity())
        };
        let leaf = Leaf::new().dns("billing");
        let mine = Store::new(&shown(&world.old.issue(&leaf))).unwrap();
        let url = format!("{scheme}://localhost:{}", addr(scheme, &world.broker).port());
        let client = Client::builder().url(url).trust(mine.receiver()).connect().await.unwrap();
        let name = format!("events-{scheme}");
        client.admin().create_topic(NewTopic::new(&name)).await.unwrap();
        let producer = client.producer(&name).open().await.unwrap();
        let mut consumer = client.consumer(&name).open().await.unwrap();
        let writing = async {
            for n in 0..RECORDS {
                if n == RECORDS / 2 {
                    tokio::task::block_in_place(|| mine.publish(&shown(&world.new.issue(&leaf)))).unwrap();
                    let only_new =
                        world.material().with_client_auth(ClientAuth::Required, [world.new.trust()]);
                    world.publish(&only_new);
                }
                let stored = producer.send(Record::new(&n.to_string())).await.unwrap().await.unwrap();
                assert_eq!(stored.offset, n);
            }
        };
        let reading = async {
            for n in 0..RECORDS {
                let record = consumer.next().await.unwrap().unwrap();
                assert_eq!((record.offset, &*record.value), (n, n.to_string().as_bytes()));
            }
        };
        timeout(PATIENCE, async { tokio::join!(writing, reading) }).await.expect("nobody is stuck");
        client.close().await;
        let both = [world.old.trust(), world.new.trust()];
        world.publish(&world.material().with_client_auth(ClientAuth::Optional, both));
    }
    world.stop().await;
}
