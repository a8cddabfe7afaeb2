//! What a process accepts: the trust in clients that ask to come in, and the trust in servers that it goes out to.
//!
//! Both are one [`Trust`], verified by one path: anchors, revocation lists and pins. rustls ties a cached ticket to the
//! very `Arc` of the verifier and of the client credential that it was obtained with, so the verifiers of outgoing
//! connections live here, outlive a snapshot, and are replaced exactly when what they stand for changes.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use ring::digest;
use rustls::client::ResolvesClientCert;
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::classify::{self, Side, fault};
use super::identity::sha256;
use super::material::{ClientAuth, TrustMaterial};
use super::peer_chain::PeerChain;
use super::pem::MaterialError;
use super::provider;
use super::revocation::Revocations;
use super::verifier::{ClientVerifier, ExpectationVerifier, HexDigest, mismatch};
use crate::error::HandshakeError;
use crate::expectation::Expectation;

/// Verifiers remembered, one per expectation: as many as hosts in the session cache, so that a host whose tickets are
/// kept keeps the verifier that they are tied to.
const MAX_VERIFIERS: NonZeroUsize = super::sessions::MAX_HOSTS;

/// Verdicts remembered after a change of trust, by chain: 4,096 × 100 bytes. Who has more distinct clients pays 0.1 ms for
/// each that is asked about again.
const MAX_VERDICTS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// What the peers of a process are judged by, as a SHA-256 over its canonical form: equal epochs mean equal trust,
/// after a restart and on another node too. Never a counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; 32]);

impl Epoch {
    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Epoch {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
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

/// What a certificate is to be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Dialling us.
    Client,
    /// Being dialled by us.
    Server,
}

/// Anchors, revocation lists and pins.
pub(super) struct Trust {
    anchors: RootCertStore,
    revocations: Revocations,
    /// SHA-256 of keys, sorted. Empty: any key will do.
    pins: Vec<[u8; 32]>,
}

impl Trust {
    pub(super) fn load(material: &TrustMaterial, now: UnixTime) -> Result<Self, MaterialError> {
        let mut anchors = RootCertStore::empty();
        for source in &material.roots {
            source.load_into(&mut anchors)?;
        }
        let revocations = Revocations::load(&material.crls, &anchors, material.crl_policy, now)?;
        let mut pins = material.pins.clone();
        pins.sort_unstable();
        pins.dedup();
        Ok(Self { anchors, revocations, pins })
    }

    pub(super) fn anchors(&self) -> &RootCertStore {
        &self.anchors
    }

    pub(super) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    pub(super) fn pins(&self) -> &[[u8; 32]] {
        &self.pins
    }

    /// Verifies a chain at `now`: the one path for clients and servers, at a handshake and when judged again.
    pub(super) fn verify(
        &self,
        purpose: Purpose,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let leaf = EndEntityCert::try_from(leaf).map_err(fault)?;
        let usage = match purpose {
            Purpose::Client => KeyUsage::client_auth(),
            Purpose::Server => KeyUsage::server_auth(),
        };
        if self.revocations.refuses_all() {
            return Err(CertificateError::UnknownRevocationStatus.into());
        }
        let lists = self.revocations.lists();
        leaf.verify_for_usage(
            provider().signature_verification_algorithms.all,
            &self.anchors.roots,
            intermediates,
            now,
            usage,
            self.revocations.options(&lists),
            None,
        )
        .map_err(fault)?;
        self.check_pins(&leaf)
    }

    fn check_pins(&self, leaf: &EndEntityCert<'_>) -> Result<(), Error> {
        if self.pins.is_empty() {
            return Ok(());
        }
        let shown = sha256(leaf.subject_public_key_info().as_ref());
        if self.pins.binary_search(&shown).is_ok() {
            return Ok(());
        }
        Err(mismatch(format!("its key {} is not among the pinned ones", HexDigest(&shown))))
    }

    /// SHA-256 over a label and everything that decides who is accepted, sorted, each part with its length before it:
    /// files in another order, an anchor named twice, or a revocation list issued anew with nothing new in it are the
    /// same trust.
    fn epoch(&self, label: &str) -> Epoch {
        let mut anchors: Vec<[&[u8]; 3]> = self
            .anchors
            .roots
            .iter()
            .map(|anchor| {
                let constraints = anchor.name_constraints.as_ref().map_or(&[][..], |der| der.as_ref());
                [anchor.subject.as_ref(), anchor.subject_public_key_info.as_ref(), constraints]
            })
            .collect();
        anchors.sort_unstable();
        anchors.dedup();
        let revoked = self.revocations.revoked();
        let mut canonical = Canonical::new();
        canonical.list([label.as_bytes(), self.revocations.policy().name().as_bytes()]);
        canonical.list(anchors.into_iter().flatten());
        canonical.list(revoked.iter().flat_map(|(issuer, serial)| [issuer.as_slice(), serial.as_slice()]));
        canonical.list(self.pins.iter().map(<[u8; 32]>::as_slice));
        Epoch(canonical.finish())
    }
}

/// A digest over lists of byte strings from which the lists could be told again.
struct Canonical(digest::Context);

impl Canonical {
    fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    fn list<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) {
        let mut count = 0_u64;
        for part in parts {
            self.0.update(&(part.len() as u64).to_be_bytes());
            self.0.update(part);
            count += 1;
        }
        // A length that no part has, then how many there were: the end of the list.
        self.0.update(&u64::MAX.to_be_bytes());
        self.0.update(&count.to_be_bytes());
    }

    fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// The time at which a chain that was accepted once is judged again. Its dates held then; whether they still do is another
/// matter, which time decides and not a change of trust.
fn judged_at(chain: &PeerChain, now: i64) -> UnixTime {
    let at = u64::try_from(now.min(chain.not_after())).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(at))
}

/// The trust in clients.
pub(super) struct ClientTrust {
    pub(super) epoch: Epoch,
    pub(super) policy: ClientAuth,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) trust: Arc<Trust>,
    verdicts: Mutex<LruCache<[u8; 32], Result<(), HandshakeError>>>,
}

impl ClientTrust {
    pub(super) fn load(
        policy: ClientAuth,
        material: &TrustMaterial,
        now: UnixTime,
    ) -> Result<Self, MaterialError> {
        let trust = Arc::new(Trust::load(material, now)?);
        let verifier: Arc<dyn ClientCertVerifier> = if policy == ClientAuth::None {
            Arc::new(NoClientAuth)
        } else if trust.anchors.is_empty() {
            return Err(MaterialError::NoClientRoots { policy: policy.name() });
        } else {
            Arc::new(ClientVerifier::new(Arc::clone(&trust), policy))
        };
        let epoch = trust.epoch(policy.name());
        Ok(Self { epoch, policy, verifier, trust, verdicts: Mutex::new(LruCache::new(MAX_VERDICTS)) })
    }

    /// Whether a client that was accepted once would be now.
    pub(super) fn judge(&self, chain: Option<&PeerChain>, now: i64) -> Result<(), HandshakeError> {
        let Some(chain) = chain else {
            return if self.policy == ClientAuth::Required {
                Err(HandshakeError::ClientCertificateRequired)
            } else {
                Ok(())
            };
        };
        let known =
            |verdicts: &mut LruCache<_, Result<(), HandshakeError>>| verdicts.get(chain.digest()).cloned();
        if let Some(verdict) = known(&mut self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)) {
            return verdict;
        }
        let verdict = self
            .trust
            .verify(Purpose::Client, chain.leaf(), chain.intermediates(), judged_at(chain, now))
            .map_err(|error| classify::classify(&error, Side::Server, &[]));
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.put(*chain.digest(), verdict.clone());
        verdict
    }
}

/// The trust in servers, with one verifier for each expectation in use.
pub(super) struct ServerTrust {
    pub(super) epoch: Epoch,
    trust: Arc<Trust>,
    verifiers: Mutex<LruCache<Expectation, Arc<ExpectationVerifier>>>,
}

impl ServerTrust {
    /// Loads it; returns `previous` itself if nothing changed.
    pub(super) fn load(
        material: &TrustMaterial,
        previous: Option<&Arc<Self>>,
        now: UnixTime,
    ) -> Result<Arc<Self>, MaterialError> {
        let trust = Arc::new(Trust::load(material, now)?);
        // Where their dates count, a list issued anew has to reach the verifiers: at the price of the sessions kept.
        let label = match trust.revocations.enforced_until() {
            Some(end) => format!("servers until {end}"),
            None => "servers".to_owned(),
        };
        let epoch = trust.epoch(&label);
        if let Some(same) = previous.filter(|previous| previous.epoch == epoch) {
            return Ok(Arc::clone(same));
        }
        Ok(Arc::new(Self { epoch, trust, verifiers: Mutex::new(LruCache::new(MAX_VERIFIERS)) }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.trust.anchors.is_empty()
    }

    /// The verifier of an expectation: the same `Arc` for as long as the trust is the same.
    pub(super) fn verifier(&self, expectation: &Expectation) -> Arc<ExpectationVerifier> {
        let mut verifiers = self.verifiers.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(ExpectationVerifier::new(Arc::clone(&self.trust), expectation.clone()));
        Arc::clone(verifiers.get_or_insert_ref(expectation, made))
    }

    /// Whether a server that was accepted once would be now.
    pub(super) fn judge(&self, chain: &PeerChain, now: i64) -> Result<(), HandshakeError> {
        self.trust
            .verify(Purpose::Server, chain.leaf(), chain.intermediates(), judged_at(chain, now))
            .map_err(|error| classify::classify(&error, Side::Client, &[]))
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
