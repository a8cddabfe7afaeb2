//! Paths to a broker, one for TCP and one for UDP on the same port, that can be cut, stalled and healed.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a path does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fine,
    /// Connections are closed, those that there are and those that come; datagrams are lost, and what comes after them comes from
    /// elsewhere, as behind a router that has forgotten its flows.
    Cut,
    /// Bytes wait; datagrams are lost.
    Stalled,
}

/// Both paths.
pub(crate) struct Paths {
    pub(crate) port: u16,
    tcp: watch::Sender<Weather>,
    udp: watch::Sender<Weather>,
    _tasks: JoinSet<()>,
}

impl Paths {
    /// Leads to a broker on this machine.
    pub(crate) async fn to(broker: u16) -> Self {
        let (listener, socket) = bind().await;
        let port = listener.local_addr().unwrap().port();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, broker));
        let (tcp, udp) = (watch::channel(Weather::Fine).0, watch::channel(Weather::Fine).0);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, tcp.subscribe()));
        tasks.spawn(forward(Arc::new(socket), target, udp.subscribe()));
        Self { port, tcp, udp, _tasks: tasks }
    }

    /// Changes the weather of one of them.
    pub(crate) fn turn(&self, over_udp: bool, weather: Weather) {
        let path = if over_udp { &self.udp } else { &self.tcp };
        path.send_replace(weather);
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.port)
    }
}

/// A port that is free for both.
async fn bind() -> (TcpListener, UdpSocket) {
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            return (listener, socket);
        }
    }
    panic!("no port is free for both");
}

async fn accept(listener: TcpListener, target: SocketAddr, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(carry(client, target, weather.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either end closes it or the path is cut.
async fn carry(client: TcpStream, target: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let mut cut = weather.clone();
    let carrying = async {
        weather.wait_for(|weather| *weather != Weather::Stalled).await.ok()?;
        let server = TcpStream::connect(target).await.ok()?;
        for socket in [&client, &server] {
            socket.set_nodelay(true).ok()?;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let there = copy(from_client, to_server, weather.clone());
        let back = copy(from_server, to_client, weather.clone());
        // How it ends is the business of the two at its ends.
        let _ = tokio::join!(there, back);
        Some(())
    };
    tokio::select! {
        _ = cut.wait_for(|weather| *weather == Weather::Cut) => {}
        _ = carrying => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut bytes).await?;
        // The test is over where nobody makes the weather any more.
        let _ = weather.wait_for(|weather| *weather != Weather::Stalled).await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..length]).await?;
    }
}

/// Datagrams of all clients, each from a socket of its own.
async fn forward(front: Arc<UdpSocket>, target: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let mut ways: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; 65_535];
    loop {
        tokio::select! {
            Ok(()) = weather.changed() => {
                if *weather.borrow_and_update() == Weather::Cut {
                    ways.clear();
                    answers.abort_all();
                }
            }
            Some(_) = answers.join_next() => {}
            // An error of an earlier datagram concerns nobody now.
            received = front.recv_from(&mut datagram) => {
                let Ok((length, client)) = received else { continue };
                if *weather.borrow() != Weather::Fine {
                    continue;
                }
                let way = if let Some(way) = ways.get(&client) {
                    Arc::clone(way)
                } else {
                        let way = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
                    way.connect(target).await.unwrap();
                    answers.spawn(answer(way.clone(), front.clone(), client, weather.clone()));
                    ways.insert(client, way.clone());
                    way
                };
                // One that cannot be sent is one that is lost.
                let _ = way.send(&datagram[..length]).await;
            }
        }
    }
}

async fn answer(
    way: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    weather: watch::Receiver<Weather>,
) {
    let mut datagram = vec![0; 65_535];
    loop {
        // There is nobody at the other end for a moment.
        let Ok(length) = way.recv(&mut datagram).await else { continue };
        if *weather.borrow() == Weather::Fine {
            let _ = front.send_to(&datagram[..length], client).await;
        }
    }
}
