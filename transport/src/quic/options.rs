//! What an operator may tune about QUIC alone.

use std::time::Duration;

/// The largest UDP payload that is sent or received. quinn hands the kernel up to 10 datagrams at once, which together
/// must stay below the 65,507 bytes that one UDP payload can have: 10 × 6,500 = 65,000. A larger MTU stalls.
pub const MAX_MTU: u16 = 6_500;

/// The smallest UDP payload that a path of QUIC must carry (RFC 9000, section 14).
pub const MIN_MTU: u16 = 1_200;

/// Silence after which a connection is given up: two keep-alives of 15 s, each of which is repeated while unanswered.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// 256 MiB: 34 connections with all that one may have.
pub const DEFAULT_SEND_BUDGET: u64 = 256 * 1024 * 1024;

/// 192 MiB: 16 connections of up to 16 streams each.
pub const DEFAULT_RECEIVE_BUDGET: u64 = 192 * 1024 * 1024;

/// What an operator may tune about QUIC alone; the rest is in [`TransportOptions`](crate::TransportOptions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuicOptions {
    /// The UDP payload, in bytes, that a connection begins with, before it has found out what the path carries. A
    /// larger one saves the search on a network that is known; it is clamped to [`MIN_MTU`]..=[`Self::max_mtu`].
    /// Over loopback a connection begins with [`Self::max_mtu`].
    pub initial_mtu: u16,
    /// The largest UDP payload, in bytes, that is sent and received; clamped to [`MIN_MTU`]..=[`MAX_MTU`]. The search for
    /// what the path carries tries no more than 1,452 bytes where the kernel says that the first link carries no more
    /// than Ethernet does.
    pub max_mtu: u16,
    /// Whether several datagrams may be handed to the kernel at once (generic segmentation offload). Some network
    /// drivers and firewalls drop what it makes; without it sending costs more CPU.
    pub gso: bool,
    /// Bytes written to clients and not acknowledged by them, over all connections of a listener, beyond the 512 KiB that
    /// each may have by itself. Connections over long paths take up to 7.5 MiB each of it; where it is spent, they carry
    /// 512 KiB a round trip.
    pub send_budget: u64,
    /// Bytes that clients may have sent and this end has not read, over all connections of a listener, beyond the
    /// [`STREAM_WINDOW`](super::STREAM_WINDOW) of each stream. Each 12 MiB of it let the next connection be a wide one, with
    /// [`WIDE_STREAM_WINDOW`](super::WIDE_STREAM_WINDOW) for each of 16 streams; beyond that it takes more. Where it is spent,
    /// a stream carries a narrow window in a round trip. Clients have wide windows whatever this says: theirs are few.
    pub receive_budget: u64,
    /// Silence after which a connection is given up. The smaller value of both ends counts.
    pub idle_timeout: Duration,
}

impl Default for QuicOptions {
    fn default() -> Self {
        Self {
            initial_mtu: MIN_MTU,
            max_mtu: MAX_MTU,
            gso: true,
            send_budget: DEFAULT_SEND_BUDGET,
            receive_budget: DEFAULT_RECEIVE_BUDGET,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
        }
    }
}

impl QuicOptions {
    /// These options within their bounds.
    #[must_use]
    pub(super) fn clamped(mut self) -> Self {
        self.max_mtu = self.max_mtu.clamp(MIN_MTU, MAX_MTU);
        self.initial_mtu = self.initial_mtu.clamp(MIN_MTU, self.max_mtu);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_out_of_bounds_is_clamped() {
        let wild = QuicOptions { initial_mtu: 0, max_mtu: u16::MAX, ..QuicOptions::default() }.clamped();
        assert_eq!((wild.initial_mtu, wild.max_mtu), (MIN_MTU, MAX_MTU));
        let crossed = QuicOptions { initial_mtu: 9_000, max_mtu: 1_452, ..QuicOptions::default() }.clamped();
        assert_eq!((crossed.initial_mtu, crossed.max_mtu), (1_452, 1_452));
    }
}
