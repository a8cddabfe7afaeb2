//! Which keys hold as soon as the file is read anew, and which wait for the next start.

use toml::Table;

use super::Config;
use super::layers::flatten;

/// Keys, or the beginnings of keys, whose change holds at once.
const LIVE: [&str; 15] = [
    "auth.rule",
    "auth.token_identities",
    "limits.address_burst",
    "limits.address_rate",
    "limits.connections",
    "limits.handshakes",
    "limits.retry_above",
    "limits.unvalidated_burst",
    "limits.unvalidated_rate",
    "quotas.address",
    "quotas.consumed",
    "quotas.identity",
    "quotas.produced",
    "quotas.requests",
    "tls.",
];

/// Among these the keys that wait all the same.
const NOT_LIVE: [&str; 1] = ["tls.watch"];

impl Config {
    /// The keys, dotted and in order, that `next` has otherwise and that wait for the next start.
    pub(crate) fn waiting(&self, next: &Self) -> Vec<String> {
        let table =
            |config| flatten(&Table::try_from(config).expect("the configuration is made of what TOML has"));
        let (now, next) = (table(self), table(next));
        let differs = |key: &&String| now.get(*key) != next.get(*key);
        let mut waiting: Vec<_> =
            now.keys().chain(next.keys()).filter(differs).filter(|key| waits(key)).cloned().collect();
        waiting.sort();
        waiting.dedup();
        waiting
    }
}

fn waits(key: &str) -> bool {
    NOT_LIVE.contains(&key) || !LIVE.iter().any(|live| key.starts_with(live))
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;

    #[test]
    fn what_waits_for_the_next_start_is_told_by_name() {
        let started = Config::default();
        let mut next = started.clone();
        assert!(started.waiting(&next).is_empty());
        next.listen.clear();
        next.limits.connections += 1;
        next.limits.idle.0 *= 2;
        next.tls.watch = !next.tls.watch;
        next.tls.cert = Some("server.pem".into());
        next.traces.ca = Some("ca.pem".into());
        assert_eq!(started.waiting(&next), ["limits.idle", "listen", "tls.watch", "traces.ca"]);
    }

    #[test]
    fn every_key_that_is_live_is_a_key() {
        for live in LIVE.into_iter().chain(NOT_LIVE) {
            assert!(keys().iter().any(|key| key.starts_with(live)), "{live}");
        }
    }
}
