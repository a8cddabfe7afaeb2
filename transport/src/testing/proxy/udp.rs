//! A UDP path that can be cut: datagrams are lost from then on, each way or one, as when a machine loses its power.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The largest datagram there is.
const DATAGRAM: usize = 65_535;

/// Clients served at once; datagrams of further ones are lost. More than a test has.
const MAX_CLIENTS: usize = 64;

/// Forwards datagrams to one address at a time, and its answers back.
pub struct UdpProxy {
    entrance: SocketAddr,
    gate: Arc<Gate>,
    _task: JoinSet<()>,
}

/// What the path lets through.
struct Gate {
    target: Mutex<SocketAddr>,
    /// Datagrams towards the target before the path closes that way.
    there: AtomicUsize,
    back: AtomicBool,
    /// Sees every datagram that goes there.
    notice: Notice,
    /// The length of the largest datagram that is carried: larger ones are lost without a word.
    mtu: AtomicUsize,
    /// The length of the largest datagram that was carried.
    largest: AtomicUsize,
}

type Notice = Box<dyn Fn(&[u8]) + Send + Sync>;

impl UdpProxy {
    /// A path to `target`.
    pub async fn new(target: SocketAddr) -> io::Result<Self> {
        Self::noticing(target, |_| {}).await
    }

    /// A path to `target` on which every datagram that goes there is looked at.
    pub async fn noticing(
        target: SocketAddr,
        notice: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::with(target, usize::MAX, true, Box::new(notice)).await
    }

    /// A path that carries one datagram to `target`, and no answer.
    pub async fn for_one_datagram(target: SocketAddr) -> io::Result<Self> {
        Self::with(target, 1, false, Box::new(|_| {})).await
    }

    async fn with(target: SocketAddr, there: usize, back: bool, notice: Notice) -> io::Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let entrance = front.local_addr()?;
        let gate = Gate {
            target: Mutex::new(target),
            there: AtomicUsize::new(there),
            back: AtomicBool::new(back),
            notice,
            mtu: AtomicUsize::new(DATAGRAM),
            largest: AtomicUsize::new(0),
        };
        let gate = Arc::new(gate);
        let mut task = JoinSet::new();
        task.spawn(forward(Arc::new(front), gate.clone()));
        Ok(Self { entrance, gate, _task: task })
    }

    /// Where the path begins.
    pub fn entrance(&self) -> SocketAddr {
        self.entrance
    }

    /// The bytes of the largest datagram that came along, either way.
    pub fn largest(&self) -> usize {
        self.gate.largest.load(Ordering::SeqCst)
    }

    /// Leads to another address from now on, as if what was at the first had been started again.
    pub fn redirect(&self, target: SocketAddr) {
        *self.gate.target.lock().expect("nobody panics while holding it") = target;
    }

    /// Loses every datagram of more than `mtu` bytes from now on, without telling anybody.
    pub fn narrow(&self, mtu: usize) {
        self.gate.mtu.store(mtu, Ordering::SeqCst);
    }

    /// Loses every datagram from now on.
    pub fn cut(&self) {
        self.gate.there.store(0, Ordering::SeqCst);
        self.gate.back.store(false, Ordering::SeqCst);
    }
}

impl Gate {
    fn target(&self) -> SocketAddr {
        *self.target.lock().expect("nobody panics while holding it")
    }

    /// Whether a datagram of so many bytes is carried, which is remembered of the largest.
    fn carries(&self, length: usize) -> bool {
        let carried = length <= self.mtu.load(Ordering::SeqCst);
        if carried {
            self.largest.fetch_max(length, Ordering::SeqCst);
        }
        carried
    }

    fn lets_one_there(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.there.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }
}

impl fmt::Debug for UdpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpProxy").field("entrance", &self.entrance).finish_non_exhaustive()
    }
}

async fn forward(front: Arc<UdpSocket>, gate: Arc<Gate>) {
    let mut clients: HashMap<(SocketAddr, SocketAddr), Arc<UdpSocket>> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        // An ICMP error of an earlier datagram is reported here: it concerns nobody now.
        let Ok((length, client)) = front.recv_from(&mut datagram).await else { continue };
        if !gate.lets_one_there() {
            continue;
        }
        let target = gate.target();
        let way = (client, target);
        if !clients.contains_key(&way) && clients.len() < MAX_CLIENTS {
            let Ok(back) = connected(target).await else { continue };
            clients.insert(way, back.clone());
            answers.spawn(answer(back, front.clone(), client, gate.clone()));
        }
        if let Some(back) = clients.get(&way)
            && gate.carries(length)
        {
            (gate.notice)(&datagram[..length]);
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

async fn answer(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr, gate: Arc<Gate>) {
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let Ok(length) = back.recv(&mut datagram).await else { continue };
        if gate.back.load(Ordering::SeqCst) && gate.carries(length) {
            let _ = front.send_to(&datagram[..length], client).await;
        }
    }
}
