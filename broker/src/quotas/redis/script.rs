//! What goes into the script and what comes out of it. Pure.
//!
//! The script decides and stores. It returns what it went by, from which the same [`Tat`] as in memory works out the rest
//! of the answer: both count whole femtoseconds, so that they cannot disagree.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Script, ScriptInvocation};
use sealstream_transport::gcra::{Decision, Limit, Role, Spend, Tat};

use crate::quotas::key::Key;
use crate::quotas::store::Verdict;

/// Femtoseconds of a microsecond, which is what the server's clock counts.
const MICRO: u128 = 1_000_000_000;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("spend.lua")));

/// A transaction as the script takes it. `prefix` stands before each key.
pub(super) fn transaction(prefix: &str, parts: &[Spend<'_, Key>]) -> ScriptInvocation<'static> {
    let mut invocation = SCRIPT.prepare_invoke();
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
pub(super) fn refund(prefix: &str, key: &Key, limit: &Limit, cost: u64) -> ScriptInvocation<'static> {
    let mut invocation = SCRIPT.prepare_invoke();
    push(&mut invocation, prefix, key, 3, limit, cost);
    invocation
}

fn push(
    invocation: &mut ScriptInvocation<'static>,
    prefix: &str,
    key: &Key,
    what: u8,
    limit: &Limit,
    cost: u64,
) {
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
    fn the_longest_burst_and_the_greatest_cost_are_numbers_that_the_script_can_add() {
        let limit = Limit::new(1, sealstream_transport::gcra::MAX_REFILL, 1).unwrap();
        let cost = limit.interval().saturating_mul(u128::from(u64::MAX)).min(limit.burst_offset() + MICRO);
        // In the year 2096, with a full burst spent already.
        let now = 4_000_000_000 * 1_000_000;
        let most = now + limbs(limit.burst_offset())[0] + limbs(cost)[0];
        assert!(most < 1 << 53, "{most}");
    }
}
