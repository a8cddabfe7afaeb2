//! Whole handshakes in memory, bytes carried by hand, with a clock that is set: what a ticket leads to, and what follows.

use std::cell::Cell;
use std::sync::Arc;

use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::UnixTime;

use super::claims::MAX_AUTHENTICATION_AGE_SECS;
use super::keys::TICKET_LIFETIME_SECS;
use super::secret::SecretSource;
use super::{HandshakeContext, ServerSessions, TicketFault, TicketUse};
use crate::peer::TransportKind;
use crate::testing::pki::{Authority, Issued, Leaf};
use crate::tls::identity::not_after;
use crate::tls::material::ServerResumption;
use crate::tls::provider;

const HOUR: i64 = 3600;
const CACHE: ServerResumption = ServerResumption::Cache { bytes: 1 << 20 };

thread_local! {
    /// Seconds that the servers of this test are ahead of the machine.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

fn clock() -> i64 {
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap();
    now + AHEAD.get()
}

fn after(seconds: i64) {
    AHEAD.set(AHEAD.get() + seconds);
}

/// A node as it starts: with a secret that a file, say, gives it.
fn node(resumption: ServerResumption, secret: u8) -> Arc<ServerSessions> {
    ServerSessions::load(resumption, &SecretSource::Given(vec![[secret; 32].into()]), None).unwrap()
}

/// What one handshake came to.
struct Outcome {
    kind: HandshakeKind,
    ticket: TicketUse,
    issued: u32,
    /// Whether the server knows a certificate of the client.
    named: bool,
}

impl Outcome {
    fn resumed(&self) -> bool {
        let resumed = self.kind == HandshakeKind::Resumed;
        assert!(!resumed || self.ticket == TicketUse::Accepted);
        resumed
    }

    /// A full handshake in spite of a ticket.
    fn refused(&self) -> Option<TicketFault> {
        match self.ticket {
            TicketUse::Refused(fault) if self.kind == HandshakeKind::Full => Some(fault),
            _ => None,
        }
    }
}

/// A client with its tickets, and what the servers that it knows have in common.
struct World {
    client: Arc<ClientConfig>,
    server: Issued,
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the client's certificate ends.
    client_ends: i64,
}

impl World {
    /// The client shows a certificate only if it is asked to.
    fn new(asked: bool) -> Self {
        let authority = Authority::new("Test CA");
        let (server, me) = (authority.issue(&Leaf::localhost()), authority.issue(&Leaf::new().dns("me")));
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let roots = Arc::new(roots);
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(me.chain(), me.key_der())
            .unwrap();
        client.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(32)));
        let verifier: Arc<dyn ClientCertVerifier> = if asked {
            WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap()
        } else {
            Arc::new(NoClientAuth)
        };
        let client_ends = not_after(&me.chain()[0]).unwrap();
        Self { client: Arc::new(client), server, verifier, client_ends }
    }

    fn connect(&self, node: &Arc<ServerSessions>) -> Outcome {
        self.connect_under(node, 1, TransportKind::Tls, |_| {})
    }

    fn connect_under(
        &self,
        node: &Arc<ServerSessions>,
        epoch: u8,
        kind: TransportKind,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Outcome {
        self.connect_by(&provider(), node, epoch, kind, change)
    }

    fn connect_by(
        &self,
        provider: &Arc<CryptoProvider>,
        node: &Arc<ServerSessions>,
        epoch: u8,
        kind: TransportKind,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Outcome {
        let context = Arc::new(HandshakeContext::at(clock, node, [epoch; 32].into(), kind, None));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(context.verifier(&self.verifier))
            .with_single_cert(self.server.chain(), self.server.key_der())
            .unwrap();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        context.equip(&mut config);
        change(&mut config);
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        while client.wants_write() || server.wants_write() {
            carry(&mut client, &mut server);
            carry(&mut server, &mut client);
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Outcome {
            kind: server.handshake_kind().unwrap(),
            ticket: context.ticket(),
            issued: context.issued(),
            named: server.peer_certificates().is_some(),
        }
    }
}

/// Carries what one side has to say to the other.
fn carry<F, T, A, B>(from: &mut F, to: &mut T)
where
    F: std::ops::DerefMut<Target = rustls::ConnectionCommon<A>>,
    T: std::ops::DerefMut<Target = rustls::ConnectionCommon<B>>,
    A: rustls::SideData,
    B: rustls::SideData,
{
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = bytes.as_slice();
    while !bytes.is_empty() {
        to.read_tls(&mut bytes).unwrap();
        to.process_new_packets().unwrap();
    }
}

/// Makes tickets as another does, but for a bit of the byte at a place, or of the last one.
#[derive(Debug)]
struct Forger(Arc<dyn ProducesTickets>, usize);

impl ProducesTickets for Forger {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = self.0.encrypt(plain)?;
        let at = self.1.min(ticket.len() - 1);
        ticket[at] ^= 1;
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(ticket)
    }
}

#[test]
fn a_client_resumes_by_a_ticket_and_by_a_kept_session_and_keeps_its_name() {
    for resumption in [ServerResumption::Tickets, CACHE] {
        for asked in [false, true] {
            let (world, node) = (World::new(asked), node(resumption, 1));
            let first = world.connect(&node);
            assert_eq!((first.kind, first.ticket), (HandshakeKind::Full, TicketUse::NotOffered));
            for _ in 0..3 {
                let next = world.connect(&node);
                assert!(next.resumed(), "{resumption:?}");
                assert_eq!((next.issued, next.named), (1, asked));
            }
        }
    }
}

#[test]
fn where_resumption_is_off_no_ticket_is_given() {
    let (world, node) = (World::new(true), node(ServerResumption::Off, 1));
    for _ in 0..2 {
        let outcome = world.connect(&node);
        assert_eq!((outcome.kind, outcome.ticket), (HandshakeKind::Full, TicketUse::NotOffered));
        assert_eq!(outcome.issued, 0);
    }
}

#[test]
fn a_ticket_outlives_its_node_and_a_kept_session_does_not() {
    let world = World::new(true);
    world.connect(&node(ServerResumption::Tickets, 1));
    assert!(world.connect(&node(ServerResumption::Tickets, 1)).resumed());
    let other = world.connect(&node(ServerResumption::Tickets, 2));
    assert_eq!(other.refused(), Some(TicketFault::UnknownKey));

    let world = World::new(true);
    world.connect(&node(CACHE, 1));
    assert_eq!(world.connect(&node(CACHE, 1)).refused(), Some(TicketFault::UnknownKey));
}

#[test]
fn a_forged_ticket_leads_to_a_full_handshake_wherever_it_was_touched() {
    let (world, node) = (World::new(true), node(ServerResumption::Tickets, 1));
    // The ends of key name, nonce and claims, then session and tag.
    for at in [0, 7, 8, 19, 20, 76, 77, 200, usize::MAX] {
        world.connect_under(&node, 1, TransportKind::Tls, |config| {
            config.ticketer = Arc::new(Forger(Arc::clone(&config.ticketer), at));
        });
        let next = world.connect(&node);
        let expected = if at < 8 { TicketFault::UnknownKey } else { TicketFault::Damaged };
        assert_eq!(next.refused(), Some(expected), "byte {at}");
        assert!(next.named && world.connect(&node).resumed(), "and to a good one");
    }
}

#[test]
fn another_epoch_or_transport_leads_to_a_full_handshake() {
    for resumption in [ServerResumption::Tickets, CACHE] {
        let (world, node) = (World::new(true), node(resumption, 1));
        world.connect(&node);
        let other = world.connect_under(&node, 2, TransportKind::Tls, |_| {});
        assert_eq!(other.refused(), Some(TicketFault::OtherEpoch));
        let other = world.connect_under(&node, 2, TransportKind::Quic, |_| {});
        assert_eq!(other.refused(), Some(TicketFault::OtherTransport));
        assert!(world.connect_under(&node, 2, TransportKind::Quic, |_| {}).resumed());
    }
}

#[test]
fn however_often_it_resumes_a_client_proves_itself_anew_after_a_day() {
    for resumption in [ServerResumption::Tickets, CACHE] {
        for asked in [false, true] {
            let (world, node) = (World::new(asked), node(resumption, 1));
            world.connect(&node);
            for hours in 1..MAX_AUTHENTICATION_AGE_SECS / HOUR {
                after(HOUR);
                assert!(world.connect(&node).resumed(), "{resumption:?} after {hours} hours");
            }
            after(HOUR);
            assert_eq!(world.connect(&node).refused(), Some(TicketFault::TooOld));
            after(HOUR);
            assert!(world.connect(&node).resumed(), "what it proved then lasts for another day");
        }
    }
}

#[test]
fn a_client_that_stays_away_for_longer_than_a_ticket_lives_proves_itself_anew() {
    for resumption in [ServerResumption::Tickets, CACHE] {
        let (world, node) = (World::new(true), node(resumption, 1));
        world.connect(&node);
        after(TICKET_LIFETIME_SECS - 60);
        assert!(world.connect(&node).resumed());
        after(TICKET_LIFETIME_SECS);
        assert_eq!(world.connect(&node).refused(), Some(TicketFault::TooOld));
    }
}

#[test]
fn an_identity_that_has_expired_does_not_resume() {
    for resumption in [ServerResumption::Tickets, CACHE] {
        let (world, node) = (World::new(true), node(resumption, 1));
        // Kept alive by resumption until shortly before the end: the full handshake is five hours old.
        AHEAD.set(world.client_ends - clock() + AHEAD.get() - 6 * HOUR);
        world.connect(&node);
        after(5 * HOUR);
        assert!(world.connect(&node).resumed());
        after(HOUR);
        // rustls' own clock is not bent: its verifier takes the certificate, and the ticket alone is at fault.
        assert_eq!(world.connect(&node).refused(), Some(TicketFault::Expired));
    }
}

#[test]
fn a_full_handshake_in_spite_of_a_good_ticket_counts_anew_only_where_a_certificate_was_verified() {
    // A server that speaks one suite, and not that of the ticket: rustls passes over it.
    let mut narrow = CryptoProvider::clone(&provider());
    narrow.cipher_suites = vec![rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    let narrow = Arc::new(narrow);
    for asked in [false, true] {
        let (world, node) = (World::new(asked), node(ServerResumption::Tickets, 1));
        world.connect(&node);
        after(10 * HOUR);
        let full = world.connect_by(&narrow, &node, 1, TransportKind::Tls, |_| {});
        assert_eq!((full.kind, full.ticket), (HandshakeKind::Full, TicketUse::Accepted));
        after(10 * HOUR);
        assert!(world.connect_by(&narrow, &node, 1, TransportKind::Tls, |_| {}).resumed());
        after(5 * HOUR);
        let next = world.connect_by(&narrow, &node, 1, TransportKind::Tls, |_| {});
        let expected = if asked { None } else { Some(TicketFault::TooOld) };
        assert_eq!(next.refused(), expected);
        assert_eq!(next.resumed(), asked);
    }
}
