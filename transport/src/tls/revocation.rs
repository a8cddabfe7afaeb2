//! Certificate revocation lists (RFC 5280, section 5): loaded, checked, and given to every verification.
//!
//! webpki checks a list's signature only when it uses it, so that a forged or damaged one would show at the first client. Here
//! it is checked at load, against the certificate of its issuer: an anchor, or a CA whose certificate stands in the file with
//! the list and chains to an anchor.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::classify::{becomes_valid_on, expired_on};
use super::pem::{MaterialError, malformed, read};

/// A list may be from a clock that is ahead by this much.
const CLOCK_SKEW_SECS: i64 = 300;

/// What the files are called in messages.
const WHAT: &str = "revocation list";

/// Where revocation lists come from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CrlSource {
    /// A file: PEM with one or more lists and, where an issuer is no anchor, the certificates of the issuers; or one list in
    /// DER.
    File(PathBuf),
    /// Lists in memory.
    Der(Vec<CertificateRevocationListDer<'static>>),
}

impl CrlSource {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Der(_) => None,
        }
    }

    fn read(&self) -> Result<Source, MaterialError> {
        let path = match self {
            Self::Der(lists) => {
                let origin = "the revocation list in memory".to_owned();
                return Ok(Source { origin, lists: lists.clone(), issuers: Vec::new() });
            }
            Self::File(path) => path,
        };
        Source::parse(path, &read(WHAT, path)?)
    }
}

/// One source, read.
pub(super) struct Source {
    origin: String,
    lists: Vec<CertificateRevocationListDer<'static>>,
    pub(super) issuers: Vec<CertificateDer<'static>>,
}

impl Source {
    /// The lists in the content of a file, and the certificates of their issuers.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, MaterialError> {
        let origin = path.display().to_string();
        // DER begins with a SEQUENCE; PEM with text.
        if bytes.first() == Some(&0x30) {
            let list = CertificateRevocationListDer::from(bytes.to_vec());
            return Ok(Self { origin, lists: vec![list], issuers: Vec::new() });
        }
        let bad = |error: pem::Error| malformed(WHAT, path, &error);
        let lists: Vec<_> =
            CertificateRevocationListDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(bad)?;
        let issuers = CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(bad)?;
        if lists.is_empty() {
            return Err(super::pem::wrong_label(WHAT, path, bytes, "X509 CRL"));
        }
        Ok(Self { origin, lists, issuers })
    }
}

/// What to do with a certificate of which no list says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownStatus {
    /// It is accepted, unless a list covers its issuer: then that list decides.
    #[default]
    Accept,
    /// It is refused: every issuer of a chain needs a list.
    Refuse,
}

/// What to do with a list past its next update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrlExpiry {
    /// It counts on: what it revokes stays revoked, and nobody is locked out because a list came late.
    #[default]
    Ignore,
    /// Whoever it covers is refused until there is a newer one.
    Enforce,
}

/// What to do where lists do not say, or not any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrlPolicy {
    /// Where no list says anything.
    pub unknown: UnknownStatus,
    /// Where a list is past its next update.
    pub expiry: CrlExpiry,
}

impl CrlPolicy {
    /// Its name in a trust epoch.
    pub(super) fn name(self) -> &'static str {
        match (self.unknown, self.expiry) {
            (UnknownStatus::Accept, CrlExpiry::Ignore) => "unknown accepted, expiry ignored",
            (UnknownStatus::Accept, CrlExpiry::Enforce) => "unknown accepted, expiry enforced",
            (UnknownStatus::Refuse, CrlExpiry::Ignore) => "unknown refused, expiry ignored",
            (UnknownStatus::Refuse, CrlExpiry::Enforce) => "unknown refused, expiry enforced",
        }
    }
}

/// A list as it is shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrlSummary {
    /// The name of the CA that issued it.
    pub issuer: String,
    /// When it was issued, in seconds since the Unix epoch.
    pub this_update: i64,
    /// When the next one is due; `None` where it does not say.
    pub next_update: Option<i64>,
    /// Certificates that it revokes.
    pub revoked: usize,
}

/// Checked revocation lists.
pub struct Revocations {
    lists: Vec<CertRevocationList<'static>>,
    summaries: Vec<CrlSummary>,
    revoked: Vec<(Vec<u8>, Vec<u8>)>,
    policy: CrlPolicy,
}

impl Revocations {
    /// Reads and checks every list. Of two lists of one issuer for the same scope, the newer counts.
    pub(super) fn load(
        sources: &[CrlSource],
        anchors: &RootCertStore,
        policy: CrlPolicy,
        now: UnixTime,
    ) -> Result<Self, MaterialError> {
        let sources = sources.iter().map(CrlSource::read).collect::<Result<Vec<_>, _>>()?;
        Self::check(sources, anchors, policy, now)
    }

    pub(super) fn check(
        sources: Vec<Source>,
        anchors: &RootCertStore,
        policy: CrlPolicy,
        now: UnixTime,
    ) -> Result<Self, MaterialError> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mut checked: Vec<Checked> = Vec::new();
        for Source { origin, lists, issuers } in sources {
            let bad = |detail| MaterialError::BadRevocationList { origin: origin.clone(), detail };
            let issuers = trusted(&issuers, anchors).map_err(bad)?;
            for list in lists {
                let list = Checked::new(&list, anchors, &issuers, policy, now).map_err(bad)?;
                match checked.iter_mut().find(|other| other.scope == list.scope) {
                    Some(other) if other.age < list.age => *other = list,
                    Some(_) => {}
                    None => checked.push(list),
                }
            }
        }
        let mut revoked: Vec<_> = checked.iter().flat_map(|list| list.revoked.iter().cloned()).collect();
        revoked.sort_unstable();
        revoked.dedup();
        let (lists, summaries) = checked.into_iter().map(|list| (list.list, list.summary)).unzip();
        Ok(Self { lists, summaries, revoked, policy })
    }

    /// As webpki takes them.
    pub(super) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        self.lists.iter().collect()
    }

    /// How webpki is to use `lists`; `None` where there are none, which webpki does not take for an answer. Unknown status is
    /// then accepted or refused by [`refuses_all`](Self::refuses_all).
    pub(super) fn options<'a>(
        &self,
        lists: &'a [&'a CertRevocationList<'a>],
    ) -> Option<RevocationOptions<'a>> {
        let builder = RevocationOptionsBuilder::new(lists).ok()?;
        let unknown = match self.policy.unknown {
            UnknownStatus::Accept => UnknownStatusPolicy::Allow,
            UnknownStatus::Refuse => UnknownStatusPolicy::Deny,
        };
        let expiry = match self.policy.expiry {
            CrlExpiry::Ignore => ExpirationPolicy::Ignore,
            CrlExpiry::Enforce => ExpirationPolicy::Enforce,
        };
        let builder = builder.with_depth(RevocationCheckDepth::Chain).with_status_policy(unknown);
        Some(builder.with_expiration_policy(expiry).build())
    }

    /// Whether every certificate is refused: its status has to be known, and there is no list to know it from.
    pub(super) fn refuses_all(&self) -> bool {
        self.lists.is_empty() && self.policy.unknown == UnknownStatus::Refuse
    }

    pub(super) fn policy(&self) -> CrlPolicy {
        self.policy
    }

    /// Issuers, in DER, and serial numbers: sorted, each once.
    pub(super) fn revoked(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.revoked
    }

    /// When the first list is due to be replaced, in seconds since the Unix epoch.
    pub fn next_update(&self) -> Option<i64> {
        self.summaries.iter().filter_map(|list| list.next_update).min()
    }

    /// The same where that counts.
    pub(super) fn enforced_until(&self) -> Option<i64> {
        self.next_update().filter(|_| self.policy.expiry == CrlExpiry::Enforce)
    }

    /// The lists.
    pub fn summaries(&self) -> &[CrlSummary] {
        &self.summaries
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("lists", &self.summaries).finish_non_exhaustive()
    }
}

/// A list that has passed.
struct Checked {
    list: CertRevocationList<'static>,
    summary: CrlSummary,
    revoked: Vec<(Vec<u8>, Vec<u8>)>,
    /// Issuer and, where the list is for a part of its certificates only, which part.
    scope: (Vec<u8>, Vec<u8>),
    /// Number and date: what orders lists of one scope.
    age: (Vec<u8>, i64),
}

impl Checked {
    fn new(
        der: &CertificateRevocationListDer<'_>,
        anchors: &RootCertStore,
        issuers: &[X509Certificate<'_>],
        policy: CrlPolicy,
        now: i64,
    ) -> Result<Self, String> {
        let damaged = |error: &dyn fmt::Display| format!("it is damaged: {error}");
        let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|error| damaged(&error))?;
        let list = OwnedCertRevocationList::from_der(der).map_err(|error| damaged(&error))?;
        let issuer = parsed.issuer().to_string();
        check_signature(&parsed, anchors, issuers)
            .map_err(|fault| format!("the list of \"{issuer}\": {fault}"))?;
        let this_update = parsed.last_update().timestamp();
        let next_update = parsed.next_update().map(|time| time.timestamp());
        if this_update > now + CLOCK_SKEW_SECS {
            return Err(format!("the list of \"{issuer}\": {}", becomes_valid_on(this_update, now)));
        }
        if let Some(end) = next_update.filter(|&end| end < now) {
            let told = format!("the list of \"{issuer}\": {}: fetch the next one", expired_on(end, now));
            if policy.expiry == CrlExpiry::Enforce {
                return Err(told);
            }
            tracing::warn!("{told}; it counts on");
        }
        let name = parsed.issuer().as_raw().to_vec();
        let serial = |bytes: &[u8]| bytes.iter().copied().skip_while(|&byte| byte == 0).collect();
        let revoked: Vec<(Vec<u8>, Vec<u8>)> = parsed
            .iter_revoked_certificates()
            .map(|revoked| (name.clone(), serial(revoked.raw_serial())))
            .collect();
        let part = parsed.extensions().iter().find(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::IssuingDistributionPoint(_))
        });
        let number = parsed.crl_number().map(|number| {
            let bytes = number.to_bytes_be();
            // Longer numbers are larger ones.
            [&bytes.len().to_be_bytes()[..], &bytes].concat()
        });
        Ok(Self {
            list: list.into(),
            summary: CrlSummary { issuer, this_update, next_update, revoked: revoked.len() },
            revoked,
            scope: (name, part.map(|part| part.value.to_vec()).unwrap_or_default()),
            age: (number.unwrap_or_default(), this_update),
        })
    }
}

fn check_signature(
    list: &CertificateRevocationList<'_>,
    anchors: &RootCertStore,
    issuers: &[X509Certificate<'_>],
) -> Result<(), String> {
    let mut named = false;
    for key in keys_of(list.issuer().as_raw(), anchors, issuers) {
        named = true;
        let (_, key) = SubjectPublicKeyInfo::from_der(&key).map_err(|error| error.to_string())?;
        if list.verify_signature(&key).is_ok() {
            return Ok(());
        }
    }
    Err(if named {
        "its signature does not verify with the key of that CA: fetch it again".to_owned()
    } else {
        "no trusted CA has that name: name its certificate as a root, or put it into the file with the list"
            .to_owned()
    })
}

/// The keys of every CA of this name, in DER.
fn keys_of(name: &[u8], anchors: &RootCertStore, issuers: &[X509Certificate<'_>]) -> Vec<Vec<u8>> {
    let from_anchors = anchors
        .roots
        .iter()
        .filter(|anchor| sequence(&anchor.subject) == name)
        .map(|anchor| sequence(&anchor.subject_public_key_info));
    let from_issuers = issuers
        .iter()
        .filter(|issuer| issuer.subject().as_raw() == name)
        .map(|issuer| issuer.public_key().raw.to_vec());
    from_anchors.chain(from_issuers).collect()
}

/// Those certificates that chain to an anchor, in any order; all of them must.
fn trusted<'a>(
    certificates: &'a [CertificateDer<'_>],
    anchors: &RootCertStore,
) -> Result<Vec<X509Certificate<'a>>, String> {
    let parse = |der: &'a CertificateDer<'_>| X509Certificate::from_der(der).map(|(_, parsed)| parsed);
    let mut left: Vec<_> = certificates
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a certificate in it does not parse: {error}"))?;
    let mut accepted = Vec::new();
    while !left.is_empty() {
        let vouched_for = |certificate: &X509Certificate<'_>| {
            certificate.is_ca()
                && keys_of(certificate.issuer().as_raw(), anchors, &accepted).iter().any(|key| {
                    SubjectPublicKeyInfo::from_der(key)
                        .is_ok_and(|(_, key)| certificate.verify_signature(Some(&key)).is_ok())
                })
        };
        match left.iter().position(vouched_for) {
            Some(index) => accepted.push(left.swap_remove(index)),
            None => return Err(format!("\"{}\" in it is no CA of a trusted root", left[0].subject())),
        }
    }
    Ok(accepted)
}

/// The contents of a SEQUENCE in DER (X.690, section 8.1), with the head that webpki leaves out.
fn sequence(contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|&byte| byte == 0).collect();
    let mut der = vec![0x30];
    match significant.as_slice() {
        [] => der.push(0),
        [short] if *short < 0x80 => der.push(*short),
        long => {
            der.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7f));
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(contents);
    der
}
