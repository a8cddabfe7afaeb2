//! Who is in, who waits and who was turned away: counted without locks, for metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Why a peer was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Shed {
    /// There are as many connections as may be.
    #[error("too many connections: raise the limit, or add a broker")]
    Connections,
    /// Its address connects too often.
    #[error("its address connects too often: raise the rate per address if many clients share it")]
    AddressRate,
    /// No place for its handshake: a QUIC peer found as many waiting as may be in flight, or the wait of any peer was given
    /// up, by its deadline as a rule.
    #[error("too many handshakes: raise the limit, or add cores")]
    Handshakes,
}

impl Shed {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Connections, Self::AddressRate, Self::Handshakes];

    /// A name for metrics and logs that never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::AddressRate => "address_rate",
            Self::Handshakes => "handshakes",
        }
    }
}

/// What was counted, read one after the other: each number is right, their sums may be off by what happens meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionCounts {
    /// Connections that hold a place.
    pub connections: usize,
    /// Handshakes in flight.
    pub handshakes: usize,
    /// Peers that wait for a place for their handshake.
    pub waiting: usize,
    /// Connections let in since the start.
    pub admitted: u64,
    /// QUIC peers since the start that were asked to prove their address.
    pub retried: u64,
    shed: [u64; Shed::ALL.len()],
}

impl AdmissionCounts {
    /// Peers turned away since the start for this cause.
    pub const fn shed(&self, cause: Shed) -> u64 {
        self.shed[cause as usize]
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicUsize,
    pub(super) handshakes: AtomicUsize,
    pub(super) waiting: AtomicUsize,
    /// QUIC peers among those who wait. They are refused where there are too many, so one more counts from its admission on.
    pub(super) waiting_datagram_peers: AtomicUsize,
    pub(super) admitted: AtomicU64,
    pub(super) retried: AtomicU64,
    shed: [AtomicU64; Shed::ALL.len()],
}

impl Counters {
    pub(super) fn shed(&self, cause: Shed) -> Shed {
        self.shed[cause as usize].fetch_add(1, Relaxed);
        cause
    }

    /// Handshakes that are under way or about to be.
    pub(super) fn begun(&self) -> usize {
        self.handshakes.load(Relaxed) + self.waiting.load(Relaxed)
    }

    pub(super) fn read(&self) -> AdmissionCounts {
        AdmissionCounts {
            connections: self.connections.load(Relaxed),
            handshakes: self.handshakes.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            admitted: self.admitted.load(Relaxed),
            retried: self.retried.load(Relaxed),
            shed: Shed::ALL.map(|cause| self.shed[cause as usize].load(Relaxed)),
        }
    }
}
