//! The heap of a connection: while its handshake is in flight, and when it is established and idle.
//!
//! Counted is what an end's own thread has allocated and not freed, as it was asked for: without the allocator's own share and
//! without the kernel's buffers. Many are held at the same time, and the sum is shared out among them.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use allocation_counter::measure;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use sealstream_benches::handshake::ends::{Held, Lane};
use sealstream_benches::handshake::subject::{Maker, Subject};
use sealstream_benches::handshake::world::{Case, Key, NAME, World};
use sealstream_benches::markdown::row;
use sealstream_transport::Scheme;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::table::Share;

/// Connections held while they are idle, and TCP peers that do not get on with their handshake.
const HELD: usize = 500;

/// QUIC peers that do not: their first datagrams wait in the buffer of one socket.
const HELD_QUIC: usize = 64;

/// Until acknowledgements have come, and the search for an MTU has ended.
const QUIET: Duration = Duration::from_secs(1);

/// Until everything that was said has been read and answered, and nothing is repeated yet.
const SETTLED: Duration = Duration::from_millis(300);

/// How far a peer gets with its handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    HalfOfHello,
    Hello,
}

/// Prints what is held, and how large the futures are.
pub(crate) fn print() {
    println!("\nHeap of an idle connection\n");
    let ends = ["ours, server", "bare", "ratio", "ours, client", "bare", "ratio"];
    row(["connection", "handshake"].into_iter().chain(ends));
    row(["---"; 8]);
    for case in cases() {
        let [ours, bare] = both(case).map(|subject| idle(&subject));
        let head = [of(case), case.handshake().to_owned()];
        let compared = |ours: Share, bare| [ours.to_string(), format!("{bare}"), ours.ratio(bare)];
        row(head.into_iter().chain(compared(ours.0, bare.0)).chain(compared(ours.1, bare.1)));
    }

    println!("\nHeap of a handshake in flight, of the server\n");
    row(["connection", "the peer", "ours", "bare", "ratio"]);
    row(["---"; 5]);
    for case in cases().into_iter().filter(|case| !case.resumed) {
        let all = [Said::Nothing, Said::HalfOfHello, Said::Hello];
        // A QUIC peer that has said nothing, or half of it, does not exist.
        for said in all.into_iter().filter(|&said| case.scheme != Scheme::Quic || said == Said::Hello) {
            let [ours, bare] = both(case).map(|subject| in_flight(&subject, case, said));
            let cells = [of(case), said.name().to_owned(), ours.to_string(), bare.to_string()];
            row(cells.into_iter().chain([ours.ratio(bare)]));
        }
    }

    println!("\nThe future of a handshake, bytes\n");
    row(["transport", "ours, boxed", "bare"]);
    row(["---"; 3]);
    for case in cases().into_iter().filter(|case| !case.resumed && !case.mutual) {
        let [ours, bare] = both(case).map(|subject| size_of_future(&subject, case));
        row([format!("{}, {}", Maker::Ours.name(case.scheme), Maker::Bare.name(case.scheme)), ours, bare]);
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for scheme in [Scheme::Tls, Scheme::Quic] {
        for mutual in [false, true] {
            let case = |resumed| Case { scheme, key: Key::EcdsaP256, mutual, resumed };
            cases.extend([false, true].map(case));
        }
    }
    cases
}

fn of(case: Case) -> String {
    let transport = if case.scheme == Scheme::Quic { "QUIC" } else { "TLS over TCP" };
    format!("{transport}{}", if case.mutual { ", client certificates" } else { "" })
}

fn both(case: Case) -> [Subject; 2] {
    let world = World::new(case);
    [Maker::Ours, Maker::Bare].map(|maker| Subject::new(&world, maker))
}

/// What a connection costs the server, and what it costs the client.
fn idle(subject: &Subject) -> (Share, Share) {
    let server = subject.server(|runtime, acceptor| {
        let mut held = Vec::with_capacity(HELD);
        let counted = measure(|| {
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for _ in 0..HELD {
                    tasks.spawn(acceptor.accept().await.0);
                }
                while let Some(established) = tasks.join_next().await {
                    held.push(established.expect("a connection"));
                }
                sleep(QUIET).await;
            });
        });
        (counted.bytes_current, held)
    });
    let mut held = Vec::with_capacity(HELD);
    let counted = measure(|| {
        subject.client.block_on(async {
            for _ in 0..HELD {
                held.push(subject.dialler.dial(Lane(0)).await);
            }
            sleep(QUIET).await;
        });
    });
    let (bytes, _held) = server.recv().expect("a server");
    (Share::of(bytes, HELD), Share::of(counted.bytes_current, HELD))
}

/// What a peer costs the server that gets so far and no further.
fn in_flight(subject: &Subject, case: Case, said: Said) -> Share {
    if case.scheme == Scheme::Quic {
        let _peers = say_hello(subject, HELD_QUIC);
        return shared(&begun(subject, HELD_QUIC), HELD_QUIC);
    }
    let hello = client_hello(case);
    let words = match said {
        Said::Nothing => &[],
        Said::HalfOfHello => &hello[..hello.len() / 2],
        Said::Hello => &hello[..],
    };
    let server = begun(subject, HELD);
    let peer = |_| {
        let mut peer = TcpStream::connect((Ipv4Addr::LOCALHOST, subject.port)).expect("a connection");
        peer.write_all(words).expect("a server that listens");
        peer
    };
    let _peers: Vec<_> = (0..HELD).map(peer).collect();
    shared(&server, HELD)
}

/// QUIC peers that have sent their first datagrams. Nobody drives them any more: what the server answers is not read.
fn say_hello(subject: &Subject, count: usize) -> JoinSet<Box<dyn Held>> {
    let mut peers = JoinSet::new();
    subject.client.block_on(async {
        for _ in 0..count {
            peers.spawn(subject.dialler.dial(Lane(0)));
        }
        sleep(SETTLED).await;
    });
    peers
}

type Begun = (i64, JoinSet<Box<dyn Held>>);

/// Has the server begin with so many, and wait for what else they say: what that costs, and the handshakes.
fn begun(subject: &Subject, count: usize) -> Receiver<Begun> {
    subject.server(move |runtime, acceptor| {
        let mut tasks = JoinSet::new();
        let counted = measure(|| {
            runtime.block_on(async {
                for _ in 0..count {
                    tasks.spawn(acceptor.accept().await.0);
                }
                sleep(SETTLED).await;
            });
        });
        (counted.bytes_current, tasks)
    })
}

fn shared(server: &Receiver<Begun>, count: usize) -> Share {
    let (bytes, _tasks) = server.recv().expect("a server");
    Share::of(bytes, count)
}

/// What a client says first.
fn client_hello(case: Case) -> Vec<u8> {
    let config = Arc::new(World::new(case).bare_client());
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a configuration");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a vector takes it all");
    hello
}

fn size_of_future(subject: &Subject, case: Case) -> String {
    let _peers = (case.scheme == Scheme::Quic).then(|| say_hello(subject, 1));
    let size = subject.server(|runtime, acceptor| runtime.block_on(acceptor.size_of_handshake()).to_string());
    let _peer = TcpStream::connect((Ipv4Addr::LOCALHOST, subject.port));
    size.recv().expect("a server")
}

impl Said {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "is silent",
            Self::HalfOfHello => "has sent half of its `ClientHello`",
            Self::Hello => "does not answer the server's first flight",
        }
    }
}
