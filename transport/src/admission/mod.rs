//! Whom the listeners of a process let in, decided before any cryptography, and when a handshake may compute.
//!
//! ```text
//! state      holds                          bounded by                       ends with
//! backlog    kernel memory                  accept backlog                   accept
//! silent     ConnectionPlace                connections, rate per address    its first byte, or the handshake's deadline
//! waiting    ConnectionPlace                the same; QUIC: handshakes       a place in flight, first come first served
//! in flight  ConnectionPlace,               handshakes                       the handshake's end
//!            HandshakePlace; for the
//!            time of one step a Turn        turns
//! connected  ConnectionPlace                connections                      its close
//! ```
//!
//! Whoever is shed is told at once and at no cost: a plain close on TCP, a refusal on QUIC. A QUIC peer has spoken before it is
//! seen, but perhaps with a forged address. Those that have not proven theirs share one bucket. When that is empty, or many
//! handshakes are under way, they must prove it by a Retry, and are counted by their own address when they come back: a flood
//! of forged addresses costs an honest peer one round trip, and no place.
//!
//! # Memory of 10,000 silent peers
//!
//! A peer that has said nothing over TCP has a socket (in the kernel about 4 KB, buffers none), its registration with the
//! runtime, a place and a task that waits to read: 1.4 KiB of heap by measurement, so that 10,000 of them cost 14 MiB, and
//! 40 MB in the kernel. They hold no TLS state and no place in flight, so that they lock nobody out. Over QUIC
//! nobody is silent: a first packet of 1.2 to 1.5 KB is held by those in flight and by as many again that wait.
//! Rate counters are bounded by [`MAX_ADDRESSES`].

mod address;
mod counts;
mod limits;
mod place;
mod semaphore;
#[cfg(test)]
mod tests;
mod turn;
#[cfg(test)]
mod turn_tests;

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::gcra::{Table, Tat};
use place::Kind;
use semaphore::ResizableSemaphore;

pub use address::AddressKey;
pub use counts::{AdmissionCounts, Shed};
pub use limits::{
    AdmissionLimits, AdmissionLimitsError, DEFAULT_ADDRESS_RATE, DEFAULT_CONNECTIONS, DEFAULT_HANDSHAKES,
    DEFAULT_RETRY_ABOVE, DEFAULT_UNVALIDATED_RATE, MAX_PLACES,
};
pub(crate) use place::ConnectionPlace;

/// Addresses whose rate is remembered. An address is forgotten once its bucket is full, after 2 s at the defaults, so these
/// are the addresses of 2 s: three times as many as may be connected. An entry takes 16 + 16 bytes, and in the index, which is
/// half full, 2 × 25: 82 bytes, 5.4 MB in all.
pub const MAX_ADDRESSES: usize = 65_536;

/// Decides whom the listeners of a process let in. Cheap to clone: clones share everything.
///
/// ```
/// use sealstream_transport::TransportOptions;
/// use sealstream_transport::admission::{Admission, AdmissionLimits};
///
/// let mut limits = AdmissionLimits::default();
/// limits.connections = 1;
/// let admission = Admission::new(limits)?;
/// // The listeners of every transport that has these options, or a clone of them, let in one connection together.
/// let mut options = TransportOptions::new("echo/1", 7007);
/// options.admission = admission.clone();
/// // More, from now on.
/// limits.connections = 100;
/// admission.set_limits(limits)?;
/// assert_eq!(options.admission.limits().connections, 100);
/// assert_eq!(admission.counts().connections, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Admission {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: RwLock<AdmissionLimits>,
    counters: counts::Counters,
    handshakes: Arc<ResizableSemaphore>,
    turns: Arc<ResizableSemaphore>,
    addresses: Table<AddressKey>,
    /// The one bucket of QUIC peers that have not proven their address.
    unvalidated: Mutex<Tat>,
    /// Where the clock of the rates starts.
    origin: Instant,
}

/// What is to be done with a QUIC peer.
#[derive(Debug)]
pub(crate) enum DatagramVerdict {
    /// Let it in.
    Admit(ConnectionPlace),
    /// Let it prove its address; it comes back validated.
    Retry,
    /// Turn it away.
    Refuse(Shed),
}

/// The same one: clones of each other.
impl PartialEq for Admission {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Admission {}

impl Default for Admission {
    fn default() -> Self {
        Self::of(AdmissionLimits::default())
    }
}

impl Admission {
    /// An admission with nobody in yet.
    pub fn new(limits: AdmissionLimits) -> Result<Self, AdmissionLimitsError> {
        limits.validate()?;
        Ok(Self::of(limits))
    }

    fn of(limits: AdmissionLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits: RwLock::new(limits),
                counters: counts::Counters::default(),
                handshakes: ResizableSemaphore::new(limits.handshakes),
                turns: ResizableSemaphore::new(limits.turns),
                addresses: Table::new(MAX_ADDRESSES),
                unvalidated: Mutex::default(),
                origin: Instant::now(),
            }),
        }
    }

    /// What holds now.
    pub fn limits(&self) -> AdmissionLimits {
        *self.shared.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds from now on. Nobody is turned out: where more are in than may be, nobody is let in until enough have left.
    pub fn set_limits(&self, limits: AdmissionLimits) -> Result<(), AdmissionLimitsError> {
        limits.validate()?;
        let mut current = self.shared.limits.write().unwrap_or_else(PoisonError::into_inner);
        *current = limits;
        self.shared.handshakes.resize(limits.handshakes);
        self.shared.turns.resize(limits.turns);
        Ok(())
    }

    /// What was counted. Takes no lock.
    pub fn counts(&self) -> AdmissionCounts {
        self.shared.counters.read()
    }

    /// Whether a TCP peer that was just accepted is let in. Never waits.
    pub(crate) fn admit(&self, addr: SocketAddr) -> Result<ConnectionPlace, Shed> {
        let limits = self.limits();
        let place = self.place(Kind::Stream, &limits)?;
        self.within_rate(addr, &limits)?;
        self.shared.counters.admitted.fetch_add(1, Relaxed);
        Ok(place)
    }

    /// Whether a QUIC peer whose first packet has come is let in; `validated` tells whether it has proven its address, by a
    /// Retry or by a token of an earlier connection. Never waits.
    pub(crate) fn admit_datagram_peer(&self, addr: SocketAddr, validated: bool) -> DatagramVerdict {
        let limits = self.limits();
        let counters = &self.shared.counters;
        let place = match self.place(Kind::Datagram, &limits) {
            Ok(place) => place,
            Err(shed) => return DatagramVerdict::Refuse(shed),
        };
        if !validated && self.must_prove_address(&limits) {
            counters.retried.fetch_add(1, Relaxed);
            return DatagramVerdict::Retry;
        }
        if counters.waiting_datagram_peers.load(Relaxed) >= limits.handshakes {
            return DatagramVerdict::Refuse(counters.shed(Shed::Handshakes));
        }
        if validated && let Err(shed) = self.within_rate(addr, &limits) {
            return DatagramVerdict::Refuse(shed);
        }
        place.begin_waiting();
        counters.admitted.fetch_add(1, Relaxed);
        DatagramVerdict::Admit(place)
    }

    fn place(&self, kind: Kind, limits: &AdmissionLimits) -> Result<ConnectionPlace, Shed> {
        ConnectionPlace::take(&self.shared, kind, limits.connections)
            .ok_or_else(|| self.shared.counters.shed(Shed::Connections))
    }

    fn within_rate(&self, addr: SocketAddr, limits: &AdmissionLimits) -> Result<(), Shed> {
        let Some(rate) = limits.address_rate else { return Ok(()) };
        let decision = self.shared.addresses.spend(self.now(), &addr.ip().into(), &rate, 1);
        if decision.allowed { Ok(()) } else { Err(self.shared.counters.shed(Shed::AddressRate)) }
    }

    fn must_prove_address(&self, limits: &AdmissionLimits) -> bool {
        if self.shared.counters.begun() >= limits.retry_above {
            return true;
        }
        let Some(rate) = limits.unvalidated_rate else { return false };
        let mut bucket = self.shared.unvalidated.lock().unwrap_or_else(PoisonError::into_inner);
        !bucket.spend(&rate, self.now(), 1).allowed
    }

    fn now(&self) -> Duration {
        self.shared.origin.elapsed()
    }
}
