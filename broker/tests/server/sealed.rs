//! The same server behind TLS and QUIC: identities, last words, and the SDK in front of it.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;

use sealstream_broker::log::LogEngine;
use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::memory::{MemoryEngine, MemoryStore};
use sealstream_broker::server::{Anonymous, Broker, BrokerOptions, RunningBroker};
use sealstream_client::admin::NewTopic;
use sealstream_client::{Client, Position, Record};
use sealstream_protocol::message::consume::{Membership, Subscribe, SubscriptionEnded};
use sealstream_protocol::message::group::JoinGroup;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use sealstream_protocol::{ALPN, DEFAULT_PORT};
use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::tls::{ClientAuth, Material, Store};
use sealstream_transport::{
    Connector, Endpoint, Expectation, ListenError, Listener, Outbound, QuicTransport, Scheme, Server,
    TcpTransport, Transport, TransportOptions,
};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::harness::{PATIENCE, Wire, assert_code, batch, eventually, greeting, show, subscription_to};

pub(crate) const SCHEMES: [Scheme; 2] = [Scheme::Tls, Scheme::Quic];

/// Who vouches for whom.
pub(crate) struct World {
    authority: Authority,
    tcp: TcpTransport,
    quic: QuicTransport,
}

impl World {
    pub(crate) fn new() -> Self {
        let authority = Authority::new("Test CA");
        let identity = authority.issue(&Leaf::localhost()).identity();
        let material = Material::new()
            .with_server_identity(identity)
            .with_client_auth(ClientAuth::Optional, [authority.trust()]);
        let receiver = Store::new(&material).unwrap().receiver();
        let tcp = TcpTransport::new(receiver.clone(), transport_options());
        let quic = QuicTransport::new(receiver, transport_options());
        Self { authority, tcp, quic }
    }

    /// A broker that listens on both transports.
    pub(crate) async fn broker(
        &self,
        options: BrokerOptions,
        store: &MemoryStore,
        addrs: [SocketAddr; 2],
    ) -> RunningBroker {
        let listeners: Vec<Box<dyn Listener>> =
            vec![bind(&self.tcp, addrs[0]).await, bind(&self.quic, addrs[1]).await];
        let engine: Arc<dyn LogEngine> = Arc::new(MemoryEngine::over(store, Arc::new(SystemClock)));
        Broker::start(options, engine, listeners).await.unwrap()
    }

    /// Stops a broker, down to the last bytes that its clients have to take.
    pub(crate) async fn stop(&self, broker: &RunningBroker) {
        broker.shutdown(PATIENCE).await.unwrap();
        self.tcp.drained().await;
    }

    /// The SDK, without a certificate of its own.
    pub(crate) async fn sdk(&self, scheme: Scheme, broker: &RunningBroker) -> Client {
        let url = format!("{scheme}://localhost:{}", addr(scheme, broker).port());
        Client::builder().url(url).root(self.authority.trust()).connect().await.unwrap()
    }

    /// A connection as whoever `leaf` names.
    async fn outbound(
        &self,
        scheme: Scheme,
        broker: &RunningBroker,
        leaf: Option<&Leaf>,
    ) -> Box<dyn Outbound> {
        let mut material = Material::new().with_roots([self.authority.trust()]);
        if let Some(leaf) = leaf {
            material = material.with_client_identity(self.authority.issue(leaf).identity());
        }
        let store = Store::new(&material).unwrap();
        let addr = addr(scheme, broker);
        let endpoint = Endpoint { scheme, host: addr.ip().to_string(), port: addr.port() };
        let server = Server { endpoint, expectation: Expectation::Name("localhost".into()) };
        Connector::new(&store.receiver(), &transport_options()).connect(&server).await.unwrap()
    }

    pub(crate) async fn wire(
        &self,
        scheme: Scheme,
        broker: &RunningBroker,
        leaf: Option<&Leaf>,
        kind: SessionKind,
    ) -> Wire {
        let outbound = self.outbound(scheme, broker, leaf).await;
        let mut wire = Wire::open(outbound.open().await.unwrap(), greeting(kind)).await.unwrap();
        wire.connection = Some(outbound);
        wire
    }
}

/// Listens on an address, which a broker that has just stopped may hold for a moment longer.
pub(crate) async fn bind(transport: &dyn Transport, addr: SocketAddr) -> Box<dyn Listener> {
    tokio::time::timeout(PATIENCE, async {
        loop {
            match transport.listen(addr).await {
                Ok(listener) => return listener,
                Err(ListenError::AddressInUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
    .expect("the address becomes free")
}

pub(crate) fn transport_options() -> TransportOptions {
    TransportOptions::new(ALPN, DEFAULT_PORT)
}

pub(crate) fn addr(scheme: Scheme, broker: &RunningBroker) -> SocketAddr {
    broker.local_addrs()[usize::from(scheme == Scheme::Quic)]
}

pub(crate) fn anywhere() -> [SocketAddr; 2] {
    ["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_through_the_sdk_and_come_back_as_they_were() {
    const RECORDS: usize = 3_000;
    let world = World::new();
    let broker = world.broker(BrokerOptions::default(), &MemoryStore::new(4), anywhere()).await;
    for scheme in SCHEMES {
        let client = world.sdk(scheme, &broker).await;
        let name = format!("events-{scheme}");
        let topic = client.admin().create_topic(NewTopic::new(&name).partitions(3)).await.unwrap();
        assert_eq!(topic.partitions, 3);
        let producer = client.producer(&name).open().await.unwrap();
        let keys: Vec<_> = (0..RECORDS).map(|n| format!("key {}", n % 7)).collect();
        let values: Vec<_> = (0..RECORDS).map(|n| format!("value {n}")).collect();
        for (key, value) in keys.iter().zip(&values) {
            // Its failure would be the flush's.
            drop(producer.send(Record::new(value).key(key)).await.unwrap());
        }
        producer.flush().await.unwrap();
        producer.close().await.unwrap();

        let mut consumer = client.consumer(&name).until_end().open().await.unwrap();
        let mut found = Vec::new();
        while let Some(record) = consumer.next().await {
            found.push(String::from_utf8(record.unwrap().value.to_vec()).unwrap());
        }
        found.sort_unstable();
        let mut expected = values.clone();
        expected.sort_unstable();
        assert_eq!(found, expected, "{scheme}");
        client.close().await;
    }
    world.stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_says_who_a_client_is_on_either_transport() {
    let world = World::new();
    let options = BrokerOptions { anonymous: Anonymous::Never, ..BrokerOptions::default() };
    let broker = world.broker(options, &MemoryStore::new(1), anywhere()).await;
    for scheme in SCHEMES {
        for (leaf, identity) in [
            (Leaf::new().uri("spiffe://example.org/writer").for_clients(), "spiffe://example.org/writer"),
            (Leaf::new().dns("writer.example.org").for_clients(), "dns:writer.example.org"),
            (Leaf::new().email("ops@example.org").for_clients(), "email:ops@example.org"),
        ] {
            let wire = world.wire(scheme, &broker, Some(&leaf), SessionKind::Admin).await;
            assert_eq!(wire.welcome.as_ref().unwrap().identity, identity);
        }
        let outbound = world.outbound(scheme, &broker, None).await;
        let refused = Wire::open(outbound.open().await.unwrap(), greeting(SessionKind::Admin)).await;
        let Err(sealstream_client::wire::OpenSessionError::Refused(fault)) = refused else { panic!() };
        assert_code(&fault, FaultCode::Unauthenticated);
    }
    world.stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_id_belongs_to_whoever_used_it_first() {
    let world = World::new();
    let broker = world.broker(BrokerOptions::default(), &MemoryStore::new(1), anywhere()).await;
    let (a, b) =
        (Leaf::new().dns("a.example.org").for_clients(), Leaf::new().dns("b.example.org").for_clients());
    let mut admin = world.wire(Scheme::Tls, &broker, Some(&a), SessionKind::Admin).await;
    admin.create("events", 1).await;
    let id = Uuid::new_v4();
    let mut first = world.wire(Scheme::Tls, &broker, Some(&a), SessionKind::Produce).await;
    first.open_topic(1, "events").await;
    first.produce(1, 0, batch(id, 0, "x")).await;
    first.recv_ack().await;
    let mut thief = world.wire(Scheme::Tls, &broker, Some(&b), SessionKind::Produce).await;
    thief.open_topic(1, "events").await;
    thief.produce(1, 0, batch(id, 1, "x")).await;
    assert_code(&thief.recv_refusal().await.fault, FaultCode::ProducerFenced);
    // The same client by another road is itself.
    let mut again = world.wire(Scheme::Quic, &broker, Some(&a), SessionKind::Produce).await;
    again.open_topic(1, "events").await;
    again.produce(1, 0, batch(id, 1, "x")).await;
    assert_eq!(again.recv_ack().await.base_offset, 1);
    world.stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reason_reaches_a_client_that_goes_on_writing() {
    let world = World::new();
    let broker = world.broker(BrokerOptions::default(), &MemoryStore::new(1), anywhere()).await;
    for scheme in SCHEMES {
        let wire = world.wire(scheme, &broker, None, SessionKind::Produce).await;
        let Wire { mut reader, writer, connection, .. } = wire;
        let mut send = writer.into_inner();
        let rubbish = vec![0xff; 100 << 10];
        let (written, read) = tokio::join!(
            async {
                send.write_all(&rubbish).await?;
                send.flush().await
            },
            reader.next()
        );
        // It may be cut off before it has written everything; the reason is there all the same.
        drop(written);
        let Ok(Some(sealstream_protocol::message::Message::Error(fault))) = read else { panic!("{read:?}") };
        assert_code(&fault, FaultCode::TooLarge);
        drop(connection);
    }
    world.stop(&broker).await;
}

/// The broker is shut down and started anew on the same addresses while a producer writes and a consumer follows, both
/// by the SDK: every record arrives once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_carries_on_over_a_restart_without_loss_or_repetition() {
    const RECORDS: u64 = 300;
    let world = World::new();
    for scheme in SCHEMES {
        let store = MemoryStore::new(2);
        let mut broker = world.broker(BrokerOptions::default(), &store, anywhere()).await;
        let addrs = [broker.local_addrs()[0], broker.local_addrs()[1]];
        let client = world.sdk(scheme, &broker).await;
        client.admin().create_topic(NewTopic::new("events")).await.unwrap();
        let producer = client.producer("events").open().await.unwrap();
        let mut consumer = client.consumer("events").start(Position::Beginning).open().await.unwrap();
        let reading = async {
            let mut found = Vec::new();
            while (found.len() as u64) < RECORDS {
                let record = consumer.next().await.unwrap().unwrap();
                found.push((record.offset, String::from_utf8(record.value.to_vec()).unwrap()));
            }
            found
        };
        let writing = async {
            for n in 0..RECORDS {
                let delivery = producer.send(Record::new(&n.to_string())).await.unwrap();
                match n {
                    // Not waited for: under way while the broker goes.
                    _ if n % 200 > 150 => drop(delivery),
                    _ => assert_eq!(delivery.await.unwrap().offset, n),
                }
                if n % 200 == 199 {
                    world.stop(&broker).await;
                    broker = world.broker(BrokerOptions::default(), &store, addrs).await;
                }
            }
            producer.flush().await.unwrap();
        };
        let (found, ()) =
            tokio::time::timeout(4 * PATIENCE, async { tokio::join!(reading, writing) }).await.unwrap();
        let expected: Vec<_> = (0..RECORDS).map(|n| (n, n.to_string())).collect();
        assert_eq!(found, expected, "{scheme}");
        client.close().await;
        world.stop(&broker).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_a_group_is_whoever_its_certificate_says_on_both_transports() {
    let world = World::new();
    let broker = world.broker(BrokerOptions::default(), &MemoryStore::new(2), anywhere()).await;
    world.sdk(Scheme::Tls, &broker).await.admin().create_topic(NewTopic::new("events")).await.unwrap();
    let [own, other] = ["reader", "thief"].map(|name| Leaf::new().common_name(name).for_clients());
    for (scheme, group) in SCHEMES.into_iter().zip(["g", "h"]) {
        let id = Uuid::new_v4();
        let join = || {
            Message::JoinGroup(JoinGroup { group: group.into(), member: id, topics: vec!["events".into()] })
        };
        let mut member = world.wire(scheme, &broker, Some(&own), SessionKind::Group).await;
        member.send(join()).await;
        assert!(matches!(member.recv().await, Message::Joined(_)));
        let Message::Assign(assign) = member.recv().await else { panic!("an Assign was due") };
        let mut thief = world.wire(scheme, &broker, Some(&other), SessionKind::Group).await;
        thief.send(join()).await;
        assert_code(&thief.recv_error().await, FaultCode::Forbidden);
        // Nor does it read as the member, who does.
        let membership = Membership { group: group.into(), member: id, epoch: assign.assignments[0].epoch };
        for (leaf, welcome) in [(&other, false), (&own, true)] {
            let mut wire = world.wire(scheme, &broker, Some(leaf), SessionKind::Consume).await;
            let plain = subscription_to(1, "events", 0, Position::Beginning);
            wire.send(Message::Subscribe(Subscribe { group: Some(membership.clone()), ..plain })).await;
            match wire.recv().await {
                Message::Subscribed(_) if welcome => {}
                Message::SubscriptionEnded(SubscriptionEnded { fault: Some(fault), .. }) if !welcome => {
                    assert_code(&fault, FaultCode::Forbidden);
                }
                other => panic!("{other:?}"),
            }
        }
        member.assert_silent().await;
    }
    world.stop(&broker).await;
}

/// What comes on a QUIC stream before anybody reads it counts against its connection. A connection that opens stream after stream, and
/// sends as much on each as it may, has what is refused thrown away: else it would soon be stuck, with 4 MiB unread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_those_that_may_say_hello_are_refused_at_once_and_hold_nothing_of_the_connection() {
    const WAVES: usize = 8;
    let world = World::new();
    let options = BrokerOptions { max_greetings: 2, max_sessions: 1, ..BrokerOptions::default() };
    let broker = world.broker(options, &MemoryStore::new(1), anywhere()).await;
    let outbound = world.outbound(Scheme::Quic, &broker, None).await;
    let mut session = Wire::open(outbound.open().await.unwrap(), greeting(SessionKind::Admin)).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = outbound.open().await.unwrap();
        stream.send.write_all(&[40, 0]).await.unwrap(); // half a Hello
        stream.send.flush().await.unwrap();
        silent.push(stream);
    }
    eventually("both are awaited", async || show(&mut session).await.greetings.now == 2).await;
    for _ in 0..WAVES {
        let streams = (0..8).map(|_| async {
            let stream = outbound.open().await.unwrap();
            let sealstream_transport::Stream { recv, mut send, .. } = stream;
            let mut reader = sealstream_client::wire::FrameReader::new(recv, 1 << 20);
            let (heard, _) = tokio::join!(reader.next(), async {
                // As much as a stream may have unread, and more.
                send.write_all(&vec![0xaa; 300 << 10]).await?;
                send.flush().await
            });
            match heard {
                Ok(Some(Message::Error(fault))) => assert_code(&fault, FaultCode::Busy),
                other => panic!("{other:?}"),
            }
        });
        let refused = futures_util::future::join_all(streams);
        tokio::time::timeout(PATIENCE, refused).await.expect("each is told at once");
        assert_eq!(
            show(&mut session).await.greetings.now,
            2,
            "those that came before them are still awaited"
        );
    }
    drop(silent);
    world.stop(&broker).await;
}
