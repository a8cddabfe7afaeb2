//! A UDP path that can be cut: datagrams are lost from then on, each way or one, as when a machine loses its power.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The largest datagram there is.
const DATAGRAM: usize = 65_535;

/// Clients served at once; datagrams of further ones are lost. More than a test has.
const MAX_CLIENTS: usize = 64;

const OPEN: u8 = 0;
const MUTE: u8 = 1;
const CUT: u8 = 2;

/// Forwards datagrams to one address, and its answers back.
#[derive(Debug)]
pub struct UdpProxy {
    entrance: SocketAddr,
    path: Arc<Path>,
    _task: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Path {
    state: AtomicU8,
    largest: AtomicUsize,
}

impl Path {
    fn state(&self) -> u8 {
        self.state.load(Ordering::SeqCst)
    }

    fn measure(&self, length: usize) {
        self.largest.fetch_max(length, Ordering::SeqCst);
    }
}

impl UdpProxy {
    /// A path to `target`.
    pub async fn new(target: SocketAddr) -> io::Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let entrance = front.local_addr()?;
        let path = Arc::<Path>::default();
        let mut task = JoinSet::new();
        task.spawn(forward(Arc::new(front), target, path.clone()));
        Ok(Self { entrance, path, _task: task })
    }

    /// Where the path begins.
    pub fn entrance(&self) -> SocketAddr {
        self.entrance
    }

    /// The largest datagram that came along, either way.
    pub fn largest(&self) -> usize {
        self.path.largest.load(Ordering::SeqCst)
    }

    /// Loses every answer from now on: the server hears, and is not heard.
    pub fn mute(&self) {
        self.path.state.store(MUTE, Ordering::SeqCst);
    }

    /// Loses every datagram from now on.
    pub fn cut(&self) {
        self.path.state.store(CUT, Ordering::SeqCst);
    }
}

async fn forward(front: Arc<UdpSocket>, target: SocketAddr, path: Arc<Path>) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        // An ICMP error of an earlier datagram is reported here: it concerns nobody now.
        let Ok((length, client)) = front.recv_from(&mut datagram).await else { continue };
        path.measure(length);
        if path.state() == CUT {
            continue;
        }
        if !clients.contains_key(&client) && clients.len() < MAX_CLIENTS {
            let Ok(back) = connected(target).await else { continue };
            clients.insert(client, back.clone());
            answers.spawn(answer(back, front.clone(), client, path.clone()));
        }
        if let Some(back) = clients.get(&client) {
            // A datagram that cannot be sent is a datagram lost.
            let _ = back.send(&datagram[..length]).await;
        }
    }
}

async fn connected(target: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(target).await?;
    Ok(Arc::new(socket))
}

async fn answer(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr, path: Arc<Path>) {
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let Ok(length) = back.recv(&mut datagram).await else { continue };
        path.measure(length);
        if path.state() == OPEN {
            let _ = front.send_to(&datagram[..length], client).await;
        }
    }
}
