//! Happy Eyeballs (RFC 8305): the addresses of a name are tried in turn, a little apart, and the first that answers wins.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{self, Instant};

use crate::endpoint::Endpoint;
use crate::error::ConnectError;

/// Head start of an attempt over the next (RFC 8305, section 8, "Connection Attempt Delay").
pub const ATTEMPT_STAGGER: Duration = Duration::from_millis(250);

/// Addresses tried of those that a name has: in 4 s all of them have had their start, well within the connect deadline.
pub const MAX_ADDRESSES: usize = 16;

/// Resolves an endpoint and races `attempt` over its addresses, all under one deadline.
///
/// A permanent error of one attempt (a certificate refused, say) ends the race: another address of the same name cannot
/// cure it. Otherwise the error of the attempt that failed last is returned. Dropping the future drops every attempt;
/// a lookup under way is left to the resolver's thread, which holds no socket.
pub(crate) async fn reach<T, Attempt>(
    endpoint: &Endpoint,
    deadline: Duration,
    attempt: impl Fn(SocketAddr) -> Attempt,
) -> Result<T, ConnectError>
where
    Attempt: Future<Output = Result<T, ConnectError>>,
{
    let raced = async {
        let addresses = resolve(endpoint).await?;
        race(addresses, attempt, ConnectError::is_permanent).await.unwrap_or_else(|| {
            let source = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            Err(ConnectError::Resolve { host: endpoint.host.clone(), source })
        })
    };
    match time::timeout(deadline, raced).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::TimedOut { target: endpoint.to_string(), after: deadline }),
    }
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Some(address) = endpoint.ip() {
        return Ok(vec![SocketAddr::new(address, endpoint.port)]);
    }
    match tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await {
        Ok(found) => Ok(interleave(found)),
        Err(source) => Err(ConnectError::Resolve { host: endpoint.host.clone(), source }),
    }
}

/// The families in turn, beginning with the one that the resolver put first (RFC 8305, section 4), without repeats.
fn interleave(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut families: [VecDeque<SocketAddr>; 2] = Default::default();
    let mut first_is_v6 = None;
    for address in found {
        let family = usize::from(address.is_ipv6() != *first_is_v6.get_or_insert(address.is_ipv6()));
        if !families[family].contains(&address) {
            families[family].push_back(address);
        }
    }
    let mut ordered = Vec::with_capacity(MAX_ADDRESSES);
    let mut turn = 0;
    while ordered.len() < MAX_ADDRESSES {
        let Some(address) = families[turn].pop_front().or_else(|| families[1 - turn].pop_front()) else {
            break;
        };
        ordered.push(address);
        turn = 1 - turn;
    }
    ordered
}

/// The first success; a final error at once; else the last error. `None` if there are no addresses.
async fn race<T, E, Attempt>(
    addresses: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> Attempt,
    is_final: impl Fn(&E) -> bool,
) -> Option<Result<T, E>>
where
    Attempt: Future<Output = Result<T, E>>,
{
    let mut waiting = VecDeque::from(addresses);
    let mut running: Vec<Pin<Box<Attempt>>> = Vec::with_capacity(waiting.len());
    let mut stagger = Box::pin(time::sleep(Duration::ZERO));
    let mut last_error = None;
    poll_fn(|cx| {
        loop {
            let mut failed = false;
            let mut index = 0;
            while index < running.len() {
                match running[index].as_mut().poll(cx) {
                    Poll::Ready(Ok(won)) => return Poll::Ready(Some(Ok(won))),
                    Poll::Ready(Err(error)) if is_final(&error) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Err(error)) => {
                        last_error = Some(error);
                        failed = true;
                        drop(running.remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            // A failure starts the next attempt without waiting out the stagger. With no further address nothing is waited for: a
            // timer that comes before all others costs the runtime two system calls.
            let due =
                failed || running.is_empty() || (!waiting.is_empty() && stagger.as_mut().poll(cx).is_ready());
            if !due {
                return Poll::Pending;
            }
            let Some(next) = waiting.pop_front() else {
                return if running.is_empty() {
                    Poll::Ready(last_error.take().map(Err))
                } else {
                    Poll::Pending
                };
            };
            running.push(Box::pin(attempt(next)));
            stagger.as_mut().reset(Instant::now() + ATTEMPT_STAGGER);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1))
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, last], 1))
    }

    #[test]
    fn families_take_turns_and_repeats_are_dropped() {
        let found = [v6(1), v6(2), v6(1), v4(1), v6(3), v4(2)];
        assert_eq!(interleave(found.into_iter()), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        assert_eq!(interleave([v4(1), v6(1)].into_iter()), [v4(1), v6(1)]);
        let many = (0..100).map(v4);
        assert_eq!(interleave(many).len(), MAX_ADDRESSES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_one_stagger() {
        let begun = Instant::now();
        let won = race(
            vec![v6(1), v4(1)],
            async |address| {
                if address.is_ipv6() { std::future::pending().await } else { Ok::<_, u8>(address) }
            },
            |_| false,
        );
        assert_eq!(won.await, Some(Ok(v4(1))));
        assert_eq!(begun.elapsed(), ATTEMPT_STAGGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_attempt_at_once_and_the_last_error_is_told() {
        let begun = Instant::now();
        let tried = Mutex::new(Vec::new());
        let lost = race(
            vec![v4(1), v4(2), v4(3)],
            |address| {
                tried.lock().unwrap().push(address);
                async move { Err::<(), _>(address) }
            },
            |_| false,
        );
        assert_eq!(lost.await, Some(Err(v4(3))));
        assert_eq!(*tried.lock().unwrap(), [v4(1), v4(2), v4(3)]);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_error_ends_the_race() {
        let lost = race(
            vec![v4(1), v4(2)],
            async |address| if address == v4(1) { Err("certificate") } else { Ok(address) },
            |_| true,
        );
        assert_eq!(lost.await, Some(Err("certificate")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_may_still_win() {
        let won = race(
            vec![v4(1), v4(2)],
            async |address| {
                let takes = if address == v4(1) {
                    ATTEMPT_STAGGER + Duration::from_millis(1)
                } else {
                    Duration::from_secs(1)
                };
                time::sleep(takes).await;
                Ok::<_, u8>(address)
            },
            |_| false,
        );
        assert_eq!(won.await, Some(Ok(v4(1))));
    }

    #[tokio::test]
    async fn no_address_is_no_outcome() {
        assert_eq!(race(Vec::new(), async |_| Ok::<(), u8>(()), |_| false).await, None);
    }
}
