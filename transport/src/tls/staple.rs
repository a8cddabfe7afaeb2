//! Stapled OCSP responses (RFC 6960): loaded and checked as a client would, so that a bad one is never served.

use std::fmt;
use std::path::{Path, PathBuf};

use der::oid::AssociatedOid as _;
use der::{Decode as _, Encode as _};
use ring::digest;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_ocsp::{BasicOcspResponse, CertId, CertStatus, OcspResponse, OcspResponseStatus, SingleResponse};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::classify::{becomes_valid_on, expired_on};
use super::pem::{MaterialError, read};
use super::provider;

/// A response may be from a clock that is ahead by this much.
const CLOCK_SKEW_SECS: i64 = 300;

/// `id-kp-OCSPSigning` (RFC 6960, section 4.2.2.2), without tag and length: 1.3.6.1.5.5.7.3.9.
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];

const SHA1: &str = "1.3.14.3.2.26";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";

/// Where an OCSP response comes from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StapleSource {
    /// A file in DER, as a responder sends it.
    File(PathBuf),
    /// In memory, in DER.
    Der(Vec<u8>),
}

impl StapleSource {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Der(_) => None,
        }
    }
}

/// A response that says that a certificate is good.
#[derive(Clone)]
pub struct Staple {
    der: Vec<u8>,
    this_update: i64,
    next_update: i64,
}

impl Staple {
    /// Reads a response and checks that it is about the first of these certificates, signed in the name of the second, good, and
    /// fresh.
    pub(super) fn load(
        source: &StapleSource,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Self, MaterialError> {
        let (der, origin) = match source {
            StapleSource::File(path) => (read("OCSP response", path)?.to_vec(), path.display().to_string()),
            StapleSource::Der(der) => (der.clone(), "the OCSP response in memory".to_owned()),
        };
        let [leaf, issuer, ..] = chain else {
            let detail =
                "it cannot be checked without the issuer's certificate: append that to the chain".to_owned();
            return Err(MaterialError::BadStaple { origin, detail });
        };
        let (this_update, next_update) =
            check(&der, leaf, issuer, now).map_err(|detail| MaterialError::BadStaple { origin, detail })?;
        Ok(Self { der, this_update, next_update })
    }

    /// As it is sent.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// When it was true for certain, in seconds since the Unix epoch.
    pub fn this_update(&self) -> i64 {
        self.this_update
    }

    /// When there is a newer one, and this is served no more; in seconds since the Unix epoch.
    pub fn next_update(&self) -> i64 {
        self.next_update
    }

    /// Whether it is still served at `now`, in seconds since the Unix epoch.
    pub fn is_fresh(&self, now: i64) -> bool {
        now < self.next_update
    }
}

impl fmt::Debug for Staple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staple").field("next_update", &self.next_update).finish_non_exhaustive()
    }
}

/// The dates of a response that has passed.
pub(super) fn check(
    der: &[u8],
    leaf: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(i64, i64), String> {
    let response = parse(der)?;
    check_signature(&response, issuer, now)?;
    dates_for(&response, leaf, issuer, now)
}

pub(super) fn parse(der: &[u8]) -> Result<BasicOcspResponse, String> {
    let damaged = |error: der::Error| format!("it is no OCSP response in DER: {error}");
    let response = OcspResponse::from_der(der).map_err(damaged)?;
    if response.response_status != OcspResponseStatus::Successful {
        return Err(format!("the responder gave no answer ({:?}): fetch it again", response.response_status));
    }
    let bytes = response.response_bytes.ok_or("it is empty")?;
    if bytes.response_type != BasicOcspResponse::OID {
        return Err(format!("it is a response of another kind ({})", bytes.response_type));
    }
    BasicOcspResponse::from_der(bytes.response.as_bytes()).map_err(damaged)
}

/// The dates of what a response says about a leaf, if that is good, whoever signed it.
pub(super) fn dates_for(
    response: &BasicOcspResponse,
    leaf: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(i64, i64), String> {
    let mut about_it = None;
    for single in &response.tbs_response_data.responses {
        if is_about(&single.cert_id, leaf, issuer)? {
            about_it = Some(single);
        }
    }
    let single = about_it.ok_or("it is about another certificate: fetch the one for this leaf")?;
    match single.cert_status {
        CertStatus::Good(_) => dates(single, i64::try_from(now.as_secs()).unwrap_or(i64::MAX)),
        CertStatus::Revoked(_) => {
            Err("it says that the certificate is revoked: replace the certificate".to_owned())
        }
        CertStatus::Unknown(_) => Err("its responder does not know the certificate".to_owned()),
    }
}

fn dates(single: &SingleResponse, now: i64) -> Result<(i64, i64), String> {
    let seconds = |time: &x509_ocsp::OcspGeneralizedTime| {
        i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
    };
    let from = seconds(&single.this_update);
    let to = single.next_update.as_ref().map(seconds);
    let to = to.ok_or("it names no next update, so that nobody can tell when it is stale")?;
    if from > now + CLOCK_SKEW_SECS {
        return Err(becomes_valid_on(from, now));
    }
    if to <= now {
        return Err(format!("{}: fetch a new one", expired_on(to, now)));
    }
    Ok((from, to))
}

/// Whether a response is about this leaf (RFC 6960, section 4.1.1).
fn is_about(id: &CertId, leaf: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> Result<bool, String> {
    let parse =
        |der| X509Certificate::from_der(der).map(|(_, parsed)| parsed).map_err(|error| error.to_string());
    let leaf = parse(leaf.as_ref())?;
    let issuer = parse(issuer.as_ref())?;
    let algorithm = match id.hash_algorithm.oid.to_string().as_str() {
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &digest::SHA256,
        _ => return Ok(false),
    };
    let hash = |bytes: &[u8]| digest::digest(algorithm, bytes);
    let significant =
        |serial: &[u8]| serial.iter().copied().skip_while(|&byte| byte == 0).collect::<Vec<_>>();
    Ok(significant(id.serial_number.as_bytes()) == significant(leaf.raw_serial())
        && hash(issuer.subject().as_raw()).as_ref() == id.issuer_name_hash.as_bytes()
        && hash(&issuer.public_key().subject_public_key.data).as_ref() == id.issuer_key_hash.as_bytes())
}

/// Signed by the issuer, or by a responder to whom the issuer delegated it (RFC 6960, section 4.2.2.2).
fn check_signature(
    response: &BasicOcspResponse,
    issuer: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), String> {
    if signed_by(response, issuer) {
        return Ok(());
    }
    for delegate in response.certs.iter().flatten() {
        let Ok(der) = delegate.to_der().map(CertificateDer::from) else { continue };
        if is_delegated(&der, issuer, now) && signed_by(response, &der) {
            return Ok(());
        }
    }
    Err("it is not signed by the issuer of the certificate, nor by a responder of its: fetch it again"
        .to_owned())
}

fn signed_by(response: &BasicOcspResponse, signer: &CertificateDer<'_>) -> bool {
    let verified = || {
        let signer = EndEntityCert::try_from(signer).ok()?;
        let message = response.tbs_response_data.to_der().ok()?;
        let signature = response.signature.as_bytes()?;
        let named = response.signature_algorithm.to_der().ok()?;
        let algorithms = provider().signature_verification_algorithms.all.iter();
        // webpki knows an algorithm by its DER without the head.
        let mut fitting =
            algorithms.filter(|algorithm| named.ends_with(algorithm.signature_alg_id().as_ref()));
        fitting
            .any(|algorithm| signer.verify_signature(*algorithm, &message, signature).is_ok())
            .then_some(())
    };
    verified().is_some()
}

fn is_delegated(responder: &CertificateDer<'_>, issuer: &CertificateDer<'_>, now: UnixTime) -> bool {
    let delegated = || {
        let anchors = [anchor_from_trusted_cert(issuer).ok()?];
        let algorithms = provider().signature_verification_algorithms.all;
        let usage = KeyUsage::required(OCSP_SIGNING);
        let responder = EndEntityCert::try_from(responder).ok()?;
        responder.verify_for_usage(algorithms, &anchors, &[], now, usage, None, None).ok().map(drop)
    };
    delegated().is_some()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use der::asn1::GeneralizedTime;
    use x509_ocsp::{OcspGeneralizedTime, RevokedInfo};

    use super::*;
    use crate::testing::pki::{Authority, Issued, Leaf};

    const HOUR: Duration = Duration::from_hours(1);

    struct World {
        issuer: Authority,
        leaf: Issued,
    }

    impl World {
        fn new() -> Self {
            let issuer = Authority::new("Root").intermediate("Issuer");
            Self { leaf: issuer.issue(&Leaf::localhost()), issuer }
        }

        fn load(&self, der: Vec<u8>) -> Result<Staple, String> {
            Staple::load(&StapleSource::Der(der), &self.leaf.chain(), UnixTime::now())
                .map_err(|error| error.to_string())
        }

        fn refuses(&self, der: Vec<u8>, says: &str) {
            let told = self.load(der).unwrap_err();
            assert!(told.contains(says), "{told}");
        }
    }

    #[test]
    fn a_good_response_is_served_until_its_next_update() {
        let world = World::new();
        let staple = world.load(world.issuer.ocsp_good(&world.leaf)).unwrap();
        assert!(staple.is_fresh(staple.this_update()));
        assert!(staple.is_fresh(staple.next_update() - 1) && !staple.is_fresh(staple.next_update()));
    }

    #[test]
    fn a_response_about_another_certificate_or_by_a_stranger_is_refused() {
        let world = World::new();
        let other = world.issuer.issue(&Leaf::localhost());
        world.refuses(world.issuer.ocsp_good(&other), "about another certificate");
        world.refuses(Authority::new("Issuer").ocsp_good(&world.leaf), "not signed by the issuer");
    }

    #[test]
    fn a_response_that_says_anything_but_good_is_refused() {
        let (world, now) = (World::new(), SystemTime::now());
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let at =
            OcspGeneralizedTime(GeneralizedTime::from_unix_duration(Duration::from_secs(since)).unwrap());
        let revoked = CertStatus::revoked(RevokedInfo { revocation_time: at, revocation_reason: None });
        for (status, says) in [(revoked, "is revoked"), (CertStatus::unknown(), "does not know")] {
            world.refuses(world.issuer.ocsp(&world.leaf, status, now - HOUR, now + HOUR), says);
        }
    }

    #[test]
    fn a_response_out_of_date_is_refused() {
        let (world, now) = (World::new(), SystemTime::now());
        let dated = |from, to| world.issuer.ocsp(&world.leaf, CertStatus::good(), from, to);
        world.refuses(dated(now - 2 * HOUR, now - HOUR), "it expired on");
        world.refuses(dated(now + HOUR, now + 2 * HOUR), "becomes valid on");
    }

    #[test]
    fn a_response_in_the_wrong_shape_is_refused_wherever_it_is_cut_or_touched() {
        let world = World::new();
        let good = world.issuer.ocsp_good(&world.leaf);
        for at in 0..good.len() {
            assert!(world.load(good[..at].to_vec()).is_err(), "the first {at} bytes");
            let mut touched = good.clone();
            touched[at] ^= 1;
            assert!(world.load(touched).is_err(), "byte {at}");
        }
        world.refuses(x509_ocsp::OcspResponse::try_later().to_der().unwrap(), "TryLater");
        world.refuses(vec![0x5a; 10_000_000], "no OCSP response");
        let alone = Staple::load(&StapleSource::Der(good), &world.leaf.chain()[..1], UnixTime::now());
        assert!(alone.unwrap_err().to_string().contains("append that to the chain"));
    }
}
