//! Rules about certificates, and tokens beside them, over both transports.

use std::sync::Arc;

use sealstream_broker::access::{Action, RuleBook, Rules};
use sealstream_broker::log::LogEngine;
use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::memory::{MemoryEngine, MemoryStore};
use sealstream_broker::server::{Anonymous, Broker, BrokerOptions, RunningBroker};
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::hello::{Hello, SessionKind};
use sealstream_protocol::message::produce::OpenTopic;
use sealstream_protocol::message::{FaultCode, Message};
use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::tls::{ClientAuth, Material, Store};
use sealstream_transport::{
    Connector, Endpoint, Expectation, Outbound, QuicTransport, Scheme, Server, TcpTransport,
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{EVERY, PROMISE, allow, assert_forbidden, bearing, create_token, deny, refusal, revoke_token};
use crate::harness::{PATIENCE, Wire, assert_code, batch, greeting};
use crate::sealed::{SCHEMES, addr, anywhere, bind, transport_options};

const WRITER: &str = "spiffe://example.org/writer";

/// A broker that knows its clients by their certificates.
struct World {
    authority: Authority,
    book: RuleBook,
    tcp: TcpTransport,
    broker: RunningBroker,
}

impl World {
    async fn new() -> Self {
        let authority = Authority::new("Test CA");
        let material = Material::new()
            .with_server_identity(authority.issue(&Leaf::localhost()).identity())
            .with_client_auth(ClientAuth::Optional, [authority.trust()]);
        let receiver = Store::new(&material).unwrap().receiver();
        let tcp = TcpTransport::new(receiver.clone(), transport_options());
        let quic = QuicTransport::new(receiver, transport_options());
        let listeners = vec![bind(&tcp, anywhere()[0]).await, bind(&quic, anywhere()[1]).await];
        let engine: Arc<dyn LogEngine> =
            Arc::new(MemoryEngine::over(&MemoryStore::new(1), Arc::new(SystemClock)));
        let book = RuleBook::default();
        let options =
            BrokerOptions { rules: book.clone(), anonymous: Anonymous::Never, ..BrokerOptions::default() };
        let broker = Broker::start(options, engine, listeners).await.unwrap();
        Self { authority, book, tcp, broker }
    }

    async fn connect(&self, scheme: Scheme, leaf: Option<Leaf>) -> Box<dyn Outbound> {
        let mut material = Material::new().with_roots([self.authority.trust()]);
        if let Some(leaf) = leaf {
            material = material.with_client_identity(self.authority.issue(&leaf.for_clients()).identity());
        }
        let store = Store::new(&material).unwrap();
        let addr = addr(scheme, &self.broker);
        let endpoint = Endpoint { scheme, host: addr.ip().to_string(), port: addr.port() };
        let server = Server { endpoint, expectation: Expectation::Name("localhost".into()) };
        Connector::new(&store.receiver(), &transport_options()).connect(&server).await.unwrap()
    }

    async fn wire(&self, scheme: Scheme, leaf: Option<Leaf>, hello: Hello) -> Wire {
        let outbound = self.connect(scheme, leaf).await;
        let mut wire = Wire::open(outbound.open().await.unwrap(), hello).await.unwrap();
        wire.connection = Some(outbound);
        wire
    }

    async fn stop(self) {
        self.broker.shutdown(PATIENCE).await.unwrap();
        self.tcp.drained().await;
    }
}

fn writer() -> Leaf {
    Leaf::new().uri(WRITER)
}

fn ops() -> Leaf {
    Leaf::new().dns("ops.example.org")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_may_do_what_the_rules_let_it_until_they_do_not_any_more() {
    let world = World::new().await;
    let admin = || allow("dns:ops.example.org", &EVERY, &["*"]);
    for scheme in SCHEMES {
        // With no rules, whoever has a certificate may do everything.
        let topic = format!("orders.{scheme}");
        let mut first = world.wire(scheme, Some(writer()), greeting(SessionKind::Admin)).await;
        first.create(&topic, 1).await;
        world.book.publish(
            Rules::new(
                [admin(), allow("spiffe://example.org/*", &[Action::Produce], &["orders.*"])],
                [""; 0],
            )
            .unwrap(),
        );
        let mut producer = world.wire(scheme, Some(writer()), greeting(SessionKind::Produce)).await;
        producer.open_topic(1, &topic).await;
        let id = Uuid::new_v4();
        producer.produce(1, 0, batch(id, 0, "a")).await;
        producer.recv_ack().await;
        producer.send(Message::OpenTopic(OpenTopic { handle: 2, name: "payments".into(), id: None })).await;
        let Message::OpenRefused(refused) = producer.recv().await else { panic!() };
        assert_forbidden(&refused.fault, WRITER, "payments");
        let mut consumer = world.wire(scheme, Some(ops()), greeting(SessionKind::Consume)).await;
        consumer.subscribe(1, &topic, 0, Position::Beginning).await;
        consumer.recv_values(1).await;

        let nobody = deny("*", &[Action::Produce, Action::Consume], &["orders.*"]);
        world.book.publish(Rules::new([admin(), nobody], [""; 0]).unwrap());
        let Message::SubscriptionEnded(ended) = timeout(PROMISE, consumer.recv()).await.unwrap() else {
            panic!()
        };
        assert_forbidden(&ended.fault.unwrap(), "dns:ops.example.org", &topic);
        producer.produce(2, 0, batch(id, 1, "b")).await;
        assert_forbidden(&producer.recv_refusal().await.fault, WRITER, &topic);
        world.book.publish(Rules::default());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_outranks_the_certificate_and_falls_without_it() {
    let world = World::new().await;
    for scheme in SCHEMES {
        let mut admin = world.wire(scheme, Some(ops()), greeting(SessionKind::Admin)).await;
        let name = format!("billing-{scheme}");
        let token = create_token(&mut admin, &name).await;
        let identity = format!("token:{name}");
        // Without a certificate, and over one that names somebody else.
        for leaf in [None, Some(writer())] {
            let wire = world.wire(scheme, leaf, bearing(SessionKind::Admin, &token)).await;
            assert_eq!(wire.welcome.as_ref().unwrap().identity, identity);
        }
        let connection = world.connect(scheme, Some(writer())).await;
        let mut with_token =
            Wire::open(connection.open().await.unwrap(), bearing(SessionKind::Consume, &token))
                .await
                .unwrap();
        // On QUIC the very same connection.
        let mut without =
            Wire::open(connection.open().await.unwrap(), greeting(SessionKind::Consume)).await.unwrap();
        assert_eq!(without.welcome.as_ref().unwrap().identity, WRITER);
        revoke_token(&mut admin, &name).await;
        let fault = timeout(PROMISE, with_token.recv_error()).await.unwrap();
        assert_code(&fault, FaultCode::NoLongerTrusted);
        without.assert_silent().await;
        // The certificate does not make up for it.
        let stream = connection.open().await.unwrap();
        let fault = refusal(Wire::open(stream, bearing(SessionKind::Consume, &token)).await);
        assert_code(&fault, FaultCode::Unauthenticated);
    }
    world.stop().await;
}
