//! What resumes and what must not: handshakes in memory, bytes carried by hand.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, ServerConnection};

use super::handshake::Verified;
use super::sessions::{MAX_HOSTS, SessionCache, SessionKey, TICKETS_PER_HOST};
use super::{ClientAuth, Material, Profile, Store};
use crate::endpoint::{Endpoint, Scheme};
use crate::error::HandshakeError;
use crate::expectation::Expectation;
use crate::peer::{Handshake, TransportKind};
use crate::testing::pki::{Authority, Issued, Leaf};
use crate::transport::Server;

const PROFILE: fn() -> Profile =
    || Profile { kind: TransportKind::Tls, alpn: b"test/1".to_vec(), key_log: false };

fn server_at(host: &str, expectation: Expectation) -> Server {
    Server { endpoint: Endpoint { scheme: Scheme::Tls, host: host.into(), port: 1 }, expectation }
}

fn localhost() -> Server {
    server_at("localhost", Expectation::Name("localhost".into()))
}

struct World {
    authority: Authority,
    leaf: Issued,
    serving: Store,
    dialling: Store,
}

impl World {
    fn new() -> Self {
        Self::with(
            &Leaf::localhost().uri("spiffe://test/server"),
            |_, material| material,
            |_, material| material,
        )
    }

    fn with(
        leaf: &Leaf,
        server: impl FnOnce(&Authority, Material) -> Material,
        client: impl FnOnce(&Authority, Material) -> Material,
    ) -> Self {
        let authority = Authority::new("Test CA");
        let leaf = authority.issue(leaf);
        let serving = server(&authority, Material::new().with_server_identity(leaf.identity()));
        let dialling = client(&authority, Material::new().with_roots([authority.trust()]));
        let (serving, dialling) = (Store::new(&serving).unwrap(), Store::new(&dialling).unwrap());
        Self { authority, leaf, serving, dialling }
    }

    fn dial(&self, server: &Server) -> Dial {
        Dial::new(self, server, &PROFILE())
    }

    /// Dials, finishes, and reads what the server sent: the tickets.
    fn connect(&self, server: &Server) -> Handshake {
        self.dial(server).finish().unwrap().handshake
    }

    fn tickets(&self, server: &Server) -> usize {
        let snapshot = self.dialling.receiver().current();
        let context = snapshot.client_handshake(&PROFILE(), server).unwrap();
        snapshot.sessions().tickets(context.session_key())
    }
}

/// One handshake, stopped after the first flight: its ticket, if any, is taken.
struct Dial {
    client: ClientConnection,
    server: ServerConnection,
    contexts: (super::ClientHandshake, super::ServerHandshake),
}

impl Dial {
    fn new(world: &World, server: &Server, profile: &Profile) -> Self {
        let dialling = world.dialling.receiver().current().client_handshake(profile, server).unwrap();
        let serving = world.serving.receiver().current().server_handshake(profile).unwrap();
        Self {
            client: ClientConnection::new(dialling.config(), dialling.server_name()).unwrap(),
            server: ServerConnection::new(serving.config()).unwrap(),
            contexts: (dialling, serving),
        }
    }

    /// What the client established; both sides must see the same kind of handshake.
    fn finish(mut self) -> Result<Verified, HandshakeError> {
        while self.client.is_handshaking() || self.server.is_handshaking() {
            self.carry()?;
        }
        // A server that sends its tickets at once: they arrive before the handshake is judged.
        self.carry()?;
        let seen = self.contexts.1.verify(&self.server)?;
        let verified = self.contexts.0.verify(&self.client)?;
        assert_eq!(seen.handshake, verified.handshake);
        assert_eq!(seen.negotiated, verified.negotiated);
        self.carry()?;
        Ok(verified)
    }

    fn carry(&mut self) -> Result<(), HandshakeError> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        feed(&mut self.server, &bytes).map_err(|error| self.contexts.1.explain(&error))?;
        bytes.clear();
        while self.server.wants_write() {
            self.server.write_tls(&mut bytes).unwrap();
        }
        feed(&mut self.client, &bytes).map_err(|error| self.contexts.0.explain(&error))
    }
}

fn feed<C, D>(connection: &mut C, mut bytes: &[u8]) -> Result<(), rustls::Error>
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    D: rustls::SideData,
{
    while !bytes.is_empty() {
        connection.read_tls(&mut bytes).unwrap();
        connection.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn sixteen_dials_at_once_resume_after_one_full_handshake() {
    let world = World::new();
    assert_eq!(world.connect(&localhost()), Handshake::Full);
    assert_eq!(world.tickets(&localhost()), TICKETS_PER_HOST);
    let dials: Vec<_> = (0..16).map(|_| world.dial(&localhost())).collect();
    assert_eq!(world.tickets(&localhost()), 0, "a ticket is used once");
    for dial in dials {
        assert_eq!(dial.finish().unwrap().handshake, Handshake::Resumed);
    }
    assert_eq!(world.tickets(&localhost()), 16, "each brought one back");
}

#[test]
fn a_quic_server_gives_two_tickets_and_no_other_transport_takes_them() {
    let world = World::new();
    let quic = Profile { kind: TransportKind::Quic, ..PROFILE() };
    // The TLS inside is the same; only the framing differs, which plays no part here.
    let finished = Dial::new(&world, &localhost(), &quic).finish().unwrap();
    assert_eq!(finished.handshake, Handshake::Full);
    assert_eq!(world.connect(&localhost()), Handshake::Full);
    for _ in 0..2 {
        let finished = Dial::new(&world, &localhost(), &quic).finish().unwrap();
        assert_eq!(finished.handshake, Handshake::Resumed);
    }
}

#[test]
fn the_identity_of_the_server_is_known_after_resumption_too() {
    let world = World::new();
    let full = world.dial(&localhost()).finish().unwrap();
    let resumed = world.dial(&localhost()).finish().unwrap();
    assert_eq!(resumed.handshake, Handshake::Resumed);
    assert_eq!(full.identity, resumed.identity);
    let identity = resumed.identity.unwrap();
    assert_eq!(identity.dns_names, ["localhost"]);
    assert_eq!(identity.spiffe_id.as_deref(), Some("spiffe://test/server"));
    assert_eq!(identity.spki_sha256, world.leaf.pin());
}

#[test]
fn a_session_is_bound_to_host_port_protocol_and_expectation() {
    let world = World::new();
    let pin = Expectation::Pin { name: "localhost".into(), spki_sha256: world.leaf.pin() };
    let other_port = Server { endpoint: Endpoint { port: 2, ..localhost().endpoint }, ..localhost() };
    let others = [
        server_at("127.0.0.1", Expectation::Name("localhost".into())),
        server_at("localhost", Expectation::Name("127.0.0.1".into())),
        server_at("localhost", Expectation::SpiffeId("spiffe://test/server".into())),
        server_at("localhost", pin),
        other_port,
    ];
    assert_eq!(world.connect(&localhost()), Handshake::Full);
    for other in &others {
        assert_eq!(world.connect(other), Handshake::Full, "{other:?}");
    }
    for other in &others {
        assert_eq!(world.connect(other), Handshake::Resumed, "{other:?}");
    }
}

#[test]
fn a_reload_that_changes_nothing_leaves_resumption_alone() {
    let world = World::with(
        &Leaf::localhost(),
        |authority, material| material.with_client_auth(ClientAuth::Optional, [authority.trust()]),
        |authority, material| material.with_client_identity(authority.issue(&Leaf::new()).identity()),
    );
    // The identity is issued inside, so it is published once more before anything is cached.
    let me = world.authority.issue(&Leaf::new().dns("me"));
    let dialling = Material::new().with_roots([world.authority.trust()]).with_client_identity(me.identity());
    world.dialling.publish(&dialling).unwrap();
    assert_eq!(world.connect(&localhost()), Handshake::Full);
    world.dialling.publish(&dialling).unwrap();
    // A renewal of the server's certificate changes no trust either.
    let serving = Material::new()
        .with_server_identity(world.authority.issue(&Leaf::localhost()).identity())
        .with_client_auth(ClientAuth::Optional, [world.authority.trust()]);
    world.serving.publish(&serving).unwrap();
    assert_eq!(world.connect(&localhost()), Handshake::Resumed);
}

#[test]
fn trust_that_changes_on_either_side_leads_to_a_full_handshake() {
    let world = World::new();
    let another = Authority::new("Another CA");
    assert_eq!(world.connect(&localhost()), Handshake::Full);
    let more = Material::new().with_roots([world.authority.trust(), another.trust()]);
    world.dialling.publish(&more).unwrap();
    assert_eq!(world.connect(&localhost()), Handshake::Full, "the client trusts more");

    let me = another.issue(&Leaf::new().dns("me"));
    world.dialling.publish(&more.clone().with_client_identity(me.identity())).unwrap();
    assert_eq!(world.connect(&localhost()), Handshake::Full, "the client shows another identity");

    let serving = Material::new()
        .with_server_identity(world.leaf.identity())
        .with_client_auth(ClientAuth::Required, [another.trust()]);
    world.serving.publish(&serving).unwrap();
    assert_eq!(world.connect(&localhost()), Handshake::Full, "the server asks for more");
    assert_eq!(world.connect(&localhost()), Handshake::Resumed);
}

#[test]
fn a_server_whose_certificate_is_about_to_end_is_not_resumed() {
    let world = World::with(
        &Leaf::localhost().lasting(Duration::from_secs(30)),
        |_, material| material,
        |_, material| material,
    );
    assert_eq!(world.connect(&localhost()), Handshake::Full);
    assert_eq!(world.tickets(&localhost()), TICKETS_PER_HOST);
    assert_eq!(world.connect(&localhost()), Handshake::Full);
}

#[test]
fn a_client_that_shows_no_certificate_where_one_is_required_is_named() {
    let world = World::with(
        &Leaf::localhost(),
        |authority, material| material.with_client_auth(ClientAuth::Required, [authority.trust()]),
        |_, material| material,
    );
    let refused = world.dial(&localhost()).finish().unwrap_err();
    assert_eq!(refused, HandshakeError::ClientCertificateRequired);
}

#[test]
fn early_data_is_off_on_both_sides() {
    let world = World::new();
    for kind in [TransportKind::Tls, TransportKind::Quic] {
        let profile = Profile { kind, ..PROFILE() };
        Dial::new(&world, &localhost(), &profile).finish().unwrap();
        let mut dial = Dial::new(&world, &localhost(), &profile);
        assert_eq!(dial.contexts.1.config().max_early_data_size, 0);
        assert!(!dial.contexts.0.config().enable_early_data);
        assert!(dial.client.early_data().is_none(), "even with a ticket at hand");
    }
}

#[test]
fn the_cache_is_bounded_in_hosts() {
    let world = World::new();
    for n in 0..=MAX_HOSTS.get() {
        world.connect(&server_at(&format!("host-{n}"), Expectation::Name("localhost".into())));
    }
    assert_eq!(world.dialling.receiver().current().sessions().len(), MAX_HOSTS.get());
    let oldest = server_at("host-0", Expectation::Name("localhost".into()));
    assert_eq!(world.connect(&oldest), Handshake::Full);
    assert_eq!(world.connect(&oldest), Handshake::Resumed);
}

#[test]
fn a_forgotten_host_has_no_tickets() {
    let world = World::new();
    world.connect(&localhost());
    let cache: Arc<SessionCache> = Arc::clone(world.dialling.receiver().current().sessions());
    let key = SessionKey {
        kind: TransportKind::Tls,
        host: "localhost".into(),
        port: 1,
        alpn: b"test/1".to_vec(),
        expectation: Expectation::Name("localhost".into()),
    };
    assert_eq!(cache.tickets(&key), TICKETS_PER_HOST);
    cache.forget(&key);
    assert_eq!(world.connect(&localhost()), Handshake::Full);
}
