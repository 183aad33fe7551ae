//! Which rule applies: the documentation's examples, and the cases of OpenBao's own tests.

use super::{acl, ask};
use crate::policy::Operation::{self, Create, Delete, Help, List, Patch, Read, Scan, Update};
use crate::policy::{Acl, Missing};

/// Asserts (operation, path, allowed).
fn assert_all(acl: &Acl, cases: &[(Operation, &str, bool)]) {
    for (operation, path, allowed) in cases {
        let decision = ask(acl, *operation, path);
        assert_eq!(decision.allowed, *allowed, "{operation:?} {path}: {decision:?}");
        assert_eq!(decision.missing.is_none(), *allowed);
    }
}

const BROAD: &str = r#"
    path "dev/*" { policy = "sudo" }
    path "stage/*" { policy = "write" }
    path "stage/aws/*" { policy = "read" capabilities = ["update", "sudo"] }
    path "stage/aws/policy/*" { policy = "sudo" }
    path "prod/*" { policy = "read" }
    path "prod/aws/*" { policy = "deny" }
    path "sys/*" { policy = "deny" }
    path "foo/bar" { capabilities = ["read", "create", "sudo"] }
    path "baz/quux" { capabilities = ["read", "create", "patch"] }
    path "test/+/segment" { capabilities = ["read"] }
    path "+/segment/at/front" { capabilities = ["read"] }
    path "test/segment/at/end/+" { capabilities = ["read"] }
    path "test/segment/at/end/v2/+/" { capabilities = ["read"] }
    path "test/+/wildcard/+/*" { capabilities = ["read"] }
    path "test/+/wildcardglob/+/end*" { capabilities = ["read"] }
    path "1/2/*" { capabilities = ["create"] }
    path "1/2/+" { capabilities = ["read"] }
    path "1/2/+/+" { capabilities = ["update"] }
    path "asdf/fdsa" { capabilities = ["scan"] }
"#;

#[test]
fn one_policy() {
    let acl = acl(&[BROAD]);
    assert_all(
        &acl,
        &[
            (Read, "root", false),
            (Help, "root", true),
            (Read, "dev/foo", true),
            (Update, "dev/foo", true),
            (Delete, "stage/foo", true),
            (List, "stage/aws/foo", true),
            (Update, "stage/aws/foo", true),
            (Update, "stage/aws/policy/foo", true),
            (Delete, "prod/foo", false),
            (Update, "prod/foo", false),
            (Read, "prod/foo", true),
            (List, "prod/foo", true),
            (Read, "prod/aws/foo", false),
            (Read, "foo/bar", true),
            (List, "foo/bar", false),
            (Update, "foo/bar", false),
            (Create, "foo/bar", true),
            (Read, "baz/quux", true),
            (Create, "baz/quux", true),
            (Patch, "baz/quux", true),
            (List, "baz/quux", false),
            (Update, "baz/quux", false),
            (Scan, "baz/quux", false),
            (Scan, "asdf/fdsa", true),
            (List, "asdf/fdsa", false),
            (Read, "test/foo/bar/segment", false),
            (Read, "test/foo/segment", true),
            (Read, "test/bar/segment", true),
            (Read, "test/segment/at/frond", false),
            (Read, "test/segment/at/front", true),
            (Read, "test/segment/at/end/foo", true),
            (Read, "test/segment/at/end/foo/", false),
            (Read, "test/segment/at/end/v2/foo/", true),
            (Read, "test/segment/wildcard/at/foo/", true),
            (Read, "test/segment/wildcard/at/end", true),
            (Read, "test/segment/wildcard/at/end/", true),
            (Read, "1/2/3/4", false),
            (Read, "1/2/3", true),
            (Update, "1/2/3", false),
            (Update, "1/2/3/4", true),
            (Create, "1/2/3/4/5", true),
        ],
    );
    for (path, sudo) in [
        ("dev/foo", true),
        ("stage/foo", false),
        ("stage/aws/foo", true),
        ("foo/bar", true),
    ] {
        assert_eq!(ask(&acl, Read, path).sudo, sudo, "{path}");
    }
    assert_eq!(acl.capabilities("dev"), ["deny"]);
    assert_eq!(
        acl.capabilities("dev/"),
        ["create", "delete", "list", "read", "sudo", "update"]
    );
    assert_eq!(
        acl.capabilities("stage/aws/test"),
        ["list", "read", "sudo", "update"]
    );
    assert_eq!(acl.capabilities("sys/mounts"), ["deny"]);
}

#[test]
fn two_policies_unite_and_deny_wins() {
    let narrow = r#"
        path "dev/hide/*" { policy = "deny" }
        path "stage/aws/policy/*" { policy = "deny" capabilities = ["read", "update", "sudo"] }
        path "prod/*" { policy = "write" }
        path "sys/seal" { policy = "sudo" }
        path "foo/bar" { capabilities = ["deny"] }
        path "baz/quux" { capabilities = ["deny"] }
    "#;
    for order in [[BROAD, narrow], [narrow, BROAD]] {
        assert_all(
            &acl(&order),
            &[
                (Read, "dev/foo", true),
                (Read, "dev/hide/foo", false),
                (Update, "dev/hide/foo", false),
                (List, "dev/hide", false),
                (Update, "stage/aws/policy/foo", false),
                (Delete, "prod/foo", true),
                (Update, "prod/foo", true),
                (Read, "prod/aws/foo", false),
                (Read, "sys/status", false),
                (Update, "sys/seal", true),
                (Read, "foo/bar", false),
                (Create, "foo/bar", false),
                (Patch, "baz/quux", false),
            ],
        );
    }
}

/// From the policies page of OpenBao's documentation.
#[test]
fn documentation() {
    let acl = acl(&[r#"
        path "secret/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
        path "secret/super-secret" { capabilities = ["deny"] }
        path "kv/foo" { capabilities = ["read"] }
        path "kv/bar/*" { capabilities = ["read"] }
        path "kv/zip-*" { capabilities = ["read"] }
        path "one/+/teamb" { capabilities = ["read"] }
        path "two/+/+/teamb" { capabilities = ["read"] }
    "#]);
    assert_all(
        &acl,
        &[
            (Read, "secret/any", true),
            (Read, "secret/super-secret", false),
            (List, "secret/super-secret/", false),
            (Read, "kv/foo", true),
            (Read, "kv/food", false),
            (Read, "kv/foo/bar", false),
            (Read, "kv/bar/zip", true),
            (Read, "kv/bar/zip/zap", true),
            (Read, "kv/bars/zip", false),
            (Read, "kv/zip-zap", true),
            (Read, "kv/zip-zap/zong", true),
            (Read, "kv/zip/zap", false),
            (Read, "one/foo/teamb", true),
            (Read, "one/teamb", false),
            (Read, "one/foo/bar/teamb", false),
            (Read, "two/foo/bar/teamb", true),
        ],
    );
}

/// Each pair: the second path is more specific, so the first gives nothing.
#[test]
fn priorities() {
    for (lesser, greater, path) in [
        ("+/*", "*", "foo/bar/bar/baz"),
        ("+/*", "foo/+/*", "foo/bar/bar/baz"),
        ("foo/+/+/*", "foo/+/bar/baz", "foo/bar/bar/baz"),
        ("foo/+/+/baz", "foo/+/bar/baz", "foo/bar/bar/baz"),
        ("foo/+/(ar/baz", "foo/(ar/+/baz", "foo/(ar/(ar/baz"),
        ("foo/bar/+/baz*", "foo/bar/+/baz", "foo/bar/bar/baz"),
        ("foo/bar/+/b*", "foo/bar/+/ba*", "foo/bar/bar/baz"),
        ("foo/+/+/baz", "foo/+/bar/+", "foo/bar/bar/baz"),
        ("secret/+/+/foo/*", "secret/*", "secret/a/b/foo/x"),
        ("foo/*", "foo/+", "foo/bar"),
        ("foo/+", "foo/b*", "foo/bar"),
        ("foo/bar*", "foo/bar", "foo/bar"),
        ("foo/+", "foo/bar", "foo/bar"),
        ("foo/*", "/foo/bar", "foo/bar"),
    ] {
        let lesser = format!("path \"{lesser}\" {{ capabilities = [\"read\"] }}");
        let text = format!("path \"{greater}\" {{ capabilities = [\"update\"] }}");
        for order in [[&*lesser, &*text], [&*text, &*lesser]] {
            let acl = acl(&order);
            assert_all(&acl, &[(Update, path, true), (Read, path, false)]);
            assert_eq!(
                ask(&acl, Update, path).rule,
                Some(greater.trim_start_matches('/'))
            );
        }
    }
}

/// A LIST names a directory. A deny on either spelling of it holds unless the granting rule is more specific.
#[test]
fn listing_and_denying() {
    let list = "path \"secret/*\" { capabilities = [\"list\", \"scan\"] }";
    for (deny, path) in [
        ("secret/foo", "secret/foo/"),
        ("secret/foo", "secret/foo"),
        ("secret/foo/", "secret/foo"),
        ("secret/foo/*", "secret/foo/"),
        ("secret/foo/*", "secret/foo"),
        ("secret/foo*", "secret/foo/"),
        ("secret/+", "secret/foo/"),
        ("secret/+", "secret/foo"),
        ("secret/+/", "secret/foo"),
        ("secret/+/*", "secret/foo/bar/"),
        ("secret/+/bar", "secret/foo/bar/"),
    ] {
        let deny = format!("path \"{deny}\" {{ capabilities = [\"deny\"] }}");
        let acl = acl(&[list, &deny]);
        // `secret/+/*` is broader than `secret/*`: the documented order lets the latter win.
        let wins = !deny.contains("+/*");
        assert_all(
            &acl,
            &[
                (List, path, !wins),
                (Scan, path, !wins),
                (List, "secret/x/y/", true),
            ],
        );
    }
    let acl = acl(&[r#"
        path "secret/*" { capabilities = ["deny"] }
        path "secret/foo" { capabilities = ["list"] }
        path "secret/bar/" { capabilities = ["list"] }
        path "secret/bar" { capabilities = ["deny"] }
        path "kv/+" { capabilities = ["deny"] }
        path "kv/foo/*" { capabilities = ["list"] }
    "#]);
    assert_all(
        &acl,
        &[
            (List, "secret/", false),
            (List, "secret/foo/", true),
            (List, "secret/foo", true),
            (List, "secret/foo/x/", false),
            (List, "secret/bar/", true),
            (Read, "secret/bar", false),
            (List, "kv/foo/", true),
            (List, "kv/bar/", false),
        ],
    );
}

#[test]
fn denying_in_any_letter_case() {
    let acl = acl(&[r#"
        path "secret/*" { capabilities = ["read", "list"] }
        path "secret/data/example" { capabilities = ["deny"] }
        path "secret/Hidden/*" { capabilities = ["deny"] }
        path "secret/+/KEY" { capabilities = ["deny"] }
        path "secret/hidden/not/really" { capabilities = ["read"] }
        path "Über/*" { capabilities = ["deny"] }
        path "über/*" { capabilities = ["read"] }
    "#]);
    assert_all(
        &acl,
        &[
            (Read, "secret/data/example", false),
            (Read, "secret/data/EXAMPLE", false),
            (Read, "SECRET/data/example", false),
            (Read, "secret/data/examples", true),
            (Read, "secret/hidden/x", false),
            (List, "secret/HIDDEN", false),
            (Read, "secret/x/key", false),
            (Read, "secret/x/Key", false),
            (Read, "secret/hidden/not/really", true),
            (Read, "secret/hidden/not/Really", false),
            (Read, "über/x", false),
        ],
    );
}

#[test]
fn granting_policies() {
    use crate::policy::Policy;
    use std::sync::Arc;
    let one = Policy::parse(
        "one",
        "path \"a\" { policy = \"read\" } path \"b\" { policy = \"deny\" }",
    )
    .unwrap();
    let two = Policy::parse(
        "two",
        "path \"a\" { policy = \"write\" } path \"b\" { policy = \"read\" }",
    )
    .unwrap();
    let acl = Acl::new(&[Arc::new(one), Arc::new(two)], 0).unwrap();
    assert_eq!(ask(&acl, Read, "a").granted_by, ["one", "two"]);
    assert_eq!(ask(&acl, Update, "a").granted_by, ["two"]);
    assert!(ask(&acl, Read, "b").granted_by.is_empty());
    assert_eq!(ask(&acl, Read, "b").missing, Some(Missing::Denied));
    assert_eq!(ask(&acl, Scan, "a").missing, Some(Missing::Capability("scan")));
    assert_eq!(ask(&acl, Read, "c").missing, Some(Missing::Rule));
}

#[test]
fn root_and_nothing() {
    let root = Acl::root();
    let decision = root.check(&crate::policy::CheckRequest {
        operation: Delete,
        path: "sys/anything",
        data: None,
        wrap_ttl: None,
        is_sudo_path: true,
    });
    assert!(decision.allowed && decision.root && decision.sudo);
    assert_eq!(decision.granted_by, ["root"]);
    assert_eq!(root.capabilities("any/path"), ["root"]);
    let nothing = acl(&[]);
    assert_all(&nothing, &[(Read, "a", false), (Help, "a", true)]);
    assert_eq!(nothing.capabilities("a"), ["deny"]);
    // A text is never root, whatever its name.
    let text = crate::policy::Policy::parse("root", "").unwrap();
    assert!(!Acl::new(&[std::sync::Arc::new(text)], 0).unwrap().is_root());
    // The order in which clients see capabilities.
    let all = acl(&[
        "path \"a\" { capabilities = [\"update\", \"sudo\", \"scan\", \"read\", \"patch\", \"list\", \"delete\", \"create\"] }",
    ]);
    assert_eq!(
        all.capabilities("a"),
        [
            "create", "delete", "list", "patch", "read", "scan", "sudo", "update"
        ]
    );
}
