//! Who may spend how much: defaults for every identity, overrides by pattern, and limits for every address. Pure.
//!
//! Each identity and each address has buckets of its own; a pattern says how large those of the identities are that it
//! fits, it does not make them share one. Of several patterns that fit **the most specific wins**: an exact one before
//! any that ends in `*`, of those the longest. It wins alone: what it does not say comes from the defaults, not from
//! the next pattern.

use sealstream_transport::gcra::Limit;

/// 4,096 patterns: a session looks through them once, in some ten microseconds.
pub const MAX_OVERRIDES: usize = 4096;

/// Limits by resource. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes of batches.
    pub produced: Option<Limit>,
    /// Bytes of entries.
    pub consumed: Option<Limit>,
    /// Requests.
    pub requests: Option<Limit>,
}

impl Rates {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// What a pattern says about one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// Nothing: the default holds.
    #[default]
    Nothing,
    /// There is no limit.
    Unlimited,
    /// This is the limit.
    Limited(Limit),
}

impl Said {
    fn over(self, default: Option<Limit>) -> Option<Limit> {
        match self {
            Self::Nothing => default,
            Self::Unlimited => None,
            Self::Limited(limit) => Some(limit),
        }
    }
}

/// The limits of the identities that a pattern fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Exact, or ending in `*`, which stands for any rest.
    pub pattern: String,
    /// Bytes of batches.
    pub produced: Said,
    /// Bytes of entries.
    pub consumed: Said,
    /// Requests.
    pub requests: Said,
}

impl Override {
    /// How specific it is, if it fits: greater is more.
    fn fits(&self, identity: &str) -> Option<usize> {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => identity.starts_with(prefix).then_some(prefix.len()),
            None => (self.pattern == identity).then_some(usize::MAX),
        }
    }
}

/// All quotas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Of every identity.
    pub defaults: Rates,
    /// Of those that a pattern fits; at most [`MAX_OVERRIDES`].
    pub overrides: Vec<Override>,
    /// Of every address, besides those of the identity.
    pub address: Rates,
}

impl Rules {
    /// What an identity may spend.
    pub fn of(&self, identity: &str) -> Rates {
        let fitting = self.overrides.iter().filter_map(|rule| Some((rule.fits(identity)?, rule)));
        // The last of two that are equal: they say the same pattern twice, which the configuration refuses.
        let Some((_, rule)) = fitting.max_by_key(|(specific, _)| *specific) else { return self.defaults };
        Rates {
            produced: rule.produced.over(self.defaults.produced),
            consumed: rule.consumed.over(self.defaults.consumed),
            requests: rule.requests.over(self.defaults.requests),
        }
    }

    /// Whether nothing is limited for anybody.
    pub fn is_unlimited(&self) -> bool {
        let silent = |rule: &Override| {
            [rule.produced, rule.consumed, rule.requests].iter().all(|said| !matches!(said, Said::Limited(_)))
        };
        self.defaults.is_unlimited() && self.address.is_unlimited() && self.overrides.iter().all(silent)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limit(count: u64) -> Limit {
        Limit::new(count, Duration::from_secs(1), count).unwrap()
    }

    fn requests(pattern: &str, said: Said) -> Override {
        Override { pattern: pattern.into(), produced: Said::Nothing, consumed: Said::Nothing, requests: said }
    }

    #[test]
    fn the_most_specific_pattern_wins_in_any_order() {
        let mut rules = Rules {
            defaults: Rates { requests: Some(limit(1)), ..Rates::default() },
            overrides: vec![
                requests("dns:*", Said::Limited(limit(2))),
                requests("dns:writer", Said::Limited(limit(4))),
                requests("dns:writer*", Said::Limited(limit(3))),
                requests("cn:free", Said::Unlimited),
            ],
            address: Rates::default(),
        };
        for _ in 0..2 {
            for (identity, expected) in [
                ("anonymous", Some(1)),
                ("dns:reader", Some(2)),
                ("dns:", Some(2)),
                ("dns:writer-2", Some(3)),
                ("dns:writer", Some(4)),
                ("cn:free", None),
                ("cn:freer", Some(1)),
            ] {
                assert_eq!(rules.of(identity).requests, expected.map(limit), "{identity}");
            }
            rules.overrides.reverse();
        }
    }

    #[test]
    fn what_the_winning_pattern_does_not_say_comes_from_the_defaults_not_from_the_next_pattern() {
        let rules = Rules {
            defaults: Rates { produced: Some(limit(10)), requests: Some(limit(1)), ..Rates::default() },
            overrides: vec![
                Override { produced: Said::Limited(limit(20)), ..requests("a*", Said::Nothing) },
                requests("ab*", Said::Limited(limit(2))),
            ],
            address: Rates::default(),
        };
        assert_eq!(rules.of("abc").produced, Some(limit(10)));
        assert_eq!(rules.of("abc").requests, Some(limit(2)));
        assert_eq!(rules.of("ac").produced, Some(limit(20)));
    }

    #[test]
    fn rules_that_limit_nobody_are_told_from_those_that_limit_one() {
        let mut rules = Rules::default();
        assert!(rules.is_unlimited());
        rules.overrides.push(requests("a", Said::Unlimited));
        assert!(rules.is_unlimited());
        rules.overrides.push(requests("b", Said::Limited(limit(1))));
        assert!(!rules.is_unlimited());
    }
}
