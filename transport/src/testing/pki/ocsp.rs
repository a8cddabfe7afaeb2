//! What an OCSP responder says (RFC 6960, section 4.2), signed by the authority itself.

use std::time::SystemTime;

use der::asn1::{BitString, GeneralizedTime, Null, ObjectIdentifier, OctetString};
use der::{Any, Encode as _};
use ring::digest;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, ResponderId, ResponseData,
    SingleResponse, Version,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Authority, Issued};

const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
const SHA1: &str = "1.3.14.3.2.26";

pub(super) fn response(
    authority: &Authority,
    about: &Issued,
    status: CertStatus,
    from: SystemTime,
    to: SystemTime,
) -> Vec<u8> {
    let (_, issuer) = X509Certificate::from_der(authority.certificate()).expect("a certificate");
    let sha1 = |bytes: &[u8]| {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
        OctetString::new(hash.as_ref()).expect("20 bytes")
    };
    let mut serial = about.serial();
    if serial.first().is_some_and(|byte| byte & 0x80 != 0) {
        serial.insert(0, 0);
    }
    let cert_id = CertId {
        hash_algorithm: algorithm(SHA1, Some(Any::from(Null))),
        issuer_name_hash: sha1(issuer.subject().as_raw()),
        issuer_key_hash: sha1(&issuer.public_key().subject_public_key.data),
        serial_number: x509_serial(&serial),
    };
    let single = SingleResponse {
        cert_id,
        cert_status: status,
        this_update: time(from),
        next_update: Some(time(to)),
        single_extensions: None,
    };
    let data = ResponseData {
        version: Version::V1,
        responder_id: ResponderId::ByKey(sha1(&issuer.public_key().subject_public_key.data)),
        produced_at: time(from),
        responses: vec![single],
        response_extensions: None,
    };
    let signature = authority.sign(&data.to_der().expect("DER"));
    let basic = BasicOcspResponse {
        tbs_response_data: data,
        signature_algorithm: algorithm(ECDSA_WITH_SHA256, None),
        signature: BitString::from_bytes(&signature).expect("a signature"),
        certs: None,
    };
    OcspResponse::successful(basic).and_then(|response| response.to_der()).expect("DER")
}

/// An `AlgorithmIdentifier`, by way of its DER: its type is not re-exported by name.
fn algorithm<T: for<'a> der::Decode<'a>>(oid: &str, parameters: Option<Any>) -> T {
    let mut content = ObjectIdentifier::new_unwrap(oid).to_der().expect("DER");
    if let Some(parameters) = parameters {
        content.extend(parameters.to_der().expect("DER"));
    }
    let length = u8::try_from(content.len()).expect("short");
    let der = [&[0x30, length][..], &content].concat();
    T::from_der(&der).expect("an algorithm")
}

fn x509_serial<T: for<'a> der::Decode<'a>>(bytes: &[u8]) -> T {
    let length = u8::try_from(bytes.len()).expect("short");
    T::from_der(&[&[0x02, length][..], bytes].concat()).expect("a serial number")
}

fn time(at: SystemTime) -> OcspGeneralizedTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let whole = std::time::Duration::from_secs(since.as_secs());
    OcspGeneralizedTime(GeneralizedTime::from_unix_duration(whole).expect("before 9999"))
}
