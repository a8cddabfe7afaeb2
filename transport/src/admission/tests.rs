//! Who is let in, who is not, and what becomes of places.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use tokio::time::{self, timeout};

use super::place::HandshakePlace;
use super::*;
use crate::gcra::Limit;

const HOST: &str = "192.0.2.1:1000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn limits() -> AdmissionLimits {
    AdmissionLimits { address_rate: None, unvalidated_rate: None, ..AdmissionLimits::default() }
}

fn rate(count: u64, burst: u64) -> Limit {
    Limit::new(count, Duration::from_secs(1), burst).unwrap()
}

fn admission(limits: AdmissionLimits) -> Admission {
    Admission::new(limits).unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn handshake_at_once(place: &ConnectionPlace) -> Option<HandshakePlace> {
    match poll(pin!(place.handshake_place())) {
        Poll::Ready(place) => Some(place),
        Poll::Pending => None,
    }
}

fn admitted(verdict: DatagramVerdict) -> ConnectionPlace {
    match verdict {
        DatagramVerdict::Admit(place) => place,
        other => panic!("not admitted: {other:?}"),
    }
}

#[test]
fn the_limit_of_connections_holds_and_a_dropped_place_is_free() {
    let admission = admission(AdmissionLimits { connections: 2, ..limits() });
    let first = admission.admit(addr(HOST)).unwrap();
    let _second = admitted(admission.admit_datagram_peer(addr(HOST), true));
    assert_eq!(admission.admit(addr(HOST)).unwrap_err(), Shed::Connections);
    let refused = admission.admit_datagram_peer(addr(HOST), false);
    assert!(matches!(refused, DatagramVerdict::Refuse(Shed::Connections)));
    drop(first);
    let _third = admission.admit(addr(HOST)).unwrap();
    let counts = admission.counts();
    assert_eq!((counts.connections, counts.admitted, counts.shed(Shed::Connections)), (2, 3, 2));
}

#[test]
fn fewer_connections_turn_nobody_out_and_let_nobody_in_until_enough_have_left() {
    let admission = admission(AdmissionLimits { connections: 3, ..limits() });
    let mut places: Vec<_> = (0..3).map(|_| admission.admit(addr(HOST)).unwrap()).collect();
    admission.set_limits(AdmissionLimits { connections: 2, ..limits() }).unwrap();
    assert_eq!(admission.counts().connections, 3);
    places.pop();
    assert!(admission.admit(addr(HOST)).is_err());
    places.pop();
    places.push(admission.admit(addr(HOST)).unwrap());
    admission.set_limits(AdmissionLimits { connections: 3, ..limits() }).unwrap();
    assert!(admission.admit(addr(HOST)).is_ok());
}

#[test]
fn threads_together_never_hold_more_places_than_there_are() {
    const LIMIT: usize = 5;
    let admission = admission(AdmissionLimits { connections: LIMIT, ..limits() });
    let held = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    if let Ok(place) = admission.admit(addr(HOST)) {
                        assert!(held.fetch_add(1, Ordering::SeqCst) < LIMIT);
                        held.fetch_sub(1, Ordering::SeqCst);
                        drop(place);
                    }
                }
            });
        }
    });
    let counts = admission.counts();
    assert_eq!(counts.connections, 0);
    assert_eq!(counts.admitted + counts.shed(Shed::Connections), 16_000);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_connects_too_often_is_shed_and_others_are_not() {
    let admission = admission(AdmissionLimits { address_rate: Some(rate(10, 2)), ..limits() });
    for _ in 0..2 {
        assert!(admission.admit(addr(HOST)).is_ok());
    }
    assert_eq!(admission.admit(addr("192.0.2.1:2000")).unwrap_err(), Shed::AddressRate);
    let refused = admission.admit_datagram_peer(addr(HOST), true);
    assert!(matches!(refused, DatagramVerdict::Refuse(Shed::AddressRate)));
    assert!(admission.admit(addr("192.0.2.2:1000")).is_ok());
    time::advance(Duration::from_millis(100)).await;
    assert!(admission.admit(addr(HOST)).is_ok());
    assert!(admission.admit(addr(HOST)).is_err());
    assert_eq!(admission.counts().shed(Shed::AddressRate), 3);
    assert_eq!(admission.counts().connections, 0, "who is shed holds no place");
}

#[test]
fn addresses_of_one_64_share_a_rate_and_so_do_an_ipv4_address_and_its_mapped_form() {
    let admission = admission(AdmissionLimits { address_rate: Some(rate(1, 1)), ..limits() });
    assert!(admission.admit(addr("[2001:db8::1]:1")).is_ok());
    assert!(admission.admit(addr("[2001:db8::ffff:2]:2")).is_err());
    assert!(admission.admit(addr("[2001:db8:0:1::1]:1")).is_ok());
    assert!(admission.admit(addr(HOST)).is_ok());
    assert!(admission.admit(addr("[::ffff:192.0.2.1]:1")).is_err());
}

#[test]
fn rates_change_while_they_are_in_use() {
    let admission = admission(AdmissionLimits { address_rate: Some(rate(1, 1)), ..limits() });
    assert!(admission.admit(addr(HOST)).is_ok());
    assert!(admission.admit(addr(HOST)).is_err());
    admission.set_limits(limits()).unwrap();
    assert!(admission.admit(addr(HOST)).is_ok());
    admission.set_limits(AdmissionLimits { address_rate: Some(rate(1, 2)), ..limits() }).unwrap();
    assert!(admission.admit(addr(HOST)).is_ok());
    assert!(admission.admit(addr(HOST)).is_err());
}

#[test]
fn limits_that_cannot_be_kept_change_nothing() {
    let admission = admission(limits());
    assert!(admission.set_limits(AdmissionLimits { turns: 0, ..limits() }).is_err());
    assert_eq!(admission.limits(), limits());
}

#[tokio::test(start_paused = true)]
async fn quic_peers_of_unproven_addresses_share_one_bucket_and_those_beyond_it_must_prove_theirs() {
    let admission = admission(AdmissionLimits {
        unvalidated_rate: Some(rate(10, 2)),
        address_rate: Some(rate(1, 1)),
        ..limits()
    });
    let from = |host: u8| SocketAddr::from(([10, 0, 0, host], 1));
    let _first = admitted(admission.admit_datagram_peer(from(1), false));
    let _second = admitted(admission.admit_datagram_peer(from(2), false));
    assert!(matches!(admission.admit_datagram_peer(from(3), false), DatagramVerdict::Retry));
    // It comes back, and is counted by its own address.
    let _third = admitted(admission.admit_datagram_peer(from(3), true));
    let again = admission.admit_datagram_peer(from(3), true);
    assert!(matches!(again, DatagramVerdict::Refuse(Shed::AddressRate)));
    // Who may have forged an address spends nothing of its owner's.
    let _owner = admitted(admission.admit_datagram_peer(from(1), true));
    time::advance(Duration::from_millis(100)).await;
    let _fourth = admitted(admission.admit_datagram_peer(from(4), false));
    let counts = admission.counts();
    assert_eq!((counts.retried, counts.connections), (1, 5));
}

#[test]
fn many_handshakes_under_way_make_quic_peers_prove_their_address() {
    let admission = admission(AdmissionLimits { retry_above: 2, ..limits() });
    let stream = admission.admit(addr(HOST)).unwrap();
    let _in_flight = handshake_at_once(&stream).unwrap();
    let waiting = admitted(admission.admit_datagram_peer(addr(HOST), false));
    assert!(matches!(admission.admit_datagram_peer(addr(HOST), false), DatagramVerdict::Retry));
    let _proven = admitted(admission.admit_datagram_peer(addr(HOST), true));
    admission.set_limits(AdmissionLimits { retry_above: 4, ..limits() }).unwrap();
    drop(admitted(admission.admit_datagram_peer(addr(HOST), false)));
    drop(waiting);
    admission.set_limits(AdmissionLimits { retry_above: 0, ..limits() }).unwrap();
    assert!(matches!(admission.admit_datagram_peer(addr(HOST), false), DatagramVerdict::Retry));
    assert_eq!(admission.counts().retried, 2);
}

#[test]
fn quic_peers_are_refused_once_as_many_wait_as_may_be_in_flight() {
    let admission = admission(AdmissionLimits { handshakes: 2, ..limits() });
    let peers: Vec<_> = (0..2).map(|_| admitted(admission.admit_datagram_peer(addr(HOST), true))).collect();
    let refused = admission.admit_datagram_peer(addr(HOST), true);
    assert!(matches!(refused, DatagramVerdict::Refuse(Shed::Handshakes)));
    assert_eq!(admission.counts().waiting, 2);
    let in_flight: Vec<_> = peers.iter().map(|place| handshake_at_once(place).unwrap()).collect();
    assert_eq!((admission.counts().waiting, admission.counts().handshakes), (0, 2));
    let more: Vec<_> = (0..2).map(|_| admitted(admission.admit_datagram_peer(addr(HOST), true))).collect();
    assert!(matches!(admission.admit_datagram_peer(addr(HOST), true), DatagramVerdict::Refuse(_)));
    drop((in_flight, more, peers));
    let counts = admission.counts();
    assert_eq!((counts.waiting, counts.handshakes, counts.connections), (0, 0, 0));
}

#[test]
fn silent_peers_hold_no_place_in_flight() {
    let admission = admission(AdmissionLimits { handshakes: 1, ..limits() });
    let silent: Vec<_> = (0..10_000).map(|_| admission.admit(addr(HOST)).unwrap()).collect();
    let talking = admission.admit(addr(HOST)).unwrap();
    assert!(handshake_at_once(&talking).is_some());
    assert_eq!(admission.counts().connections, silent.len() + 1);
}

#[test]
fn what_a_silent_peer_holds_here_is_as_small_as_stated() {
    assert!(size_of::<ConnectionPlace>() <= 24);
    let admission = admission(limits());
    let place = admission.admit(addr(HOST)).unwrap();
    assert!(size_of_val(&place.handshake_place()) <= 256);
}

#[test]
fn places_in_flight_are_given_first_come_first_served() {
    let admission = admission(AdmissionLimits { handshakes: 1, ..limits() });
    let peers: Vec<_> = (0..3).map(|_| admission.admit(addr(HOST)).unwrap()).collect();
    let in_flight = handshake_at_once(&peers[0]).unwrap();
    let mut second = Box::pin(peers[1].handshake_place());
    let mut third = Box::pin(peers[2].handshake_place());
    assert!(poll(second.as_mut()).is_pending());
    assert!(poll(third.as_mut()).is_pending());
    assert_eq!(admission.counts().waiting, 2);
    drop(in_flight);
    assert!(poll(third.as_mut()).is_pending(), "the second came first");
    let Poll::Ready(in_flight) = poll(second.as_mut()) else { panic!("its turn") };
    drop(in_flight);
    assert!(poll(third.as_mut()).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_its_deadline_ends_is_counted_and_leaves_its_place_to_the_next() {
    let admission = admission(AdmissionLimits { handshakes: 1, ..limits() });
    let peers: Vec<_> = (0..3).map(|_| admission.admit(addr(HOST)).unwrap()).collect();
    let in_flight = peers[0].handshake_place().await;
    let mut last = Box::pin(peers[2].handshake_place());
    let given_up = timeout(Duration::from_secs(10), peers[1].handshake_place()).await;
    assert!(given_up.is_err());
    assert!(poll(last.as_mut()).is_pending());
    drop(in_flight);
    assert!(poll(last.as_mut()).is_ready());
    let counts = admission.counts();
    assert_eq!((counts.waiting, counts.shed(Shed::Handshakes)), (0, 1));
}

#[test]
fn the_limit_of_handshakes_changes_while_peers_wait() {
    let admission = admission(AdmissionLimits { handshakes: 1, ..limits() });
    let peers: Vec<_> = (0..3).map(|_| admission.admit(addr(HOST)).unwrap()).collect();
    let _first = handshake_at_once(&peers[0]).unwrap();
    let mut waiting = Box::pin(peers[1].handshake_place());
    assert!(poll(waiting.as_mut()).is_pending());
    admission.set_limits(AdmissionLimits { handshakes: 2, ..limits() }).unwrap();
    let Poll::Ready(second) = poll(waiting.as_mut()) else { panic!("there is a place") };
    admission.set_limits(AdmissionLimits { handshakes: 1, ..limits() }).unwrap();
    drop(second);
    assert!(handshake_at_once(&peers[2]).is_none(), "the first is in flight still");
}

#[test]
fn clones_share_everything() {
    let admission = admission(AdmissionLimits { connections: 1, ..limits() });
    let clone = admission.clone();
    let _place = admission.admit(addr(HOST)).unwrap();
    assert!(clone.admit(addr(HOST)).is_err());
    assert_eq!(clone.counts(), admission.counts());
}

#[test]
fn the_names_of_causes_are_stable() {
    assert_eq!(Shed::ALL.map(Shed::name), ["connections", "address_rate", "handshakes"]);
}
