//! Walks the vectors in `transport/vectors/gcra.json` through the stores, by the time of their own clocks.

use std::collections::HashMap;
use std::time::Duration;

use sealstream_transport::gcra::{Decision, Limit, Role, Spend};
use sealstream_transport::testing::GCRA_VECTORS;
use serde_json::Value;

use super::key::{Key, Resource, Spender};
use super::memory::MemoryStore;
use super::store::RateStore;

pub(super) fn vectors() -> Value {
    serde_json::from_str(GCRA_VECTORS).unwrap()
}

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

fn key(name: &str) -> Key {
    Key { resource: Resource::Requests, spender: Spender::Identity(name.into()) }
}

/// Holds a decision against those of its fields that the step names; `late` is how far the store's clock may have gone on.
fn assert_decision(decision: Decision, step: &Value, late: Duration, place: &str) {
    if let Some(value) = step.get("allowed") {
        assert_eq!(decision.allowed, value.as_bool().unwrap(), "allowed of {place}: {step}");
    }
    if let Some(value) = step.get("remaining") {
        assert_eq!(decision.remaining, value.as_u64().unwrap(), "remaining of {place}: {step}");
    }
    for (field, found) in [("retry_in", decision.retry_in), ("reset_in", decision.reset_in)] {
        if let Some(value) = step.get(field) {
            let expected = millis(value);
            let near = found <= expected && found + late >= expected;
            assert!(near, "{field} of {place} is {found:?}: {step}");
        }
    }
}

fn costs<'a>(step: &'a Value, field: &str) -> Vec<(Key, &'a str, u64)> {
    let parts = step.get(field).and_then(Value::as_object);
    let parts = parts.into_iter().flatten();
    parts.map(|(name, cost)| (key(name), name.as_str(), cost.as_u64().unwrap())).collect()
}

/// Every transaction of the vectors. They take no time, but for what the store's clock does by itself.
pub(super) async fn walk_transactions(store: impl AsyncFn() -> Box<dyn RateStore>, late: Duration) {
    let vectors = vectors();
    let limits = limits(&vectors);
    for transaction in vectors["transactions"].as_array().unwrap() {
        let store = store().await;
        for (number, step) in transaction["steps"].as_array().unwrap().iter().enumerate() {
            let place = format!("step {number} of {}", transaction["name"]);
            let roles =
                [("spend", Role::Spend), ("check_only", Role::CheckOnly), ("spend_only", Role::SpendOnly)];
            let named: Vec<_> = roles
                .iter()
                .flat_map(|&(field, role)| costs(step, field).into_iter().map(move |part| (part, role)))
                .collect();
            let parts: Vec<_> = named
                .iter()
                .map(|((key, name, cost), role)| Spend {
                    key,
                    limit: &limits[*name],
                    cost: *cost,
                    role: *role,
                })
                .collect();
            if !parts.is_empty() {
                let verdict = store.transact(&parts).await.unwrap();
                assert_decision(verdict.decision, step, late, &place);
            }
            for (key, name, cost) in costs(step, "refund") {
                assert!(store.refund(&key, &limits[name], cost).await.unwrap().allowed, "{place}");
            }
            for (key, name, remaining) in costs(step, "then_remaining") {
                let parts = [Spend { key: &key, limit: &limits[name], cost: 0, role: Role::CheckOnly }];
                let left = store.transact(&parts).await.unwrap().decision.remaining;
                assert_eq!(left, remaining, "{name} after {place}");
            }
        }
    }
}

/// Every sequence of the vectors, with `advance` for the passing of time; it may refuse to pass more than it can.
pub(super) async fn walk_sequences(
    store: impl AsyncFn() -> Box<dyn RateStore>,
    advance: impl AsyncFn(Duration),
    late: Duration,
) {
    let vectors = vectors();
    let limits = limits(&vectors);
    for sequence in vectors["sequences"].as_array().unwrap() {
        let (store, key) = (store().await, key("sequence"));
        let limit = &limits[sequence["limit"].as_str().unwrap()];
        for (number, step) in sequence["steps"].as_array().unwrap().iter().enumerate() {
            advance(millis(&step["advance"])).await;
            let place = format!("step {number} of {}", sequence["name"]);
            let decision = match (step.get("spend"), step.get("refund")) {
                (Some(cost), None) => {
                    let cost = cost.as_u64().unwrap();
                    let part = |role| [Spend { key: &key, limit, cost, role }];
                    let checked = store.transact(&part(Role::CheckOnly)).await.unwrap();
                    assert_decision(checked.decision, step, late, &place);
                    store.transact(&part(Role::Spend)).await.unwrap().decision
                }
                (None, Some(cost)) => store.refund(&key, limit, cost.as_u64().unwrap()).await.unwrap(),
                _ => panic!("{place} neither spends nor refunds"),
            };
            assert_decision(decision, step, late, &place);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_in_memory_decides_every_vector_alike() {
    let store = async || Box::<MemoryStore>::default() as Box<dyn RateStore>;
    walk_transactions(store, Duration::ZERO).await;
    walk_sequences(store, async |time| tokio::time::advance(time).await, Duration::ZERO).await;
}
