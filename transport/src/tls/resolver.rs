//! Chooses the identity that a listener shows: by name, then by what the client can verify.
//!
//! The tables are built once for a snapshot and never change, so that choosing takes no lock; and it allocates nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::CertificateDer;

use super::sessions::unix_now;
use super::staple::Staple;
use crate::peer::Identity;

/// Every scheme that TLS 1.3 signs with (RFC 8446, section 4.2.3) and ring knows.
const SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];

/// A checked identity: chain, key, and the staple while it is fresh.
pub struct ServedIdentity {
    plain: Arc<CertifiedKey>,
    stapled: Option<(Arc<CertifiedKey>, Staple)>,
    schemes: Vec<SignatureScheme>,
    holder: Identity,
    origin: String,
}

impl ServedIdentity {
    pub(super) fn new(pair: CertifiedKey, staple: Option<Staple>, holder: Identity, origin: String) -> Self {
        let schemes = schemes_of(&*pair.key);
        let stapled = staple.map(|staple| {
            let mut with = pair.clone();
            with.ocsp = Some(staple.der().to_vec());
            (Arc::new(with), staple)
        });
        Self { plain: Arc::new(pair), stapled, schemes, holder, origin }
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.plain.cert
    }

    /// Chain and key, to be shown without a staple.
    pub(super) fn into_pair(self) -> Arc<CertifiedKey> {
        self.plain
    }

    /// Whom the leaf names.
    pub fn holder(&self) -> &Identity {
        &self.holder
    }

    /// Where it was loaded from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The OCSP response loaded with it, whether still fresh or not.
    pub fn staple(&self) -> Option<&Staple> {
        self.stapled.as_ref().map(|(_, staple)| staple)
    }

    /// What is shown at `now`, in seconds since the Unix epoch: a staple past its next update is left out.
    fn shown(&self, now: i64) -> &Arc<CertifiedKey> {
        match &self.stapled {
            Some((with, staple)) if staple.is_fresh(now) => with,
            _ => &self.plain,
        }
    }

    fn signs_for(&self, offered: &[SignatureScheme]) -> bool {
        self.schemes.iter().any(|scheme| offered.contains(scheme))
    }
}

impl fmt::Debug for ServedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedIdentity")
            .field("origin", &self.origin)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// Asked once, at load: asking a key allocates.
fn schemes_of(key: &dyn SigningKey) -> Vec<SignatureScheme> {
    SCHEMES.into_iter().filter(|scheme| key.choose_scheme(&[*scheme]).is_some()).collect()
}

/// Identities that serve one name, in the operator's order: of one kind of key each, as a rule.
type Candidates = Vec<Arc<ServedIdentity>>;

/// The identities of a listener. The first is the default.
pub(super) struct Identities {
    all: Candidates,
    /// The first identity, and its twins: whoever serves its first name with another kind of key.
    default: Candidates,
    exact: HashMap<Box<str>, Candidates>,
    /// `*.example.org` under `example.org`.
    wildcard: HashMap<Box<str>, Candidates>,
}

impl Identities {
    pub(super) fn new(all: Candidates) -> Self {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for identity in &all {
            for name in &identity.holder.dns_names {
                let name = name.to_ascii_lowercase();
                let (table, key): (&mut HashMap<Box<str>, Candidates>, _) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent.into()),
                    None => (&mut exact, name.as_str().into()),
                };
                table.entry(key).or_default().push(Arc::clone(identity));
            }
        }
        let twins = |first: &Arc<ServedIdentity>| match first.holder.dns_names.first() {
            Some(name) => all.iter().filter(|other| other.holder.dns_names.contains(name)).cloned().collect(),
            None => vec![Arc::clone(first)],
        };
        let default = all.first().map(twins).unwrap_or_default();
        Self { all, default, exact, wildcard }
    }

    pub(super) fn all(&self) -> &[Arc<ServedIdentity>] {
        &self.all
    }

    fn candidates(&self, name: Option<&str>) -> &Candidates {
        let by_name = name.and_then(|name| {
            let parent = || name.split_once('.').map(|(_, parent)| parent);
            self.exact.get(name).or_else(|| self.wildcard.get(parent()?))
        });
        by_name.unwrap_or(&self.default)
    }

    /// The identity for a name in lower case, of a kind that the client verifies. Where there is none, the first of the
    /// name: rustls then says what is not in common.
    fn choose(&self, name: Option<&str>, offered: &[SignatureScheme]) -> Option<&Arc<ServedIdentity>> {
        let candidates = self.candidates(name);
        candidates.iter().find(|identity| identity.signs_for(offered)).or_else(|| candidates.first())
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls gives the name in lower case.
        let chosen = self.choose(hello.server_name(), hello.signature_schemes())?;
        Some(Arc::clone(chosen.shown(unix_now())))
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rustls::SignatureScheme as Scheme;
    use x509_ocsp::CertStatus;

    use super::*;
    use crate::testing::pki::{Authority, Leaf};
    use crate::tls::trust::Purpose;
    use crate::tls::{IdentitySource, Material, Snapshot, StapleSource, provider};

    /// What modern clients offer, and what those that know only RSA do.
    const BOTH: &[Scheme] = &[Scheme::ECDSA_NISTP256_SHA256, Scheme::RSA_PSS_SHA256];
    const RSA: &[Scheme] = &[Scheme::RSA_PSS_SHA256, Scheme::RSA_PSS_SHA384];

    fn load(source: &IdentitySource) -> Arc<ServedIdentity> {
        let now = rustls_pki_types::UnixTime::now();
        Arc::new(source.load(&provider(), Purpose::Server, now).unwrap())
    }

    fn named(ca: &Authority, names: &[&str]) -> Arc<ServedIdentity> {
        let leaf = names.iter().fold(Leaf::new(), |leaf, name| leaf.dns(name));
        load(&ca.issue(&leaf).identity())
    }

    /// For `localhost`, self-signed.
    fn rsa() -> Arc<ServedIdentity> {
        let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tls/testdata");
        let file = |name| format!("{testdata}/{name}");
        load(&IdentitySource::files(file("rsa.pem"), file("rsa.pkcs8.key")))
    }

    fn chosen<'a>(
        identities: &'a Identities,
        name: Option<&str>,
        offered: &[Scheme],
    ) -> &'a Arc<ServedIdentity> {
        identities.choose(name, offered).unwrap()
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard_and_that_before_the_default() {
        let ca = Authority::new("CA");
        let all = vec![
            named(&ca, &["default.example.org"]),
            named(&ca, &["*.Example.org"]),
            named(&ca, &["exact.example.org", "other.example.com"]),
        ];
        let identities = Identities::new(all.clone());
        for (name, index) in [
            (Some("exact.example.org"), 2),
            (Some("other.example.com"), 2),
            (Some("any.example.org"), 1),
            (Some("default.example.org"), 0),
            (Some("deep.any.example.org"), 0),
            (Some("example.org"), 0),
            (Some("localhost"), 0),
            (None, 0),
        ] {
            assert!(Arc::ptr_eq(chosen(&identities, name, BOTH), &all[index]), "{name:?}");
        }
    }

    #[test]
    fn a_client_gets_a_key_that_it_can_verify_by_name_and_by_default() {
        let ca = Authority::new("CA");
        let (ecdsa, rsa) = (named(&ca, &["localhost"]), rsa());
        let identities = Identities::new(vec![Arc::clone(&ecdsa), Arc::clone(&rsa)]);
        for name in [Some("localhost"), Some("unknown"), None] {
            assert!(Arc::ptr_eq(chosen(&identities, name, BOTH), &ecdsa), "{name:?}");
            assert!(Arc::ptr_eq(chosen(&identities, name, RSA), &rsa), "{name:?}");
        }
        assert!(Arc::ptr_eq(chosen(&identities, None, &[Scheme::ED25519]), &ecdsa), "rustls says why not");
    }

    #[test]
    fn a_staple_is_shown_until_its_next_update_and_no_longer() {
        let issuer = Authority::new("Root").intermediate("Issuer");
        let leaf = issuer.issue(&Leaf::localhost());
        let now = SystemTime::now();
        let hour = Duration::from_hours(1);
        let response = issuer.ocsp(&leaf, CertStatus::good(), now - hour, now + hour);
        let identity = load(&leaf.identity().with_staple(StapleSource::Der(response.clone())));
        let end = identity.staple().unwrap().next_update();
        assert_eq!(identity.shown(end - 1).ocsp.as_deref(), Some(&*response));
        assert_eq!(identity.shown(end).ocsp, None);
    }

    #[test]
    fn an_identity_for_nobody_in_particular_is_the_default_all_the_same() {
        let ca = Authority::new("CA");
        let material =
            Material::new().with_server_identity(ca.issue(&Leaf::new().ip([127, 0, 0, 1])).identity());
        let snapshot = Snapshot::load(&material).unwrap();
        assert!(snapshot.identities.choose(Some("localhost"), BOTH).is_some());
    }
}
