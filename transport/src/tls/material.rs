//! What an operator names: identities to show, trust to verify with, and the policy for client certificates.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::pem::{self, MaterialError};

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
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// Where a certificate chain and its key come from.
#[derive(Clone)]
pub enum IdentitySource {
    /// PEM files. The chain begins with the leaf; the key is PKCS#8, SEC1 or PKCS#1.
    Files {
        /// The file with the chain.
        chain: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// Already in memory.
    Der {
        /// The chain, leaf first.
        chain: Vec<CertificateDer<'static>>,
        /// The leaf's key.
        key: Arc<PrivateKeyDer<'static>>,
    },
}

impl IdentitySource {
    /// An identity in PEM files.
    pub fn files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self::Files { chain: chain.into(), key: key.into() }
    }

    /// An identity in memory, leaf first.
    pub fn der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self::Der { chain, key: Arc::new(key) }
    }

    /// Reads it and checks that key and certificate are a pair.
    pub(super) fn load(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, MaterialError> {
        let (chain, key, chain_origin, key_origin) = match self {
            Self::Files { chain, key } => (
                pem::certificates("certificate file", chain)?,
                pem::private_key("key file", key)?,
                chain.display().to_string(),
                key.display().to_string(),
            ),
            Self::Der { chain, key } => (
                chain.clone(),
                key.clone_key(),
                "the certificate in memory".into(),
                "the key in memory".into(),
            ),
        };
        let Some(leaf) = chain.first() else {
            let detail = "the chain holds no certificate".to_owned();
            return Err(MaterialError::BadCertificate { origin: chain_origin, detail });
        };
        let holder = super::identity::identity_of_leaf(leaf)
            .map_err(|detail| MaterialError::BadCertificate { origin: chain_origin.clone(), detail })?;
        let now = super::sessions::unix_now();
        if holder.not_after < now {
            let told = super::classify::expired_on(holder.not_after, now);
            tracing::warn!(certificate = %chain_origin, "peers will refuse this certificate: {told}");
        }
        let signer = provider.key_provider.load_private_key(key).map_err(|error| {
            MaterialError::UnsupportedKey { key: key_origin.clone(), detail: error.to_string() }
        })?;
        let pair = CertifiedKey::new(chain, signer);
        match pair.keys_match() {
            Ok(()) => Ok(Arc::new(pair)),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(MaterialError::KeyMismatch { key: key_origin, chain: chain_origin })
            }
            Err(error) => {
                Err(MaterialError::BadCertificate { origin: chain_origin, detail: error.to_string() })
            }
        }
    }
}

impl fmt::Debug for IdentitySource {
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
pub enum TrustSource {
    /// The public roots that browsers trust, as compiled into this program.
    PublicRoots,
    /// A PEM file with one or more CA certificates.
    File(PathBuf),
    /// CA certificates in memory.
    Der(Vec<CertificateDer<'static>>),
}

impl TrustSource {
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
    /// What a listener shows.
    pub server_identity: Option<IdentitySource>,
    /// What an outgoing connection shows when it is asked.
    pub client_identity: Option<IdentitySource>,
    /// Whom an outgoing connection trusts.
    pub roots: Vec<TrustSource>,
    /// Whether a listener asks for client certificates.
    pub client_auth: ClientAuth,
    /// Whom a listener trusts to issue them.
    pub client_roots: Vec<TrustSource>,
}

impl Material {
    /// No identity, no trust: nothing can be listened for or connected to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows this identity on listeners.
    #[must_use]
    pub fn with_server_identity(mut self, identity: IdentitySource) -> Self {
        self.server_identity = Some(identity);
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
        self.roots = roots.into_iter().collect();
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
        self.client_roots = roots.into_iter().collect();
        self
    }
}
