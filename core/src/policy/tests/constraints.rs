//! What a rule asks of a request besides its capability: parameters, wrapping, paging, time.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{acl, ask, policy};
use crate::policy::{Acl, CheckRequest, DEFAULT, KeysFilter, Missing, Operation, Policy};

/// Whether an operation with this data and wrapping is allowed.
fn allowed(acl: &Acl, operation: Operation, path: &str, data: &Value, wrap_ttl: Option<u64>) -> bool {
    let data = data.as_object();
    acl.check(&CheckRequest {
        operation,
        path,
        data,
        wrap_ttl,
        is_sudo_path: false,
    })
    .allowed
}

/// Asserts (path, data, allowed) for create and update.
fn assert_writes(acl: &Acl, cases: &[(&str, Value, bool)]) {
    for (path, data, expected) in cases {
        for operation in [Operation::Create, Operation::Update] {
            assert_eq!(
                allowed(acl, operation, path, data, None),
                *expected,
                "{path} {data}"
            );
        }
    }
}

#[test]
fn names_of_parameters() {
    let acl = acl(&[r#"
        path "dev/*" { policy = "write" allowed_parameters = { "zip" = [] } }
        path "broken" {
          policy = "write"
          allowed_parameters = { "steve" = [] }
          denied_parameters = { "steve" = [] }
        }
        path "hello" {
          policy = "write" allowed_parameters = { "*" = [] } denied_parameters = { "*" = [] }
        }
        path "tree" { policy = "write" allowed_parameters = { "*" = [] } denied_parameters = { "foo" = [] } }
        path "cold" { policy = "write" allowed_parameters = {} denied_parameters = {} }
        path "var" { policy = "write" required_parameters = ["Foo"] }
        path "case" { policy = "write" denied_parameters = { "Foo" = [] } }
    "#]);
    assert_writes(
        &acl,
        &[
            ("dev/x", json!({"zip": 1}), true),
            ("dev/x", json!({"zap": 1}), false),
            ("dev/x", json!({"zip": 1, "zap": 1}), false),
            ("dev/x", json!({}), true),
            ("broken", json!({"steve": 1}), false),
            ("hello", json!({"one": 1}), false),
            ("hello", json!({}), true),
            ("tree", json!({"one": 1}), true),
            ("tree", json!({"foo": 1}), false),
            ("cold", json!({"four": 1}), true),
            ("var", json!({"bar": 1}), false),
            ("var", json!({"bar": 1, "foo": null}), true),
            ("var", json!({}), false),
            ("case", json!({"FOO": 1}), false),
        ],
    );
    // Deleting takes no parameters, so nothing is asked of them; a read has a query.
    assert!(allowed(
        &acl,
        Operation::Delete,
        "dev/x",
        &json!({"zap": 1}),
        None
    ));
    assert!(!allowed(&acl, Operation::Read, "dev/x", &json!({"zap": 1}), None));
    let data = json!({"zip": 1, "zap": 1});
    let request = CheckRequest {
        operation: Operation::Update,
        path: "dev/x",
        data: data.as_object(),
        wrap_ttl: None,
        is_sudo_path: false,
    };
    assert_eq!(acl.check(&request).missing, Some(Missing::Parameter("zap")));
}

#[test]
fn values_of_parameters() {
    let acl = acl(&[r#"
        path "allow" {
          policy = "write"
          allowed_parameters = {
            "a" = ["good", "pre*", "*post", "*mid*", 7, 1.5, false, {"k" = "v"}, "*"]
            "*" = []
          }
        }
        path "deny" { policy = "write" denied_parameters = { "d" = ["bad*", 7, true, "*"] } }
        path "docs" {
          capabilities = ["create", "update"]
          allowed_parameters = { "foo" = [], "bar" = ["zip", "zap"] }
        }
    "#]);
    assert_writes(
        &acl,
        &[
            ("allow", json!({"a": "good"}), true),
            ("allow", json!({"A": "good"}), true),
            ("allow", json!({"a": "goods"}), false),
            ("allow", json!({"a": "prefix"}), true),
            ("allow", json!({"a": "a post"}), true),
            ("allow", json!({"a": "a mid b"}), true),
            ("allow", json!({"a": "*"}), true),
            ("allow", json!({"a": "anything"}), false),
            ("allow", json!({"a": 7}), true),
            ("allow", json!({"a": 7.0}), true),
            ("allow", json!({"a": 8}), false),
            ("allow", json!({"a": "7"}), false),
            ("allow", json!({"a": 1.5}), true),
            ("allow", json!({"a": false}), true),
            ("allow", json!({"a": true}), false),
            ("allow", json!({"a": {"k": "v"}}), true),
            ("allow", json!({"a": {"k": "w"}}), false),
            ("allow", json!({"a": ["good"]}), false),
            ("allow", json!({"a": null}), false),
            ("allow", json!({"b": "anything"}), true),
            ("deny", json!({"d": "good"}), true),
            ("deny", json!({"d": "bad one"}), false),
            ("deny", json!({"d": "*"}), false),
            ("deny", json!({"d": null}), true),
            // Every spelling that an engine would read as the denied value.
            ("deny", json!({"d": 7}), false),
            ("deny", json!({"d": "7"}), false),
            ("deny", json!({"d": "true"}), false),
            ("deny", json!({"d": ["good", "bad"]}), false),
            ("deny", json!({"d": "good, bad"}), false),
            ("deny", json!({"d": "good, worse"}), true),
            ("docs", json!({"foo": "any", "bar": "zip"}), true),
            ("docs", json!({"bar": "zop"}), false),
            ("docs", json!({"baz": 1}), false),
        ],
    );
}

#[test]
fn constraints_of_one_path_add_up() {
    let acl = acl(&[
        r#"path "a" { policy = "write" allowed_parameters = { "x" = [1, 2] } required_parameters = ["x"] }"#,
        r#"path "a" { policy = "write" allowed_parameters = { "x" = [3] "y" = [] } }"#,
        r#"path "a" { policy = "read" denied_parameters = { "z" = [1] } }"#,
        r#"path "b" { policy = "write" allowed_parameters = { "x" = [1] } }"#,
        r#"path "b" { policy = "write" allowed_parameters = { "x" = [] "*" = [] } }"#,
    ]);
    assert_writes(
        &acl,
        &[
            ("a", json!({"x": 1}), true),
            ("a", json!({"x": 3, "y": "any"}), true),
            ("a", json!({"x": 4}), false),
            ("a", json!({"y": 1}), false),
            ("a", json!({"x": 1, "z": 1}), false),
            ("b", json!({"x": 4, "z": 1}), true),
        ],
    );
}

#[test]
fn wrapping() {
    let acl = acl(&[
        r#"path "both" { policy = "write" min_wrapping_ttl = 300 max_wrapping_ttl = "400s" }"#,
        r#"path "both" { policy = "read" max_wrapping_ttl = 600 }"#,
        r#"path "min" { policy = "write" min_wrapping_ttl = "1s" }"#,
        r#"path "max" { policy = "write" max_wrapping_ttl = 400 }"#,
        r#"path "never" { policy = "write" min_wrapping_ttl = 300 }"#,
        r#"path "never" { policy = "write" max_wrapping_ttl = 200 }"#,
    ]);
    for (path, seconds, expected) in [
        ("both", None, false),
        ("both", Some(299), false),
        ("both", Some(300), true),
        ("both", Some(400), true),
        ("both", Some(401), false),
        ("min", None, false),
        ("min", Some(1), true),
        ("max", None, false),
        ("max", Some(400), true),
        ("max", Some(401), false),
        ("never", Some(250), false),
        ("never", None, false),
    ] {
        let wrap = seconds.map(|seconds: u64| seconds * 1000);
        assert_eq!(
            allowed(&acl, Operation::Update, path, &json!({}), wrap),
            expected,
            "{path} {seconds:?}"
        );
    }
}

#[test]
fn paging() {
    let acl = acl(&[
        r#"path "p/*" { capabilities = ["list", "scan"] pagination_limit = 50 }"#,
        r#"path "p/*" { capabilities = ["list", "scan"] pagination_limit = 10 }"#,
        r#"path "r/*" { capabilities = ["list", "scan"] pagination_limit = 10 required_parameters = ["limit"] }"#,
        r#"path "free/*" { capabilities = ["list", "scan"] }"#,
    ]);
    for (path, data, expected) in [
        ("p/", json!({}), Ok(Some(10))),
        ("p/", json!({"limit": 10}), Ok(None)),
        ("p/", json!({"limit": "7"}), Ok(None)),
        ("p/", json!({"limit": 0}), Ok(Some(10))),
        ("p/", json!({"limit": "max"}), Ok(Some(10))),
        ("p/", json!({"limit": 11}), Err(())),
        ("p/", json!({"limit": -1}), Err(())),
        ("p/", json!({"limit": "many"}), Err(())),
        ("p/", json!({"limit": null}), Err(())),
        ("r/", json!({}), Err(())),
        ("r/", json!({"limit": "max"}), Ok(Some(10))),
        ("free/", json!({}), Ok(None)),
        ("free/", json!({"limit": "max"}), Ok(Some(0))),
        ("free/", json!({"limit": "many"}), Ok(None)),
    ] {
        for operation in [Operation::List, Operation::Scan] {
            let data = data.as_object();
            let request = CheckRequest {
                operation,
                path,
                data,
                wrap_ttl: None,
                is_sudo_path: false,
            };
            let decision = acl.check(&request);
            let answer = if decision.allowed {
                Ok(decision.limit)
            } else {
                Err(())
            };
            assert_eq!(answer, expected, "{path} {data:?}");
        }
    }
}

#[test]
fn filters_of_keys() {
    let text = r#"path "secret/metadata/*" {
        capabilities = ["list", "read"]
        list_scan_response_keys_filter_path = "secret/data/{{ .key }}"
    }"#;
    let acl = acl(&[text]);
    let filter = ask(&acl, Operation::List, "secret/metadata/")
        .keys_filter
        .expect("a filter");
    assert_eq!(filter.target("secret/metadata/", "a"), "secret/data/a");
    assert_eq!(ask(&acl, Operation::Read, "secret/metadata/a").keys_filter, None);
    let both = KeysFilter::parse("{{.path}}-{{ .key }}!").unwrap();
    assert_eq!(both.target("p/", "k/"), "p/-k/!");
}

#[test]
fn sudo_is_asked_for_on_protected_paths() {
    let acl = acl(&[r#"
        path "sys/audit" { capabilities = ["read", "sudo"] }
        path "sys/raw/*" { capabilities = ["read"] }
    "#]);
    for (path, is_sudo_path, missing) in [
        ("sys/audit", true, None),
        ("sys/audit", false, None),
        ("sys/raw/x", true, Some(Missing::Sudo)),
        ("sys/raw/x", false, None),
        ("sys/other", true, Some(Missing::Rule)),
    ] {
        let request = CheckRequest {
            operation: Operation::Read,
            path,
            data: None,
            wrap_ttl: None,
            is_sudo_path,
        };
        assert_eq!(acl.check(&request).missing, missing, "{path}");
    }
}

#[test]
fn rules_expire() {
    let text = r#"
        path "a" { policy = "read" expiration = 1000 }
        path "a" { policy = "write" expiration = "1970-01-01T00:33:20Z" }
        path "b" { policy = "read" }
    "#;
    let at = |now| Acl::new(&[policy(text)], now).unwrap();
    for (now, update, read, until) in [
        (0, true, true, Some(1_000_000)),
        (999_999, true, true, Some(1_000_000)),
        (1_000_000, true, true, Some(2_000_000)),
        (2_000_000, false, false, None),
    ] {
        let acl = at(now);
        assert_eq!(ask(&acl, Operation::Update, "a").allowed, update, "{now}");
        assert_eq!(ask(&acl, Operation::Read, "a").allowed, read, "{now}");
        assert!(ask(&acl, Operation::Read, "b").allowed);
        assert_eq!(acl.valid_until(), until, "{now}");
    }
}

#[test]
fn templates_say_nothing_of_nobody() {
    let templated = policy("path \"secret/{{identity.entity.id}}/*\" { policy = \"read\" }");
    assert_eq!(
        templated.templates().collect::<Vec<_>>(),
        ["secret/{{identity.entity.id}}/*"]
    );
    let acl = Acl::new(&[templated], 0).unwrap();
    assert!(!ask(&acl, Operation::Read, "secret/x/y").allowed);
    assert!(!ask(&acl, Operation::Read, "secret/{{identity.entity.id}}/y").allowed);
    let default = Arc::new(Policy::parse("default", DEFAULT).unwrap());
    let acl = Acl::new(&[default], 0).unwrap();
    assert!(ask(&acl, Operation::Read, "auth/token/lookup-self").allowed);
    assert!(ask(&acl, Operation::List, "cubbyhole/").allowed);
    assert!(ask(&acl, Operation::Read, "identity/oidc/provider/x/authorize").allowed);
    assert!(!ask(&acl, Operation::Read, "identity/entity/id/{{identity.entity.id}}").allowed);
    assert!(!ask(&acl, Operation::Read, "sys/mounts").allowed);
}
