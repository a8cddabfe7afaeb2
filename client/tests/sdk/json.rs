//! Values as JSON.

use sealstream_client::{ConsumerRecord, json};

fn record(value: &'static str) -> ConsumerRecord {
    ConsumerRecord::new(3, 77, value)
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Order<'a> {
    id: u64,
    item: &'a str,
}

#[test]
fn a_value_goes_round_and_its_strings_are_borrowed_from_the_record() {
    let mut buffer = b"left over from before, and longer than what comes now".to_vec();
    json::encode_into(&Order { id: 7, item: "pears" }, &mut buffer).unwrap();
    assert_eq!(buffer, json::encode(&Order { id: 7, item: "pears" }).unwrap());
    let record = record(r#"{"id":7,"item":"pears"}"#);
    let order: Order<'_> = record.json().unwrap();
    assert_eq!(order, Order { id: 7, item: "pears" });
    assert!(record.value.as_ptr_range().contains(&order.item.as_ptr()), "a copy was made");
}

#[test]
fn a_value_that_is_something_else_is_told_by_its_place() {
    let error = record("no JSON").json::<u64>().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("the value at partition 3 offset 77 is not the JSON expected: "), "{text}");
    assert_eq!((error.partition, error.offset), (3, 77));
}
