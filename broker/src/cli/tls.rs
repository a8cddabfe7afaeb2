//! `tls show` and `tls reload`: what a broker serves and whom it trusts, and having it load that anew.

use jiff::Timestamp;
use sealstream_client::Client;
use sealstream_protocol::message::admin::{
    Certificate, ReloadOutcome, RevocationList, TlsReloaded, TlsStatus, TrustInClients,
};

use super::args::TlsArgs;
use super::connect::{SHORT, with_client};
use super::{Failure, output};
use crate::report;
use crate::tls::hex;

/// `tls show`.
pub(super) fn show(args: &TlsArgs) -> Result<(), Failure> {
    let json = args.connection.json;
    with_client(&args.connection, SHORT, |client: Client| async move {
        let status = client.admin().show_tls().await?;
        if json {
            return output::json(&report::tls(&status));
        }
        let now = Timestamp::now().as_second();
        lines(&status, now).into_iter().try_for_each(output::line)
    })
}

/// `tls reload`: a failure if nothing was published for a fault.
pub(super) fn reload(args: &TlsArgs) -> Result<(), Failure> {
    let json = args.connection.json;
    with_client(&args.connection, SHORT, |client: Client| async move {
        let TlsReloaded { reload, epoch } = client.admin().reload_tls().await?;
        if json {
            let mut value = report::reload(&reload);
            value["epoch"] = hex(&epoch).into();
            output::json(&value)?;
        }
        if reload.outcome == ReloadOutcome::Refused {
            let text = &reload.text;
            return Err(Failure::new(format!(
                "nothing was reloaded, what was served before still is: {text}"
            )));
        }
        if json {
            return Ok(());
        }
        output::line(format_args!("{}: {}", reload.outcome.name(), reload.text))?;
        output::line(format_args!("trust epoch  {}", hex(&epoch)))
    })
}

/// What is shown to people; `now` is in seconds since the Unix epoch.
fn lines(status: &TlsStatus, now: i64) -> Vec<String> {
    let mut lines = Vec::new();
    for certificate in &status.certificates {
        lines.extend(certificate_lines(certificate, now));
        lines.push(String::new());
    }
    lines.extend(client_lines(&status.clients, now));
    lines.push(format!("resumption    {}", status.resumption));
    lines.push(format!("trust epoch   {}", hex(&status.epoch)));
    lines.push(format!(
        "reloads       {} accepted, {} refused since the start",
        status.reloads_accepted, status.reloads_refused
    ));
    if let Some(last) = &status.last_reload {
        let (at, trigger, outcome) = (output::time(last.at_ms), &last.trigger, last.outcome.name());
        lines.push(format!("last reload   {at} by {trigger}: {outcome}: {}", last.text));
    }
    lines
}

fn certificate_lines(certificate: &Certificate, now: i64) -> Vec<String> {
    let shown_to = if certificate.default { "its names, and whoever asks for no other" } else { "its names" };
    let staple = match certificate.staple {
        None => "none".into(),
        Some(staple) if staple.served => {
            format!("served, next update {} ({})", time(staple.next_update), left(staple.next_update, now))
        }
        Some(staple) => format!("stale since {}: not served", time(staple.next_update)),
    };
    vec![
        format!("subject       {}", certificate.subject),
        format!("names         {}", certificate.names.join(", ")),
        format!("shown to      {shown_to}"),
        format!("issuer        {}", certificate.issuer),
        format!("serial        {}", certificate.serial),
        format!("not before    {}", time(certificate.not_before)),
        format!("not after     {} ({})", time(certificate.not_after), left(certificate.not_after, now)),
        format!("key           {}", certificate.key),
        format!("key SHA-256   {}", hex(&certificate.spki_sha256)),
        format!("OCSP staple   {staple}"),
    ]
}

fn client_lines(clients: &TrustInClients, now: i64) -> Vec<String> {
    let mut lines = vec![format!("client certs  {}", clients.certificates)];
    if clients.authorities > 0 {
        lines.push(format!("client CAs    {}", clients.authorities));
    }
    if clients.pins > 0 {
        lines.push(format!("client pins   {}: no other key is accepted", clients.pins));
    }
    let revocation = |list: &RevocationList| {
        let next = match list.next_update {
            Some(at) => format!("next update {} ({})", time(at), left(at, now)),
            None => "no next update".into(),
        };
        format!("client CRL    {}: {} revoked, {next}", list.issuer, list.revoked)
    };
    lines.extend(clients.revocation_lists.iter().map(revocation));
    lines
}

fn time(seconds: i64) -> String {
    output::time(seconds.saturating_mul(1000))
}

fn left(until: i64, now: i64) -> String {
    let seconds = until.saturating_sub(now);
    if seconds < 0 {
        return "over".into();
    }
    let (number, unit) = match seconds / 86_400 {
        0 => (seconds / 3600, "hour"),
        days => (days, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural} left")
}

#[cfg(test)]
mod tests {
    use sealstream_protocol::message::admin::{Staple, TlsReload};

    use super::*;

    const DAY: i64 = 86_400;

    fn certificate(staple: Option<Staple>) -> Certificate {
        Certificate {
            subject: "CN=a".into(),
            names: vec!["DNS:a.example".into()],
            issuer: "CN=CA".into(),
            serial: "1".into(),
            not_before: 0,
            not_after: 30 * DAY,
            key: "RSA 2048".into(),
            spki_sha256: [0xab; 32],
            default: false,
            staple,
        }
    }

    #[track_caller]
    fn shows(lines: &[String], text: &str) {
        assert!(lines.iter().any(|line| line.contains(text)), "{text} is not in {lines:#?}");
    }

    #[test]
    fn a_certificate_shows_its_key_what_is_left_of_it_and_its_staple() {
        let lines = certificate_lines(&certificate(None), 10 * DAY);
        shows(&lines, "RSA 2048");
        shows(&lines, "20 days left");
        shows(&lines, "OCSP staple   none");
        let staple = Staple { this_update: 0, next_update: 7 * DAY, served: true };
        shows(
            &certificate_lines(&certificate(Some(staple)), 7 * DAY - 7200),
            "1970-01-08T00:00:00Z (2 hours left)",
        );
        let old = Staple { served: false, ..staple };
        shows(
            &certificate_lines(&certificate(Some(old)), 8 * DAY),
            "stale since 1970-01-08T00:00:00Z: not served",
        );
        shows(&certificate_lines(&certificate(None), 31 * DAY), "(over)");
    }

    #[test]
    fn trust_shows_its_lists_and_the_last_reload_its_fault() {
        let list = RevocationList { issuer: "CN=CA".into(), revoked: 3, next_update: Some(2 * DAY) };
        let clients = TrustInClients {
            certificates: "required".into(),
            authorities: 2,
            pins: 1,
            revocation_lists: vec![list],
        };
        let refused = TlsReload {
            at_ms: 0,
            trigger: "files".into(),
            outcome: ReloadOutcome::Refused,
            trust_changed: false,
            text: "tls/server.pem: no certificate in it".into(),
        };
        let status = TlsStatus {
            epoch: [0x5e; 32],
            certificates: Vec::new(),
            clients,
            resumption: "tickets".into(),
            reloads_accepted: 4,
            reloads_refused: 1,
            last_reload: Some(refused),
        };
        let shown = lines(&status, DAY);
        shows(&shown, "client CRL    CN=CA: 3 revoked, next update 1970-01-03T00:00:00Z (1 day left)");
        shows(&shown, "client pins   1: no other key is accepted");
        shows(&shown, "4 accepted, 1 refused");
        shows(&shown, "by files: refused: tls/server.pem: no certificate in it");
        shows(&shown, &"5e".repeat(32));
    }
}
