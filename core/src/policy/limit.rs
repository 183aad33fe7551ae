//! `pagination_limit` of a rule against the `limit` of a list request. It must not know paths.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What becomes of the `limit` field of a LIST or SCAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListLimit {
    /// It stays as it is.
    Keep,
    /// It must be set to this; 0 stands for "all".
    Set(u64),
    /// The request asks for more than the rule gives, or for nonsense.
    Refuse,
}

/// Decides by OpenBao's rules: without a limit the rule's own applies, unless the rule requires the field; `"max"` and
/// 0 stand for the most that the rule gives.
pub fn list_limit(
    rule: Option<u64>,
    required: &BTreeSet<String>,
    data: Option<&Map<String, Value>>,
) -> ListLimit {
    let asked = data.and_then(|data| data.get("limit"));
    let is_max = asked.and_then(Value::as_str) == Some("max");
    let Some(most) = rule else {
        return if is_max {
            ListLimit::Set(0)
        } else {
            ListLimit::Keep
        };
    };
    let Some(asked) = asked else {
        let required = required.iter().any(|name| name.to_lowercase() == "limit");
        return if required {
            ListLimit::Refuse
        } else {
            ListLimit::Set(most)
        };
    };
    if is_max {
        return ListLimit::Set(most);
    }
    let number = match asked {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(0) => ListLimit::Set(most),
        Some(number) if number <= most => ListLimit::Keep,
        _ => ListLimit::Refuse,
    }
}
