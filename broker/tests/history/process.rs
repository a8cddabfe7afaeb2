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

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sealstream_client::{Client, RetryPolicy};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::checker::check;
use crate::clients::{GROUP_NUMBER, PARTITIONS, UNDER_WAY, be_a_member, produce, read, value_of};
use crate::harness::{Broker, House, Process};
use crate::record::{History, Operation};

/// How often brokers are killed, unless `SEALSTREAM_ROUNDS` says otherwise.
const ROUNDS: u32 = 20;

/// Producers of each process of clients.
const PRODUCERS: u32 = 3;

/// How often each producer sends a record: some thousand a second of all of them. What matters is when, not how many.
const EVERY: Duration = Duration::from_millis(1);

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
        history.finished.insert(GROUP_NUMBER);
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
            clients.spawn(produce(opened, producer, EVERY, notes.clone(), stopped.clone()));
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
    let retry =
        RetryPolicy::default().min_backoff(Duration::from_millis(10)).max_backoff(Duration::from_millis(200));
    Client::builder().url(url).ca_file(ca).retry(retry).build().unwrap()
}
