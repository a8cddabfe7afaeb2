//! Loaded and checked TLS material, immutable: what one handshake, and only one, is configured from.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lru::LruCache;
use rustls::client::{Resumption, TicketRequest, Tls12Resumption};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{KeyLog, KeyLogFile, NoKeyLog};
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

use super::handshake::{ClientHandshake, ServerHandshake};
use super::material::{ClientAuth, ExpiredClients, IdentitySource, Material};
use super::pem::MaterialError;
use super::registry::{Basis, Grounds, Registry};
use super::resolver::{Identities, ServedIdentity};
use super::revocation::Revocations;
use super::sessions::{HandshakeSessions, SessionCache, SessionKey, TICKETS_PER_HOST, unix_now};
use super::store::Published;
use super::tickets::{HandshakeContext, ServerSessions};
use super::trust::{ClientCredential, ClientTrust, Epoch, Purpose, ServerTrust};
use super::{Profile, provider, spiffe};
use crate::error::HandshakeError;
use crate::expectation::Expectation;
use crate::peer::TransportKind;
use crate::transport::Server;

/// Tickets that a server gives unasked: one to resume with, one to spare for a dial in parallel.
const TICKETS_UNASKED: usize = 2;

/// Tickets that a resumed TCP connection asks for: it has used one up.
const TICKETS_AFTER_RESUMPTION: u8 = 1;

/// Server configurations kept per snapshot: one for each backend and application protocol in use.
const MAX_SERVER_CONFIGS: NonZeroUsize = match NonZeroUsize::new(16) {
    Some(configs) => configs,
    None => unreachable!(),
};

/// Checked TLS material. Published by a [`Store`](super::Store), read at each handshake.
pub struct Snapshot {
    pub(super) identities: Arc<Identities>,
    client_trust: Arc<ClientTrust>,
    server_trust: Arc<ServerTrust>,
    credential: Arc<ClientCredential>,
    sessions: Arc<SessionCache>,
    resumption: Arc<ServerSessions>,
    expired_clients: ExpiredClients,
    registry: Arc<Registry>,
    server_configs: Mutex<LruCache<Profile, Arc<rustls::ServerConfig>>>,
}

impl Snapshot {
    /// Reads and checks everything that `material` names; the first fault is returned and nothing is half loaded.
    ///
    /// Reads files: call it at start, or on a thread that may block.
    pub fn load(material: &Material) -> Result<Self, MaterialError> {
        Self::build(material, None)
    }

    /// Loads the successor of a snapshot: what has not changed is carried over, so that sessions stay resumable.
    pub(super) fn load_after(material: &Material, previous: &Self) -> Result<Self, MaterialError> {
        Self::build(material, Some(previous))
    }

    fn build(material: &Material, previous: Option<&Self>) -> Result<Self, MaterialError> {
        let (provider, now) = (provider(), material.now());
        let load = |source: &IdentitySource, purpose| source.load(&provider, purpose, now);
        let identities = material.server_identities.iter().map(|source| load(source, Purpose::Server));
        let identities = identities.map(|loaded| loaded.map(Arc::new)).collect::<Result<_, _>>()?;
        let shown =
            material.client_identity.as_ref().map(|source| load(source, Purpose::Client)).transpose()?;
        let client_trust = ClientTrust::load(material.client_auth, &material.clients, now)?;
        Ok(Self {
            identities: Arc::new(Identities::new(identities)),
            server_trust: ServerTrust::load(
                &material.servers,
                previous.map(|previous| &previous.server_trust),
                now,
            )?,
            credential: ClientCredential::of(
                shown.map(ServedIdentity::into_pair),
                previous.map(|previous| &previous.credential),
            ),
            sessions: previous
                .map_or_else(|| Arc::new(SessionCache::new()), |previous| Arc::clone(&previous.sessions)),
            resumption: ServerSessions::load(
                material.resumption,
                &material.secret,
                previous.map(|previous| &previous.resumption),
            )?,
            client_trust: Arc::new(client_trust),
            expired_clients: material.expired_clients,
            registry: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.registry)),
            server_configs: Mutex::new(LruCache::new(MAX_SERVER_CONFIGS)),
        })
    }

    /// What clients are judged by.
    pub fn epoch(&self) -> Epoch {
        self.client_trust.epoch
    }

    /// What servers that we go out to are judged by.
    pub fn outgoing_epoch(&self) -> Epoch {
        self.server_trust.epoch
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(super) fn epoch_of(&self, basis: Basis) -> Epoch {
        match basis {
            Basis::Client => self.epoch(),
            Basis::Server => self.outgoing_epoch(),
        }
    }

    /// Whether clients are asked for certificates.
    pub fn client_auth(&self) -> ClientAuth {
        self.client_trust.policy
    }

    /// What becomes of connections whose client's certificate ends.
    pub fn expired_clients(&self) -> ExpiredClients {
        self.expired_clients
    }

    /// The identities that listeners show, the default first.
    pub fn identities(&self) -> &[Arc<ServedIdentity>] {
        self.identities.all()
    }

    /// The trust in clients: how many anchors and pins it has.
    pub fn client_anchors(&self) -> usize {
        self.client_trust.trust.anchors().len()
    }

    /// How many keys of clients are pinned.
    pub fn client_pins(&self) -> usize {
        self.client_trust.trust.pins().len()
    }

    /// The revocation lists that clients are checked against.
    pub fn client_revocations(&self) -> &Revocations {
        self.client_trust.trust.revocations()
    }

    /// The sessions of outgoing connections, which outlive the snapshot.
    #[cfg(test)]
    pub(crate) fn sessions(&self) -> &Arc<SessionCache> {
        &self.sessions
    }

    /// Forgets the tickets of a server, which were got over this transport with this application protocol: the next handshake
    /// with it is a full one.
    pub fn forget_tickets(&self, kind: TransportKind, alpn: &[u8], server: &Server) {
        self.sessions.forget(&SessionKey::new(kind, alpn, server));
    }

    /// How clients resume: `tickets`, `cache` or `off`.
    pub fn resumption(&self) -> &'static str {
        self.resumption.name()
    }

    /// Secrets for what QUIC endpoints prove without a handshake, the one in use first.
    pub(crate) fn quic_secrets(&self) -> &[Zeroizing<[u8; 32]>] {
        self.resumption.keys().quic_secrets()
    }

    /// What publishing this after `previous` changes.
    pub(super) fn compared_to(&self, previous: &Self) -> Published {
        if self.epoch() != previous.epoch() || self.outgoing_epoch() != previous.outgoing_epoch() {
            return Published::TrustChanged;
        }
        let served = |snapshot: &Self| {
            let shown = |identity: &Arc<ServedIdentity>| {
                (identity.chain().to_vec(), identity.staple().map(|staple| staple.der().to_vec()))
            };
            snapshot.identities().iter().map(shown).collect::<Vec<_>>()
        };
        let same = served(self) == served(previous)
            && Arc::ptr_eq(&self.credential, &previous.credential)
            && Arc::ptr_eq(&self.resumption, &previous.resumption)
            && self.client_revocations().next_update() == previous.client_revocations().next_update()
            && self.expired_clients == previous.expired_clients;
        if same { Published::Unchanged } else { Published::Renewed }
    }

    /// Whether a peer that was accepted once would be now.
    pub(super) fn judge(&self, grounds: &Grounds) -> Result<(), HandshakeError> {
        match (grounds.basis, &grounds.chain) {
            (Basis::Client, chain) => self.client_trust.judge(chain.as_deref(), unix_now()),
            (Basis::Server, Some(chain)) => self.server_trust.judge(chain, unix_now()),
            // A server always shows a chain.
            (Basis::Server, None) => Ok(()),
        }
    }

    /// The context of one handshake on the accepting side; `None` if there is no identity to serve with.
    ///
    /// It gets a configuration of its own, a cheap copy: what this one handshake proves, and the tickets that vouch for
    /// it, meet in one cell.
    pub(crate) fn server_handshake(&self, profile: &Profile) -> Option<ServerHandshake> {
        if self.identities.all().is_empty() {
            return None;
        }
        let lists_until = self.client_trust.trust.revocations().enforced_until();
        let context = HandshakeContext::new(&self.resumption, self.epoch(), profile.kind, lists_until);
        let verifier = &self.client_trust.verifier;
        let mut config = if verifier.offer_client_auth() {
            // A verifier cannot be exchanged in a copy; building costs 2 µs, the verification that follows 70.
            self.server_config(profile, context.verifier(verifier))
        } else {
            let mut configs = self.server_configs.lock().unwrap_or_else(PoisonError::into_inner);
            let make = || Arc::new(self.server_config(profile, Arc::clone(verifier)));
            rustls::ServerConfig::clone(configs.get_or_insert_ref(profile, make))
        };
        context.equip(&mut config);
        Some(ServerHandshake {
            config: Arc::new(config),
            alpn: profile.alpn.clone(),
            context,
            registry: Arc::clone(&self.registry),
            epoch: self.epoch(),
        })
    }

    /// What the handshakes of a profile have in common.
    fn server_config(
        &self,
        profile: &Profile,
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> rustls::ServerConfig {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has TLS 1.3 cipher suites")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.identities) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![profile.alpn.clone()];
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS_UNASKED;
        config.max_tls13_tickets = match profile.kind {
            TransportKind::Quic => TICKETS_UNASKED,
            TransportKind::Tls | TransportKind::Memory => TICKETS_PER_HOST,
        };
        config.key_log = key_log(profile.key_log);
        config
    }

    /// The name that `server` is greeted by. Fails where the expectation is no name, or nobody is trusted.
    pub(crate) fn greeting(&self, server: &Server) -> Result<ServerName<'static>, String> {
        if self.server_trust.is_empty() {
            return Err(format!(
                "nobody is trusted to vouch for {}: name a CA file, or trust the public roots",
                server.endpoint.host
            ));
        }
        server_name(server)
    }

    /// The context of one handshake with `server`. Fails where the expectation is no name, or nobody is trusted.
    pub(crate) fn client_handshake(
        &self,
        profile: &Profile,
        server: &Server,
    ) -> Result<ClientHandshake, String> {
        let server_name = self.greeting(server)?;
        let key = SessionKey::new(profile.kind, &profile.alpn, server);
        let sessions = Arc::new(HandshakeSessions::new(Arc::clone(&self.sessions), key));
        let config = self.client_config(profile, &server.expectation, Arc::clone(&sessions));
        Ok(ClientHandshake {
            config: Arc::new(config),
            server_name,
            sessions,
            cache: Arc::clone(&self.sessions),
            registry: Arc::clone(&self.registry),
            epoch: self.outgoing_epoch(),
        })
    }

    fn client_config(
        &self,
        profile: &Profile,
        expectation: &Expectation,
        sessions: Arc<HandshakeSessions>,
    ) -> rustls::ClientConfig {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has TLS 1.3 cipher suites")
            .dangerous()
            .with_custom_certificate_verifier(self.server_trust.verifier(expectation))
            .with_client_cert_resolver(Arc::clone(&self.credential.resolver));
        config.alpn_protocols = vec![profile.alpn.clone()];
        config.resumption = Resumption::store(sessions).tls12_resumption(Tls12Resumption::Disabled);
        config.enable_early_data = false;
        config.key_log = key_log(profile.key_log);
        if profile.kind == TransportKind::Tls {
            // Every further stream is a connection of its own and uses a ticket up. A QUIC connection is resumed only
            // to reconnect: what a server gives unasked is enough.
            config.send_ticket_request = Some(TicketRequest {
                new_session_count: u8::try_from(TICKETS_PER_HOST).unwrap_or(u8::MAX),
                resumption_count: TICKETS_AFTER_RESUMPTION,
            });
        }
        config
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("identities", &self.identities)
            .field("client_auth", &self.client_auth())
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

/// The name that rustls checks and sends as SNI. A SPIFFE server is told the host, and not judged by it.
fn server_name(server: &Server) -> Result<ServerName<'static>, String> {
    let name = match &server.expectation {
        Expectation::Name(name) | Expectation::Pin { name, .. } => name,
        Expectation::SpiffeId(id) => {
            spiffe::check_id(id).map_err(|error| error.to_string())?;
            &server.endpoint.host
        }
    };
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(ServerName::IpAddress(address.into())),
        Err(_) => ServerName::try_from(name.clone())
            .map_err(|_| format!("\"{name}\" is neither a DNS name nor an IP address")),
    }
}

fn key_log(asked: bool) -> Arc<dyn KeyLog> {
    static FILE: OnceLock<Arc<KeyLogFile>> = OnceLock::new();
    if asked {
        Arc::clone(FILE.get_or_init(|| Arc::new(KeyLogFile::new()))) as Arc<dyn KeyLog>
    } else {
        Arc::new(NoKeyLog {})
    }
}
