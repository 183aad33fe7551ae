//! Tests of policies: tables from the documentation and from upstream's own cases, and random ones against a naive
//! reference.

mod constraints;
mod parsing;
mod properties;
mod seeds;
mod speed;
mod tables;
mod templates;

use std::sync::Arc;

use super::{Acl, CheckRequest, Decision, Operation, Policy};

/// One policy named `p`.
fn policy(text: &str) -> Arc<Policy> {
    Arc::new(Policy::parse("p", text).unwrap_or_else(|error| panic!("{text}: {error}")))
}

/// The ACL of some texts, each a policy of its own.
fn acl(texts: &[&str]) -> Acl {
    let policies: Vec<_> = texts.iter().map(|text| policy(text)).collect();
    Acl::new(&policies, 0).expect("no templates")
}

/// Asks without data, wrapping or root protection.
fn ask<'a>(acl: &'a Acl, operation: Operation, path: &'a str) -> Decision<'a> {
    acl.check(&CheckRequest {
        operation,
        path,
        data: None,
        wrap_ttl: None,
        is_sudo_path: false,
    })
}
