//! Those who are in, and those who want in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sealstream_benches::broker::Broker;
use sealstream_client::admin::NewTopic;
use sealstream_client::producer::Producer;
use sealstream_client::{Client, Record};
use sealstream_protocol::message::admin::Durability;
use sealstream_transport::Scheme;
use tokio::task::JoinSet;

/// Streams under measurement, and what each pauses between two records: 1,600 round trips a second, a fraction of a core.
const PROBES: usize = 16;
const PAUSE: Duration = Duration::from_millis(10);

/// Clients that connect in the storm.
const JOINERS: usize = 100;

/// Durations, sorted.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// What a share of them does not exceed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank"
    )]
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }
}

/// Producers over connections of their own, that exist before the storm.
pub(crate) struct Probes {
    producers: Vec<Arc<Producer>>,
}

impl Probes {
    pub(crate) async fn open(server: &Broker, scheme: Scheme) -> Self {
        let admin = client(server, scheme).admin();
        admin.create_topic(NewTopic::new("t").durability(Durability::Memory)).await.expect("a topic");
        let mut producers = Vec::new();
        for _ in 0..PROBES {
            producers.push(Arc::new(producer(server, scheme).await));
        }
        Self { producers }
    }

    /// How long acknowledgements take.
    pub(crate) async fn measure(&self, time: Duration) -> Latencies {
        let end = Instant::now() + time;
        let mut probes = JoinSet::new();
        for (number, producer) in (1..).zip(&self.producers) {
            let producer = Arc::clone(producer);
            // Each at a pace of its own, so that they do not all come at once.
            let pause = PAUSE + PAUSE * number / 64;
            probes.spawn(async move {
                let mut taken = Vec::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    produce(&producer).await;
                    taken.push(start.elapsed());
                    tokio::time::sleep(pause).await;
                }
                taken
            });
        }
        Latencies::of(probes.join_all().await.concat())
    }
}

/// Clients that come in the storm.
pub(crate) struct Joiners(JoinSet<Duration>);

impl Joiners {
    pub(crate) fn start(server: &Broker, scheme: Scheme) -> Self {
        let mut joining = JoinSet::new();
        for _ in 0..JOINERS {
            let client = client(server, scheme);
            joining.spawn(async move {
                let start = Instant::now();
                let producer = client.producer("t").open().await.expect("whoever keeps trying gets in");
                produce(&producer).await;
                start.elapsed()
            });
        }
        Self(joining)
    }

    /// How long it took each to be in, and to be served.
    pub(crate) async fn all_in(self) -> Latencies {
        Latencies::of(self.0.join_all().await)
    }
}

fn client(server: &Broker, scheme: Scheme) -> Client {
    let url = server.url(scheme);
    Client::builder().url(url).ca_file(server.ca()).build().expect("a client")
}

async fn producer(server: &Broker, scheme: Scheme) -> Producer {
    let producer = client(server, scheme).producer("t").linger(Duration::ZERO);
    let producer = producer.open().await.expect("a producer");
    produce(&producer).await;
    producer
}

async fn produce(producer: &Producer) {
    producer.send(Record::new(b"probe")).await.expect("room").await.expect("an acknowledgement");
}
