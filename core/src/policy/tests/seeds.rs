//! Policies that published tutorials tell people to write, word for word, and what their authors want of them.

use super::{acl, ask};
use crate::policy::Operation::{Create, Delete, List, Patch, Read, Update};

/// Reads of shared keys with one path given twice: the second block adds to the first.
#[test]
fn team_keys_with_a_path_given_twice() {
    let acl = acl(&[r#"# developer-api-policy.hcl
path "development/api-keys/*" {
capabilities = ["read", "list"]
}
path "development/api-keys/team-*" {
capabilities = ["read"]
}
# Developers cannot delete or rotate keys
path "development/api-keys/*" {
capabilities = ["delete", "update", "create"]
}
"#]);
    for (operation, path, allowed) in [
        (Read, "development/api-keys/stripe", true),
        (List, "development/api-keys/", true),
        // The comment says otherwise, but the block grants: Vault unites both.
        (Update, "development/api-keys/stripe", true),
        (Create, "development/api-keys/stripe", true),
        (Delete, "development/api-keys/stripe", true),
        (Patch, "development/api-keys/stripe", false),
        (Read, "development/api-keys/team-a", true),
        (Update, "development/api-keys/team-a", false),
        (List, "development/api-keys/team-a/", false),
        (Read, "production/api-keys/stripe", false),
        (List, "development", false),
    ] {
        assert_eq!(
            ask(&acl, operation, path).allowed,
            allowed,
            "{operation:?} {path}"
        );
    }
    assert_eq!(
        acl.capabilities("development/api-keys/stripe"),
        ["create", "delete", "list", "read", "update"]
    );
}

/// Least privilege for one application.
#[test]
fn one_application() {
    let acl = acl(&[r#"path "secret/data/myapp/*" {
  capabilities = ["read"]
}
path "secret/data/api-keys/openai" {
  capabilities = ["read"]
}
"#]);
    for (operation, path, allowed) in [
        (Read, "secret/data/myapp/config", true),
        (Read, "secret/data/myapp", false),
        (Update, "secret/data/myapp/config", false),
        (List, "secret/metadata/myapp/", false),
        (Read, "secret/data/api-keys/openai", true),
        (Read, "secret/data/api-keys/openai2", false),
        (Read, "secret/data/api-keys/anthropic", false),
    ] {
        assert_eq!(
            ask(&acl, operation, path).allowed,
            allowed,
            "{operation:?} {path}"
        );
    }
}
