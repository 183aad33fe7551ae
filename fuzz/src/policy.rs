//! The policy parser and the matcher: total, a denial of a path beside any other policy leaves nothing allowed on it, and
//! no denial gives what was not given before.

use std::sync::Arc;

use serde_json::json;

use conclave_core::policy::{Acl, CheckRequest, Operation, Policy};

const OPERATIONS: [Operation; 7] = [
    Operation::Create,
    Operation::Read,
    Operation::Update,
    Operation::Patch,
    Operation::Delete,
    Operation::List,
    Operation::Scan,
];

/// A policy text, and in its last line a path that is asked for.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (text, path) = text.rsplit_once('\n').unwrap_or((&text, "secret/data/x"));
    let Ok(policy) = Policy::parse("fuzzed", text) else {
        return;
    };
    let policy = Arc::new(policy);
    let Ok(acl) = Acl::new(&[Arc::clone(&policy)], 0) else {
        return;
    };
    let beside = |path: &str| {
        let deny = json!({"path": {path: {"capabilities": ["deny"]}}}).to_string();
        let deny = Policy::parse("deny", &deny).ok()?;
        Acl::new(&[Arc::clone(&policy), Arc::new(deny)], 0).ok()
    };
    // Not every path can be the path of a rule.
    let exact = beside(path).filter(|_| !path.is_empty() && !path.contains('{'));
    let broad = beside("*").expect("what stood alone stands beside a denial");
    for operation in OPERATIONS {
        for is_sudo_path in [false, true] {
            let request = CheckRequest {
                operation,
                path,
                data: None,
                wrap_ttl: None,
                is_sudo_path,
            };
            let decision = acl.check(&request);
            assert!(!decision.root, "a text gave root");
            assert_eq!(decision.allowed, decision.missing.is_none());
            if let Some(exact) = &exact {
                let allowed = exact.check(&request).allowed;
                assert!(!allowed, "{operation:?} {path:?} in spite of a denial");
            }
            let widened = broad.check(&request).allowed && !decision.allowed;
            assert!(!widened, "{operation:?} {path:?} by a denial");
        }
    }
    acl.capabilities(path);
}
