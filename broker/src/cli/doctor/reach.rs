//! Whether the broker answers, over either transport, who it is, and whom it takes us for.

use std::time::Duration;

use sealstream_transport::Scheme;

use super::finding::Finding;
use super::{date, time_left};

const CHECK: &str = "reach";

/// What came of dialling.
#[derive(Debug)]
pub(super) struct ReachFacts {
    /// The transport that the URL asks for; `auto` is content with either.
    pub(super) asked_for: Scheme,
    pub(super) ways: Vec<Way>,
    /// What the first broker that answered says that we may do.
    pub(super) rights: Option<Rights>,
}

/// One transport.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) scheme: Scheme,
    pub(super) url: String,
    pub(super) outcome: Result<Met, Unmet>,
}

/// Why there is no such broker.
#[derive(Clone, Debug)]
pub(super) struct Unmet {
    /// What was said, with its remedy where there is one.
    pub(super) fault: String,
    /// Whether nothing came back on this way: else it leads somewhere, and what is wrong is said.
    pub(super) silent: bool,
}

/// A broker that has welcomed us.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) connecting: Duration,
    pub(super) answering: Duration,
    /// Cipher suite, and the group of the key exchange where the session tells it.
    pub(super) sealed_by: String,
    /// The end of the broker's certificate, in seconds since the Unix epoch.
    pub(super) not_after: Option<i64>,
    pub(super) broker: String,
    pub(super) cluster: String,
    pub(super) identity: String,
}

/// What we may do with every topic, and with the broker itself.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    pub(super) identity: String,
    /// Actions, and whether they are allowed on `*`.
    pub(super) actions: Vec<(&'static str, bool)>,
}

/// `now` is in seconds since the Unix epoch.
pub(super) fn judge(facts: &ReachFacts, now: i64) -> Vec<Finding> {
    let met = |way: &Way| way.outcome.is_ok();
    // With `auto://` a client takes the way that works.
    let content = facts.asked_for == Scheme::Auto && facts.ways.iter().any(met);
    let mut findings: Vec<_> = facts.ways.iter().map(|way| one(way, facts.asked_for, content, now)).collect();
    findings.extend(facts.rights.as_ref().map(permissions));
    findings
}

fn one(way: &Way, asked_for: Scheme, content: bool, now: i64) -> Finding {
    match &way.outcome {
        Ok(met) => answered(way, met, now),
        Err(Unmet { fault, silent }) if content || (asked_for != Scheme::Auto && asked_for != way.scheme) => {
            let fault =
                if fault.contains(&way.url) { fault.clone() } else { format!("{}: {fault}", way.url) };
            let remedy = match way.scheme {
                _ if !silent => "only clients that take this way meet it",
                Scheme::Quic => {
                    "only clients of quic:// need this way: UDP that passes, and quic in the broker's `transports`"
                }
                Scheme::Tls | Scheme::Auto => {
                    "only clients of tls:// need this way: TCP that passes, and tls in the broker's `transports`"
                }
            };
            Finding::warn(CHECK, fault, remedy)
        }
        Err(Unmet { fault, .. }) => {
            let fault =
                if fault.contains(&way.url) { fault.clone() } else { format!("{}: {fault}", way.url) };
            Finding::fail(CHECK, fault, None)
        }
    }
}

fn answered(way: &Way, met: &Met, now: i64) -> Finding {
    let Met { connecting, answering, sealed_by, not_after, broker, cluster, identity } = met;
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    // Whether that is soon, only its whole life would say: some live for an hour.
    let left = |end: i64| {
        format!("; its certificate is good until {}, for {}", date(end), time_left(end.saturating_sub(now)))
    };
    let until = not_after.map(left).unwrap_or_default();
    let text = format!(
        "{}: broker {broker} of cluster {cluster} takes us for {identity}; connected in {:.1} ms, answered in {:.1} ms, {sealed_by}{until}",
        way.url,
        ms(connecting),
        ms(answering)
    );
    Finding::ok(CHECK, text)
}

fn permissions(rights: &Rights) -> Finding {
    let Rights { identity, actions } = rights;
    let allowed: Vec<_> = actions.iter().filter(|(_, allowed)| *allowed).map(|(action, _)| *action).collect();
    let text = match &allowed[..] {
        [] => format!(
            "{identity} may do nothing that holds for all topics; of one topic tells `sealstream auth check {identity} produce TOPIC`"
        ),
        allowed => format!("{identity} may {} on every topic (*)", allowed.join(", ")),
    };
    Finding::ok(CHECK, text)
}

#[cfg(test)]
mod tests {
    use super::super::DAY;
    use super::super::finding::Level;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn met() -> Met {
        Met {
            connecting: Duration::from_millis(2),
            answering: Duration::from_millis(1),
            sealed_by: "TLS_AES_128_GCM_SHA256".into(),
            not_after: Some(NOW + 90 * DAY),
            broker: "b".into(),
            cluster: "c".into(),
            identity: "anonymous".into(),
        }
    }

    fn levels(asked_for: Scheme, tls: Result<Met, Unmet>, quic: Result<Met, Unmet>) -> Vec<Level> {
        let way = |scheme: Scheme, outcome| Way { scheme, url: format!("{scheme}://a:1"), outcome };
        let ways = vec![way(Scheme::Tls, tls), way(Scheme::Quic, quic)];
        judge(&ReachFacts { asked_for, ways, rights: None }, NOW).iter().map(|found| found.level).collect()
    }

    fn unmet(fault: &str, silent: bool) -> Unmet {
        Unmet { fault: fault.to_owned(), silent }
    }

    #[test]
    fn udp_that_did_pass_is_not_blamed() {
        let told = |fault: Unmet| {
            let ways = vec![Way { scheme: Scheme::Quic, url: "quic://a:1".into(), outcome: Err(fault) }];
            judge(&ReachFacts { asked_for: Scheme::Tls, ways, rights: None }, NOW)[0].to_string()
        };
        assert!(told(unmet("it took longer", true)).contains("UDP that passes"));
        let refused = told(unmet("untrusted certificate", false));
        assert!(!refused.contains("UDP") && refused.contains("untrusted certificate"), "{refused}");
    }

    #[test]
    fn the_way_that_is_asked_for_must_lead_there_and_the_other_is_only_warned_of() {
        let (well, silent) = (Ok(met()), Err(unmet("silent", true)));
        let (ok, warn, fail) = (Level::Ok, Level::Warn, Level::Fail);
        for (scheme, tls, quic, expected) in [
            (Scheme::Tls, &well, &well, [ok, ok]),
            (Scheme::Tls, &well, &silent, [ok, warn]),
            (Scheme::Tls, &silent, &well, [fail, ok]),
            (Scheme::Quic, &well, &silent, [ok, fail]),
            (Scheme::Auto, &well, &silent, [ok, warn]),
            (Scheme::Auto, &silent, &well, [warn, ok]),
            (Scheme::Auto, &silent, &silent, [fail, fail]),
        ] {
            assert_eq!(levels(scheme, tls.clone(), quic.clone()), expected, "{scheme}");
        }
    }

    #[test]
    fn a_broker_that_answers_is_told_with_all_that_it_says_of_itself_and_us() {
        let way = Way { scheme: Scheme::Tls, url: "tls://a:1".into(), outcome: Ok(met()) };
        let found = answered(&way, &met(), NOW);
        for part in
            ["tls://a:1", "broker b of cluster c", "anonymous", "2.0 ms", "TLS_AES_128_GCM_SHA256", "90 days"]
        {
            assert!(found.text.contains(part), "{part}: {found}");
        }
    }

    #[test]
    fn what_we_may_do_is_told_and_that_it_is_little_is_no_fault() {
        let rights = |produce| Rights {
            identity: "token:x".into(),
            actions: vec![("produce", produce), ("admin", false)],
        };
        let found = permissions(&rights(true));
        assert!(found.text.contains("token:x may produce on every topic"), "{found}");
        let found = permissions(&rights(false));
        assert!(found.level == Level::Ok && found.text.contains("auth check"), "{found}");
    }
}
