//! Certificates and keys: whether they are sound, for how long, for whom, and who can read what nobody should.

use std::path::PathBuf;

use super::finding::Finding;
use super::{DAY, date, time_left};

const CHECK: &str = "keys";

/// A certificate that ends within so many seconds is warned of, unless a third of its life is less: a week-end and the working days around
/// it.
const SOON: i64 = 14 * DAY;

/// What was found in the files.
#[derive(Debug)]
pub(in crate::cli) struct KeyFacts {
    /// Whether all of them load: certificates parse, chains are in order and in date, keys belong to them, CAs and lists are sound.
    pub(super) loaded: Result<(), String>,
    /// What would be served.
    pub(super) certificates: Vec<Served>,
    /// Whether the broker makes its own, which it has not done yet.
    pub(super) to_be_made: bool,
    /// Files that hold secrets, with their modes.
    pub(super) secrets: Vec<(PathBuf, u32)>,
    /// Revocation lists of clients' CAs: whose, and when the next one is due, in seconds since the Unix epoch.
    pub(super) lists: Vec<(String, Option<i64>)>,
    /// Whether nobody gets in whom a list covers that is past its time.
    pub(super) lists_enforced: bool,
    /// The name that clients use, and whether a certificate has it.
    pub(super) asked_for: Option<(String, bool)>,
}

/// A certificate that would be served.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Served {
    pub(super) file: String,
    /// As `tls show` has them: `DNS:localhost`.
    pub(super) names: Vec<String>,
    /// In seconds since the Unix epoch, like the next.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// The broker renews it while it runs.
    pub(super) renewed: bool,
    /// When the next OCSP response is due, where one is stapled to it.
    pub(super) staple_until: Option<i64>,
}

/// `now` is in seconds since the Unix epoch.
pub(super) fn judge(facts: &KeyFacts, now: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(fault) = &facts.loaded {
        findings.push(Finding::fail(CHECK, fault.clone(), None));
    }
    if facts.to_be_made {
        let text =
            "none are configured: the first start makes a development CA and a certificate for localhost"
                .to_owned();
        findings.push(Finding::ok(CHECK, text));
    }
    findings.extend(facts.certificates.iter().map(|served| certificate(served, now)));
    findings.extend(facts.certificates.iter().filter_map(|served| staple(served, now)));
    findings.extend(
        facts.lists.iter().filter_map(|(issuer, next)| list(issuer, *next, facts.lists_enforced, now)),
    );
    if let Some((name, false)) = &facts.asked_for {
        let text = format!("no certificate is for {name}, which clients ask for");
        let remedy = "have one issued with this name (tls.cert, tls.identity), or use in --url a name that a certificate has";
        findings.push(Finding::fail(CHECK, text, Some(remedy)));
    }
    findings.extend(facts.secrets.iter().filter_map(|(file, mode)| secret(file, *mode)));
    findings
}

fn certificate(served: &Served, now: i64) -> Finding {
    let Served { file, names, not_before, not_after, renewed, .. } = served;
    let (names, until) = (names.join(", "), date(*not_after));
    let left = not_after.saturating_sub(now);
    if left < 0 && *renewed {
        return Finding::ok(CHECK, format!("{file} ended on {until}; the next start renews it"));
    }
    if left < 0 {
        let text = format!("{file} ended on {until}; the clock here says {}", date(now));
        return Finding::fail(CHECK, text, Some("renew it, or set the clock"));
    }
    if *not_before > now {
        let text = format!("{file} begins on {}; the clock here says {}", date(*not_before), date(now));
        return Finding::fail(CHECK, text, Some("set the clock, or wait"));
    }
    let whom = if names.is_empty() { String::new() } else { format!("for {names}, and ") };
    let text = format!("{file} is {whom}good until {until}, for {}", time_left(left));
    let life = not_after.saturating_sub(*not_before);
    if !renewed && left < SOON.min(life / 3) {
        let remedy =
            "renew it: a file that is replaced is noticed (tls.watch), or run `sealstream tls reload`";
        return Finding::warn(CHECK, text, remedy);
    }
    Finding::ok(CHECK, text)
}

fn staple(served: &Served, now: i64) -> Option<Finding> {
    let until = served.staple_until.filter(|until| *until < now)?;
    let text = format!("the staple of {} ended on {}, and is not served any more", served.file, date(until));
    Some(Finding::warn(
        CHECK,
        text,
        "fetch the next OCSP response (tls.staple), and have that done by itself",
    ))
}

/// A revocation list whose successor is overdue.
fn list(issuer: &str, next: Option<i64>, enforced: bool, now: i64) -> Option<Finding> {
    let next = next.filter(|next| *next < now)?;
    let text = format!("the revocation list of {issuer} should have been replaced on {}", date(next));
    let remedy = "fetch the next one (tls.client_crl), and have that done by itself";
    Some(if enforced {
        let text = format!("{text}: no client of it gets in (tls.crl_expired)");
        Finding::fail(CHECK, text, Some(remedy))
    } else {
        Finding::warn(CHECK, format!("{text}: what was revoked since is let in"), remedy)
    })
}

fn secret(file: &std::path::Path, mode: u32) -> Option<Finding> {
    let what = match mode {
        mode if mode & 0o002 != 0 => "everybody on this machine can replace",
        mode if mode & 0o004 != 0 => "everybody on this machine can read",
        mode if mode & 0o020 != 0 => "its group can replace",
        // A group is how containers and services are let read what is theirs.
        _ => return None,
    };
    let text = format!("{what} {} (mode {:04o})", file.display(), mode & 0o7777);
    Some(Finding::warn(CHECK, text, &format!("chmod 0600 {}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn facts() -> KeyFacts {
        let served = Served {
            file: "server.pem".into(),
            names: vec!["DNS:a.example".into()],
            not_before: NOW - 30 * DAY,
            not_after: NOW + 60 * DAY,
            renewed: false,
            staple_until: Some(NOW + DAY),
        };
        KeyFacts {
            loaded: Ok(()),
            certificates: vec![served],
            to_be_made: false,
            secrets: vec![("server.key".into(), 0o100_600), ("tickets.secret".into(), 0o100_640)],
            lists: vec![("CN=clients".into(), Some(NOW + DAY)), ("CN=others".into(), None)],
            lists_enforced: false,
            asked_for: Some(("a.example".into(), true)),
        }
    }

    fn levels(change: impl FnOnce(&mut KeyFacts)) -> Vec<(Level, String)> {
        let mut facts = facts();
        change(&mut facts);
        judge(&facts, NOW).into_iter().map(|found| (found.level, found.to_string())).collect()
    }

    #[test]
    fn what_is_in_order_says_for_whom_and_for_how_long() {
        let found = levels(|_| {});
        assert!(
            matches!(&found[..], [(Level::Ok, text)] if text.contains("DNS:a.example") && text.contains("60 days")),
            "{found:?}"
        );
    }

    #[test]
    fn an_end_that_is_near_is_warned_of_and_not_where_the_broker_renews_it_or_lives_are_short() {
        let found = levels(|facts| facts.certificates[0].not_after = NOW + 13 * DAY);
        assert!(found[0].0 == Level::Warn && found[0].1.contains("tls reload"), "{found:?}");
        let found = levels(|facts| {
            facts.certificates[0].not_after = NOW + 13 * DAY;
            facts.certificates[0].renewed = true;
        });
        assert_eq!(found[0].0, Level::Ok);
        // A certificate of a day, renewed every few hours.
        let found = levels(|facts| {
            (facts.certificates[0].not_before, facts.certificates[0].not_after) =
                (NOW - DAY / 4, NOW + DAY / 2);
        });
        assert_eq!(found[0].0, Level::Ok, "{found:?}");
    }

    #[test]
    fn what_is_out_of_its_dates_fails_with_both_times() {
        let found = levels(|facts| facts.certificates[0].not_after = NOW - 5);
        assert!(
            found[0].0 == Level::Fail && found[0].1.contains("the clock here says 2027-01-15"),
            "{found:?}"
        );
        let found = levels(|facts| facts.certificates[0].not_before = NOW + 5);
        assert!(found[0].0 == Level::Fail && found[0].1.contains("begins on"), "{found:?}");
    }

    #[test]
    fn secrets_that_others_can_read_are_named_with_the_command_that_cures_it() {
        for (mode, words) in
            [(0o644, "everybody on this machine can read"), (0o666, "can replace"), (0o660, "its group")]
        {
            let found = levels(|facts| facts.secrets[0].1 = mode);
            assert!(
                found[1].0 == Level::Warn
                    && found[1].1.contains(words)
                    && found[1].1.contains("chmod 0600 server.key"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn lists_and_staples_past_their_time_are_told_and_fail_where_nobody_gets_in() {
        let old = |facts: &mut KeyFacts| facts.lists[0].1 = Some(NOW - DAY);
        let found = levels(old);
        assert!(found[1].0 == Level::Warn && found[1].1.contains("CN=clients"), "{found:?}");
        let found = levels(|facts| {
            old(facts);
            facts.lists_enforced = true;
        });
        assert!(found[1].0 == Level::Fail && found[1].1.contains("tls.crl_expired"), "{found:?}");
        let found = levels(|facts| facts.certificates[0].staple_until = Some(NOW - 1));
        assert!(found[1].0 == Level::Warn && found[1].1.contains("staple of server.pem"), "{found:?}");
    }

    #[test]
    fn a_name_that_no_certificate_has_and_files_that_do_not_load_fail() {
        let found = levels(|facts| facts.asked_for = Some(("b.example".into(), false)));
        assert!(
            found.iter().any(|(level, text)| *level == Level::Fail && text.contains("b.example")),
            "{found:?}"
        );
        let found = levels(|facts| facts.loaded = Err("key does not match".into()));
        assert_eq!(found[0].0, Level::Fail);
    }
}
