//! A value held against a shape of docs/json.md.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Where and why the value does not fit, or `None`.
pub(super) fn fault(shape: &Value, value: &Value) -> Option<String> {
    match (shape, value) {
        (Value::Object(shape), Value::Object(value)) => fault_of_object(shape, value),
        (Value::Array(shape), Value::Array(items)) => {
            let [shape] = &shape[..] else { panic!("a list has one shape: {shape:?}") };
            items.iter().enumerate().find_map(|(at, item)| Some(format!("[{at}]{}", fault(shape, item)?)))
        }
        (Value::String(kinds), value) => fault_of_kind(kinds, value),
        (shape, value) => Some(format!(": {value} instead of {shape}")),
    }
}

fn fault_of_object(shape: &Map<String, Value>, value: &Map<String, Value>) -> Option<String> {
    let (wanted, found): (BTreeSet<_>, BTreeSet<_>) = (shape.keys().collect(), value.keys().collect());
    if wanted != found {
        let missing: Vec<_> = wanted.difference(&found).collect();
        let unknown: Vec<_> = found.difference(&wanted).collect();
        return Some(format!(": without {missing:?}, and with {unknown:?}"));
    }
    shape.iter().find_map(|(key, shape)| Some(format!(".{key}{}", fault(shape, &value[key])?)))
}

fn fault_of_kind(kind: &str, value: &Value) -> Option<String> {
    let fits = match kind.strip_suffix('?') {
        Some(kind) => value.is_null() || fits(kind, value),
        None => fits(kind, value),
    };
    (!fits).then(|| format!(": {value} instead of {kind}"))
}

fn fits(kind: &str, value: &Value) -> bool {
    let text = value.as_str();
    match kind {
        "text" => text.is_some(),
        "whole" | "ms" => value.as_u64().is_some(),
        "number" => value.is_number(),
        "flag" => value.is_boolean(),
        "true" => value == &Value::Bool(true),
        "uuid" => text.is_some_and(|text| uuid::Uuid::parse_str(text).is_ok()),
        "hex" => text.is_some_and(|text| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit())),
        "time" => text.is_some_and(|text| text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()),
        "bytes" => text.is_some() || value.get("base64").is_some_and(Value::is_string),
        "table" => value.is_object(),
        words => text.is_some_and(|text| words.split('|').any(|word| word == text)),
    }
}

#[test]
fn what_does_not_fit_is_named_by_its_place() {
    let shape = serde_json::json!({ "a": [{ "b": "whole?" }], "c": "x|y" });
    let told = |value: Value| fault(&shape, &value);
    assert_eq!(told(serde_json::json!({ "a": [{ "b": 1 }, { "b": null }], "c": "y" })), None);
    for (value, place) in [
        (serde_json::json!({ "a": [{ "b": -1 }], "c": "x" }), ".a[0].b"),
        (serde_json::json!({ "a": [], "c": "z" }), ".c"),
        (serde_json::json!({ "a": [] }), "without [\"c\"]"),
        (serde_json::json!({ "a": [], "c": "x", "d": 1 }), "with [\"d\"]"),
    ] {
        let fault = told(value).unwrap();
        assert!(fault.contains(place), "{fault}");
    }
}
