//! Sealstream: one broker for both transports and both durabilities.

use std::sync::Arc;
use std::time::Duration;

use sealstream_benches::broker::Broker;
use sealstream_benches::handshake::world::World;
use sealstream_client::admin::{Durability, NewTopic};
use sealstream_client::wire::session;
use sealstream_client::{Client, Consumer, Producer, Record};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::{ALPN, DEFAULT_PORT, Limits};
use sealstream_transport::tls::Store;
use sealstream_transport::{Connector, Handshake, Scheme, Server, TransportOptions};

use super::{Answer, Consuming, Contestant, Load, Producing, Visits, value};
use crate::Failure;

/// What a batch has beside its values, a record.
const BESIDE: usize = 64;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Over one transport, with one durability.
pub(crate) struct Sealstream {
    broker: Arc<Broker>,
    world: Arc<World>,
    scheme: Scheme,
    durability: Durability,
    /// Makes and deletes topics.
    client: Client,
}

/// Every combination, over one broker.
pub(crate) fn all(world: &Arc<World>) -> Vec<Arc<dyn Contestant>> {
    let broker = Arc::new(Broker::start(world));
    let mut all: Vec<Arc<dyn Contestant>> = Vec::new();
    for scheme in [Scheme::Tls, Scheme::Quic] {
        for durability in [Durability::Memory, Durability::Disk] {
            all.push(Arc::new(Sealstream::over(&broker, world, scheme, durability)));
        }
    }
    all
}

/// Its name.
pub(crate) fn name(scheme: Scheme, durability: Durability) -> String {
    let durability = if durability == Durability::Memory { "memory" } else { "disk" };
    format!("Sealstream {scheme}, {durability}")
}

impl Sealstream {
    /// Over a broker that runs.
    pub(crate) fn over(
        broker: &Arc<Broker>,
        world: &Arc<World>,
        scheme: Scheme,
        durability: Durability,
    ) -> Self {
        let client = client(broker, scheme).expect("a client");
        Self { broker: Arc::clone(broker), world: Arc::clone(world), scheme, durability, client }
    }
}

fn client(broker: &Broker, scheme: Scheme) -> Result<Client, Failure> {
    Ok(Client::builder().url(broker.url(scheme)).ca_file(broker.ca()).build()?)
}

impl Contestant for Sealstream {
    fn name(&self) -> String {
        name(self.scheme, self.durability)
    }

    fn id(&self) -> u32 {
        self.broker.id()
    }

    fn create<'a>(&'a self, log: &'a str, partitions: u32) -> Answer<'a, ()> {
        Box::pin(async move {
            let topic = NewTopic::new(log).partitions(partitions).durability(self.durability);
            self.client.admin().create_topic(topic).await?;
            Ok(())
        })
    }

    fn delete<'a>(&'a self, log: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.client.admin().delete_topic(log).await?;
            Ok(())
        })
    }

    fn producer<'a>(&'a self, log: &'a str, load: Load) -> Answer<'a, Box<dyn Producing>> {
        Box::pin(async move {
            // Batches are cut by their number of records.
            let batch = (load.record + BESIDE) * load.batch as usize;
            let producer = client(&self.broker, self.scheme)?
                .producer(log)
                .linger(Duration::ZERO)
                .batch_records(load.batch)
                .batch_bytes(batch)
                .window_bytes(batch * load.under_way)
                .window_batches(load.under_way)
                .open()
                .await?;
            Ok(Box::new(Produces { producer, load }) as _)
        })
    }

    fn consumer<'a>(&'a self, log: &'a str) -> Answer<'a, Box<dyn Consuming>> {
        Box::pin(async move {
            let consumer = client(&self.broker, self.scheme)?.consumer(log).open().await?;
            Ok(Box::new(Consumes { consumer }) as _)
        })
    }

    fn durable(&self) -> bool {
        self.durability == Durability::Disk
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn visits(&self, resumed: bool) -> Result<Arc<dyn Visits>, Failure> {
        let visitor =
            Visitor { world: Arc::clone(&self.world), url: self.broker.url(self.scheme), known: None };
        let known = if resumed { Some(visitor.connector()?) } else { None };
        Ok(Arc::new(Visitor { known, ..visitor }))
    }
}

struct Produces {
    producer: Producer,
    load: Load,
}

impl Producing for Produces {
    fn send(&mut self, number: u64) -> Answer<'_, Answer<'static, ()>> {
        Box::pin(async move {
            let value = value(self.load.record, number);
            if self.load.batch == 1 {
                let delivery = self.producer.send(Record::new(&value)).await?;
                return Ok(Box::pin(async move { Ok(delivery.await.map(drop)?) }) as _);
            }
            let records = vec![Record::new(&value); self.load.batch as usize];
            let delivery = self.producer.send_batch(&records).await?;
            Ok(Box::pin(async move { Ok(delivery.await.map(drop)?) }) as _)
        })
    }

    fn produce(&mut self, batches: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let value = value(self.load.record, 0);
            let records = vec![Record::new(&value); self.load.batch as usize];
            for _ in 0..batches {
                // Failures come out of `flush`.
                if self.load.batch == 1 {
                    drop(self.producer.send(Record::new(&value)).await?);
                } else {
                    drop(self.producer.send_batch(&records).await?);
                }
            }
            Ok(self.producer.flush().await?)
        })
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async move { Ok(self.producer.close().await?) })
    }
}

struct Consumes {
    consumer: Consumer,
}

impl Consuming for Consumes {
    fn next<'a>(&'a mut self, each: &'a mut (dyn FnMut(&[u8]) + Send)) -> Answer<'a, ()> {
        Box::pin(async move {
            let batch = self.consumer.next_batch().await.ok_or("the consumer has ended")??;
            let mut records = batch.records();
            while let Some(record) = records.next_ref() {
                each(record?.value);
            }
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async move {
            self.consumer.close().await;
            Ok(())
        })
    }
}

/// Connects, says Hello, is welcomed, and goes.
#[derive(Clone)]
struct Visitor {
    world: Arc<World>,
    url: String,
    /// Who has tickets; otherwise each visit is a stranger's.
    known: Option<Arc<Connector>>,
}

impl Visitor {
    fn connector(&self) -> Result<Arc<Connector>, Failure> {
        let store = Store::new(&self.world.dialling())?;
        Ok(Arc::new(Connector::new(&store.receiver(), &TransportOptions::new(ALPN, DEFAULT_PORT))))
    }

    async fn visit(self) -> Result<Option<bool>, Failure> {
        let connector = match &self.known {
            Some(known) => Arc::clone(known),
            None => self.connector()?,
        };
        let outbound = connector.connect(&Server::named(connector.endpoint(&self.url)?)).await?;
        let stream = outbound.open().await?;
        let hello = session::hello(SessionKind::Admin, "compare".to_owned(), PATIENCE);
        let session = session::open(stream, hello, Limits::MAX_FRAME, PATIENCE).await?;
        let resumed = session.peer.handshake == Handshake::Resumed;
        drop(session);
        outbound.close(0).await;
        Ok(Some(resumed))
    }
}

impl Visits for Visitor {
    fn visit(&self, _: u8) -> Answer<'static, Option<bool>> {
        Box::pin(self.clone().visit())
    }
}
