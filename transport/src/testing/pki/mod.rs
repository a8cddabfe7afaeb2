//! Certificates for tests: authorities, and what they issue, good and bad.
//!
//! ```
//! use sealstream_transport::testing::pki::{Authority, Leaf};
//! use sealstream_transport::tls::{ClientAuth, Material};
//!
//! let authority = Authority::new("Test CA");
//! let server = authority.issue(&Leaf::new().dns("localhost").ip([127, 0, 0, 1]));
//! let client = authority.issue(&Leaf::new().uri("spiffe://example.org/client"));
//! let serving = Material::new()
//!     .with_server_identity(server.identity())
//!     .with_client_auth(ClientAuth::Required, [authority.trust()]);
//! let dialling = Material::new().with_roots([authority.trust()]).with_client_identity(client.identity());
//! # drop((serving, dialling));
//! ```

mod ocsp;

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, SigningKey as _, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_ocsp::CertStatus;

use crate::tls::{IdentitySource, TrustSource, spki_sha256};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
    /// From this authority up to, but without, the root; empty for a root.
    chain: Vec<Certificate>,
}

impl Authority {
    /// A root.
    pub fn new(name: &str) -> Self {
        let (params, key) = (Self::params(name), generate());
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), certificate, chain: Vec::new() }
    }

    /// An authority that this one vouches for. What it issues carries its certificate along.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        let (params, key) = (Self::params(name), generate());
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = std::iter::once(certificate.clone()).chain(self.chain.iter().cloned()).collect();
        Self { issuer: Issuer::new(params, key), certificate, chain }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = ago(30 * DAY).into();
        params.not_after = from_now(3650 * DAY).into();
        params
    }

    /// A certificate for `leaf`, with a new key.
    pub fn issue(&self, leaf: &Leaf) -> Issued {
        let key = generate();
        let certificate = leaf.params().signed_by(&key, &self.issuer).expect("a certificate");
        let chain = std::iter::once(certificate).chain(self.chain.iter().cloned()).collect();
        Issued { chain, key }
    }

    /// A certificate for `leaf`, with the key of one issued before: a renewal.
    pub fn issue_again(&self, leaf: &Leaf, before: &Issued) -> Issued {
        self.issue_for(leaf, &before.key_pem())
    }

    /// A certificate for `leaf`, with an RSA key of 2048 bits. It is the same key each time, for ring makes none.
    pub fn issue_rsa(&self, leaf: &Leaf) -> Issued {
        self.issue_for(leaf, include_str!("../../tls/testdata/rsa.pkcs8.key"))
    }

    fn issue_for(&self, leaf: &Leaf, key_pem: &str) -> Issued {
        let key = KeyPair::from_pem(key_pem).expect("a key");
        let certificate = leaf.params().signed_by(&key, &self.issuer).expect("a certificate");
        let chain = std::iter::once(certificate).chain(self.chain.iter().cloned()).collect();
        Issued { chain, key }
    }

    /// A list that revokes these, issued an hour ago and due again in a week.
    pub fn crl(&self, revoked: &[&Issued]) -> CertificateRevocationListDer<'static> {
        self.crl_of(revoked, 1, ago(HOUR), from_now(7 * DAY))
    }

    /// A list with this number that holds between these times.
    pub fn crl_of(
        &self,
        revoked: &[&Issued],
        number: u64,
        from: SystemTime,
        to: SystemTime,
    ) -> CertificateRevocationListDer<'static> {
        let entry = |issued: &&Issued| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&issued.serial()),
            revocation_time: from.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: from.into(),
            next_update: to.into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").der().clone()
    }

    /// What an OCSP responder of this authority says of a certificate, for the next day.
    pub fn ocsp_good(&self, about: &Issued) -> Vec<u8> {
        ocsp::response(self, about, CertStatus::good(), ago(HOUR), from_now(DAY))
    }

    /// The same with another status and other dates.
    pub fn ocsp(&self, about: &Issued, status: CertStatus, from: SystemTime, to: SystemTime) -> Vec<u8> {
        ocsp::response(self, about, status, from, to)
    }

    /// Signs with the key of the authority: ECDSA with SHA-256.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.issuer.key().sign(message).expect("a signature")
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// What trusts it.
    pub fn trust(&self) -> TrustSource {
        TrustSource::Der(vec![self.certificate.der().clone()])
    }
}

/// What a certificate is to say. Valid since yesterday and for 90 days, for clients and servers both, unless told
/// otherwise.
#[derive(Clone, Debug)]
pub struct Leaf {
    names: Vec<SanType>,
    common_name: Option<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Leaf {
    /// A certificate without a name.
    pub fn new() -> Self {
        Self {
            names: Vec::new(),
            common_name: None,
            not_before: ago(DAY),
            not_after: from_now(90 * DAY),
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    /// For this machine, by every name that tests call it.
    pub fn localhost() -> Self {
        Self::new().dns("localhost").ip([127, 0, 0, 1]).ip([0, 0, 0, 0, 0, 0, 0, 1_u16])
    }

    /// Adds a name of any kind.
    #[must_use]
    pub fn san(mut self, name: SanType) -> Self {
        self.names.push(name);
        self
    }

    /// Adds a DNS name.
    #[must_use]
    pub fn dns(self, name: &str) -> Self {
        self.san(SanType::DnsName(ascii(name)))
    }

    /// Adds an IP address.
    #[must_use]
    pub fn ip(self, address: impl Into<IpAddr>) -> Self {
        self.san(SanType::IpAddress(address.into()))
    }

    /// Adds a URI: a SPIFFE ID.
    #[must_use]
    pub fn uri(self, uri: &str) -> Self {
        self.san(SanType::URI(ascii(uri)))
    }

    /// Adds an e-mail address.
    #[must_use]
    pub fn email(self, address: &str) -> Self {
        self.san(SanType::Rfc822Name(ascii(address)))
    }

    /// Sets the subject's common name.
    #[must_use]
    pub fn common_name(mut self, name: &str) -> Self {
        self.common_name = Some(name.to_owned());
        self
    }

    /// Its validity ended yesterday.
    #[must_use]
    pub fn expired(mut self) -> Self {
        (self.not_before, self.not_after) = (ago(30 * DAY), ago(DAY));
        self
    }

    /// Its validity begins tomorrow.
    #[must_use]
    pub fn not_yet_valid(mut self) -> Self {
        self.not_before = from_now(DAY);
        self
    }

    /// Its validity ends after this time, to the second.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Self {
        self.not_after = from_now(time);
        self
    }

    /// A moment at which it is valid, in seconds since the Unix epoch.
    pub fn midlife(&self) -> i64 {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            i64::try_from(since.as_secs()).expect("before the sun goes out")
        };
        i64::midpoint(seconds(self.not_before), seconds(self.not_after))
    }

    /// For servers only.
    #[must_use]
    pub fn for_servers(mut self) -> Self {
        self.usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// For clients only.
    #[must_use]
    pub fn for_clients(mut self) -> Self {
        self.usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        if let Some(name) = &self.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names.clone_from(&self.names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&self.usages);
        params.use_authority_key_identifier_extension = true;
        params.not_before = self.not_before.into();
        params.not_after = self.not_after.into();
        params
    }
}

impl Default for Leaf {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate, the chain up to its root, and its key.
#[derive(Debug)]
pub struct Issued {
    chain: Vec<Certificate>,
    key: KeyPair,
}

impl Issued {
    /// A certificate that vouches for itself.
    pub fn by_itself(leaf: &Leaf) -> Self {
        let key = generate();
        let certificate = leaf.params().self_signed(&key).expect("a certificate");
        Self { chain: vec![certificate], key }
    }

    /// What shows it.
    pub fn identity(&self) -> IdentitySource {
        IdentitySource::der(self.chain(), self.key_der())
    }

    /// Leaf first, without the root.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.iter().map(|certificate| certificate.der().clone()).collect()
    }

    /// The same in PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::pem).collect()
    }

    /// The key, PKCS#8.
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// The same in PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Its serial number.
    pub fn serial(&self) -> Vec<u8> {
        let chain = self.chain();
        crate::tls::identity_of(&chain).expect("a certificate").expect("a leaf").serial
    }

    /// What a pin names.
    pub fn pin(&self) -> [u8; 32] {
        spki_sha256(self.chain[0].der()).expect("a certificate")
    }
}

fn generate() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn ascii(text: &str) -> Ia5String {
    text.try_into().expect("ASCII")
}

fn ago(time: Duration) -> SystemTime {
    SystemTime::now() - time
}

fn from_now(time: Duration) -> SystemTime {
    SystemTime::now() + time
}
