//! Every change against every kind of connection, each with a stream under traffic.
//!
//! A client of authority A (*ann*), one of authority B (*bob*) and one that shows nothing (*nil*) are connected to one server.
//! Then something changes, on the server's side or on the clients', and each row says what becomes of each of them.

use sealstream_transport::testing::pki::{Authority, Issued, Leaf};
use sealstream_transport::tls::{
    ClientAuth, CrlSource, IdentitySource, Material, Published, SecretSource, StapleSource,
};
use sealstream_transport::{Handshake, HandshakeError, StreamError};
use tokio::time::Instant;

use crate::world::{Guest, Hall, SCHEMES, publish};

/// What becomes of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The open stream goes on; the next connection resumes.
    Resumes,
    /// The open stream goes on; the next connection is a full handshake.
    Full,
    /// The open stream dies, and there is no next connection.
    Dies,
}
use Fate::{Dies, Full, Resumes};

/// Everybody who takes part.
struct Cast {
    root: Authority,
    servers: Authority,
    a: Authority,
    b: Authority,
    server: Issued,
    ann: Issued,
    bob: Issued,
}

impl Cast {
    fn new() -> Self {
        let (root, a, b) = (Authority::new("Servers"), Authority::new("A"), Authority::new("B"));
        // An intermediate one, so that a server sends its issuer along: a staple is checked with it.
        let servers = root.intermediate("Servers' issuer");
        Self {
            root,
            server: servers.issue(&Leaf::localhost()),
            ann: a.issue(&Leaf::new().uri("spiffe://example.org/ann")),
            bob: b.issue(&Leaf::new().uri("spiffe://example.org/bob")),
            servers,
            a,
            b,
        }
    }

    /// What the server begins with: A and B are trusted, and a client may show nothing. The secret is fixed, so that every
    /// publication has the same.
    fn serving(&self) -> Material {
        self.serving_as(self.server.identity())
    }

    fn serving_as(&self, identity: IdentitySource) -> Material {
        let mut material = Material::new()
            .with_server_identity(identity)
            .with_client_auth(ClientAuth::Optional, [self.a.trust(), self.b.trust()])
            .with_secret(SecretSource::Given(vec![[7; 32].into()]));
        material.clients.pins = vec![self.ann.pin(), self.bob.pin()];
        material
    }

    /// What a client begins with: it trusts the servers' authority and two more, and pins the server's key and another.
    fn dialling(&self) -> Material {
        let mut material = Material::new().with_roots([self.root.trust(), self.b.trust()]);
        material.servers.pins = vec![self.server.pin(), self.bob.pin()];
        material
    }
}

/// What the server publishes, and what becomes of ann, bob and nil.
type ServerRow = (&'static str, fn(&Cast) -> Material, Published, [Fate; 3]);

/// What a client publishes, and what becomes of it.
type ClientRow = (&'static str, fn(&Cast) -> Material, Published, Fate);

const SERVER_ROWS: &[ServerRow] = &[
    ("nothing", Cast::serving, Published::Unchanged, [Resumes; 3]),
    (
        "renewed",
        |cast| cast.serving_as(cast.servers.issue_again(&Leaf::localhost(), &cast.server).identity()),
        Published::Renewed,
        [Resumes; 3],
    ),
    (
        "new key",
        |cast| cast.serving_as(cast.servers.issue(&Leaf::localhost()).identity()),
        Published::Renewed,
        [Resumes; 3],
    ),
    (
        "new name",
        |cast| {
            let other = cast.servers.issue(&Leaf::new().dns("other.example.org"));
            cast.serving().with_server_identity(other.identity())
        },
        Published::Renewed,
        [Resumes; 3],
    ),
    (
        "CA added",
        |cast| {
            let more = [cast.a.trust(), cast.b.trust(), cast.servers.trust()];
            cast.serving().with_client_auth(ClientAuth::Optional, more)
        },
        Published::TrustChanged,
        [Full; 3],
    ),
    (
        "CA removed",
        |cast| cast.serving().with_client_auth(ClientAuth::Optional, [cast.a.trust()]),
        Published::TrustChanged,
        [Full, Dies, Full],
    ),
    (
        "CRL revokes",
        |cast| {
            let mut material = cast.serving();
            material.clients.crls = vec![CrlSource::Der(vec![cast.b.crl(&[&cast.bob])])];
            material
        },
        Published::TrustChanged,
        [Full, Dies, Full],
    ),
    (
        "pin removed",
        |cast| {
            let mut material = cast.serving();
            material.clients.pins = vec![cast.ann.pin()];
            material
        },
        Published::TrustChanged,
        [Full, Dies, Full],
    ),
    (
        "staple replaced",
        |cast| {
            let staple = StapleSource::Der(cast.servers.ocsp_good(&cast.server));
            cast.serving_as(cast.server.identity().with_staple(staple))
        },
        Published::Renewed,
        [Resumes; 3],
    ),
    (
        "client policy tightened",
        |cast| cast.serving().with_client_auth(ClientAuth::Required, [cast.a.trust(), cast.b.trust()]),
        Published::TrustChanged,
        [Full, Full, Dies],
    ),
    (
        "secret rotated",
        |cast| cast.serving().with_secret(SecretSource::Given(vec![[8; 32].into()])),
        Published::Renewed,
        [Resumes; 3],
    ),
];

const CLIENT_ROWS: &[ClientRow] = &[
    ("nothing", Cast::dialling, Published::Unchanged, Resumes),
    (
        "renewed",
        |cast| cast.dialling().with_client_identity(cast.a.issue_again(&Leaf::new(), &cast.ann).identity()),
        Published::Renewed,
        Full,
    ),
    (
        "CA added",
        |cast| cast.dialling().with_roots([cast.root.trust(), cast.b.trust(), cast.a.trust()]),
        Published::TrustChanged,
        Full,
    ),
    ("CA removed", |cast| cast.dialling().with_roots([cast.b.trust()]), Published::TrustChanged, Dies),
    (
        "CRL revokes",
        |cast| {
            let mut material = cast.dialling();
            material.servers.roots.push(cast.servers.trust());
            material.servers.crls = vec![CrlSource::Der(vec![cast.servers.crl(&[&cast.server])])];
            material
        },
        Published::TrustChanged,
        Dies,
    ),
    (
        "CRL revokes somebody else",
        |cast| {
            let other = cast.servers.issue(&Leaf::localhost());
            let mut material = cast.dialling();
            material.servers.roots.push(cast.servers.trust());
            material.servers.crls = vec![CrlSource::Der(vec![cast.servers.crl(&[&other])])];
            material
        },
        Published::TrustChanged,
        Full,
    ),
    (
        "pin removed",
        |cast| {
            let mut material = cast.dialling();
            material.servers.pins = vec![cast.bob.pin()];
            material
        },
        Published::TrustChanged,
        Dies,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_a_server_reaches_every_connection_it_concerns_and_no_other() {
    for scheme in SCHEMES {
        for (what, change, published, fates) in SERVER_ROWS {
            let cast = Cast::new();
            let mut hall = Hall::open(scheme, &cast.serving()).await;
            let ann = Guest::new(&hall, &cast.dialling().with_client_identity(cast.ann.identity()));
            let bob = Guest::new(&hall, &cast.dialling().with_client_identity(cast.bob.identity()));
            let nil = Guest::new(&hall, &cast.dialling());
            let mut streams = Vec::new();
            for guest in [&ann, &bob, &nil] {
                guest.visit_before().await;
                streams.push(guest.traffic().await);
            }
            println!("{scheme:?}: {what}");
            let changed = Instant::now();
            assert_eq!(publish(&hall.store, &change(&cast)), *published, "{what}");
            for (stream, fate) in streams.into_iter().zip(fates) {
                if *fate == Dies {
                    stream.dies(changed).await;
                    hall.fallen.recv().await.unwrap();
                } else {
                    stream.lives().await;
                }
            }
            assert!(hall.fallen.try_recv().is_err(), "{what}: somebody else fell");
            for (guest, fate) in [ann, bob, nil].iter().zip(fates) {
                expect(what, *fate, &guest.visit().await);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_a_client_reaches_every_connection_it_concerns() {
    for scheme in SCHEMES {
        for (what, change, published, fate) in CLIENT_ROWS {
            let cast = Cast::new();
            let mut hall = Hall::open(scheme, &cast.serving()).await;
            let guest = Guest::new(&hall, &cast.dialling());
            guest.visit_before().await;
            let stream = guest.traffic().await;
            println!("{scheme:?}: {what}");
            let changed = Instant::now();
            assert_eq!(publish(&guest.store, &change(&cast)), *published, "{what}");
            if *fate == Dies {
                let error = stream.dies(changed).await;
                assert!(
                    matches!(StreamError::of(&error), Some(StreamError::Distrusted(_))),
                    "{what}: {error}"
                );
            } else {
                stream.lives().await;
            }
            assert!(hall.fallen.try_recv().is_err(), "{what}: the server has nothing against it");
            expect(what, *fate, &guest.visit().await);
        }
    }
}

fn expect(what: &str, fate: Fate, visit: &Result<Handshake, HandshakeError>) {
    match fate {
        Resumes => assert_eq!(*visit, Ok(Handshake::Resumed), "{what}"),
        Full => assert_eq!(*visit, Ok(Handshake::Full), "{what}"),
        Dies => assert!(visit.as_ref().is_err_and(HandshakeError::is_permanent), "{what}: {visit:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_leaves_what_is_served_alone() {
    for scheme in SCHEMES {
        let cast = Cast::new();
        let mut hall = Hall::open(scheme, &cast.serving()).await;
        let guest = Guest::new(&hall, &cast.dialling().with_client_identity(cast.bob.identity()));
        guest.visit_before().await;
        let stream = guest.traffic().await;
        // Somebody else's key, and at once less trust: neither must come into force.
        let wrong = IdentitySource::der(cast.server.chain(), cast.ann.key_der());
        let bad = cast.serving_as(wrong).with_client_auth(ClientAuth::Required, [cast.a.trust()]);
        let fault = tokio::task::block_in_place(|| hall.store.publish(&bad)).unwrap_err();
        assert!(fault.to_string().contains("key does not match certificate"), "{fault}");
        // The same on the client's side.
        let mut nobody = cast.dialling().with_roots([]);
        nobody.client_identity = Some(IdentitySource::der(cast.bob.chain(), cast.ann.key_der()));
        tokio::task::block_in_place(|| guest.store.publish(&nobody)).unwrap_err();
        stream.lives().await;
        assert_eq!(guest.visit().await, Ok(Handshake::Resumed));
        assert!(hall.fallen.try_recv().is_err());
    }
}
