//! What the configuration says about certificates and trust, as the transport wants it.

use std::path::Path;

use sealstream_transport::tls::{
    self, ClientAuth, CrlExpiry, CrlPolicy, CrlSource, IdentitySource, Material, SecretSource,
    ServerResumption, StapleSource, TrustSource, UnknownStatus,
};

use crate::config::{
    ClientCertificates, Config, CrlExpired, CrlUnknown, ExpiredClients, Resumption, Tls, TlsIdentity,
};

/// The material for listeners: the operator's certificate, or the development one at `fallback` (chain, key).
///
/// The secret behind the tickets is read from its file; where the operator names none and none was made yet, a passing one
/// stands in for it.
pub fn material(config: &Config, fallback: Option<(&Path, &Path)>) -> Material {
    let tls = &config.tls;
    let mut material = Material::new().with_resumption(resumption(tls)).with_secret(secret(config));
    let configured = tls.cert.as_deref().zip(tls.key.as_deref());
    if let Some((chain, key)) = configured.or(fallback) {
        material = material.with_server_identity(identity(chain, key, tls.staple.as_deref()));
    }
    for TlsIdentity { cert, key, staple } in &tls.identity {
        material = material.with_server_identity(identity(cert, key, staple.as_deref()));
    }
    let policy = match tls.client_certificates {
        ClientCertificates::None => ClientAuth::None,
        ClientCertificates::Optional => ClientAuth::Optional,
        ClientCertificates::Required => ClientAuth::Required,
    };
    material = material.with_client_auth(policy, tls.client_ca.0.iter().cloned().map(TrustSource::File));
    material.clients.crls = tls.client_crl.0.iter().cloned().map(CrlSource::File).collect();
    material.clients.crl_policy = crl_policy(tls);
    material.clients.pins = tls.client_pins.iter().map(|pin| pin.0).collect();
    material.expired_clients = match tls.expired_clients {
        ExpiredClients::Close => tls::ExpiredClients::Close,
        ExpiredClients::Keep => tls::ExpiredClients::Keep,
    };
    material
}

fn identity(chain: &Path, key: &Path, staple: Option<&Path>) -> IdentitySource {
    let identity = IdentitySource::files(chain, key);
    match staple {
        Some(staple) => identity.with_staple(StapleSource::File(staple.to_owned())),
        None => identity,
    }
}

fn crl_policy(tls: &Tls) -> CrlPolicy {
    let mut policy = CrlPolicy::default();
    policy.unknown = match tls.crl_unknown {
        CrlUnknown::Accept => UnknownStatus::Accept,
        CrlUnknown::Refuse => UnknownStatus::Refuse,
    };
    policy.expiry = match tls.crl_expired {
        CrlExpired::Ignore => CrlExpiry::Ignore,
        CrlExpired::Enforce => CrlExpiry::Enforce,
    };
    policy
}

fn resumption(tls: &Tls) -> ServerResumption {
    match tls.resumption {
        Resumption::Tickets => ServerResumption::Tickets,
        Resumption::Cache => {
            ServerResumption::Cache { bytes: usize::try_from(tls.resumption_cache.0).unwrap_or(usize::MAX) }
        }
        Resumption::Off => ServerResumption::Off,
    }
}

fn secret(config: &Config) -> SecretSource {
    let path = config.ticket_secret();
    if config.tls.ticket_secret.is_some() || path.exists() {
        SecretSource::File(path)
    } else {
        SecretSource::Random
    }
}
