//! Handshakes that are begun and abandoned: Client Hellos made beforehand, sent as fast as a core can or is told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, RootCertStore};
use sealstream_benches::broker::Broker;
use sealstream_protocol::ALPN;
use sealstream_transport::Scheme;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// The first argument of its process.
pub(crate) const ROLE: &str = "--be-the-flood";

/// Attempts under way at once over TCP.
const CONCURRENT: usize = 512;

/// An attempt over TCP is given up when it has not been answered by then: by impatient clients, of whom the broker is not rid
/// before it has worked for them.
const PATIENCE: Duration = Duration::from_millis(20);

/// Initial packets made beforehand, each with a connection ID of its own.
const INITIALS: usize = 20_000;

/// QUIC sockets, each with an address of its own.
const SOCKETS: u8 = 100;

/// A flood, from outside.
pub(crate) struct Flood {
    child: Child,
}

impl Flood {
    /// Starts one of so many attempts a second, or as many as the core can, and waits until it has what it needs.
    pub(crate) fn start(server: &Broker, scheme: Scheme, rate: f64) -> Self {
        let mut child = Command::new("nice")
            // Added to what this process has.
            .args(["-n", "29"])
            .arg(std::env::current_exe().expect("this program"))
            .args([ROLE, &scheme.to_string(), &server.port().to_string(), &rate.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a flood");
        let mut ready = String::new();
        // The buffer holds one line: nothing more is said until the end.
        let stdout = child.stdout.as_mut().expect("its stdout");
        BufReader::with_capacity(16, stdout).read_line(&mut ready).expect("a line");
        Self { child }
    }

    /// Ends it: attempts a second.
    pub(crate) fn stop(mut self) -> f64 {
        drop(self.child.stdin.take());
        let mut rate = String::new();
        self.child.stdout.take().expect("its stdout").read_to_string(&mut rate).expect("a line");
        self.child.wait().expect("its end");
        rate.trim().parse().expect("a rate")
    }
}

/// The flood's own process: `SCHEME PORT RATE`.
pub(crate) fn rage(arguments: &[String]) {
    let [scheme, port, rate] = arguments else { panic!("SCHEME PORT RATE") };
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().expect("a port")));
    let rate: f64 = rate.parse().expect("a rate");
    let over = Arc::new(AtomicBool::new(false));
    let attempts = Arc::new(AtomicU64::new(0));
    let initials = if scheme == "quic" { initials() } else { Vec::new() };
    println!("ready");
    let start = Instant::now();
    let ending = Arc::clone(&over);
    std::thread::spawn(move || {
        // Until the parent closes it.
        drop(std::io::stdin().read(&mut [0]));
        ending.store(true, Relaxed);
    });
    if initials.is_empty() {
        connections(target, rate, &attempts, &over);
    } else {
        datagrams(target, rate, &initials, &attempts, &over);
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let rate = attempts.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
    println!("{rate}");
    drop(std::io::stdout().flush());
}

/// Keeps a pace: how many attempts are due.
struct Metronome {
    start: Instant,
    rate: f64,
}

impl Metronome {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    fn due(&self) -> u64 {
        (self.start.elapsed().as_secs_f64() * self.rate) as u64
    }
}

fn connections(target: SocketAddr, rate: f64, attempts: &Arc<AtomicU64>, over: &Arc<AtomicBool>) {
    let hello: Arc<[u8]> = client_hello().into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let metronome = Arc::new(Metronome { start: Instant::now(), rate });
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..CONCURRENT {
            let (hello, attempts, over) = (Arc::clone(&hello), Arc::clone(attempts), Arc::clone(over));
            let metronome = Arc::clone(&metronome);
            let lane = u16::try_from(lane).expect("few lanes").to_be_bytes();
            tasks.spawn(async move {
                while !over.load(Relaxed) {
                    if attempts.load(Relaxed) >= metronome.due() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    attempts.fetch_add(1, Relaxed);
                    // Turned away is an attempt too.
                    drop(timeout(PATIENCE, attempt(target, lane, &hello)).await);
                }
            });
        }
        tasks.join_all().await;
    });
}

async fn attempt(target: SocketAddr, lane: [u8; 2], hello: &[u8]) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 2, lane[0], lane[1]), 0).into())?;
    // Gone without a trace, and without a port that waits.
    socket.set_zero_linger()?;
    let mut stream = socket.connect(target).await?;
    stream.write_all(hello).await?;
    // Until the broker has answered: then it has signed.
    stream.read(&mut [0; 64]).await.map(drop)
}

fn config() -> rustls::ClientConfig {
    let mut config = rustls::ClientConfig::builder_with_provider(sealstream_transport::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn client_hello() -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config()), name).expect("a connection");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("a Client Hello");
    hello
}

/// First packets of connections, caught on their way.
fn initials() -> Vec<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let trap = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
        let target = trap.local_addr().expect("its address");
        let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("an endpoint");
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config()).expect("QUIC by TLS 1.3");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        let mut initials = Vec::with_capacity(INITIALS);
        let mut datagram = vec![0; 2048];
        while initials.len() < INITIALS {
            let connecting = endpoint.connect(target, "localhost").expect("a connection");
            let length = trap.recv(&mut datagram).await.expect("a datagram");
            drop(connecting);
            // A close of an earlier one is short.
            if length >= 1200 {
                initials.push(datagram[..length].to_vec());
            }
        }
        initials
    })
}

fn datagrams(target: SocketAddr, rate: f64, initials: &[Vec<u8>], attempts: &AtomicU64, over: &AtomicBool) {
    let sockets: Vec<UdpSocket> = (0..SOCKETS)
        .map(|n| {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 2, 1, n), 0)).expect("a socket");
            socket.connect(target).expect("an address");
            socket
        })
        .collect();
    let metronome = Metronome { start: Instant::now(), rate };
    for (initial, socket) in initials.iter().cycle().zip(sockets.iter().cycle()) {
        while attempts.load(Relaxed) >= metronome.due() {
            if over.load(Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        // Refused by ICMP, or no room: lost, as datagrams are.
        drop(socket.send(initial));
        attempts.fetch_add(1, Relaxed);
        if over.load(Relaxed) {
            return;
        }
    }
}
