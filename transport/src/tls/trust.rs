//! What a process accepts: the trust in clients that ask to come in, and the trust in servers that it goes out to.
//!
//! rustls ties a cached ticket to the very `Arc` of the verifier and of the client credential that it was obtained
//! with. So these live here, outlive a snapshot, and are replaced exactly when what they stand for changes.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use ring::digest;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, SignatureScheme};

use super::material::{ClientAuth, TrustSource};
use super::pem::MaterialError;
use super::provider;
use super::verifier::ExpectationVerifier;
use crate::expectation::Expectation;
use crate::peer::TransportKind;

/// Verifiers remembered, one per expectation: as many as hosts in the session cache, so that a host whose tickets are
/// kept keeps the verifier that they are tied to.
const MAX_VERIFIERS: NonZeroUsize = super::sessions::MAX_HOSTS;

/// What the clients of a listener are judged by, as a SHA-256 over its canonical form: equal epochs mean equal trust,
/// after a restart and on another node too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; 32]);

impl Epoch {
    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Epoch {
    /// The first eight bytes in hexadecimal: enough to tell two epochs apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// The trust in clients: policy, roots, and the tickets issued under them.
pub(super) struct ClientTrust {
    pub(super) epoch: Epoch,
    pub(super) policy: ClientAuth,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    tls_tickets: Arc<dyn ProducesTickets>,
    quic_tickets: Arc<dyn ProducesTickets>,
}

impl ClientTrust {
    /// Loads it; returns `previous` itself if nothing changed, so that its tickets stay good.
    pub(super) fn load(
        policy: ClientAuth,
        sources: &[TrustSource],
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, MaterialError> {
        let roots = load_roots(sources)?;
        let epoch = Epoch(fingerprint(policy.name(), &roots));
        if let Some(same) = previous.filter(|previous| previous.epoch == epoch) {
            return Ok(Arc::clone(same));
        }
        let verifier: Arc<dyn ClientCertVerifier> = if policy == ClientAuth::None {
            Arc::new(NoClientAuth)
        } else if roots.is_empty() {
            return Err(MaterialError::NoClientRoots { policy: policy.name() });
        } else {
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let builder =
                if policy == ClientAuth::Optional { builder.allow_unauthenticated() } else { builder };
            builder.build().map_err(|error| MaterialError::Setup(error.to_string()))?
        };
        let tickets = || Ticketer::new().map_err(|error| MaterialError::Setup(error.to_string()));
        Ok(Arc::new(Self { epoch, policy, verifier, tls_tickets: tickets()?, quic_tickets: tickets()? }))
    }

    /// What seals the tickets of a backend. Each has its own key: a ticket is good on the transport that issued it.
    pub(super) fn tickets(&self, kind: TransportKind) -> Arc<dyn ProducesTickets> {
        Arc::clone(match kind {
            TransportKind::Quic => &self.quic_tickets,
            TransportKind::Tls | TransportKind::Memory => &self.tls_tickets,
        })
    }
}

/// The trust in servers, with one verifier for each expectation in use.
pub(super) struct ServerTrust {
    fingerprint: [u8; 32],
    roots: Arc<RootCertStore>,
    verifiers: Mutex<LruCache<Expectation, Arc<ExpectationVerifier>>>,
}

impl ServerTrust {
    /// Loads it; returns `previous` itself if nothing changed.
    pub(super) fn load(
        sources: &[TrustSource],
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, MaterialError> {
        let roots = load_roots(sources)?;
        let fingerprint = fingerprint("servers", &roots);
        if let Some(same) = previous.filter(|previous| previous.fingerprint == fingerprint) {
            return Ok(Arc::clone(same));
        }
        let verifiers = Mutex::new(LruCache::new(MAX_VERIFIERS));
        Ok(Arc::new(Self { fingerprint, roots: Arc::new(roots), verifiers }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The verifier of an expectation: the same `Arc` for as long as the trust is the same.
    pub(super) fn verifier(&self, expectation: &Expectation) -> Arc<ExpectationVerifier> {
        let mut verifiers = self.verifiers.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(ExpectationVerifier::new(Arc::clone(&self.roots), expectation.clone()));
        Arc::clone(verifiers.get_or_insert_ref(expectation, made))
    }
}

/// What an outgoing connection shows.
pub(super) struct ClientCredential {
    shown: Option<Arc<CertifiedKey>>,
    pub(super) resolver: Arc<dyn ResolvesClientCert>,
}

impl ClientCredential {
    /// Wraps an identity, or its absence; returns `previous` itself if nothing changed.
    pub(super) fn of(shown: Option<Arc<CertifiedKey>>, previous: Option<&Arc<Self>>) -> Arc<Self> {
        let chain = |shown: &Option<Arc<CertifiedKey>>| shown.as_ref().map(|pair| pair.cert.clone());
        // A key was checked against its leaf, so equal chains mean equal keys.
        if let Some(same) = previous.filter(|previous| chain(&previous.shown) == chain(&shown)) {
            return Arc::clone(same);
        }
        let resolver: Arc<dyn ResolvesClientCert> = match &shown {
            Some(pair) => Arc::new(SingleCertAndKey::from(Arc::clone(pair))),
            None => Arc::new(ShowsNothing),
        };
        Arc::new(Self { shown, resolver })
    }
}

/// Declines to show a client certificate. rustls' own is made anew with each configuration, which would make every
/// ticket useless.
#[derive(Debug)]
struct ShowsNothing;

impl ResolvesClientCert for ShowsNothing {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn load_roots(sources: &[TrustSource]) -> Result<RootCertStore, MaterialError> {
    let mut roots = RootCertStore::empty();
    for source in sources {
        source.load_into(&mut roots)?;
    }
    Ok(roots)
}

/// SHA-256 over a label and the sorted anchors, each part with its length before it: files in another order, or one
/// anchor named twice, are the same trust.
fn fingerprint(label: &str, roots: &RootCertStore) -> [u8; 32] {
    let mut anchors: Vec<[&[u8]; 3]> = roots
        .roots
        .iter()
        .map(|anchor| {
            let constraints = anchor.name_constraints.as_ref().map_or(&[][..], |der| der.as_ref());
            [anchor.subject.as_ref(), anchor.subject_public_key_info.as_ref(), constraints]
        })
        .collect();
    anchors.sort_unstable();
    anchors.dedup();
    let mut context = digest::Context::new(&digest::SHA256);
    for part in std::iter::once(label.as_bytes()).chain(anchors.into_iter().flatten()) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
