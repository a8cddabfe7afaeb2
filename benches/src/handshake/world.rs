//! What both ends of every subject have in common: certificates, trust, options, and the configurations of bare rustls that
//! do what ours do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, fs, io};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, TicketRequest, Tls12Resumption,
};
use rustls::client::{Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::{ClientConfig, NamedGroup, RootCertStore, ServerConfig};
use sealstream_transport::admission::{Admission, AdmissionLimits};
use sealstream_transport::testing::pki::{Authority, Issued, Leaf};
use sealstream_transport::tls::{self, ClientAuth, Material};
use sealstream_transport::{Scheme, TransportOptions};

/// The application protocol.
pub const ALPN: &[u8] = b"sealstream-bench/1";

/// The files of [`World::write`].
pub const CA: &str = "ca.pem";
/// The server's certificates.
pub const CHAIN: &str = "server.pem";
/// The server's key.
pub const KEY: &str = "server.key";

/// The name that every server is certified for, and expected to have.
pub const NAME: &str = "localhost";

/// Tickets of a server of ours that is not asked for any, and at most.
const TICKETS_UNASKED: usize = 2;
const TICKETS_AT_MOST: usize = 16;

/// What a client of ours asks for on TCP; on QUIC it does not ask.
const TICKETS_ASKED: TicketRequest = TicketRequest { new_session_count: 16, resumption_count: 1 };

/// Far more than a handshake takes on a machine that does something else as well.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Sessions that a bare client remembers: as many servers as ours.
const SESSIONS: usize = 256 * 8;

/// The key of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Signs in some 20 µs.
    EcdsaP256,
    /// Signs in some 500 µs.
    Rsa2048,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::Rsa2048 => "RSA 2048",
        })
    }
}

/// One kind of handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What carries it.
    pub scheme: Scheme,
    /// The key of the server's certificate.
    pub key: Key,
    /// Clients show certificates, with ECDSA keys.
    pub mutual: bool,
    /// It resumes a session.
    pub resumed: bool,
}

impl Case {
    /// One without client certificates, with an ECDSA key.
    pub fn usual(scheme: Scheme, resumed: bool) -> Self {
        Self { scheme, key: Key::EcdsaP256, mutual: false, resumed }
    }

    /// Whose keys there are.
    pub fn certificates(self) -> String {
        format!("{}{}", self.key, if self.mutual { ", clients too" } else { "" })
    }

    /// Whether it resumes a session, in a word.
    pub fn handshake(self) -> &'static str {
        if self.resumed { "resumed" } else { "full" }
    }
}

/// Certificates that one authority has issued for one case.
#[derive(Debug)]
pub struct World {
    /// What they are for.
    pub case: Case,
    authority: Authority,
    server: Issued,
    client: Issued,
}

impl World {
    /// Issues them.
    pub fn new(case: Case) -> Self {
        let authority = Authority::new("Bench CA");
        let server = match case.key {
            Key::EcdsaP256 => authority.issue(&Leaf::localhost()),
            Key::Rsa2048 => authority.issue_rsa(&Leaf::localhost()),
        };
        let client = authority.issue(&Leaf::new().uri("spiffe://example.org/client"));
        Self { case, authority, server, client }
    }

    /// What a server of ours is given.
    pub fn serving(&self) -> Material {
        let material = Material::new().with_server_identity(self.server.identity());
        if !self.case.mutual {
            return material;
        }
        material.with_client_auth(ClientAuth::Required, [self.authority.trust()])
    }

    /// What a client of ours is given.
    pub fn dialling(&self) -> Material {
        let material = Material::new().with_roots([self.authority.trust()]);
        if self.case.mutual { material.with_client_identity(self.client.identity()) } else { material }
    }

    /// Writes what a server needs for another process: `ca.pem`, `server.pem`, `server.key`.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        fs::write(dir.join(CA), self.authority.pem())?;
        fs::write(dir.join(CHAIN), self.server.chain_pem())?;
        fs::write(dir.join(KEY), self.server.key_pem())
    }

    /// The configuration of a bare server, with a count of the tickets that it has accepted.
    pub fn bare_server(&self) -> (ServerConfig, Arc<CountingTicketer>) {
        let clients = self.case.mutual.then(|| self.roots());
        server_config(self.case.scheme, self.server.chain(), self.server.key_der(), clients)
    }

    /// The configuration of a bare client.
    pub fn bare_client(&self) -> ClientConfig {
        let identity = self.case.mutual.then(|| (self.client.chain(), self.client.key_der()));
        client_config(self.case.scheme, self.case.resumed, self.roots(), identity)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate().clone()).expect("a root");
        Arc::new(roots)
    }
}

/// The configuration of a bare server out of what [`World::write`] wrote.
pub fn bare_server_in(dir: &Path, scheme: Scheme) -> (ServerConfig, Arc<CountingTicketer>) {
    let chain = CertificateDer::pem_file_iter(dir.join(CHAIN)).expect("a chain");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a chain");
    let key = PrivateKeyDer::from_pem_file(dir.join(KEY)).expect("a key");
    server_config(scheme, chain, key, None)
}

/// The configuration of a bare client that trusts what [`World::write`] wrote.
pub fn bare_client_in(dir: &Path, scheme: Scheme, resumed: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join(CA)).expect("a CA")).expect("a root");
    client_config(scheme, resumed, Arc::new(roots), None)
}

fn client_config(
    scheme: Scheme,
    resumed: bool,
    roots: Arc<RootCertStore>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a pair"),
        None => builder.with_no_client_auth(),
    };
    let cache = ClientSessionMemoryCache::new(SESSIONS);
    let store: Arc<dyn ClientSessionStore> = if resumed { Arc::new(cache) } else { Arc::new(Unused(cache)) };
    config.resumption = Resumption::store(store).tls12_resumption(Tls12Resumption::Disabled);
    config.send_ticket_request = (scheme != Scheme::Quic).then_some(TICKETS_ASKED);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn server_config(
    scheme: Scheme,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<Arc<RootCertStore>>,
) -> (ServerConfig, Arc<CountingTicketer>) {
    let builder = ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3");
    let builder = match clients {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, tls::provider());
            builder.with_client_cert_verifier(verifier.build().expect("a root"))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).expect("a pair");
    let ticketer = Arc::new(CountingTicketer::new());
    config.ticketer = Arc::<CountingTicketer>::clone(&ticketer);
    config.send_tls13_tickets = TICKETS_UNASKED;
    config.max_tls13_tickets = match scheme {
        Scheme::Quic => TICKETS_UNASKED,
        _ => TICKETS_AT_MOST,
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    (config, ticketer)
}

/// The options of our transports: the defaults, but that nobody is turned away for coming often.
pub fn options() -> TransportOptions {
    let mut limits = AdmissionLimits::default();
    limits.address_rate = None;
    limits.unvalidated_rate = None;
    limits.retry_above = usize::MAX;
    let mut options = TransportOptions::new(ALPN, 9);
    options.admission = Admission::new(limits).expect("limits");
    options.deadlines.handshake = PATIENCE;
    options
}

/// The ticketer of rustls, and how many tickets it has accepted.
#[derive(Debug)]
pub struct CountingTicketer {
    inner: Arc<dyn ProducesTickets>,
    accepted: AtomicUsize,
}

impl CountingTicketer {
    fn new() -> Self {
        Self { inner: Ticketer::new().expect("randomness"), accepted: AtomicUsize::new(0) }
    }

    /// How many.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl ProducesTickets for CountingTicketer {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.inner.decrypt(cipher)?;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Some(plain)
    }
}

/// Sessions that are kept, as every client keeps them, and never resumed: each handshake is a full one.
#[derive(Debug)]
struct Unused(ClientSessionMemoryCache);

impl ClientSessionStore for Unused {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(server)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(server, ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}
