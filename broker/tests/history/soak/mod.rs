//! Clients of the SDK that are to notice nothing but latency, while their broker is restarted and killed, their network is cut and
//! stalled, and the certificates of both sides are rotated.
//!
//! ```text
//! producers, reader, group's member ── tls:// ──► TCP path ──┐
//!     (each with an identity in files)                        ├──► the real broker, by turns stopped, killed, started
//! producers, reader, group's member ── quic:// ─► UDP path ──┘
//!
//! weather (a task)         cuts, stalls and heals each path by itself
//! operations (this thread) restarts, renewals, changes of CA, one after the other
//! ```
//!
//! No call of the SDK may fail: every disturbance is shorter than the times for which it tries. When all is over the checker reads the
//! history. `SEALSTREAM_SECONDS` sets how long it goes on, `SEALSTREAM_SEED` what happens.

mod papers;
mod paths;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sealstream_client::{Client, ClientEvent, RetryPolicy};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::papers::{CLIENTS, OPERATOR, Papers};
use self::paths::{Paths, Weather};
use crate::checker::check;
use crate::clients::{GROUP_NUMBER, PARTITIONS, UNDER_WAY, be_a_member, produce, read, value_of};
use crate::disk::number;
use crate::harness::{Broker, House, PATIENCE, Process};
use crate::record::{Action, GroupAction, History, Operation, Outcome, Told, now};

/// How long it goes on, unless `SEALSTREAM_SECONDS` says otherwise.
const SECONDS: u64 = 20;

/// Producers of each transport.
const PRODUCERS: u32 = 2;

/// How often each of them sends a record: ten minutes of it fit the memory of this test.
const EVERY: Duration = Duration::from_millis(5);

/// What a client whose certificate is not trusted any more is given to come back and stay, before that happens again.
const SETTLED: Duration = Duration::from_secs(8);

/// Clients of each transport are numbered from a multiple of this: producers, the reader, the member.
const OF_A_TRANSPORT: u32 = 100;

/// The member that reads what the others have left.
const LAST_MEMBER: u32 = 9_000;

#[test]
fn restarts_cuts_and_rotations_cost_the_application_nothing_but_time() {
    let seed = number("SEALSTREAM_SEED").unwrap_or_else(|| rand::random::<u64>() >> 16);
    println!("SEALSTREAM_SEED={seed}");
    let until = Instant::now() + Duration::from_secs(number("SEALSTREAM_SECONDS").unwrap_or(SECONDS));
    let mut random = StdRng::seed_from_u64(seed);
    let house = House::new();
    let mut papers = Papers::new(&house, &mut random);
    let broker = serve(&house, "127.0.0.1:0");
    let url = broker.tls();
    let partitions = PARTITIONS.to_string();
    let create = ["topic", "create", "t", "--partitions", &partitions, "--url", &url];
    let operator = ["--ca", "ca.pem", "--cert", "operator.pem", "--key", "operator.key"];
    house.run(create.into_iter().chain(operator)).ok();

    let runtime = Runtime::new().unwrap();
    let paths = Arc::new(runtime.block_on(Paths::to(broker.port)));
    let crowd = runtime.block_on(Crowd::start(&house, &paths));
    let weather = runtime.spawn(make_weather(Arc::clone(&paths), StdRng::seed_from_u64(seed + 1)));
    let (broker, done) = operate(&house, broker, &mut papers, &mut random, until);
    weather.abort();
    paths.turn(false, Weather::Fine);
    paths.turn(true, Weather::Fine);
    let (history, told) = runtime.block_on(async {
        let (operations, told) = crowd.end().await;
        (conclude(&house, &broker, operations).await, told)
    });
    broker.stop();
    let appended = history.log.values().map(Vec::len).sum::<usize>();
    println!("{done:?}\n{told:?}\n{appended} records, {} operations", history.operations.len());
    assert!(appended > 1_000, "hardly anything was produced");
    assert_nobody_was_told_of_an_error(&history);
    let violations = check(&history);
    assert!(
        violations.is_empty(),
        "SEALSTREAM_SEED={seed}: {} faults, the first: {:?}",
        violations.len(),
        violations[0]
    );
    house.run(["log", "verify", "sealstream-data"]).ok();
}

fn serve(house: &House, listen: &str) -> Broker {
    let mut command = house.command(["serve", "--config", "s.toml", "--listen", listen]);
    let mut process = Process::start(&mut command);
    let line = process.wait_for("listening on tls://");
    let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
    process.wait_for("listening on quic://");
    Broker { process, port }
}

/// What operators do, one thing after the other, until the time is up. How often each was done.
fn operate(
    house: &House,
    mut broker: Broker,
    papers: &mut Papers<'_>,
    random: &mut StdRng,
    until: Instant,
) -> (Broker, BTreeMap<&'static str, u32>) {
    let listen = format!("127.0.0.1:{}", broker.port);
    let mut done = BTreeMap::new();
    let begun = Instant::now();
    let mut fallen = begun;
    while Instant::now() < until {
        let what = match random.random_range(0..100) {
            0..15 => {
                broker.stop();
                broker = serve(house, &listen);
                "stops"
            }
            15..30 => {
                broker.process.kill();
                broker = serve(house, &listen);
                "kills"
            }
            30..45 => {
                papers.renew_server(random);
                "renewals of the broker, watched"
            }
            45..55 => {
                papers.renew_server(random);
                broker.process.signal("HUP");
                "renewals of the broker, by a signal"
            }
            55..75 => {
                papers.renew_client(CLIENTS[random.random_range(0..CLIENTS.len())], random);
                "renewals of a client"
            }
            75..85 => {
                papers.move_servers(&broker, random);
                "changes of the broker's CA"
            }
            _ if fallen.elapsed() > SETTLED => {
                papers.move_clients(&broker, random);
                fallen = Instant::now();
                "changes of the clients' CA"
            }
            _ => continue,
        };
        println!("{:7.2} s  {what}", begun.elapsed().as_secs_f64());
        *done.entry(what).or_default() += 1;
        std::thread::sleep(Duration::from_millis(random.random_range(50..1_000)));
    }
    (broker, done)
}

/// Cuts and stalls one path or the other, each for less than two seconds.
async fn make_weather(paths: Arc<Paths>, mut random: StdRng) {
    loop {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..2_000))).await;
        let over_udp = random.random();
        let weather = if random.random() { Weather::Cut } else { Weather::Stalled };
        paths.turn(over_udp, weather);
        // A cut of a moment loses connections and nothing else.
        let longest = if random.random() { 50 } else { 2_000 };
        tokio::time::sleep(Duration::from_millis(random.random_range(1..longest))).await;
        paths.turn(over_udp, Weather::Fine);
    }
}

/// All clients, and what they wrote down.
struct Crowd {
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
    notes: JoinSet<Vec<Operation>>,
    told: Arc<Mutex<BTreeMap<&'static str, u32>>>,
}

impl Crowd {
    async fn start(house: &House, paths: &Paths) -> Self {
        let stop = watch::channel(false).0;
        let (notes, mut written) = mpsc::channel(UNDER_WAY);
        let told = Arc::default();
        let mut crowd = Self { stop, clients: JoinSet::new(), notes: JoinSet::new(), told };
        crowd.notes.spawn(async move {
            let mut operations = Vec::new();
            while let Some(operation) = written.recv().await {
                operations.push(operation);
            }
            operations
        });
        for (scheme, first) in [("tls", OF_A_TRANSPORT), ("quic", 2 * OF_A_TRANSPORT)] {
            crowd.join(house, &paths.url(scheme), first, &notes).await;
        }
        crowd
    }

    async fn join(&mut self, house: &House, url: &str, first: u32, notes: &mpsc::Sender<Operation>) {
        let stopped = || self.stop.subscribe();
        let producers = client(house, url, "producer");
        let reader = client(house, url, "reader");
        let member = client(house, url, "member");
        for client in [&producers, &reader, &member] {
            self.clients.spawn(listen(client.clone(), Arc::clone(&self.told), stopped()));
        }
        for producer in first..first + PRODUCERS {
            let opened = producers.producer("t").linger(Duration::from_millis(1)).open().await.unwrap();
            self.clients.spawn(produce(opened, producer, EVERY, notes.clone(), stopped()));
        }
        let consumer = reader.consumer("t").open().await.unwrap();
        self.clients.spawn(read(consumer, first + PRODUCERS, notes.clone(), stopped()));
        let consumer = member.group_consumer("members").topic("t").commit_manually().open().await.unwrap();
        self.clients.spawn(be_a_member(consumer, first + PRODUCERS + 1, notes.clone(), stopped()));
    }

    /// Lets everybody finish, and gives what they wrote down, and of how many events they were told.
    async fn end(mut self) -> (Vec<Operation>, BTreeMap<&'static str, u32>) {
        self.stop.send_replace(true);
        let ended = async {
            while let Some(ended) = self.clients.join_next().await {
                ended.expect("the application was told of no error");
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("everybody finishes");
        let operations = self.notes.join_next().await.unwrap().unwrap();
        let told = self.told.lock().unwrap().clone();
        (operations, told)
    }
}

/// A client with the identity of that name.
fn client(house: &House, url: &str, name: &str) -> Client {
    let retry =
        RetryPolicy::default().min_backoff(Duration::from_millis(10)).max_backoff(Duration::from_millis(500));
    let [cert, key] = ["pem", "key"].map(|kind| house.path(&format!("{name}.{kind}")));
    let builder = Client::builder().url(url).name(name).ca_file(house.path("ca.pem"));
    builder.identity_files(cert, key).retry(retry).build().unwrap()
}

/// Counts what a client is told of.
async fn listen(
    client: Client,
    told: Arc<Mutex<BTreeMap<&'static str, u32>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut events = client.events();
    loop {
        let event = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            event = events.next() => event.unwrap(),
        };
        let what = match event {
            ClientEvent::Connected { .. } => "connections",
            ClientEvent::Disconnected { .. } => "lost connections",
            ClientEvent::Retrying { .. } => "attempts that failed",
            ClientEvent::CredentialsRenewed => "credentials renewed",
            ClientEvent::CredentialsRefused { .. } => "credentials refused",
            _ => "other events",
        };
        *told.lock().unwrap().entry(what).or_default() += 1;
    }
}

/// Nothing was refused, and of nothing is it unknown what became of it.
fn assert_nobody_was_told_of_an_error(history: &History) {
    for operation in &history.operations {
        let is_good = match operation.action {
            Action::Append { outcome, .. } => matches!(outcome, Outcome::At(_)),
            Action::Group(_, GroupAction::Commit { told, .. }) => told == Told::Done,
            _ => true,
        };
        assert!(is_good, "{operation:?}");
    }
}

/// Has a last member read what the others have left, then reads the log from its start to its end.
async fn conclude(house: &House, broker: &Broker, operations: Vec<Operation>) -> History {
    let mut history = History { operations, ..History::default() };
    let client = client(house, &broker.tls(), OPERATOR);
    let (notes, mut written) = mpsc::channel(UNDER_WAY);
    let member = client.group_consumer("members").topic("t").commit_manually().until_end();
    let member = member.open().await.unwrap();
    let (_stop, never) = watch::channel(false);
    let note = async {
        while let Some(operation) = written.recv().await {
            history.operations.push(operation);
        }
    };
    tokio::join!(note, be_a_member(member, LAST_MEMBER, notes, never));
    history.finished.insert(GROUP_NUMBER);
    history.deaths.push(now());
    let mut consumer = client.consumer("t").until_end().open().await.unwrap();
    while let Some(record) = consumer.next().await {
        let record = record.unwrap();
        history.log.entry(record.partition).or_default().push((record.offset, value_of(&record.value)));
    }
    history
}
