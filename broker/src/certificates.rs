//! What the configuration says about certificates, as the transport wants it, and what is served, as a client sees it.

use std::fmt::Write as _;
use std::path::Path;

use sealstream_protocol::message::admin::{Certificate, TlsStatus};
use sealstream_transport::tls::{
    ClientAuth, IdentitySource, Material, Receiver, Snapshot, TrustSource, spki_sha256,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::{ClientCertificates, Tls};

/// The material for listeners: the operator's certificate, or the development one at `fallback` (chain, key).
pub fn material(tls: &Tls, fallback: Option<(&Path, &Path)>) -> Result<Material, String> {
    refuse_what_is_to_come(tls)?;
    let configured = tls.cert.as_deref().zip(tls.key.as_deref());
    let mut material = Material::new();
    if let Some((chain, key)) = configured.or(fallback) {
        material = material.with_server_identity(IdentitySource::files(chain, key));
    }
    let policy = match tls.client_certificates {
        ClientCertificates::None => ClientAuth::None,
        ClientCertificates::Optional => ClientAuth::Optional,
        ClientCertificates::Required => ClientAuth::Required,
    };
    let roots = tls.client_ca.0.iter().cloned().map(TrustSource::File);
    Ok(material.with_client_auth(policy, roots))
}

/// Keys that the transport does not obey yet: to pass over one in silence would leave a door open that its operator
/// believes shut.
fn refuse_what_is_to_come(tls: &Tls) -> Result<(), String> {
    let default = Tls::default();
    let asked = [
        ("staple", tls.staple.is_some()),
        ("identity", !tls.identity.is_empty()),
        ("client_crl", !tls.client_crl.0.is_empty()),
        ("client_pins", !tls.client_pins.is_empty()),
        ("resumption", tls.resumption != default.resumption),
        ("ticket_secret", tls.ticket_secret.is_some()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((key, _)) => Err(format!("tls.{key} is not obeyed by this version yet: remove it")),
        None => Ok(()),
    }
}

/// What is served now. What a certificate does not have is left empty; one that cannot be parsed is left out, which
/// cannot happen to one that is served.
pub fn status(receiver: &Receiver) -> TlsStatus {
    let snapshot = receiver.current();
    let certificates = leaf(&snapshot).into_iter().collect();
    let client_certificates = match snapshot.client_auth() {
        ClientAuth::None => "none",
        ClientAuth::Optional => "optional",
        ClientAuth::Required => "required",
    };
    TlsStatus { certificates, client_certificates: client_certificates.into() }
}

fn leaf(snapshot: &Snapshot) -> Option<Certificate> {
    let der = snapshot.identities().first()?.chain().first()?;
    let (_, leaf) = X509Certificate::from_der(der).ok()?;
    let names = leaf.subject_alternative_name().ok().flatten().map(|san| san.value.general_names.iter());
    Some(Certificate {
        subject: leaf.subject().to_string(),
        names: names.into_iter().flatten().filter_map(shown).collect(),
        issuer: leaf.issuer().to_string(),
        serial: hex(without_sign(leaf.raw_serial())),
        not_before: leaf.validity().not_before.timestamp(),
        not_after: leaf.validity().not_after.timestamp(),
        spki_sha256: spki_sha256(der).ok()?,
    })
}

/// A serial number without the zero byte that keeps DER from taking it for a negative one.
fn without_sign(serial: &[u8]) -> &[u8] {
    match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        _ => serial,
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(std::net::IpAddr::from),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(std::net::IpAddr::from),
            };
            address.map(|address| format!("IP:{address}"))
        }
        _ => None,
    }
}
