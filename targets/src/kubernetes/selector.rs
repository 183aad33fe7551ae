//! Label selectors, as Kubernetes evaluates them. An empty one selects everything.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What labels must be like: all of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Expression>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Whether labels are so.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let equal = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        self.match_labels.iter().all(equal)
            && self
                .match_expressions
                .iter()
                .all(|expression| expression.holds(labels.get(&expression.key)))
    }
}

impl Expression {
    fn holds(&self, label: Option<&String>) -> bool {
        match self.operator {
            Operator::In => label.is_some_and(|label| self.values.contains(label)),
            // As in Kubernetes, also without the label.
            Operator::NotIn => label.is_none_or(|label| !self.values.contains(label)),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_selected() {
        let labels = BTreeMap::from([
            ("env".to_owned(), "dev".to_owned()),
            ("x".to_owned(), String::new()),
        ]);
        let expression = |key: &str, operator: &str, values: &str| {
            format!(
                r#"{{"matchExpressions":[{{"key":"{key}","operator":"{operator}","values":[{values}]}}]}}"#
            )
        };
        for (selector, expected) in [
            ("{}".to_owned(), true),
            (r#"{"matchLabels":{"env":"dev"}}"#.to_owned(), true),
            (r#"{"matchLabels":{"env":"dev","x":"1"}}"#.to_owned(), false),
            (r#"{"matchLabels":{"none":""}}"#.to_owned(), false),
            (expression("env", "In", r#""dev","test""#), true),
            (expression("env", "In", r#""test""#), false),
            (expression("none", "In", r#""""#), false),
            (expression("env", "NotIn", r#""test""#), true),
            (expression("env", "NotIn", r#""dev""#), false),
            (expression("none", "NotIn", r#""dev""#), true),
            (expression("x", "Exists", ""), true),
            (expression("none", "Exists", ""), false),
            (expression("none", "DoesNotExist", ""), true),
            (expression("x", "DoesNotExist", ""), false),
        ] {
            let read: Selector = serde_json::from_str(&selector).unwrap();
            assert_eq!(read.matches(&labels), expected, "{selector}");
        }
    }
}
