//! What a server holds while ten thousand TCP peers are connected and say nothing.
//!
//! The server is a process of its own, this program again, so that what it takes from the system is known; the peers are here,
//! at many addresses of this machine. It accepts as any server does: a task for each peer, which awaits the handshake.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use allocation_counter::measure;
use sealstream_benches::handshake::ends::Accept;
use sealstream_benches::handshake::subject::{Maker, runtime};
use sealstream_benches::handshake::world::{ALPN, Case, PATIENCE, World};
use sealstream_benches::handshake::{bare_tls, ours};
use sealstream_benches::markdown::row;
use sealstream_benches::process::{raise_limit, resident};
use sealstream_transport::{Scheme, TransportOptions};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::table::Share;

/// Peers, if the process may open as many files.
const PEERS: usize = 10_000;

/// Files that a process opens besides.
const OTHER_FILES: usize = 200;

/// Addresses that the peers come from: 50 of each, far below what one address may do.
const ADDRESSES: usize = 200;

/// Until every task has been polled.
const SETTLED: Duration = Duration::from_millis(500);

/// Set in the process that is the server; says whose.
const ROLE: &str = "SEALSTREAM_BENCH_SILENT_SERVER";

/// What the server has taken.
struct Taken {
    resident: i64,
    heap: i64,
}

/// Prints what a server of ours takes, and what one of bare tokio-rustls does.
pub(crate) fn print() {
    let peers = PEERS.min(raise_limit().saturating_sub(OTHER_FILES));
    println!("\n{peers} TCP peers that say nothing\n");
    if peers < PEERS {
        println!("No more than {peers} of {PEERS}: the limit of open files does not allow it.\n");
    }
    row(["server", "resident memory", "heap", "heap of one peer"]);
    row(["---"; 4]);
    for maker in [Maker::Ours, Maker::Bare] {
        let taken = serve_in_child(maker, peers);
        row([
            maker.name(Scheme::Tls).to_owned(),
            mebibytes(taken.resident),
            mebibytes(taken.heap),
            Share::of(taken.heap, peers).to_string(),
        ]);
    }
}

fn mebibytes(bytes: i64) -> String {
    format!("{:.1} MiB", f64::from(i32::try_from(bytes).expect("less than 2 GiB")) / f64::from(1 << 20))
}

fn serve_in_child(maker: Maker, peers: usize) -> Taken {
    let mut server = Command::new(env::current_exe().expect("this program"))
        .env(ROLE, if maker == Maker::Bare { "bare" } else { "ours" })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program again");
    let mut order = server.stdin.take().expect("a pipe");
    let mut report = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    let mut next = || report.next().expect("a line").expect("a readable line");
    let port = next().parse().expect("a port");
    writeln!(order, "{peers}").expect("a server that reads");
    let connected = runtime().block_on(connect(port, peers));
    let [resident, heap] = [next(), next()].map(|line| line.parse().expect("a number of bytes"));
    drop(connected);
    server.wait().expect("a server that ends");
    Taken { resident, heap }
}

async fn connect(port: u16, peers: usize) -> Vec<TcpStream> {
    let mut connected = Vec::with_capacity(peers);
    for peer in 0..peers {
        let socket = TcpSocket::new_v4().expect("a socket");
        let address = u8::try_from(peer % ADDRESSES).expect("no more than there are");
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 2, address), 0))).expect("a free port");
        connected.push(socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.expect("a connection"));
    }
    connected
}

/// Serves, if this process is to; tells so.
pub(crate) fn served_as_child() -> bool {
    let Ok(role) = env::var(ROLE) else { return false };
    raise_limit();
    let world = World::new(Case::usual(Scheme::Tls, false));
    let runtime = runtime();
    let acceptor: Box<dyn Accept> = if role == "bare" {
        Box::new(runtime.block_on(bare_tls::Acceptor::new(&world)))
    } else {
        // The defaults, with a longer deadline: everybody is counted who asks to come in.
        let mut options = TransportOptions::new(ALPN, 9);
        options.deadlines.handshake = PATIENCE;
        Box::new(runtime.block_on(ours::Acceptor::new(&world, options)))
    };
    println!("{}", acceptor.port());
    let mut order = String::new();
    std::io::stdin().read_line(&mut order).expect("an order");
    let peers: usize = order.trim().parse().expect("a number of peers");
    let mut tasks = JoinSet::new();
    let before = resident("self");
    let counted = measure(|| {
        runtime.block_on(async {
            for _ in 0..peers {
                tasks.spawn(acceptor.accept().await.0);
            }
            sleep(SETTLED).await;
        });
    });
    println!("{}\n{}", resident("self") - before, counted.bytes_current);
    true
}
