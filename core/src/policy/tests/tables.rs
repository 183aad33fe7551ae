//! Which rule applies: the documentation's examples, and the cases of OpenBao's own tests.

use super::{acl, ask};
use crate::policy::Acl;
use crate::policy::Operation::{self, Create, Delete, Help, List, Patch, Read, Scan, Update};

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
        ["sudo", "read", "list", "update", "delete", "create"]
    );
    assert_eq!(
        acl.capabilities("stage/aws/test"),
        ["sudo", "read", "list", "update"]
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
