//! Reads who a verified certificate says its holder is.

use ring::digest;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::spiffe;
use crate::error::HandshakeError;
use crate::peer::Identity;

/// The identity in the leaf of a chain that was already verified; `None` for an empty chain.
///
/// This parses and judges nothing: never call it on a chain that no verifier has accepted.
pub(crate) fn identity_of(chain: &[CertificateDer<'_>]) -> Result<Option<Identity>, HandshakeError> {
    let Some(leaf) = chain.first() else { return Ok(None) };
    identity_of_leaf(leaf).map(Some).map_err(|detail| HandshakeError::BadCertificate { detail })
}

/// SHA-256 over the `SubjectPublicKeyInfo` of a certificate in DER: what a pin is compared with.
pub fn spki_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], HandshakeError> {
    parse(certificate)
        .map(|parsed| sha256(parsed.public_key().raw))
        .map_err(|detail| HandshakeError::BadCertificate { detail })
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The end of a certificate's validity, in seconds since the Unix epoch; `None` if it does not parse.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    parse(certificate).ok().map(|parsed| parsed.validity().not_after.timestamp())
}

pub(super) fn identity_of_leaf(leaf: &CertificateDer<'_>) -> Result<Identity, String> {
    let certificate = parse(leaf)?;
    let mut identity = Identity {
        spki_sha256: sha256(certificate.public_key().raw),
        serial: certificate.raw_serial().iter().copied().skip_while(|&byte| byte == 0).collect(),
        not_after: certificate.validity().not_after.timestamp(),
        common_name: certificate
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .map(str::to_owned),
        ..Identity::default()
    };
    let mut uris = Vec::new();
    for name in alternative_names(&certificate)? {
        match name {
            GeneralName::DNSName(dns) => identity.dns_names.push((*dns).to_owned()),
            GeneralName::RFC822Name(mail) => identity.emails.push((*mail).to_owned()),
            GeneralName::URI(uri) => uris.push(*uri),
            _ => {}
        }
    }
    identity.spiffe_id = spiffe::id_of(&uris, certificate.is_ca()).ok().map(str::to_owned);
    Ok(identity)
}

/// The URI alternative names of a certificate and whether it is a CA.
pub(super) fn uris_of(certificate: &CertificateDer<'_>) -> Result<(Vec<String>, bool), String> {
    let parsed = parse(certificate)?;
    let uris = alternative_names(&parsed)?
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
        .collect();
    Ok((uris, parsed.is_ca()))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(certificate.as_ref()) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(format!("it does not parse as X.509: {error}")),
    }
}

fn alternative_names<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a [GeneralName<'a>], String> {
    match certificate.subject_alternative_name() {
        Ok(Some(extension)) => Ok(&extension.value.general_names),
        Ok(None) => Ok(&[]),
        Err(error) => Err(format!("its subject alternative names do not parse: {error}")),
    }
}
