//! What may be let in, and the defaults with their arithmetic.

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use super::semaphore::ResizableSemaphore;
use crate::gcra::Limit;

/// Connections at once, on all listeners together. An idle connection costs 10 KiB of heap over TLS and 36 KiB over QUIC, 42
/// where the client has shown a certificate: 20,000 are 200 to 840 MB.
pub const DEFAULT_CONNECTIONS: usize = 20_000;

/// Handshakes in flight. rustls joins up to 64 KiB of what a peer sends as one handshake message: 1,024 peers that exhaust
/// that cost 64 MiB. A resumption takes a core 0.11 ms and a full handshake a few times that, so that the last of a full house
/// waits for less than half a second, far from its deadline.
pub const DEFAULT_HANDSHAKES: usize = 1024;

/// Connections of one address. A thousand clients behind one NAT may all reconnect in the same second, and again in the
/// next; somebody who does nothing but connect is held to what a fraction of a core serves (1,000 × 0.11 ms, if it resumes).
pub const DEFAULT_ADDRESS_RATE: Limit = per_second(1000, 2000);

/// Connections of all QUIC peers together that have not proven their address: twice that of one address.
pub const DEFAULT_UNVALIDATED_RATE: Limit = per_second(2000, 4000);

/// Handshakes in flight from which on QUIC peers must prove their address first: a quarter of [`DEFAULT_HANDSHAKES`], so that
/// forged addresses never take more than a quarter of the places.
pub const DEFAULT_RETRY_ABOVE: usize = DEFAULT_HANDSHAKES / 4;

/// The most connections that can be asked for.
pub const MAX_PLACES: usize = ResizableSemaphore::MAX;

const fn per_second(count: u64, burst: u64) -> Limit {
    match Limit::new(count, Duration::from_secs(1), burst) {
        Ok(limit) => limit,
        Err(_) => panic!("a default is not a limit"),
    }
}

/// What the listeners of a process let in together. All of it can change while they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionLimits {
    /// Connections at once, whatever state they are in; by default [`DEFAULT_CONNECTIONS`].
    pub connections: usize,
    /// Handshakes in flight, counted from a peer's first byte; by default [`DEFAULT_HANDSHAKES`]. As many QUIC peers again may
    /// wait for a place before further ones are refused.
    pub handshakes: usize,
    /// New connections per address, IPv6 by /64; `None` counts nobody. By default [`DEFAULT_ADDRESS_RATE`].
    pub address_rate: Option<Limit>,
    /// New connections of all QUIC peers together whose address is not validated; those beyond it must validate it.
    /// `None` counts nobody. By default [`DEFAULT_UNVALIDATED_RATE`].
    pub unvalidated_rate: Option<Limit>,
    /// Handshakes, in flight or waiting for a place, from which on QUIC peers must validate their address by a Retry; 0 is
    /// always, `usize::MAX` never. By default [`DEFAULT_RETRY_ABOVE`].
    pub retry_above: usize,
    /// Steps of handshakes computed at once; by default half of the cores, so that the other half serves those who are in.
    pub turns: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            connections: DEFAULT_CONNECTIONS,
            handshakes: DEFAULT_HANDSHAKES,
            address_rate: Some(DEFAULT_ADDRESS_RATE),
            unvalidated_rate: Some(DEFAULT_UNVALIDATED_RATE),
            retry_above: DEFAULT_RETRY_ABOVE,
            turns: (cores / 2).max(1),
        }
    }
}

impl AdmissionLimits {
    /// Whether they can be kept.
    pub fn validate(&self) -> Result<(), AdmissionLimitsError> {
        let counts =
            [("connections", self.connections), ("handshakes", self.handshakes), ("turns", self.turns)];
        match counts.into_iter().find(|(_, count)| !(1..=MAX_PLACES).contains(count)) {
            Some((limit, count)) => Err(AdmissionLimitsError { limit, count }),
            None => Ok(()),
        }
    }
}

/// A limit under which nobody could be let in, or that cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} = {count}: it must be 1 to {MAX_PLACES}")]
#[non_exhaustive]
pub struct AdmissionLimitsError {
    /// Which one.
    pub limit: &'static str,
    /// What it was set to.
    pub count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_kept() {
        assert_eq!(AdmissionLimits::default().validate(), Ok(()));
    }

    #[test]
    fn limits_that_let_nobody_in_or_cannot_be_counted_are_refused_by_name() {
        let fine = AdmissionLimits::default();
        for (limit, limits) in [
            ("connections", AdmissionLimits { connections: 0, ..fine }),
            ("handshakes", AdmissionLimits { handshakes: MAX_PLACES + 1, ..fine }),
            ("turns", AdmissionLimits { turns: 0, ..fine }),
        ] {
            assert_eq!(limits.validate().unwrap_err().limit, limit);
        }
    }
}
