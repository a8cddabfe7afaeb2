//! Certificates and trust, as JSON.

use jiff::Timestamp;
use sealstream_protocol::message::admin::{Certificate, TlsReload, TlsStatus};
use serde_json::{Value, json};

use crate::tls::hex;

/// What a broker serves and whom it trusts, as `sealstream tls show --json` shows it.
pub(crate) fn tls(status: &TlsStatus) -> Value {
    let clients = &status.clients;
    let lists: Vec<_> = clients
        .revocation_lists
        .iter()
        .map(|list| {
            json!({ "issuer": list.issuer, "revoked": list.revoked, "next_update": list.next_update.map(time) })
        })
        .collect();
    json!({
        "epoch": hex(&status.epoch),
        "certificates": status.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "client_certificates": clients.certificates,
        "client_authorities": clients.authorities,
        "client_pins": clients.pins,
        "revocation_lists": lists,
        "resumption": status.resumption,
        "reloads": {
            "accepted": status.reloads_accepted,
            "refused": status.reloads_refused,
            "last": status.last_reload.as_ref().map(reload),
        },
    })
}

fn certificate(certificate: &Certificate) -> Value {
    let staple = certificate.staple.map(|staple| {
        json!({
            "this_update": time(staple.this_update), "next_update": time(staple.next_update), "served": staple.served,
        })
    });
    json!({
        "subject": certificate.subject, "names": certificate.names, "issuer": certificate.issuer,
        "serial": certificate.serial, "not_before": time(certificate.not_before),
        "not_after": time(certificate.not_after), "key": certificate.key,
        "spki_sha256": hex(&certificate.spki_sha256), "default": certificate.default, "staple": staple,
    })
}

/// A reload.
pub(crate) fn reload(reload: &TlsReload) -> Value {
    json!({
        "at": time_ms(reload.at_ms), "trigger": reload.trigger, "outcome": reload.outcome.name(),
        "trust_changed": reload.trust_changed, "text": reload.text,
    })
}

/// Seconds since the Unix epoch as RFC 3339 in UTC.
fn time(seconds: i64) -> String {
    time_ms(seconds.saturating_mul(1000))
}

/// The same for milliseconds.
fn time_ms(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}
