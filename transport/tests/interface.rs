//! What programs outside of this crate rely on, seen from outside.

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::time::Duration;

use sealstream_transport::admission::{AddressKey, Admission, AdmissionCounts, AdmissionLimits, Shed};
use sealstream_transport::connect::Auto;
use sealstream_transport::memory::{MemoryNetwork, SealedMemoryNetwork};
use sealstream_transport::observe::{
    ClientHelloSeen, FailureCause, HandshakeEnd, HandshakeLog, HandshakeStart, Outcome, ShedConnection,
    VerifiedSeen,
};
use sealstream_transport::quic::QuicOptions;
use sealstream_transport::tls::{
    ClientAuth, CrlPolicy, CrlSource, CrlSummary, Epoch, Fallen, IdentitySource, Material, MaterialError,
    Receiver, Reload, ReloadCounts, Reloader, Revocations, SecretSource, ServedIdentity, ServerResumption,
    Snapshot, Sourced, Staple, StapleSource, Store, TicketFault, TicketSecret, TicketUse, TrustMaterial,
    TrustSource,
};
use sealstream_transport::{
    BoxFuture, ConnectError, Connector, Deadlines, Endpoint, EndpointError, Expectation, ExportError,
    Exporter, HandshakeError, HandshakeObserver, Identity, Inbound, Incoming, ListenError, Listener,
    Negotiated, Observers, OpenError, Outbound, Peer, QuicTransport, RecvHalf, SendHalf, Server, Stream,
    StreamError, TcpTransport, Transport, TransportOptions, gcra,
};

fn shared<T: Debug + Send + Sync + ?Sized>() {}
fn sent<T: Send + ?Sized>() {}
fn thrown<T: std::error::Error + Send + Sync + 'static>() {}

macro_rules! each {
    ($check:ident: $($kind:ty),+ $(,)?) => { $($check::<$kind>();)+ };
}

/// It is the compiler that tests this: a type that is not any more does not compile.
#[test]
fn everything_is_shown_and_shared_between_threads_and_what_cannot_be_is_sent() {
    each!(shared: AddressKey, Admission, AdmissionCounts, AdmissionLimits, Shed, Auto, Connector, Endpoint, Expectation);
    each!(shared: gcra::Limit, gcra::Table<u64>, gcra::Tat, gcra::Decision, MemoryNetwork, SealedMemoryNetwork);
    each!(shared: ClientHelloSeen<'static>, FailureCause, HandshakeEnd<'static>, HandshakeStart, HandshakeLog, Observers);
    each!(shared: Outcome, ShedConnection, VerifiedSeen<'static>, Deadlines, TransportOptions, QuicOptions, QuicTransport);
    each!(shared: TcpTransport, Negotiated, Identity, Peer, Exporter, Server, Stream, RecvHalf, SendHalf, ClientAuth);
    each!(shared: CrlPolicy, CrlSource, CrlSummary, Epoch, IdentitySource, Material, Receiver, Reload, ReloadCounts);
    each!(shared: Reloader, Revocations, SecretSource, ServedIdentity, ServerResumption, Snapshot, Staple, StapleSource);
    each!(shared: Store, TicketFault, TicketSecret, TicketUse, TrustMaterial, TrustSource);
    each!(shared: dyn Transport, dyn Listener, dyn Inbound, dyn Outbound);
    // A connection before its handshake, and what is loaded, belong to one task at a time.
    each!(sent: dyn Incoming, Sourced, BoxFuture<'static, ()>, dyn HandshakeObserver);
}

#[test]
fn every_error_can_be_thrown_on_from_any_task() {
    each!(thrown: ConnectError, EndpointError, ExportError, Fallen, HandshakeError, ListenError, MaterialError, OpenError);
    each!(thrown: StreamError, gcra::LimitError);
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_are_shared_too() {
    each!(shared: sealstream_transport::observe::HandshakeMetrics, sealstream_transport::observe::ServedMetrics);
}

/// Options grow: from outside they are made by their defaults, and changed field by field.
#[test]
fn options_are_changed_field_by_field_and_stay_as_they_are_elsewhere() {
    let mut options = TransportOptions::new("test/1", 9);
    options.deadlines.connect = Duration::from_secs(1);
    options.quic.gso = false;
    options.local_address = Some(Ipv4Addr::LOCALHOST.into());
    let mut limits = AdmissionLimits::default();
    limits.handshakes = 3;
    options.admission = Admission::new(limits).expect("a limit that can be kept");
    let untouched = TransportOptions::new("test/1", 9);
    assert_eq!(options.deadlines.handshake, untouched.deadlines.handshake);
    assert_eq!((options.alpn, options.admission.limits().handshakes), (b"test/1".to_vec(), 3));
    let mut quic = untouched.quic;
    quic.gso = false;
    assert_eq!(quic, options.quic);
}
