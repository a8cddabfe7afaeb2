//! `health` and `tls show`: what a broker says of itself.

use std::time::Instant;

use jiff::Timestamp;
use sealstream_client::Client;
use sealstream_protocol::message::admin::{Certificate, TlsStatus};
use serde_json::json;

use super::args::{Health, TlsShow};
use super::connect::{SHORT, with_client};
use super::{Failure, output};
use crate::certificates::hex;

/// `health`: one session's Hello, without a second try for longer than the flag allows.
pub(super) fn health(args: &Health) -> Result<(), Failure> {
    let connection = &args.connection;
    with_client(connection, std::time::Duration::ZERO, |client| async move {
        let start = Instant::now();
        let welcome = client.hello().await?;
        let taken = start.elapsed();
        if connection.json {
            return output::json(&json!({
                "ok": true, "broker": welcome.broker, "cluster": welcome.cluster, "identity": welcome.identity,
                "version": welcome.version, "incarnation": welcome.incarnation.to_string(),
                "milliseconds": taken.as_secs_f64() * 1e3,
            }));
        }
        let (broker, cluster, identity) = (&welcome.broker, &welcome.cluster, &welcome.identity);
        output::line(format_args!(
            "ok: broker {broker} of cluster {cluster} answered in {:.1} ms and takes us for {identity}",
            taken.as_secs_f64() * 1e3
        ))
    })
}

/// `tls show`.
pub(super) fn tls(args: &TlsShow) -> Result<(), Failure> {
    let json = args.connection.json;
    with_client(&args.connection, SHORT, |client: Client| async move {
        let status = client.admin().show_tls().await?;
        if json { tls_json(&status) } else { tls_text(&status) }
    })
}

fn tls_json(status: &TlsStatus) -> Result<(), Failure> {
    let certificates: Vec<_> = status
        .certificates
        .iter()
        .map(|c| {
            json!({
                "subject": c.subject, "names": c.names, "issuer": c.issuer, "serial": c.serial,
                "not_before": output::time(c.not_before * 1000), "not_after": output::time(c.not_after * 1000),
                "spki_sha256": hex(&c.spki_sha256),
            })
        })
        .collect();
    output::json(&json!({ "certificates": certificates, "client_certificates": status.client_certificates }))
}

fn tls_text(status: &TlsStatus) -> Result<(), Failure> {
    for certificate in &status.certificates {
        output::line(format_args!("subject      {}", certificate.subject))?;
        output::line(format_args!("names        {}", certificate.names.join(", ")))?;
        output::line(format_args!("issuer       {}", certificate.issuer))?;
        output::line(format_args!("serial       {}", certificate.serial))?;
        output::line(format_args!("not before   {}", output::time(certificate.not_before * 1000)))?;
        output::line(format_args!(
            "not after    {} ({})",
            output::time(certificate.not_after * 1000),
            left(certificate)
        ))?;
        output::line(format_args!("key SHA-256  {}\n", hex(&certificate.spki_sha256)))?;
    }
    output::line(format_args!("client certificates: {}", status.client_certificates))
}

fn left(certificate: &Certificate) -> String {
    let seconds = certificate.not_after - Timestamp::now().as_second();
    if seconds < 0 {
        return "expired".into();
    }
    match seconds / 86_400 {
        0 => format!("{} hours left", seconds / 3600),
        days => format!("{days} days left"),
    }
}
