//! What it costs to have a handshake observed, or to have nobody observe it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::error::HandshakeError;
use crate::observe::{ClientHelloSeen, HandshakeStart, Observers, Probe};
use crate::peer::TransportKind;
use crate::tls::Side;

/// Messages of TLS that a server's handshake over TCP reads, writes and computes in: each is a step, or counted in bytes.
const STEPS: usize = 8;

/// Tells `observers` of a handshake as the server's side of TCP does, but for the handshake: what is left is the cost of
/// observing. It fails in the end, so that nothing of a peer need be made up.
pub fn observe_handshake(observers: &Observers) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let mut probe =
        Probe::begin(observers, || HandshakeStart::new(Side::Server, TransportKind::Tls, address));
    let (wire, meter) = (probe.meter(), probe.meter());
    probe.client_hello(&ClientHelloSeen::new(Some("localhost"), true));
    for _ in 0..STEPS {
        wire.bytes(1, 1);
        meter.step(|| std::hint::black_box(()));
    }
    probe.finish(Err(&HandshakeError::TimedOut { after: Duration::ZERO }));
}
