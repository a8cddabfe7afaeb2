//! Judges a server's certificate by an [`Expectation`], on top of a chain to a trusted root.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::identity::{sha256, uris_of};
use super::{provider, spiffe};
use crate::expectation::Expectation;

/// A certificate that is valid, for somebody else: carried through rustls to [`classify`](super::classify()).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Mismatch(pub(super) String);

/// The verifier of one expectation.
pub(super) struct ExpectationVerifier {
    roots: Arc<RootCertStore>,
    expectation: Expectation,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ExpectationVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, expectation: Expectation) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { roots, expectation, algorithms }
    }

    fn check_expectation(
        &self,
        leaf: &ParsedCertificate<'_>,
        der: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
    ) -> Result<(), Error> {
        match &self.expectation {
            // The configuration that uses this verifier always passes the expected name.
            Expectation::Name(_) => verify_server_name(leaf, server_name),
            Expectation::SpiffeId(expected) => {
                let (uris, is_ca) =
                    uris_of(der).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
                match spiffe::id_of(&uris, is_ca) {
                    Ok(shown) if shown == expected => Ok(()),
                    Ok(shown) => Err(mismatch(format!("expected {expected}, the certificate shows {shown}"))),
                    Err(error) => Err(mismatch(format!("expected {expected}: {error}"))),
                }
            }
            Expectation::Pin { name, spki_sha256 } => {
                verify_server_name(leaf, server_name)?;
                let shown = sha256(leaf.subject_public_key_info().as_ref());
                if shown == *spki_sha256 {
                    return Ok(());
                }
                Err(mismatch(format!(
                    "expected {name} with the pinned key {}, the certificate has key {}",
                    HexDigest(spki_sha256),
                    HexDigest(&shown)
                )))
            }
        }
    }
}

struct HexDigest<'a>(&'a [u8; 32]);

impl fmt::Display for HexDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn mismatch(detail: String) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Mismatch(detail)))))
}

impl ServerCertVerifier for ExpectationVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        let chain = verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        chain.and_then(|()| self.check_expectation(&leaf, end_entity, server_name)).inspect_err(|error| {
            tracing::debug!(expected = %self.expectation, %error, "server certificate refused");
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ExpectationVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpectationVerifier")
            .field("expectation", &self.expectation)
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}
