//! The values that the vectors about certificates and trust are made of.

use sealstream_protocol::message::admin::{
    Certificate, ReloadOutcome, ReloadTls, RevocationList, ShowTls, Staple, TlsReload, TlsReloaded,
    TlsStatus, TrustInClients,
};
use sealstream_protocol::message::{Fault, FaultCode, Message};

use crate::samples::TIME;

/// Messages by name.
pub(crate) fn messages() -> Vec<(&'static str, Message)> {
    let certificate = Certificate {
        subject: "CN=broker-1".into(),
        names: vec!["DNS:broker-1.example".into(), "IP:192.0.2.7".into()],
        issuer: "CN=Example CA".into(),
        serial: "1f3a".into(),
        not_before: 1_735_689_600,
        not_after: 1_743_465_600,
        key: "ECDSA P-256".into(),
        spki_sha256: [0xa5; 32],
        default: true,
        staple: None,
    };
    let staple = Staple { this_update: 1_735_689_600, next_update: 1_736_294_400, served: true };
    let rsa =
        Certificate { key: "RSA 2048".into(), default: false, staple: Some(staple), ..certificate.clone() };
    let list =
        RevocationList { issuer: "CN=Example CA".into(), revoked: 3, next_update: Some(1_736_294_400) };
    let clients = TrustInClients {
        certificates: "required".into(),
        authorities: 2,
        pins: 0,
        revocation_lists: vec![list.clone(), RevocationList { next_update: None, ..list }],
    };
    let revoked = TlsReload {
        at_ms: TIME,
        trigger: "files".into(),
        outcome: ReloadOutcome::Changed,
        trust_changed: true,
        text: "published: trust in clients has changed".into(),
    };
    let text = "key does not match certificate: tls/server.key vs tls/server.pem";
    let refused = TlsReload {
        trigger: "request".into(),
        outcome: ReloadOutcome::Refused,
        trust_changed: false,
        text: text.into(),
        ..revoked.clone()
    };
    let status = TlsStatus {
        epoch: [0x5e; 32],
        certificates: vec![certificate, rsa],
        clients,
        resumption: "tickets".into(),
        reloads_accepted: 4,
        reloads_refused: 1,
        last_reload: Some(revoked),
    };
    let bare = TlsStatus {
        certificates: vec![],
        clients: TrustInClients { revocation_lists: vec![], ..status.clients.clone() },
        last_reload: None,
        ..status.clone()
    };
    vec![
        ("show-tls", Message::ShowTls(ShowTls {})),
        ("reload-tls", Message::ReloadTls(ReloadTls {})),
        ("tls-status", Message::TlsStatus(status.into())),
        ("tls-status-bare", Message::TlsStatus(bare.into())),
        ("tls-reloaded", Message::TlsReloaded(TlsReloaded { reload: refused, epoch: [0x5e; 32] })),
        (
            "error-no-longer-trusted",
            Message::Error(Fault::new(
                FaultCode::NoLongerTrusted,
                "the certificate of this connection was revoked: connect with another",
            )),
        ),
    ]
}
