//! Loaded and checked TLS material, immutable: what one handshake, and only one, is configured from.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lru::LruCache;
use rustls::client::{Resumption, TicketRequest, Tls12Resumption};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{KeyLog, KeyLogFile, NoKeyLog};
use rustls_pki_types::{CertificateDer, ServerName};

use super::handshake::{ClientHandshake, ServerHandshake};
use super::material::{ClientAuth, Material};
use super::pem::MaterialError;
use super::sessions::{HandshakeSessions, SessionCache, SessionKey, TICKETS_PER_HOST};
use super::trust::{ClientCredential, ClientTrust, Epoch, ServerTrust};
use super::{Profile, provider, spiffe};
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
    server_identity: Option<Arc<CertifiedKey>>,
    client_trust: Arc<ClientTrust>,
    server_trust: Arc<ServerTrust>,
    credential: Arc<ClientCredential>,
    sessions: Arc<SessionCache>,
    server_configs: Mutex<LruCache<Profile, Arc<rustls::ServerConfig>>>,
}

impl Snapshot {
    /// Reads and checks everything that `material` names; the first fault is returned and nothing is half loaded.
    ///
    /// Reads files: call it at start, or on a thread that may block.
    pub fn load(material: &Material) -> Result<Self, MaterialError> {
        Self::load_after(material, None)
    }

    /// Loads the successor of a snapshot: what has not changed is carried over, so that sessions stay resumable.
    pub(super) fn load_after(material: &Material, previous: Option<&Self>) -> Result<Self, MaterialError> {
        let provider = provider();
        let identity = |source: &Option<super::IdentitySource>| {
            source.as_ref().map(|source| source.load(&provider)).transpose()
        };
        let shown = identity(&material.client_identity)?;
        Ok(Self {
            server_identity: identity(&material.server_identity)?,
            client_trust: ClientTrust::load(
                material.client_auth,
                &material.client_roots,
                previous.map(|previous| &previous.client_trust),
            )?,
            server_trust: ServerTrust::load(
                &material.roots,
                previous.map(|previous| &previous.server_trust),
            )?,
            credential: ClientCredential::of(shown, previous.map(|previous| &previous.credential)),
            sessions: previous
                .map_or_else(|| Arc::new(SessionCache::new()), |previous| Arc::clone(&previous.sessions)),
            server_configs: Mutex::new(LruCache::new(MAX_SERVER_CONFIGS)),
        })
    }

    /// What clients are judged by.
    pub fn epoch(&self) -> Epoch {
        self.client_trust.epoch
    }

    /// Whether clients are asked for certificates.
    pub fn client_auth(&self) -> ClientAuth {
        self.client_trust.policy
    }

    /// The chain that listeners show, leaf first.
    pub fn server_chain(&self) -> Option<&[CertificateDer<'static>]> {
        self.server_identity.as_ref().map(|pair| pair.cert.as_slice())
    }

    /// The sessions of outgoing connections, which outlive the snapshot.
    pub fn sessions(&self) -> &Arc<SessionCache> {
        &self.sessions
    }

    /// The context of one handshake on the accepting side; `None` if there is no identity to serve with.
    pub fn server_handshake(&self, profile: &Profile) -> Option<ServerHandshake> {
        let identity = self.server_identity.as_ref()?;
        let mut configs = self.server_configs.lock().unwrap_or_else(PoisonError::into_inner);
        let config = configs
            .get_or_insert_ref(profile, || Arc::new(server_config(profile, identity, &self.client_trust)));
        Some(ServerHandshake { config: Arc::clone(config), alpn: profile.alpn.clone() })
    }

    /// The context of one handshake with `server`. Fails where the expectation is no name, or nobody is trusted.
    pub fn client_handshake(&self, profile: &Profile, server: &Server) -> Result<ClientHandshake, String> {
        if self.server_trust.is_empty() {
            return Err(format!(
                "nobody is trusted to vouch for {}: name a CA file, or trust the public roots",
                server.endpoint.host
            ));
        }
        let server_name = server_name(server)?;
        let key = SessionKey {
            kind: profile.kind,
            host: server.endpoint.host.clone(),
            port: server.endpoint.port,
            alpn: profile.alpn.clone(),
            expectation: server.expectation.clone(),
        };
        let sessions = Arc::new(HandshakeSessions::new(Arc::clone(&self.sessions), key));
        let config = self.client_config(profile, &server.expectation, Arc::clone(&sessions));
        Ok(ClientHandshake {
            config: Arc::new(config),
            server_name,
            sessions,
            cache: Arc::clone(&self.sessions),
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
            .field("serves", &self.server_identity.is_some())
            .field("client_auth", &self.client_auth())
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

fn server_config(
    profile: &Profile,
    identity: &Arc<CertifiedKey>,
    trust: &ClientTrust,
) -> rustls::ServerConfig {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3 cipher suites")
        .with_client_cert_verifier(Arc::clone(&trust.verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))));
    config.alpn_protocols = vec![profile.alpn.clone()];
    config.max_early_data_size = 0;
    // Tickets and no store: rustls' own store is searched from end to end under one lock for each resumption.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = trust.tickets(profile.kind);
    config.send_tls13_tickets = TICKETS_UNASKED;
    config.max_tls13_tickets = match profile.kind {
        TransportKind::Quic => TICKETS_UNASKED,
        TransportKind::Tls | TransportKind::Memory => TICKETS_PER_HOST,
    };
    config.key_log = key_log(profile.key_log);
    config
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
