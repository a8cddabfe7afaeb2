//! The verifiers that rustls is given: a thin shell around [`Trust`], and around [`Expectation`] where we dial.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::identity::{sha256, uris_of};
use super::material::ClientAuth;
use super::trust::{Purpose, Trust};
use super::{provider, spiffe};
use crate::expectation::Expectation;

/// A certificate that is valid, for somebody else: carried through rustls to [`classify`](super::classify()).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Mismatch(pub(super) String);

/// The verifier of one expectation.
pub(super) struct ExpectationVerifier {
    trust: Arc<Trust>,
    expectation: Expectation,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ExpectationVerifier {
    pub(super) fn new(trust: Arc<Trust>, expectation: Expectation) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { trust, expectation, algorithms }
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

/// A digest as people compare it.
pub(super) struct HexDigest<'a>(pub(super) &'a [u8; 32]);

impl fmt::Display for HexDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The refusal of a certificate that is valid, for somebody else.
pub(super) fn mismatch(detail: String) -> Error {
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
        let chain = self.trust.verify(Purpose::Server, end_entity, intermediates, now);
        let expected = || {
            let leaf = ParsedCertificate::try_from(end_entity)?;
            self.check_expectation(&leaf, end_entity, server_name)
        };
        chain.and_then(|()| expected()).inspect_err(|error| {
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
        f.debug_struct("ExpectationVerifier").field("expectation", &self.expectation).finish_non_exhaustive()
    }
}

/// The verifier of a listener's clients.
pub(super) struct ClientVerifier {
    trust: Arc<Trust>,
    policy: ClientAuth,
    /// The subjects of the anchors: a client with several certificates chooses by them.
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    pub(super) fn new(trust: Arc<Trust>, policy: ClientAuth) -> Self {
        let hints = trust.anchors().subjects();
        Self { trust, policy, hints, algorithms: provider().signature_verification_algorithms }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.policy != ClientAuth::None
    }

    fn client_auth_mandatory(&self) -> bool {
        self.policy == ClientAuth::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust.verify(Purpose::Client, end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
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

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier").field("policy", &self.policy).finish_non_exhaustive()
    }
}
