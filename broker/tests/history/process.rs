//! Clients in processes of their own, over both transports, of a broker that is killed, stopped and continued at random moments.
//!
//! ```text
//! this test ── starts, kills, stops ──► broker
//!     └─────── starts, stops ─────────► the same test in other processes: producers, a reader that follows, a group's member
//!                 ◄── "ready": each has been acknowledged
//!                 ── end of input ──► finish what is under way
//!                 ◄── a file of operations, one JSON object a line
//! ```
//!
//! The members of the group commit what they were given; when all is over, one more member reads what is left.
//!
//! `SEALSTREAM_ROUNDS` sets how often brokers are killed in both tests together, `SEALSTREAM_SEED` the moments.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sealstream_client::group::{GroupBatch, GroupConsumer};
use sealstream_client::{Client, Consumer, Producer, Record, RetryPolicy};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::checker::check;
use crate::harness::{Broker, House, Process};
use crate::record::{Action, History, Operation, Outcome, now};

/// How often brokers are killed, unless `SEALSTREAM_ROUNDS` says otherwise.
const ROUNDS: u32 = 20;

/// Partitions of the topic.
const PARTITIONS: u32 = 4;

/// Producers of each process of clients.
const PRODUCERS: u32 = 3;

/// Records of a producer that are under way.
const UNDER_WAY: usize = 64;

/// Set in the processes of clients: URL, first client, and the file for their operations.
const CLIENTS: &str = "SEALSTREAM_TEST_CLIENTS";

/// The producers, the reader and the group's member of one process are numbered from a multiple of this, in this order.
const CLIENTS_OF_A_PROCESS: u32 = 100;

/// The member that reads what the others have left.
const LAST_MEMBER: u32 = 9_000;

/// The group.
const GROUP: &str = "members";

#[test]
fn nothing_is_lost_repeated_or_reordered_though_brokers_are_killed_and_everybody_is_stopped() {
    let name = "nothing_is_lost_repeated_or_reordered_though_brokers_are_killed_and_everybody_is_stopped";
    survive(name, "disk");
}

#[test]
fn a_topic_in_memory_survives_the_same() {
    survive("a_topic_in_memory_survives_the_same", "memory");
}

fn survive(test: &str, durability: &str) {
    if let Ok(task) = std::env::var(CLIENTS) {
        return be_clients(&task);
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SEALSTREAM_SEED").unwrap_or_else(|| rand::random::<u64>() >> 16);
    let rounds = number("SEALSTREAM_ROUNDS").unwrap_or(ROUNDS.into()).div_ceil(2);
    println!("SEALSTREAM_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let house = House::new();
    let mut broker = house.serve();
    let listen = format!("127.0.0.1:{}", broker.port);
    let (partitions, url) = (PARTITIONS.to_string(), broker.tls());
    let create = ["topic", "create", "t", "--partitions", &partitions, "--durability", durability];
    house.run(create.into_iter().chain(["--url", &url])).ok();
    let mut crowds = [
        Crowd::start(test, &house, &broker.tls(), CLIENTS_OF_A_PROCESS),
        Crowd::start(test, &house, &broker.quic(), 2 * CLIENTS_OF_A_PROCESS),
    ];
    for crowd in &mut crowds {
        crowd.process.wait_for("ready");
    }
    for _ in 0..rounds {
        pause(&mut random, 20..400);
        if random.random_ratio(1, 4) {
            stop_and_continue(&broker.process, &mut random);
        }
        if random.random_ratio(1, 4) {
            let crowd = &crowds[random.random_range(0..crowds.len())];
            stop_and_continue(&crowd.process, &mut random);
        }
        broker.process.kill();
        broker = house.serve_on(&listen);
    }
    let mut operations = Vec::new();
    for crowd in crowds {
        operations.extend(crowd.end());
    }
    let history = conclude(&house, &broker, operations);
    broker.stop();
    let appended = history.log.values().map(Vec::len).sum::<usize>();
    println!("{rounds} kills, {appended} records, {} operations", history.operations.len());
    assert!(appended as u64 > 10 * rounds, "hardly anything was produced");
    assert_everything_reached_the_group(&history);
    let violations = check(&history);
    assert!(
        violations.is_empty(),
        "SEALSTREAM_SEED={seed}: {} faults, the first: {:?}",
        violations.len(),
        violations[0]
    );
    house.run(["log", "verify", "sealstream-data"]).ok();
}

fn pause(random: &mut StdRng, millis: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(random.random_range(millis)));
}

/// SIGSTOP, and SIGCONT after a moment: whoever is stopped notices nothing, all others see him hang.
fn stop_and_continue(process: &Process, random: &mut StdRng) {
    process.signal("STOP");
    pause(random, 50..1_500);
    process.signal("CONT");
    pause(random, 0..200);
}

fn is_member(client: u32) -> bool {
    client == LAST_MEMBER || client % CLIENTS_OF_A_PROCESS == PRODUCERS + 1
}

/// At least once: whatever is in the log was given to a member.
fn assert_everything_reached_the_group(history: &History) {
    let given: BTreeSet<(u32, u64)> = history
        .operations
        .iter()
        .filter(|operation| is_member(operation.client))
        .filter_map(|operation| match operation.action {
            Action::Read { offset, .. } => Some((operation.partition, offset)),
            _ => None,
        })
        .collect();
    for (&partition, log) in &history.log {
        for &(offset, _) in log {
            assert!(
                given.contains(&(partition, offset)),
                "partition {partition}, offset {offset} reached no member"
            );
        }
    }
}

/// Has a last member read what the others have left, then reads the log from its start to its end.
fn conclude(house: &House, broker: &Broker, operations: Vec<Operation>) -> History {
    let mut history = History { operations, ..History::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = client(&broker.tls(), house.path("sealstream-data/dev-ca/ca.pem"));
        let (notes, mut written) = mpsc::channel(4 * UNDER_WAY);
        let member =
            client.group_consumer(GROUP).topic("t").commit_manually().until_end().open().await.unwrap();
        let (_stop, never) = watch::channel(false);
        let (operations, ()) = tokio::join!(
            async {
                let mut operations = Vec::new();
                while let Some(operation) = written.recv().await {
                    operations.push(operation);
                }
                operations
            },
            be_a_member(member, LAST_MEMBER, notes, never),
        );
        history.operations.extend(operations);
        let mut consumer = client.consumer("t").until_end().open().await.unwrap();
        while let Some(record) = consumer.next().await {
            let record = record.unwrap();
            history.log.entry(record.partition).or_default().push((record.offset, value_of(&record.value)));
        }
    });
    history
}

/// A process of clients, as the test sees it.
struct Crowd {
    process: Process,
    told: ChildStdin,
    file: PathBuf,
}

impl Crowd {
    fn start(test: &str, house: &House, url: &str, first: u32) -> Self {
        let file = house.path(&format!("operations-{first}"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([&format!("process::{test}"), "--exact", "--nocapture", "--test-threads=1"])
            .env(CLIENTS, format!("{url} {first} {}", file.display()))
            .current_dir(house.path("."))
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut process = Process::start(&mut command);
        let told = process.child.stdin.take().unwrap();
        Self { process, told, file }
    }

    /// Lets it finish, and gives what its clients have written down.
    fn end(mut self) -> Vec<Operation> {
        drop(self.told);
        assert!(self.process.wait().success(), "{}", self.process.said);
        let lines = BufReader::new(std::fs::File::open(&self.file).unwrap()).lines();
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }
}

/// The other side: producers and a reader that go on until the input ends.
fn be_clients(task: &str) {
    let [url, first, file] = task.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let first: u32 = first.parse().unwrap();
    let file = std::fs::File::create(file).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        // As many as are under way: nobody waits for the disk.
        let (notes, written) = mpsc::channel(4 * UNDER_WAY);
        let writer = tokio::task::spawn_blocking(move || write_down(file, written));
        let mut clients = JoinSet::new();
        for producer in first..first + PRODUCERS {
            let opened = client(url, "sealstream-data/dev-ca/ca.pem".into()).producer("t");
            let opened = opened.linger(Duration::from_millis(1)).batch_records(16).open().await.unwrap();
            clients.spawn(produce(opened, producer, notes.clone(), stopped.clone()));
        }
        let consumer =
            client(url, "sealstream-data/dev-ca/ca.pem".into()).consumer("t").open().await.unwrap();
        clients.spawn(read(consumer, first + PRODUCERS, notes.clone(), stopped.clone()));
        let member = client(url, "sealstream-data/dev-ca/ca.pem".into()).group_consumer(GROUP).topic("t");
        let member = member.commit_manually().open().await.unwrap();
        clients.spawn(be_a_member(member, first + PRODUCERS + 1, notes, stopped));
        eprintln!("ready");
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
            .await
            .unwrap()
            .unwrap();
        stop.send_replace(true);
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        writer.await.unwrap();
    });
}

fn write_down(file: std::fs::File, mut operations: mpsc::Receiver<Operation>) {
    let mut file = BufWriter::new(file);
    while let Some(operation) = operations.blocking_recv() {
        serde_json::to_writer(&mut file, &operation).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.flush().unwrap();
}

/// A client that waits for its broker as long as any test runs.
fn client(url: &str, ca: PathBuf) -> Client {
    let retry = RetryPolicy {
        min_backoff: Duration::from_millis(10),
        max_backoff: Duration::from_millis(200),
        ..RetryPolicy::default()
    };
    Client::builder().url(url).ca_file(ca).retry(retry).build().unwrap()
}

/// Produces values that name the producer and count, to one partition after the other, and writes down what it is told of each.
async fn produce(
    producer: Producer,
    number: u32,
    notes: mpsc::Sender<Operation>,
    stopped: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(UNDER_WAY));
    let mut under_way = JoinSet::new();
    for count in 0_u32.. {
        if *stopped.borrow() {
            break;
        }
        let permit = Arc::clone(&permits).acquire_owned().await.unwrap();
        let value = u64::from(number) << 32 | u64::from(count);
        let partition = count % PARTITIONS;
        let begun = now();
        let delivery = producer.send(Record::new(&value.to_le_bytes()).partition(partition)).await.unwrap();
        let notes = notes.clone();
        under_way.spawn(async move {
            let outcome = match delivery.await {
                Ok(stored) => Outcome::At(stored.offset),
                Err(error) if error.maybe_stored() => Outcome::Unknown,
                Err(error) => panic!("the application was told of an error: {error}"),
            };
            let action = Action::Append { value, outcome };
            let operation = Operation { client: number, begun, ended: now(), partition, action };
            notes.send(operation).await.unwrap();
            drop(permit);
        });
        while let Some(ended) = under_way.try_join_next() {
            ended.unwrap();
        }
        // Some thousand records a second of all producers: what matters is when, not how many.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    producer.close().await.unwrap();
}

/// Follows the topic, and writes down what it is given.
async fn read(
    mut consumer: Consumer,
    number: u32,
    notes: mpsc::Sender<Operation>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let record = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            record = consumer.next() => record.unwrap().unwrap(),
        };
        let time = now();
        let action = Action::Read { pass: 0, offset: record.offset, value: value_of(&record.value) };
        let operation =
            Operation { client: number, begun: time, ended: time, partition: record.partition, action };
        notes.send(operation).await.unwrap();
    }
    consumer.close().await;
}

/// Reads as a member of the group, commits each batch, and writes down what it is given and told.
async fn be_a_member(
    mut member: GroupConsumer,
    number: u32,
    notes: mpsc::Sender<Operation>,
    mut stopped: watch::Receiver<bool>,
) {
    // The partitions that it has, with the epochs.
    let mut held = BTreeSet::new();
    loop {
        let batch = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            batch = member.next_batch() => match batch {
                Some(batch) => batch.unwrap(),
                None => break,
            },
        };
        let (partition, begun) = (batch.partition, now());
        let note = |action, ended| Operation { client: number, begun, ended, partition, action };
        if held.insert((partition, batch.assignment)) {
            // It begins where the group had come when the partition became its own.
            let offset = Some(batch.first_offset());
            notes.send(note(Action::Committed { offset }, begun)).await.unwrap();
        }
        for (offset, value) in records_of(&batch) {
            let action = Action::Read { pass: batch.assignment, offset, value };
            notes.send(note(action, begun)).await.unwrap();
        }
        let begun = now();
        let committed = member.commit().await;
        if let Err(error) = &committed {
            assert!(error.is_lost_assignment(), "the application was told of an error: {error}");
        }
        let action = Action::Commit { offset: batch.next_offset(), done: committed.is_ok() };
        notes.send(Operation { client: number, begun, ended: now(), partition, action }).await.unwrap();
    }
    member.close().await.unwrap();
}

fn records_of(batch: &GroupBatch) -> Vec<(u64, u64)> {
    let records = batch.records().map(|record| record.unwrap());
    records.map(|record| (record.offset, value_of(&record.value))).collect()
}

fn value_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}
