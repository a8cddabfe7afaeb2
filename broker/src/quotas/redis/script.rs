//! What goes into the scripts and what comes out of them. Pure.
//!
//! A script decides and stores. It returns what it went by, from which the same [`Tat`] as in memory works out the rest
//! of the answer: both count whole femtoseconds, so that they cannot disagree.

use std::time::Duration;

use redis::{Script, ScriptInvocation};
use sealstream_transport::gcra::{Decision, Limit, Role, Spend, Tat};

use crate::quotas::key::Key;
use crate::quotas::lease::{self, LEASE_TIME, Terms};
use crate::quotas::store::Verdict;

/// Femtoseconds of a microsecond, which is what the server's clock counts.
const MICRO: u128 = 1_000_000_000;

/// Both of them begin with this.
const CLOCK: &str = include_str!("clock.lua");

/// All that is asked of the server.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) spend: Script,
    pub(super) lease: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self::with_clock(CLOCK)
    }
}

impl Scripts {
    fn with_clock(clock: &str) -> Self {
        let script = |rest: &str| Script::new(&format!("{clock}\n{rest}"));
        Self { spend: script(include_str!("spend.lua")), lease: script(include_str!("lease.lua")) }
    }

    /// With the microseconds under a key for the server's clock.
    #[cfg(test)]
    pub(super) fn with_clock_under(key: &str) -> Self {
        let time = "redis.call('TIME')";
        assert_eq!(CLOCK.matches(time).count(), 1);
        Self::with_clock(&CLOCK.replace(time, &format!("{{ 0, redis.call('GET', '{key}') or 0 }}")))
    }
}

/// A transaction as the script takes it. `prefix` stands before each key.
pub(super) fn transaction<'a>(
    script: &'a Script,
    prefix: &str,
    parts: &[Spend<'_, Key>],
) -> ScriptInvocation<'a> {
    let mut invocation = script.prepare_invoke();
    for part in parts {
        let what = match part.role {
            Role::Spend => 0,
            Role::CheckOnly => 1,
            Role::SpendOnly => 2,
        };
        push(&mut invocation, prefix, part.key, what, part.limit, part.cost);
    }
    invocation
}

/// A refund as the script takes it.
pub(super) fn refund<'a>(
    script: &'a Script,
    prefix: &str,
    key: &Key,
    limit: &Limit,
    cost: u64,
) -> ScriptInvocation<'a> {
    let mut invocation = script.prepare_invoke();
    push(&mut invocation, prefix, key, 3, limit, cost);
    invocation
}

fn push(invocation: &mut ScriptInvocation<'_>, prefix: &str, key: &Key, what: u8, limit: &Limit, cost: u64) {
    let burst = limit.burst_offset();
    // What exceeds the burst is denied by however little, and a refund beyond it fills the bucket: the script need not
    // count what its numbers could not hold.
    let cost = limit.interval().saturating_mul(u128::from(cost)).min(burst + MICRO);
    let [cost_high, cost_low] = limbs(cost);
    let [burst_high, burst_low] = limbs(burst);
    invocation
        .key(format!("{prefix}{key}"))
        .arg(what)
        .arg(cost_high)
        .arg(cost_low)
        .arg(burst_high)
        .arg(burst_low);
}

/// An order of a lease as the script takes it, from this broker.
pub(super) fn lease<'a>(
    script: &'a Script,
    prefix: &str,
    key: &Key,
    broker: &str,
    terms: &Terms,
) -> ScriptInvocation<'a> {
    let mut invocation = script.prepare_invoke();
    invocation.key(format!("{prefix}{key}")).arg(broker);
    for time in [terms.held, terms.back, terms.burst] {
        let [high, low] = limbs(time);
        invocation.arg(high).arg(low);
    }
    invocation.arg(u64::try_from(LEASE_TIME.as_micros()).expect("a minute"));
    for amount in &terms.amounts {
        let [high, low] = limbs(*amount);
        invocation.arg(high).arg(low);
    }
    invocation
}

/// The answer to an order; `None` if it is none.
pub(super) fn leased(numbers: &[i64]) -> Option<lease::Reply> {
    let number = |index: usize| numbers.get(index).and_then(|number| u128::try_from(*number).ok());
    let reply = lease::Reply {
        granted: usize::try_from(*numbers.first()?).ok()?,
        now: number(1)? * MICRO,
        moment: number(2)? * MICRO + number(3)?,
    };
    (numbers.len() == 4).then_some(reply)
}

fn limbs(femtos: u128) -> [u64; 2] {
    let limb = |number: u128| u64::try_from(number).expect("a century has 3.2e15 microseconds");
    [limb(femtos / MICRO), limb(femtos % MICRO)]
}

/// What the script went by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    allowed: bool,
    now: Duration,
    tats: Vec<Tat>,
}

impl Reply {
    /// Reads an answer about so many keys; `None` if it is none.
    pub(super) fn read(numbers: &[i64], keys: usize) -> Option<Self> {
        let mut numbers = numbers.iter().map(|number| u64::try_from(*number));
        let mut next = || numbers.next()?.ok();
        let allowed = next()? == 1;
        let now = Duration::from_micros(next()?);
        let mut tats = Vec::with_capacity(keys);
        for _ in 0..keys {
            let (high, low) = (next()?, next()?);
            tats.push(Tat::from_femtos(u128::from(high) * MICRO + u128::from(low)));
        }
        next().is_none().then_some(Self { allowed, now, tats })
    }

    /// The answer to a transaction.
    pub(super) fn verdict(&self, parts: &[Spend<'_, Key>]) -> Verdict {
        let mut verdict = Verdict { decision: Decision::UNLIMITED, part: 0 };
        for (index, (part, tat)) in parts.iter().zip(&self.tats).enumerate() {
            if part.role == Role::SpendOnly {
                continue;
            }
            let decision = tat.check(part.limit, self.now, part.cost);
            if verdict.decision.stricter(decision) != verdict.decision {
                verdict = Verdict { decision, part: index };
            }
        }
        debug_assert_eq!(verdict.decision.allowed, self.allowed, "the script decides as the algorithm does");
        verdict.decision.allowed = self.allowed;
        verdict
    }

    /// The answer to a refund.
    pub(super) fn refunded(&self, limit: &Limit, cost: u64) -> Decision {
        let mut tat = self.tats.first().copied().unwrap_or_default();
        tat.refund(limit, self.now, cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_is_none_is_told_from_one() {
        assert!(Reply::read(&[1, 1_000, 2_000, 5], 1).is_some());
        for numbers in [&[][..], &[1], &[1, 1_000, 2_000], &[1, 1_000, 2_000, 5, 6], &[1, -1, 0, 0]] {
            assert_eq!(Reply::read(numbers, 1), None, "{numbers:?}");
        }
    }

    #[test]
    fn whatever_the_script_stores_is_a_number_that_it_can_hold() {
        let limit = Limit::new(1, sealstream_transport::gcra::MAX_REFILL, 1).unwrap();
        // In the year 2096. What is allowed is no later than the burst; what is denied is not stored.
        let now = 4_000_000_000 * 1_000_000;
        assert!(now + limbs(limit.burst_offset() + MICRO)[0] < 1 << 53);
    }
}
