//! `auto://`: QUIC where UDP passes, TLS over TCP where it does not.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::{self, Instant};

use crate::endpoint::{Endpoint, Scheme};
use crate::error::ConnectError;
use crate::peer::TransportKind;
use crate::transport::{Outbound, Server, Transport};

/// How long QUIC is tried alone. Its first packet is repeated after 1 s (RFC 9002: three times an assumed round trip of
/// 333 ms), so this covers the loss of one and half a second of round trip.
pub const QUIC_HEAD_START: Duration = Duration::from_millis(1500);

/// How long it is remembered that UDP was blocked on the way to a host: short enough for a laptop that changes networks,
/// long enough for the head start to be paid once and not at each reconnect.
pub const REMEMBERED_FOR: Duration = Duration::from_mins(10);

/// Hosts remembered; the least recently used is forgotten first. A host and its name take about 100 bytes.
pub const REMEMBERED_HOSTS: NonZeroUsize = match NonZeroUsize::new(1024) {
    Some(hosts) => hosts,
    None => unreachable!(),
};

/// Chooses between two backends by what reaches the server.
#[derive(Debug)]
pub struct Auto {
    quic: Arc<dyn Transport>,
    tls: Arc<dyn Transport>,
    blocked: Mutex<LruCache<(String, u16), Instant>>,
}

impl Auto {
    /// Prefers `quic` and falls back to `tls`.
    pub fn new(quic: Arc<dyn Transport>, tls: Arc<dyn Transport>) -> Self {
        Self { quic, tls, blocked: Mutex::new(LruCache::new(REMEMBERED_HOSTS)) }
    }

    /// Which backend will be tried alone first for this endpoint.
    pub fn preferred(&self, endpoint: &Endpoint) -> TransportKind {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        match blocked.get(&(endpoint.host.clone(), endpoint.port)) {
            Some(since) if since.elapsed() < REMEMBERED_FOR => self.tls.kind(),
            _ => self.quic.kind(),
        }
    }

    fn remember(&self, endpoint: &Endpoint, quic_works: bool) {
        let key = (endpoint.host.clone(), endpoint.port);
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        if quic_works {
            blocked.pop(&key);
        } else {
            blocked.put(key, Instant::now());
        }
    }

    /// Connects by the road that is open. Cancellation safe.
    pub async fn connect(&self, server: &Server) -> Result<Box<dyn Outbound>, ConnectError> {
        let over = |scheme| Server {
            endpoint: Endpoint { scheme, ..server.endpoint.clone() },
            expectation: server.expectation.clone(),
        };
        let (over_quic, over_tls) = (over(Scheme::Quic), over(Scheme::Tls));
        if self.preferred(&server.endpoint) == self.tls.kind() {
            let outcome = self.tls.connect(&over_tls).await;
            if matches!(&outcome, Err(error) if !error.is_permanent()) {
                // Perhaps the network changed: the next connect begins with QUIC again.
                self.remember(&server.endpoint, true);
            }
            return outcome;
        }
        let quic = pin!(self.quic.connect(&over_quic));
        let (works, outcome) = with_head_start(quic, self.tls.connect(&over_tls)).await;
        if outcome.is_ok() {
            self.remember(&server.endpoint, works);
        }
        outcome
    }
}

/// Runs `quic`, and `tls` beside it once the head start is over or QUIC has failed in a way that TCP may cure. The first
/// success wins, as does a permanent error: a certificate does not get better by another road. Tells whether QUIC
/// decided.
async fn with_head_start<T>(
    mut quic: impl Future<Output = Result<T, ConnectError>> + Unpin,
    tls: impl Future<Output = Result<T, ConnectError>>,
) -> (bool, Result<T, ConnectError>) {
    // Why QUIC has failed, in a way that TCP may cure.
    let mut failed = None;
    if let Ok(outcome) = time::timeout(QUIC_HEAD_START, &mut quic).await {
        match outcome {
            Err(error) if !error.is_permanent() => failed = Some(error),
            settled => return (true, settled),
        }
    }
    let mut tls = pin!(tls);
    loop {
        tokio::select! {
            outcome = &mut quic, if failed.is_none() => match outcome {
                Err(error) if !error.is_permanent() => failed = Some(error),
                settled => return (true, settled),
            },
            outcome = &mut tls => match outcome {
                Err(error) if !error.is_permanent() => {
                    if let Some(quic) = failed {
                        return (false, Err(neither(quic, error)));
                    }
                    // TCP failed first; what QUIC will say decides.
                    return (true, match quic.await {
                        Err(late) if !late.is_permanent() => Err(neither(late, error)),
                        settled => settled,
                    });
                }
                settled => return (false, settled),
            },
        }
    }
}

fn neither(quic: ConnectError, tls: ConnectError) -> ConnectError {
    ConnectError::NeitherWay { quic: Box::new(quic), tls: Box::new(tls) }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::HandshakeError;

    type Outcome = Result<&'static str, ConnectError>;

    fn unreachable() -> ConnectError {
        ConnectError::Unreachable { target: String::new(), source: io::ErrorKind::HostUnreachable.into() }
    }

    fn untrusted() -> ConnectError {
        let source = HandshakeError::UntrustedIssuer { detail: String::new() };
        ConnectError::Handshake { target: String::new(), source }
    }

    async fn run(quic: (u64, Outcome), tls: (u64, Outcome)) -> (bool, Outcome) {
        let after = async |(millis, outcome)| {
            time::sleep(Duration::from_millis(millis)).await;
            outcome
        };
        with_head_start(pin!(after(quic)), after(tls)).await
    }

    #[tokio::test(start_paused = true)]
    async fn quic_wins_within_its_head_start_however_fast_tcp_would_be() {
        assert!(matches!(run((1400, Ok("quic")), (1, Ok("tls"))).await, (true, Ok("quic"))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_on_udp_costs_the_head_start_and_no_more() {
        let begun = Instant::now();
        assert!(matches!(run((60_000, Ok("quic")), (10, Ok("tls"))).await, (false, Ok("tls"))));
        assert_eq!(begun.elapsed(), QUIC_HEAD_START + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_quic_falls_back_at_once() {
        let begun = Instant::now();
        assert!(matches!(run((5, Err(unreachable())), (10, Ok("tls"))).await, (false, Ok("tls"))));
        assert_eq!(begun.elapsed(), Duration::from_millis(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_error_never_falls_back() {
        for millis in [5, 1600] {
            let (_, outcome) = run((millis, Err(untrusted())), (60_000, Ok("tls"))).await;
            assert!(matches!(outcome, Err(ConnectError::Handshake { .. })));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_quic_still_wins_where_tcp_fails() {
        assert!(matches!(run((2000, Ok("quic")), (10, Err(unreachable()))).await, (true, Ok("quic"))));
    }

    #[tokio::test(start_paused = true)]
    async fn where_both_fail_both_failures_are_told_whichever_came_first() {
        for quic in [5, 1600] {
            let silent =
                ConnectError::TimedOut { target: "quic://a:1".into(), after: Duration::from_secs(10) };
            let (_, outcome) = run((quic, Err(silent)), (10, Err(unreachable()))).await;
            let told = outcome.unwrap_err();
            assert!(!told.is_permanent());
            let ConnectError::NeitherWay { quic, tls } = &told else { panic!("{told}") };
            assert!(
                matches!(**quic, ConnectError::TimedOut { .. })
                    && matches!(**tls, ConnectError::Unreachable { .. })
            );
            assert!(told.to_string().contains("over QUIC nothing was heard for 10s"), "{told}");
        }
    }

    #[test]
    fn silence_over_quic_names_what_may_be_blocked_and_the_two_ways_round() {
        let after = Duration::from_secs(10);
        let told = ConnectError::TimedOut { target: "quic://a:1".into(), after }.to_string();
        assert!(["UDP may be blocked", "auto://", "tls://"].iter().all(|part| told.contains(part)), "{told}");
        let told = ConnectError::TimedOut { target: "tls://a:1".into(), after }.to_string();
        assert!(!told.contains("UDP"), "{told}");
    }
}
