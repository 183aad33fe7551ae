//! What a role's texts say, JSON or YAML: the rules of a role that is made, and by which labels namespaces are allowed. A word
//! that means nothing is an error: a right that is misspelt is one that is missing, a condition that is, one that does not hold.

use std::collections::BTreeMap;

use conclave_engine_api::Error;
use serde::{Deserialize, Serialize};

/// Most rules of one role.
const MAX_RULES: usize = 200;

/// One rule of a Role or ClusterRole.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Rule {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
    pub verbs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    rules: Vec<Rule>,
}

/// A label selector, as Kubernetes has them.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Selector {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    match_labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    match_expressions: Vec<Expression>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expression {
    key: String,
    operator: Operator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// The rules of `generated_role_rules`.
pub(super) fn rules(text: &str) -> Result<Vec<Rule>, Error> {
    let read: Result<Rules, _> = serde_saphyr::from_str(text);
    let read = read.map(|read| read.rules);
    read.ok().filter(|rules| rules.len() <= MAX_RULES).ok_or_else(|| {
        Error::invalid("failed to parse 'generated_role_rules' as k8s.io/api/rbac/v1/Policy object")
    })
}

/// The selector of `allowed_kubernetes_namespace_selector`.
pub(super) fn selector(text: &str) -> Result<Selector, Error> {
    let read: Result<Selector, _> = serde_saphyr::from_str(text);
    let complete = |expression: &Expression| match expression.operator {
        Operator::In | Operator::NotIn => !expression.values.is_empty(),
        Operator::Exists | Operator::DoesNotExist => expression.values.is_empty(),
    };
    let read = read.ok();
    read.filter(|selector| selector.match_expressions.iter().all(complete))
        .ok_or_else(|| {
            Error::invalid(
                "failed to parse 'allowed_kubernetes_namespace_selector' as k8s.io/api/meta/v1/LabelSelector object",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_json_or_yaml() {
        let json = r#"{"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]}"#;
        let yaml = "rules:\n- apiGroups: [\"\"]\n  resources: [pods]\n  verbs:\n  - get\n  - list\n";
        let read = rules(json).unwrap();
        assert_eq!(read, rules(yaml).unwrap());
        assert_eq!(
            serde_json::to_string(&read).unwrap(),
            r#"[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]"#
        );
        rules(r#"{"rules":[{"nonResourceURLs":["/healthz"],"verbs":["get"]}]}"#).unwrap();
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let nested = format!("rules: {}", "[".repeat(60_000));
        let bomb = "rules:\n- verbs: &a [x,x,x,x,x,x,x,x,x]\n- verbs: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n";
        for bad in [
            "",
            "rules: [",
            "rules: 5",
            "rules: []\nrules: []",
            "rules: []\n---\nrules: []",
            "rules:\n- verb: [get]",
            "rules:\n- verbs: get",
            "rules:\n- verbs: [[get]]",
            "roles: []",
            &nested,
            bomb,
        ] {
            assert!(rules(bad).is_err(), "{:.60}", bad);
        }
    }

    #[test]
    fn selectors_are_complete() {
        selector("matchLabels: {a: b}").unwrap();
        selector(r#"{"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]}"#).unwrap();
        for bad in [
            "{",
            "matchlabels: {a: b}",
            r#"{"matchExpressions":[{"key":"a","operator":"In"}]}"#,
            r#"{"matchExpressions":[{"key":"a","operator":"Exists","values":["b"]}]}"#,
            r#"{"matchExpressions":[{"key":"a","operator":"Gt","values":["1"]}]}"#,
        ] {
            assert!(selector(bad).is_err(), "{bad}");
        }
    }
}
