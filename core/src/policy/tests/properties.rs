//! Random policies and paths: the compiled ACL agrees with a naive reading of the documentation, a deny never widens
//! access, and any text gives an answer.

use std::cmp::Ordering;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{acl, ask, policy};
use crate::policy::{Acl, CheckRequest, Operation, Policy};

const OPERATIONS: [Operation; 7] = [
    Operation::Create,
    Operation::Read,
    Operation::Update,
    Operation::Patch,
    Operation::Delete,
    Operation::List,
    Operation::Scan,
];

/// A rule of the reference: path and capabilities. `deny` stands alone.
type Rule = (String, Vec<&'static str>);

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("ab"), Just("A"), Just("abc")].prop_map(String::from)
}

fn path() -> impl Strategy<Value = String> {
    (proptest::collection::vec(segment(), 1..5), any::<bool>())
        .prop_map(|(segments, slash)| segments.join("/") + if slash { "/" } else { "" })
}

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![3 => segment(), 2 => Just("+".to_owned())];
    let end = prop_oneof![Just(""), Just("/"), Just("*"), Just("/*")];
    (proptest::collection::vec(segment, 0..4), end).prop_map(|(segments, end)| {
        let path = segments.join("/");
        // A leading slash is the same path: the tables have that case.
        let end = if path.is_empty() {
            end.trim_start_matches('/')
        } else {
            end
        };
        if path.ends_with('+') && end == "*" {
            path + "/*"
        } else {
            path + end
        }
    })
}

fn capabilities() -> impl Strategy<Value = Vec<&'static str>> {
    let grants = vec!["create", "read", "update", "patch", "delete", "list", "scan"];
    prop_oneof![3 => proptest::sample::subsequence(grants, 1..4), 1 => Just(vec!["deny"])]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    proptest::collection::vec((pattern(), capabilities()), 0..8)
}

fn text(rules: &[Rule]) -> String {
    rules
        .iter()
        .map(|(path, grants)| format!("path {path:?} {{ capabilities = {grants:?} }}\n"))
        .collect()
}

/// Matching one character at a time, without any of the ACL's structures.
fn naive_match(pattern: &str, path: &str) -> bool {
    fn step(pattern: &[u8], path: &[u8], at_start: bool) -> bool {
        match pattern {
            [] => path.is_empty(),
            [b'*'] => true,
            [b'+', rest @ ..] if at_start && (rest.is_empty() || rest[0] == b'/') => {
                let end = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
                step(rest, &path[end..], false)
            }
            [first, rest @ ..] => path.first() == Some(first) && step(rest, &path[1..], *first == b'/'),
        }
    }
    step(pattern.as_bytes(), path.as_bytes(), true)
}

/// The documented priority, spelled out rule by rule. Exact paths are above all.
fn naive_priority(one: &str, two: &str) -> Ordering {
    let wild = |p: &str| p.split('/').any(|s| s == "+") || p.ends_with('*');
    let first = |p: &str| {
        let mut at = 0;
        for segment in p.split('/') {
            if segment == "+" {
                return at;
            }
            at += segment.len() + 1;
        }
        p.trim_end_matches('*').len()
    };
    let plus = |p: &str| p.trim_end_matches('*').split('/').filter(|s| *s == "+").count();
    let body = |p: &str| p.trim_end_matches('*').to_owned();
    wild(two)
        .cmp(&wild(one))
        .then(first(one).cmp(&first(two)))
        .then(two.ends_with('*').cmp(&one.ends_with('*')))
        .then(plus(two).cmp(&plus(one)))
        .then(body(one).len().cmp(&body(two).len()))
        .then(body(one).cmp(&body(two)))
}

/// Tries every rule; answers whether the operation is allowed.
fn naive_check(rules: &[Rule], operation: Operation, path: &str) -> bool {
    let lists = matches!(operation, Operation::List | Operation::Scan);
    let bare = path.trim_end_matches('/').to_owned();
    let spellings = if lists {
        vec![format!("{bare}/"), bare]
    } else {
        vec![path.to_owned()]
    };
    let exact = |p: &str| !p.ends_with('*') && p.split('/').all(|s| s != "+");
    // OpenBao's order: exact for each spelling, then patterns for each spelling.
    let mut found: Option<&str> = None;
    for wants_exact in [true, false] {
        for spelling in &spellings {
            if found.is_none() {
                found = rules
                    .iter()
                    .map(|(pattern, _)| pattern.as_str())
                    .filter(|pattern| exact(pattern) == wants_exact && naive_match(pattern, spelling))
                    .max_by(|a, b| naive_priority(a, b));
            }
        }
    }
    let Some(found) = found else { return false };
    let of_path = || {
        rules
            .iter()
            .filter(|(pattern, _)| pattern == found)
            .flat_map(|(_, grants)| grants)
    };
    // Any deny that matches in any spelling or case and is not less specific holds.
    let denied = rules
        .iter()
        .filter(|(_, grants)| grants == &["deny"])
        .any(|(pattern, _)| {
            let folded = pattern.to_lowercase();
            naive_priority(&folded, &found.to_lowercase()) != Ordering::Less
                && spellings
                    .iter()
                    .any(|spelling| naive_match(&folded, &spelling.to_lowercase()))
        });
    !denied && of_path().all(|grant| *grant != "deny") && of_path().any(|grant| *grant == operation.name())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_naive_reading(rules in rules(), split in 0usize..8, paths in proptest::collection::vec(path(), 12)) {
        let split = split.min(rules.len());
        let acl = acl(&[&text(&rules[..split]), &text(&rules[split..])]);
        for path in &paths {
            for operation in OPERATIONS {
                let decision = ask(&acl, operation, path);
                prop_assert_eq!(
                    decision.allowed,
                    naive_check(&rules, operation, path),
                    "{:?} {} {:?}\n{}", operation, path, decision, text(&rules)
                );
            }
        }
    }

    #[test]
    fn a_deny_never_widens_access(rules in rules(), denied in pattern(), paths in proptest::collection::vec(path(), 12)) {
        let before = acl(&[&text(&rules)]);
        let deny = text(&[(denied, vec!["deny"])]);
        let after = acl(&[&text(&rules), &deny]);
        for path in &paths {
            for operation in OPERATIONS {
                let (before, after) = (ask(&before, operation, path), ask(&after, operation, path));
                prop_assert!(before.allowed || !after.allowed, "{operation:?} {path} {after:?}\n{}{deny}", text(&rules));
            }
        }
    }

    /// What `sys/capabilities` tells is what a check gives.
    #[test]
    fn capabilities_tell_the_truth(rules in rules(), path in path()) {
        let acl = acl(&[&text(&rules)]);
        let told = acl.capabilities(&path);
        for operation in OPERATIONS {
            let lists = matches!(operation, Operation::List | Operation::Scan);
            if lists == path.ends_with('/') {
                prop_assert_eq!(told.contains(&operation.name()), ask(&acl, operation, &path).allowed);
            }
        }
    }

    #[test]
    fn any_text_gives_an_answer(text in any::<String>(), name in any::<String>()) {
        let _ = Policy::parse(&name, &text);
    }

    /// Paths of policies and requests may be anything: no panic, and a pattern matches what it names.
    #[test]
    fn any_path_gives_an_answer(name in "[^\"\\\\{}$\0\n\r]{0,20}", path in any::<String>(), glob in any::<bool>()) {
        let Ok(policy) = Policy::parse("p", &format!("path \"{name}{}\" {{ policy = \"sudo\" }}", if glob { "*" } else { "" }))
        else { return Ok(()) };
        let acl = Acl::new(&[Arc::new(policy)], 0).unwrap();
        for operation in OPERATIONS {
            ask(&acl, operation, &path);
        }
        let bare = name.trim_start_matches('/');
        if name.starts_with("//") || bare.ends_with('*') {
            return Ok(());
        }
        prop_assert!(ask(&acl, Operation::Read, bare).allowed, "{name:?}");
    }

    #[test]
    fn any_data_gives_an_answer(keys in proptest::collection::vec("[a-cA-C*]{1,2}", 0..4), value in "[a-c*,]{0,4}") {
        let policy = policy(r#"path "*" { policy = "write"
            allowed_parameters = { "a" = ["a*", "*b"] "*" = [] } denied_parameters = { "b" = ["*c*", "*"] } }"#);
        let acl = Acl::new(&[policy], 0).unwrap();
        let data: Map<String, Value> = keys.iter().map(|key| (key.clone(), Value::String(value.clone()))).collect();
        let request = CheckRequest {
            operation: Operation::Update, path: "x", data: Some(&data), wrap_ttl: None, is_sudo_path: false,
        };
        let refused = data.keys().any(|key| match key.to_lowercase().as_str() {
            "a" => !(value.starts_with('a') || value.ends_with('b')),
            "b" => value.contains('c') || value.split(',').any(|part| part == "*"),
            _ => false,
        });
        prop_assert_eq!(acl.check(&request).allowed, !refused);
    }
}
