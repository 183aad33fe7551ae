//! What asking a token's policies costs: 500 policies of 50 rules each, which is far more than tokens have.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::hint::black_box;
use std::sync::Arc;

use conclave_core::policy::{Acl, CheckRequest, Operation, Policy};
use criterion::{Criterion, criterion_group, criterion_main};

const POLICIES: usize = 500;
const RULES: usize = 50;

/// A third each of exact paths, prefixes and segment wildcards.
fn text(policy: usize) -> String {
    let rule = |rule: usize| {
        let path = match rule % 3 {
            0 => format!("secret/data/team-{policy}/app-{rule}/config"),
            1 => format!("secret/data/team-{policy}/app-{rule}/*"),
            _ => format!("secret/data/+/app-{policy}-{rule}/shared"),
        };
        format!("path \"{path}\" {{ capabilities = [\"read\", \"list\"] }}\n")
    };
    (0..RULES).map(rule).collect()
}

fn policy(c: &mut Criterion) {
    let texts: Vec<String> = (0..POLICIES).map(text).collect();
    c.bench_function("policy/parse 50 rules", |b| {
        b.iter(|| Policy::parse("p", black_box(&texts[0])))
    });
    let policies: Vec<Arc<Policy>> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| Arc::new(Policy::parse(&format!("p{number}"), text).unwrap()))
        .collect();
    c.bench_function("policy/compile 500 policies", |b| {
        b.iter(|| Acl::new(black_box(&policies), 1_700_000_000_000))
    });
    let acl = Acl::new(&policies, 1_700_000_000_000).unwrap();
    for (what, path, allowed) in [
        ("exact", "secret/data/team-499/app-48/config", true),
        ("prefix", "secret/data/team-250/app-1/deep/down/below", true),
        ("wildcard", "secret/data/any/app-499-47/shared", true),
        ("nothing", "secret/data/other/app-1/config", false),
    ] {
        let request = CheckRequest {
            operation: Operation::Read,
            path,
            data: None,
            wrap_ttl: None,
            is_sudo_path: false,
        };
        assert_eq!(acl.check(&request).allowed, allowed, "{path}");
        c.bench_function(&format!("policy/check {what}"), |b| {
            b.iter(|| acl.check(black_box(&request)))
        });
    }
}

criterion_group!(benches, policy);
criterion_main!(benches);
