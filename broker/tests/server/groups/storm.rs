//! Members that come, go, are cut off, hang and die, under a broker that is killed: every record reaches the group, and no partition has two
//! owners in one epoch.
//!
//! `SEALSTREAM_SEED` repeats a run, a tenth of `SEALSTREAM_ROUNDS` says how many times 250 random events there are.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::memory::MemoryStore;
use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::DescribeGroup;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_transport::Transport as _;
use sealstream_transport::memory::MemoryNetwork;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::member::impatient;
use super::worker::{Order, Worker};
use crate::harness::{PATIENCE, TestBroker, Wire, batch, greeting, server};

const PARTITIONS: u32 = 64;
const MEMBERS: usize = 8;
const EVENTS: u64 = 250;

/// Where the broker is now.
#[derive(Clone)]
pub(super) struct Door {
    network: MemoryNetwork,
    addr: std::net::SocketAddr,
}

impl Door {
    fn of(broker: &TestBroker) -> Self {
        Self { network: broker.network.clone(), addr: broker.addr() }
    }

    /// A session, or nothing if the broker is away.
    pub(super) async fn session(&self, kind: SessionKind) -> Option<Wire> {
        let outbound = self.network.connect(&server(self.addr)).await.ok()?;
        Wire::open(outbound.open().await.ok()?, greeting(kind)).await.ok()
    }
}

/// What everybody has seen.
#[derive(Default)]
pub(super) struct Seen {
    /// Who had a partition under an epoch.
    pub(super) owners: HashMap<(u32, u32), Uuid>,
    /// Which offsets reached whom, however often.
    pub(super) delivered: BTreeSet<(u32, u64)>,
}

struct Storm {
    random: StdRng,
    store: MemoryStore,
    broker: TestBroker,
    door: watch::Sender<Door>,
    seen: Arc<Mutex<Seen>>,
    workers: Vec<(mpsc::Sender<Order>, JoinHandle<()>)>,
    producer: Wire,
    ends: [u64; PARTITIONS as usize],
}

async fn over(store: &MemoryStore) -> TestBroker {
    TestBroker::over(impatient(), store, Arc::new(SystemClock)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_delivered_through_cuts_stalls_leaves_and_kills() {
    let seed = std::env::var("SEALSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("SEALSTREAM_SEED={seed}");
    let rounds: Option<u64> = std::env::var("SEALSTREAM_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds = rounds.map_or(1, |rounds| rounds.div_ceil(10));
    let mut storm = Storm::begin(seed).await;
    for _ in 0..rounds * EVENTS {
        storm.event().await;
    }
    storm.calm().await;
}

impl Storm {
    async fn begin(seed: u64) -> Self {
        let store = MemoryStore::new(4);
        let broker = over(&store).await;
        broker.create("events", PARTITIONS).await;
        let producer = broker.producer("events").await;
        let (door, _) = watch::channel(Door::of(&broker));
        let random = StdRng::seed_from_u64(seed);
        let ends = [0; PARTITIONS as usize];
        Self { random, store, broker, door, seen: Arc::default(), workers: Vec::new(), producer, ends }
    }

    async fn event(&mut self) {
        match self.random.random_range(0..100) {
            0..20 if self.workers.len() < MEMBERS => self.join(),
            0..30 => self.order(Order::Cut).await,
            30..37 => self.order(Order::Stall).await,
            37..43 => self.order(Order::Leave).await,
            43..48 => self.kill_one(),
            48..51 => self.restart().await,
            51..90 => self.produce().await,
            _ => tokio::time::sleep(Duration::from_millis(self.random.random_range(1..60))).await,
        }
    }

    fn join(&mut self) {
        let (orders, taken) = mpsc::channel(8);
        let worker = Worker::new(Uuid::new_v4(), self.door.subscribe(), Arc::clone(&self.seen));
        #[expect(clippy::disallowed_methods, reason = "the test awaits or aborts each of them")]
        let task = tokio::spawn(worker.run(taken));
        self.workers.push((orders, task));
    }

    /// Tells one of the members something; one that leaves is not counted any more.
    async fn order(&mut self, order: Order) {
        if self.workers.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.workers.len());
        let _ = self.workers[index].0.try_send(order); // it hangs, and has enough to do
        if matches!(order, Order::Leave) {
            let (orders, task) = self.workers.swap_remove(index);
            // It leaves at the end of its orders, also where this one found no room.
            drop(orders);
            tokio::time::timeout(PATIENCE, task).await.expect("it leaves").expect("it saw nothing wrong");
        }
    }

    /// A member dies without a word.
    fn kill_one(&mut self) {
        if !self.workers.is_empty() {
            let index = self.random.random_range(0..self.workers.len());
            let (_orders, task) = self.workers.swap_remove(index);
            assert!(!task.is_finished(), "it saw something wrong");
            task.abort();
        }
    }

    /// The broker is killed, and another starts over what it left.
    async fn restart(&mut self) {
        self.broker.running.abort();
        self.broker = over(&self.store).await;
        self.door.send_replace(Door::of(&self.broker));
        self.producer = self.broker.producer("events").await;
    }

    async fn produce(&mut self) {
        let partition = self.random.random_range(0..PARTITIONS);
        let id = Uuid::new_v4();
        let records = self.random.random_range(1..5);
        for sequence in 0..records {
            self.producer.produce(sequence, partition, batch(id, sequence, "x")).await;
        }
        for _ in 0..records {
            self.ends[partition as usize] = self.producer.recv_ack().await.base_offset + 1;
        }
    }

    /// Everybody is well: the group comes to the end of every partition, and has seen all of it.
    async fn calm(mut self) {
        while self.workers.len() < 3 {
            self.join();
        }
        let mut admin = self.broker.admin().await;
        let done = async {
            loop {
                admin.send(Message::DescribeGroup(DescribeGroup { name: "g".into() })).await;
                if let Message::GroupDescription(group) = admin.recv().await {
                    assert!(group.partitions.len() <= PARTITIONS as usize);
                    let owned = group.partitions.iter().filter(|at| at.owner.is_some()).count();
                    if owned == PARTITIONS as usize && group.partitions.iter().all(|at| at.lag() == 0) {
                        break;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE * 2, done).await.expect("the group catches up");
        for (orders, task) in self.workers.drain(..) {
            assert!(!task.is_finished(), "a member saw something wrong");
            orders.send(Order::Leave).await.expect("it lives");
            tokio::time::timeout(PATIENCE, task).await.expect("it leaves").expect("it saw nothing wrong");
        }
        let seen = self.seen.lock().expect("nobody panicked");
        let expected: BTreeSet<(u32, u64)> = (0..PARTITIONS)
            .flat_map(|partition| (0..self.ends[partition as usize]).map(move |offset| (partition, offset)))
            .collect();
        assert!(expected.len() > 20, "there was something to see");
        assert_eq!(seen.delivered, expected);
    }
}
