//! What an operator names: identities to show, trust to verify with, and the policy for client certificates.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::chain::{check_chain, check_usage};
use super::identity::identity_of_leaf;
use super::pem::{self, MaterialError};
use super::resolver::ServedIdentity;
use super::revocation::{CrlPolicy, CrlSource};
use super::staple::{Staple, StapleSource};
use super::tickets::SecretSource;
use super::trust::Purpose;

/// Whether a server asks its clients for certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// It does not ask.
    #[default]
    None,
    /// It asks; a client may decline, but what it shows must verify.
    Optional,
    /// It asks and refuses a client that shows none.
    Required,
}

impl ClientAuth {
    /// `none`, `optional` or `required`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// What becomes of a client's connection when its certificate ends while it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExpiredClients {
    /// It loses its standing: a client that has renewed comes back with the new certificate.
    #[default]
    Close,
    /// It lives on; only what is begun afterwards needs a valid certificate.
    Keep,
}

/// How a listener lets its clients resume (RFC 8446, section 2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerResumption {
    /// By tickets, which the clients keep: they survive a restart, and serve every node that shares the secret.
    #[default]
    Tickets,
    /// By sessions that this process keeps, in at most so many bytes: they are lost with it.
    Cache {
        /// The bound.
        bytes: usize,
    },
    /// Not at all.
    Off,
}

/// An identity of a listener or of an outgoing connection: a chain with its key, and perhaps a staple.
#[derive(Clone, Debug)]
pub struct IdentitySource {
    pair: PairSource,
    staple: Option<StapleSource>,
    /// Loads it whatever its certificates are for: for tests that show what a peer must refuse.
    any_purpose: bool,
}

/// Where a certificate chain and its key come from.
#[derive(Clone)]
enum PairSource {
    Files { chain: PathBuf, key: PathBuf },
    Der { chain: Vec<CertificateDer<'static>>, key: Arc<PrivateKeyDer<'static>> },
}

impl IdentitySource {
    /// An identity in PEM files. The chain begins with the leaf; the key is PKCS#8, SEC1 or PKCS#1.
    pub fn files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            pair: PairSource::Files { chain: chain.into(), key: key.into() },
            staple: None,
            any_purpose: false,
        }
    }

    /// An identity in memory, leaf first.
    pub fn der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { pair: PairSource::Der { chain, key: Arc::new(key) }, staple: None, any_purpose: false }
    }

    /// Staples this OCSP response (RFC 6960) to the leaf, for as long as it is fresh.
    #[must_use]
    pub fn with_staple(mut self, staple: StapleSource) -> Self {
        self.staple = Some(staple);
        self
    }

    /// Shows it whatever its extended key usage says.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn for_any_purpose(mut self) -> Self {
        self.any_purpose = true;
        self
    }

    /// The files that it is read from.
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = match &self.pair {
            PairSource::Files { chain, key } => vec![chain.as_path(), key.as_path()],
            PairSource::Der { .. } => Vec::new(),
        };
        paths.extend(self.staple.as_ref().and_then(StapleSource::path));
        paths
    }

    /// Reads it and checks all that can be checked without asking anybody: see [`check_chain`]. A chain is judged by the
    /// clock `now`.
    pub(super) fn load(
        &self,
        provider: &CryptoProvider,
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<ServedIdentity, MaterialError> {
        let (chain, key, chain_origin, key_origin) = match &self.pair {
            PairSource::Files { chain, key } => (
                pem::certificates("certificate file", chain)?,
                pem::private_key("key file", key)?,
                chain.display().to_string(),
                key.display().to_string(),
            ),
            PairSource::Der { chain, key } => (
                chain.clone(),
                key.clone_key(),
                "the certificate in memory".into(),
                "the key in memory".into(),
            ),
        };
        check_chain(&chain, &chain_origin, purpose, now)?;
        if !self.any_purpose {
            check_usage(&chain, &chain_origin, purpose)?;
        }
        let pair = pair(chain, key, &chain_origin, key_origin, provider)?;
        let staple = match &self.staple {
            Some(source) => Some(Staple::load(source, &pair.cert, now)?),
            None => None,
        };
        let holder = identity_of_leaf(&pair.cert[0])
            .map_err(|detail| MaterialError::BadCertificate { origin: chain_origin.clone(), detail })?;
        Ok(ServedIdentity::new(pair, staple, holder, chain_origin))
    }
}

/// Key and certificate, if they belong together.
fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    chain_origin: &str,
    key_origin: String,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, MaterialError> {
    let signer = provider.key_provider.load_private_key(key).map_err(|error| {
        MaterialError::UnsupportedKey { key: key_origin.clone(), detail: error.to_string() }
    })?;
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(MaterialError::KeyMismatch { key: key_origin, chain: chain_origin.to_owned() })
        }
        Err(error) => {
            Err(MaterialError::BadCertificate { origin: chain_origin.to_owned(), detail: error.to_string() })
        }
    }
}

impl fmt::Debug for PairSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { chain, key } => {
                f.debug_struct("Files").field("chain", chain).field("key", key).finish()
            }
            Self::Der { chain, .. } => {
                f.debug_struct("Der").field("certificates", &chain.len()).finish_non_exhaustive()
            }
        }
    }
}

/// Where trusted roots come from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TrustSource {
    /// The public roots that browsers trust, as compiled into this program.
    PublicRoots,
    /// A PEM file with one or more CA certificates.
    File(PathBuf),
    /// CA certificates in memory.
    Der(Vec<CertificateDer<'static>>),
}

impl TrustSource {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::PublicRoots | Self::Der(_) => None,
        }
    }

    pub(super) fn load_into(&self, roots: &mut RootCertStore) -> Result<(), MaterialError> {
        let (certificates, origin) = match self {
            Self::PublicRoots => {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                return Ok(());
            }
            Self::File(path) => (pem::certificates("CA file", path)?, path.display().to_string()),
            Self::Der(certificates) => (certificates.clone(), "the CA in memory".to_owned()),
        };
        for certificate in certificates {
            roots.add(certificate).map_err(|error| MaterialError::BadCertificate {
                origin: origin.clone(),
                detail: error.to_string(),
            })?;
        }
        Ok(())
    }
}

/// Whom one side of a process believes: roots, revocation lists and pins.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TrustMaterial {
    /// The roots, all of them together.
    pub roots: Vec<TrustSource>,
    /// Revocation lists.
    pub crls: Vec<CrlSource>,
    /// What to do where they do not say.
    pub crl_policy: CrlPolicy,
    /// SHA-256 over the `SubjectPublicKeyInfo` of leaves: where any is named, no other key is accepted. A pin adds to the
    /// chain and never replaces it.
    pub pins: Vec<[u8; 32]>,
}

impl TrustMaterial {
    /// Trusts these roots and nothing else.
    pub fn roots(roots: impl IntoIterator<Item = TrustSource>) -> Self {
        Self { roots: roots.into_iter().collect(), ..Self::default() }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let roots = self.roots.iter().filter_map(TrustSource::path);
        roots.chain(self.crls.iter().filter_map(CrlSource::path))
    }
}

/// Everything TLS needs, as named by an operator: a description that [`Snapshot::load`](super::Snapshot::load) reads
/// and checks, as often as it is told to.
///
/// ```
/// use sealstream_transport::tls::{ClientAuth, IdentitySource, Material, TrustSource};
///
/// // A server that asks its clients for certificates of a private CA.
/// let server = Material::new()
///     .with_server_identity(IdentitySource::files("tls/server.pem", "tls/server.key"))
///     .with_client_auth(ClientAuth::Required, [TrustSource::File("tls/clients-ca.pem".into())]);
///
/// // A client that trusts the public roots and that same CA.
/// let client = Material::new()
///     .with_roots([TrustSource::PublicRoots, TrustSource::File("tls/ca.pem".into())])
///     .with_client_identity(IdentitySource::files("tls/me.pem", "tls/me.key"));
/// # drop((server, client));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// What a listener shows, chosen by name; the first is the default.
    pub server_identities: Vec<IdentitySource>,
    /// What an outgoing connection shows when it is asked.
    pub client_identity: Option<IdentitySource>,
    /// Whom an outgoing connection trusts.
    pub servers: TrustMaterial,
    /// Whether a listener asks for client certificates.
    pub client_auth: ClientAuth,
    /// Whom a listener trusts to issue them.
    pub clients: TrustMaterial,
    /// What becomes of connections whose client's certificate ends.
    pub expired_clients: ExpiredClients,
    /// How a listener lets its clients resume.
    pub resumption: ServerResumption,
    /// What tickets, and what QUIC proves without a handshake, are sealed with.
    pub secret: SecretSource,
    /// Files that are not read, but say what is.
    watched: Vec<PathBuf>,
    /// The clock that identities are judged by at load, where it is not the machine's: for tests that serve what has expired.
    as_of: Option<i64>,
}

impl Material {
    /// No identity, no trust: nothing can be listened for or connected to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows this identity on listeners, beside those named before.
    #[must_use]
    pub fn with_server_identity(mut self, identity: IdentitySource) -> Self {
        self.server_identities.push(identity);
        self
    }

    /// Shows this identity on outgoing connections whose server asks for one.
    #[must_use]
    pub fn with_client_identity(mut self, identity: IdentitySource) -> Self {
        self.client_identity = Some(identity);
        self
    }

    /// Trusts these roots on outgoing connections, all of them together.
    #[must_use]
    pub fn with_roots(mut self, roots: impl IntoIterator<Item = TrustSource>) -> Self {
        self.servers.roots = roots.into_iter().collect();
        self
    }

    /// Asks for client certificates issued under these roots.
    #[must_use]
    pub fn with_client_auth(
        mut self,
        policy: ClientAuth,
        roots: impl IntoIterator<Item = TrustSource>,
    ) -> Self {
        self.client_auth = policy;
        self.clients.roots = roots.into_iter().collect();
        self
    }

    /// Lets clients resume in this way.
    #[must_use]
    pub fn with_resumption(mut self, resumption: ServerResumption) -> Self {
        self.resumption = resumption;
        self
    }

    /// Seals tickets under this secret.
    #[must_use]
    pub fn with_secret(mut self, secret: SecretSource) -> Self {
        self.secret = secret;
        self
    }

    /// Judges the dates of identities as of this time, in seconds since the Unix epoch, when they are loaded.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn as_of(mut self, seconds: i64) -> Self {
        self.as_of = Some(seconds);
        self
    }

    /// By the clock that identities are judged by.
    pub(super) fn now(&self) -> UnixTime {
        let fixed = self.as_of.and_then(|seconds| u64::try_from(seconds).ok());
        fixed.map_or_else(UnixTime::now, |seconds| {
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
        })
    }

    /// Watches this file too, which says what the material is: a configuration.
    #[must_use]
    pub fn with_watched(mut self, path: impl Into<PathBuf>) -> Self {
        self.watched.push(path.into());
        self
    }

    /// Every file that is read, and those to be watched besides.
    pub fn paths(&self) -> Vec<PathBuf> {
        let identities = self.server_identities.iter().chain(&self.client_identity);
        let trust = self.servers.paths().chain(self.clients.paths());
        let secret = self.secret.path();
        let watched = self.watched.iter().map(PathBuf::as_path);
        let read = identities.flat_map(IdentitySource::paths).chain(trust).chain(secret);
        read.chain(watched).map(Path::to_owned).collect()
    }
}
