//! JSON bodies: within bounds or refused, numbers keep their digits, and what was read can be written and read again.

use conclave_server::http::{JsonLimits, parse_json};
use serde_json::Value;

pub fn run(bytes: &[u8]) {
    let limits = JsonLimits {
        values: 10_000,
        memory: 1 << 20,
    };
    let Ok(object) = parse_json(bytes, limits) else {
        return;
    };
    assert!(
        count(&Value::Object(object.clone())) <= 10_000,
        "more values than the limit"
    );
    let text = serde_json::to_vec(&object).expect("an object that can be written");
    let unbounded = JsonLimits {
        values: u64::MAX,
        memory: u64::MAX,
    };
    assert_eq!(parse_json(&text, unbounded).expect("its own text"), object);
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum::<usize>(),
        _ => 0,
    }
}
