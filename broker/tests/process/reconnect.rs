//! Every client of a broker comes back at once when it was killed and started again.
//!
//! ```text
//! this test ── starts ──► broker (killed, started again)
//!     └─────── starts ──► the same test in other processes: its clients, each with an address and a session cache of its own
//!                 ◄── "everybody is connected": each has been acknowledged
//!                 ── "go" ────► produce on, come what may
//!                 ── "back" ──► the broker is there again
//!                 ◄── "everybody is back": each has been acknowledged by the new broker
//!                 ── end of input ──► close
//! ```
//!
//! `SEALSTREAM_CLIENTS` sets how many there are; with thousands the processes need as many open files as that.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sealstream_client::producer::Producer;
use sealstream_client::{Client, Record};
use sealstream_protocol::{ALPN, DEFAULT_PORT};
use sealstream_transport::observe::{HandshakeEnd, HandshakeObserver, HandshakeStart, Observers, Outcome};
use sealstream_transport::tls::{Material, Store, TrustSource};
use sealstream_transport::{QuicTransport, TcpTransport, Transport, TransportOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{Broker, House, Process};

/// Clients, unless `SEALSTREAM_CLIENTS` says otherwise.
const CLIENTS: usize = 500;

/// Clients of one process: a third of the open files that Linux systems commonly allow (`ulimit -Hn`).
const CLIENTS_OF_A_PROCESS: usize = 2500;

/// What a start after a crash may hold on to, in KiB, however many clients there are: the pages that recovery went through.
const RECOVERY: u64 = 8 << 10;

/// Set in the processes of clients: scheme, port, first client, clients.
const CROWD: &str = "SEALSTREAM_TEST_CROWD";

/// What a broker needs to know to hold them all.
const CONFIG: &str = "[limits]\nconnections = 20000\nsessions = 20000\n";

/// Between two records of a client, so that all clients together send 1,000 to 2,000 a second.
fn pause(clients: usize) -> Duration {
    Duration::from_millis(clients as u64) / 2 + Duration::from_millis(200)
}

#[test]
fn everybody_resumes_who_reconnects_at_once_over_tls() {
    reconnect(concat!(module_path!(), "::everybody_resumes_who_reconnects_at_once_over_tls"), "tls");
}

#[test]
fn everybody_resumes_who_reconnects_at_once_over_quic() {
    reconnect(concat!(module_path!(), "::everybody_resumes_who_reconnects_at_once_over_quic"), "quic");
}

fn reconnect(test: &str, scheme: &str) {
    raise_limit();
    if let Ok(task) = std::env::var(CROWD) {
        return be_a_crowd(&task);
    }
    let clients = std::env::var("SEALSTREAM_CLIENTS").map_or(CLIENTS, |clients| clients.parse().unwrap());
    let house = House::new();
    house.write("s.toml", CONFIG);
    let mut broker = serve(&house, 0);
    house.run(["topic", "create", "t", "--partitions", "16", "--url", &broker.tls()]).ok();
    let firsts = (0..clients).step_by(CLIENTS_OF_A_PROCESS);
    let mut crowds: Vec<Crowd> = firsts
        .map(|first| {
            Crowd::start(
                test,
                &house,
                scheme,
                broker.port,
                first,
                (clients - first).min(CLIENTS_OF_A_PROCESS),
            )
        })
        .collect();
    for crowd in &mut crowds {
        crowd.process.wait_for("everybody is connected");
    }
    let before = settled_memory(&broker);
    say(&mut crowds, "go");

    broker.process.kill();
    let mut broker = serve(&house, broker.port);
    let start = Instant::now();
    say(&mut crowds, "back");
    let reports: Vec<Report> =
        crowds.iter_mut().map(|crowd| Report::parse(&crowd.process.wait_for("everybody is back"))).collect();
    let taken = start.elapsed();
    let after = settled_memory(&broker);
    let resumed: usize = reports.iter().map(|report| report.resumed).sum();
    let handshakes: usize = reports.iter().map(|report| report.resumed + report.full).sum();
    eprintln!(
        "{scheme}: {clients} clients are back after {taken:.1?}, {resumed} of {handshakes} handshakes resumed; \
         the broker's memory: {before} KiB before, {after} KiB after"
    );
    crowds.into_iter().for_each(Crowd::end);
    broker.process.signal("TERM");
    assert!(broker.process.wait().success(), "{}", broker.process.said);
    assert!(handshakes >= clients);
    assert!(resumed * 100 >= handshakes * 95, "{resumed} of {handshakes} handshakes resumed");
    assert!(after <= before * 6 / 5 + RECOVERY, "memory grew from {before} to {after} KiB");
}

fn say(crowds: &mut [Crowd], word: &str) {
    for crowd in crowds {
        writeln!(crowd.told, "{word}").unwrap();
    }
}

/// A broker that listens on `port` and holds everybody.
fn serve(house: &House, port: u16) -> Broker {
    let listen = format!("127.0.0.1:{port}");
    let mut process =
        Process::start(&mut house.command(["serve", "--config", "s.toml", "--listen", &listen]));
    let line = process.wait_for("listening on tls://");
    let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
    process.wait_for("ready");
    Broker { process, port }
}

/// The memory that a broker has resident, in KiB, once it changes no more.
fn settled_memory(broker: &Broker) -> u64 {
    let resident = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", broker.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let mut last = resident();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        let now = resident();
        if now.abs_diff(last) * 100 <= last {
            return now;
        }
        last = now;
    }
    last
}

/// As many open files as the system allows.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// A process of clients, as the test sees it.
struct Crowd {
    process: Process,
    told: ChildStdin,
}

impl Crowd {
    fn start(test: &str, house: &House, scheme: &str, port: u16, first: usize, clients: usize) -> Self {
        let (_, name) = test.split_once("::").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(CROWD, format!("{scheme} {port} {first} {clients}"))
            .current_dir(house.path("."))
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut process = Process::start(&mut command);
        let told = process.child.stdin.take().unwrap();
        Self { process, told }
    }

    fn end(mut self) {
        drop(self.told);
        assert!(self.process.wait().success(), "{}", self.process.said);
    }
}

/// What a process of clients has to tell.
struct Report {
    full: usize,
    resumed: usize,
}

impl Report {
    fn parse(line: &str) -> Self {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
        Self { full: numbers.next().unwrap(), resumed: numbers.next().unwrap() }
    }
}

/// What the clients of a process wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Connected,
    /// The broker may go away at any time.
    Go,
    /// It is there again.
    Back,
    Over,
}

/// The other side: clients that do as they are told.
fn be_a_crowd(task: &str) {
    let [scheme, port, first, clients] = task.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (first, clients): (usize, usize) = (first.parse().unwrap(), clients.parse().unwrap());
    let url = format!("{scheme}://127.0.0.1:{port}");
    let (phase, phases) = watch::channel(Phase::Connected);
    let tally = Arc::new(Tally::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut members = JoinSet::new();
        for number in first..first + clients {
            members.spawn(member(number, url.clone(), Arc::clone(&tally), phases.clone(), pause(clients)));
        }
        tally.wait_for(&tally.connected, clients, &mut members).await;
        eprintln!("everybody is connected");
        next_line("go").await;
        tally.full.store(0, SeqCst);
        tally.resumed.store(0, SeqCst);
        phase.send_replace(Phase::Go);
        next_line("back").await;
        phase.send_replace(Phase::Back);
        tally.wait_for(&tally.back, clients, &mut members).await;
        eprintln!(
            "everybody is back: {} full, {} resumed",
            tally.full.load(SeqCst),
            tally.resumed.load(SeqCst)
        );
        next_line("").await;
        phase.send_replace(Phase::Over);
        while let Some(member) = members.join_next().await {
            member.unwrap();
        }
    });
}

async fn next_line(expected: &'static str) {
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    });
    read.await.unwrap();
}

/// What has become of the clients of a process.
#[derive(Default)]
struct Tally {
    connected: AtomicUsize,
    back: AtomicUsize,
    full: AtomicUsize,
    resumed: AtomicUsize,
}

impl Tally {
    /// Waits until a count reaches what it should. A member that fails ends the process.
    async fn wait_for(&self, count: &AtomicUsize, wanted: usize, members: &mut JoinSet<()>) {
        while count.load(SeqCst) < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(ended) = members.try_join_next() {
                ended.expect("a client was told of an error");
                panic!("a client has ended");
            }
        }
    }
}

impl HandshakeObserver for Tally {
    fn finish(&self, _: &HandshakeStart, end: &HandshakeEnd<'_>) {
        match end.outcome {
            Outcome::Full => self.full.fetch_add(1, SeqCst),
            Outcome::Resumed => self.resumed.fetch_add(1, SeqCst),
            Outcome::Failed(_) => 0,
        };
    }
}

/// One client: produces a record every now and then, and is told of no error.
async fn member(
    number: usize,
    url: String,
    tally: Arc<Tally>,
    mut phases: watch::Receiver<Phase>,
    pause: Duration,
) {
    let producer = connect(number, url, &tally).await;
    produce(&producer, number).await;
    tally.connected.fetch_add(1, SeqCst);
    phases.wait_for(|phase| *phase >= Phase::Go).await.unwrap();
    loop {
        let phase = *phases.borrow();
        produce(&producer, number).await;
        if phase == Phase::Back {
            break;
        }
        let jitter = f64::from(u32::try_from(number * 7919 % 1000).unwrap()) / 1000.0;
        tokio::time::sleep(pause.mul_f64(0.5 + jitter)).await;
    }
    tally.back.fetch_add(1, SeqCst);
    phases.wait_for(|phase| *phase == Phase::Over).await.unwrap();
    producer.close().await.unwrap();
}

async fn connect(number: usize, url: String, tally: &Arc<Tally>) -> Producer {
    let material = Material::new().with_roots([TrustSource::File("sealstream-data/dev-ca/ca.pem".into())]);
    let trust = Store::new(&material).unwrap().receiver();
    let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
    let observers = Observers::new([Arc::clone(tally) as Arc<dyn HandshakeObserver>]);
    let mut options = TransportOptions::new(ALPN, DEFAULT_PORT);
    options.local_address = Some(IpAddr::V4(Ipv4Addr::new(127, 1, high, low)));
    options.observers = observers;
    let transport: Arc<dyn Transport> = if url.starts_with("quic") {
        Arc::new(QuicTransport::new(trust, options))
    } else {
        Arc::new(TcpTransport::new(trust, options))
    };
    Client::builder().url(url).transport(transport).build().unwrap().producer("t").open().await.unwrap()
}

async fn produce(producer: &Producer, number: usize) {
    let delivery = producer.send(Record::new(format!("from client {number}").as_bytes())).await.unwrap();
    delivery.await.unwrap();
}
