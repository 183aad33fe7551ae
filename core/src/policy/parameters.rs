//! `required_parameters`, `allowed_parameters` and `denied_parameters` of a rule. It must not know paths.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// What a rule says about the fields of a request. Keys are lower case; an empty list of values stands for any value,
/// and the key `*` for any field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    /// Fields that must be there.
    pub required: BTreeSet<String>,
    /// If not empty: the only fields that may be there, with the values they may have.
    pub allowed: BTreeMap<String, Vec<Value>>,
    /// Fields that may not be there, or may not have these values.
    pub denied: BTreeMap<String, Vec<Value>>,
}

impl Parameters {
    /// Joins what another rule for the same path says. As in Vault, constraints add up: a rule without any does not
    /// lift those of another.
    pub fn merge(&mut self, other: &Self) {
        self.required.extend(other.required.iter().cloned());
        merge(&mut self.allowed, &other.allowed);
        merge(&mut self.denied, &other.denied);
    }

    /// The first field that stands in the way, by its name in the policy or the request.
    pub fn refused<'a>(&'a self, data: Option<&'a Map<String, Value>>) -> Option<&'a str> {
        let there = |name: &str| data.is_some_and(|data| data.contains_key(&name.to_lowercase()));
        if let Some(name) = self.required.iter().find(|name| !there(name)) {
            return Some(name);
        }
        let data = data?;
        let all_denied = self.denied.contains_key("*");
        let all_allowed = self.allowed.is_empty() || self.allowed.contains_key("*");
        data.iter().find_map(|(name, value)| {
            let key = name.to_lowercase();
            let denied = all_denied
                || self
                    .denied
                    .get(&key)
                    .is_some_and(|values| values.is_empty() || any_denied(values, value));
            let allowed = match self.allowed.get(&key) {
                Some(values) => values.is_empty() || values.iter().any(|allowed| same(allowed, value)),
                None => all_allowed,
            };
            (denied || !allowed).then_some(name.as_str())
        })
    }
}

/// Unites two sets of constraints; "any value" wins over a list of values.
fn merge(into: &mut BTreeMap<String, Vec<Value>>, from: &BTreeMap<String, Vec<Value>>) {
    for (key, values) in from {
        match into.get_mut(key) {
            None => {
                into.insert(key.clone(), values.clone());
            }
            Some(known) if known.is_empty() || values.is_empty() => known.clear(),
            Some(known) => known.extend(values.iter().cloned()),
        }
    }
}

/// Whether a value of a policy stands for a value of a request: equal, or a string that its glob matches.
fn same(policy: &Value, request: &Value) -> bool {
    match (policy, request) {
        (Value::String(glob), Value::String(text)) => glob_matches(glob, text),
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => policy == request,
    }
}

/// Whether any denied value is in `request`. Engines read `5` and `"5"`, and a list and its comma-separated text, as
/// the same: what is denied in one spelling is denied in all. (Vault compares the spelling it got.)
fn any_denied(denied: &[Value], request: &Value) -> bool {
    let spelled = |text: &str| {
        let same_text = |policy: &Value| match policy {
            Value::String(glob) => glob_matches(glob, text),
            Value::Number(number) => number.to_string() == text,
            Value::Bool(flag) => flag.to_string() == text,
            _ => false,
        };
        denied.iter().any(same_text)
    };
    denied.iter().any(|policy| same(policy, request))
        || match request {
            Value::String(text) => spelled(text) || text.split(',').any(|part| spelled(part.trim())),
            Value::Number(_) | Value::Bool(_) => spelled(&request.to_string()),
            Value::Array(items) => items.iter().any(|item| any_denied(denied, item)),
            Value::Null | Value::Object(_) => false,
        }
}

/// `*x`, `x*` and `*x*`; a single `*` is only itself, as in Vault.
fn glob_matches(glob: &str, text: &str) -> bool {
    if glob.len() < 2 {
        return glob == text;
    }
    match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
        (Some(rest), Some(_)) => text.contains(rest.strip_suffix('*').unwrap_or(rest)),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => glob == text,
    }
}
