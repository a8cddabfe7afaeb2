//! Walks the vectors in `vectors/gcra.json`: decisions as a limiter in production takes them.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::{Decision, Limit, Role, Spend, Table, Tat};

const VECTORS: &str = crate::testing::GCRA_VECTORS;

fn millis(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap())
}

fn limits(vectors: &Value) -> HashMap<String, Limit> {
    let limit = |limit: &Value| {
        let number = |field: &str| limit[field].as_u64().unwrap();
        Limit::new(number("count"), millis(&limit["period"]), number("burst")).unwrap()
    };
    let named = vectors["limits"].as_object().unwrap();
    named.iter().map(|(name, value)| (name.clone(), limit(value))).collect()
}

/// Holds a decision against those of its fields that the step names.
fn assert_decision(decision: Decision, step: &Value, place: &str) {
    let expected = |field: &str| step.get(field).map(|value| (value, format!("{field} of {place}: {step}")));
    if let Some((value, what)) = expected("allowed") {
        assert_eq!(decision.allowed, value.as_bool().unwrap(), "{what}");
    }
    if let Some((value, what)) = expected("remaining") {
        assert_eq!(decision.remaining, value.as_u64().unwrap(), "{what}");
    }
    if let Some((value, what)) = expected("retry_in") {
        assert_eq!(decision.retry_in, millis(value), "{what}");
    }
    if let Some((value, what)) = expected("reset_in") {
        assert_eq!(decision.reset_in, millis(value), "{what}");
    }
}

#[test]
fn every_sequence_of_the_vectors_decides_alike() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let limits = limits(&vectors);
    let sequences = vectors["sequences"].as_array().unwrap();
    assert!(!sequences.is_empty());
    for sequence in sequences {
        let limit = &limits[sequence["limit"].as_str().unwrap()];
        let (mut tat, mut now, table) = (Tat::default(), Duration::ZERO, Table::new(1024));
        for (number, step) in sequence["steps"].as_array().unwrap().iter().enumerate() {
            now += millis(&step["advance"]);
            let place = format!("step {number} of {}", sequence["name"]);
            let (pure, tabled) = match (step.get("spend"), step.get("refund")) {
                (Some(cost), None) => {
                    let cost = cost.as_u64().unwrap();
                    assert_decision(tat.check(limit, now, cost), step, &place);
                    assert_decision(table.check(now, &"key", limit, cost), step, &place);
                    (tat.spend(limit, now, cost), table.spend(now, &"key", limit, cost))
                }
                (None, Some(cost)) => {
                    let cost = cost.as_u64().unwrap();
                    (tat.refund(limit, now, cost), table.refund(now, &"key", limit, cost))
                }
                _ => panic!("{place} neither spends nor refunds"),
            };
            assert_decision(pure, step, &place);
            assert_decision(tabled, step, &place);
        }
    }
}

/// The parts of a step that have this role, as keys with their costs.
fn costs<'a>(step: &'a Value, field: &str) -> Vec<(&'a String, u64)> {
    let parts = step.get(field).and_then(Value::as_object);
    parts.into_iter().flatten().map(|(key, cost)| (key, cost.as_u64().unwrap())).collect()
}

#[test]
fn every_transaction_of_the_vectors_decides_alike() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let limits = limits(&vectors);
    let transactions = vectors["transactions"].as_array().unwrap();
    assert!(!transactions.is_empty());
    let now = Duration::ZERO;
    for transaction in transactions {
        assert_eq!(transaction["fresh_keys"], true);
        let table = Table::new(1024);
        for (number, step) in transaction["steps"].as_array().unwrap().iter().enumerate() {
            let place = format!("step {number} of {}", transaction["name"]);
            let roles =
                [("spend", Role::Spend), ("check_only", Role::CheckOnly), ("spend_only", Role::SpendOnly)];
            let parts: Vec<_> = roles
                .iter()
                .flat_map(|&(field, role)| costs(step, field).into_iter().map(move |part| (part, role)))
                .map(|((key, cost), role)| Spend { key, limit: &limits[key], cost, role })
                .collect();
            if !parts.is_empty() {
                assert_decision(table.transaction(now, &parts), step, &place);
            }
            for (key, cost) in costs(step, "refund") {
                assert!(table.refund(now, key, &limits[key], cost).allowed, "{place}");
            }
            for (key, remaining) in costs(step, "then_remaining") {
                let left = table.check(now, key, &limits[key], 0).remaining;
                assert_eq!(left, remaining, "{key} after {place}");
            }
        }
    }
}
