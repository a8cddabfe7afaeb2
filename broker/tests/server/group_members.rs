//! Groups of real consumers on a real broker, whose members come, go, and break.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::memory::MemoryStore;
use sealstream_broker::server::{BrokerOptions, GroupOptions};
use sealstream_client::group::{AssignedPartition, GroupConsumer, GroupEvent, GroupEvents};
use sealstream_client::{Client, Producer, Record};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::harness::{PATIENCE, TestBroker, eventually};
use crate::leash::Leash;

const PARTITIONS: u32 = 64;

/// A grace that a test can wait for, and that a busy machine can keep.
const GRACE: Duration = Duration::from_millis(1_500);

/// Members at a time.
const MEMBERS: usize = 6;

/// Rounds, or a tenth of `SEALSTREAM_ROUNDS` for more: each takes ten seconds.
fn rounds() -> u64 {
    let rounds: Option<u64> = std::env::var("SEALSTREAM_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    rounds.map_or(2, |rounds| rounds.div_ceil(10))
}

/// Things that happen in a round.
const HAPPENINGS: u32 = 40;

fn seed_of(round: u64) -> u64 {
    let base = std::env::var("SEALSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    base.unwrap_or_else(rand::random::<u64>).wrapping_add(round)
}

fn options() -> BrokerOptions {
    let groups =
        GroupOptions { grace: GRACE, heartbeat: GRACE / 5, release: GRACE, ..GroupOptions::default() };
    BrokerOptions { groups, ..BrokerOptions::default() }
}

/// What a member was given: when in the order of all things, by its number.
#[derive(Clone, Debug)]
struct Given {
    member: usize,
    partition: u32,
    assignment: u32,
    offset: u64,
}

/// What all members were given.
#[derive(Clone, Debug, Default)]
struct History(Arc<Mutex<Vec<Given>>>);

impl History {
    fn add(&self, given: Given) {
        self.0.lock().unwrap().push(given);
    }

    fn all(&self) -> Vec<Given> {
        self.0.lock().unwrap().clone()
    }

    fn seen(&self) -> BTreeSet<(u32, u64)> {
        self.0.lock().unwrap().iter().map(|given| (given.partition, given.offset)).collect()
    }

    /// In one epoch a partition is given to one member, in order, nothing twice and nothing left out.
    fn check(&self) {
        let mut epochs: BTreeMap<(u32, u32), (usize, u64)> = BTreeMap::new();
        for given in self.all() {
            let Given { member, partition, assignment, offset } = given;
            let last = epochs.entry((partition, assignment)).or_insert((member, offset.wrapping_sub(1)));
            assert_eq!(last.0, member, "two owners of partition {partition} in epoch {assignment}");
            assert_eq!(last.1.wrapping_add(1), offset, "partition {partition} in epoch {assignment}");
            last.1 = offset;
        }
    }
}

/// Sends records to random partitions until it is told to stop; what was acknowledged: partition and offset.
async fn produce(producer: Producer, stop: CancellationToken, seed: u64) -> BTreeSet<(u32, u64)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut stored = BTreeSet::new();
    while !stop.is_cancelled() {
        let mut deliveries = Vec::new();
        for _ in 0..50 {
            let record = Record::new("x").partition(random.random_range(0..PARTITIONS));
            deliveries.push(producer.send(record).await.unwrap());
        }
        for delivery in deliveries {
            let metadata = delivery.await.unwrap();
            stored.insert((metadata.partition, metadata.offset));
        }
        sleep(Duration::from_millis(2)).await;
    }
    producer.close().await.unwrap();
    stored
}

/// A member that reads until it is told to stop, then leaves.
struct Member {
    leash: Leash,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Member {
    async fn join(broker: &TestBroker, number: usize, history: &History) -> Self {
        let leash = Leash::to(&broker.network, broker.addr()).await;
        let consumer = open(&leash.client()).await;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(read(consumer, number, history.clone(), stop.clone()));
        Self { leash, stop, tasks }
    }

    /// It leaves in order.
    async fn leave(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    /// It is gone without a word.
    async fn kill(mut self) {
        self.leash.end();
        self.tasks.shutdown().await;
    }
}

async fn open(client: &Client) -> GroupConsumer {
    let builder = client.group_consumer("g").topic("t").commit_every(Duration::from_millis(50));
    timeout(PATIENCE, builder.open()).await.expect("the group lets it in").unwrap()
}

async fn read(mut consumer: GroupConsumer, member: usize, history: History, stop: CancellationToken) {
    loop {
        let record = tokio::select! {
            record = consumer.next() => record.expect("not the end").expect("a record"),
            () = stop.cancelled() => break,
        };
        let (partition, offset) = (record.partition, record.offset);
        history.add(Given { member, partition, assignment: record.assignment, offset });
    }
    // What could not be committed in time is given again to others.
    let _ = consumer.close().await;
}

async fn round(seed: u64) {
    println!("SEALSTREAM_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let broker = TestBroker::with(options()).await;
    broker.create("t", PARTITIONS).await;
    let far = Leash::to(&broker.network, broker.addr()).await;
    let producer = far.client().producer("t").open().await.unwrap();
    let (history, stop) = (History::default(), CancellationToken::new());
    let mut producing = JoinSet::new();
    producing.spawn(produce(producer, stop.clone(), seed));

    let mut members: Vec<Member> = Vec::new();
    let mut number = 0;
    for _ in 0..HAPPENINGS {
        let one = (!members.is_empty()).then(|| random.random_range(0..members.len()));
        match (random.random_range(0..100), one) {
            (0..35, _) | (_, None) if members.len() < MEMBERS => {
                members.push(Member::join(&broker, number, &history).await);
                number += 1;
            }
            (35..50, Some(one)) => members.swap_remove(one).leave().await,
            (50..60, Some(one)) => members.swap_remove(one).kill().await,
            (60..85, Some(one)) => members[one].leash.cut(),
            (85..100, Some(one)) => {
                let pause = GRACE.mul_f64(random.random_range(0.05..1.5));
                members[one].leash.hold_still(true);
                sleep(pause).await;
                members[one].leash.hold_still(false);
            }
            _ => {}
        }
        sleep(Duration::from_millis(random.random_range(0..150))).await;
    }
    if members.is_empty() {
        members.push(Member::join(&broker, number, &history).await);
    }
    stop.cancel();
    let stored = producing.join_next().await.unwrap().unwrap();
    assert!(stored.len() > 1_000, "only {} records", stored.len());
    let missing = || stored.difference(&history.seen()).count();
    let all = timeout(PATIENCE * 3, async {
        while missing() > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(all.await.is_ok(), "{} of {} records were never delivered", missing(), stored.len());
    for member in members {
        member.leave().await;
    }
    history.check();
    let given = history.all().len();
    println!("{} records stored, {given} given, {number} members", stored.len());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_delivered_and_no_partition_has_two_owners_whatever_members_do() {
    for index in 0..rounds() {
        round(seed_of(index)).await;
    }
}

/// Members that have shared all partitions among them.
async fn settled(broker: &TestBroker, count: usize) -> Vec<(Leash, GroupConsumer)> {
    let mut members = Vec::new();
    for _ in 0..count {
        let leash = Leash::to(&broker.network, broker.addr()).await;
        let consumer = open(&leash.client()).await;
        members.push((leash, consumer));
    }
    let even = PARTITIONS as usize / count;
    eventually("everybody has as much as anybody", async || {
        members.iter().all(|(_, consumer)| consumer.assignment().len() == even)
    })
    .await;
    members
}

fn assignments(members: &[(Leash, GroupConsumer)]) -> Vec<Vec<AssignedPartition>> {
    members.iter().map(|(_, consumer)| consumer.assignment()).collect()
}

/// Waits until a member is back after a cut, and that nothing moved meanwhile.
async fn back(events: &mut GroupEvents) {
    loop {
        match timeout(PATIENCE, events.next()).await.expect("it comes back").expect("it lives") {
            GroupEvent::Disconnected => {}
            GroupEvent::Reconnected { .. } => return,
            other => panic!("a cut within the grace brought {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_and_pauses_within_the_grace_move_nothing() {
    let seed = seed_of(0);
    println!("SEALSTREAM_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let groups = GroupOptions { grace: PATIENCE, heartbeat: GRACE / 5, ..GroupOptions::default() };
    let broker = TestBroker::with(BrokerOptions { groups, ..BrokerOptions::default() }).await;
    broker.create("t", PARTITIONS).await;
    let members = settled(&broker, 4).await;
    let before = assignments(&members);
    for _ in 0..20 * rounds() {
        let (leash, consumer) = &members[random.random_range(0..members.len())];
        let mut events = consumer.events();
        let pause = Duration::from_millis(random.random_range(0..200));
        if random.random_bool(0.3) {
            leash.hold_still(true);
            sleep(pause).await;
            leash.hold_still(false);
        } else {
            leash.cut();
            back(&mut events).await;
        }
    }
    assert_eq!(assignments(&members), before);
    broker.stop().await;
}

/// Sends a record to each partition and takes them; none may have been seen before.
async fn pass_on(producer: &Producer, consumer: &mut GroupConsumer, seen: &mut BTreeSet<(u32, u64)>) {
    for partition in 0..PARTITIONS {
        producer.send(Record::new("x").partition(partition)).await.unwrap().await.unwrap();
    }
    for _ in 0..PARTITIONS {
        let record = timeout(PATIENCE, consumer.next()).await.expect("in time").unwrap().unwrap();
        assert!(seen.insert((record.partition, record.offset)), "twice: {record:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_broker_finds_its_members_and_repeats_nothing() {
    let store = MemoryStore::new(4);
    let broker = TestBroker::over(options(), &store, Arc::new(SystemClock)).await;
    broker.create("t", PARTITIONS).await;
    let leash = Leash::to(&broker.network, broker.addr()).await;
    let producer = leash.client().producer("t").open().await.unwrap();
    let mut consumer = open(&leash.client()).await;
    let mut seen = BTreeSet::new();
    pass_on(&producer, &mut consumer, &mut seen).await;
    let before = consumer.assignment();
    let mut events = consumer.events();
    broker.stop().await;
    let broker = TestBroker::over(options(), &store, Arc::new(SystemClock)).await;
    leash.lead_to(&broker.network, broker.addr());
    back(&mut events).await;
    assert_eq!(consumer.assignment(), before);
    pass_on(&producer, &mut consumer, &mut seen).await;
    consumer.commit().await.unwrap();
    consumer.close().await.unwrap();
    // The next member goes on where this one was.
    let mut next = open(&leash.client()).await;
    producer.send(Record::new("x").partition(7)).await.unwrap().await.unwrap();
    let record = timeout(PATIENCE, next.next()).await.expect("in time").unwrap().unwrap();
    assert_eq!((record.partition, record.offset), (7, 2));
    next.close().await.unwrap();
    broker.stop().await;
}
