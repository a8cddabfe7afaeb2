//! What is served and whom the broker trusts, as a client sees it.

use std::time::SystemTime;

use sealstream_protocol::message::admin::{
    Certificate, ReloadOutcome, RevocationList, Staple, TlsReload, TlsStatus, TrustInClients,
};
use sealstream_transport::tls::{Along, Published, Reload, Reloader, ServedIdentity, Snapshot, spki_sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::hex;

/// 32 names of a certificate are shown, the rest is counted: a name takes up to 260 bytes, so that
/// [`MAX_IDENTITIES`](crate::config::MAX_IDENTITIES) certificates fit a frame of 1 MiB.
const MAX_NAMES: usize = 32;

/// What is served by `snapshot`. What a certificate does not have is left empty; one that cannot be parsed is left out, which
/// cannot happen to one that is served.
pub(super) fn status(snapshot: &Snapshot, reloader: &Reloader) -> TlsStatus {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let lists = snapshot.client_revocations().summaries().iter().map(|list| RevocationList {
        issuer: list.issuer.clone(),
        revoked: count(list.revoked),
        next_update: list.next_update,
    });
    let (now, reloads) = (unix_ms(SystemTime::now()) / 1000, reloader.counts());
    let identities = snapshot.identities().iter().enumerate();
    TlsStatus {
        epoch: *snapshot.epoch().as_bytes(),
        certificates: identities
            .filter_map(|(index, identity)| certificate(identity, index == 0, now))
            .collect(),
        clients: TrustInClients {
            certificates: snapshot.client_auth().name().into(),
            authorities: count(snapshot.client_anchors()),
            pins: count(snapshot.client_pins()),
            revocation_lists: lists.collect(),
        },
        resumption: snapshot.resumption().into(),
        reloads_accepted: reloads.accepted,
        reloads_refused: reloads.refused,
        last_reload: reloader.last().as_ref().map(told),
    }
}

/// A reload, as clients are told of it.
pub(super) fn told(reload: &Reload) -> TlsReload {
    let (outcome, text) = match &reload.outcome {
        Ok(published) => outcome(*published, &reload.along),
        Err(fault) => (ReloadOutcome::Refused, fault.clone()),
    };
    TlsReload {
        at_ms: unix_ms(reload.at),
        trigger: reload.trigger.to_string(),
        outcome,
        trust_changed: matches!(reload.outcome, Ok(Published::TrustChanged)),
        text,
    }
}

/// What was published, what of the rest of the configuration has changed with it, and what of that waits for the next start.
fn outcome(published: Published, along: &Along) -> (ReloadOutcome, String) {
    let (mut outcome, files) = match published {
        Published::Unchanged => (ReloadOutcome::Unchanged, "the TLS files say what they said before"),
        Published::TrustChanged => (ReloadOutcome::Changed, "trust in clients has changed"),
        _ => (ReloadOutcome::Changed, "trust is the same as before"),
    };
    let mut parts = Vec::new();
    if !along.changed.is_empty() {
        outcome = ReloadOutcome::Changed;
        parts.push(format!("{} have changed", along.changed.join(" and ")));
    }
    parts.push(files.to_owned());
    match &*along.waiting {
        [] => {}
        [key] => parts.push(format!("{key} has changed and waits for the next start")),
        keys => parts.push(format!("{} have changed and wait for the next start", keys.join(", "))),
    }
    let text = parts.join("; ");
    (outcome, if outcome == ReloadOutcome::Changed { format!("published: {text}") } else { text })
}

fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `now` is in seconds since the Unix epoch.
fn certificate(identity: &ServedIdentity, default: bool, now: i64) -> Option<Certificate> {
    let der = identity.chain().first()?;
    let (_, leaf) = X509Certificate::from_der(der).ok()?;
    let staple = identity.staple().map(|staple| Staple {
        this_update: staple.this_update(),
        next_update: staple.next_update(),
        served: staple.is_fresh(now),
    });
    Some(Certificate {
        subject: leaf.subject().to_string(),
        names: names(&leaf),
        issuer: leaf.issuer().to_string(),
        serial: hex(without_sign(leaf.raw_serial())),
        not_before: leaf.validity().not_before.timestamp(),
        not_after: leaf.validity().not_after.timestamp(),
        key: kind_of_key(leaf.public_key()),
        spki_sha256: spki_sha256(der).ok()?,
        default,
        staple,
    })
}

/// A serial number without the zero byte that keeps DER from taking it for a negative one.
fn without_sign(serial: &[u8]) -> &[u8] {
    match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        _ => serial,
    }
}

/// In words: the algorithm, and the curve or the size where there are several.
fn kind_of_key(key: &SubjectPublicKeyInfo<'_>) -> String {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size()),
        // RFC 8410: it has no parameters, and the parser no name for it.
        _ if key.algorithm.algorithm.to_id_string() == "1.3.101.112" => "Ed25519".into(),
        _ => key.algorithm.algorithm.to_id_string(),
    }
}

/// The subject alternative names, as many as are shown.
pub(crate) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|san| san.value.general_names.iter().filter_map(shown).collect());
    let mut names: Vec<_> = names.unwrap_or_default();
    if names.len() > MAX_NAMES {
        let more = names.len() - MAX_NAMES;
        names.truncate(MAX_NAMES);
        names.push(format!("and {more} more"));
    }
    names
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};

    use super::*;

    fn parsed<T>(
        names: Vec<String>,
        algorithm: &'static SignatureAlgorithm,
        look: impl FnOnce(&X509Certificate<'_>) -> T,
    ) -> T {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        look(&X509Certificate::from_der(certificate.der()).unwrap().1)
    }

    #[test]
    fn the_kind_of_key_is_told_in_words() {
        for (algorithm, words) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, "ECDSA P-256"),
            (&PKCS_ECDSA_P384_SHA384, "ECDSA P-384"),
            (&PKCS_ED25519, "Ed25519"),
        ] {
            let found = parsed(vec!["a.example".into()], algorithm, |leaf| kind_of_key(leaf.public_key()));
            assert_eq!(found, words);
        }
    }

    #[test]
    fn a_reload_tells_what_has_changed_and_what_waits() {
        let said = |changed: &[&str], waiting: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            outcome(Published::Unchanged, &Along { changed: owned(changed), waiting: owned(waiting) })
        };
        let files = "the TLS files say what they said before";
        assert_eq!(said(&[], &[]), (ReloadOutcome::Unchanged, files.into()));
        assert_eq!(
            said(&["permissions", "quotas"], &[]),
            (ReloadOutcome::Changed, format!("published: permissions and quotas have changed; {files}"))
        );
        let waits = format!("{files}; listen has changed and waits for the next start");
        assert_eq!(said(&[], &["listen"]), (ReloadOutcome::Unchanged, waits));
        let (_, text) = said(&[], &["limits.idle", "listen"]);
        assert!(text.ends_with("limits.idle, listen have changed and wait for the next start"), "{text}");
    }

    #[test]
    fn names_beyond_the_bound_are_counted() {
        let many = (0..MAX_NAMES + 3).map(|n| format!("n{n}.example")).collect();
        let found = parsed(many, &PKCS_ED25519, names);
        assert_eq!(found.len(), MAX_NAMES + 1);
        assert_eq!(found[0], "DNS:n0.example");
        assert_eq!(found[MAX_NAMES], "and 3 more");
    }
}
